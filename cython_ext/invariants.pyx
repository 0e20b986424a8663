"""The power spectrum of selected features and its vector-Jacobian product.

    p_f = w_f sum_m c_{1 l m} c_{2 l m},    1 and 2 the channels (block, n) of feature f

A *term* joins one channel (the source) with a tile of eight channels of the same l: lane k belongs to feature[k], or to
none if weight[k] = 0. Features are spread over terms once for the values, and twice for the derivative, which needs both
dp/dc_1 and dp/dc_2. Every centre is computed by one thread.
"""

from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset
cimport openmp

cdef extern from "invariants.h" nogil:
    void fs_products(int, int, const double*, const double*, double*)
    void fs_pull_products(int, int, const double*, const double*, const int32_t*, const double*, double*)
    double fs_dot(int, const double*, const double*)


cdef extern from "threads.h" nogil:
    int threads_for(int64_t work, int64_t grain, int64_t most)


def power_spectrum(const double[:, :, ::1] c, const int32_t[:, ::1] terms, const int32_t[:, ::1] feature,
                   const double[:, ::1] weight, bint normalise, double[:, ::1] p, double[::1] norm):
    """terms: (n, 4), each source, tile (offsets into the coefficients of a centre), rows 2 l + 1, stride.
    p: (n_centres, n_features); norm: (n_centres,), the length of p before normalisation (if there is any)."""
    cdef Py_ssize_t n_centres = c.shape[0], i
    cdef int threads = threads_for(n_centres * terms.shape[0], 16384, n_centres)
    with nogil:
        for i in prange(n_centres, num_threads=threads, schedule="static"):
            spectrum_of(&c[i, 0, 0], terms, feature, weight, &p[i, 0])
            if normalise:
                norm[i] = scale_to_unit(<int>p.shape[1], &p[i, 0])


cdef void spectrum_of(const double* c, const int32_t[:, ::1] terms, const int32_t[:, ::1] feature,
                      const double[:, ::1] weight, double* p) noexcept nogil:
    cdef Py_ssize_t t
    cdef int k
    cdef double lanes[8]
    for t in range(terms.shape[0]):
        fs_products(terms[t, 2], terms[t, 3], c + terms[t, 0], c + terms[t, 1], lanes)
        for k in range(8):
            if weight[t, k] != 0.0:
                p[feature[t, k]] = weight[t, k] * lanes[k]


cdef double scale_to_unit(int n, double* p) noexcept nogil:
    cdef double norm = sqrt(fs_dot(n, p, p))
    cdef double inverse = 1.0 / norm if norm > 0.0 else 0.0
    cdef int k
    for k in range(n):
        p[k] *= inverse
    return norm


def pull_back(const double[:, :, ::1] c, const int32_t[:, ::1] terms, const int32_t[:, ::1] feature,
              const double[:, ::1] weight, bint normalise, const double[:, ::1] p, const double[::1] norm,
              const double[:, ::1] dp, double[:, ::1] work, double[:, :, ::1] g):
    """g = dE/dc of an energy with dE/dp = dp; p and norm as `power_spectrum` left them. work: (threads, n_features)."""
    cdef Py_ssize_t n_centres = c.shape[0], i
    cdef int threads = threads_for(n_centres * terms.shape[0], 16384, min(n_centres, work.shape[0]))
    with nogil:
        for i in prange(n_centres, num_threads=threads, schedule="static"):
            memset(&g[i, 0, 0], 0, g.shape[1] * g.shape[2] * sizeof(double))
            if normalise:
                project_out(<int>p.shape[1], &p[i, 0], norm[i], &dp[i, 0], &work[openmp.omp_get_thread_num(), 0])
                pull_back_of(&c[i, 0, 0], terms, feature, weight, &work[openmp.omp_get_thread_num(), 0], &g[i, 0, 0])
            else:
                pull_back_of(&c[i, 0, 0], terms, feature, weight, &dp[i, 0], &g[i, 0, 0])


cdef void project_out(int n, const double* p, double norm, const double* dp, double* out) noexcept nogil:
    """Derivative through p / |p|; zero where there is no neighbour."""
    cdef double along = fs_dot(n, p, dp)
    cdef double inverse = 1.0 / norm if norm > 0.0 else 0.0
    cdef int k
    for k in range(n):
        out[k] = (dp[k] - along * p[k]) * inverse


cdef void pull_back_of(const double* c, const int32_t[:, ::1] terms, const int32_t[:, ::1] feature,
                       const double[:, ::1] weight, const double* dp, double* g) noexcept nogil:
    cdef Py_ssize_t t
    for t in range(terms.shape[0]):
        fs_pull_products(terms[t, 2], terms[t, 3], c + terms[t, 0], &weight[t, 0], &feature[t, 0], dp, g + terms[t, 1])
