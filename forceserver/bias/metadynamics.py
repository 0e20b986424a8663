"""The embedded bias: well-tempered metadynamics, with walls and restraints.

    V(s, t) = sum_i h_i G((s - s_i) / sigma),    h_i = h_0 exp(-V(s_i, t_i) / (k_B T (gamma - 1)))

(Barducci, Bussi, Parrinello, Phys. Rev. Lett. 100, 020603 (2008)); G is PLUMED's stretched Gaussian
(cython_ext/hills.pyx). Without a bias factor gamma, h_i = h_0. The reweighting factor, for averages that no longer
depend on t, is

    c(t) = k_B T log( int exp(gamma V / (gamma-1) k_B T) ds / int exp(V / (gamma-1) k_B T) ds )

(Tiwary, Parrinello, J. Phys. Chem. B 119, 736 (2015)), the integrals over the grid.

Order of events. The hill of configuration n acts from configuration n + 1 on, as in PLUMED; it is added when n + 1
comes in, so that n can be evaluated again at any time. `advance` of a new configuration
    1. adds the hill of the one before if its step is a multiple of the pace (not of step 0): writes the line, waits for
       the disk, adds what the line says;
    2. reads the hills of other walkers;
    3. writes the row of COLVAR;
    4. sets the clock file.
Killed between any two of these, the next start finds out how far the last one came: a hill more in HILLS than the clock
knows of is that of 1. and waits for its turn, a row of COLVAR that is later than the clock is cut off.
"""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from ..frame import Array
from .base import Bias, as_values
from .clock import Clock
from .colvar import ColvarWriter
from .grid import HillGrid, HillSum
from .hills import Hills, HillsReader, HillsWriter, check_same
from .restraints import MovingRestraint, Restraint, Wall
from .units import BOLTZMANN_EV_PER_K, PER_EV, EnergyUnit
from .variables import Variable, format_number

log = logging.getLogger(__name__)


class HillDeposit:
    """Well-tempered metadynamics: the hills of this walker and of the others, their sum, and what the next one will be.

    height: of the first hill, eV. pace: steps between hills. bias_factor: gamma, or None. file: HILLS of this walker.
    others: HILLS of the other walkers. energy_unit: of the heights in these files.
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
    ) -> None:
        self.total = total
        self.pace = pace
        self._variables = tuple(variables)
        self._height = height
        self._bias_factor = bias_factor
        self._kt = BOLTZMANN_EV_PER_K * temperature
        self._tempering = self._kt * (bias_factor - 1) if bias_factor else math.inf
        self._to_file = PER_EV[energy_unit] * (bias_factor / (bias_factor - 1) if bias_factor else 1.0)
        self._writer = HillsWriter(file, variables, sigmas, bias_factor, with_clock=bool(others))
        self._others = [HillsReader(path) for path in others]
        self._reweighting_factor: float | None = None
        self._held: Hills | None = None
        self.existing = self._writer.existing
        self.count = len(self.existing)

    def replay(self, hold_last: bool) -> None:
        """Adds the hills that the file of this walker had when it was opened, and those of the others.

        hold_last: the last one was written when the configuration that it belongs to was still current; it waits for
        `deposit`, where it takes the place of a new one.
        """
        self._add(self.existing[: self.count - hold_last])
        self._held = self.existing[self.count - 1 :] if hold_last else None
        self.read_others()

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
                hills = reader.read()
                if len(hills):
                    check_same(reader.table.path, hills, self._variables, self._writer.bias_factor)
                    self._add(hills)

    @property
    def reweighting_factor(self) -> float | None:
        """c(t), eV; None without a grid."""
        if self._reweighting_factor is None and isinstance(self.total, HillGrid):
            self._reweighting_factor = reweighting_factor(self.total.values, self._kt, self._bias_factor)
        return self._reweighting_factor

    def close(self) -> None:
        self._writer.close()

    def _add(self, hills: Hills) -> None:
        self.total.add(hills.centres, hills.sigmas, hills.heights / self._to_file)
        self._reweighting_factor = None


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


class Metadynamics(Bias):
    """Hills, walls and restraints on the same variables, with one clock. Any of the parts may be absent."""

    def __init__(
        self,
        variables: Sequence[Variable],
        time_step_ps: float,
        hills: HillDeposit | None = None,
        walls: Sequence[Wall] = (),
        restraints: Sequence[Restraint] = (),
        moving: Sequence[MovingRestraint] = (),
        clock_file: Path | None = None,
        colvar_file: Path | None = None,
        colvar_stride: int = 1,
        energy_unit: EnergyUnit = "kJ/mol",
        read_stride: int = 1,
    ) -> None:
        """time_step_ps: makes times of steps. colvar_stride: steps between rows of COLVAR. read_stride: steps between
        looks at the hills of other walkers. energy_unit: of COLVAR."""
        self.variables = tuple(variables)
        self.names = tuple(variable.name for variable in variables)
        self._time_step = time_step_ps
        self._hills, self._walls, self._restraints, self._moving = hills, walls, restraints, moving
        self._read_stride, self._colvar_stride, self._energy_unit = read_stride, colvar_stride, energy_unit
        self._clock = Clock(clock_file, len(moving))
        if hills:
            self._reconcile(hills)
        self._terms = self._term_functions()
        self._colvar = None
        if colvar_file:
            constants = {}
            for variable in variables:
                if variable.domain:
                    constants[f"min_{variable.name}"] = format_number(variable.domain[0])
                    constants[f"max_{variable.name}"] = format_number(variable.domain[1])
            fields = ["time", *self.names, *self._terms]
            last_time = (self._clock.step + 0.5) * time_step_ps
            self._colvar = ColvarWriter(colvar_file, fields, constants, last_time)

    @property
    def step(self) -> int:
        """The number of the current configuration; -1 before the first."""
        return self._clock.step

    def compute(self, values: ArrayLike) -> tuple[float, Array]:
        s = self._inside(values)
        energy, gradient = self._hills.evaluate(s) if self._hills else (0.0, np.zeros(len(s)))
        for part in (*self._walls, *self._restraints):
            k = self.variables.index(part.variable)
            e, g = part.evaluate(s[k])
            energy += e
            gradient[k] += g
        for part in self._moving:
            k = self.variables.index(part.variable)
            e, g = part.evaluate(s[k], max(self.step, 0))
            energy += e
            gradient[k] += g
        return float(energy), gradient

    def advance(self, values: ArrayLike, key: bytes | None = None) -> bool:
        s = self._inside(values)
        if self._clock.is_current(s, key):
            return False
        if self._hills:
            self._hills.evaluate(s)  # refuses values off the grid before anything changes
            self._advance_hills(self._hills)
        step, work = self.step + 1, self._clock.work
        if step > 0:
            work = [
                w + part.work(self._clock.values[k], s[k], step)
                for w, part in zip(work, self._moving, strict=True)
                for k in [self.variables.index(part.variable)]
            ]
        if self._colvar and step % self._colvar_stride == 0:
            unit = PER_EV[self._energy_unit]
            terms = [term(s, step, work) * unit for term in self._terms.values()]
            self._colvar.append([step * self._time_step, *s, *terms])
        self._clock.tick(s, key, self._hills.count if self._hills else 0, work)
        return True

    def terms(self, values: ArrayLike) -> dict[str, float]:
        s = self._inside(values)
        return {name: term(s, max(self.step, 0), self._clock.work) for name, term in self._terms.items()}

    def close(self) -> None:
        self._clock.close()
        if self._colvar:
            self._colvar.close()
        if self._hills:
            self._hills.close()

    def _inside(self, values: ArrayLike) -> Array:
        """Finite values, periodic ones folded into their domain."""
        s = as_values(self.names, values)
        for k, variable in enumerate(self.variables):
            if variable.domain and not variable.domain[0] <= s[k] < variable.domain[1]:
                s = s.copy()
                s[k] = variable.domain[0] + (s[k] - variable.domain[0]) % variable.period
        return s

    def _advance_hills(self, hills: HillDeposit) -> None:
        step = self.step
        if hills.holds_one or (step > 0 and step % hills.pace == 0):
            hills.deposit(self._clock.values, step * self._time_step)
        if (step + 1) % self._read_stride == 0:
            hills.read_others()

    def _reconcile(self, hills: HillDeposit) -> None:
        """Brings clock and HILLS together after a restart."""
        clock = self._clock
        if hills.count < clock.hills:
            raise InputError(
                f"the clock file knows of {clock.hills} hills, but HILLS has {hills.count}; "
                "bring the file back, or remove the clock file to start a new bias"
            )
        ahead = hills.count - clock.hills
        if ahead > 1 or (ahead and clock.step < 0):
            last = hills.existing[hills.count - 1 :]
            step = round(float(last.times[0]) / self._time_step)
            clock.set(step, last.centres[0], None, hills.count - 1, clock.work)
            log.warning("the clock starts at step %d, that of the last of %d hills", step, hills.count)
        hills.replay(hold_last=ahead > 0)

    def _term_functions(self) -> dict[str, Callable[[Array, int, list[float]], float]]:
        """The columns of COLVAR: of the CVs, the step, and the work of the moving restraints."""

        def total(parts: Sequence, s: Array, *when: int) -> float:
            return sum(part.evaluate(s[self.variables.index(part.variable)], *when)[0] for part in parts)

        terms = {}
        if hills := self._hills:
            terms["metad.bias"] = lambda s, step, work: hills.evaluate(s)[0]
            if hills.reweighting_factor is not None:
                terms["metad.rct"] = lambda s, step, work: hills.reweighting_factor
                terms["metad.rbias"] = lambda s, step, work: hills.evaluate(s)[0] - hills.reweighting_factor
        if self._walls:
            terms["walls.bias"] = lambda s, step, work: total(self._walls, s)
        if self._restraints:
            terms["restraints.bias"] = lambda s, step, work: total(self._restraints, s)
        if self._moving:
            terms["moving.bias"] = lambda s, step, work: total(self._moving, s, step)
            terms["moving.work"] = lambda s, step, work: sum(work)
        return terms
