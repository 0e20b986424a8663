"""Invariants formed as products of coefficients, models that are linear in them, and their derivatives.

    f_k = norm_k u_k . v_k,    E_i = sum_k w_k f_k

where u and v are vectors: 1, the coefficients of one channel, or two vectors coupled by Clebsch-Gordan coefficients
(representation/products.py). They form a graph, coefficients -> coupled vectors -> scalar products, which is evaluated
for eight centres at a time, one in each lane of a register, and then traversed backwards for the derivatives. Many
functions share the same u, so their other factors are first summed to one vector y = sum_k w_k v_k: a function then
costs 2 L + 1 products forwards and as many backwards.

Each block of eight centres is computed by one thread, in a fixed order, so results do not depend on the number of
threads. The schedule is static, as in the expansion: coefficients and their derivatives stay with the core that made
them.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset
cimport openmp

import numpy as np

cdef extern from "ace.h" nogil:
    ctypedef struct Term:
        int32_t p, q
        double c
    ctypedef struct Graph:
        int n_components, n_channel_components, n_kinds, longest, n_groups
        const int32_t* source
        const int32_t* kinds
        const int32_t* kind_first
        const int32_t* couplings
        const int32_t* first
        const int32_t* groups
        const int32_t* group_first
        const int32_t* right
        const Term* terms
    int64_t fs_graph_size(const Graph*)
    void fs_graph_forwards(const Graph*, int, const double*, int64_t, double*)
    void fs_graph_energies(const Graph*, int, const double*, int64_t, const double*, double*, double*, double*)
    int64_t fs_graph_mixed_size(const Graph*, int)
    void fs_graph_properties(const Graph*, int, const double*, int64_t, int, const double*, double*, int64_t, double*)
    void fs_graph_pull(const Graph*, int, const double*, int64_t, int, const double*, const double*, int64_t, double*,
                       double*)
    void fs_couple_tangent(int, const int32_t*, const Term*, const double*, const double*, const double*,
                           const double*, double*)
    void fs_couple_dual(int, const int32_t*, const Term*, const double*, const double*, const double*, const double*,
                        double*, double*)
    void fs_dot_dual(int, const double*, const double*, const double*, const double*, int, const double*, const double*,
                     double*, int64_t)
    void fs_dot(int, const double*, const double*, double*)
    void fs_dot_tangent(int, const double*, const double*, const double*, const double*, double*)

cdef extern from "threads.h" nogil:
    int threads_for(int64_t work, int64_t grain, int64_t most)

TERM = np.dtype([("p", np.int32), ("q", np.int32), ("c", np.float64)])


cdef class Products:
    """The graph. Arguments are not checked: `representation.invariant_products` makes them.

    source: (n_channel_components,) int32: position of each component of the channels among the coefficients of a
        centre; the first entry, that of the constant component 1, is not read.
    kinds: (n_kinds, 3) int32: l1, l2, L. kind_first: (n_kinds + 1,): range of couplings of each kind.
    couplings: (D, 3) int32: first components of both factors and of the result, times eight; a factor that is itself a
        result belongs to an earlier kind.
    first, terms: three consecutive tables for each kind, sorted by the components of the result, of the first and of
        the second factor; first: (n_kinds, 3, longest + 2) int32, positions in terms.
    dots: (K, 3) int32: first components of u and v, and 2 L + 1; sorted by u. groups: for each different u, its first
        component and its size, int32; group_first: (G + 1,) int32: the range of each group in dots.
    n_components: total number of components of all vectors.
    """

    cdef readonly int n_components, n_channel_components, n_functions
    cdef Graph graph
    cdef const int32_t[::1] source, kind_first, group_first, right
    cdef const int32_t[:, ::1] kinds, couplings, groups, dots
    cdef const int32_t[:, :, ::1] first
    cdef const Term[::1] terms

    def __init__(self, source, kinds, kind_first, couplings, first, terms, dots, groups, group_first, int n_components):
        self.source = source
        self.kinds = kinds
        self.kind_first = kind_first
        self.couplings = couplings
        self.first = first
        self.terms = terms
        self.dots = dots
        self.right = np.ascontiguousarray(np.asarray(dots)[:, 1])
        self.groups = groups
        self.group_first = group_first
        self.n_components = n_components
        self.n_channel_components = len(source)
        self.n_functions = len(dots)
        self.graph = Graph(
            n_components, self.n_channel_components, len(kinds), first.shape[2], len(groups), &self.source[0],
            &self.kinds[0, 0], &self.kind_first[0], &self.couplings[0, 0], &self.first[0, 0, 0], &self.groups[0, 0],
            &self.group_first[0], &self.right[0], &self.terms[0],
        )

    def workspace(self):
        """Doubles of work space that one thread needs."""
        return fs_graph_size(&self.graph)

    def energies(self, const double[:, ::1] c, const double[::1] weights, double[::1] energies,
                 double[:, ::1] gradient, double[:, ::1] work):
        """Writes the energies (n,) of centres with coefficients c (n, size), and dE/dc to gradient (n, size).

        weights: (K,), multiplied by the norms, in the order of dots. work: (threads, workspace())."""
        cdef int64_t n = c.shape[0], block
        cdef int64_t n_blocks = (n + 7) // 8
        cdef int threads = threads_for(n_blocks * self.n_functions, 8192, min(n_blocks, <int64_t>work.shape[0]))
        if n:
            for block in prange(n_blocks, nogil=True, schedule="static", num_threads=threads):
                fs_graph_energies(&self.graph, <int>min(<int64_t>8, n - 8 * block), &c[8 * block, 0], c.shape[1],
                                  &weights[0], &energies[8 * block], &gradient[8 * block, 0],
                                  &work[openmp.omp_get_thread_num(), 0])

    def mixed_workspace(self, int n_properties):
        """Doubles of work space that one thread needs for `properties` and `pull`."""
        return fs_graph_mixed_size(&self.graph, n_properties)

    def properties(self, const double[:, ::1] c, const double[:, ::1] weights, double[:, ::1] phi, double[:, ::1] work):
        """Writes the properties phi (P, n) of centres with coefficients c (n, size), for weights (P, K).

        work: (threads, mixed_workspace(P))."""
        cdef int64_t n = c.shape[0], block
        cdef int64_t n_blocks = (n + 7) // 8
        cdef int threads = threads_for(n_blocks * self.n_functions, 8192, min(n_blocks, <int64_t>work.shape[0]))
        if n:
            for block in prange(n_blocks, nogil=True, schedule="static", num_threads=threads):
                fs_graph_properties(&self.graph, <int>min(<int64_t>8, n - 8 * block), &c[8 * block, 0], c.shape[1],
                                    weights.shape[0], &weights[0, 0], &phi[0, 8 * block], n,
                                    &work[openmp.omp_get_thread_num(), 0])

    def pull(self, const double[:, ::1] c, const double[:, ::1] weights, const double[:, ::1] slopes,
             double[:, ::1] gradient, double[:, ::1] work):
        """Writes dE/dc to gradient (n, size), given the derivatives slopes (P, n) of E with respect to the
        properties."""
        cdef int64_t n = c.shape[0], block
        cdef int64_t n_blocks = (n + 7) // 8
        cdef int threads = threads_for(n_blocks * self.n_functions, 8192, min(n_blocks, <int64_t>work.shape[0]))
        if n:
            for block in prange(n_blocks, nogil=True, schedule="static", num_threads=threads):
                fs_graph_pull(&self.graph, <int>min(<int64_t>8, n - 8 * block), &c[8 * block, 0], c.shape[1],
                              weights.shape[0], &weights[0, 0], &slopes[0, 8 * block], n, &gradient[8 * block, 0],
                              &work[openmp.omp_get_thread_num(), 0])

    def values(self, const double[:, ::1] c, double[:, ::1] out, double[:, ::1] work):
        """Writes the scalar products u . v, without their norms, to out (n, K), in the order of dots."""
        cdef int64_t n = c.shape[0], block
        cdef int64_t n_blocks = (n + 7) // 8
        cdef int threads = threads_for(n_blocks * self.n_functions, 8192, min(n_blocks, <int64_t>work.shape[0]))
        if n:
            for block in prange(n_blocks, nogil=True, schedule="static", num_threads=threads):
                self.values_of(8 * block, <int>min(<int64_t>8, n - 8 * block), c, out,
                               &work[openmp.omp_get_thread_num(), 0])

    cdef void values_of(self, int64_t first, int n, const double[:, ::1] c, double[:, ::1] out,
                        double* x) noexcept nogil:
        cdef double* lanes = x + 8 * self.n_components
        cdef int k, lane
        fs_graph_forwards(&self.graph, n, &c[first, 0], c.shape[1], x)
        for k in range(self.n_functions):
            fs_dot(self.dots[k, 2], x + 8 * self.dots[k, 0], x + 8 * self.dots[k, 1], lanes)
            for lane in range(n):
                out[first + lane, k] = lanes[lane]

    def combine(self, const double[:, ::1] c, const double[:, ::1] d, const double[:, ::1] a, const double[:, ::1] b,
                double[:, ::1] out):
        """out[p, k] = sum over centres of a[p] u . v + b[p] d(u . v), with the derivative along the change d of c (n,
        size).

        a, b: (P, n), P at most 64. out: (P, K), in the order of dots. Uses one thread."""
        cdef int64_t n = c.shape[0], first = 0
        cdef int n_sums = a.shape[0], k, m, lane, count
        cdef double[::1] work = np.zeros(16 * self.n_components + 16 * n_sums + 8)
        cdef double* x = &work[0]
        cdef double* dx = x + 8 * self.n_components
        cdef double* factors = dx + 8 * self.n_components
        out[:, :] = 0.0
        with nogil:
            while first < n:
                count = <int>min(<int64_t>8, n - first)
                for lane in range(8):
                    for k in range(n_sums):
                        factors[8 * k + lane] = a[k, first + lane] if lane < count else 0.0
                        factors[8 * (n_sums + k) + lane] = b[k, first + lane] if lane < count else 0.0
                self.duals(first, count, c, d, x, dx)
                for k in range(self.n_functions):
                    m = self.dots[k, 0]
                    fs_dot_dual(self.dots[k, 2], x + 8 * m, x + 8 * self.dots[k, 1], dx + 8 * m,
                                dx + 8 * self.dots[k, 1], n_sums, factors, factors + 8 * n_sums, &out[0, k],
                                self.n_functions)
                first += 8

    cdef void duals(self, int64_t first, int n, const double[:, ::1] c, const double[:, ::1] d, double* x,
                    double* dx) noexcept nogil:
        """All vectors at n centres, and their derivatives."""
        cdef int k, j, lane
        cdef int64_t row
        for lane in range(8):
            row = first + min(lane, n - 1)
            x[lane] = 1.0
            dx[lane] = 0.0
            for k in range(1, self.n_channel_components):
                x[8 * k + lane] = c[row, self.source[k]]
                dx[8 * k + lane] = d[row, self.source[k]]
        for k in range(self.kinds.shape[0]):
            for j in range(self.kind_first[k], self.kind_first[k + 1]):
                fs_couple_dual(2 * self.kinds[k, 2] + 1, &self.first[k, 0, 0], &self.terms[0],
                               x + self.couplings[j, 0], x + self.couplings[j, 1], dx + self.couplings[j, 0],
                               dx + self.couplings[j, 1], x + self.couplings[j, 2], dx + self.couplings[j, 2])

    def derivatives(self, const double[:, ::1] c, const int32_t[:, ::1] rows, const double[:, :, ::1] tangents,
                    double[:, :, ::1] out):
        """out[k, target, direction] -= d(u . v)/d(direction) for every row, without norms, in the order of dots.

        rows: (R, 3) int32: centre, block, target; rows of one centre are consecutive.
        tangents: (R, directions, block size): derivatives of the coefficients of that block; those of the other blocks
        are zero. Uses one thread."""
        cdef int64_t n = rows.shape[0], first = 0, last
        cdef int n_directions = tangents.shape[1]
        cdef int64_t width = n_directions * out.shape[1]
        cdef double[::1] work = np.zeros(17 * self.n_components + 8)
        cdef double* x = &work[0]
        cdef double* dx = x + self.n_components
        cdef int64_t count, t
        cdef int lanes, lane
        cdef int64_t[8] target
        with nogil:
            while first < n:
                last = first
                while last < n and rows[last, 0] == rows[first, 0]:
                    last += 1
                self.vectors_of(&c[rows[first, 0], 0], x)
                count = (last - first) * n_directions
                t = 0
                while t < count:
                    lanes = <int>min(<int64_t>8, count - t)
                    self.load(rows, tangents, first, t, lanes, dx)
                    for lane in range(lanes):
                        target[lane] = (rows[first + (t + lane) // n_directions, 2] * n_directions
                                        + (t + lane) % n_directions)
                    self.derivatives_of(x, dx, lanes, target, width, &out[0, 0, 0])
                    t += 8
                first = last

    cdef void vectors_of(self, const double* c, double* x) noexcept nogil:
        """The vectors at one centre, one number per component."""
        cdef int k, d, o, t
        cdef double total
        x[0] = 1.0
        for k in range(1, self.n_channel_components):
            x[k] = c[self.source[k]]
        for k in range(self.kinds.shape[0]):
            for d in range(self.kind_first[k], self.kind_first[k + 1]):
                for o in range(2 * self.kinds[k, 2] + 1):
                    total = 0.0
                    for t in range(self.first[k, 0, o], self.first[k, 0, o + 1]):
                        total += (self.terms[t].c * x[(self.couplings[d, 0] + self.terms[t].p) >> 3]
                                  * x[(self.couplings[d, 1] + self.terms[t].q) >> 3])
                    x[(self.couplings[d, 2] >> 3) + o] = total

    cdef void load(self, const int32_t[:, ::1] rows, const double[:, :, ::1] tangents, int64_t first, int64_t t,
                   int lanes, double* dx) noexcept nogil:
        """Loads the derivatives of the channels, one direction into each lane."""
        cdef int k, lane
        cdef int64_t row, size = tangents.shape[2], low
        cdef const double* mine
        memset(dx, 0, 8 * self.n_channel_components * sizeof(double))
        for lane in range(lanes):
            row = first + (t + lane) // tangents.shape[1]
            mine = &tangents[row, (t + lane) % tangents.shape[1], 0]
            low = rows[row, 1] * size
            for k in range(1, self.n_channel_components):
                if low <= self.source[k] < low + size:
                    dx[8 * k + lane] = mine[self.source[k] - low]

    cdef void derivatives_of(self, const double* x, double* dx, int lanes, const int64_t* target, int64_t width,
                             double* out) noexcept nogil:
        cdef int k, d, lane
        cdef int32_t a, b, o
        cdef double[8] found
        for k in range(self.kinds.shape[0]):
            for d in range(self.kind_first[k], self.kind_first[k + 1]):
                a, b, o = self.couplings[d, 0], self.couplings[d, 1], self.couplings[d, 2]
                fs_couple_tangent(2 * self.kinds[k, 2] + 1, &self.first[k, 0, 0], &self.terms[0], x + (a >> 3),
                                  x + (b >> 3), dx + a, dx + b, dx + o)
        for k in range(self.n_functions):
            a, b = self.dots[k, 0], self.dots[k, 1]
            fs_dot_tangent(self.dots[k, 2], x + a, x + b, dx + 8 * a, dx + 8 * b, found)
            for lane in range(lanes):
                out[k * width + target[lane]] -= found[lane]
