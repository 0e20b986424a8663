/* Matrix products in one precision: FS_REAL, FS_VECTOR (a register of it), FS_NAME. See sparse_kernel.h. */

enum { FS_NAME(LANES) = sizeof(FS_VECTOR) / sizeof(FS_REAL), FS_NAME(WIDTH) = FS_TILES * FS_NAME(LANES) };

/* Columns of the gradient, padded to whole panels. */
static inline int64_t FS_NAME(fs_columns)(int64_t n_features) {
    return (n_features + FS_NAME(WIDTH) - 1) / FS_NAME(WIDTH) * FS_NAME(WIDTH);
}

/* Copies points (n_points, n_features) to an array of zeros, as [block of POINTS][panel of WIDTH features][point][WIDTH]. */
static inline void FS_NAME(fs_pack_by_feature)(int64_t n_points, int64_t n_features, const double *q, FS_REAL *packed) {
    const int64_t w = FS_NAME(WIDTH), columns = FS_NAME(fs_columns)(n_features);
    for (int64_t t = 0; t < n_points; t++)
        for (int64_t f = 0; f < n_features; f++)
            packed[t / FS_POINTS * FS_POINTS * columns + (f / w * FS_POINTS + t % FS_POINTS) * w + f % w] =
                (FS_REAL)q[t * n_features + f];
}

/* c (ROWS, WIDTH) = a (ROWS, depth) b (depth, WIDTH), or += if `add`. */
FS_INLINE void FS_NAME(fs_tile)(int64_t depth, const FS_REAL *a, int64_t lda, const FS_REAL *b, FS_REAL *c, int64_t ldc,
                                int add) {
    FS_VECTOR sum[FS_TILE_ROWS][FS_TILES], column[FS_TILES];
    for (int r = 0; r < FS_TILE_ROWS; r++)
        for (int k = 0; k < FS_TILES; k++) {
            if (add) memcpy(&sum[r][k], c + r * ldc + k * FS_NAME(LANES), sizeof(FS_VECTOR));
            else sum[r][k] = (FS_VECTOR){0};
        }
    for (int64_t d = 0; d < depth; d++) {
        for (int k = 0; k < FS_TILES; k++) memcpy(&column[k], b + d * FS_NAME(WIDTH) + k * FS_NAME(LANES), sizeof(FS_VECTOR));
        for (int r = 0; r < FS_TILE_ROWS; r++)
            for (int k = 0; k < FS_TILES; k++) sum[r][k] += a[r * lda + d] * column[k];
    }
    for (int r = 0; r < FS_TILE_ROWS; r++)
        for (int k = 0; k < FS_TILES; k++) memcpy(c + r * ldc + k * FS_NAME(LANES), &sum[r][k], sizeof(FS_VECTOR));
}

/* d (n, columns) += slopes (n, POINTS) times a block of points. */
static inline void FS_NAME(fs_add_slopes)(int n, int64_t columns, const FS_REAL *slopes, const FS_REAL *block,
                                          FS_REAL *d) {
    for (int64_t f = 0; f < columns; f += FS_NAME(WIDTH))
        for (int r = 0; r < n; r += FS_TILE_ROWS)
            FS_NAME(fs_tile)(FS_POINTS, slopes + r * FS_POINTS, FS_POINTS, block + f * FS_POINTS, d + r * columns + f,
                             columns, 1);
}
