"""Spherical expansion coefficients, their vector-Jacobian product and their explicit gradients.

With u = r_ij / r, the spline R_nl(r) and the solid harmonics S_lm (homogeneous polynomials that are Y_lm at |u| = 1),

    c^i_{a n l m} = sum_{j of a} R_nl(r) S_lm(u)
    d c / d r_ij = (R' - l R / r) S u + (R / r) grad S(u)

The pairs of a centre are processed in tiles: pairs within the cutoff are collected, harmonics are computed for eight
pairs at a time, splines for eight channels at a time, and the two are multiplied as small dense matrices whose sums
stay in registers. Coefficients are laid out [centre][block][l][m][n], with n padded to a multiple of eight; a block is
a neighbour species, or a sum over several.

Every centre is computed by one thread, in a fixed order. Forces are not scattered to the neighbours: pair forces are
stored, and every site sums its own. The results therefore have the same bits for any number of threads. The schedule of
threads is static: what is computed from the coefficients of a centre, and its forces, find them in the cache of their core.
"""

from cython.parallel cimport prange
from libc.stdint cimport int16_t, int32_t, int64_t
from libc.string cimport memset
cimport openmp

cdef extern from "expansion.h" nogil:
    void fs_move(int, int, const double*, const double*, const double*, const double*, const double*, const double*,
                 const double*, const double*, double*, double*)
    void fs_jacobian(int, const int32_t*, const int32_t*, const int32_t*, const int32_t*, const double*, const double*,
                     const double*, double, double, double, double, int, double*)

cdef extern from "tile.h" nogil:
    const int FS_TILE
    ctypedef struct Basis:
        int n_l, l_max, n_lm, size, channels, n_intervals
        const int32_t* l
        const int32_t* count
        const int32_t* padded
        const int32_t* radial_offset
        const int32_t* block_offset
        const double* nodes
        double cutoff, step, inverse_step
    ctypedef struct Tile:
        int n
        double* x
        double* y
        double* z
        double* inverse_r
        double* harmonics
        double* radial
        double* slope
        int32_t* kind
        int32_t* pair
    void fs_complete_basis(Basis*)
    int64_t fs_tile_size(const Basis*)
    Tile fs_tile_in(const Basis*, double*)
    int fs_prepare_tile(const Basis*, Tile*, const int32_t*, bint)
    void fs_outer_tile(const Basis*, const Tile*, const int32_t*, const double*, const double*, double*)
    void fs_add_tile(const Basis*, Tile*, const int32_t*, const int32_t*, double*)
    void fs_pull_tile(const Basis*, Tile*, const int32_t*, const int32_t*, const double*, double*, double*)

cdef enum:
    CHUNK = 16   # centres; the unit of work, and of sums whose order must not depend on the number of threads

cdef int32_t NO_ROW = -2147483648


cdef extern from "threads.h" nogil:
    int threads_for(int64_t work, int64_t grain, int64_t most)


cdef class Expansion:
    """The basis, in the layout of the kernels. Arguments are not checked here: `representation.expansion` does that.

    l, count, padded, radial_offset, block_offset: (n_l,) int32. count: radial functions of each l; padded: the same
        rounded up to whole vectors.
    size: doubles in one block.
    nodes: (n_tables, n_intervals + 1, 2, channels) float64: values and step * derivatives at the nodes of the spline.
    """

    cdef readonly int size, n_blocks
    cdef Basis basis
    cdef const int32_t[::1] l, count, padded, radial_offset, block_offset
    cdef const double[:, :, :, ::1] nodes

    def __init__(self, l, count, padded, radial_offset, block_offset, int size, int n_blocks, nodes, double cutoff,
                 double step, double inverse_step):
        self.l = l
        self.count = count
        self.padded = padded
        self.radial_offset = radial_offset
        self.block_offset = block_offset
        self.size = size
        self.n_blocks = n_blocks
        self.nodes = nodes
        self.basis.n_l = len(l)
        self.basis.size = size
        self.basis.channels = nodes.shape[3]
        self.basis.n_intervals = nodes.shape[1] - 1
        self.basis.l = &self.l[0]
        self.basis.count = &self.count[0]
        self.basis.padded = &self.padded[0]
        self.basis.radial_offset = &self.radial_offset[0]
        self.basis.block_offset = &self.block_offset[0]
        self.basis.nodes = &self.nodes[0, 0, 0, 0]
        self.basis.cutoff = cutoff
        self.basis.step = step
        self.basis.inverse_step = inverse_step
        fs_complete_basis(&self.basis)

    def workspace(self):
        """Doubles of work space that one thread needs."""
        return fs_tile_size(&self.basis)

    def chunks(self, Py_ssize_t n_centres):
        """Number of chunks of centres: the rows of `partial`."""
        return (n_centres + CHUNK - 1) // CHUNK

    def values(self, const double[:, ::1] packed, const double[:, ::1] images, const int64_t[::1] first,
               const int32_t[::1] pair_site, const int16_t[::1] pair_image, const int32_t[::1] centre_site,
               const int32_t[::1] site_kind, const int32_t[::1] kind_table, const int32_t[::1] kind_block,
               const double[:, :, ::1] own, const int32_t[::1] centre_own,
               double[:, ::1] work, double[::1] closest2,
               double[:, :, ::1] c):
        """Writes the coefficients c (n_centres, n_blocks, size).

        If s = centre_own[i] >= 0, centre i itself adds own[s, b] (l = 0) to each block b. closest2 (chunks,) receives
        the smallest squared distances. work: (threads, workspace())."""
        cdef Py_ssize_t n_chunks = closest2.shape[0], n_centres = centre_site.shape[0], k
        cdef int threads = threads_for(pair_site.shape[0], 256, work.shape[0])
        with nogil:
            for k in prange(n_chunks, num_threads=threads, schedule="static"):
                closest2[k] = self.values_of(&packed[0, 0], &images[0, 0], &first[0], &pair_site[0], &pair_image[0],
                                             &centre_site[0], &site_kind[0], &kind_table[0], &kind_block[0],
                                             own, centre_own, k * CHUNK, min(n_centres, (k + 1) * CHUNK),
                                             &work[openmp.omp_get_thread_num(), 0], c)

    cdef double values_of(self, const double* packed, const double* images, const int64_t* first,
                          const int32_t* pair_site, const int16_t* pair_image, const int32_t* centre_site,
                          const int32_t* site_kind, const int32_t* kind_table, const int32_t* kind_block,
                          const double[:, :, ::1] own, const int32_t[::1] centre_own,
                          Py_ssize_t start, Py_ssize_t stop,
                          double* work, double[:, :, ::1] c) noexcept nogil:
        cdef Tile t = fs_tile_in(&self.basis, work)
        cdef Py_ssize_t i
        cdef int64_t p
        cdef int b, k
        cdef double closest2 = 1e300
        for i in range(start, stop):
            memset(&c[i, 0, 0], 0, self.n_blocks * self.size * sizeof(double))
            if centre_own[i] >= 0:
                for b in range(self.n_blocks):
                    for k in range(own.shape[2]):
                        c[i, b, k] = own[centre_own[i], b, k]
            p = first[i]
            while p < first[i + 1]:
                p = self.collect(&t, packed, images, pair_site, pair_image, centre_site[i], site_kind, p,
                                 first[i + 1], &closest2)
                fs_add_tile(&self.basis, &t, kind_table, kind_block, &c[i, 0, 0])
        return closest2

    cdef int64_t collect(self, Tile* t, const double* packed, const double* images, const int32_t* pair_site,
                         const int16_t* pair_image, int32_t centre, const int32_t* site_kind, int64_t p, int64_t stop,
                         double* closest2) noexcept nogil:
        """Fills the tile with those of the pairs p, p + 1, ... that are within the cutoff; returns where it stopped."""
        cdef const double* a = packed + 4 * <int64_t>centre
        cdef const double* b
        cdef const double* s
        cdef double dx, dy, dz, r2, limit = self.basis.cutoff * self.basis.cutoff
        t.n = 0
        while p < stop and t.n < FS_TILE:
            b = packed + 4 * <int64_t>pair_site[p]
            s = images + 4 * <int64_t>pair_image[p]
            dx = b[0] + s[0] - a[0]
            dy = b[1] + s[1] - a[1]
            dz = b[2] + s[2] - a[2]
            r2 = dx * dx + dy * dy + dz * dz
            t.x[t.n] = dx
            t.y[t.n] = dy
            t.z[t.n] = dz
            t.kind[t.n] = site_kind[pair_site[p]]
            t.pair[t.n] = <int32_t>p
            t.n += r2 < limit
            closest2[0] = min(closest2[0], r2)
            p += 1
        return p

    def pull_back(self, const double[:, ::1] packed, const double[:, ::1] images, const int64_t[::1] first,
                  const int32_t[::1] pair_site, const int16_t[::1] pair_image, const int32_t[::1] centre_site,
                  const int32_t[::1] site_kind, const int32_t[::1] kind_table, const int32_t[::1] kind_block,
                  const int32_t[::1] transposed_first, const int32_t[::1] transposed_pair,
                  const int32_t[::1] site_atom, const int32_t[::1] site_centre, double[:, ::1] work,
                  double[:, ::1] partial, double[:, ::1] pair_gradient, const double[:, :, ::1] g,
                  double[:, ::1] forces, double[:, ::1] virial):
        """Writes forces (N, 3; only the rows of sites) and virial (3, 3) of an energy with dE/dc = g.

        g: (n_centres, n_blocks, size). site_centre: (n_sites,), index of the site among the centres, or -1.
        pair_gradient (n_pairs, 4) and partial (chunks, 10) are work space; the last column of partial receives the
        smallest squared distances."""
        cdef Py_ssize_t n_chunks = partial.shape[0], n_centres = centre_site.shape[0], n_sites = site_atom.shape[0], k
        cdef int threads = threads_for(pair_site.shape[0], 128, work.shape[0])
        cdef int a, b
        with nogil:
            for k in prange(n_chunks, num_threads=threads, schedule="static"):
                self.pull_back_of(&packed[0, 0], &images[0, 0], &first[0], &pair_site[0], &pair_image[0],
                                  &centre_site[0], &site_kind[0], &kind_table[0], &kind_block[0],
                                  k * CHUNK, min(n_centres, (k + 1) * CHUNK), &work[openmp.omp_get_thread_num(), 0],
                                  g, &pair_gradient[0, 0], &partial[k, 0])
            for k in prange(n_sites, num_threads=threads_for(n_sites, 4096, work.shape[0]), schedule="static"):
                collect_force(site_centre[k], &first[0], &transposed_first[k], &transposed_pair[0],
                              &pair_gradient[0, 0], &forces[site_atom[k], 0])
            for a in range(3):
                for b in range(3):
                    virial[a, b] = 0.0
                    for k in range(n_chunks):
                        virial[a, b] -= partial[k, 3 * a + b]

    cdef void pull_back_of(self, const double* packed, const double* images, const int64_t* first,
                           const int32_t* pair_site, const int16_t* pair_image, const int32_t* centre_site,
                           const int32_t* site_kind, const int32_t* kind_table, const int32_t* kind_block,
                           Py_ssize_t start, Py_ssize_t stop, double* work, const double[:, :, ::1] g,
                           double* pair_gradient, double* partial) noexcept nogil:
        cdef Tile t = fs_tile_in(&self.basis, work)
        cdef Py_ssize_t i
        cdef int64_t p, q
        memset(partial, 0, 9 * sizeof(double))
        partial[9] = 1e300
        for i in range(start, stop):
            p = first[i]
            while p < first[i + 1]:
                q = p
                p = self.collect(&t, packed, images, pair_site, pair_image, centre_site[i], site_kind, p,
                                 first[i + 1], &partial[9])
                memset(pair_gradient + 4 * q, 0, 4 * (p - q) * sizeof(double))
                fs_pull_tile(&self.basis, &t, kind_table, kind_block, &g[i, 0, 0], pair_gradient, partial)

    def move(self, const double[:, ::1] packed, const double[:, ::1] images, const int64_t[::1] first,
             const int32_t[::1] pair_site, const int16_t[::1] pair_image, const int32_t[::1] centre_site,
             const int32_t[::1] site_kind, const int32_t[::1] kind_table, const int32_t[::1] kind_block,
             const double[:, ::1] moves, const double[:, ::1] strain, double[:, ::1] work, double[::1] closest2,
             double[:, :, ::1] out):
        """Writes to out (n_centres, n_blocks, size) the derivative of the coefficients when the sites are displaced by
        moves (n_sites, 3) and all vectors r by r . strain. work: (threads, workspace() + moving())."""
        cdef Py_ssize_t n_chunks = closest2.shape[0], n_centres = centre_site.shape[0], k
        cdef int threads = threads_for(pair_site.shape[0], 128, work.shape[0])
        with nogil:
            for k in prange(n_chunks, num_threads=threads, schedule="static"):
                closest2[k] = self.move_of(&packed[0, 0], &images[0, 0], &first[0], &pair_site[0], &pair_image[0],
                                           &centre_site[0], &site_kind[0], &kind_table[0], &kind_block[0], moves,
                                           strain, k * CHUNK, min(n_centres, (k + 1) * CHUNK),
                                           &work[openmp.omp_get_thread_num(), 0], out)

    def moving(self):
        """Doubles of work space that one thread needs for `move`, in addition to `workspace`."""
        return FS_TILE * (2 * self.basis.n_lm + 3)

    cdef double move_of(self, const double* packed, const double* images, const int64_t* first,
                        const int32_t* pair_site, const int16_t* pair_image, const int32_t* centre_site,
                        const int32_t* site_kind, const int32_t* kind_table, const int32_t* kind_block,
                        const double[:, ::1] moves, const double[:, ::1] strain, Py_ssize_t start, Py_ssize_t stop,
                        double* work, double[:, :, ::1] out) noexcept nogil:
        cdef Tile t = fs_tile_in(&self.basis, work)
        cdef double* v = work + fs_tile_size(&self.basis)
        cdef double* along = v + 3 * FS_TILE
        cdef double* across = along + FS_TILE * self.basis.n_lm
        cdef Py_ssize_t i
        cdef int64_t p
        cdef int k, a, n
        cdef double r, closest2 = 1e300
        cdef double[3] u
        for i in range(start, stop):
            memset(&out[i, 0, 0], 0, self.n_blocks * self.size * sizeof(double))
            p = first[i]
            while p < first[i + 1]:
                p = self.collect(&t, packed, images, pair_site, pair_image, centre_site[i], site_kind, p,
                                 first[i + 1], &closest2)
                n = fs_prepare_tile(&self.basis, &t, kind_table, True)
                memset(v, 0, 3 * FS_TILE * sizeof(double))
                for k in range(t.n):
                    r = 1.0 / t.inverse_r[k]
                    u[0] = r * t.x[k]
                    u[1] = r * t.y[k]
                    u[2] = r * t.z[k]
                    for a in range(3):
                        v[a * FS_TILE + k] = (moves[pair_site[t.pair[k]], a] - moves[centre_site[i], a]
                                           + u[0] * strain[0, a] + u[1] * strain[1, a] + u[2] * strain[2, a])
                fs_move(self.basis.l_max, n, t.harmonics, t.x, t.y, t.z, t.inverse_r, v, v + FS_TILE, v + 2 * FS_TILE,
                        along, across)
                fs_outer_tile(&self.basis, &t, kind_block, along, t.slope, &out[i, 0, 0])
                fs_outer_tile(&self.basis, &t, kind_block, across, t.radial, &out[i, 0, 0])
        return closest2

    def gradients(self, const double[:, ::1] packed, const double[:, ::1] images, const int64_t[::1] first,
                  const int32_t[::1] pair_site, const int16_t[::1] pair_image, const int32_t[::1] centre_site,
                  const int32_t[::1] site_kind, const int32_t[::1] kind_table, const int32_t[::1] kind_block,
                  const int32_t[::1] pair_row, const int64_t[:, ::1] own_row, double[:, ::1] work,
                  double[::1] closest2, double[:, :, ::1] out, double[:, :, :, :, ::1] strain):
        """Writes the gradients to out (n_rows, 3, size).

        pair_row: row of each pair if it is the first of that row, ~row if it is another image of the same atom, NO_ROW
        if it is an image of the centre itself. own_row: (n_centres, n_blocks), the row for the motion of the centre
        itself. strain: (n_centres, n_blocks, 3, 3, size), or empty if the strain derivatives are not wanted."""
        cdef Py_ssize_t n_chunks = closest2.shape[0], n_centres = centre_site.shape[0], k
        cdef int threads = threads_for(pair_site.shape[0], 128, work.shape[0])
        with nogil:
            for k in prange(n_chunks, num_threads=threads, schedule="static"):
                closest2[k] = self.gradients_of(&packed[0, 0], &images[0, 0], &first[0], &pair_site[0],
                                                &pair_image[0], &centre_site[0], &site_kind[0], &kind_table[0],
                                                &kind_block[0], &pair_row[0], own_row, k * CHUNK,
                                                min(n_centres, (k + 1) * CHUNK),
                                                &work[openmp.omp_get_thread_num(), 0], &out[0, 0, 0], strain)

    cdef double gradients_of(self, const double* packed, const double* images, const int64_t* first,
                             const int32_t* pair_site, const int16_t* pair_image, const int32_t* centre_site,
                             const int32_t* site_kind, const int32_t* kind_table, const int32_t* kind_block,
                             const int32_t* pair_row, const int64_t[:, ::1] own_row, Py_ssize_t start,
                             Py_ssize_t stop, double* work, double* out, double[:, :, :, :, ::1] strain) noexcept nogil:
        cdef Tile t = fs_tile_in(&self.basis, work)
        cdef double* jacobian = <double*>(t.pair + 2 * FS_TILE)
        cdef Py_ssize_t i
        cdef int64_t p, q, width = 3 * self.size
        cdef int32_t row
        cdef int k, b
        cdef double closest2 = 1e300
        cdef double* own
        cdef double* target
        for i in range(start, stop):
            for b in range(self.n_blocks):
                memset(out + own_row[i, b] * width, 0, width * sizeof(double))
            if strain.shape[0]:
                memset(&strain[i, 0, 0, 0, 0], 0, self.n_blocks * 3 * width * sizeof(double))
            p = first[i]
            while p < first[i + 1]:
                q = p
                p = self.collect(&t, packed, images, pair_site, pair_image, centre_site[i], site_kind, p,
                                 first[i + 1], &closest2)
                fs_prepare_tile(&self.basis, &t, kind_table, True)
                k = 0
                for q in range(q, p):
                    row = pair_row[q]
                    if k == t.n or t.pair[k] != q:
                        if row >= 0:  # beyond the cutoff
                            memset(out + row * width, 0, width * sizeof(double))
                        continue
                    b = kind_block[t.kind[k]]
                    target = out + row * width if row >= 0 else jacobian
                    fs_jacobian(self.basis.n_l, self.basis.l, self.basis.padded, self.basis.radial_offset,
                                self.basis.block_offset,
                                t.harmonics + (k >> 3) * 32 * self.basis.n_lm + (k & 7), t.radial + k * self.basis.channels,
                                t.slope + k * self.basis.channels, t.x[k], t.y[k], t.z[k], t.inverse_r[k], self.size, target)
                    if row != NO_ROW:
                        subtract(width, target, out + own_row[i, b] * width)
                        if row < 0:
                            add(width, 1.0, target, out + ~row * width)
                    if strain.shape[0]:
                        own = &strain[i, b, 0, 0, 0]
                        add(width, t.x[k] / t.inverse_r[k], target, own)
                        add(width, t.y[k] / t.inverse_r[k], target, own + width)
                        add(width, t.z[k] / t.inverse_r[k], target, own + 2 * width)
                    k += 1
        return closest2


cdef inline void add(int64_t n, double factor, const double* x, double* y) noexcept nogil:
    cdef int64_t k
    for k in range(n):
        y[k] += factor * x[k]


cdef inline void subtract(int64_t n, const double* x, double* y) noexcept nogil:
    cdef int64_t k
    for k in range(n):
        y[k] -= x[k]


cdef inline void collect_force(int32_t centre, const int64_t* first, const int32_t* transposed_first,
                               const int32_t* transposed_pair, const double* pair_gradient,
                               double* force) noexcept nogil:
    """Minus dE/dr of one site, from the pairs of which it is the centre (opposite sign) or the neighbour."""
    cdef double f[4]
    cdef int64_t p
    cdef int k
    for k in range(4):
        f[k] = 0.0
    if centre >= 0:
        for p in range(first[centre], first[centre + 1]):
            for k in range(4):
                f[k] += pair_gradient[4 * p + k]
    for p in range(transposed_first[0], transposed_first[1]):
        for k in range(4):
            f[k] -= pair_gradient[4 * <int64_t>transposed_pair[p] + k]
    for k in range(3):
        force[k] = f[k]
