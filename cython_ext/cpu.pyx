"""What this processor can execute, and how many OpenMP threads a kernel will get.

The features are those of the micro-architecture levels of the x86-64 psABI; some of the supported compilers are too old
for `__builtin_cpu_supports("x86-64-v3")`.
"""

cimport openmp

cdef extern from *:
    """
    #if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
    static int fs_x86_64_level(void) {
        __builtin_cpu_init();
        int v2 = __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1") &&
                 __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
        int v3 = v2 && __builtin_cpu_supports("avx") && __builtin_cpu_supports("avx2") &&
                 __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
        int v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512vl");
        return v4 ? 4 : v3 ? 3 : v2 ? 2 : 1;
    }
    #else
    static int fs_x86_64_level(void) { return 0; }
    #endif
    """
    int fs_x86_64_level() nogil


def x86_64_level() -> int:
    """Highest x86-64 micro-architecture level that this processor executes (1-4); 0 on other processors."""
    return fs_x86_64_level()


def max_threads() -> int:
    """Number of OpenMP threads that the kernels use (OMP_NUM_THREADS)."""
    return openmp.omp_get_max_threads()


def set_threads(int n) -> None:
    """Sets the number of OpenMP threads for kernels called from this thread, from now on."""
    if n < 1:
        raise ValueError(f"number of threads must be at least 1, got {n}")
    openmp.omp_set_num_threads(n)
