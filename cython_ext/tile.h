/* Takes tiles of pairs of one centre through all steps of the spherical expansion; expansion.pyx has the formulas.
 *
 * The caller fills in x, y, z, kind and pair for up to FS_TILE pairs within the cutoff, grouped by species if possible,
 * and sets n. */
#ifndef FORCESERVER_TILE_H
#define FORCESERVER_TILE_H

#include "expansion.h"

enum { FS_TILE = 64 };  /* pairs; a multiple of eight */

/* The basis. l, count, padded, radial_offset, block_offset: (n_l,); size: doubles in one block.
 * nodes: (n_tables, n_intervals + 1, 2, channels), values and step * derivatives at the nodes of the splines. */
typedef struct {
    int n_l, l_max, n_lm, size, channels, n_intervals;
    const int32_t *l, *count, *padded, *radial_offset, *block_offset;
    const double *nodes;
    double cutoff, step, inverse_step;
    double norm[FS_Q_SIZE];
} Basis;

typedef struct {
    int n;
    double *x, *y, *z;         /* the unit vector, once prepared */
    double *inverse_r, *fraction, *harmonics, *radial, *slope;
    double *turned;            /* radial and slope of eight pairs, [channel][8] */
    int32_t *interval, *kind, *pair;
} Tile;

/* Sets the fields that follow from the others: l_max, n_lm and the norms of the harmonics. */
static inline void fs_complete_basis(Basis *b) {
    b->l_max = 0;
    for (int k = 0; k < b->n_l; k++) b->l_max = b->l[k] > b->l_max ? b->l[k] : b->l_max;
    b->n_lm = (b->l_max + 1) * (b->l_max + 1);
    for (int l = 0; l <= b->l_max; l++)
        for (int m = 0; m <= l; m++) {
            double f = (2 * l + 1) / (4 * 3.14159265358979323846) * (m == 0 ? 1 : 2);
            for (int i = l - m + 1; i <= l + m; i++) f /= i;
            b->norm[l * (l + 1) / 2 + m] = __builtin_sqrt(f);
        }
}

/* Doubles of work space that one thread needs. */
static inline int64_t fs_tile_size(const Basis *b) {
    return FS_TILE * (int64_t)(5 + 4 * b->n_lm + 2 * b->channels + 2) + 16 * b->channels + 4 * (int64_t)b->size;
}

static inline Tile fs_tile_in(const Basis *b, double *work) {
    Tile t;
    t.n = 0;
    t.x = work;
    t.y = t.x + FS_TILE;
    t.z = t.y + FS_TILE;
    t.inverse_r = t.z + FS_TILE;
    t.fraction = t.inverse_r + FS_TILE;
    t.harmonics = t.fraction + FS_TILE;
    t.radial = t.harmonics + 4 * FS_TILE * b->n_lm;
    t.slope = t.radial + FS_TILE * b->channels;
    t.turned = t.slope + FS_TILE * b->channels;
    t.interval = (int32_t *)(t.turned + 16 * b->channels);
    t.kind = t.interval + FS_TILE;
    t.pair = t.kind + FS_TILE;
    return t;
}

/* Pads the tile with harmless pairs to a multiple of eight, which is returned, and computes splines. */
static inline int fs_prepare_radial(const Basis *b, Tile *t, const int32_t *kind_table, int gradients) {
    const int n = (t->n + 7) / 8 * 8;
    const int64_t row = 2 * b->channels, table = (b->n_intervals + 1) * row;
    for (int k = t->n; k < n; k++) {
        t->x[k] = 0.5 * b->cutoff;
        t->y[k] = t->z[k] = 0.0;
    }
    fs_prepare(n, t->x, t->y, t->z, t->inverse_r, t->fraction, t->interval, b->step, b->inverse_step);
    for (int k = 0; k < t->n; k++) {
        const int interval = t->interval[k] < b->n_intervals ? t->interval[k] : b->n_intervals - 1;
        const double *node = b->nodes + kind_table[t->kind[k]] * table + interval * row;
        double *radial = t->radial + k * b->channels, *slope = t->slope + k * b->channels;
        if (gradients) fs_spline_slope(node, b->channels, t->fraction[k], b->inverse_step, radial, slope);
        else fs_spline(node, b->channels, t->fraction[k], radial);
    }
    return n;
}

/* The same with the harmonics of all pairs. */
static inline int fs_prepare_tile(const Basis *b, Tile *t, const int32_t *kind_table, int gradients) {
    const int n = fs_prepare_radial(b, t, kind_table, gradients);
    if (gradients) fs_solid_harmonics(b->l_max, b->norm, n, t->x, t->y, t->z, t->harmonics);
    else fs_harmonics(b->l_max, b->norm, n, t->x, t->y, t->z, t->harmonics);
    return n;
}

/* Adds the products of harmonics y and radial functions of a tile to the coefficients c of its centre. */
static inline void fs_outer_tile(const Basis *b, const Tile *t, const int32_t *kind_block, const double *y,
                                 const double *radial, double *c) {
    for (int start = 0, stop; start < t->n; start = stop) {
        const int block = kind_block[t->kind[start]];
        for (stop = start + 1; stop < t->n && kind_block[t->kind[stop]] == block;) stop++;
        for (int k = 0; k < b->n_l; k++)
            for (int n = 0; n < b->padded[k]; n += 8)
                fs_outer(2 * b->l[k] + 1, start, stop, y + 8 * b->l[k] * b->l[k], b->n_lm,
                         radial + b->radial_offset[k] + n, b->channels,
                         c + block * b->size + b->block_offset[k] + n, b->padded[k]);
    }
}

/* Adds the pairs of a tile to the coefficients c of their centre, and empties the tile. */
static inline void fs_add_tile(const Basis *b, Tile *t, const int32_t *kind_table, const int32_t *kind_block, double *c) {
    fs_prepare_tile(b, t, kind_table, 0);
    fs_outer_tile(b, t, kind_block, t->harmonics, t->radial, c);
    t->n = 0;
}

/* For pairs start .. start + 7 of a tile with splines and slopes, one block after the other, and dE/dc = g of their
 * centre: writes dE/dr_ij to pair_gradient[pair][4] and adds the sum of r_ij (x) dE/dr_ij to strain (9). */
static inline void fs_pull_eight(const Basis *b, Tile *t, int start, const int32_t *kind_block, const double *g,
                                 double *pair_gradient, double *strain) {
    const int n = t->n - start < 8 ? t->n - start : 8;
    double found[32];
    fs_solid_harmonics(b->l_max, b->norm, 8, t->x + start, t->y + start, t->z + start, t->harmonics);
    fs_turn(b->channels, t->radial + start * b->channels, t->turned);
    fs_turn(b->channels, t->slope + start * b->channels, t->turned + 8 * b->channels);
    for (int done = 0; done < (1 << n) - 1;) {
        int32_t block = -1;
        for (int k = start; k < start + n; k++) {
            if (block < 0 && !(done >> (k - start) & 1)) {
                block = kind_block[t->kind[k]];
                fs_pull(b->n_l, b->l, b->count, b->padded, b->radial_offset, b->block_offset,
                        t->harmonics, t->turned, t->turned + 8 * b->channels,
                        g + block * b->size, t->x + start, t->y + start, t->z + start, t->inverse_r + start, found);
            }
            if (kind_block[t->kind[k]] != block) continue;
            done |= 1 << (k - start);
            double *f = pair_gradient + 4 * (int64_t)t->pair[k];
            for (int a = 0; a < 4; a++) f[a] = found[8 * a + k - start];
            const double r = 1.0 / t->inverse_r[k];
            for (int a = 0; a < 3; a++) {
                strain[a] += r * t->x[k] * f[a];
                strain[3 + a] += r * t->y[k] * f[a];
                strain[6 + a] += r * t->z[k] * f[a];
            }
        }
    }
}

/* Prepares a tile and does the same for all of its pairs. The harmonics of eight of them stay in the first cache. */
static inline void fs_pull_tile(const Basis *b, Tile *t, const int32_t *kind_table, const int32_t *kind_block,
                                const double *g, double *pair_gradient, double *strain) {
    fs_prepare_radial(b, t, kind_table, 1);
    for (int k = 0; k < t->n; k += 8) fs_pull_eight(b, t, k, kind_block, g, pair_gradient, strain);
}

#endif
