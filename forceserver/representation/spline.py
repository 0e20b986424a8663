"""Splined radial functions: one cubic per interval and channel, in the order in which the kernels read them.

Channel c = offsets[l] + q is radial function q of degree l. On interval i, that is for r_i = i * step <= r < r_(i+1),
with t = r - r_i,

    value_c = a0 + t (a1 + t (a2 + t a3)),    a_k = coefficients[i, k, c]

`coefficients` (n_intervals, 4, n_padded) is float64, C-contiguous and aligned to 64 bytes, with channels padded with
zeros to a multiple of eight, so that an interval is contiguous and SIMD runs over channels. At and beyond the cutoff
every channel is exactly zero: the reader tests r < cutoff, and for every such r the integer part of r * inverse_step is
a valid interval. Derivatives are those of the cubics, so forces are the exact derivatives of the energies.

There is a node where the second derivative jumps inside the cutoff: the step divides the distance at which the
smoothing starts, and the last interval ends at the cutoff and may be shorter than the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from functools import lru_cache

import numpy as np

from .. import _ext
from ..frame import Array
from .hermite import FLANK, MIDDLE, cubics
from .lanes import aligned_zeros, round_to_lanes
from .radial import RadialBasis, checked_distances

_kernel = _ext.kernel("spline")

MAX_INTERVALS = 1 << 17
WORTH_THREADS = 200_000  # numbers; evaluating fewer takes less time than waking the threads

Functions = Callable[[Array], tuple[Array, Array]]
"""Distances (k,) to values and derivatives, each (k, channels)."""


@dataclass(frozen=True, eq=False)
class SplineTable:
    """Cubic splines of all channels on one uniform grid over [0, cutoff].

    cutoff, step: Angstrom.
    counts: number of channels for each l.
    coefficients: (n_intervals, 4, n_padded), see above.
    errors: the largest absolute and relative errors of values and derivatives when the table was built
        (`SplineErrors`); None for a contracted table.

    `ValueError` if shapes are inconsistent, coefficients are not finite, or the grid does not end at the cutoff.
    """

    cutoff: float
    step: float
    counts: tuple[int, ...]
    coefficients: Array
    errors: "SplineErrors | None" = None
    inverse_step: float = field(init=False)

    def __post_init__(self):
        if min(self.counts, default=0) < 0:
            raise ValueError(f"counts must not be negative, got {self.counts}")
        if len(self.coefficients.shape) != 3 or self.coefficients.shape[1:] != (4, round_to_lanes(self.channels)):
            raise ValueError(
                f"coefficients must have the shape (n_intervals, 4, {round_to_lanes(self.channels)}) for "
                f"{self.channels} channels, got {self.coefficients.shape}"
            )
        if not (self.n_intervals - 1) * self.step < self.cutoff <= self.n_intervals * self.step * (1 + 2e-12):
            raise ValueError(
                f"{self.n_intervals} intervals of step {self.step:g} do not end at the cutoff {self.cutoff:g}"
            )
        if not np.all(np.isfinite(self.coefficients)):
            raise ValueError("coefficients must be finite")
        object.__setattr__(self, "coefficients", _aligned(self.coefficients))
        self.coefficients.flags.writeable = False
        inverse = 1.0 / self.step
        last = np.nextafter(self.cutoff, 0.0)
        while int(last * inverse) >= self.n_intervals:  # rounding must not lead past the end
            inverse = np.nextafter(inverse, 0.0)
        object.__setattr__(self, "inverse_step", float(inverse))

    @property
    def n_intervals(self) -> int:
        """Number of intervals."""
        return self.coefficients.shape[0]

    @property
    def channels(self) -> int:
        """Number of channels, without the padding."""
        return sum(self.counts)

    @property
    def offsets(self) -> tuple[int, ...]:
        """First channel of each l, and the number of channels: (l_max + 2)."""
        return tuple(int(o) for o in np.concatenate([[0], np.cumsum(self.counts)]))

    @property
    def at_zero(self) -> Array:
        """Values (channels,) at r = 0: the contribution of the centre itself (divided by Y_00); zero for l > 0."""
        return self.coefficients[0, 0, : self.channels].copy()

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        """Values and derivatives (1/Angstrom), each (k, channels), at distances `r` (k,) >= 0 in Angstrom."""
        r = checked_distances(r)
        value, derivative = np.empty((2, len(r), self.coefficients.shape[2]))
        threads = _ext.cpu.max_threads() if len(r) * self.channels > WORTH_THREADS else 1
        table = (self.coefficients, self.cutoff, self.step, self.inverse_step)
        _kernel.evaluate(np.ascontiguousarray(r), *table, value, derivative, threads)
        return value[:, : self.channels], derivative[:, : self.channels]

    def contract(self, matrices: Sequence[Array] | Array) -> "SplineTable":
        """The table of the linear combinations sum_n matrices[l][q, n] F_nl(r), which costs as much as q functions.

        matrices: for each l an array (q_l, counts[l]); q_l may be zero. For combinations over neighbour species a,
        contract once for each species, with its block of the matrix over (a, n).
        Raises `ValueError` if the number or the shapes of the matrices are wrong.
        """
        matrices = [np.asarray(matrix, dtype=np.float64) for matrix in matrices]
        if len(matrices) != len(self.counts):
            raise ValueError(f"matrices must hold one matrix for each l = 0 .. {len(self.counts) - 1}")
        for l, (matrix, count) in enumerate(zip(matrices, self.counts, strict=True)):
            if matrix.ndim != 2 or matrix.shape[1] != count or not np.all(np.isfinite(matrix)):
                raise ValueError(f"matrices[{l}] must be finite, of the shape (q, {count}), got {matrix.shape}")
        blocks = [
            self.coefficients[:, :, start : start + count] @ matrix.T
            for start, count, matrix in zip(self.offsets, self.counts, matrices, strict=False)
        ]
        counts = tuple(len(matrix) for matrix in matrices)
        return SplineTable(self.cutoff, self.step, counts, _pad(np.concatenate(blocks, axis=2)))

    def chosen(self, channels: Sequence[Sequence[int]]) -> "SplineTable":
        """The table that has these of the channels for each l, in this order; one may be there several times."""
        places = [place for of_l in channels for place in of_l]
        return SplineTable(self.cutoff, self.step, tuple(map(len, channels)), _pad(self.coefficients[:, :, places]))

    def to_arrays(self) -> dict[str, Array]:
        """Arrays for `numpy.savez`, from which `from_arrays` restores the table."""
        errors = {} if self.errors is None else {"errors": np.array(astuple(self.errors))}
        return errors | {
            "cutoff": np.array(self.cutoff),
            "step": np.array(self.step),
            "counts": np.array(self.counts, dtype=np.int64),
            "coefficients": self.coefficients[:, :, : self.channels],
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array]) -> "SplineTable":
        """The inverse of `to_arrays`; `ValueError` if the arrays are inconsistent."""
        cutoff, step = float(arrays["cutoff"]), float(arrays["step"])
        counts = tuple(int(count) for count in arrays["counts"])
        errors = SplineErrors(*map(float, arrays["errors"])) if "errors" in arrays else None
        return cls(cutoff, step, counts, _pad(arrays["coefficients"]), errors)

    @classmethod
    def build(cls, basis: RadialBasis, tolerance: float = 1e-8) -> "SplineTable":
        """The table of all F_nl of a basis; arguments and errors as for `fit`."""
        used = np.concatenate([l * basis.n_max + np.arange(count) for l, count in enumerate(basis.counts)])

        def functions(r: Array) -> tuple[Array, Array]:
            value, derivative = basis.evaluate(r)
            return value.reshape(len(r), -1)[:, used], derivative.reshape(len(r), -1)[:, used]

        cutoff = basis.cutoff
        return cls.fit(functions, cutoff.cutoff_angstrom, cutoff.smoothing_starts, basis.counts, tolerance)

    @classmethod
    def fit(
        cls,
        functions: Functions,
        cutoff: float,
        break_at: float,
        counts: tuple[int, ...],
        tolerance: float = 1e-8,
    ) -> "SplineTable":
        """Doubles the grid until the absolute and the relative error of every channel are below `tolerance`.

        functions: the functions to be splined; they and their derivatives must vanish at `cutoff`.
        break_at: distance in [0, cutoff] at which the second derivative may jump.
        tolerance: in [1e-12, 0.1], for values and, per Angstrom, derivatives; see `SplineErrors`.
        Raises `ValueError` if the tolerance is out of range, or not reached with 131072 intervals.
        """
        if not 1e-12 <= tolerance <= 0.1:
            raise ValueError(f"tolerance must be in [1e-12, 0.1], got {tolerance:g}")
        errors = None
        unit = break_at if break_at > 1e-9 * cutoff else cutoff
        divisions = max(1, round(8 * unit / cutoff))
        while True:
            step = unit / divisions
            n_intervals = int(np.ceil(cutoff / step * (1 - 1e-12)))
            if n_intervals > MAX_INTERVALS:
                reached = errors or f"there must be a node where the smoothing starts, at {break_at:g} A"
                raise ValueError(f"tolerance {tolerance:g} is not reached with {MAX_INTERVALS} intervals: {reached}")
            nodes = np.append(step * np.arange(n_intervals), cutoff)
            middles, flanks = (nodes[:-1] + fraction * np.diff(nodes) for fraction in (MIDDLE, FLANK))
            middle_values, middle_derivatives = functions(middles)
            table = cls(cutoff, step, counts, _pad(_hermite(nodes, *functions(nodes), middle_derivatives)))
            splined = table.evaluate(middles)[0], table.evaluate(flanks)[1]
            errors = SplineErrors.of(splined, (middle_values, functions(flanks)[1]))
            if errors.worst <= tolerance:
                object.__setattr__(table, "errors", errors)
                return table
            # the error is of fourth order at best, so at least this many doublings are needed
            divisions <<= max(1, int(np.log2(errors.worst / tolerance) / 4))


@lru_cache(maxsize=8)
def splined(basis: RadialBasis, tolerance: float) -> SplineTable:
    """`SplineTable.build`, cached for each basis: its integrals take a second, and are often needed again."""
    return SplineTable.build(basis, tolerance)


@dataclass(frozen=True)
class SplineErrors:
    """Largest errors over all intervals and channels.

    Values and derivatives are compared where the error of a Hermite cubic is largest in each interval.
    Relative means relative to the largest magnitude of the channel (or of its derivative) on the grid: functions cross
    zero, where no error is small relative to the function itself.
    """

    value: float
    derivative: float
    relative_value: float
    relative_derivative: float

    @property
    def worst(self) -> float:
        """The largest of the four."""
        return max(self.value, self.derivative, self.relative_value, self.relative_derivative)

    @classmethod
    def of(cls, splined: tuple[Array, Array], exact: tuple[Array, Array]) -> "SplineErrors":
        """Compares values and derivatives, each (k, channels)."""
        absolute = [np.abs(e - s).max(axis=0, initial=0.0) for e, s in zip(exact, splined, strict=True)]
        sizes = [np.abs(e).max(axis=0, initial=0.0) for e in exact]
        relative = [np.divide(a, s, out=np.zeros_like(a), where=s > 0) for a, s in zip(absolute, sizes, strict=True)]
        return cls(*(float(e.max(initial=0.0)) for e in (*absolute, *relative)))


def _hermite(nodes: Array, values: Array, derivatives: Array, middle_derivatives: Array) -> Array:
    """Coefficients (n_intervals, 4, channels) of the cubics with these values and derivatives at the nodes."""
    h = np.diff(nodes)[:, None]
    # In narrow intervals, differences of values lose digits. Simpson's rule for the integral of the derivative does
    # not; it is used where both agree to within the rounding of the values.
    slope = np.diff(values, axis=0) / h
    integral = (derivatives[:-1] + 4 * middle_derivatives + derivatives[1:]) / 6
    rounding = 4 * np.finfo(np.float64).eps * np.abs(values).max(axis=0, initial=0.0) / h
    return cubics(h, values, derivatives, np.where(np.abs(slope - integral) < rounding, integral, slope))


def _pad(coefficients: Array) -> Array:
    channels = coefficients.shape[2]
    return np.pad(coefficients, ((0, 0), (0, 0), (0, round_to_lanes(channels) - channels)))


def _aligned(array: Array) -> Array:
    """A C-contiguous copy that begins at a multiple of 64 bytes."""
    aligned = aligned_zeros(array.shape)
    aligned[...] = array
    return aligned
