"""Atomic energies of a sparse polynomial kernel model and their gradients with respect to the features.

    E_i = sum_t weight_t (p_i . q_t)^zeta,    dE_i/dp_i = sum_t zeta weight_t (p_i . q_t)^(zeta - 1) q_t

Centres are computed in blocks, each by one thread in a fixed order: the number of threads does not change a bit.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t
cimport openmp

import numpy as np

cdef extern from "sparse_kernel.h" nogil:
    const int FS_CENTRES
    const int FS_POINTS
    const int FS_MEMBERS
    int64_t fs_packed_size_double(int64_t, int64_t)
    int64_t fs_packed_size_float(int64_t, int64_t)
    int64_t fs_work_size_double(int64_t)
    int64_t fs_work_size_float(int64_t)
    void fs_pack_double(int64_t, int64_t, const double*, double*, double*)
    void fs_pack_float(int64_t, int64_t, const double*, float*, float*)
    void fs_centres_double(int, int64_t, int64_t, int, const double*, const double*, const double*, const double*,
                           const double*, double*, double*, double*, double*)
    void fs_centres_float(int, int64_t, int64_t, int, const float*, const float*, const double*, const double*,
                          const double*, double*, double*, double*, float*)

MEMBERS = FS_MEMBERS


cdef class SparseKernel:
    """points (M, F), weights (M,), members (M, MEMBERS) or None: float64; single: products in single precision."""

    cdef readonly int64_t n_features
    cdef int64_t n_points
    cdef int zeta, threads
    cdef bint single
    cdef double[:, ::1] packed_double, work_double
    cdef float[:, ::1] packed_float, work_float
    cdef double[::1] weights
    cdef double[:, ::1] members

    def __init__(self, const double[:, ::1] points, const double[::1] weights,
                 const double[:, ::1] members, int zeta, bint single):
        cdef int64_t n = points.shape[0]
        self.n_features = points.shape[1]
        self.n_points = (n + FS_POINTS - 1) // FS_POINTS * FS_POINTS
        self.zeta = zeta
        self.single = single
        self.threads = openmp.omp_get_max_threads()
        self.weights = np.zeros(self.n_points)
        self.weights[:n] = weights
        if members is not None:
            self.members = np.zeros((self.n_points, FS_MEMBERS))
            self.members[:n] = members
        if single:
            self.packed_float = np.zeros((2, fs_packed_size_float(n, self.n_features)), dtype=np.float32)
            self.work_float = np.zeros((self.threads, fs_work_size_float(self.n_features)), dtype=np.float32)
            fs_pack_float(n, self.n_features, &points[0, 0], &self.packed_float[0, 0], &self.packed_float[1, 0])
        else:
            self.packed_double = np.zeros((2, fs_packed_size_double(n, self.n_features)))
            self.work_double = np.zeros((self.threads, fs_work_size_double(self.n_features)))
            fs_pack_double(n, self.n_features, &points[0, 0], &self.packed_double[0, 0], &self.packed_double[1, 0])

    def evaluate(self, const double[:, ::1] p, double[::1] energies, double[:, ::1] gradient,
                 double[:, ::1] member_energies):
        """From p (n, F): energies (n,), dE/dp to gradient (n, F); member_energies (n, MEMBERS) if there are members."""
        cdef int64_t n = p.shape[0]
        cdef int64_t n_blocks = (n + FS_CENTRES - 1) // FS_CENTRES
        cdef int64_t block, first
        cdef int count, thread
        cdef int threads = <int>min(<int64_t>min(openmp.omp_get_max_threads(), self.threads), n_blocks)
        cdef const double* members = NULL
        if self.members is not None:
            members = &self.members[0, 0]
        for block in prange(n_blocks, nogil=True, schedule="dynamic", num_threads=threads):
            first = block * FS_CENTRES
            count = <int>min(<int64_t>FS_CENTRES, n - first)
            thread = openmp.omp_get_thread_num()
            if self.single:
                fs_centres_float(
                    count, self.n_features, self.n_points, self.zeta, &self.packed_float[0, 0],
                    &self.packed_float[1, 0], &self.weights[0], members, &p[first, 0], &energies[first],
                    &member_energies[first, 0] if members != NULL else NULL, &gradient[first, 0],
                    &self.work_float[thread, 0])
            else:
                fs_centres_double(
                    count, self.n_features, self.n_points, self.zeta, &self.packed_double[0, 0],
                    &self.packed_double[1, 0], &self.weights[0], members, &p[first, 0], &energies[first],
                    &member_energies[first, 0] if members != NULL else NULL, &gradient[first, 0],
                    &self.work_double[thread, 0])
