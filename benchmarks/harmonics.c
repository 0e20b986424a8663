/* Nanoseconds per pair of the harmonics inside the kernel of the expansion: `harmonics L_MAX PAIRS` prints two numbers,
 * values only and with gradients. Tiles of 32 pairs, as the kernel has them: nothing but the last tile is kept. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../cython_ext/expansion.h"

enum { TILE = 32, SIZE = (FS_L_MAX + 1) * (FS_L_MAX + 1) };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static double pass(int l_max, int pairs, int gradients, const double *xyz, const double *norm, double *check) {
    static double out[4 * SIZE * TILE] __attribute__((aligned(64)));
    double u[3][TILE], inverse_r[TILE], fraction[TILE];
    int32_t interval[TILE];
    const double start = now();
    for (int p = 0; p < pairs; p += TILE) {
        for (int k = 0; k < TILE; k++)
            for (int d = 0; d < 3; d++) u[d][k] = xyz[3 * (p + k) + d];
        fs_prepare(TILE, u[0], u[1], u[2], inverse_r, fraction, interval, 0.01, 100.0);
        if (gradients) fs_solid_harmonics(l_max, norm, TILE, u[0], u[1], u[2], out);
        else fs_harmonics(l_max, norm, TILE, u[0], u[1], u[2], out);
        *check += out[p % (8 * SIZE)];
    }
    return now() - start;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    const int l_max = atoi(argv[1]), pairs = atoi(argv[2]) / TILE * TILE;
    double norm[FS_Q_SIZE], check = 0.0;
    double *xyz = malloc(3 * sizeof(double) * pairs);
    for (int k = 0; k < FS_Q_SIZE; k++) norm[k] = 1.0 / (k + 1); /* any numbers take the same time */
    for (int k = 0; k < 3 * pairs; k++) xyz[k] = 0.1 + rand() / (double)RAND_MAX;
    for (int gradients = 0; gradients < 2; gradients++) {
        double best = 1e300;
        for (int round = 0; round < 5 + 2000000 / (pairs * SIZE); round++)
            best = fmin(best, pass(l_max, pairs, gradients, xyz, norm, &check));
        printf("%.6g ", 1e9 * best / pairs);
    }
    fprintf(stderr, "%g\n", check); /* so that nothing is left out */
    return 0;
}
