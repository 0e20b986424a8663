"""Evaluates cubic splines of many channels at many distances; forceserver/representation/spline.py has the layout."""

from cython.parallel cimport prange


cdef void point(const double* a, double t, Py_ssize_t n, double* value, double* derivative) noexcept nogil:
    """Values and derivatives of the n channels of one interval; `a` is its (4, n) block of coefficients."""
    cdef Py_ssize_t c
    cdef double a1, a2, a3
    for c in range(n):
        a1 = a[n + c]
        a2 = a[2 * n + c]
        a3 = a[3 * n + c]
        value[c] = a[c] + t * (a1 + t * (a2 + t * a3))
        derivative[c] = a1 + t * (2 * a2 + t * (3 * a3))


cdef void zero(Py_ssize_t n, double* value, double* derivative) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(n):
        value[c] = 0.0
        derivative[c] = 0.0


def evaluate(const double[::1] r, const double[:, :, ::1] coefficients, double cutoff, double step,
             double inverse_step, double[:, ::1] value, double[:, ::1] derivative, int threads):
    """Fills `value` and `derivative` (k, n_padded) at the distances `r` (k,) >= 0; zero where r >= cutoff."""
    cdef Py_ssize_t k, i, n = coefficients.shape[2]
    for k in prange(r.shape[0], nogil=True, schedule="static", num_threads=threads):
        if r[k] < cutoff:
            i = <Py_ssize_t>(r[k] * inverse_step)
            point(&coefficients[i, 0, 0], r[k] - i * step, n, &value[k, 0], &derivative[k, 0])
        else:
            zero(n, &value[k, 0], &derivative[k, 0])
