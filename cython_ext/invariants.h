/* Inner loops of the power spectrum; invariants.pyx has the formulas and the layout of the terms. */
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
static inline double fs_dot(int n, const double *x, const double *y) {
    v8 sum = v8_set(0.0);
    int k = 0;
    for (; k + 8 <= n; k += 8) sum += v8_load(x + k) * v8_load(y + k);
    double rest = 0.0;
    for (; k < n; k++) rest += x[k] * y[k];
    return v8_sum(sum) + rest;
}

#endif
