"""A splined pair potential: sums of ZBL cores, Lennard-Jones terms and tables, each smoothly switched off.

Whatever the forms are, the pairs of one kind share one table of the sum of all interactions between them, so a core or
a second term costs nothing. See cython_ext/pair.pyx for the grid of the tables.
"""

import itertools
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, model_validator

from .. import _ext
from ..errors import InputError, PotentialError
from ..frame import Array, Frame, Result
from ..models.pairs import TABLE_START, LennardJones, PairInteraction, SmoothedPair, Zbl
from ..representation.hermite import FLANK, MIDDLE, cubics
from ..representation.pairs import vesin_list
from ..sections import InputFile, Section
from ..turns import in_turn
from .base import SKIN, Potential

_kernel = _ext.kernel("pair")

ENOUGH_ATOMS = 2000  # in a batch; from here on threads over the neighbour lists pay
AT_BREAKS = 5e-6
"""Accuracy of tables in the intervals where a force has a kink, which no cubic follows."""
MANTISSA_BITS = 52
FEWEST_BITS, MOST_BITS = 5, 14  # of the mantissa that number the intervals

PairFunction = Callable[[Array], tuple[Array, Array]]
"""Distances (k,) in Angstrom to energies (eV) and their derivatives (eV/Angstrom)."""


class Table(SmoothedPair):
    """`form = "table"`: energies from a file, interpolated by a spline of degree five.

    file: text, one point a line, distance (Angstrom) and energy (eV), distances increasing, `#` begins a comment. It
        must reach the cutoff. Atoms closer than its first point are an error.
    """

    form: Literal["table"] = "table"
    file: InputFile

    _spline: Any = PrivateAttr()

    @model_validator(mode="after")
    def _is_a_table(self) -> "Table":
        try:
            with open(self.file) as file, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # numpy warns of an empty one
                points = np.loadtxt(file, ndmin=2)
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.file} is not a table of numbers: {error}") from error
        if points.shape[1] != 2 or len(points) < 6:
            raise ValueError(f"{self.file} must have two columns and six lines at least, it has {points.shape[::-1]}")
        r = points[:, 0]
        if not np.isfinite(points).all() or (np.diff(r) <= 0).any() or r[0] <= 0:
            raise ValueError(f"{self.file}: distances must increase from above zero, all numbers must be finite")
        if r[-1] < self.cutoff_angstrom:
            raise ValueError(f"{self.file} ends at {r[-1]:g}, before cutoff_angstrom = {self.cutoff_angstrom:g}")
        from scipy.interpolate import make_interp_spline

        self._spline = make_interp_spline(r, points[:, 1], k=5)
        return self

    @property
    def closest(self) -> float:
        return max(TABLE_START, float(self._spline.t[0]))

    def bare(self, r: Array) -> tuple[Array, Array]:
        return self._spline(r), self._spline(r, nu=1)


Interaction = Annotated[LennardJones | Zbl | Table, Field(discriminator="form")]


class PairConfig(Section):
    """`kind = "pair"`: the sum of `interactions`. Several may be between the same species; they are added.

    tolerance: of the tables, for energies (eV) and forces (eV/Angstrom), relative if these are larger than one.
    """

    kind: Literal["pair"]
    interactions: list[Interaction] = Field(min_length=1)
    tolerance: float = Field(default=1e-9, ge=1e-12, le=1e-3)

    def build(self, template: Frame) -> "PairPotential":
        """The potential; `InputError` if a species of the template interacts with nothing."""
        try:
            potential = PairPotential(self.interactions, self.tolerance)
            potential.kinds(template.species)
        except (PotentialError, ValueError) as error:
            raise InputError(str(error)) from error
        return potential


class PairPotential(Potential):
    """Sums over pairs, threads over the frames of a batch; the arguments are those of `PairConfig`.

    others: atomic numbers of species that may occur without any interaction.
    enough: accuracy of the tables that suffices if `tolerance` cannot be reached; `tolerance` by default.

    `ValueError` if a table cannot be made as accurate as requested. `PotentialError` for atoms closer than the tables
    reach, or of a species without interactions.
    """

    def __init__(
        self,
        interactions: Sequence[PairInteraction],
        tolerance: float = 1e-9,
        *,
        enough: float | None = None,
        others: Iterable[int] = (),
    ) -> None:
        of_pair = {
            pair: list(group) for pair, group in itertools.groupby(sorted(interactions, key=_numbers), key=_numbers)
        }
        self._numbers = sorted({*itertools.chain(*of_pair), *others})
        self._channel = np.full((len(self._numbers), len(self._numbers)), -1, dtype=np.int32)
        for channel, (first, second) in enumerate(of_pair):
            i, j = self._numbers.index(first), self._numbers.index(second)
            self._channel[i, j] = self._channel[j, i] = channel
        self._cutoffs = np.array([max(term.cutoff_angstrom for term in terms) for terms in of_pair.values()])
        closest = np.array([max(term.closest for term in terms) for terms in of_pair.values()])
        functions = [_total(terms) for terms in of_pair.values()]
        breaks = [[r for term in terms for r in term.breaks] for terms in of_pair.values()]
        self._tables = Tables.fit(functions, closest, self._cutoffs, tolerance, enough, breaks)
        self._lists: list = []

    def kinds(self, species: NDArray[np.int32]) -> NDArray[np.int32]:
        """(N,) int32: the index of each atom's species in the table of interactions."""
        kinds = np.minimum(np.searchsorted(self._numbers, species), len(self._numbers) - 1).astype(np.int32)
        unknown = np.take(self._numbers, kinds) != species
        if unknown.any():
            from ase.data import chemical_symbols

            names = {chemical_symbols[number] for number in species[unknown]}
            raise PotentialError(f"no pair interaction is given for the species {', '.join(sorted(names))}")
        return kinds

    def tables(self) -> dict[str, NDArray]:
        """What the kernel reads (cython_ext/splined_pair.h), by name."""
        return {
            "species": np.array(self._numbers, dtype=np.int32),
            "coefficients": self._tables.coefficients,
            "channel": self._channel,
            "low": self._tables.low,
            "high": self._cutoffs**2,
            "bits": np.array([self._tables.shift, self._tables.first], dtype=np.int64),
        }

    def compute_one(self, frame: Frame) -> Result:
        return self.compute([frame])[0]

    @in_turn
    def compute(self, frames: Sequence[Frame]) -> list[Result]:
        count, atoms = len(frames), len(frames[0])
        found = self._pairs(frames)
        energies, forces, virials = np.zeros(count), np.zeros((count, atoms, 3)), np.zeros((count, 3, 3))
        too_close = np.empty(count, dtype=np.int64)
        _kernel.evaluate(
            self._tables.coefficients,
            self._channel,
            self._tables.low,
            self._cutoffs**2,
            self._tables.shift,
            self._tables.first,
            self.kinds(frames[0].species),
            np.array([len(pairs) for pairs, _ in found], dtype=np.int64),
            np.array([pairs.ctypes.data for pairs, _ in found], dtype=np.uint64),
            np.array([vectors.ctypes.data for _, vectors in found], dtype=np.uint64),
            energies,
            forces,
            virials,
            too_close,
        )
        for place in np.flatnonzero(too_close >= 0):
            pairs, vectors = (array[too_close[place]] for array in found[place])
            i, j = sorted(pairs.tolist())
            raise PotentialError(
                f"atoms {i} and {j} (counted from 0) are {np.linalg.norm(vectors):.3f} Angstrom apart, closer than the "
                "tables of the pair potential reach"
            )
        return [Result(float(e), f, w) for e, f, w in zip(energies, forces, virials, strict=True)]

    def _pairs(self, frames: Sequence[Frame]) -> list[tuple[NDArray[np.uint64], Array]]:
        """Indices (n, 2) and vectors (n, 3) of the pairs of each frame; they are gone with the next call."""
        while len(self._lists) < len(frames):  # one for each position in the batch, usually the same bead each time
            self._lists.append(vesin_list(cutoff=self._cutoffs.max(), full_list=False, skin=SKIN, n_threads=1))

        def search(neighbours: Any, frame: Frame) -> tuple[NDArray[np.uint64], Array]:
            return neighbours.compute(frame.positions, frame.cell, frame.pbc, quantities="PD", copy=False)

        lists = self._lists[: len(frames)]
        threads = min(_ext.cpu.max_threads(), len(frames))
        if threads == 1 or len(frames) * len(frames[0]) < ENOUGH_ATOMS:
            return list(map(search, lists, frames))
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(search, lists, frames))


def _numbers(interaction: PairInteraction) -> tuple[int, int]:
    return interaction.numbers


def _total(terms: Iterable[PairInteraction]) -> PairFunction:
    def function(r: Array) -> tuple[Array, Array]:
        energies, derivatives = zip(*(term.evaluate(r) for term in terms), strict=True)
        return sum(energies), sum(derivatives)

    return function


class Tables:
    """Cubics in u = r^2 on the intervals of cython_ext/pair.pyx, one channel for each function.

    coefficients: (channels, n_intervals, 4).
    shift, first: (bits of u) >> shift is `first` for the first interval.
    low: (channels,), the node from which on the functions are known.
    """

    def __init__(
        self,
        functions: Sequence[PairFunction],
        closest: Array,
        cutoffs: Array,
        bits: int,
        breaks: Sequence[Sequence[float]] | None = None,
    ) -> None:
        self._breaks = [()] * len(functions) if breaks is None else breaks
        self.shift = MANTISSA_BITS - bits
        self.first = _bits(TABLE_START**2) >> self.shift
        last = _bits(cutoffs.max() ** 2) >> self.shift
        nodes = (np.arange(self.first, last + 2, dtype=np.uint64) << np.uint64(self.shift)).view(np.float64)
        self._nodes, self._functions, self._cutoffs = nodes, functions, cutoffs
        self.low = nodes[np.searchsorted(nodes, closest**2 * (1 - 1e-12))]
        self.coefficients = np.stack(
            [
                cubics(np.diff(nodes), *in_u(function, nodes, low))
                for function, low in zip(functions, closest, strict=True)
            ]
        )

    @classmethod
    def fit(
        cls,
        functions: Sequence[PairFunction],
        closest: Array,
        cutoffs: Array,
        tolerance: float,
        enough: float | None = None,
        breaks: Sequence[Sequence[float]] | None = None,
    ) -> "Tables":
        """Halves the intervals until the errors are below `tolerance`, those at the breaks below `AT_BREAKS`.

        `ValueError` if that takes too many, unless the best of them are below `enough`; errors at breaks, where the
        force has a kink, are then as they are.
        """
        best, least = None, np.inf
        for bits in range(FEWEST_BITS, MOST_BITS + 1):
            tables = cls(functions, closest, cutoffs, bits, breaks)
            error, at_breaks = tables.errors()
            if error <= tolerance and at_breaks <= max(tolerance, AT_BREAKS):
                return tables
            if error <= least:
                best, least = tables, error
        if best is not None and least <= (enough or tolerance):
            return best
        raise ValueError(
            f"the tables of the pair potential reach an accuracy of {least:.1e} only, tolerance = {tolerance:g}: a "
            "table in a file may be too rough, or the smoothing too narrow"
        )

    def errors(self) -> tuple[float, float]:
        """Largest error of energy and of its derivative, relative where they or the energy over r are above one.

        The second number is that of the intervals in which a function has a break.

        (An energy E has rounding errors that make those of its derivative grow with E / r, whatever the derivative.)

        Taken where in the intervals the energies and the derivatives of Hermite cubics err most.
        """
        width = np.diff(self._nodes)
        worst, at_breaks = 0.0, 0.0
        for a, function, low, high, breaks in zip(
            self.coefficients, self._functions, self.low, self._cutoffs, self._breaks, strict=True
        ):
            broken = np.zeros(len(width), dtype=bool)
            broken[np.clip(np.searchsorted(self._nodes, np.square(breaks)) - 1, 0, len(width) - 1)] = True
            for order, fraction in ((0, MIDDLE), (1, FLANK)):
                t = fraction * width
                r = np.sqrt(self._nodes[:-1] + t)
                inside = (self._nodes[:-1] >= low) & (r < high)
                both = function(np.maximum(r, np.sqrt(low)))
                exact = both[order]
                if order == 0:
                    splined = a[:, 0] + t * (a[:, 1] + t * (a[:, 2] + t * a[:, 3]))
                else:
                    splined = 2 * r * (a[:, 1] + t * (2 * a[:, 2] + 3 * t * a[:, 3]))
                scale = np.abs(exact) if order == 0 else np.maximum(np.abs(exact), np.abs(both[0]) / r)
                errors = np.abs(splined - exact) / np.maximum(1.0, scale)
                worst = max(worst, errors[inside & ~broken].max(initial=0.0))
                at_breaks = max(at_breaks, errors[inside & broken].max(initial=0.0))
        return worst, at_breaks


def _bits(x: float) -> int:
    return int(np.float64(x).view(np.uint64))


def in_u(function: PairFunction, u: Array, low: float) -> tuple[Array, Array]:
    """Energy and its derivative with respect to u = r^2; constant below `low`."""
    r = np.maximum(np.sqrt(u), low)
    energy, derivative = function(r)
    return energy, derivative / (2 * r)
