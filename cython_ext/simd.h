/* Eight doubles that the compiler keeps in one 512-bit, two 256-bit or four 128-bit registers (GCC and clang vector
 * extensions, no intrinsics). Sums over lanes have one fixed order, so that a result does not depend on the
 * instruction set but through the rounding of fused multiply-adds. */
#ifndef FORCESERVER_SIMD_H
#define FORCESERVER_SIMD_H

#include <stdint.h>
#include <string.h>

#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wpsabi" /* vectors are passed to inlined functions only */
#endif

typedef double v8 __attribute__((vector_size(64)));
typedef double v4 __attribute__((vector_size(32)));
typedef double v2 __attribute__((vector_size(16)));

#define FS_INLINE static inline __attribute__((always_inline))

FS_INLINE v8 v8_load(const double *p) { v8 x; memcpy(&x, p, sizeof x); return x; }
FS_INLINE void v8_store(double *p, v8 x) { memcpy(p, &x, sizeof x); }
FS_INLINE v8 v8_set(double a) { return (v8){a, a, a, a, a, a, a, a}; }
FS_INLINE double v8_sum(v8 x) {
    return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}
FS_INLINE v4 v4_load(const double *p) { v4 x; memcpy(&x, p, sizeof x); return x; }
FS_INLINE void v4_store(double *p, v4 x) { memcpy(p, &x, sizeof x); }

/* What fits one register: accumulators of wider vectors are kept in memory by GCC, so inner loops run over these. */
#if defined(__AVX512F__)
typedef v8 vw;
enum { FS_WIDTH = 8 };
FS_INLINE vw vw_set(double a) { return v8_set(a); }
#elif defined(__AVX__)
typedef v4 vw;
enum { FS_WIDTH = 4 };
FS_INLINE vw vw_set(double a) { return (v4){a, a, a, a}; }
#else
typedef v2 vw;
enum { FS_WIDTH = 2 };
FS_INLINE vw vw_set(double a) { return (v2){a, a}; }
#endif
FS_INLINE vw vw_load(const double *p) { vw x; memcpy(&x, p, sizeof x); return x; }
FS_INLINE void vw_store(double *p, vw x) { memcpy(p, &x, sizeof x); }

/* The transpose of four rows of four doubles; rows are `stride` apart, those of the result `out_stride`. */
FS_INLINE void fs_turn_four(const double *rows, int stride, double *out, int out_stride) {
#if defined(__AVX__)
    v4 a = v4_load(rows), b = v4_load(rows + stride), c = v4_load(rows + 2 * stride), d = v4_load(rows + 3 * stride);
    v4 ab_even = __builtin_shufflevector(a, b, 0, 4, 2, 6), ab_odd = __builtin_shufflevector(a, b, 1, 5, 3, 7);
    v4 cd_even = __builtin_shufflevector(c, d, 0, 4, 2, 6), cd_odd = __builtin_shufflevector(c, d, 1, 5, 3, 7);
    v4_store(out, __builtin_shufflevector(ab_even, cd_even, 0, 1, 4, 5));
    v4_store(out + out_stride, __builtin_shufflevector(ab_odd, cd_odd, 0, 1, 4, 5));
    v4_store(out + 2 * out_stride, __builtin_shufflevector(ab_even, cd_even, 2, 3, 6, 7));
    v4_store(out + 3 * out_stride, __builtin_shufflevector(ab_odd, cd_odd, 2, 3, 6, 7));
#else
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 4; i++) out[k * out_stride + i] = rows[i * stride + k];
#endif
}

/* Eight rows of four doubles become four vectors of eight: column k of row i is lane i of out[k]. */
FS_INLINE void v8_from_rows(const v4 r[8], v8 out[4]) {
    v8 a = __builtin_shufflevector(r[0], r[4], 0, 1, 2, 3, 4, 5, 6, 7);
    v8 b = __builtin_shufflevector(r[1], r[5], 0, 1, 2, 3, 4, 5, 6, 7);
    v8 c = __builtin_shufflevector(r[2], r[6], 0, 1, 2, 3, 4, 5, 6, 7);
    v8 d = __builtin_shufflevector(r[3], r[7], 0, 1, 2, 3, 4, 5, 6, 7);
    v8 ab_even = __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14);
    v8 ab_odd = __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
    v8 cd_even = __builtin_shufflevector(c, d, 0, 8, 2, 10, 4, 12, 6, 14);
    v8 cd_odd = __builtin_shufflevector(c, d, 1, 9, 3, 11, 5, 13, 7, 15);
    out[0] = __builtin_shufflevector(ab_even, cd_even, 0, 1, 8, 9, 4, 5, 12, 13);
    out[1] = __builtin_shufflevector(ab_odd, cd_odd, 0, 1, 8, 9, 4, 5, 12, 13);
    out[2] = __builtin_shufflevector(ab_even, cd_even, 2, 3, 10, 11, 6, 7, 14, 15);
    out[3] = __builtin_shufflevector(ab_odd, cd_odd, 2, 3, 10, 11, 6, 7, 14, 15);
}

/* The inverse: lane i of in[k] goes to column k of row i. */
FS_INLINE void v8_to_rows(const v8 in[4], v4 r[8]) {
    v8 xy_even = __builtin_shufflevector(in[0], in[1], 0, 8, 2, 10, 4, 12, 6, 14);
    v8 xy_odd = __builtin_shufflevector(in[0], in[1], 1, 9, 3, 11, 5, 13, 7, 15);
    v8 zw_even = __builtin_shufflevector(in[2], in[3], 0, 8, 2, 10, 4, 12, 6, 14);
    v8 zw_odd = __builtin_shufflevector(in[2], in[3], 1, 9, 3, 11, 5, 13, 7, 15);
    r[0] = __builtin_shufflevector(xy_even, zw_even, 0, 1, 8, 9);
    r[1] = __builtin_shufflevector(xy_odd, zw_odd, 0, 1, 8, 9);
    r[2] = __builtin_shufflevector(xy_even, zw_even, 2, 3, 10, 11);
    r[3] = __builtin_shufflevector(xy_odd, zw_odd, 2, 3, 10, 11);
    r[4] = __builtin_shufflevector(xy_even, zw_even, 4, 5, 12, 13);
    r[5] = __builtin_shufflevector(xy_odd, zw_odd, 4, 5, 12, 13);
    r[6] = __builtin_shufflevector(xy_even, zw_even, 6, 7, 14, 15);
    r[7] = __builtin_shufflevector(xy_odd, zw_odd, 6, 7, 14, 15);
}

FS_INLINE v8 v8_sqrt(v8 x) {
    double a[8];
    v8_store(a, x);
    for (int k = 0; k < 8; k++) a[k] = __builtin_sqrt(a[k]);
    return v8_load(a);
}

typedef int64_t v8i __attribute__((vector_size(64)));
typedef int32_t v8s __attribute__((vector_size(32)));

FS_INLINE v8 v8_select(v8i mask, v8 yes, v8 no) { return (v8)((mask & (v8i)yes) | (~mask & (v8i)no)); }
FS_INLINE v8 v8_min(v8 a, v8 b) { return v8_select(a < b, a, b); }
FS_INLINE double v8_smallest(v8 x) {
    double least = x[0];
    for (int k = 1; k < 8; k++) least = x[k] < least ? x[k] : least;
    return least;
}

#endif
