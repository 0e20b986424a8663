"""Well-tempered metadynamics: which hills come, and what they add up to.

    V(s, t) = sum_i h_i G((s - s_i) / sigma),    h_i = h_0 exp(-V(s_i, t_i) / (k_B T (gamma - 1)))

(Barducci, Bussi, Parrinello, Phys. Rev. Lett. 100, 020603 (2008)); G is PLUMED's stretched Gaussian
(cython_ext/hills.pyx). Without a bias factor gamma, h_i = h_0. The reweighting factor, for averages that no longer
depend on t, is

    c(t) = k_B T log( int exp(gamma V / (gamma-1) k_B T) ds / int exp(V / (gamma-1) k_B T) ds )

(Tiwary, Parrinello, J. Phys. Chem. B 119, 736 (2015)), the integrals over the grid.
"""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ..frame import Array
from ..units import BOLTZMANN_EV_PER_K, PER_EV, EnergyUnit
from .grid import HillGrid, HillSum
from .hills import Hills, HillsReader, HillsWriter, check_same
from .variables import Variable


class HillDeposit:
    """Well-tempered metadynamics: the hills of this walker and of the others, their sum, and what the next one will be.

    height: of the first hill, eV. pace: steps between hills. bias_factor: gamma, or None. file: HILLS of this walker.
    others: HILLS of the other walkers. energy_unit: of the heights in these files. rct_stride: hills between two
    values of c(t).
    """

    def __init__(
        self,
        total: HillGrid | HillSum,
        variables: Sequence[Variable],
        sigmas: Sequence[float],
        height: float,
        pace: int,
        temperature: float,
        bias_factor: float | None,
        file: Path,
        energy_unit: EnergyUnit = "kJ/mol",
        others: Sequence[Path] = (),
        rct_stride: int = 1,
    ) -> None:
        self.total = total
        self.pace = pace
        self.variables = tuple(variables)
        self._height = height
        self._bias_factor = bias_factor
        self._kt = BOLTZMANN_EV_PER_K * temperature
        self._tempering = self._kt * (bias_factor - 1) if bias_factor else math.inf
        self._to_file = PER_EV[energy_unit] * (bias_factor / (bias_factor - 1) if bias_factor else 1.0)
        self._writer = HillsWriter(file, variables, sigmas, bias_factor, with_clock=bool(others))
        self._others = [HillsReader(path, partial(self._check_other, path)) for path in others]
        self._rct_stride, self._added = rct_stride, 0
        self._reweighting_factor: float | None = None
        self._held: Hills | None = None
        self.existing = self._writer.existing
        self.count = len(self.existing)

    def replay(self, hold_last: bool) -> None:
        """Adds the hills that the file of this walker had when it was opened, and those of the others.

        hold_last: the last one was written when the configuration that it belongs to was still current; it waits for
        `deposit`, where it takes the place of a new one.
        """
        self.total.clear()
        self._reweighting_factor, self._added = None, 0
        count = self.count - hold_last
        whole = count - count % self._rct_stride
        self._add(self.existing[:whole])
        self._keep_reweighting_factor()
        self._add(self.existing[whole:count])
        self._held = self.existing[self.count - 1 :] if hold_last else None
        self.read_others()

    def cut(self, count: int) -> None:
        """Takes all hills of this walker but the first `count` out of the file; `replay` has to follow."""
        self.existing = self._writer.cut(count)
        self.count = len(self.existing)

    @property
    def is_shared(self) -> bool:
        """Whether there are other walkers."""
        return bool(self._others)

    def evaluate(self, s: Array) -> tuple[float, Array]:
        """V and its gradient."""
        return self.total.evaluate(s)

    @property
    def holds_one(self) -> bool:
        """Whether a hill of the file waits for `deposit`."""
        return self._held is not None

    def deposit(self, s: Array, time_ps: float) -> None:
        """Adds the next hill, at s; it is on disk when this returns."""
        if self._held is not None:
            self._add(self._held)
            self._held = None
            return
        height = self._height * math.exp(-self.total.evaluate(s)[0] / self._tempering)
        self._add(self._writer.append(time_ps, s, height * self._to_file))
        self.count += 1

    def read_others(self) -> None:
        """Adds the hills that other walkers have written since the last time."""
        for reader in self._others:
            if reader.table.path.exists():
                self._add(reader.read())

    def _check_other(self, path: Path, hills: Hills) -> None:
        if len(hills):
            check_same(path, hills, self.variables, self._writer.bias_factor)

    @property
    def has_reweighting_factor(self) -> bool:
        """Whether there is a grid to integrate over."""
        return isinstance(self.total, HillGrid)

    @property
    def reweighting_factor(self) -> float | None:
        """c(t), eV, after every `rct_stride`-th hill; computed when it is wanted, for it is an integral over the grid.

        None without a grid; `forceserver fes` has it from HILLS in any case.
        """
        if self._reweighting_factor is None and self.has_reweighting_factor:
            self._reweighting_factor = reweighting_factor(self.total.values, self._kt, self._bias_factor)
        return self._reweighting_factor

    def close(self) -> None:
        self._writer.close()

    def _add(self, hills: Hills) -> None:
        self.total.add(hills.centres, hills.sigmas, hills.heights / self._to_file)
        before, self._added = self._added, self._added + len(hills)
        if self._added // self._rct_stride > before // self._rct_stride:
            self._reweighting_factor = None
            self._keep_reweighting_factor()

    def _keep_reweighting_factor(self) -> None:
        """Computes c(t) now if it must not contain the hills that come before it is wanted."""
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
