"""Neighbour lists of selected pairs: the cell list that builds them, and the test of whether one can be reused.

*Sites* are the selected atoms (centres and neighbours together), numbered 0 .. n_sites-1. The kernels use the *wrapped*
position r - o h of a site, with an integer offset o that the list owns, so trajectories may be unwrapped, and an engine
may wrap an atom between two steps. h are the cell vectors as rows, completed by unit vectors along directions that are
not periodic; s = r h^-1 are fractional coordinates.
"""

from cython.parallel cimport parallel, prange
from libc.math cimport floor, rint
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t
from libc.stdlib cimport malloc, free
cimport openmp

cdef enum:
    FARTHEST = 32767  # cells: the largest value of an offset


cdef extern from "threads.h" nogil:
    int threads_for(int64_t work, int64_t grain, int64_t most)


def track(const double[:, ::1] positions, const int32_t[::1] site_atom, int16_t[:, ::1] offset,
          const double[:, ::1] reference, double[:, ::1] packed, const double[:, ::1] cell,
          const double[:, ::1] inverse, const double[:, ::1] deformation, const int8_t[::1] periodic, double limit):
    """Writes wrapped positions to `packed` (n_sites, 4).

    Returns True if any site has moved farther than `limit` from its position when the list was built (deformed with the
    cell), or is not finite. A jump by a lattice vector does not count: it changes the offset."""
    cdef Py_ssize_t n = site_atom.shape[0], k
    cdef int outdated = 0
    cdef double limit2 = limit * limit
    with nogil:
        for k in prange(n, num_threads=threads_for(n, 16384, n), schedule="static"):
            outdated |= track_one(&positions[site_atom[k], 0], &offset[k, 0], &reference[k, 0], &packed[k, 0],
                                  &cell[0, 0], &inverse[0, 0], &deformation[0, 0], &periodic[0], limit2)
    return bool(outdated)


cdef inline int track_one(const double* r, int16_t* o, const double* ref, double* w, const double* h,
                          const double* g, const double* f, const int8_t* periodic, double limit2) noexcept nogil:
    cdef double u[3]
    cdef double v[3]
    cdef int a, d
    cdef double jump, u2
    for a in range(3):
        v[a] = r[a] - (o[0] * h[a] + o[1] * h[3 + a] + o[2] * h[6 + a])
        u[a] = v[a] - (ref[0] * f[a] + ref[1] * f[3 + a] + ref[2] * f[6 + a])
    u2 = u[0] * u[0] + u[1] * u[1] + u[2] * u[2]
    if not u2 <= limit2:
        if not u2 < 1e30:
            return 1
        for d in range(3):
            if periodic[d]:
                jump = rint(u[0] * g[d] + u[1] * g[3 + d] + u[2] * g[6 + d])
                if -FARTHEST <= o[d] + jump <= FARTHEST:
                    o[d] += <int16_t>jump
        for a in range(3):
            v[a] = r[a] - (o[0] * h[a] + o[1] * h[3 + a] + o[2] * h[6 + a])
            u[a] = v[a] - (ref[0] * f[a] + ref[1] * f[3 + a] + ref[2] * f[6 + a])
        u2 = u[0] * u[0] + u[1] * u[1] + u[2] * u[2]
    w[0] = v[0]
    w[1] = v[1]
    w[2] = v[2]
    w[3] = 0.0
    return 0 if u2 <= limit2 else 1


def wrap(const double[:, ::1] positions, const int32_t[::1] site_atom, int16_t[:, ::1] offset,
         double[:, ::1] reference, double[:, ::1] packed, double[:, ::1] fractional, const double[:, ::1] cell,
         const double[:, ::1] inverse, const int8_t[::1] periodic):
    """Chooses the offsets that bring every site into the cell, and records its position as the reference.

    Returns the first site that is more than 32767 cells away, or -1."""
    cdef Py_ssize_t n = site_atom.shape[0], k
    cdef int a, d
    cdef double s, o
    cdef const double* r
    with nogil:
        for k in range(n):
            r = &positions[site_atom[k], 0]
            for d in range(3):
                s = r[0] * inverse[0, d] + r[1] * inverse[1, d] + r[2] * inverse[2, d]
                o = floor(s) if periodic[d] else 0.0
                if not -FARTHEST <= o <= FARTHEST:
                    with gil:
                        return k
                offset[k, d] = <int16_t>o
                fractional[k, d] = s - o
            for a in range(3):
                reference[k, a] = r[a] - (offset[k, 0] * cell[0, a] + offset[k, 1] * cell[1, a]
                                          + offset[k, 2] * cell[2, a])
                packed[k, a] = reference[k, a]
            packed[k, 3] = 0.0
    return -1


def sort_into_bins(const double[:, ::1] packed, const double[:, ::1] fractional, const int32_t[::1] members,
                   const double[::1] origin, const double[::1] bins_per_unit, const int32_t[::1] n_bins,
                   int32_t[::1] first, int32_t[::1] site, double[:, ::1] xyz):
    """Counting sort of the `members` (sites) by bin; first: (n_bins+1,), site: (n,), xyz: (3, n) wrapped."""
    cdef Py_ssize_t n = members.shape[0], total = first.shape[0] - 1, k
    cdef int32_t b, at, count
    with nogil:
        first[:] = 0
        for k in range(n):
            first[bin_of(&fractional[members[k], 0], &origin[0], &bins_per_unit[0], &n_bins[0])] += 1
        at = 0
        for k in range(total + 1):
            count = first[k]
            first[k] = at
            at += count
        for k in range(n):
            b = bin_of(&fractional[members[k], 0], &origin[0], &bins_per_unit[0], &n_bins[0])
            at = first[b]
            first[b] += 1
            site[at] = members[k]
            xyz[0, at] = packed[members[k], 0]
            xyz[1, at] = packed[members[k], 1]
            xyz[2, at] = packed[members[k], 2]
        for k in range(total, 0, -1):
            first[k] = first[k - 1]
        first[0] = 0


cdef inline int32_t bin_along(double s, double origin, double per_unit, int32_t n) noexcept nogil:
    cdef int32_t b = <int32_t>((s - origin) * per_unit)
    return 0 if b < 0 else n - 1 if b >= n else b


cdef inline int32_t bin_of(const double* s, const double* origin, const double* per_unit,
                           const int32_t* n) noexcept nogil:
    return ((bin_along(s[0], origin[0], per_unit[0], n[0]) * n[1] + bin_along(s[1], origin[1], per_unit[1], n[1]))
            * n[2] + bin_along(s[2], origin[2], per_unit[2], n[2]))


cdef inline int32_t floor_div(int32_t a, int32_t b) noexcept nogil:
    return a // b if a >= 0 else -((b - 1 - a) // b)


cdef struct Grid:
    const double* origin
    const double* per_unit
    const int32_t* n
    const int32_t* reach
    const int32_t* images
    const int8_t* periodic
    const double* cell
    const int32_t* first
    const int32_t* site
    const double* x
    const double* y
    const double* z
    double cutoff2


cdef int32_t search(const Grid* g, int32_t me, const double* s, const double* r, int32_t* out_site,
                    int16_t* out_image) noexcept nogil:
    """Number of neighbours of one site (itself excluded); writes them to out_* unless these are NULL.

    An image (n0, n1, n2) is stored as its index in the box |n_d| <= images_d."""
    cdef int32_t b[3]
    cdef int32_t d0, d1, t, n0, n1, n2, c0, c1, low, high, start, stop, k, found = 0, base, d
    cdef double dx, dy, dz, x0, y0, z0, x1, y1, z1, x2, y2, z2, r2
    cdef const double* h = g.cell
    for d in range(3):
        b[d] = bin_along(s[d], g.origin[d], g.per_unit[d], g.n[d])
    for d0 in range(-g.reach[0], g.reach[0] + 1):
        n0 = floor_div(b[0] + d0, g.n[0])
        if n0 != 0 and not g.periodic[0]:
            continue
        c0 = b[0] + d0 - n0 * g.n[0]
        x0 = n0 * h[0] - r[0]
        y0 = n0 * h[1] - r[1]
        z0 = n0 * h[2] - r[2]
        for d1 in range(-g.reach[1], g.reach[1] + 1):
            n1 = floor_div(b[1] + d1, g.n[1])
            if n1 != 0 and not g.periodic[1]:
                continue
            c1 = b[1] + d1 - n1 * g.n[1]
            x1 = x0 + n1 * h[3]
            y1 = y0 + n1 * h[4]
            z1 = z0 + n1 * h[5]
            base = (c0 * g.n[1] + c1) * g.n[2]
            # Consecutive bins along the last direction are contiguous in memory, up to the border of the cell.
            t = b[2] - g.reach[2]
            while t <= b[2] + g.reach[2]:
                n2 = floor_div(t, g.n[2])
                low = t - n2 * g.n[2]
                high = g.n[2] - 1
                if high - low > b[2] + g.reach[2] - t:
                    high = low + b[2] + g.reach[2] - t
                t += high - low + 1
                if n2 != 0 and not g.periodic[2]:
                    continue
                x2 = x1 + n2 * h[6]
                y2 = y1 + n2 * h[7]
                z2 = z1 + n2 * h[8]
                start = g.first[base + low]
                stop = g.first[base + high + 1]
                if out_site == NULL:
                    for k in range(start, stop):
                        dx = g.x[k] + x2
                        dy = g.y[k] + y2
                        dz = g.z[k] + z2
                        found += (dx * dx + dy * dy + dz * dz < g.cutoff2)
                    if n0 == 0 and n1 == 0 and n2 == 0:
                        for k in range(start, stop):
                            found -= g.site[k] == me
                else:
                    for k in range(start, stop):
                        dx = g.x[k] + x2
                        dy = g.y[k] + y2
                        dz = g.z[k] + z2
                        r2 = dx * dx + dy * dy + dz * dz
                        if r2 < g.cutoff2 and not (g.site[k] == me and n0 == 0 and n1 == 0 and n2 == 0):
                            out_site[found] = g.site[k]
                            out_image[found] = <int16_t>(((n0 + g.images[0]) * (2 * g.images[1] + 1) + n1 + g.images[1])
                                                * (2 * g.images[2] + 1) + n2 + g.images[2])
                            found += 1
    return found


def count_pairs(const double[:, ::1] packed, const double[:, ::1] fractional, const int32_t[::1] centres,
                const double[:, ::1] cell, const int8_t[::1] periodic, double cutoff,
                const double[::1] origin, const double[::1] bins_per_unit, const int32_t[::1] n_bins,
                const int32_t[::1] reach, const int32_t[::1] images,
                const int32_t[::1] bin_first, const int32_t[::1] bin_site, const double[:, ::1] bin_xyz,
                int64_t[::1] first):
    """Writes where the rows of the list begin: first[i] .. first[i+1] - 1 will be the pairs of the i-th centre."""
    cdef Py_ssize_t n = centres.shape[0], i
    cdef Grid grid = grid_of(packed, cell, periodic, cutoff, origin, bins_per_unit, n_bins, reach, images, bin_first,
                             bin_site, bin_xyz)
    cdef int64_t total = 0, count
    with nogil:
        for i in prange(n, num_threads=threads_for(n, 512, n), schedule="dynamic", chunksize=64):
            first[i] = search(&grid, centres[i], &fractional[centres[i], 0], &packed[centres[i], 0], NULL, NULL)
        for i in range(n):
            count = first[i]
            first[i] = total
            total += count
        first[n] = total


def fill_pairs(const double[:, ::1] packed, const double[:, ::1] fractional, const int32_t[::1] centres,
               const double[:, ::1] cell, const int8_t[::1] periodic, double cutoff,
               const double[::1] origin, const double[::1] bins_per_unit, const int32_t[::1] n_bins,
               const int32_t[::1] reach, const int32_t[::1] images,
               const int32_t[::1] bin_first, const int32_t[::1] bin_site, const double[:, ::1] bin_xyz,
               const int64_t[::1] first, const int32_t[::1] kind, int n_kinds,
               int32_t[::1] pair_site, int16_t[::1] pair_image, int32_t[:, ::1] scratch):
    """Writes the rows, each grouped by the kind (species) of the neighbour; scratch: (threads, 3 * longest row)."""
    cdef Py_ssize_t n = centres.shape[0], i
    cdef Grid grid = grid_of(packed, cell, periodic, cutoff, origin, bins_per_unit, n_bins, reach, images, bin_first,
                             bin_site, bin_xyz)
    cdef int threads = threads_for(n, 512, n)
    if threads > scratch.shape[0]:
        threads = <int>scratch.shape[0]
    with nogil:
        for i in prange(n, num_threads=threads, schedule="dynamic", chunksize=64):
            fill_row(&grid, centres[i], &fractional[centres[i], 0], &packed[centres[i], 0],
                     <int32_t>(first[i + 1] - first[i]), &kind[0], n_kinds, pair_site, pair_image, first[i],
                     &scratch[openmp.omp_get_thread_num(), 0])


cdef void fill_row(const Grid* grid, int32_t me, const double* s, const double* r, int32_t n, const int32_t* kind,
                   int n_kinds, int32_t[::1] pair_site, int16_t[::1] pair_image, int64_t first,
                   int32_t* scratch) noexcept nogil:
    cdef int32_t* site = scratch
    cdef int16_t* image = <int16_t*>(scratch + n)
    cdef int32_t k, a
    cdef int64_t at = first
    if n == 0:
        return
    if n_kinds == 1:
        search(grid, me, s, r, &pair_site[first], &pair_image[first])
        return
    search(grid, me, s, r, site, image)
    for a in range(n_kinds):
        for k in range(n):
            if kind[site[k]] == a:
                pair_site[at] = site[k]
                pair_image[at] = image[k]
                at += 1


cdef Grid grid_of(const double[:, ::1] packed, const double[:, ::1] cell, const int8_t[::1] periodic, double cutoff,
                  const double[::1] origin, const double[::1] bins_per_unit, const int32_t[::1] n_bins,
                  const int32_t[::1] reach, const int32_t[::1] images, const int32_t[::1] bin_first,
                  const int32_t[::1] bin_site, const double[:, ::1] bin_xyz):
    cdef Grid g
    g.origin = &origin[0]
    g.per_unit = &bins_per_unit[0]
    g.n = &n_bins[0]
    g.reach = &reach[0]
    g.images = &images[0]
    g.periodic = &periodic[0]
    g.cell = &cell[0, 0]
    g.first = &bin_first[0]
    g.site = &bin_site[0]
    g.x = &bin_xyz[0, 0]
    g.y = &bin_xyz[1, 0]
    g.z = &bin_xyz[2, 0]
    g.cutoff2 = cutoff * cutoff
    return g


def transpose(const int32_t[::1] pair_site, int32_t[::1] first, int32_t[::1] pair):
    """Lists, for every site, the pairs in which it is the neighbour, in ascending order; first: (n_sites+1,)."""
    cdef Py_ssize_t n_sites = first.shape[0] - 1, n = pair_site.shape[0], k
    cdef int32_t at = 0, count
    with nogil:
        first[:] = 0
        for k in range(n):
            first[pair_site[k]] += 1
        for k in range(n_sites + 1):
            count = first[k]
            first[k] = at
            at += count
        for k in range(n):
            pair[first[pair_site[k]]] = <int32_t>k
            first[pair_site[k]] += 1
        for k in range(n_sites, 0, -1):
            first[k] = first[k - 1]
        first[0] = 0


def edges_within(const double[:, ::1] packed, const int16_t[:, ::1] offset, const int64_t[::1] first,
                 const int32_t[::1] pair_site, const int16_t[::1] pair_image, const int32_t[:, ::1] images,
                 const double[:, ::1] image_vectors, double cutoff, int64_t begin, int64_t at,
                 int64_t[:, ::1] edges, double[:, ::1] shifts):
    """The listed pairs that are closer than `cutoff`, as edges of a graph, for a list of which all atoms are sites.

    Writes from column `at` on: to edges (2, room) the atoms i and j, counted from `begin`, to shifts (room, 3) the
    whole numbers n of cell vectors h with r_ij = r_j + n h - r_i for positions as given, not wrapped. Returns the end."""
    cdef Py_ssize_t n = packed.shape[0], i, k
    cdef int32_t j, m
    cdef int a
    cdef double x, y, z, cutoff2 = cutoff * cutoff
    with nogil:
        for i in range(n):
            for k in range(first[i], first[i + 1]):
                j = pair_site[k]
                m = pair_image[k]
                x = packed[j, 0] + image_vectors[m, 0] - packed[i, 0]
                y = packed[j, 1] + image_vectors[m, 1] - packed[i, 1]
                z = packed[j, 2] + image_vectors[m, 2] - packed[i, 2]
                if x * x + y * y + z * z < cutoff2:
                    edges[0, at] = begin + i
                    edges[1, at] = begin + j
                    for a in range(3):
                        shifts[at, a] = images[m, a] + offset[i, a] - offset[j, a]
                    at += 1
    return at
