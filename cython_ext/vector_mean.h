/* Eight pairs at a time of the contracted l = 1 expansion; see vector_mean.pyx for the formulas. */
#ifndef FORCESERVER_VECTOR_MEAN_H
#define FORCESERVER_VECTOR_MEAN_H

#include "simd.h"

typedef struct {
    double s[3][8];        /* sum of w h x_m, in eight parts */
    double third[10][8];   /* sum of w k x_a x_b x_c for abc = xxx xxy xxz xyy xyz xzz yyy yyz yzz zzz */
    double closest2[8];    /* smallest r^2 */
} VectorSums;

typedef struct {
    const double *packed;       /* (n_sites, 4) */
    const double *images;       /* (n_images, 4) */
    const double *table;        /* (n_tables, n_intervals + 1, 4); the last interval is zero */
    const int32_t *site_kind;   /* (n_sites,), which table */
    const double *weight;       /* (n_centres,) */
    const int32_t *centre_site; /* (n_centres,) */
    double cutoff, step, inverse_step;
    int32_t n_intervals;
} VectorModel;

static inline void vector_sums_clear(VectorSums *a) {
    memset(a, 0, sizeof *a);
    for (int k = 0; k < 8; k++) a->closest2[k] = 1e300;
}

/* Eight pairs: [x y z][pair], 1/r (1 outside the cutoff), weights, and positions in the table. */
typedef struct {
    double x[4][8], inverse_r[8], weight[8], t[8];
    int32_t row[8];
} EightPairs;

/* Distances and positions in the table for n <= 8 pairs; the remaining lanes are placed outside the cutoff. */
FS_INLINE void vector_places(const VectorModel *m, const int32_t *pair_site, const int16_t *pair_image,
                             const int32_t *centres, int n, VectorSums *sums, EightPairs *e) {
    double rows[8][4], is_pair[8];
    for (int k = 0; k < 8; k++) {
        const int at = k < n ? k : 0;
        const int32_t site = pair_site[at], centre = centres[at];
        v4_store(rows[k], v4_load(m->packed + 4 * (int64_t)site) + v4_load(m->images + 4 * (int64_t)pair_image[at])
                          - v4_load(m->packed + 4 * (int64_t)m->centre_site[centre]));
        e->weight[k] = m->weight[centre];
        e->row[k] = m->site_kind[site] * (m->n_intervals + 1);
        is_pair[k] = k < n ? 1.0 : 0.0;
    }
    for (int k = 0; k < 8; k += 4) fs_turn_four(rows[k], 4, e->x[0] + k, 8);
    for (int k = 0; k < 8; k += FS_WIDTH) {
        const vw x = vw_load(e->x[0] + k), y = vw_load(e->x[1] + k), z = vw_load(e->x[2] + k);
        const vw r2 = x * x + y * y + z * z, r = vw_sqrt(r2);
        const vwi inside = (r < m->cutoff) & (vw_load(is_pair + k) > 0.5);
        vw_store(sums->closest2 + k, vw_min(vw_select(inside, r2, vw_set(1e300)), vw_load(sums->closest2 + k)));
        const vws interval = __builtin_convertvector(vw_select(inside, r * m->inverse_step, vw_set(m->n_intervals)), vws);
        vw_store(e->t + k, r - __builtin_convertvector(interval, vw) * m->step);
        vw_store(e->inverse_r + k, 1.0 / vw_select(inside, r, vw_set(1.0)));
        for (int i = 0; i < FS_WIDTH; i++) e->row[k + i] += interval[i];
    }
}

FS_INLINE void vector_add(double *sum, vw value) { vw_store(sum, vw_load(sum) + value); }

/* Processes n <= 8 pairs: adds to `sums`, and writes G = w (h 1 + k x x^T) of each pair as (xx yy zz xy xz yz) to out. */
static inline void vector_pairs(const VectorModel *m, const int32_t *pair_site, const int16_t *pair_image,
                                const int32_t *centres, int n, VectorSums *sums, double *out) {
    EightPairs e;
    double a[4][8], g[8][8] = {{0}}, low[8][4], high[8][4];
    vector_places(m, pair_site, pair_image, centres, n, sums, &e);
    for (int k = 0; k < 8; k++) v4_store(low[k], v4_load(m->table + 4 * (int64_t)e.row[k]));
    for (int k = 0; k < 8; k += 4) fs_turn_four(low[k], 4, a[0] + k, 8);
    for (int i = 0; i < 8; i += FS_WIDTH) {
        const vw x = vw_load(e.x[0] + i), y = vw_load(e.x[1] + i), z = vw_load(e.x[2] + i), t = vw_load(e.t + i);
        const vw a1 = vw_load(a[1] + i), a2 = vw_load(a[2] + i), a3 = vw_load(a[3] + i);
        const vw value = vw_load(a[0] + i) + t * (a1 + t * (a2 + t * a3)), slope = a1 + t * (2.0 * a2 + t * 3.0 * a3);
        const vw inverse_r = vw_load(e.inverse_r + i), weight = vw_load(e.weight + i) * inverse_r, h = weight * value;
        const vw k = weight * (slope - value * inverse_r) * inverse_r;
        const vw kx = k * x, ky = k * y, kz = k * z, xx = kx * x, yy = ky * y, zz = kz * z, xy = kx * y;
        vw_store(g[0] + i, h + xx);
        vw_store(g[1] + i, h + yy);
        vw_store(g[2] + i, h + zz);
        vw_store(g[3] + i, xy);
        vw_store(g[4] + i, kx * z);
        vw_store(g[5] + i, ky * z);
        vector_add(sums->s[0] + i, h * x);
        vector_add(sums->s[1] + i, h * y);
        vector_add(sums->s[2] + i, h * z);
        vector_add(sums->third[0] + i, xx * x);
        vector_add(sums->third[1] + i, xx * y);
        vector_add(sums->third[2] + i, xx * z);
        vector_add(sums->third[3] + i, yy * x);
        vector_add(sums->third[4] + i, xy * z);
        vector_add(sums->third[5] + i, zz * x);
        vector_add(sums->third[6] + i, yy * y);
        vector_add(sums->third[7] + i, yy * z);
        vector_add(sums->third[8] + i, zz * y);
        vector_add(sums->third[9] + i, zz * z);
    }
    for (int k = 0; k < 8; k += 4) {
        fs_turn_four(g[0] + k, 8, low[k], 4);
        fs_turn_four(g[4] + k, 8, high[k], 4);
    }
    for (int k = 0; k < n; k++) {
        memcpy(out + 6 * k, low[k], 4 * sizeof(double));
        memcpy(out + 6 * k + 4, high[k], 2 * sizeof(double));
    }
}

#endif
