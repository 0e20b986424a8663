"""Splined pair potentials: energies, forces and virials of a batch of frames, which are shared among the threads.

The energy E of a pair is a cubic in u = r^2 on each interval of a grid that is defined by the bits of u: an interval
holds all doubles with the same exponent and the same leading bits of the mantissa. Its number is therefore a shift of
the bits of u, the spacing grows with r, and neither a square root nor a division is needed. With t = u - u_left,

    E = a0 + t (a1 + t (a2 + t a3)),    -dE/dr_j = -2 (dE/du) (r_j - r_i)

One thread sums a frame, in the order of its pairs, so the number of threads does not change a bit of the result.
"""

cimport openmp
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint64_t

cdef extern from "splined_pair.h" nogil:
    ctypedef struct Tables:
        int32_t n_kinds
        int shift
        uint64_t first
        int64_t n_intervals
        const double* a
        const int32_t* channel
        const double* low
        const double* high
    const int FS_PAIR
    const int FS_TOO_CLOSE
    int fs_pair(const Tables*, int32_t, int32_t, double, double*, double*)

cdef int64_t ENOUGH_PAIRS = 20000  # for fewer pairs (about 0.1 ms of work) waking threads costs more than it saves


cdef struct Sums:
    double energy
    int64_t too_close         # a pair closer than its table begins, or -1


cdef Sums sum_pairs(const Tables* tables, const int32_t* kind, int64_t n, const uint64_t* pairs, const double* vectors,
                    double* forces, double* virial) noexcept nogil:
    cdef Sums sums
    cdef int64_t p
    cdef uint64_t i, j
    cdef int found
    cdef double dx, dy, dz, energy, slope, fx, fy, fz
    sums.energy = 0.0
    sums.too_close = -1
    for p in range(n):
        i, j = pairs[2 * p], pairs[2 * p + 1]
        dx, dy, dz = vectors[3 * p], vectors[3 * p + 1], vectors[3 * p + 2]
        found = fs_pair(tables, kind[i], kind[j], dx * dx + dy * dy + dz * dz, &energy, &slope)
        if found == FS_TOO_CLOSE:
            sums.too_close = p
            return sums
        if found != FS_PAIR:
            continue
        sums.energy += energy
        fx, fy, fz = slope * dx, slope * dy, slope * dz
        forces[3 * i] -= fx
        forces[3 * i + 1] -= fy
        forces[3 * i + 2] -= fz
        forces[3 * j] += fx
        forces[3 * j + 1] += fy
        forces[3 * j + 2] += fz
        virial[0] += dx * fx
        virial[1] += dx * fy
        virial[2] += dx * fz
        virial[4] += dy * fy
        virial[5] += dy * fz
        virial[8] += dz * fz
    virial[3], virial[6], virial[7] = virial[1], virial[2], virial[5]
    return sums


def evaluate(const double[:, :, ::1] coefficients, const int32_t[:, ::1] channel_of, const double[::1] low,
             const double[::1] high, int shift, uint64_t first, const int32_t[::1] kind,
             const int64_t[::1] n_pairs, const uint64_t[::1] pairs, const uint64_t[::1] vectors,
             double[::1] energies, double[:, :, ::1] forces, double[:, :, ::1] virials, int64_t[::1] too_close):
    """Adds the sums over the pairs of each frame to `energies` (B,), `forces` (B, N, 3), `virials` (B, 3, 3).

    kind (N,): row and column of channel_of for each atom. pairs, vectors (B,): addresses of the (n, 2) uint64 indices
    and the (n, 3) float64 vectors r_j - r_i of n_pairs[b] = n pairs, each pair once. too_close (B,) receives -1, or the
    first pair that is closer than its table begins; the sum for that frame was stopped there.
    """
    cdef Tables tables
    cdef Sums sums
    cdef int64_t frame
    cdef int64_t n_frames = n_pairs.shape[0]
    cdef int64_t total = 0
    cdef int n_threads = 1
    for frame in range(n_frames):
        total += n_pairs[frame]
    if total >= ENOUGH_PAIRS:
        n_threads = <int>min(<int64_t>openmp.omp_get_max_threads(), n_frames)
    tables.n_kinds = <int32_t>channel_of.shape[0]
    tables.shift = shift
    tables.first = first
    tables.n_intervals = coefficients.shape[1]
    tables.a = &coefficients[0, 0, 0]
    tables.channel = &channel_of[0, 0]
    tables.low = &low[0]
    tables.high = &high[0]
    for frame in prange(n_frames, nogil=True, schedule="dynamic", num_threads=n_threads):
        sums = sum_pairs(&tables, &kind[0], n_pairs[frame], <const uint64_t*>pairs[frame],
                         <const double*>vectors[frame], &forces[frame, 0, 0], &virials[frame, 0, 0])
        energies[frame] = sums.energy
        too_close[frame] = sums.too_close
