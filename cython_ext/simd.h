/* Vectors of doubles that fit one register (GCC and clang vector extensions, no intrinsics): GCC keeps wider ones in
 * memory, up to ten times slower. Kernels work on eight numbers at a time, in 8 / FS_WIDTH vectors. Sums over the eight
 * have a fixed order, so that results depend on the instruction set only through the rounding of fused multiply-adds. */
#ifndef FORCESERVER_SIMD_H
#define FORCESERVER_SIMD_H

#include <stdint.h>
#include <string.h>

#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wpsabi" /* vectors are only passed to inlined functions */
#endif

#define FS_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
enum { FS_WIDTH = 8 };
#elif defined(__AVX__)
enum { FS_WIDTH = 4 };
#else
enum { FS_WIDTH = 2 };
#endif
typedef double vw __attribute__((vector_size(8 * FS_WIDTH)));
typedef int64_t vwi __attribute__((vector_size(8 * FS_WIDTH)));
typedef int32_t vws __attribute__((vector_size(4 * FS_WIDTH)));
typedef double v4 __attribute__((vector_size(32)));

FS_INLINE vw vw_load(const double *p) { vw x; memcpy(&x, p, sizeof x); return x; }
FS_INLINE void vw_store(double *p, vw x) { memcpy(p, &x, sizeof x); }
FS_INLINE vw vw_set(double a) { return a - (vw){0}; }
FS_INLINE vw vw_select(vwi mask, vw yes, vw no) { return (vw)((mask & (vwi)yes) | (~mask & (vwi)no)); }
FS_INLINE vw vw_min(vw a, vw b) { return vw_select(a < b, a, b); }
FS_INLINE vw vw_sqrt(vw x) {
    for (int k = 0; k < FS_WIDTH; k++) x[k] = __builtin_sqrt(x[k]);
    return x;
}
FS_INLINE v4 v4_load(const double *p) { v4 x; memcpy(&x, p, sizeof x); return x; }
FS_INLINE void v4_store(double *p, v4 x) { memcpy(p, &x, sizeof x); }

/* The sum and the smallest of eight numbers. */
FS_INLINE double fs_sum_eight(const double *x) {
    return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}
FS_INLINE double fs_smallest(const double *x) {
    double least = x[0];
    for (int k = 1; k < 8; k++) least = x[k] < least ? x[k] : least;
    return least;
}

/* sum_k x[k] y[k], with eight partial sums. */
static inline double fs_inner(int64_t n, const double *x, const double *y) {
    vw sum[8 / FS_WIDTH];
    for (int j = 0; j < 8 / FS_WIDTH; j++) sum[j] = vw_set(0.0);
    int64_t k = 0;
    for (; k + 8 <= n; k += 8)
        for (int j = 0; j < 8 / FS_WIDTH; j++) sum[j] += vw_load(x + k + j * FS_WIDTH) * vw_load(y + k + j * FS_WIDTH);
    double rest = 0.0, lanes[8];
    for (; k < n; k++) rest += x[k] * y[k];
    for (int j = 0; j < 8 / FS_WIDTH; j++) vw_store(lanes + j * FS_WIDTH, sum[j]);
    return fs_sum_eight(lanes) + rest;
}

/* Transposes four rows of four doubles; rows are `stride` apart, those of the result `out_stride`. */
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

#endif
