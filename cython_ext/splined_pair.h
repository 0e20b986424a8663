/* Splined pair energies; pair.pyx has the formula and explains the intervals. */
#ifndef FORCESERVER_SPLINED_PAIR_H
#define FORCESERVER_SPLINED_PAIR_H

#include <stdint.h>
#include <string.h>

typedef struct {
    int32_t n_kinds;
    int shift;                 /* by how many bits u is shifted to give the number of its interval */
    uint64_t first;            /* the number of the first interval */
    int64_t n_intervals;
    const double *a;           /* (channels, n_intervals, 4) */
    const int32_t *channel;    /* (n_kinds, n_kinds), -1 where nothing interacts */
    const double *low;         /* (channels,), smallest r^2 of the table */
    const double *high;        /* (channels,), squared cutoff */
} Tables;

enum { FS_APART, FS_PAIR, FS_TOO_CLOSE };

/* Energy and -2 dE/du at u = r^2 for atoms of two kinds. Returns FS_APART if they do not interact and FS_TOO_CLOSE if
 * they are closer than the table begins; neither is set then. */
static inline int fs_pair(const Tables *t, int32_t kind, int32_t other, double u, double *energy, double *slope) {
    const int64_t channel = t->channel[kind * t->n_kinds + other];
    if (channel < 0 || u >= t->high[channel]) return FS_APART;
    if (!(u >= t->low[channel])) return FS_TOO_CLOSE;
    uint64_t bits;
    double left;
    memcpy(&bits, &u, 8);
    bits >>= t->shift;
    const uint64_t at = bits << t->shift;
    memcpy(&left, &at, 8);
    const double x = u - left, *a = t->a + 4 * (channel * t->n_intervals + (int64_t)(bits - t->first));
    *energy = a[0] + x * (a[1] + x * (a[2] + x * a[3]));
    *slope = -2.0 * (a[1] + x * (2.0 * a[2] + 3.0 * x * a[3]));
    return FS_PAIR;
}

#endif
