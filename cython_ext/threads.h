/* How many threads a loop should use. */
#ifndef FORCESERVER_THREADS_H
#define FORCESERVER_THREADS_H

#include <omp.h>
#include <stdint.h>

/* The number of threads worth waking for this amount of work: one for each `grain` of it, at most `most` (>= 1). The
 * results of the kernels do not depend on it. */
static inline int threads_for(int64_t work, int64_t grain, int64_t most) {
    const int available = omp_get_max_threads();
    int64_t wanted = work / grain + 1;
    if (wanted > most) wanted = most;
    return wanted < available ? (int)wanted : available;
}

#endif
