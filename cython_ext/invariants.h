/* The power spectrum of one centre and its derivative; invariants.pyx has the formulas and the layout of the terms. */
#ifndef FORCESERVER_INVARIANTS_H
#define FORCESERVER_INVARIANTS_H

#include "simd.h"

/* sum_m c[source][m] c[tile][m] for the eight channels of a tile. */
FS_INLINE void fs_products(int rows, int stride, const double *source, const double *tile, double *out) {
    v8 sum = v8_set(0.0);
    for (int m = 0; m < rows; m++) sum += source[m * stride] * v8_load(tile + m * stride);
    v8_store(out, sum);
}

/* g[tile][m] += (weight dE/dp of the eight lanes) c[source][m]. */
FS_INLINE void fs_pull_products(int rows, int stride, const double *source, const double *weight,
                                const int32_t *feature, const double *dp, double *g) {
    double lanes[8];
    for (int k = 0; k < 8; k++) lanes[k] = dp[feature[k]];
    v8 d = v8_load(weight) * v8_load(lanes);
    for (int m = 0; m < rows; m++) v8_store(g + m * stride, v8_load(g + m * stride) + d * source[m * stride]);
}

/* sum_k x[k] y[k], with eight partial sums. */
static inline double fs_dot_features(int n, const double *x, const double *y) {
    v8 sum = v8_set(0.0);
    int k = 0;
    for (; k + 8 <= n; k += 8) sum += v8_load(x + k) * v8_load(y + k);
    double rest = 0.0;
    for (; k < n; k++) rest += x[k] * y[k];
    return v8_sum(sum) + rest;
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

/* Divides n features by their length, which is returned. */
static inline double fs_normalise(int n, double *p) {
    const double norm = __builtin_sqrt(fs_dot_features(n, p, p)), inverse = norm > 0.0 ? 1.0 / norm : 0.0;
    for (int k = 0; k < n; k++) p[k] *= inverse;
    return norm;
}

/* Derivative through p / |p|, dp and out may be the same; zero where there is no neighbour. */
static inline void fs_project_out(int n, const double *p, double norm, const double *dp, double *out) {
    const double along = fs_dot_features(n, p, dp), inverse = norm > 0.0 ? 1.0 / norm : 0.0;
    for (int k = 0; k < n; k++) out[k] = (dp[k] - along * p[k]) * inverse;
}

/* Adds dE/dc to g, with the terms of the derivative. */
static inline void fs_pull_spectrum(const Terms *t, const double *c, const double *dp, double *g) {
    for (int i = 0; i < t->n; i++) {
        const int32_t *term = t->terms + 4 * i;
        fs_pull_products(term[2], term[3], c + term[0], t->weight + 8 * i, t->feature + 8 * i, dp, g + term[1]);
    }
}

#endif
