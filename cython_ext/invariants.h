/* The power spectrum of one centre and its derivative; invariants.pyx has the formulas and the layout of the terms. */
#ifndef FORCESERVER_INVARIANTS_H
#define FORCESERVER_INVARIANTS_H

#include "simd.h"

/* sum_m c[source][m] c[tile][m] for the eight channels of a tile. */
FS_INLINE void fs_products(int rows, int stride, const double *source, const double *tile, double *out) {
    vw sum[8 / FS_WIDTH];
    for (int k = 0; k < 8 / FS_WIDTH; k++) sum[k] = vw_set(0.0);
    for (int m = 0; m < rows; m++)
        for (int k = 0; k < 8 / FS_WIDTH; k++) sum[k] += source[m * stride] * vw_load(tile + m * stride + k * FS_WIDTH);
    for (int k = 0; k < 8 / FS_WIDTH; k++) vw_store(out + k * FS_WIDTH, sum[k]);
}

/* g[tile][m] += (weight * dE/dp) c[source][m] for the eight lanes of a tile. */
FS_INLINE void fs_pull_products(int rows, int stride, const double *source, const double *weight,
                                const int32_t *feature, const double *dp, double *g) {
    double lanes[8];
    for (int k = 0; k < 8; k++) lanes[k] = dp[feature[k]];
    vw d[8 / FS_WIDTH];
    for (int k = 0; k < 8 / FS_WIDTH; k++) d[k] = vw_load(weight + k * FS_WIDTH) * vw_load(lanes + k * FS_WIDTH);
    for (int m = 0; m < rows; m++)
        for (int k = 0; k < 8 / FS_WIDTH; k++) {
            double *out = g + m * stride + k * FS_WIDTH;
            vw_store(out, vw_load(out) + d[k] * source[m * stride]);
        }
}

/* terms (n, 4), feature (n, 8), weight (n, 8), see invariants.pyx. */
typedef struct {
    int n;
    const int32_t *terms, *feature;
    const double *weight;
} Terms;

/* Features p of one centre with coefficients c. */
static inline void fs_spectrum(const Terms *t, const double *c, double *p) {
    for (int i = 0; i < t->n; i++) {
        const int32_t *term = t->terms + 4 * i, *feature = t->feature + 8 * i;
        const double *weight = t->weight + 8 * i;
        double lanes[8];
        fs_products(term[2], term[3], c + term[0], c + term[1], lanes);
        for (int k = 0; k < 8; k++)
            if (weight[k] != 0.0) p[feature[k]] = weight[k] * lanes[k];
    }
}

/* Divides n features by their length; returns the length. */
static inline double fs_normalise(int n, double *p) {
    const double norm = __builtin_sqrt(fs_inner(n, p, p)), inverse = norm > 0.0 ? 1.0 / norm : 0.0;
    for (int k = 0; k < n; k++) p[k] *= inverse;
    return norm;
}

/* Derivative of the normalisation p / |p|; dp and out may be the same array. Zero if there is no neighbour. */
static inline void fs_project_out(int n, const double *p, double norm, const double *dp, double *out) {
    const double along = fs_inner(n, p, dp), inverse = norm > 0.0 ? 1.0 / norm : 0.0;
    for (int k = 0; k < n; k++) out[k] = (dp[k] - along * p[k]) * inverse;
}

/* Adds dE/dc to g; `t` are the terms of the derivative. */
static inline void fs_pull_spectrum(const Terms *t, const double *c, const double *dp, double *g) {
    for (int i = 0; i < t->n; i++) {
        const int32_t *term = t->terms + 4 * i;
        fs_pull_products(term[2], term[3], c + term[0], t->weight + 8 * i, t->feature + 8 * i, dp, g + term[1]);
    }
}

#endif
