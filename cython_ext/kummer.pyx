"""Sums of r^p exp(-A r^2) 1F1(alpha, beta, xi r^2) in double-double arithmetic.

Orthonormal Gaussian-type orbitals are differences of nearly equal primitives: at n_max = 20 up to 12 digits cancel. All
terms of the series of 1F1 are positive, so the primitives have the 31 digits of the arithmetic, and the sums have all
15 digits of a double. Numbers are pairs hi + lo with |lo| <= ulp(hi) / 2 (T. J. Dekker, Numer. Math. 18, 224 (1971)).
Loops over the points of a block are innermost, for SIMD. The compiler must not contract a * b + c (see meson.build).
"""

import numpy as np

from libc.math cimport M_LN2, exp, ldexp, rint

cdef extern from *:
    """
    #include <math.h>
    /* The exact error a * b - p of p = fl(a * b); without fused multiply-add, by Dekker's and Veltkamp's splitting. */
    static inline double fs_product_error(double a, double b, double p) {
    #ifdef FP_FAST_FMA
        return fma(a, b, -p);
    #else
        const double ta = 134217729.0 * a, tb = 134217729.0 * b;
        const double ah = ta - (ta - a), bh = tb - (tb - b), al = a - ah, bl = b - bh;
        return ((ah * bh - p) + ah * bl + al * bh) + al * bl;
    #endif
    }
    """
    double product_error "fs_product_error"(double a, double b, double p) nogil

cdef enum:
    BLOCK = 8
    MAX_FUNCTIONS = 32

cdef double LN2_LO = 2.3190468138462996e-17  # ln 2 - M_LN2

cdef struct dd:
    double hi
    double lo


cdef inline dd normalised(double hi, double lo) noexcept nogil:
    """hi + lo for |hi| >= |lo|."""
    cdef dd s
    s.hi = hi + lo
    s.lo = lo - (s.hi - hi)
    return s


cdef inline dd add(dd a, dd b) noexcept nogil:
    cdef double s = a.hi + b.hi
    cdef double t = s - a.hi
    return normalised(s, ((a.hi - (s - t)) + (b.hi - t)) + (a.lo + b.lo))


cdef inline dd multiply(dd a, dd b) noexcept nogil:
    cdef double p = a.hi * b.hi
    return normalised(p, product_error(a.hi, b.hi, p) + (a.hi * b.lo + a.lo * b.hi))


cdef inline dd scale(dd a, double b) noexcept nogil:
    cdef double p = a.hi * b
    return normalised(p, product_error(a.hi, b, p) + a.lo * b)


cdef inline dd quotient(double a, double b) noexcept nogil:
    cdef dd q
    cdef double p
    q.hi = a / b
    p = q.hi * b
    q.lo = ((a - p) - product_error(q.hi, b, p)) / b
    return q


cdef inline dd pair(const double* x) noexcept nogil:
    cdef dd a
    a.hi = x[0]
    a.lo = x[1]
    return a


cdef void series(double alpha, double beta, const dd* x, dd* value, dd* slope) noexcept nogil:
    """Multiplies value by 1F1(alpha, beta, x) and sets slope = x d(value)/dx, for a block of points."""
    cdef double th[BLOCK], tl[BLOCK], sh[BLOCK], sl[BLOCK], dh[BLOCK], dl[BLOCK], xh[BLOCK], xl[BLOCK]
    cdef dd t, s, ratio, xi
    cdef int i
    cdef double k = 0
    cdef bint more = True
    for i in range(BLOCK):
        th[i] = sh[i] = value[i].hi
        tl[i] = sl[i] = value[i].lo
        dh[i] = dl[i] = 0.0
        xh[i] = x[i].hi
        xl[i] = x[i].lo
    while more:
        ratio = quotient(alpha + k, (beta + k) * (k + 1))
        k += 1
        for i in range(BLOCK):
            xi.hi = xh[i]
            xi.lo = xl[i]
            t.hi = th[i]
            t.lo = tl[i]
            t = multiply(multiply(t, xi), ratio)
            th[i] = t.hi
            tl[i] = t.lo
            s.hi = sh[i]
            s.lo = sl[i]
            s = add(s, t)
            sh[i] = s.hi
            sl[i] = s.lo
            s.hi = dh[i]
            s.lo = dl[i]
            s = add(s, scale(t, k))
            dh[i] = s.hi
            dl[i] = s.lo
        more = False
        for i in range(BLOCK):
            more |= th[i] * k > 1e-32 * dh[i]
    for i in range(BLOCK):
        value[i].hi = sh[i]
        value[i].lo = sl[i]
        slope[i].hi = dh[i]
        slope[i].lo = dl[i]


cdef void block(const double* r, int points, int n_out, int n_in, const double* a, const int* powers,
                const double* alpha, const double* beta, const double* xi, const double* weights,
                double* value, double* derivative) noexcept nogil:
    cdef dd sums[MAX_FUNCTIONS][BLOCK]
    cdef dd slopes[MAX_FUNCTIONS][BLOCK]
    cdef dd r2[BLOCK], ar2[BLOCK], x[BLOCK], g[BLOCK], d[BLOCK]
    cdef dd ri, w, zero, ln2, shift
    cdef double binary_exponent[BLOCK]
    cdef double factor
    cdef int i, j, n, p
    zero.hi = zero.lo = 0.0
    ln2.hi = M_LN2
    ln2.lo = LN2_LO
    for i in range(BLOCK):
        ri.hi = r[i if i < points else 0]
        ri.lo = 0.0
        r2[i] = multiply(ri, ri)
        ar2[i] = multiply(pair(a), r2[i])
        # 1F1 grows at most as exp(A r^2). Half of the factor exp(-A r^2) is included from the start, so that neither
        # the first nor the last numbers leave the range of doubles.
        binary_exponent[i] = rint(0.5 * ar2[i].hi / M_LN2)
    for j in range(n_out):
        for i in range(BLOCK):
            sums[j][i] = zero
            slopes[j][i] = zero
    for n in range(n_in):
        for i in range(BLOCK):
            x[i] = multiply(pair(&xi[2 * n]), r2[i])
            g[i].hi = ldexp(1.0, -<int>binary_exponent[i])
            g[i].lo = 0.0
            for p in range(powers[n]):
                g[i] = scale(g[i], r[i if i < points else 0])
        series(alpha[n], beta[n], x, g, d)
        for i in range(BLOCK):
            d[i] = add(scale(d[i], 2.0), scale(g[i], powers[n]))
        for j in range(n_out):
            w = pair(&weights[2 * (j * n_in + n)])
            for i in range(BLOCK):
                sums[j][i] = add(sums[j][i], multiply(w, g[i]))
                slopes[j][i] = add(slopes[j][i], multiply(w, d[i]))
    for i in range(points):
        shift = add(scale(ln2, binary_exponent[i]), scale(ar2[i], -1.0))
        factor = exp(shift.hi) * (1.0 + shift.lo)
        for j in range(n_out):
            value[i * n_out + j] = factor * sums[j][i].hi
            w = add(slopes[j][i], scale(multiply(ar2[i], sums[j][i]), -2.0))
            derivative[i * n_out + j] = factor * w.hi / r[i]


def sums(const double[::1] r, const double[::1] a, const int[::1] powers, const double[::1] alpha,
         const double[::1] beta, const double[:, ::1] xi, const double[:, :, ::1] weights):
    """sum_n weights[j, n] r^powers[n] exp(-a r^2) 1F1(alpha[n], beta[n], xi[n] r^2) and its derivative.

    r: (k,) > 0. a (2,), xi (n, 2), weights (m, n, 2): double-double numbers (hi, lo), with 0 <= xi <= a and
    a r^2 <= 1300. alpha and beta (n,): positive multiples of 1/2. n and m must not exceed 32. Returns two arrays (k,
    m).
    """
    cdef int k = r.shape[0], m = weights.shape[0], n = weights.shape[1], start = 0
    value_array = np.empty((k, m))
    derivative_array = np.empty((k, m))
    if k == 0:
        return value_array, derivative_array
    cdef double[:, ::1] value = value_array
    cdef double[:, ::1] derivative = derivative_array
    with nogil:
        while start < k:
            block(&r[start], min(BLOCK, k - start), m, n, &a[0], &powers[0], &alpha[0], &beta[0], &xi[0, 0],
                  &weights[0, 0, 0], &value[start, 0], &derivative[start, 0])
            start += BLOCK
    return value_array, derivative_array
