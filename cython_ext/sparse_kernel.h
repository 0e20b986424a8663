/* Energies of many centres in a sparse polynomial kernel model, with their gradients; sparse_kernel.pyx says what.
 *
 * Two matrix products share the sparse points: U = P Q^T and dE/dP = U' Q. Points are taken in blocks that stay in the
 * second-level cache for both, centres in blocks whose sums one thread makes in a fixed order. Products are made of
 * ROWS x WIDTH tiles whose sums stay in registers; Q is packed once into the panels that they read. */
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

enum { FS_CENTRES = 24, FS_POINTS = 64, FS_MEMBERS = 8 };

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

#endif
