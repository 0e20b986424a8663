/* Inner loops of the spherical expansion; expansion.pyx has the formulas, the layouts and the loops around these.
 *
 * Pairs come in tiles. What depends on the direction is laid out for SIMD over pairs, [pair / 8][lm][component][pair % 8],
 * what depends on the distance for SIMD over radial channels, [pair][channel], channels of each l padded to eight. */
#ifndef FORCESERVER_EXPANSION_H
#define FORCESERVER_EXPANSION_H

#include "simd.h"

enum { FS_L_MAX = 12, FS_Q_SIZE = (FS_L_MAX + 1) * (FS_L_MAX + 2) / 2 };

/* Accumulators of one micro-kernel that stay in registers. */
#if defined(__AVX512F__)
enum { FS_ROWS = 13 };
#elif defined(__AVX__)
enum { FS_ROWS = 6 };
#else
enum { FS_ROWS = 3 };
#endif

/* Unit vector, 1/r and place in the spline of eight pairs, from x, y, z. */
typedef struct {
    v8 ux, uy, uz, inverse_r, fraction;
    v8s interval;
} Eight;

FS_INLINE Eight fs_eight(v8 x, v8 y, v8 z, double step, double inverse_step) {
    Eight e;
    v8 r = v8_sqrt(x * x + y * y + z * z);
    e.inverse_r = 1.0 / r;
    e.ux = x * e.inverse_r;
    e.uy = y * e.inverse_r;
    e.uz = z * e.inverse_r;
    e.interval = __builtin_convertvector(r * inverse_step, v8s);
    e.fraction = (r - __builtin_convertvector(e.interval, v8) * step) * inverse_step;
    return e;
}

/* Prepares a tile of n pairs (n a multiple of eight): in place xyz -> unit vectors. All arrays have n doubles. */
static inline void fs_prepare(int n, double *x, double *y, double *z, double *inverse_r, double *fraction,
                              int32_t *interval, double step, double inverse_step) {
    for (int p = 0; p < n; p += 8) {
        Eight e = fs_eight(v8_load(x + p), v8_load(y + p), v8_load(z + p), step, inverse_step);
        v8_store(x + p, e.ux);
        v8_store(y + p, e.uy);
        v8_store(z + p, e.uz);
        v8_store(inverse_r + p, e.inverse_r);
        v8_store(fraction + p, e.fraction);
        memcpy(interval + p, &e.interval, sizeof e.interval);
    }
}

/* Q_l^m (unnormalised, no Condon-Shortley phase, at |r| = 1; place l (l + 1) / 2 + m) and c_m + i s_m = (x + i y)^m. */
FS_INLINE void fs_legendre(int l_max, v8 x, v8 y, v8 z, v8 *q, v8 *c, v8 *s) {
    c[0] = v8_set(1.0);
    s[0] = v8_set(0.0);
    for (int m = 1; m <= l_max; m++) {
        c[m] = x * c[m - 1] - y * s[m - 1];
        s[m] = x * s[m - 1] + y * c[m - 1];
    }
    q[0] = v8_set(1.0);
    for (int l = 1; l <= l_max; l++) {
        v8 *now = q + l * (l + 1) / 2, *before = q + l * (l - 1) / 2, *earlier = q + (l - 1) * (l - 2) / 2;
        for (int m = 0; m <= l - 2; m++) {
            double by = 1.0 / (l - m);
            now[m] = (2 * l - 1) * by * z * before[m] - (l + m - 1) * by * earlier[m];
        }
        now[l - 1] = (2 * l - 1) * z * before[l - 1];
        now[l] = (2 * l - 1) * before[l - 1];
    }
}

/* Y_lm of n unit vectors (n a multiple of eight) to y[n / 8][lm][8]; norm[l (l + 1) / 2 + m]. */
static inline void fs_harmonics(int l_max, const double *norm, int n, const double *ux, const double *uy,
                                const double *uz, double *out) {
    v8 q[FS_Q_SIZE], c[FS_L_MAX + 1], s[FS_L_MAX + 1];
    for (int p = 0; p < n; p += 8) {
        fs_legendre(l_max, v8_load(ux + p), v8_load(uy + p), v8_load(uz + p), q, c, s);
        for (int l = 0; l <= l_max; l++) {
            const int t = l * (l + 1) / 2;
            double *middle = out + 8 * (l * l + l);
            v8_store(middle, norm[t] * q[t]);
            for (int m = 1; m <= l; m++) {
                v8 a = norm[t + m] * q[t + m];
                v8_store(middle + 8 * m, a * c[m]);
                v8_store(middle - 8 * m, a * s[m]);
            }
        }
        out += 8 * (l_max + 1) * (l_max + 1);
    }
}

/* The same with the gradient of the solid harmonic r^l Y_lm at |r| = 1: out[n / 8][lm][Y, d/dx, d/dy, d/dz][8]. */
static inline void fs_solid_harmonics(int l_max, const double *norm, int n, const double *ux, const double *uy,
                                      const double *uz, double *out) {
    v8 q[FS_Q_SIZE], c[FS_L_MAX + 1], s[FS_L_MAX + 1];
    const v8 zero = v8_set(0.0);
    for (int p = 0; p < n; p += 8) {
        v8 x = v8_load(ux + p), y = v8_load(uy + p), z = v8_load(uz + p);
        fs_legendre(l_max, x, y, z, q, c, s);
        for (int l = 0; l <= l_max; l++) {
            const int t = l * (l + 1) / 2, before = l * (l - 1) / 2;
            for (int m = 0; m <= l; m++) {
                double *plus = out + 32 * (l * l + l + m), *minus = out + 32 * (l * l + l - m);
                v8 f = norm[t + m] * q[t + m];
                v8 radial = m + 1 <= l - 1 ? -norm[t + m] * q[before + m + 1] : zero; /* (1/x) dQ/dx = (1/y) dQ/dy */
                v8 axial = m <= l - 1 ? norm[t + m] * (l + m) * q[before + m] : zero; /* dQ/dz */
                v8 cm = m ? m * c[m - 1] : zero, sm = m ? m * s[m - 1] : zero;
                v8_store(plus, f * c[m]);
                v8_store(plus + 8, radial * x * c[m] + f * cm);
                v8_store(plus + 16, radial * y * c[m] - f * sm);
                v8_store(plus + 24, axial * c[m]);
                if (m) {
                    v8_store(minus, f * s[m]);
                    v8_store(minus + 8, radial * x * s[m] + f * sm);
                    v8_store(minus + 16, radial * y * s[m] + f * cm);
                    v8_store(minus + 24, axial * s[m]);
                }
            }
        }
        out += 32 * (l_max + 1) * (l_max + 1);
    }
}

/* Cubic Hermite interpolation between nodes (f, step f') and the next one, of `channels` (a multiple of eight). */
static inline void fs_spline(const double *node, int channels, double u, double *value) {
    const double f1 = u * u * (3.0 - 2.0 * u), f0 = 1.0 - f1, g0 = u * (1.0 - u) * (1.0 - u), g1 = u * u * (u - 1.0);
    for (int c = 0; c < channels; c += 8)
        v8_store(value + c, f0 * v8_load(node + c) + g0 * v8_load(node + channels + c)
                          + f1 * v8_load(node + 2 * channels + c) + g1 * v8_load(node + 3 * channels + c));
}

static inline void fs_spline_slope(const double *node, int channels, double u, double inverse_step, double *value,
                                   double *slope) {
    const double f1 = u * u * (3.0 - 2.0 * u), f0 = 1.0 - f1, g0 = u * (1.0 - u) * (1.0 - u), g1 = u * u * (u - 1.0);
    const double df = 6.0 * u * (1.0 - u) * inverse_step;
    const double dg0 = (1.0 - u) * (1.0 - 3.0 * u) * inverse_step, dg1 = u * (3.0 * u - 2.0) * inverse_step;
    for (int c = 0; c < channels; c += 8) {
        v8 a = v8_load(node + c), b = v8_load(node + channels + c);
        v8 d = v8_load(node + 2 * channels + c), e = v8_load(node + 3 * channels + c);
        v8_store(value + c, f0 * a + g0 * b + f1 * d + g1 * e);
        v8_store(slope + c, df * (d - a) + dg0 * b + dg1 * e);
    }
}

FS_INLINE void fs_outer_rows(const int rows, int start, int stop, const double *y, int n_lm, const double *radial,
                             int channels, double *c, int stride) {
    v8 sum[FS_ROWS];
    for (int m = 0; m < rows; m++) sum[m] = v8_load(c + m * stride);
    for (int p = start; p < stop; p++) {
        const double *yp = y + (int64_t)(p >> 3) * 8 * n_lm + (p & 7);
        v8 r = v8_load(radial + (int64_t)p * channels);
        for (int m = 0; m < rows; m++) sum[m] += r * yp[8 * m];
    }
    for (int m = 0; m < rows; m++) v8_store(c + m * stride, sum[m]);
}

/* c[m][n] += sum_p y[p][m] radial[p][n] for m = 0 .. rows - 1 and eight n, over the pairs start .. stop - 1. */
static inline void fs_outer(int rows, int start, int stop, const double *y, int n_lm, const double *radial,
                            int channels, double *c, int stride) {
    const int pieces = (rows + FS_ROWS - 1) / FS_ROWS;
    for (int piece = 0; piece < pieces; piece++) {
        const int from = rows * piece / pieces, n = rows * (piece + 1) / pieces - from;
        const double *yn = y + 8 * from;
        double *cn = c + from * stride;
#define FS_CASE(k) case k: if (k <= FS_ROWS) fs_outer_rows(k <= FS_ROWS ? k : 1, start, stop, yn, n_lm, radial, channels, cn, stride); break;
        switch (n) {
            FS_CASE(1) FS_CASE(2) FS_CASE(3) FS_CASE(4) FS_CASE(5) FS_CASE(6) FS_CASE(7)
            FS_CASE(8) FS_CASE(9) FS_CASE(10) FS_CASE(11) FS_CASE(12) FS_CASE(13)
        }
#undef FS_CASE
    }
}

/* Sums over n and m of one pair and one l, for eight n: s += g dc/dr, and (x, y, z) += g radial grad(solid harmonic). */
FS_INLINE void fs_contract(int rows, int l, const double *y, const double *g, int stride, v8 value, v8 slope,
                           double inverse_r, v8 sums[4]) {
    v8 a = v8_set(0.0), x = a, yy = a, z = a;
    for (int m = 0; m < rows; m++) {
        v8 gm = v8_load(g + m * stride);
        a += gm * y[32 * m];
        x += gm * y[32 * m + 8];
        yy += gm * y[32 * m + 16];
        z += gm * y[32 * m + 24];
    }
    sums[0] += (slope - l * inverse_r * value) * a;
    sums[1] += value * x;
    sums[2] += value * yy;
    sums[3] += value * z;
}

/* dE/dr_ij (four doubles, the last zero) of one pair; layout of the model as in expansion.pyx. */
static inline void fs_pull(int n_l, const int32_t *l, const int32_t *padded, const int32_t *radial_offset,
                           const int32_t *block_offset, const double *y, const double *value, const double *slope,
                           const double *g, double ux, double uy, double uz, double inverse_r, double *out) {
    v8 sums[4] = {v8_set(0.0), v8_set(0.0), v8_set(0.0), v8_set(0.0)};
    for (int k = 0; k < n_l; k++)
        for (int n = 0; n < padded[k]; n += 8)
            fs_contract(2 * l[k] + 1, l[k], y + 32 * l[k] * l[k], g + block_offset[k] + n, padded[k],
                        v8_load(value + radial_offset[k] + n), v8_load(slope + radial_offset[k] + n), inverse_r, sums);
    const double s = v8_sum(sums[0]);
    out[0] = s * ux + inverse_r * v8_sum(sums[1]);
    out[1] = s * uy + inverse_r * v8_sum(sums[2]);
    out[2] = s * uz + inverse_r * v8_sum(sums[3]);
    out[3] = 0.0;
}

/* d c_lmn / d r_ij of one pair to out[3][size]. */
static inline void fs_jacobian(int n_l, const int32_t *l, const int32_t *padded, const int32_t *radial_offset,
                               const int32_t *block_offset, const double *y, const double *value, const double *slope,
                               double ux, double uy, double uz, double inverse_r, int size, double *out) {
    for (int k = 0; k < n_l; k++)
        for (int n = 0; n < padded[k]; n += 8) {
            v8 v = inverse_r * v8_load(value + radial_offset[k] + n);
            v8 s = v8_load(slope + radial_offset[k] + n) - l[k] * v;
            const double *ym = y + 32 * l[k] * l[k];
            double *o = out + block_offset[k] + n;
            for (int m = 0; m < 2 * l[k] + 1; m++) {
                v8 along = s * ym[32 * m];
                v8_store(o, along * ux + v * ym[32 * m + 8]);
                v8_store(o + size, along * uy + v * ym[32 * m + 16]);
                v8_store(o + 2 * size, along * uz + v * ym[32 * m + 24]);
                o += padded[k];
            }
        }
}

#endif
