/* The body of sparse_kernel.h for one precision: FS_REAL, FS_VECTOR (64 bytes of them), FS_NAME. */

enum { FS_NAME(LANES) = 64 / sizeof(FS_REAL), FS_NAME(WIDTH) = FS_TILES * 64 / sizeof(FS_REAL) };

static inline int64_t FS_NAME(fs_padded)(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* Numbers in each of the two packings of (n_points, n_features). */
static inline int64_t FS_NAME(fs_packed_size)(int64_t n_points, int64_t n_features) {
    return FS_NAME(fs_padded)(n_points, FS_POINTS) * FS_NAME(fs_padded)(n_features, FS_NAME(WIDTH));
}

/* Numbers of work space for one thread. */
static inline int64_t FS_NAME(fs_work_size)(int64_t n_features) {
    return FS_CENTRES * (n_features + FS_POINTS + FS_NAME(fs_padded)(n_features, FS_NAME(WIDTH)));
}

/* by_point: [panel of WIDTH points][feature][WIDTH]; by_feature: [block of POINTS][panel of WIDTH features][point][WIDTH].
 * Both must be zero before. */
static inline void FS_NAME(fs_pack)(int64_t n_points, int64_t n_features, const double *q, FS_REAL *by_point,
                                    FS_REAL *by_feature) {
    const int64_t w = FS_NAME(WIDTH), padded = FS_NAME(fs_padded)(n_features, w);
    for (int64_t t = 0; t < n_points; t++)
        for (int64_t f = 0; f < n_features; f++) {
            by_point[(t / w * n_features + f) * w + t % w] = (FS_REAL)q[t * n_features + f];
            by_feature[t / FS_POINTS * FS_POINTS * padded + (f / w * FS_POINTS + t % FS_POINTS) * w + f % w] =
                (FS_REAL)q[t * n_features + f];
        }
}

/* c (ROWS, WIDTH) = a (ROWS, depth) b (depth, WIDTH), added to c or not. */
FS_INLINE void FS_NAME(fs_tile)(int64_t depth, const FS_REAL *a, int64_t lda, const FS_REAL *b, FS_REAL *c, int64_t ldc,
                                int add) {
    FS_VECTOR sum[FS_ROWS][FS_TILES], column[FS_TILES];
    for (int r = 0; r < FS_ROWS; r++)
        for (int k = 0; k < FS_TILES; k++) {
            if (add) memcpy(&sum[r][k], c + r * ldc + k * FS_NAME(LANES), 64);
            else sum[r][k] = (FS_VECTOR){0};
        }
    for (int64_t d = 0; d < depth; d++) {
        for (int k = 0; k < FS_TILES; k++) memcpy(&column[k], b + d * FS_NAME(WIDTH) + k * FS_NAME(LANES), 64);
        for (int r = 0; r < FS_ROWS; r++)
            for (int k = 0; k < FS_TILES; k++) sum[r][k] += a[r * lda + d] * column[k];
    }
    for (int r = 0; r < FS_ROWS; r++)
        for (int k = 0; k < FS_TILES; k++) memcpy(c + r * ldc + k * FS_NAME(LANES), &sum[r][k], 64);
}

/* Kernel values u (POINTS) of one centre become zeta weight u^(zeta-1); their share of the energies is added. */
static inline void FS_NAME(fs_powers)(int zeta, const double *weight, const double *members, FS_REAL *u, double *energy,
                                      double *member_energy) {
    double lanes[8] = {0};
    for (int t = 0; t < FS_POINTS; t++) {
        FS_REAL power = 1;
        for (int k = 1; k < zeta; k++) power *= u[t];
        double value = (double)power * u[t];
        lanes[t % 8] += weight[t] * value;
        if (members)
            for (int m = 0; m < FS_MEMBERS; m++) member_energy[m] += members[t * FS_MEMBERS + m] * value;
        u[t] = (FS_REAL)(zeta * weight[t] * power);
    }
    for (int k = 0; k < 8; k++) *energy += lanes[k];
}

/* Centres 0 .. n - 1 (n <= CENTRES): energy (n), member_energy (n, MEMBERS) or NULL, gradient (n, n_features). */
static inline void FS_NAME(fs_centres)(int n, int64_t n_features, int64_t n_points, int zeta, const FS_REAL *by_point,
                                       const FS_REAL *by_feature, const double *weight, const double *members,
                                       const double *p, double *energy, double *member_energy, double *gradient,
                                       FS_REAL *work) {
    const int64_t w = FS_NAME(WIDTH), padded = FS_NAME(fs_padded)(n_features, w);
    FS_REAL *a = work, *u = a + FS_CENTRES * n_features, *d = u + FS_CENTRES * FS_POINTS;
    for (int64_t k = 0; k < FS_CENTRES * n_features; k++) a[k] = k < n * n_features ? (FS_REAL)p[k] : 0;
    memset(d, 0, sizeof(FS_REAL) * FS_CENTRES * padded);
    memset(energy, 0, sizeof(double) * n);
    if (members) memset(member_energy, 0, sizeof(double) * n * FS_MEMBERS);
    for (int64_t first = 0; first < n_points; first += FS_POINTS) {
        for (int64_t t = 0; t < FS_POINTS; t += w)
            for (int r = 0; r < n; r += FS_ROWS)
                FS_NAME(fs_tile)(n_features, a + r * n_features, n_features, by_point + (first + t) * n_features,
                                 u + r * FS_POINTS + t, FS_POINTS, 0);
        for (int r = 0; r < n; r++)
            FS_NAME(fs_powers)(zeta, weight + first, members ? members + first * FS_MEMBERS : NULL, u + r * FS_POINTS,
                               energy + r, member_energy + r * FS_MEMBERS);
        for (int64_t f = 0; f < padded; f += w)
            for (int r = 0; r < n; r += FS_ROWS)
                FS_NAME(fs_tile)(FS_POINTS, u + r * FS_POINTS, FS_POINTS, by_feature + first * padded + f * FS_POINTS,
                                 d + r * padded + f, padded, 1);
    }
    for (int r = 0; r < n; r++)
        for (int64_t f = 0; f < n_features; f++) gradient[r * n_features + f] = d[r * padded + f];
}
