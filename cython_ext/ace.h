/* Inner loops for products of coefficients; ace.pyx has the formulas and the layout.
 *
 * Every component of a vector is stored as eight doubles: eight centres, or, for derivatives, eight directions at one
 * centre. */
#ifndef FORCESERVER_ACE_H
#define FORCESERVER_ACE_H

#include "simd.h"

/* The number of vector components that are accumulated in registers at once. */
#if defined(__AVX512F__)
enum { FS_DOT_ROWS = 13 };
#else
enum { FS_DOT_ROWS = 6 };
#endif

/* One product of a coupling: positions in the two factors (or in the result), times eight, and the coefficient. */
typedef struct {
    int32_t p, q;
    double c;
} Term;

/* The number of couplings of one kind that are computed together: their terms are the same. */
enum { FS_TOGETHER = 4 };

/* For each of the n components m of the targets of `count` couplings: target[m] = (or +=) the sum of c x[p] y[q] over its
 * terms. Factors and target of a coupling begin at x + place[a], y + place[b] and target + place[o] of its three places;
 * several couplings may add to the same target. */
FS_INLINE void fs_couple(const int count, int n, const int32_t *first, const Term *term, const double *x, const double *y,
                         double *target, const int32_t *places, const int a, const int b, const int o, const int add) {
    const double *xs[FS_TOGETHER], *ys[FS_TOGETHER];
    double *to[FS_TOGETHER];
    for (int j = 0; j < count; j++) {
        xs[j] = x + places[3 * j + a];
        ys[j] = y + places[3 * j + b];
        to[j] = target + places[3 * j + o];
    }
    for (int m = 0; m < n; m++)
        for (int k = 0; k < 8; k += FS_WIDTH) {
            vw sum[FS_TOGETHER];
            for (int j = 0; j < count; j++) sum[j] = vw_set(0.0);
            for (int t = first[m]; t < first[m + 1]; t++) {
                const vw c = vw_set(term[t].c);
                for (int j = 0; j < count; j++)
                    sum[j] += c * vw_load(xs[j] + term[t].p + k) * vw_load(ys[j] + term[t].q + k);
            }
            for (int j = 0; j < count; j++) {
                double *here = to[j] + 8 * m + k;
                vw_store(here, add ? vw_load(here) + sum[j] : sum[j]);
            }
        }
}

/* The same for any number of couplings of one kind. */
FS_INLINE void fs_couple_all(int count, int n, const int32_t *first, const Term *term, const double *x, const double *y,
                             double *target, const int32_t *places, const int a, const int b, const int o, const int add) {
    for (; count >= FS_TOGETHER; count -= FS_TOGETHER, places += 3 * FS_TOGETHER)
        fs_couple(FS_TOGETHER, n, first, term, x, y, target, places, a, b, o, add);
    for (; count; count--, places += 3) fs_couple(1, n, first, term, x, y, target, places, a, b, o, add);
}

/* Derivative of a coupling at one centre along eight directions: out = sum c (dx[p] y[q] + x[p] dy[q]). The components
 * of x and y are scalars; p and q are positions times eight. */
static inline void fs_couple_tangent(int n, const int32_t *first, const Term *term, const double *x, const double *y,
                                     const double *dx, const double *dy, double *out) {
    for (int o = 0; o < n; o++) {
        vw sum[8 / FS_WIDTH];
        for (int k = 0; k < 8 / FS_WIDTH; k++) sum[k] = vw_set(0.0);
        for (int t = first[o]; t < first[o + 1]; t++) {
            const double left = term[t].c * y[term[t].q >> 3], right = term[t].c * x[term[t].p >> 3];
            for (int k = 0; k < 8 / FS_WIDTH; k++)
                sum[k] += left * vw_load(dx + term[t].p + k * FS_WIDTH) + right * vw_load(dy + term[t].q + k * FS_WIDTH);
        }
        for (int k = 0; k < 8 / FS_WIDTH; k++) vw_store(out + 8 * o + k * FS_WIDTH, sum[k]);
    }
}

/* A coupling at eight centres and its derivative along one direction at each of them. */
static inline void fs_couple_dual(int n, const int32_t *first, const Term *term, const double *x, const double *y,
                                  const double *dx, const double *dy, double *out, double *d_out) {
    for (int o = 0; o < n; o++)
        for (int k = 0; k < 8; k += FS_WIDTH) {
            vw sum = vw_set(0.0), d_sum = sum;
            for (int t = first[o]; t < first[o + 1]; t++) {
                const vw a = term[t].c * vw_load(x + term[t].p + k), b = vw_load(y + term[t].q + k);
                sum += a * b;
                d_sum += term[t].c * vw_load(dx + term[t].p + k) * b + a * vw_load(dy + term[t].q + k);
            }
            vw_store(out + 8 * o + k, sum);
            vw_store(d_out + 8 * o + k, d_sum);
        }
}

/* out[p * stride] += the sum over eight centres of a_p u . v + b_p d(u . v), for p = 0 .. n_sums - 1. */
static inline void fs_dot_dual(int size, const double *u, const double *v, const double *du, const double *dv,
                               int n_sums, const double *a, const double *b, double *out, int64_t stride) {
    double sums[64] = {0};
    for (int k = 0; k < 8; k += FS_WIDTH) {
        vw value = vw_set(0.0), slope = value;
        for (int m = 0; m < size; m++) {
            const vw um = vw_load(u + 8 * m + k), vm = vw_load(v + 8 * m + k);
            value += um * vm;
            slope += um * vw_load(dv + 8 * m + k) + vw_load(du + 8 * m + k) * vm;
        }
        for (int p = 0; p < n_sums; p++) {
            double lanes[FS_WIDTH];
            vw_store(lanes, vw_load(a + 8 * p + k) * value + vw_load(b + 8 * p + k) * slope);
            for (int i = 0; i < FS_WIDTH; i++) sums[p] += lanes[i];
        }
    }
    for (int p = 0; p < n_sums; p++) out[p * stride] += sums[p];
}

/* For vectors with `rows` components, u at 8 * left and v_k at 8 * (place[k] + skip): E += u . y with
 * y = sum_k w_k v_k, dE/du += y, dE/dv_k += w_k u. Weights are common to all centres, or, with `lanes`, separate. */
FS_INLINE vw fs_dots_rows(const int rows, const int lanes, int n, const int32_t *place, int skip, const double *weight, const double *x,
                          double *g, int64_t left) {
    vw u[FS_DOT_ROWS], y[FS_DOT_ROWS], energy = vw_set(0.0);
    for (int m = 0; m < rows; m++) {
        u[m] = vw_load(x + 8 * (left + m));
        y[m] = vw_set(0.0);
    }
    for (int k = 0; k < n; k++) {
        const double *xv = x + 8 * (int64_t)(place[k] + skip);
        double *gv = g + 8 * (int64_t)(place[k] + skip);
        const vw w = lanes ? vw_load(weight + 8 * k) : vw_set(weight[k]);
        for (int m = 0; m < rows; m++) {
            y[m] += w * vw_load(xv + 8 * m);
            vw_store(gv + 8 * m, vw_load(gv + 8 * m) + w * u[m]);
        }
    }
    for (int m = 0; m < rows; m++) {
        energy += u[m] * y[m];
        vw_store(g + 8 * (left + m), vw_load(g + 8 * (left + m)) + y[m]);
    }
    return energy;
}

/* The same for vectors of any size and eight centres; adds to their energies. */
FS_INLINE void fs_dots(const int lanes, int size, int n, const int32_t *place, const double *weight, const double *x,
                       double *g, int32_t left, double *energy) {
    for (int skip = 0; skip < size; skip += FS_DOT_ROWS) {
        const int rows = size - skip < FS_DOT_ROWS ? size - skip : FS_DOT_ROWS;
        for (int k = 0; k < 8; k += FS_WIDTH) {
            vw sum = vw_load(energy + k);
#define FS_CASE(r) case r: if (r <= FS_DOT_ROWS) \
            sum += fs_dots_rows(r <= FS_DOT_ROWS ? r : 1, lanes, n, place, skip, weight + (lanes ? k : 0), x + k, g + k, \
                                left + skip); break;
            switch (rows) {
                FS_CASE(1) FS_CASE(2) FS_CASE(3) FS_CASE(4) FS_CASE(5) FS_CASE(6) FS_CASE(7) FS_CASE(8) FS_CASE(9)
                FS_CASE(10) FS_CASE(11) FS_CASE(12) FS_CASE(13)
            }
#undef FS_CASE
            vw_store(energy + k, sum);
        }
    }
}

/* u . v at eight centres. */
static inline void fs_dot(int size, const double *u, const double *v, double *out) {
    for (int k = 0; k < 8; k += FS_WIDTH) {
        vw sum = vw_set(0.0);
        for (int m = 0; m < size; m++) sum += vw_load(u + 8 * m + k) * vw_load(v + 8 * m + k);
        vw_store(out + k, sum);
    }
}

/* du . v + u . dv at one centre along eight directions. */
static inline void fs_dot_tangent(int size, const double *u, const double *v, const double *du, const double *dv,
                                  double *out) {
    for (int k = 0; k < 8; k += FS_WIDTH) {
        vw sum = vw_set(0.0);
        for (int m = 0; m < size; m++) sum += u[m] * vw_load(dv + 8 * m + k) + v[m] * vw_load(du + 8 * m + k);
        vw_store(out + k, sum);
    }
}

/* The graph of products, in the layout of ace.pyx. */
typedef struct {
    int n_components, n_channel_components, n_kinds, longest, n_groups;
    const int32_t *source, *kinds, *kind_first, *couplings, *first, *groups, *group_first, *right;
    const Term *terms;
} Graph;

/* Doubles that one thread needs for eight centres. */
static inline int64_t fs_graph_size(const Graph *q) { return 16 * (int64_t)q->n_components + 8; }

/* Table 0, 1 or 2 of a kind: its terms sorted by the components of the result, the first or the second factor. */
static inline const int32_t *fs_coupling_table(const Graph *q, int kind, int table) {
    return q->first + (3 * kind + table) * q->longest;
}

/* All vectors x of n centres with coefficients c in rows of `size`; surplus lanes repeat the last centre. */
static inline void fs_graph_forwards(const Graph *q, int n, const double *c, int64_t size, double *x) {
    for (int lane = 0; lane < 8; lane++) {
        const double *row = c + (lane < n ? lane : n - 1) * size;
        x[lane] = 1.0;
        for (int k = 1; k < q->n_channel_components; k++) x[8 * k + lane] = row[q->source[k]];
    }
    for (int k = 0; k < q->n_kinds; k++)
        fs_couple_all(q->kind_first[k + 1] - q->kind_first[k], 2 * q->kinds[3 * k + 2] + 1, fs_coupling_table(q, k, 0),
                      q->terms, x, x, x, q->couplings + 3 * q->kind_first[k], 0, 1, 2, 0);
}

/* Propagates the derivatives g with respect to all vectors down to the channels. */
static inline void fs_graph_backwards(const Graph *q, const double *x, double *g) {
    for (int k = q->n_kinds - 1; k >= 0; k--) { /* coupled vectors before their factors */
        const int count = q->kind_first[k + 1] - q->kind_first[k];
        const int32_t *places = q->couplings + 3 * q->kind_first[k];
        fs_couple_all(count, 2 * q->kinds[3 * k] + 1, fs_coupling_table(q, k, 1), q->terms, x, g, g, places, 1, 2, 0, 1);
        fs_couple_all(count, 2 * q->kinds[3 * k + 1] + 1, fs_coupling_table(q, k, 2), q->terms, x, g, g, places, 0, 2, 1, 1);
    }
}

/* The weighted sums of all products at n <= 8 centres with coefficients c. Returns them (they are stored in the work
 * space, behind the vectors and their derivatives) and writes their derivatives with respect to c to gradient; c and
 * gradient have rows of `size`. */
FS_INLINE double *fs_graph_sums(const Graph *q, const int lanes, int n, const double *c, int64_t size,
                                const double *weights, double *gradient, double *work) {
    double *x = work, *g = x + 8 * (int64_t)q->n_components, *sums = g + 8 * (int64_t)q->n_components;
    fs_graph_forwards(q, n, c, size, x);
    memset(g, 0, (8 * (int64_t)q->n_components + 8) * sizeof(double));
    for (int k = 0; k < q->n_groups; k++) {
        const int32_t begin = q->group_first[k];
        fs_dots(lanes, q->groups[2 * k + 1], q->group_first[k + 1] - begin, q->right + begin,
                weights + (lanes ? 8 : 1) * (int64_t)begin, x, g, q->groups[2 * k], sums);
    }
    fs_graph_backwards(q, x, g);
    for (int lane = 0; lane < n; lane++) {
        double *row = gradient + lane * size;
        memset(row, 0, size * sizeof(double));
        for (int k = 1; k < q->n_channel_components; k++) row[q->source[k]] = g[8 * k + lane];
    }
    return sums;
}

/* Energies of n <= 8 centres with coefficients c; writes dE/dc to gradient. Both have rows of `size`. */
static inline void fs_graph_energies(const Graph *q, int n, const double *c, int64_t size, const double *weights,
                                     double *energies, double *gradient, double *work) {
    const double *sums = fs_graph_sums(q, 0, n, c, size, weights, gradient, work);
    for (int lane = 0; lane < n; lane++) energies[lane] = sums[lane];
}

/* Number of functions. */
static inline int32_t fs_graph_functions(const Graph *q) { return q->group_first[q->n_groups]; }

/* Doubles that one thread needs for eight centres with n_p properties. */
static inline int64_t fs_graph_mixed_size(const Graph *q, int n_p) {
    return fs_graph_size(q) + 8 * ((int64_t)fs_graph_functions(q) + n_p);
}

/* n_p properties of n <= 8 centres: phi[p * stride + centre] = sum_k weights[p][k] u . v. */
static inline void fs_graph_properties(const Graph *q, int n, const double *c, int64_t size, int n_p,
                                       const double *weights, double *phi, int64_t stride, double *work) {
    const int32_t n_functions = fs_graph_functions(q);
    double *sums = work + fs_graph_size(q), product[8];
    fs_graph_forwards(q, n, c, size, work);
    memset(sums, 0, 8 * n_p * sizeof(double));
    for (int k = 0; k < q->n_groups; k++)
        for (int32_t d = q->group_first[k]; d < q->group_first[k + 1]; d++) {
            fs_dot(q->groups[2 * k + 1], work + 8 * (int64_t)q->groups[2 * k], work + 8 * (int64_t)q->right[d], product);
            for (int k = 0; k < 8; k += FS_WIDTH)
                for (int p = 0; p < n_p; p++)
                    vw_store(sums + 8 * p + k, vw_load(sums + 8 * p + k)
                                                   + weights[p * (int64_t)n_functions + d] * vw_load(product + k));
        }
    for (int p = 0; p < n_p; p++)
        for (int lane = 0; lane < n; lane++) phi[p * stride + lane] = sums[8 * p + lane];
}

/* Given the derivatives of an energy with respect to the properties, slope[p * stride + centre], writes those with
 * respect to c to gradient. */
static inline void fs_graph_pull(const Graph *q, int n, const double *c, int64_t size, int n_p, const double *weights,
                                 const double *slope, int64_t stride, double *gradient, double *work) {
    const int32_t n_functions = fs_graph_functions(q);
    double *mixed = work + fs_graph_size(q), *of_lanes = mixed + 8 * (int64_t)n_functions;
    for (int p = 0; p < n_p; p++)
        for (int lane = 0; lane < 8; lane++) of_lanes[8 * p + lane] = lane < n ? slope[p * stride + lane] : 0.0;
    for (int k = 0; k < 8; k += FS_WIDTH)
        for (int32_t d = 0; d < n_functions; d++) {
            vw sum = vw_set(0.0);
            for (int p = 0; p < n_p; p++) sum += weights[p * (int64_t)n_functions + d] * vw_load(of_lanes + 8 * p + k);
            vw_store(mixed + 8 * (int64_t)d + k, sum);
        }
    fs_graph_sums(q, 1, n, c, size, mixed, gradient, work);
}

#endif
