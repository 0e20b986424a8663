"""A sum of truncated Gaussian kernels that are merged where they are close: the density of OPES.

A kernel is h (exp(-q/2) - exp(-cutoff^2/2)) for q < cutoff^2 and zero beyond, with q = sum_k ((s_k - c_k) / sigma_k)^2.
A new kernel is merged with the one whose centre is nearest, in units of that kernel's widths, if it is nearer than the
threshold. The result is merged in the same way, until no kernel is near enough. Merging preserves the mean and the
variance of the two (Invernizzi, Parrinello, J. Phys. Chem. Lett. 11, 2731 (2020)). Kernels are ordered as in PLUMED's
OPES_METAD: they keep their positions, and the later one of two merged kernels is removed.
"""

from libc.math cimport exp, floor, rint, sqrt

import numpy as np

cdef extern from *:
    """
    #define MAX_DIM 3
    """
    enum:
        MAX_DIM

cdef struct Kernel:
    double height
    double centre[MAX_DIM]
    double sigma[MAX_DIM]

KERNEL = np.dtype([("height", "f8"), ("centre", "f8", (MAX_DIM,)), ("sigma", "f8", (MAX_DIM,))])


cdef inline double nearest_image(double d, double period) noexcept nogil:
    return d - period * rint(d / period) if period > 0 else d


cdef class KernelDensity:
    """Kernels in one to three variables.

    period, lower: (d,), period of each variable (0 if not periodic) and its lower end. cutoff, threshold: in units of
        the widths.
    """

    cdef readonly Py_ssize_t count
    cdef int dim
    cdef double cutoff2, at_cutoff, threshold2
    cdef double period[MAX_DIM]
    cdef double lower[MAX_DIM]
    cdef double[:, ::1] numbers  # heights, centres by variable, widths by variable: (1 + 2d, room)
    cdef double[::1] distances
    cdef Kernel[::1] changes  # by the last addition: removed kernels, with their heights negated, and the new one
    cdef Py_ssize_t changed  # how many of them

    def __init__(self, period, lower, double cutoff, double threshold) -> None:
        self.dim = len(period)
        if not 1 <= self.dim <= MAX_DIM:
            raise ValueError(f"kernels have one to three variables, not {self.dim}")
        for k in range(self.dim):
            self.period[k], self.lower[k] = period[k], lower[k]
        self.cutoff2, self.at_cutoff, self.threshold2 = cutoff**2, exp(-0.5 * cutoff**2), threshold**2
        self.clear()

    def clear(self) -> None:
        """Removes all kernels."""
        self.count = self.changed = 0
        self.changes = np.zeros(8, KERNEL)
        self.numbers = np.zeros((1 + 2 * self.dim, 64))
        self.distances = np.zeros(64)

    def kernels(self):
        """Copies of the heights (n,), centres (n, d) and widths (n, d)."""
        table = np.asarray(self.numbers)[:, : self.count]
        return table[0].copy(), table[1 : 1 + self.dim].T.copy(), table[1 + self.dim :].T.copy()

    def evaluate(self, const double[::1] s, double[::1] gradient) -> float:
        """The sum of the kernels at s (d,).

        Writes -sum (s - c) / sigma^2 G to `gradient` (d,), as PLUMED does. Because a kernel G is shifted by its value
        at the cutoff, this differs from the exact gradient by that value times (s - c) / sigma^2.
        """
        cdef Py_ssize_t i
        cdef int k, d = self.dim
        cdef double value, total = 0, x
        cdef double g[MAX_DIM]
        cdef double point[MAX_DIM]
        cdef const double* numbers = &self.numbers[0, 0]
        cdef const double* centre
        cdef const double* sigma
        cdef Py_ssize_t room = self.numbers.shape[1]
        for k in range(d):
            g[k] = 0
            point[k] = s[k]
        with nogil:
            self.measure(point)
            for i in range(self.count):
                if self.distances[i] >= self.cutoff2:
                    continue
                value = numbers[i] * (exp(-0.5 * self.distances[i]) - self.at_cutoff)
                total += value
                for k in range(d):
                    centre, sigma = numbers + (1 + k) * room, numbers + (1 + d + k) * room
                    x = nearest_image(point[k] - centre[i], self.period[k])
                    g[k] -= x / (sigma[i] * sigma[i]) * value
        for k in range(d):
            gradient[k] = g[k]
        return total

    def add(self, double height, const double[::1] centre, const double[::1] sigma) -> None:
        """Adds a kernel, and merges it with others that are close."""
        cdef Kernel new = Kernel(height)
        cdef Py_ssize_t taker, giver
        for k in range(self.dim):
            new.centre[k], new.sigma[k] = centre[k], sigma[k]
        self.changed = 0
        taker = self.nearest(new.centre, self.count)
        if taker == self.count:
            self.append(new)
            self.note(new)
            return
        self.note_gone(taker)
        self.put(taker, self.merged(self.get(taker), new))
        giver, taker = taker, self.nearest(self.get(taker).centre, taker)
        while taker < self.count:
            self.note_gone(taker)
            if taker > giver:
                taker, giver = giver, taker
            self.put(taker, self.merged(self.get(taker), self.get(giver)))
            self.erase(giver)
            giver, taker = taker, self.nearest(self.get(taker).centre, taker)
        self.note(self.get(giver))

    def pair_sum(self, double before) -> float:
        """The sum of the density over the centres, sum_kl G_k(c_l), after an addition; `before`: the sum before it.

        Only the changes are added if that is less work; the condition is PLUMED's, so that rounding is the same.
        """
        cdef Py_ssize_t n = self.count, m = self.changed, i, j
        cdef Kernel kernel, change
        cdef double total = 0, sign
        if n * n < 3 * n * m + 2 * m * m + 100:
            for i in range(n):
                kernel = self.get(i)
                total += self.sum_at(kernel.centre)
            return total
        for i in range(m):
            change = self.changes[i]
            sign = -1.0 if change.height < 0 else 1.0
            total = self.with_values(change, total + sign * self.sum_at(change.centre))
            for j in range(m):
                total -= sign * self.value(self.changes[j], change.centre)
        return before + total

    cdef void measure(self, const double* s) noexcept nogil:
        """Computes the squared distance of each kernel from s, in units of its widths."""
        cdef Py_ssize_t i, n = self.count, room = self.numbers.shape[1]
        cdef int k
        cdef double x, period
        cdef double* q = &self.distances[0]
        cdef const double* centre
        cdef const double* sigma
        for k in range(self.dim):
            centre, sigma = &self.numbers[0, 0] + (1 + k) * room, &self.numbers[0, 0] + (1 + self.dim + k) * room
            period = self.period[k]
            for i in range(n):
                x = nearest_image(s[k] - centre[i], period) / sigma[i]
                q[i] = (q[i] if k else 0.0) + x * x

    cdef double sum_at(self, const double* s) noexcept nogil:
        cdef Py_ssize_t i
        cdef double total = 0
        self.measure(s)
        for i in range(self.count):
            if self.distances[i] < self.cutoff2:
                total += self.numbers[0, i] * (exp(-0.5 * self.distances[i]) - self.at_cutoff)
        return total

    cdef double with_values(self, Kernel kernel, double total) noexcept nogil:
        """`total` plus the values of one kernel at all centres, added one after the other."""
        cdef Py_ssize_t i, n = self.count, room = self.numbers.shape[1]
        cdef int k
        cdef double x, c, sigma, period
        cdef double* q = &self.distances[0]
        cdef const double* centre
        for k in range(self.dim):
            centre = &self.numbers[0, 0] + (1 + k) * room
            c, sigma, period = kernel.centre[k], kernel.sigma[k], self.period[k]
            for i in range(n):
                x = nearest_image(centre[i] - c, period) / sigma
                q[i] = (q[i] if k else 0.0) + x * x
        for i in range(n):
            if q[i] < self.cutoff2:
                total += kernel.height * (exp(-0.5 * q[i]) - self.at_cutoff)
        return total

    cdef double value(self, Kernel kernel, const double* s) noexcept nogil:
        cdef double q = 0, x
        cdef int k
        for k in range(self.dim):
            x = nearest_image(s[k] - kernel.centre[k], self.period[k]) / kernel.sigma[k]
            q += x * x
        return kernel.height * (exp(-0.5 * q) - self.at_cutoff) if q < self.cutoff2 else 0.0

    cdef Py_ssize_t nearest(self, const double* s, Py_ssize_t but) noexcept nogil:
        """The kernel nearest to s, other than `but`, if it is nearer than the threshold; `count` if there is none."""
        cdef Py_ssize_t i, found = self.count
        cdef double least = self.threshold2
        if least == 0:
            return found
        self.measure(s)
        for i in range(self.count):
            if self.distances[i] < least and i != but:
                least, found = self.distances[i], i
        return found

    cdef Kernel merged(self, Kernel a, Kernel b) noexcept nogil:
        cdef Kernel found
        cdef double h = a.height + b.height, c, second
        cdef int k
        found.height = h
        for k in range(self.dim):
            if self.period[k] > 0:
                a.centre[k] = b.centre[k] + nearest_image(a.centre[k] - b.centre[k], self.period[k])
            c = (a.height * a.centre[k] + b.height * b.centre[k]) / h
            second = (
                a.height * (a.sigma[k] * a.sigma[k] + a.centre[k] * a.centre[k])
                + b.height * (b.sigma[k] * b.sigma[k] + b.centre[k] * b.centre[k])
            ) / h
            found.sigma[k] = sqrt(second - c * c)
            if self.period[k] > 0:
                c -= self.period[k] * floor((c - self.lower[k]) / self.period[k])
            found.centre[k] = c
        return found

    cdef Kernel get(self, Py_ssize_t i) noexcept nogil:
        cdef Kernel found
        cdef int k
        found.height = self.numbers[0, i]
        for k in range(self.dim):
            found.centre[k], found.sigma[k] = self.numbers[1 + k, i], self.numbers[1 + self.dim + k, i]
        return found

    cdef void put(self, Py_ssize_t i, Kernel kernel) noexcept nogil:
        cdef int k
        self.numbers[0, i] = kernel.height
        for k in range(self.dim):
            self.numbers[1 + k, i], self.numbers[1 + self.dim + k, i] = kernel.centre[k], kernel.sigma[k]

    cdef append(self, Kernel kernel):
        cdef Py_ssize_t room = self.numbers.shape[1]
        if self.count == room:
            self.numbers = np.hstack([np.asarray(self.numbers), np.zeros((1 + 2 * self.dim, room))])
            self.distances = np.zeros(2 * room)
        self.put(self.count, kernel)
        self.count += 1

    cdef erase(self, Py_ssize_t i):
        table = np.asarray(self.numbers)
        table[:, i : self.count - 1] = table[:, i + 1 : self.count].copy()
        self.count -= 1

    cdef note_gone(self, Py_ssize_t i):
        cdef Kernel gone = self.get(i)
        gone.height = -gone.height
        self.note(gone)

    cdef note(self, Kernel change):
        if self.changed == len(self.changes):
            self.changes = np.concatenate([self.changes, np.zeros(len(self.changes), KERNEL)])
        self.changes[self.changed] = change
        self.changed += 1
