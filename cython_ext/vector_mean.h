/* Eight pairs at a time of the contracted l = 1 expansion; see vector_mean.pyx for the formulas. */
#ifndef FORCESERVER_VECTOR_MEAN_H
#define FORCESERVER_VECTOR_MEAN_H

#include "simd.h"

typedef struct {
    v8 s[3];        /* sum of w h x_m */
    v8 third[10];   /* sum of w k x_a x_b x_c for abc = xxx xxy xxz xyy xyz xzz yyy yyz yzz zzz */
    v8 closest2;    /* smallest r^2 */
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

FS_INLINE void vector_sums_clear(VectorSums *a) {
    for (int k = 0; k < 3; k++) a->s[k] = v8_set(0.0);
    for (int k = 0; k < 10; k++) a->third[k] = v8_set(0.0);
    a->closest2 = v8_set(1e300);
}

/* Pairs p .. p + n - 1 (n <= 8). Adds to `sums`; writes G = w (h 1 + k x x^T) of each pair as (xx yy zz xy xz yz)
 * to out, six doubles a pair. */
FS_INLINE void vector_pairs(const VectorModel *m, const int32_t *pair_site, const int16_t *pair_image,
                            const int32_t *centres, int n, VectorSums *sums, double *out) {
    v4 rows[8];
    v8 d[4], a[4];
    double w[8];
    int32_t base[8];
    for (int k = 0; k < 8; k++) {
        int at = k < n ? k : 0;
        int32_t site = pair_site[at], centre = centres[at];
        rows[k] = v4_load(m->packed + 4 * (int64_t)site) + v4_load(m->images + 4 * (int64_t)pair_image[at])
                - v4_load(m->packed + 4 * (int64_t)m->centre_site[centre]);
        w[k] = m->weight[centre];
        base[k] = m->site_kind[site] * (m->n_intervals + 1);
    }
    v8_from_rows(rows, d);
    v8 x = d[0], y = d[1], z = d[2];
    v8 r2 = x * x + y * y + z * z;
    v8 r = v8_sqrt(r2);
    const v8i lane = {0, 1, 2, 3, 4, 5, 6, 7};
    v8i inside = (r < m->cutoff) & (lane < (int64_t)n);
    sums->closest2 = v8_min(v8_select(inside, r2, v8_set(1e300)), sums->closest2);
    v8s interval = __builtin_convertvector(v8_select(inside, r * m->inverse_step, v8_set(m->n_intervals)), v8s);
    v8 t = r - __builtin_convertvector(interval, v8) * m->step;
    for (int k = 0; k < 8; k++) rows[k] = v4_load(m->table + 4 * (base[k] + interval[k]));
    v8_from_rows(rows, a);
    v8 value = a[0] + t * (a[1] + t * (a[2] + t * a[3]));
    v8 slope = a[1] + t * (2.0 * a[2] + t * 3.0 * a[3]);
    v8 inverse_r = 1.0 / v8_select(inside, r, v8_set(1.0));
    v8 weight = v8_load(w) * inverse_r;
    v8 h = weight * value;
    v8 k = weight * (slope - value * inverse_r) * inverse_r;
    v8 kx = k * x, ky = k * y, kz = k * z;
    v8 g[8] = {h + kx * x, h + ky * y, h + kz * z, kx * y, kx * z, ky * z, v8_set(0.0), v8_set(0.0)};
    sums->s[0] += h * x;
    sums->s[1] += h * y;
    sums->s[2] += h * z;
    v8 xx = kx * x, yy = ky * y, zz = kz * z;
    sums->third[0] += xx * x;
    sums->third[1] += xx * y;
    sums->third[2] += xx * z;
    sums->third[3] += yy * x;
    sums->third[4] += g[3] * z;
    sums->third[5] += zz * x;
    sums->third[6] += yy * y;
    sums->third[7] += yy * z;
    sums->third[8] += zz * y;
    sums->third[9] += zz * z;
    v4 low[8], high[8];
    v8_to_rows(g, low);
    v8_to_rows(g + 4, high);
    for (int p = 0; p < n; p++) {
        v4_store(out + 6 * p, low[p]);
        memcpy(out + 6 * p + 4, &high[p], 2 * sizeof(double));
    }
}

#endif
