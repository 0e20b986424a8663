"""Sums of Gaussian hills: on a grid with Hermite data, and directly.

A hill is h (A exp(-q) + B) for q < CUTOFF and zero beyond, with q = sum_k ((s_k - c_k) / sigma_k)^2 / 2 and A, B such
that it vanishes continuously: PLUMED's "stretched" Gaussian (src/tools/Tools.h, dp2cutoff). Hills of PLUMED versions
before 2.8 have A = 1, B = 0 and end, along each axis, where its `sum_hills` ends them: the cutoff, converted to a
number of nodes, is applied to both sides of the node below the centre.

A grid node carries 2^d numbers, the value and all mixed first derivatives, each derivative multiplied by the spacing of
its axis; entry b of a node is differentiated along axis k if bit d-1-k of b is set (the last axis is the lowest bit).
Every hill is a product over the axes, so each entry costs one product. Nodes are numbered from a fixed origin; `first`
is the number of the first stored node, so that a grid that has grown holds the same bits on its old nodes.
"""

from libc.math cimport INFINITY, exp, floor, rint, ceil, sqrt
from libc.stdlib cimport free, malloc

cdef extern from *:
    """
    #define MAX_DIM 3
    """
    enum:
        MAX_DIM

cdef double CUTOFF = 6.25

cdef double STRETCH_A = 1.0 / (1.0 - exp(-CUTOFF))
cdef double STRETCH_B = -exp(-CUTOFF) / (1.0 - exp(-CUTOFF))

cutoff = CUTOFF


cdef struct Factors:  # a hill along one axis, on the nodes in its support
    long n
    long* node
    double* q
    double* value
    double* slope


cdef inline double nearest_image(double d, double period) noexcept nogil:
    return d - period * rint(d / period) if period > 0 else d


cdef void fill(Factors* f, double c, double sigma, double origin, double dx, long first, long n,
               double period, bint stretched) noexcept nogil:
    cdef double reach = sqrt(2 * CUTOFF) * sigma
    cdef long low = <long>ceil((c - reach - origin) / dx)
    cdef long high = <long>floor((c + reach - origin) / dx)
    cdef long k, node
    if not stretched:
        low = <long>floor((c - origin) / dx) - <long>ceil(reach / dx)
        high = <long>floor((c - origin) / dx) + <long>ceil(reach / dx)
    cdef double d
    f.n = 0
    if period > 0 and high - low + 1 > n:  # wider than the period: every node once, nearest image
        low = first
        high = first + n - 1
    for k in range(low, high + 1):
        node = k - first
        if period > 0:
            node = node % n
            if node < 0:
                node += n
        elif node < 0 or node >= n:
            continue
        d = nearest_image(origin + dx * (node + first) - c, period) / sigma
        f.node[f.n] = node
        f.q[f.n] = 0.5 * d * d
        f.value[f.n] = exp(-0.5 * d * d)
        f.slope[f.n] = -d * f.value[f.n] * (dx / sigma)
        f.n += 1


cdef void add_one(double* table, Factors* f, const long* shape, int dim, double scaled, double shift,
                  double cutoff) noexcept nogil:
    cdef int half = 1 << (dim - 1), b
    cdef long i0, i1, i2, row
    cdef double w[4]
    cdef double q
    cdef double* node
    for i0 in range(f[0].n):
        for i1 in range(f[1].n):
            q = f[0].q[i0] + f[1].q[i1]
            if q >= cutoff:
                continue
            w[0] = scaled * f[0].value[i0] * f[1].value[i1]
            w[1] = scaled * f[0].value[i0] * f[1].slope[i1]
            w[2] = scaled * f[0].slope[i0] * f[1].value[i1]
            w[3] = scaled * f[0].slope[i0] * f[1].slope[i1]
            row = (f[0].node[i0] * shape[1] + f[1].node[i1]) * shape[2]
            for i2 in range(f[2].n):
                if q + f[2].q[i2] < cutoff:
                    node = table + (row + f[2].node[i2]) * 2 * half
                    for b in range(half):
                        node[2 * b] += w[b] * f[2].value[i2]
                        node[2 * b + 1] += w[b] * f[2].slope[i2]
                    node[0] += shift


def add(double[:, ::1] table, const long[::1] shape, const long[::1] first, const double[::1] origin,
        const double[::1] spacing, const double[::1] period, const double[:, ::1] centres,
        const double[:, ::1] sigmas, const double[::1] heights, bint stretched=True) -> None:
    """Adds n hills to the nodes, one after the other: stretched Gaussians, or (if not `stretched`) truncated ones.

    table: (prod(shape), 2^d), nodes in C order. shape, first, origin, spacing, period: (d,); period 0 if not periodic.
    centres, sigmas: (n, d). heights: (n,).
    """
    cdef int dim = shape.shape[0], pad = MAX_DIM - dim, k
    cdef long total = pad, offset = 0, i
    cdef long full_shape[MAX_DIM]
    cdef Factors f[MAX_DIM]
    cdef double a = STRETCH_A if stretched else 1.0, b = STRETCH_B if stretched else 0.0
    cdef double cutoff = CUTOFF if stretched else INFINITY
    for k in range(dim):
        total += shape[k]
    cdef long* nodes = <long*>malloc(total * sizeof(long))
    cdef double* numbers = <double*>malloc(3 * total * sizeof(double))
    if nodes == NULL or numbers == NULL:
        free(nodes)
        free(numbers)
        raise MemoryError
    for k in range(MAX_DIM):
        full_shape[k] = 1 if k < pad else shape[k - pad]
        f[k] = Factors(1, nodes + offset, numbers + 3 * offset, numbers + 3 * offset + full_shape[k],
                       numbers + 3 * offset + 2 * full_shape[k])
        f[k].node[0], f[k].q[0], f[k].value[0], f[k].slope[0] = 0, 0, 1, 0  # kept for an axis that does not exist
        offset += full_shape[k]
    with nogil:
        for i in range(heights.shape[0]):
            for k in range(dim):
                fill(&f[pad + k], centres[i, k], sigmas[i, k], origin[k], spacing[k], first[k], shape[k], period[k],
                     stretched)
            add_one(&table[0, 0], f, full_shape, dim, heights[i] * a, heights[i] * b, cutoff)
    free(nodes)
    free(numbers)


def interpolate(const double[:, ::1] table, const long[::1] shape, const long[::1] first, const double[::1] origin,
                const double[::1] spacing, const double[::1] period, const double[::1] s, double[::1] gradient) -> float:
    """The d-cubic Hermite interpolant at s (d,) inside the grid; writes its exact gradient to `gradient` (d,)."""
    cdef int dim = shape.shape[0], pad = MAX_DIM - dim, k, a, a0, a1, a2, b, b0, b1, b2
    cdef int n0 = 2 if dim > 2 else 1, n1 = 2 if dim > 1 else 1
    cdef long cell, node, n_middle = shape[dim - 2] if dim > 1 else 1
    cdef long nodes[MAX_DIM][2]
    cdef double h[MAX_DIM][2][2]  # [axis][corner][value or slope of the node]: cubic Hermite basis, and its derivative
    cdef double dh[MAX_DIM][2][2]
    cdef double t, t2, t3, datum, value = 0
    cdef double g[MAX_DIM]
    for k in range(MAX_DIM):
        g[k] = 0
        if k < pad:
            nodes[k][0], h[k][0][0], dh[k][0][0] = 0, 1, 0
            continue
        t = (s[k - pad] - origin[k - pad]) / spacing[k - pad]
        cell = <long>floor(t)
        if period[k - pad] <= 0 and cell > first[k - pad] + shape[k - pad] - 2:
            cell = first[k - pad] + shape[k - pad] - 2  # the upper end belongs to the last cell
        t = t - cell
        t2 = t * t
        t3 = t2 * t
        h[k][0][0] = 1 - 3 * t2 + 2 * t3
        h[k][1][0] = 3 * t2 - 2 * t3
        h[k][0][1] = t - 2 * t2 + t3
        h[k][1][1] = t3 - t2
        dh[k][0][0] = -6 * t + 6 * t2
        dh[k][1][0] = 6 * t - 6 * t2
        dh[k][0][1] = 1 - 4 * t + 3 * t2
        dh[k][1][1] = 3 * t2 - 2 * t
        for a in range(2):
            node = cell + a - first[k - pad]
            if period[k - pad] > 0:
                node = node % shape[k - pad]
                if node < 0:
                    node += shape[k - pad]
            nodes[k][a] = node
    for a0 in range(n0):
        for a1 in range(n1):
            for a2 in range(2):
                node = (nodes[0][a0] * n_middle + nodes[1][a1]) * shape[dim - 1] + nodes[2][a2]
                b = 0
                for b0 in range(n0):
                    for b1 in range(n1):
                        for b2 in range(2):
                            datum = table[node, b]
                            b += 1
                            value += h[0][a0][b0] * h[1][a1][b1] * h[2][a2][b2] * datum
                            g[0] += dh[0][a0][b0] * h[1][a1][b1] * h[2][a2][b2] * datum
                            g[1] += h[0][a0][b0] * dh[1][a1][b1] * h[2][a2][b2] * datum
                            g[2] += h[0][a0][b0] * h[1][a1][b1] * dh[2][a2][b2] * datum
    for k in range(dim):
        gradient[k] = g[pad + k] / spacing[k]
    return value


def sum_direct(const double[:, ::1] centres, const double[:, ::1] sigmas, const double[::1] heights,
               const double[::1] period, const double[::1] s, double[::1] gradient) -> float:
    """The sum of n hills at s (d,), added in their order; writes its gradient to `gradient` (d,)."""
    cdef int dim = s.shape[0], k
    cdef long i
    cdef double q, gauss, value = 0
    cdef double d[MAX_DIM]
    cdef double g[MAX_DIM]
    for k in range(dim):
        g[k] = 0
    with nogil:
        for i in range(heights.shape[0]):
            q = 0
            for k in range(dim):
                d[k] = nearest_image(s[k] - centres[i, k], period[k]) / sigmas[i, k]
                q += d[k] * d[k]
            q = 0.5 * q
            if q < CUTOFF:
                gauss = heights[i] * exp(-q)
                value += STRETCH_A * gauss + STRETCH_B * heights[i]
                for k in range(dim):
                    g[k] -= STRETCH_A * gauss * d[k] / sigmas[i, k]
    for k in range(dim):
        gradient[k] = g[k]
    return value
