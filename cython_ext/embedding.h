/* Functions F of several properties of an atom, and their gradients; models/embedding.py defines them. */
#ifndef FORCESERVER_EMBEDDING_H
#define FORCESERVER_EMBEDDING_H

#include <math.h>

enum { FS_FINNIS_SINCLAIR, FS_POWERS, FS_NETWORK };

/* theta, for the three kinds: empty; exponents (n_properties - 1,); U (width, n_properties), c (width,), v (width,). */
typedef struct {
    int kind, n_properties, width;
    const double *theta;
} Embedding;

/* sign(x) (sqrt(|x| + exp(-|x|) / 4) - exp(-|x|) / 2), and its derivative. */
static inline double fs_smooth_root(double x, double *slope) {
    const double y = fabs(x), e = exp(-y), root = sqrt(y + 0.25 * e);
    *slope = 0.5 * (1.0 - 0.25 * e) / root + 0.5 * e;
    return copysign(root - 0.5 * e, x);
}

/* x (x^2 + 0.01)^((m - 1) / 2), and its derivative. */
static inline double fs_signed_power(double x, double m, double *slope) {
    const double q = x * x + 0.01, k = 0.5 * (m - 1.0), power = pow(q, k);
    *slope = power * (1.0 + 2.0 * k * x * x / q);
    return x * power;
}

/* F of the properties phi (n_properties,); writes dF/dphi to slope. */
static inline double fs_embed(const Embedding *e, const double *phi, double *slope) {
    const int n = e->n_properties;
    double value = phi[0];
    slope[0] = 1.0;
    if (e->kind == FS_FINNIS_SINCLAIR) return value + fs_smooth_root(phi[1], slope + 1);
    if (e->kind == FS_POWERS) {
        for (int p = 1; p < n; p++) value += fs_signed_power(phi[p], e->theta[p - 1], slope + p);
        return value;
    }
    const double *u = e->theta, *c = u + e->width * n, *v = c + e->width;
    for (int p = 1; p < n; p++) slope[p] = 0.0;
    for (int k = 0; k < e->width; k++) {
        double x = c[k];
        for (int p = 0; p < n; p++) x += u[k * n + p] * phi[p];
        const double h = tanh(x), inner = v[k] * (1.0 - h * h);
        value += v[k] * (h - tanh(c[k]));
        for (int p = 0; p < n; p++) slope[p] += inner * u[k * n + p];
    }
    return value;
}

#endif
