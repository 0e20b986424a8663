"""Atomic energies of a sparse polynomial kernel model and their gradients with respect to the features.

    E_i = sum_t weight_t (p_i . q_t)^zeta,    dE_i/dp_i = sum_t zeta weight_t (p_i . q_t)^(zeta - 1) q_t

Each block of centres is computed by one thread, in a fixed order, so results do not depend on the number of threads.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t
cimport openmp

import numpy as np

cdef extern from "sparse_kernel.h" nogil:
    const int FS_CENTRES
    const int FS_POINTS
    const int FS_MEMBERS
    const int FS_DIRECTIONS
    ctypedef struct SparsePoints:
        int64_t n_features, n_points
        int zeta
        const double* weight
        const double* mean
        const double* along
        double sum
        const double* sums
        const double* members
        const double* by_point
        const double* by_feature
        const float* by_feature_single
        const double* parts
        const double* directions
    int64_t fs_columns_double(int64_t)
    int64_t fs_columns_float(int64_t)
    void fs_pack_by_point(int64_t, int64_t, const double*, double*)
    void fs_pack_by_feature_double(int64_t, int64_t, const double*, double*)
    void fs_pack_by_feature_float(int64_t, int64_t, const double*, float*)
    int64_t fs_work_size(int64_t)
    void fs_centres(const SparsePoints*, int, const double*, double*, double*, double*, double*)


cdef class SparseKernel:
    """A model with points (M, F), weights (M,) and members (M, 8) or None, all float64.

    single: whether the product that gives the forces is computed in single precision.
    """

    cdef SparsePoints q
    cdef int threads
    cdef double[::1] weights, mean, along, sums, by_point, by_feature, parts
    cdef float[::1] by_feature_single
    cdef double[:, ::1] members, work, directions

    def __init__(self, const double[:, ::1] points, const double[::1] weights, const double[:, ::1] members, int zeta,
                 bint single):
        cdef int64_t n = points.shape[0]
        cdef int64_t n_features = points.shape[1]
        cdef int64_t padded = (n + FS_POINTS - 1) // FS_POINTS * FS_POINTS
        self.threads = openmp.omp_get_max_threads()
        self.work = np.zeros((self.threads, fs_work_size(n_features)))
        self.weights = np.zeros(padded)
        self.weights[:n] = weights
        self.by_point = np.zeros(padded * n_features)
        fs_pack_by_point(n, n_features, &points[0, 0], &self.by_point[0])
        self.mean, along_mean, s_0, self.sums = about_the_mean(np.asarray(points), np.asarray(weights), zeta)
        self.along = np.append(along_mean, np.zeros(padded - n))
        self.q = SparsePoints(
            n_features, padded, zeta, &self.weights[0], &self.mean[0], &self.along[0], s_0, &self.sums[0], NULL,
            &self.by_point[0], NULL, NULL, NULL, NULL
        )
        if members is not None:
            self.members = np.zeros((padded, FS_MEMBERS))
            self.members[:n] = members
            self.q.members = &self.members[0, 0]
        cdef const double[:, ::1] along, rest
        if single:
            every = np.zeros((padded, n_features))
            every[:n] = points
            directions = principal_directions(every)
            along = np.ascontiguousarray(every @ directions.T)
            rest = every - np.asarray(along) @ directions
            self.directions, self.parts = directions, np.zeros(padded * FS_DIRECTIONS)
            fs_pack_by_feature_double(padded, FS_DIRECTIONS, &along[0, 0], &self.parts[0])
            self.q.parts, self.q.directions = &self.parts[0], &self.directions[0, 0]
            self.by_feature_single = np.zeros(padded * fs_columns_float(n_features), dtype=np.float32)
            fs_pack_by_feature_float(n, n_features, &rest[0, 0], &self.by_feature_single[0])
            self.q.by_feature_single = &self.by_feature_single[0]
        else:
            self.by_feature = np.zeros(padded * fs_columns_double(n_features))
            fs_pack_by_feature_double(n, n_features, &points[0, 0], &self.by_feature[0])
            self.q.by_feature = &self.by_feature[0]

    def evaluate(self, const double[:, ::1] p, double[::1] energies, double[:, ::1] gradient,
                 double[:, ::1] member_energies):
        """Writes energies (n,) and gradients dE/dp (n, F) for features p (n, F), and member_energies (n, 8) if any."""
        cdef int64_t n = p.shape[0]
        cdef int64_t n_blocks = (n + FS_CENTRES - 1) // FS_CENTRES
        cdef int64_t block, first
        cdef int threads = <int>min(<int64_t>min(openmp.omp_get_max_threads(), self.threads), n_blocks)
        for block in prange(n_blocks, nogil=True, schedule="dynamic", num_threads=threads):
            first = block * FS_CENTRES
            fs_centres(&self.q, <int>min(<int64_t>FS_CENTRES, n - first), &p[first, 0], &energies[first],
                       &member_energies[first, 0], &gradient[first, 0], &self.work[openmp.omp_get_thread_num(), 0])


def about_the_mean(points, weights, zeta):
    """e (F,), e . q (M,), S_0 and S_1 (F,) as defined in sparse_kernel.h; summed in long double where it is longer."""
    mean = points.mean(axis=0)
    mean /= max(np.linalg.norm(mean), 1e-300)
    along = points @ mean
    shares = weights * along.astype(np.longdouble) ** (zeta - 1)
    sums = np.array([(shares * column).sum() for column in points.T], dtype=np.float64)
    return mean, along, float((shares * along).sum()), sums


def principal_directions(points):
    """Orthonormal rows (DIRECTIONS, F) along which the points (M, F) are longest; rows beyond F are zero."""
    directions = np.zeros((FS_DIRECTIONS, points.shape[1]))
    vectors = np.linalg.eigh(points.T @ points)[1][:, ::-1][:, :FS_DIRECTIONS]
    directions[: vectors.shape[1]] = vectors.T
    return directions
