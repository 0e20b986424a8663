"""The power spectrum of selected features and its vector-Jacobian product.

    p_f = w_f sum_m c_{1 l m} c_{2 l m},    1 and 2 the channels (block, n) of feature f

A *term* combines one channel (the source) with a tile of eight channels of the same l: lane k contributes to
feature[k], or to none if weight[k] = 0. Each feature occurs in one lane for the values, and in two for the derivative,
which needs both dp/dc_1 and dp/dc_2. Every centre is computed by one thread.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset
cimport openmp

cdef extern from "invariants.h" nogil:
    ctypedef struct Terms:
        int n
        const int32_t* terms
        const int32_t* feature
        const double* weight
    void fs_spectrum(const Terms*, const double*, double*)
    double fs_normalise(int, double*)
    void fs_project_out(int, const double*, double, const double*, double*)
    void fs_pull_spectrum(const Terms*, const double*, const double*, double*)


cdef extern from "threads.h" nogil:
    int threads_for(int64_t work, int64_t grain, int64_t most)


def power_spectrum(const double[:, :, ::1] c, const int32_t[:, ::1] terms, const int32_t[:, ::1] feature,
                   const double[:, ::1] weight, bint normalise, double[:, ::1] p, double[::1] norm):
    """Writes the features p (n_centres, n_features), and to norm (n_centres,) their length before any normalisation.

    terms: (n, 4): source and tile (offsets into the coefficients of a centre), 2 l + 1, and stride of each term."""
    cdef Py_ssize_t n_centres = c.shape[0], i
    cdef int threads = threads_for(n_centres * terms.shape[0], 16384, n_centres)
    cdef Terms t = Terms(terms.shape[0], &terms[0, 0], &feature[0, 0], &weight[0, 0])
    with nogil:
        for i in prange(n_centres, num_threads=threads, schedule="static"):
            fs_spectrum(&t, &c[i, 0, 0], &p[i, 0])
            if normalise:
                norm[i] = fs_normalise(<int>p.shape[1], &p[i, 0])


def pull_back(const double[:, :, ::1] c, const int32_t[:, ::1] terms, const int32_t[:, ::1] feature,
              const double[:, ::1] weight, bint normalise, const double[:, ::1] p, const double[::1] norm,
              const double[:, ::1] dp, double[:, ::1] work, double[:, :, ::1] g):
    """Writes g = dE/dc of an energy with dE/dp = dp; p and norm come from `power_spectrum`. work: (threads,
    n_features)."""
    cdef Py_ssize_t n_centres = c.shape[0], i
    cdef int threads = threads_for(n_centres * terms.shape[0], 16384, min(n_centres, work.shape[0]))
    cdef Terms t = Terms(terms.shape[0], &terms[0, 0], &feature[0, 0], &weight[0, 0])
    with nogil:
        for i in prange(n_centres, num_threads=threads, schedule="static"):
            memset(&g[i, 0, 0], 0, g.shape[1] * g.shape[2] * sizeof(double))
            if normalise:
                fs_project_out(<int>p.shape[1], &p[i, 0], norm[i], &dp[i, 0], &work[openmp.omp_get_thread_num(), 0])
                fs_pull_spectrum(&t, &c[i, 0, 0], &work[openmp.omp_get_thread_num(), 0], &g[i, 0, 0])
            else:
                fs_pull_spectrum(&t, &c[i, 0, 0], &dp[i, 0], &g[i, 0, 0])
