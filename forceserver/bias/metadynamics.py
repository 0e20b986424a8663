"""The embedded bias: metadynamics, walls and restraints under one clock.

Order of events. The hill of configuration n acts from configuration n + 1 on, as in PLUMED; it is added when n + 1
comes in, so that n can be evaluated again at any time. `advance` of a new configuration
    1. adds the hill of the one before if its step is a multiple of the pace (not of step 0): writes the line, waits for
       the disk, adds what the line says;
    2. reads the hills of other walkers;
    3. writes the row of COLVAR;
    4. sets the clock (history.py).
Killed between any two of these, the next start finds out how far the last one came: a hill more in HILLS than the clock
knows of is that of 1. and waits for its turn, a row of COLVAR that is later than the clock is cut off.

An engine that goes back to a checkpoint first sends a configuration of some steps ago. The bias then is what it was
before that step: hills and rows that came since are cut off, and come again.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from ..frame import Array
from ..units import PER_EV, EnergyUnit
from .base import Bias, as_values
from .colvar import ColvarWriter
from .deposit import HillDeposit
from .history import History
from .restraints import MovingRestraint, Restraint, Wall
from .variables import Variable, domain_constants

log = logging.getLogger(__name__)

OF_THE_GRID = ("metad.rct", "metad.rbias")
"""Terms that cost a sum over the grid after every hill: they are for COLVAR and its stride."""


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
        d = len(variables)
        self._clock = History(clock_file, [("values", "f8", (d,)), ("hills", "i8"), ("work", "f8", (len(moving),))])
        self._terms = self._term_functions()
        self._colvar = None
        if colvar_file:
            fields, last = ["time", *self.names, *self._terms], (self.step + 0.5) * time_step_ps
            self._colvar = ColvarWriter(colvar_file, fields, domain_constants(variables), last)
        self._work = self._clock.current["work"].tolist() if self.step >= 0 else [0.0] * len(moving)
        if self._clock.returning is not None:
            self._complete_return()
        elif hills:
            self._reconcile(hills)

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

    def advance(self, values: ArrayLike, marks: Array | None = None) -> bool:
        s = self._inside(values)
        if marks is None:
            if self.step >= 0 and np.array_equal(self._clock.current["values"], s):
                return False
            marks = np.full(4, np.nan)
        elif self._is_past(marks):
            return False
        if self._hills:
            self._hills.evaluate(s[self._hilly])  # refuses values off the grid before anything changes
            self._advance_hills(self._hills)
        step, work = self.step + 1, self._work
        if step > 0:
            work = [
                w + part.work(self._clock.current["values"][k], s[k], step)
                for w, part in zip(self._work, self._moving, strict=True)
                for k in [self.variables.index(part.variable)]
            ]
        if self._colvar and step % self._colvar_stride == 0:
            unit = PER_EV[self._energy_unit]
            terms = [term(s, step, work) * unit for term in self._terms.values()]
            self._colvar.append([step * self._time_step, *s, *terms])
        self._clock.tick(step, marks, values=s, hills=self._hills.count if self._hills else 0, work=work)
        self._work = work  # only now: a step that could not be written is taken again
        return True

    def terms(self, values: ArrayLike) -> dict[str, float]:
        s, step = self._inside(values), max(self.step, 0)
        return {name: term(s, step, self._work) for name, term in self._terms.items() if name not in OF_THE_GRID}

    def begin_connection(self) -> None:
        self._clock.begin_connection()

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

    def _is_past(self, marks: Array) -> bool:
        """Whether this is the current configuration. Goes back to the step before if it is an older one."""
        step = self._clock.recognise(marks)
        if step is None or step == self.step:
            return step is not None
        if self._hills and self._hills.is_shared:
            log.warning("the engine went back to step %d; the hills since then remain, other walkers have them", step)
            self._clock.begin_run()
        elif self._clock.begin_return_before(step):
            self._complete_return()
        return False

    def _complete_return(self) -> None:
        then = self._clock.record(self._clock.returning)
        if self._colvar:
            self._colvar.cut_after((then["step"] + 0.5) * self._time_step)
        if self._hills:
            self._hills.cut(int(then["hills"]))
            self._hills.replay(hold_last=False)
        self._clock.end_return()
        self._work = then["work"].tolist()

    def _advance_hills(self, hills: HillDeposit) -> None:
        step = self.step
        is_due = step > 0 and step % hills.pace == 0
        was_added = is_due and hills.count > self._clock.current["hills"]  # before an error kept the clock from ticking
        if hills.holds_one or (is_due and not was_added):
            hills.deposit(self._clock.current["values"][self._hilly], step * self._time_step)
        if (step + 1) % self._read_stride == 0:
            hills.read_others()

    def _reconcile(self, hills: HillDeposit) -> None:
        """Brings clock and HILLS together after a restart."""
        clock = self._clock
        known = int(clock.current["hills"]) if clock.step >= 0 else 0
        if hills.count < known:
            raise InputError(
                f"the clock file knows of {known} hills, but HILLS has {hills.count}; "
                "bring the file back (without the clock file the bias goes on from the last hill that is there; move "
                "HILLS, COLVAR and the clock file away to start a new bias)"
            )
        ahead = hills.count - known
        if ahead > 1 or (ahead and clock.step < 0):
            last = hills.existing[hills.count - 1 :]
            step = round(float(last.times[0]) / self._time_step)
            values = np.full(len(self.variables), np.nan)  # the others are not known, and not needed
            values[self._hilly] = last.centres[0]
            clock.tick(step, np.full(4, np.nan), values=values, hills=hills.count - 1, work=self._work)
            log.warning("the clock starts at step %d, that of the last of %d hills", step, hills.count)
        hills.replay(hold_last=ahead > 0)

    def _term_functions(self) -> dict[str, Callable[[Array, int, list[float]], float]]:
        """The columns of COLVAR: of the CVs, the step, and the work of the moving restraints."""

        def total(parts: Sequence, s: Array, *when: int) -> float:
            return sum(part.evaluate(s[self.variables.index(part.variable)], *when)[0] for part in parts)

        terms = {}
        if hills := self._hills:
            terms["metad.bias"] = lambda s, step, work: hills.evaluate(s[self._hilly])[0]
            if hills.has_reweighting_factor:
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
