/* Inner loops of the spherical expansion; expansion.pyx has the formulas, the layouts and the loops around these.
 *
 * Pairs come in tiles. Quantities that depend on the direction are laid out for SIMD over pairs,
 * [pair / 8][lm][component][pair % 8]; quantities that depend on the distance for SIMD over radial channels,
 * [pair][channel], with the channels of each l padded to a multiple of eight. */
#ifndef FORCESERVER_EXPANSION_H
#define FORCESERVER_EXPANSION_H

#include "simd.h"

enum { FS_L_MAX = 12, FS_Q_SIZE = (FS_L_MAX + 1) * (FS_L_MAX + 2) / 2 };

/* Accumulators that one micro-kernel keeps in registers: rows of the outer product, and rows of its derivative. */
#if defined(__AVX512F__)
enum { FS_ROWS = 13, FS_PULL_ROWS = 7 };
#else
enum { FS_ROWS = 12, FS_PULL_ROWS = 5 };
#endif

/* Prepares a tile of n pairs (n a multiple of eight): x, y, z become unit vectors, in place. All arrays hold n doubles. */
static inline void fs_prepare(int n, double *x, double *y, double *z, double *inverse_r, double *fraction,
                              int32_t *interval, double step, double inverse_step) {
    for (int p = 0; p < n; p += FS_WIDTH) {
        const vw dx = vw_load(x + p), dy = vw_load(y + p), dz = vw_load(z + p);
        const vw r = vw_sqrt(dx * dx + dy * dy + dz * dz), by_r = 1.0 / r;
        const vws at = __builtin_convertvector(r * inverse_step, vws);
        vw_store(x + p, dx * by_r);
        vw_store(y + p, dy * by_r);
        vw_store(z + p, dz * by_r);
        vw_store(inverse_r + p, by_r);
        vw_store(fraction + p, (r - __builtin_convertvector(at, vw) * step) * inverse_step);
        memcpy(interval + p, &at, sizeof at);
    }
}

/* 1 / k: a division would take longer than all else in a step of the recursion. */
static const double FS_INVERSE[FS_L_MAX + 1] = {
    0.0, 1.0, 1.0 / 2, 1.0 / 3, 1.0 / 4, 1.0 / 5, 1.0 / 6, 1.0 / 7, 1.0 / 8, 1.0 / 9, 1.0 / 10, 1.0 / 11, 1.0 / 12};

/* Q_l^m (unnormalised, without Condon-Shortley phase, at |r| = 1; stored at l (l + 1) / 2 + m), and
 * c_m + i s_m = (x + i y)^m. */
FS_INLINE void fs_legendre(int l_max, vw x, vw y, vw z, vw *q, vw *c, vw *s) {
    c[0] = vw_set(1.0);
    s[0] = vw_set(0.0);
    for (int m = 1; m <= l_max; m++) {
        c[m] = x * c[m - 1] - y * s[m - 1];
        s[m] = x * s[m - 1] + y * c[m - 1];
    }
    q[0] = vw_set(1.0);
    for (int l = 1; l <= l_max; l++) {
        vw *now = q + l * (l + 1) / 2, *before = q + l * (l - 1) / 2, *earlier = q + (l - 1) * (l - 2) / 2;
        for (int m = 0; m <= l - 2; m++) {
            const double by = FS_INVERSE[l - m];
            now[m] = (2 * l - 1) * by * z * before[m] - (l + m - 1) * by * earlier[m];
        }
        now[l - 1] = (2 * l - 1) * z * before[l - 1];
        now[l] = (2 * l - 1) * before[l - 1];
    }
}

/* Writes Y_lm of n unit vectors (n a multiple of eight) to y[n / 8][lm][8]; norm[l (l + 1) / 2 + m]. */
static inline void fs_harmonics(int l_max, const double *norm, int n, const double *ux, const double *uy,
                                const double *uz, double *out) {
    vw q[FS_Q_SIZE], c[FS_L_MAX + 1], s[FS_L_MAX + 1];
    for (int p = 0; p < n; p += FS_WIDTH) {
        double *here = out + (int64_t)(p >> 3) * 8 * (l_max + 1) * (l_max + 1) + (p & 7);
        fs_legendre(l_max, vw_load(ux + p), vw_load(uy + p), vw_load(uz + p), q, c, s);
        for (int l = 0; l <= l_max; l++) {
            const int t = l * (l + 1) / 2;
            double *middle = here + 8 * (l * l + l);
            vw_store(middle, norm[t] * q[t]);
            for (int m = 1; m <= l; m++) {
                vw a = norm[t + m] * q[t + m];
                vw_store(middle + 8 * m, a * c[m]);
                vw_store(middle - 8 * m, a * s[m]);
            }
        }
    }
}

/* The same with the gradient of the solid harmonic r^l Y_lm at |r| = 1: out[n / 8][lm][Y, d/dx, d/dy, d/dz][8]. */
static inline void fs_solid_harmonics(int l_max, const double *norm, int n, const double *ux, const double *uy,
                                      const double *uz, double *out) {
    vw q[FS_Q_SIZE], c[FS_L_MAX + 1], s[FS_L_MAX + 1];
    const vw zero = vw_set(0.0);
    for (int p = 0; p < n; p += FS_WIDTH) {
        double *here = out + (int64_t)(p >> 3) * 32 * (l_max + 1) * (l_max + 1) + (p & 7);
        vw x = vw_load(ux + p), y = vw_load(uy + p), z = vw_load(uz + p);
        fs_legendre(l_max, x, y, z, q, c, s);
        for (int l = 0; l <= l_max; l++) {
            const int t = l * (l + 1) / 2, before = l * (l - 1) / 2;
            for (int m = 0; m <= l; m++) {
                double *plus = here + 32 * (l * l + l + m), *minus = here + 32 * (l * l + l - m);
                vw f = norm[t + m] * q[t + m];
                vw radial = m + 1 <= l - 1 ? -norm[t + m] * q[before + m + 1] : zero; /* (1/x) dQ/dx = (1/y) dQ/dy */
                vw axial = m <= l - 1 ? norm[t + m] * (l + m) * q[before + m] : zero; /* dQ/dz */
                vw cm = m ? m * c[m - 1] : zero, sm = m ? m * s[m - 1] : zero;
                vw_store(plus, f * c[m]);
                vw_store(plus + 8, radial * x * c[m] + f * cm);
                vw_store(plus + 16, radial * y * c[m] - f * sm);
                vw_store(plus + 24, axial * c[m]);
                if (m) {
                    vw_store(minus, f * s[m]);
                    vw_store(minus + 8, radial * x * s[m] + f * sm);
                    vw_store(minus + 16, radial * y * s[m] + f * cm);
                    vw_store(minus + 24, axial * s[m]);
                }
            }
        }
    }
}

/* Cubic Hermite interpolation between one node (f, step f') and the next, for `channels` (a multiple of eight). */
static inline void fs_spline(const double *node, int channels, double u, double *value) {
    const double f1 = u * u * (3.0 - 2.0 * u), f0 = 1.0 - f1, g0 = u * (1.0 - u) * (1.0 - u), g1 = u * u * (u - 1.0);
    for (int c = 0; c < channels; c += FS_WIDTH)
        vw_store(value + c, f0 * vw_load(node + c) + g0 * vw_load(node + channels + c)
                          + f1 * vw_load(node + 2 * channels + c) + g1 * vw_load(node + 3 * channels + c));
}

static inline void fs_spline_slope(const double *node, int channels, double u, double inverse_step, double *value,
                                   double *slope) {
    const double f1 = u * u * (3.0 - 2.0 * u), f0 = 1.0 - f1, g0 = u * (1.0 - u) * (1.0 - u), g1 = u * u * (u - 1.0);
    const double df = 6.0 * u * (1.0 - u) * inverse_step;
    const double dg0 = (1.0 - u) * (1.0 - 3.0 * u) * inverse_step, dg1 = u * (3.0 * u - 2.0) * inverse_step;
    for (int c = 0; c < channels; c += FS_WIDTH) {
        vw a = vw_load(node + c), b = vw_load(node + channels + c);
        vw d = vw_load(node + 2 * channels + c), e = vw_load(node + 3 * channels + c);
        vw_store(value + c, f0 * a + g0 * b + f1 * d + g1 * e);
        vw_store(slope + c, df * (d - a) + dg0 * b + dg1 * e);
    }
}

FS_INLINE void fs_outer_rows(const int rows, int start, int stop, const double *y, int n_lm, const double *radial,
                             int channels, double *c, int stride) {
    vw sum[FS_ROWS];
    for (int m = 0; m < rows; m++) sum[m] = vw_load(c + m * stride);
    for (int p = start; p < stop; p++) {
        const double *yp = y + (int64_t)(p >> 3) * 8 * n_lm + (p & 7);
        const vw r = vw_load(radial + (int64_t)p * channels);
        for (int m = 0; m < rows; m++) sum[m] += r * yp[8 * m];
    }
    for (int m = 0; m < rows; m++) vw_store(c + m * stride, sum[m]);
}

/* c[m][n] += sum_p y[p][m] radial[p][n] for m = 0 .. rows - 1 and eight n, over the pairs start .. stop - 1. */
static inline void fs_outer(int rows, int start, int stop, const double *y, int n_lm, const double *radial,
                            int channels, double *c, int stride) {
    const int pieces = (rows + FS_ROWS - 1) / FS_ROWS;
    for (int piece = 0; piece < pieces * (8 / FS_WIDTH); piece++) {
        const int part = piece % pieces, column = piece / pieces * FS_WIDTH;
        const int from = rows * part / pieces, n = rows * (part + 1) / pieces - from;
        const double *yn = y + 8 * from, *rn = radial + column;
        double *cn = c + from * stride + column;
#define FS_CASE(k) case k: if (k <= FS_ROWS) fs_outer_rows(k <= FS_ROWS ? k : 1, start, stop, yn, n_lm, rn, channels, cn, stride); break;
        switch (n) {
            FS_CASE(1) FS_CASE(2) FS_CASE(3) FS_CASE(4) FS_CASE(5) FS_CASE(6) FS_CASE(7)
            FS_CASE(8) FS_CASE(9) FS_CASE(10) FS_CASE(11) FS_CASE(12) FS_CASE(13)
        }
#undef FS_CASE
    }
}

/* Transposes [pair][channel] of eight pairs to [channel][8]; channels is a multiple of four. */
static inline void fs_turn(int channels, const double *rows, double *out) {
    for (int c = 0; c < channels; c += 4)
        for (int k = 0; k < 8; k += 4) fs_turn_four(rows + k * channels + c, channels, out + 8 * c + k, 8);
}

/* For each row m, with pairs in the lanes: p_m = sum_n g_mn R_n and q_m = sum_n g_mn R'_n, then
 * sums += ((q - l p / r) S, p dS/dx, p dS/dy, p dS/dz) with the solid harmonics S. */
FS_INLINE void fs_pull_rows(const int rows, int n_max, int stride, const double *g, const double *value,
                            const double *slope, const double *y, vw l_by_r, vw sums[4]) {
    vw p[FS_PULL_ROWS], q[FS_PULL_ROWS];
    for (int m = 0; m < rows; m++) p[m] = q[m] = vw_set(0.0);
    for (int n = 0; n < n_max; n++) {
        const vw v = vw_load(value + 8 * n), s = vw_load(slope + 8 * n);
        for (int m = 0; m < rows; m++) {
            p[m] += g[m * stride + n] * v;
            q[m] += g[m * stride + n] * s;
        }
    }
    for (int m = 0; m < rows; m++) {
        sums[0] += (q[m] - l_by_r * p[m]) * vw_load(y + 32 * m);
        for (int k = 1; k < 4; k++) sums[k] += p[m] * vw_load(y + 32 * m + 8 * k);
    }
}

/* The same for all l and as many pairs as there are lanes; writes dE/dr_ij to out[4][8], whose last row is zero. */
FS_INLINE void fs_pull_lanes(int n_l, const int32_t *l, const int32_t *count, const int32_t *padded,
                             const int32_t *radial_offset, const int32_t *block_offset, const double *y,
                             const double *value, const double *slope, const double *g, vw ux, vw uy, vw uz,
                             vw inverse_r, double *out) {
    vw sums[4] = {vw_set(0.0), vw_set(0.0), vw_set(0.0), vw_set(0.0)};
    for (int k = 0; k < n_l; k++) {
        const int stride = padded[k], rest = (2 * l[k] + 1) % FS_PULL_ROWS, whole = 2 * l[k] + 1 - rest;
        const double *gl = g + block_offset[k], *yl = y + 32 * l[k] * l[k];
        const double *v = value + 8 * radial_offset[k], *s = slope + 8 * radial_offset[k];
        const vw l_by_r = l[k] * inverse_r;
        for (int m = 0; m < whole; m += FS_PULL_ROWS)
            fs_pull_rows(FS_PULL_ROWS, count[k], stride, gl + m * stride, v, s, yl + 32 * m, l_by_r, sums);
#define FS_CASE(n) case n: if (n < FS_PULL_ROWS) fs_pull_rows(n, count[k], stride, gl + whole * stride, v, s, yl + 32 * whole, l_by_r, sums); break;
        switch (rest) { FS_CASE(1) FS_CASE(2) FS_CASE(3) FS_CASE(4) FS_CASE(5) FS_CASE(6) }
#undef FS_CASE
    }
    vw_store(out, sums[0] * ux + inverse_r * sums[1]);
    vw_store(out + 8, sums[0] * uy + inverse_r * sums[2]);
    vw_store(out + 16, sums[0] * uz + inverse_r * sums[3]);
    vw_store(out + 24, vw_set(0.0));
}

/* Writes dE/dr_ij of eight pairs of one block to out[4][8]; the layout of the basis is that of expansion.pyx.
 * value, slope: [channel][8]. y: solid harmonics of these pairs, [lm][4][8]. */
static inline void fs_pull(int n_l, const int32_t *l, const int32_t *count, const int32_t *padded,
                           const int32_t *radial_offset, const int32_t *block_offset, const double *y,
                           const double *value, const double *slope, const double *g, const double *unit_x,
                           const double *unit_y, const double *unit_z, const double *inverse_r, double *out) {
    for (int k = 0; k < 8; k += FS_WIDTH)
        fs_pull_lanes(n_l, l, count, padded, radial_offset, block_offset, y + k, value + k, slope + k, g,
                      vw_load(unit_x + k), vw_load(unit_y + k), vw_load(unit_z + k), vw_load(inverse_r + k), out + k);
}

/* For n pairs (a multiple of eight) with solid harmonics y, unit vectors u and 1/r, displaced by v relative to their
 * centre: along[n / 8][lm][8] = S (u . v), across = ((grad S) . v - l S (u . v)) / r. The derivative of R S is
 * R' along + R across. */
static inline void fs_move(int l_max, int n, const double *y, const double *ux, const double *uy, const double *uz,
                           const double *inverse_r, const double *vx, const double *vy, const double *vz, double *along,
                           double *across) {
    const int64_t n_lm = (l_max + 1) * (l_max + 1);
    for (int p = 0; p < n; p += FS_WIDTH) {
        const vw x = vw_load(vx + p), yy = vw_load(vy + p), z = vw_load(vz + p), by_r = vw_load(inverse_r + p);
        const vw a = vw_load(ux + p) * x + vw_load(uy + p) * yy + vw_load(uz + p) * z;
        const double *from = y + (p >> 3) * 32 * n_lm + (p & 7);
        const int64_t to = (p >> 3) * 8 * n_lm + (p & 7);
        for (int l = 0; l <= l_max; l++)
            for (int m = l * l; m < (l + 1) * (l + 1); m++) {
                const double *s = from + 32 * m;
                const vw sa = vw_load(s) * a;
                vw_store(along + to + 8 * m, sa);
                vw_store(across + to + 8 * m,
                         by_r * (vw_load(s + 8) * x + vw_load(s + 16) * yy + vw_load(s + 24) * z - l * sa));
            }
    }
}

/* Writes d c_lmn / d r_ij of one pair to out[3][size]. */
static inline void fs_jacobian(int n_l, const int32_t *l, const int32_t *padded, const int32_t *radial_offset,
                               const int32_t *block_offset, const double *y, const double *value, const double *slope,
                               double ux, double uy, double uz, double inverse_r, int size, double *out) {
    for (int k = 0; k < n_l; k++)
        for (int n = 0; n < padded[k]; n += FS_WIDTH) {
            vw v = inverse_r * vw_load(value + radial_offset[k] + n);
            vw s = vw_load(slope + radial_offset[k] + n) - l[k] * v;
            const double *ym = y + 32 * l[k] * l[k];
            double *o = out + block_offset[k] + n;
            for (int m = 0; m < 2 * l[k] + 1; m++) {
                vw along = s * ym[32 * m];
                vw_store(o, along * ux + v * ym[32 * m + 8]);
                vw_store(o + size, along * uy + v * ym[32 * m + 16]);
                vw_store(o + 2 * size, along * uz + v * ym[32 * m + 24]);
                o += padded[k];
            }
        }
}

#endif
