"""Multithermal OPES: a bias on the potential energy, under which one simulation samples a range of temperatures.

    V(E) = -k_B T log( 1/n sum_k exp(-(beta_k - beta) E + beta F_k) )

with the free energies F_k of n temperatures relative to that of the simulation, which are estimated as it goes on:

    exp(-beta F_k) = < exp(-(beta_k - beta) E + beta V) > / < exp(beta V) >

(Invernizzi, Piaggi, Parrinello, Phys. Rev. X 10, 041034 (2020)). Order and defaults are those of PLUMED's OPES_EXPANDED
of an ECV_MULTITHERMAL. Atoms feel dV/dE times their forces. No files here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...frame import Array
from ...units import BOLTZMANN_EV_PER_K
from ..coordinates import Coordinate
from ..tables import FieldsReader, Remark

FIRST_FIELDS = ["time", "rct"]


@dataclass(frozen=True)
class FreeEnergies:
    """n estimates. times: (n,) ps. rct: (n,), k_B T log of the mean of exp(V / k_B T), eV. values: (n, k), eV."""

    names: tuple[str, ...]
    times: Array
    rct: Array
    values: Array

    @property
    def centres(self) -> Array:
        """(n, 1): the energies that led to them are not in the file."""
        return np.full((len(self), 1), np.nan)

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, which: slice) -> "FreeEnergies":
        return FreeEnergies(self.names, self.times[which], self.rct[which], self.values[which])


def temperatures_between(lowest: float, highest: float, number: int) -> Array:
    """`number` temperatures (K) with a constant ratio, as ECV_MULTITHERMAL spaces them."""
    return np.geomspace(lowest, highest, number)


class Multithermal:
    """Estimates of the free energies, and the next one (`GrowingBias`).

    energy: the coordinate, in eV. temperature: of the simulation, K. temperatures: (n,) K, those to be sampled.
    pace: steps between estimates. observations: how many energies, `pace` steps apart, make the first estimate; until
    then there is no bias.
    """

    name = "opes"
    noun = "estimates"
    remark: Remark | None = None
    pure_numbers: frozenset[str] = frozenset()

    def __init__(
        self, energy: Coordinate, temperature: float, temperatures: Array, pace: int, observations: int
    ) -> None:
        self.coordinates: tuple[Coordinate, ...] = (energy,)
        self.pace = pace
        self.memory_size = 1 + len(temperatures)
        self.constants = {"print_stride": "1"}
        self.fields = FIRST_FIELDS + [f"DeltaF_{kelvin:g}" for kelvin in temperatures]
        self._kt = BOLTZMANN_EV_PER_K * temperature
        self._slopes = (temperature / np.asarray(temperatures) - 1) / self._kt
        self._observations = observations
        self._clear()

    def reach(self, s: Array) -> None:
        """Does nothing: there is a bias everywhere."""

    def evaluate(self, s: Array) -> tuple[float, Array]:
        """V (eV) and dV/dE (1,) at E = s[0]; zero before the first estimate."""
        if not self._count:
            return 0.0, np.zeros(1)
        exponents = self._free_energies / self._kt - self._slopes * s[0]
        highest = exponents.max()
        weights = np.exp(exponents - highest)
        total = weights.sum()
        slope = self._kt * (self._slopes @ weights) / total
        return float(-self._kt * (highest + math.log(total / len(weights)))), np.array([slope])

    def observe(self, memory: Array, s: Array, step: int) -> Array:
        """The number of energies without bias so far, and the free energies that follow from them."""
        if self._count or step % self.pace:
            return memory
        number, reduced = memory[0], self._slopes * s[0]
        if number == 0:
            return np.array([1.0, *(self._kt * reduced)])
        ratio = np.logaddexp(0, memory[1:] / self._kt - reduced - math.log(number))
        return np.array([number + 1, *(memory[1:] - self._kt * (ratio + math.log1p(-1 / (1 + number))))])

    def deposit(self, s: Array, time_ps: float, memory: Array) -> list[float] | None:
        """The next estimate as the numbers of a line of DELTAFS; None while energies without bias are collected."""
        if not self._count:
            return [time_ps, 0.0, *memory[1:]] if memory[0] >= self._observations else None
        bias, kt, earlier = self.evaluate(s)[0] - self._rct, self._kt, math.log(self._count)
        increment = kt * np.logaddexp(0, bias / kt - earlier)
        ratio = np.logaddexp(0, (bias + self._free_energies) / kt - self._slopes * s[0] - earlier)
        rct = self._rct + increment + kt * math.log1p(-1 / (self._count + 1))
        return [time_ps, float(rct), *(self._free_energies + increment - kt * ratio)]

    def add(self, deposits: FreeEnergies) -> None:
        """Takes the last of these estimates; how many there have been determines what the next one weighs."""
        if len(deposits):
            self._count += len(deposits)
            self._rct, self._free_energies = float(deposits.rct[-1]), deposits.values[-1].copy()

    def replay(self, runs: Sequence[FreeEnergies]) -> None:
        """Goes back to no estimate, and takes these."""
        self._clear()
        for deposits in runs:
            self.add(deposits)

    def _clear(self) -> None:
        self._count, self._rct, self._free_energies = 0, 0.0, np.zeros(len(self._slopes))

    def parse(self, table: FieldsReader, rows: Array) -> FreeEnergies:
        """The estimates in the rows of a DELTAFS file; `InputError` if it is not one."""
        if table.fields and (table.fields[:2] != FIRST_FIELDS or table.constants.get("print_stride") != "1"):
            raise InputError(
                f"{table.path} is no DELTAFS file with every estimate (PRINT_STRIDE=1): its columns are "
                f"{' '.join(table.fields)}; move it away to start a new bias"
            )
        rows = rows.reshape(len(rows), max(len(table.fields), 2))
        return FreeEnergies(tuple(table.fields[2:]), rows[:, 0], rows[:, 1], rows[:, 2:])

    def check(self, path: Path, deposits: FreeEnergies, is_own: bool) -> None:
        """`InputError` if they are not of the same temperatures."""
        if deposits.names != tuple(self.fields[2:]):
            raise InputError(
                f"{path} has {' '.join(deposits.names)}, the configuration gives {' '.join(self.fields[2:])}; change "
                "the temperatures back, or move the file away to start a new bias"
            )

    def integrals(self) -> dict[str, Callable[[float], float]]:
        """None; k_B T log of the mean of exp(V / k_B T) is in DELTAFS, and not to be taken off the bias."""
        return {}
