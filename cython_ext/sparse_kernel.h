/* Energies of many centres in a sparse polynomial kernel model, with their gradients; sparse_kernel.pyx says what.
 *
 * Two matrix products share the sparse points: U = P Q^T and dE/dP = U' Q. Points are taken in blocks that stay in the
 * second-level cache for both, centres in blocks whose sums one thread makes in a fixed order. Products are made of
 * ROWS x WIDTH tiles whose sums stay in registers; Q is packed once into the panels that they read.
 *
 * The weights are large and of both signs, so that energies and forces are small differences: U is always in double
 * precision. The second product, of which only forces come, may be in single precision for what remains of the points
 * without their DIRECTIONS principal ones, which are kept in double precision: points differ little, and nearly all that
 * cancels is along these. */
#ifndef FORCESERVER_SPARSE_KERNEL_H
#define FORCESERVER_SPARSE_KERNEL_H

#include <stdlib.h>
#include "simd.h"

#ifdef __AVX512F__
#define FS_ROWS 8
#define FS_TILES 2
#else
#define FS_ROWS 6
#define FS_TILES 1
#endif

enum { FS_CENTRES = 24, FS_POINTS = 64, FS_MEMBERS = 8, FS_DIRECTIONS = 16 };  /* multiple of WIDTH_double */

typedef float v16f __attribute__((vector_size(64)));

#define FS_REAL double
#define FS_VECTOR v8
#define FS_NAME(name) name##_double
#include "sparse_kernel_of.h"
#undef FS_REAL
#undef FS_VECTOR
#undef FS_NAME

#define FS_REAL float
#define FS_VECTOR v16f
#define FS_NAME(name) name##_float
#include "sparse_kernel_of.h"
#undef FS_REAL
#undef FS_VECTOR
#undef FS_NAME

typedef struct {
    int64_t n_features, n_points;   /* n_points padded to POINTS with points of no weight */
    int zeta;
    const double *weight;           /* (n_points,) */
    const double *members;          /* (n_points, MEMBERS) or NULL */
    const double *by_point;         /* [panel of WIDTH points][feature][WIDTH] */
    const double *by_feature;       /* or NULL: */
    const float *by_feature_single; /* without the principal directions: */
    const double *parts;            /* of points along directions, packed as by_feature */
    const double *directions;       /* (DIRECTIONS, n_features) */
} SparsePoints;

static inline void fs_pack_by_point(int64_t n_points, int64_t n_features, const double *q, double *packed) {
    const int64_t w = WIDTH_double;
    for (int64_t t = 0; t < n_points; t++)
        for (int64_t f = 0; f < n_features; f++)
            packed[(t / w * n_features + f) * w + t % w] = q[t * n_features + f];
}

/* Doubles of work space for one thread. */
static inline int64_t fs_work_size(int64_t n_features) {
    return FS_CENTRES * (n_features + 2 * FS_POINTS + fs_columns_float(n_features));
}

/* Kernel values u (POINTS) of one centre become zeta weight u^(zeta-1); their share of the energies is added. */
static inline void fs_powers(int zeta, const double *weight, const double *members, double *u, double *energy,
                             double *member_energy) {
    v8 sum = v8_set(0.0), of_member = v8_set(0.0);
    for (int t = 0; t < FS_POINTS; t += 8) {
        v8 x = v8_load(u + t), w = v8_load(weight + t), power = v8_set(1.0);
        for (int k = 1; k < zeta; k++) power *= x;
        x *= power;
        sum += w * x;
        if (members)
            for (int k = 0; k < 8; k++) of_member += x[k] * v8_load(members + (t + k) * FS_MEMBERS);
        v8_store(u + t, zeta * (w * power));
    }
    *energy += v8_sum(sum);
    if (members) v8_store(member_energy, v8_load(member_energy) + of_member);
}

/* The gradient of a centre: its single-precision part and its sums along the directions. */
static inline void fs_unite(const SparsePoints *q, const float *rest, const double *sums, double *gradient) {
    for (int64_t f = 0; f < q->n_features; f++) gradient[f] = rest[f];
    for (int k = 0; k < FS_DIRECTIONS; k++)
        for (int64_t f = 0; f < q->n_features; f++) gradient[f] += sums[k] * q->directions[k * q->n_features + f];
}

/* Centres 0 .. n - 1 (n <= CENTRES): energy (n), member_energy (n, MEMBERS) or NULL, gradient (n, n_features). */
static inline void fs_centres(const SparsePoints *q, int n, const double *p, double *energy, double *member_energy,
                              double *gradient, double *work) {
    const int64_t n_features = q->n_features, w = WIDTH_double;
    const int single = q->by_feature == NULL;
    const int64_t columns = single ? fs_columns_float(n_features) : fs_columns_double(n_features);
    double *a = work, *u = a + FS_CENTRES * n_features, *d = u + 2 * FS_CENTRES * FS_POINTS;
    float *u_single = (float *)(u + FS_CENTRES * FS_POINTS), *d_single = (float *)d;
    memcpy(a, p, sizeof(double) * n * n_features);
    memset(a + n * n_features, 0, sizeof(double) * (FS_CENTRES - n) * n_features);
    memset(d, 0, sizeof(double) * FS_CENTRES * columns);
    memset(energy, 0, sizeof(double) * n);
    double sums[FS_CENTRES * FS_DIRECTIONS] = {0};
    if (q->members) memset(member_energy, 0, sizeof(double) * n * FS_MEMBERS);
    for (int64_t first = 0; first < q->n_points; first += FS_POINTS) {
        for (int64_t t = 0; t < FS_POINTS; t += w)
            for (int r = 0; r < n; r += FS_ROWS)
                fs_tile_double(n_features, a + r * n_features, n_features, q->by_point + (first + t) * n_features,
                               u + r * FS_POINTS + t, FS_POINTS, 0);
        for (int r = 0; r < n; r++)
            fs_powers(q->zeta, q->weight + first, q->members ? q->members + first * FS_MEMBERS : NULL,
                      u + r * FS_POINTS, energy + r, q->members ? member_energy + r * FS_MEMBERS : NULL);
        if (single) {
            for (int k = 0; k < n * FS_POINTS; k++) u_single[k] = (float)u[k];
            fs_add_slopes_double(n, FS_DIRECTIONS, u, q->parts + first * FS_DIRECTIONS, sums);
            fs_add_slopes_float(n, columns, u_single, q->by_feature_single + first * columns, d_single);
        } else
            fs_add_slopes_double(n, columns, u, q->by_feature + first * columns, d);
    }
    for (int r = 0; r < n; r++)
        if (single) fs_unite(q, d_single + r * columns, sums + r * FS_DIRECTIONS, gradient + r * n_features);
        else memcpy(gradient + r * n_features, d + r * columns, sizeof(double) * n_features);
}

#endif
