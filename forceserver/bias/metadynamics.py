"""Well-tempered metadynamics: which hills come, and what they add up to. No files here.

    V(s, t) = sum_i h_i G((s - s_i) / sigma),    h_i = h_0 exp(-V(s_i, t_i) / (k_B T (gamma - 1)))

(Barducci, Bussi, Parrinello, Phys. Rev. Lett. 100, 020603 (2008)); G is PLUMED's stretched Gaussian
(cython_ext/hills.pyx). Without a bias factor gamma, h_i = h_0. The reweighting factor, for averages that no longer
depend on t, is

    c(t) = k_B T log( int exp(gamma V / (gamma-1) k_B T) ds / int exp(V / (gamma-1) k_B T) ds )

(Tiwary, Parrinello, J. Phys. Chem. B 119, 736 (2015)), the integrals over the grid.
"""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..frame import Array
from ..units import BOLTZMANN_EV_PER_K, PER_EV, EnergyUnit
from .coordinates import Coordinate
from .grid import HillGrid, HillSum
from .hills import Hills, check_same, hills_constants, hills_fields, hills_of
from .tables import FieldsReader, Remark

log = logging.getLogger(__name__)


class GrowingHills:
    """A sum of hills, and the next hill (`GrowingBias`).

    total: sums the hills. coordinates: the variables they act on. sigmas: their widths. height: of the first one, eV.
    pace: steps between two. temperature: K. bias_factor: gamma, or None. energy_unit: of the heights in the file.
    rct_stride: hills between two values of c(t).
    """

    name = "metad"
    noun = "hills"
    memory_size = 0
    pure_numbers: frozenset[str] = frozenset()

    def __init__(
        self,
        total: HillGrid | HillSum,
        coordinates: Sequence[Coordinate],
        sigmas: Sequence[float],
        height: float,
        pace: int,
        temperature: float,
        bias_factor: float | None,
        energy_unit: EnergyUnit = "kJ/mol",
        rct_stride: int = 1,
    ) -> None:
        self.total = total
        self.coordinates = tuple(coordinates)
        self.pace = pace
        self.fields = hills_fields(coordinates)
        self.constants = hills_constants(coordinates)
        self.remark: Remark | None = Remark(energy_unit, temperature)
        self._energy_unit, self._temperature = energy_unit, temperature
        self._told: set[Path] = set()
        self._sigmas = np.array(sigmas)
        self._height = height
        self._bias_factor = bias_factor
        self._kt = BOLTZMANN_EV_PER_K * temperature
        self._tempering = self._kt * (bias_factor - 1) if bias_factor else math.inf
        self._to_file = PER_EV[energy_unit] * (bias_factor / (bias_factor - 1) if bias_factor else 1.0)
        self._rct_stride = rct_stride
        self._count = 0
        self._reweighting_factor: float | None = 0.0

    def reach(self, s: Array) -> None:
        """`BiasError` if s (d,) is off the grid."""
        self.total.reach(s)

    def evaluate(self, s: Array) -> tuple[float, Array]:
        """V (eV) and its gradient (d,) at s (d,); `BiasError` if s is off the grid."""
        return self.total.evaluate(s)

    def observe(self, memory: Array, s: Array, step: int) -> Array:
        """Nothing but the hills has to be remembered."""
        return memory

    def deposit(self, s: Array, time_ps: float, memory: Array) -> list[float]:
        """The hill due at s, as the numbers of a line of HILLS; it is not added."""
        height = self._height * math.exp(-self.total.evaluate(s)[0] / self._tempering)
        return [time_ps, *s, *self._sigmas, height * self._to_file, self._factor_in_file]

    def add(self, hills: Hills) -> None:
        """Adds hills as they were written, of this run or another."""
        before, self._count = self._count, self._count + len(hills)
        whole = self._count - self._count % self._rct_stride
        if before < whole < self._count:  # c(t) is that of every rct_stride-th hill, however many come at once
            self._sum(hills[: whole - before])
            self._renew_reweighting_factor()
            hills = hills[whole - before :]
        self._sum(hills)
        if before < whole == self._count:
            self._renew_reweighting_factor()

    def replay(self, runs: Sequence[Hills]) -> None:
        """Makes it the sum of these hills, in any order."""
        self.total.clear()
        self._count, self._reweighting_factor = 0, 0.0
        for hills in runs:
            self.add(hills)

    def parse(self, table: FieldsReader, rows: Array) -> Hills:
        """The hills in the rows of a HILLS file; `InputError` if it is not one, or in another unit of energy."""
        if (found := table.remark.energy_unit) not in (None, self._energy_unit):
            raise InputError(
                f"{table.path} has energies in {found}, file_energy_unit is {self._energy_unit!r}; change it"
            )
        self._tell_of_temperature(table)
        return hills_of(table, rows)

    def check(self, path: Path, hills: Hills, is_own: bool) -> None:
        """`InputError` if they are not hills of this bias; those of other walkers may have other widths."""
        check_same(path, hills, self.coordinates, self._factor_in_file)
        wrong = ~np.isclose(hills.sigmas, self._sigmas, rtol=1e-9, atol=0)
        if is_own and np.any(wrong):
            other = hills.sigmas[np.any(wrong, axis=1)][0]
            raise InputError(
                f"{path} has hills of width {other}, the configuration says {self._sigmas}; "
                "change sigma back, or move the file away to start a new bias"
            )

    @property
    def reweighting_factor(self) -> float | None:
        """c(t), eV, after every `rct_stride`-th hill; computed on demand, since it is an integral over the grid.

        None without a grid; `forceserver fes` computes it from HILLS in any case.
        """
        if not isinstance(self.total, HillGrid):
            return None
        if self._reweighting_factor is None:
            self._reweighting_factor = reweighting_factor(self.total.values, self._kt, self._bias_factor)
        return self._reweighting_factor

    def integrals(self) -> dict[str, Callable[[float], float]]:
        """c(t) and V - c(t), given V at the values: columns of COLVAR that cost a sum over the grid after a hill."""
        if not isinstance(self.total, HillGrid):
            return {}

        def rct(_: float) -> float:
            return self.reweighting_factor or 0.0

        return {"rct": rct, "rbias": lambda v: v - rct(v)}

    @property
    def _factor_in_file(self) -> float:
        return -1.0 if self._bias_factor is None else self._bias_factor

    def _tell_of_temperature(self, table: FieldsReader) -> None:
        """Says once that a file was begun at another temperature: hills of a walker, or of before a change."""
        found = table.remark.temperature
        if found not in (None, self._temperature) and table.path not in self._told:
            self._told.add(table.path)
            log.warning(
                "%s was begun for %g K, this bias is for %g K: hills of both do not converge to one free energy",
                table.path,
                found,
                self._temperature,
            )

    def _sum(self, hills: Hills) -> None:
        if len(hills):
            self.total.add(hills.centres, hills.sigmas, hills.heights / self._to_file)

    def _renew_reweighting_factor(self) -> None:
        """From the hills that there are, now if it must not contain those that come before it is wanted."""
        self._reweighting_factor = None
        if self._rct_stride > 1:
            self._reweighting_factor = self.reweighting_factor


def reweighting_factor(bias: Array, kt: float, bias_factor: float | None) -> float:
    """c(t) of a bias on a grid; `bias` and `kt` in the same unit, which is also that of the result."""
    highest = float(bias.max())
    over, under = (1 / kt, 0.0) if bias_factor is None else (np.array([bias_factor, 1.0]) / (bias_factor - 1) / kt)
    flat, above, below = bias.reshape(-1), 0.0, 0.0
    for start in range(0, flat.size, 8192):  # pieces that stay in the cache
        x = flat[start : start + 8192] - highest
        above += np.exp(over * x).sum()
        below += np.exp(under * x).sum()
    return highest + kt * math.log(above / below)
