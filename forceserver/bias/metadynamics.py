"""The embedded bias: metadynamics, walls and restraints under one clock.

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
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from ..frame import Array
from .base import Bias, as_values
from .clock import Clock
from .colvar import ColvarWriter
from .deposit import HillDeposit
from .restraints import MovingRestraint, Restraint, Wall
from .units import PER_EV, EnergyUnit
from .variables import Variable, format_number

log = logging.getLogger(__name__)


class Metadynamics(Bias):
    """Hills, walls and restraints on some variables, with one clock. Any of the parts may be absent."""

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
        self._hilly = [self.variables.index(variable) for variable in hills.variables] if hills else []
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
        energy, gradient = 0.0, np.zeros(len(s))
        if self._hills:
            energy, gradient[self._hilly] = self._hills.evaluate(s[self._hilly])
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
            self._hills.evaluate(s[self._hilly])  # refuses values off the grid before anything changes
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
        is_due = step > 0 and step % hills.pace == 0
        was_added = hills.count > self._clock.hills  # by a call that ended with an error before the clock ticked
        if hills.holds_one or (is_due and not was_added):
            hills.deposit(self._clock.values[self._hilly], step * self._time_step)
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
            values = np.full(len(self.variables), np.nan)  # the others are not known, and not needed
            values[self._hilly] = last.centres[0]
            clock.set(step, values, None, hills.count - 1, clock.work)
            log.warning("the clock starts at step %d, that of the last of %d hills", step, hills.count)
        hills.replay(hold_last=ahead > 0)

    def _term_functions(self) -> dict[str, Callable[[Array, int, list[float]], float]]:
        """The columns of COLVAR: of the CVs, the step, and the work of the moving restraints."""

        def total(parts: Sequence, s: Array, *when: int) -> float:
            return sum(part.evaluate(s[self.variables.index(part.variable)], *when)[0] for part in parts)

        terms = {}
        if hills := self._hills:
            terms["metad.bias"] = lambda s, step, work: hills.evaluate(s[self._hilly])[0]
            if hills.reweighting_factor is not None:
                terms["metad.rct"] = lambda s, step, work: hills.reweighting_factor
                terms["metad.rbias"] = lambda s, step, work: (
                    terms["metad.bias"](s, step, work) - hills.reweighting_factor
                )
        if self._walls:
            terms["walls.bias"] = lambda s, step, work: total(self._walls, s)
        if self._restraints:
            terms["restraints.bias"] = lambda s, step, work: total(self._restraints, s)
        if self._moving:
            terms["moving.bias"] = lambda s, step, work: total(self._moving, s, step)
            terms["moving.work"] = lambda s, step, work: sum(work)
        return terms
