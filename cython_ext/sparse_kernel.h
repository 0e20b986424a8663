/* Energies of many centres in a sparse polynomial kernel model, with their gradients; sparse_kernel.pyx has the
 * formulas.
 *
 * Two matrix products share the sparse points: U = P Q^T and dE/dP = U' Q. Points are processed in blocks that stay in
 * the second-level cache for both products, centres in blocks that one thread sums in a fixed order. The products
 * consist of ROWS x WIDTH tiles whose sums stay in registers; Q is packed once into panels that are read in this order.
 *
 * The weights are large and of both signs, so energies and forces are small differences of large sums. The points
 * differ little, and nearly everything that cancels is common to all of them. A centre is therefore split, p = a e + d,
 * with
 * the unit vector e along the mean of the points: u = p . q = x + b, x = a (e . q), b = d . q. With
 * S_0 = sum w (e . q)^zeta and S_1 = sum w (e . q)^(zeta-1) q, which are summed once, in higher precision, the first
 * two terms of the expansion in b need no sum over the points:
 *     E = a^zeta S_0 + zeta a^(zeta-1) d . S_1 + sum w b^2 r_zeta,    dE/dp = zeta a^(zeta-1) S_1 + sum zeta w b d_(zeta-1) q
 *     d_k = (u^k - x^k) / b,    r_k = (u^k - x^k - k x^(k-1) b) / b^2
 * where d_k and r_k come from recursions without subtractions. For barium titanate (weights up to 3e6 eV, |d| 0.05)
 * this reduces the rounding noise in the energy of 40 atoms from 2e-8 to 1e-12 eV, its last digit.
 *
 * The first product is always computed in double precision. The second, from which only the forces follow, may use
 * single precision, except for the parts of the points along their DIRECTIONS principal directions. */
#ifndef FORCESERVER_SPARSE_KERNEL_H
#define FORCESERVER_SPARSE_KERNEL_H

#include <stdlib.h>
#include "simd.h"

/* Rows of a tile and registers per row: with two registers for columns and one for a row they fit into 32 or 16. */
#ifdef __AVX512F__
#define FS_TILE_ROWS 8
#else
#define FS_TILE_ROWS 6
#endif
#define FS_TILES 2

enum { FS_CENTRES = 24, FS_POINTS = 64, FS_MEMBERS = 8, FS_DIRECTIONS = 16 };  /* multiple of WIDTH_double */

typedef float vwf __attribute__((vector_size(sizeof(vw))));

#define FS_REAL double
#define FS_VECTOR vw
#define FS_NAME(name) name##_double
#include "sparse_kernel_of.h"
#undef FS_REAL
#undef FS_VECTOR
#undef FS_NAME

#define FS_REAL float
#define FS_VECTOR vwf
#define FS_NAME(name) name##_float
#include "sparse_kernel_of.h"
#undef FS_REAL
#undef FS_VECTOR
#undef FS_NAME

typedef struct {
    int64_t n_features, n_points;   /* n_points padded to a multiple of POINTS with points of zero weight */
    int zeta;
    const double *weight;           /* (n_points,) */
    const double *mean;             /* (n_features,): e */
    const double *along;            /* (n_points,): e . q */
    double sum;                     /* S_0 */
    const double *sums;             /* (n_features,): S_1 */
    const double *members;          /* (n_points, MEMBERS) or NULL */
    const double *by_point;         /* [panel of WIDTH points][feature][WIDTH] */
    const double *by_feature;       /* or NULL for single precision, where the next three are used: */
    const float *by_feature_single; /* the points without their parts along the principal directions */
    const double *parts;            /* their parts along these directions, packed like by_feature */
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

/* For one centre: replaces b (POINTS) by the slopes zeta w b d_(zeta-1), and adds sum w b^2 r_zeta to the energy. */
static inline void fs_powers(int zeta, double a, const double *along, const double *weight, const double *members,
                             double *b, double *energy, double *member_energy) {
    double shares[8] = {0}, powers[8];
    for (int t = 0; t < FS_POINTS; t += 8) {
        for (int j = 0; j < 8; j += FS_WIDTH) {
            const vw y = vw_load(b + t + j), x = a * vw_load(along + t + j), u = x + y, wb = vw_load(weight + t + j) * y;
            vw power = vw_set(1.0), d = vw_set(0.0), r = vw_set(0.0);  /* u^k, d_k, r_k */
            for (int k = 1; k < zeta; k++) {
                r = x * r + d;
                d = x * d + power;
                power *= u;
            }
            vw_store(shares + j, vw_load(shares + j) + wb * y * (x * r + d));
            vw_store(powers + j, power * u);
            vw_store(b + t + j, zeta * (wb * d));
        }
        if (members)
            for (int j = 0; j < FS_MEMBERS; j += FS_WIDTH) {
                vw sum = vw_load(member_energy + j);
                for (int k = 0; k < 8; k++) sum += powers[k] * vw_load(members + (t + k) * FS_MEMBERS + j);
                vw_store(member_energy + j, sum);
            }
    }
    *energy += fs_sum_eight(shares);
}

/* Splits p: writes d and returns a. Sets the energy to the terms that need no sum over the points (e . S_1 = S_0). */
static inline double fs_split(const SparsePoints *q, const double *p, double *d, double *energy) {
    const int64_t n = q->n_features;
    const double a = fs_inner(n, p, q->mean), b = fs_inner(n, p, q->sums);
    double power = 1.0;
    for (int64_t f = 0; f < n; f++) d[f] = p[f] - a * q->mean[f];
    for (int k = 1; k < q->zeta; k++) power *= a;
    *energy = power * (a * q->sum + q->zeta * (b - a * q->sum));
    return a;
}

/* The gradient at a centre in single precision: the remainder plus the sums along the principal directions. */
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
    memset(a + n * n_features, 0, sizeof(double) * (FS_CENTRES - n) * n_features);
    memset(d, 0, sizeof(double) * FS_CENTRES * columns);
    double along[FS_CENTRES], sums[FS_CENTRES * FS_DIRECTIONS] = {0};
    for (int r = 0; r < n; r++) along[r] = fs_split(q, p + r * n_features, a + r * n_features, energy + r);
    if (q->members) memset(member_energy, 0, sizeof(double) * n * FS_MEMBERS);
    for (int64_t first = 0; first < q->n_points; first += FS_POINTS) {
        for (int64_t t = 0; t < FS_POINTS; t += w)
            for (int r = 0; r < n; r += FS_TILE_ROWS)
                fs_tile_double(n_features, a + r * n_features, n_features, q->by_point + (first + t) * n_features,
                               u + r * FS_POINTS + t, FS_POINTS, 0);
        for (int r = 0; r < n; r++)
            fs_powers(q->zeta, along[r], q->along + first, q->weight + first,
                      q->members ? q->members + first * FS_MEMBERS : NULL, u + r * FS_POINTS, energy + r,
                      q->members ? member_energy + r * FS_MEMBERS : NULL);
        if (single) {
            for (int k = 0; k < n * FS_POINTS; k++) u_single[k] = (float)u[k];
            fs_add_slopes_double(n, FS_DIRECTIONS, u, q->parts + first * FS_DIRECTIONS, sums);
            fs_add_slopes_float(n, columns, u_single, q->by_feature_single + first * columns, d_single);
        } else
            fs_add_slopes_double(n, columns, u, q->by_feature + first * columns, d);
    }
    for (int r = 0; r < n; r++) {
        double *mine = gradient + r * n_features, slope = q->zeta;
        for (int k = 1; k < q->zeta; k++) slope *= along[r];
        if (single) fs_unite(q, d_single + r * columns, sums + r * FS_DIRECTIONS, mine);
        for (int64_t f = 0; f < n_features; f++) mine[f] = (single ? mine[f] : d[r * columns + f]) + slope * q->sums[f];
    }
}

#endif
