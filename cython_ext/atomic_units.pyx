"""Scales, copies and checks numbers between i-PI's messages and frames, in one pass over memory.

With numpy this takes three passes and about ten calls of half a microsecond each. Apart from the system calls, these
calls (at 8 atoms) or passes (at 32 768 atoms) would be most of the cost of serving a structure.
"""

cimport numpy as cnp
from libc.math cimport isfinite

cnp.import_array()

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* dst = factor * src (the same array, or disjoint ones); returns whether all of dst is finite. The exponent bits
       are tested, rather than a sum of x - x, because integer reductions vectorise without permission to reorder
       floating-point sums. */
    static int fs_scale(const double *src, double *dst, Py_ssize_t n, double factor)
    {
        const uint64_t exponent = 0x7ff0000000000000u;
        uint64_t bad = 0;
        #if defined(__GNUC__) && !defined(__clang__)
        #pragma GCC ivdep
        #endif
        for (Py_ssize_t i = 0; i < n; i++) {
            double x = factor * src[i];
            uint64_t bits;
            memcpy(&bits, &x, sizeof x);
            dst[i] = x;
            bad |= (uint64_t)((bits & exponent) == exponent);
        }
        return !bad;
    }

    /* The symmetric part of a 3x3 tensor. */
    static int fs_symmetric(const double *src, double *dst, double factor)
    {
        double s[9];
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                s[3 * i + j] = 0.5 * (src[3 * i + j] + src[3 * j + i]);
        return fs_scale(s, dst, 9, factor);
    }
    """
    int fs_scale(const double*, double*, Py_ssize_t, double) noexcept nogil
    int fs_symmetric(const double*, double*, double) noexcept nogil
    void* memcpy(void*, const void*, size_t) noexcept nogil


def scale(cnp.ndarray source, cnp.ndarray target, double factor) -> bool:
    """target = factor * source. Returns whether all of target is finite.

    Both must be float64, C-contiguous, aligned and of the same size; they may be the same array.
    """
    return fs_scale(<const double*>cnp.PyArray_DATA(source), <double*>cnp.PyArray_DATA(target),
                    cnp.PyArray_SIZE(target), factor)


cdef cnp.ndarray _matrix(numbers):
    """`numbers` as a C-contiguous float64 matrix, unchanged if it is one already (asking numpy would take 50 ns)."""
    if (cnp.PyArray_CheckExact(numbers) and cnp.PyArray_NDIM(numbers) == 2
            and cnp.PyArray_TYPE(numbers) == cnp.NPY_DOUBLE and cnp.PyArray_ISCARRAY_RO(numbers)):
        return numbers
    return cnp.PyArray_FROMANY(numbers, cnp.NPY_DOUBLE, 2, 2, cnp.NPY_ARRAY_CARRAY_RO)


def encode(results, cnp.ndarray energies, cnp.ndarray forces, cnp.ndarray virials,
           double energy_unit, double force_unit) -> bool:
    """Writes results into arrays of shapes (batch,), (batch, atoms, 3), (batch, 3, 3), divided by the units.

    Virials are symmetrised. `energies` may be unaligned. The last result is repeated until the batch is full. Returns
    whether everything is finite; raises `ValueError` if the shapes of a result do not fit.
    """
    cdef Py_ssize_t count = len(results), batch = forces.shape[0], atoms = forces.shape[1], i
    cdef cnp.ndarray f, w
    cdef double energy
    cdef int finite = 1
    for i in range(batch):
        if i < count:
            result = results[i]
            energy = result.energy / energy_unit
            f, w = _matrix(result.forces), _matrix(result.virial)
            if f.shape[0] != atoms or f.shape[1] != 3 or w.shape[0] != 3 or w.shape[1] != 3:
                raise ValueError
        finite &= fs_scale(<const double*>cnp.PyArray_DATA(f), <double*>cnp.PyArray_DATA(forces) + 3 * atoms * i,
                           3 * atoms, 1.0 / force_unit)
        finite &= fs_symmetric(<const double*>cnp.PyArray_DATA(w), <double*>cnp.PyArray_DATA(virials) + 9 * i,
                               1.0 / energy_unit)
        finite &= isfinite(energy)
        memcpy(<double*>cnp.PyArray_DATA(energies) + i, &energy, sizeof(double))
    return finite
