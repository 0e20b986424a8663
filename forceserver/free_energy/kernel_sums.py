"""The free energy as the kernels of an OPES estimate it, from KERNELS (every kernel) or STATE (those left by merging).

    F(s) = -kappa k_B T log(sum_k G_k(s) / Z + epsilon),    Z = 1/n sum_kl G_k(s_l)

kappa is 1 for OPES_METAD, whose kernels estimate the unbiased density, and gamma for OPES_METAD_EXPLORE, whose kernels
estimate the density that is sampled (Invernizzi, Parrinello, J. Phys. Chem. Lett. 11, 2731 (2020), and J. Chem. Theory
Comput. 18, 3988 (2022)). PLUMED's script FES_from_State.py computes the same.

Error bars of OPES_METAD's KERNELS come from blocks of kernels. How much the density still changes says less: it is a
sum of all kernels, and forgets nothing (in 24 runs in a double well the spread was a third of the error, that of blocks
equal to it). The density that OPES_METAD_EXPLORE samples is made flat by the bias, as by hills, and what it changes in
the second half is its error (11 runs; that of blocks, which are not independent, was three times too large).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..analysis.blocks import number_of_blocks
from ..bias.coordinates import Coordinate, without_jumps
from ..bias.grid import Axis
from ..bias.opes.bias import Opes
from ..bias.opes.kernels import Kernels, coordinates_of, in_order_of_time, kernels_of
from ..bias.opes.parameters import OpesParameters
from ..bias.opes.widths import FixedWidths
from ..bias.tables import FieldsReader
from ..errors import InputError
from ..frame import Array
from .estimate import Estimate
from .segments import elapsed
from .surface import Surface

NOT_CONVERGED_KERNELS = "Not converged: the run is too short against what it remembers for error bars"

HISTORY = 40
"""How many states of the density are kept to follow its evolution."""


@dataclass(frozen=True)
class KernelSum:
    """n compressed kernels at a time (ps). heights: (n,). centres, sigmas: (n, d)."""

    time: float
    heights: Array
    centres: Array
    sigmas: Array

    def on_grid(self, variables: Sequence[Coordinate], nodes: Sequence[Array], cutoff: float) -> Array:
        """The sum of the truncated kernels on the product of the nodes."""
        total = np.zeros([len(axis) for axis in nodes])
        for height, centre, sigma in zip(self.heights, self.centres, self.sigmas, strict=True):
            near, exponents = [], []
            for variable, axis, s, width in zip(variables, nodes, centre, sigma, strict=True):
                d = axis - s
                if variable.domain:
                    d = d - variable.period * np.rint(d / variable.period)
                inside = np.flatnonzero(np.abs(d) < cutoff * width)
                near.append(inside)
                exponents.append((d[inside] / width) ** 2)
            q = sum(np.ix_(*exponents)) if len(exponents) > 1 else exponents[0]
            total[np.ix_(*near)] += height * np.maximum(np.exp(-0.5 * q) - np.exp(-0.5 * cutoff**2), 0.0)
        return total

    def mean_at_centres(self, variables: Sequence[Coordinate], cutoff: float) -> float:
        """The mean of the sum over the centres of its kernels."""
        total, at_cutoff = 0.0, np.exp(-0.5 * cutoff**2)
        for height, centre, sigma in zip(self.heights, self.centres, self.sigmas, strict=True):
            d = self.centres - centre
            for k, variable in enumerate(variables):
                if variable.domain:
                    d[:, k] -= variable.period * np.rint(d[:, k] / variable.period)
            total += height * np.maximum(np.exp(-0.5 * np.sum((d / sigma) ** 2, axis=1)) - at_cutoff, 0.0).sum()
        return total / len(self.heights)


@dataclass(frozen=True)
class Densities:
    """The densities in a file of kernels, in the order of time; the last one is the result.

    source: "kernels" or "state". kappa, epsilon, cutoff, bias_factor: of the bias. blocks: of the kernels, each by
    itself, none if they remember for too long; None if their states are compared instead.
    """

    source: str
    variables: tuple[Coordinate, ...]
    sums: list[KernelSum]
    kappa: float
    epsilon: float
    cutoff: float
    bias_factor: float
    blocks: list[KernelSum] | None = None

    def axes(self) -> list[Axis]:
        """From the first centre to the last one, or the period; 100 intervals, 30 in three variables.

        Around a single centre, as far as its kernel reaches.
        """
        d = len(self.variables)
        centres, sigmas = self.sums[-1].centres, self.sums[-1].sigmas
        axes = []
        for k, variable in enumerate(self.variables):
            lower, upper = variable.domain or (float(centres[:, k].min()), float(centres[:, k].max()))
            if lower == upper:
                reach = self.cutoff * float(sigmas[:, k].max())
                lower, upper = lower - reach, upper + reach
            axes.append(Axis(lower, upper, 100 if d < 3 else 30))
        return axes

    def free_energy(self, kernels: KernelSum, axes: Sequence[Axis], kt: float) -> Surface:
        """F on the grid, in the unit of kT, its minimum at zero."""
        nodes = self._nodes(axes)
        sums = kernels.on_grid(self.variables, nodes, self.cutoff)
        f = -self.kappa * kt * np.log(sums / kernels.mean_at_centres(self.variables, self.cutoff) + self.epsilon)
        return Surface(self.variables, nodes, f - f.min())

    def _nodes(self, axes: Sequence[Axis]) -> tuple[Array, ...]:
        return tuple(
            np.linspace(axis.lower, axis.upper, axis.bins + 1)[: axis.bins + (variable.domain is None)]
            for axis, variable in zip(axes, self.variables, strict=True)
        )

    def negative_bias(self, surface: Surface) -> Surface:
        """Minus the acting bias, instead of the free energy that it represents."""
        return replace(surface, values=surface.values * (1 - 1 / self.bias_factor), errors=None)

    def estimate(self, axes: Sequence[Axis], kt: float) -> Estimate:
        """The last density, with errors from blocks of kernels or, of states, from their spread in the second half."""
        surfaces = [self.free_energy(kernels, axes, kt) for kernels in self.sums]
        history = np.array([surface.probability(kt) for surface in surfaces])
        times = elapsed(np.array([kernels.time for kernels in self.sums]))
        if self.blocks is None:
            samples, weights = history[len(history) // 2 :], np.ones(len(history) - len(history) // 2)
            has_errors = len(history) > 1
            note = f"A single {self.source} has no error bars: give KERNELS, or a STATE with all states"
        else:
            samples, weights = self._samples(axes)
            has_errors, note = len(samples) > 2, NOT_CONVERGED_KERNELS
        return Estimate(
            "kernels", surfaces[-1], kt, samples, weights, self.blocks is not None, times, history, has_errors, note
        )

    def _samples(self, axes: Sequence[Axis]) -> tuple[Array, Array]:
        """The probabilities of the nodes (n, *shape) from the blocks that have any, and the weights (n,) of these."""
        nodes = self._nodes(axes)
        sums = np.array([block.on_grid(self.variables, nodes, self.cutoff) for block in self.blocks or self.sums[-1:]])
        weights = sums.reshape(len(sums), -1).sum(axis=1)
        sums, weights = sums[weights > 0], weights[weights > 0]
        return sums / weights.reshape(-1, *[1] * len(nodes)), weights


def read_densities(paths: Sequence[Path], stride: int | None = None) -> Densities:
    """KERNELS or STATE of PLUMED or of the embedded bias; a STATE may hold several states (STORE_STATES).

    paths: one file, or KERNELS of all walkers. stride: number of kernels between two densities that are kept; by
    default, about `HISTORY` densities are, and blocks for error bars. Raises `InputError` if a file is neither, if
    files belong to different biases, or if a number in a header is impossible.
    """
    tables = [_read(path) for path in paths]
    first, rows = tables[0]
    variables = coordinates_of(first)
    try:
        parameters = _parameters(first.constants)
    except (KeyError, ValueError) as error:
        raise InputError(f"{first.path}: the header has no valid {error}; is this a file of OPES_METAD?") from error
    for table, _ in tables[1:]:
        if (table.fields, table.constants) != (first.fields, first.constants):
            raise InputError(f"{table.path} has kernels of another bias than {first.path}: their headers differ")
    is_state = first.constants["action"].endswith("_state")
    if is_state and len(paths) > 1:
        raise InputError(f"{first.path} is a STATE, which has the kernels of all walkers: give one file")
    for table, _ in tables:
        _tell_of_tail(table, is_state)
    blocks = None
    if is_state:
        sums = list(_states(rows, len(variables)))
    else:
        kernels = in_order_of_time([kernels_of(*table) for table in tables])
        sums = list(_merging(kernels, parameters, stride))
        if not parameters.explore and stride is None:
            blocks = [next(_merging(block, parameters, len(block))) for block in _blocks(kernels)]
    kappa = parameters.bias_factor if parameters.explore else 1.0
    source = "state" if is_state else "kernels"
    return Densities(
        source, variables, sums, kappa, parameters.epsilon, parameters.cutoff, parameters.bias_factor, blocks
    )


def _read(path: Path) -> tuple[FieldsReader, Array]:
    table = FieldsReader(path)
    rows = table.read()
    if not len(rows):
        raise InputError(f"{path} has no kernels")
    if not np.all(np.isfinite(rows)):
        raise InputError(f"{path}: the kernel at time {rows[~np.isfinite(rows).all(axis=1)][0, 0]:g} is not finite")
    return table, rows


def _tell_of_tail(table: FieldsReader, is_state: bool) -> None:
    """An incomplete last line: of KERNELS it is left out; of a STATE any number of kernels may be missing."""
    if is_state and table.incomplete():
        raise InputError(
            f"{table.path} is incomplete: it ends within a line, and the kernels behind it are missing; give KERNELS, "
            "or a STATE that was written to its end"
        )
    table.tell_of_incomplete()


def is_of_opes(path: Path) -> bool:
    """Whether a file has kernels of OPES, according to its header."""
    with open(path, errors="replace") as file:
        return any("SET action OPES" in line for line in (file.readline() for _ in range(20)))


def _parameters(constants: dict[str, str]) -> OpesParameters:
    """What the header says of the bias; temperature and barrier, which it does not say, do not matter to the sum."""
    numbers = {}
    for name in ("biasfactor", "epsilon", "kernel_cutoff", "compression_threshold"):
        if name not in constants:
            raise KeyError(name)
        numbers[name] = float(constants[name])
        if not numbers[name] >= 0:
            raise ValueError(name)
    return OpesParameters(
        barrier=np.nan,
        temperature=np.nan,
        pace=1,
        bias_factor=numbers["biasfactor"],
        explore="EXPLORE" in constants["action"],
        epsilon=numbers["epsilon"],
        cutoff=numbers["kernel_cutoff"],
        threshold=numbers["compression_threshold"],
    )


def _states(rows: Array, d: int) -> Iterator[KernelSum]:
    """The states in a file, one after another, each with its own time."""
    for part in np.split(rows, np.flatnonzero(np.diff(rows[:, 0])) + 1):
        yield KernelSum(part[0, 0], part[:, 1 + 2 * d], part[:, 1 : 1 + d], part[:, 1 + d : 1 + 2 * d])


def _blocks(kernels: Kernels) -> list[Kernels]:
    """Parts of the kernels that remember nothing of each other; none if there are too few."""
    blocks = number_of_blocks(without_jumps(kernels.variables, list(kernels.centres.T)))
    ends = [int(end) for end in np.linspace(0, len(kernels), blocks + 1)]
    return [kernels[begin:end] for begin, end in pairwise(ends)]


def _merging(kernels: Kernels, parameters: OpesParameters, stride: int | None) -> Iterator[KernelSum]:
    """What is left of the kernels by merging, again and again as they come."""
    bias = Opes(kernels.variables, parameters, FixedWidths(kernels.sigmas[0]))
    n = len(kernels)
    stride = stride or max(-(-n // HISTORY), 1)
    done = 0
    for number in [*range(stride, n, stride), n]:
        bias.add(kernels[done:number])
        yield KernelSum(kernels.times[number - 1], *bias.density.kernels())
        done = number
