"""The weighted sum over centres of the l = 1 coefficients of one radial function, its gradient and strain derivative.

With x = r_ij, r = |x|, a radial function R(r) that includes sqrt(3 / 4 pi) and the cutoff, and weights w_i,

    s_m = sum_ij w_i h x_m,             h = R / r
    G_mb = d s_m / d x_b = w_i (h delta_mb + k x_m x_b),    k = (R' / r - R / r^2) / r
    d s_m / d strain_ab = sum_ij x_a G_mb = s_a delta_mb + sum_ij w_i k x_a x_m x_b

G is symmetric: six numbers per pair. A first pass over chunks of centres stores them; in a second one, every site sums
those of the pairs in which it is the neighbour. Nothing is scattered, so the result has the same bits for any number of
threads.
"""

from cython.parallel cimport prange
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t

cdef extern from "vector_mean.h" nogil:
    ctypedef struct VectorSums:
        double s[3][8]
        double third[10][8]
        double closest2[8]
    ctypedef struct VectorModel:
        const double* packed
        const double* images
        const double* table
        const int32_t* site_kind
        const double* weight
        const int32_t* centre_site
        double cutoff, step, inverse_step
        int32_t n_intervals
    void vector_sums_clear(VectorSums*)
    void vector_pairs(const VectorModel*, const int32_t*, const int16_t*, const int32_t*, int, VectorSums*, double*)
    double fs_sum_eight(const double*)
    double fs_smallest(const double*)

cdef enum:
    CHUNK = 128  # centres
    SUMS = 14    # s (3), third (10), closest2


def chunks(Py_ssize_t n_centres):
    """Number of rows of `partial`."""
    return (n_centres + CHUNK - 1) // CHUNK


cdef extern from "threads.h" nogil:
    int threads_for(int64_t work, int64_t grain, int64_t most)


def vector_mean(const double[:, ::1] packed, const double[:, ::1] images, const int64_t[::1] first,
                const int32_t[::1] pair_site, const int16_t[::1] pair_image, const int32_t[::1] centre_site,
                const int8_t[::1] is_centre, const int32_t[::1] site_kind, const double[::1] weight,
                const double[:, :, ::1] table, double cutoff, double step, double inverse_step,
                const int32_t[::1] transposed_first, const int32_t[::1] transposed_pair,
                double[:, ::1] pair_gradient, double[:, ::1] partial,
                double[::1] value, double[:, :, ::1] gradient, double[:, :, ::1] strain):
    """Writes value (3,), gradient (3, n_sites, 3) [m, site, b] and strain (3, 3, 3) [m, a, b].

    Returns the smallest squared distance. pair_gradient (n_pairs, 6) and partial (chunks, 14) are work space."""
    cdef Py_ssize_t n_centres = centre_site.shape[0], n_sites = packed.shape[0], n_pairs = pair_site.shape[0]
    cdef Py_ssize_t n_chunks = partial.shape[0], c, k
    cdef int m, a, b
    cdef double closest2 = 1e300
    cdef double total[SUMS]
    cdef VectorModel model
    model.packed = &packed[0, 0]
    model.images = &images[0, 0]
    model.table = &table[0, 0, 0]
    model.site_kind = &site_kind[0]
    model.weight = &weight[0]
    model.centre_site = &centre_site[0]
    model.cutoff = cutoff
    model.step = step
    model.inverse_step = inverse_step
    model.n_intervals = <int32_t>(table.shape[1] - 1)
    with nogil:
        for c in prange(n_chunks, num_threads=threads_for(n_pairs, 4096, n_chunks), schedule="static"):
            one_chunk(&model, &first[0], &pair_site[0], &pair_image[0],
                      c * CHUNK, min(n_centres, (c + 1) * CHUNK),
                      &pair_gradient[0, 0], &gradient[0, 0, 0], 3 * n_sites, &partial[c, 0])
        for k in prange(n_sites, num_threads=threads_for(n_sites, 8192, n_sites), schedule="static"):
            collect(is_centre[k], &transposed_first[k], &transposed_pair[0], &pair_gradient[0, 0],
                    &gradient[0, k, 0], 3 * n_sites)
        for k in range(SUMS):
            total[k] = 0.0
        for c in range(n_chunks):
            for k in range(SUMS - 1):
                total[k] += partial[c, k]
            closest2 = min(closest2, partial[c, SUMS - 1])
    for m in range(3):
        value[m] = total[m]
        for a in range(3):
            for b in range(3):
                strain[m, a, b] = total[3 + third_index(m, a, b)] + (total[a] if m == b else 0.0)
    return closest2


cdef inline int third_index(int a, int b, int c) noexcept nogil:
    """Index of x_a x_b x_c among xxx xxy xxz xyy xyz xzz yyy yyz yzz zzz."""
    cdef int y = (a == 1) + (b == 1) + (c == 1)
    cdef int z = (a == 2) + (b == 2) + (c == 2)
    return (y + z) * (y + z + 1) // 2 + z


cdef void one_chunk(const VectorModel* model, const int64_t* first, const int32_t* pair_site,
                    const int16_t* pair_image, Py_ssize_t start, Py_ssize_t stop, double* pair_gradient,
                    double* gradient, Py_ssize_t plane, double* partial) noexcept nogil:
    cdef VectorSums sums
    cdef int64_t p = first[start], last = first[stop], end = first[start + 1], q
    cdef Py_ssize_t c = start
    cdef int k
    cdef double own[6]
    cdef int32_t centre[8]
    vector_sums_clear(&sums)
    while p < last:
        for k in range(8):
            q = min(p + k, last - 1)
            while q >= end:
                c += 1
                end = first[c + 1]
            centre[k] = <int32_t>c
        vector_pairs(model, pair_site + p, pair_image + p, centre, <int>min(8, last - p), &sums, pair_gradient + 6 * p)
        p += 8
    for c in range(start, stop):
        for k in range(6):
            own[k] = 0.0
        for p in range(first[c], first[c + 1]):
            for k in range(6):
                own[k] -= pair_gradient[6 * p + k]
        unfold(own, gradient + 3 * <int64_t>model.centre_site[c], plane)
    for k in range(3):
        partial[k] = fs_sum_eight(sums.s[k])
    for k in range(10):
        partial[3 + k] = fs_sum_eight(sums.third[k])
    partial[SUMS - 1] = fs_smallest(sums.closest2)


cdef inline void unfold(const double* g, double* full, Py_ssize_t plane) noexcept nogil:
    """Writes (xx yy zz xy xz yz) as the three rows of the symmetric matrix, `plane` apart."""
    full[0] = g[0]
    full[1] = g[3]
    full[2] = g[4]
    full[plane] = g[3]
    full[plane + 1] = g[1]
    full[plane + 2] = g[5]
    full[2 * plane] = g[4]
    full[2 * plane + 1] = g[5]
    full[2 * plane + 2] = g[2]


cdef inline void collect(int8_t is_centre, const int32_t* first, const int32_t* pair, const double* pair_gradient,
                         double* full, Py_ssize_t plane) noexcept nogil:
    cdef double g[6]
    cdef int64_t t
    cdef int k
    for k in range(6):
        g[k] = 0.0
    if is_centre:
        g[0] = full[0]
        g[1] = full[plane + 1]
        g[2] = full[2 * plane + 2]
        g[3] = full[1]
        g[4] = full[2]
        g[5] = full[plane + 2]
    for t in range(first[0], first[1]):
        for k in range(6):
            g[k] += pair_gradient[6 * <int64_t>pair[t] + k]
    unfold(g, full, plane)
