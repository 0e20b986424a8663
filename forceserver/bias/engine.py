"""The embedded bias under the clock of its journal.

    engine.advance(s, fingerprint)       when a configuration with values s arrives; ticks if it is a new one
    energy, gradient = engine.compute(s)   any number of times, no side effects

so that a configuration that is requested twice (a reconnection, a restart of either side) adds no hill. The hill of
configuration n acts from configuration n + 1 on, as in PLUMED; it is added when n + 1 arrives, so that n can be
evaluated again at any time. `advance` of a new configuration
    1. writes the hill of the one before if its step is a multiple of the pace (not of step 0), waits for the disk, and
       adds what the line says;
    2. reads the hills of other walkers;
    3. writes the row of COLVAR and sets the clock.
If it is killed between any two of these, or while it follows an engine back to a checkpoint, it resumes as if that had
not happened: the journal deals with what a start finds on disk.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..frame import Array
from ..units import PER_EV, EnergyUnit
from .growing import GrowingBias
from .journal import Arrival, Journal
from .journal.fingerprint import UNKNOWN
from .total import TotalBias


class BiasEngine:
    """A bias V(s, t), a journal, and what happens to them with each configuration.

    time_step_ps: converts steps to times. colvar_stride: steps between rows of COLVAR. energy_unit: of COLVAR.
    read_stride: steps between readings of other walkers' hills.
    """

    def __init__(
        self,
        total: TotalBias,
        journal: Journal,
        time_step_ps: float,
        colvar_stride: int = 1,
        energy_unit: EnergyUnit = "kJ/mol",
        read_stride: int = 1,
    ) -> None:
        self.total, self.journal = total, journal
        self._steps = journal.steps
        self.names = total.names
        self._time_step = time_step_ps
        self._colvar_stride, self._energy_unit, self._read_stride = colvar_stride, energy_unit, read_stride
        self._work: list[float] = []  # of the moving restraints, up to the current step
        self._replay()

    @property
    def step(self) -> int:
        """The number of the current configuration; -1 before the first."""
        return self._steps.step

    def compute(self, values: ArrayLike) -> tuple[float, Array]:
        """V (eV) and dV/ds (d,) (eV per CV unit) at values (d,); `BiasError` if there is no bias at these values."""
        return self.total.evaluate(self.total.inside(values), max(self.step, 0))

    def terms(self, values: ArrayLike) -> dict[str, float]:
        """The parts of the bias at these values, by name (eV), as far as they are cheap: for extras."""
        s, step, total = self.total.inside(values), max(self.step, 0), self.total
        return {name: term(s, step, self._work) for name, term in total.terms.items() if name not in total.costly}

    def advance(self, values: ArrayLike, fingerprint: Array | None = None) -> bool:
        """Processes a configuration: ticks the clock, unless it is the current one. Returns whether it was new.

        fingerprint: of the configuration (`fingerprint_of`): if the first one of a connection is an older one, the bias
        goes back to before that step. Without a fingerprint, only the current configuration is recognised, by values.
        When it returns, everything that later values of the bias depend on is safe on disk.
        """
        s = self.total.inside(values)
        if self._is_current(s, fingerprint):
            return False
        if growing := self.total.growing:
            growing.reach(s[self.total.biased])  # before anything changes
            self._let_hills_act(growing)
        step, work, memory = self._steps.step + 1, self._work, self._memory
        if growing and step > 0 and growing.memory_size:
            memory = growing.observe(memory, s[self.total.biased], step)
        if step > 0 and work:
            work = self.total.work(work, self._current["values"], s, step)
        has_row = self.journal.has_rows and step % self._colvar_stride == 0
        row = self._row(s, step, work) if has_row else None
        fields = {"values": s, "work": work} | ({"memory": memory} if memory.size else {})
        self.journal.commit(UNKNOWN if fingerprint is None else fingerprint, row, **fields)
        self._work = work  # only now: a step that could not be written will be repeated
        return True

    def begin_connection(self) -> None:
        """To be called when an engine connects, perhaps after a restart: its first configuration may be an old one."""
        self.journal.begin_connection()

    def close(self) -> None:
        """Closes the files; called once, at the end."""
        self.journal.close()

    @property
    def _current(self) -> Any:
        return self._steps.current

    @property
    def _memory(self) -> Array:
        """What the growing bias remembers of the configurations up to the current one."""
        size = self.total.growing.memory_size if self.total.growing else 0
        return self._current["memory"].copy() if size and self.step >= 0 else np.zeros(size)

    def _is_current(self, s: Array, fingerprint: Array | None) -> bool:
        """Whether this is the current configuration. If it is an older one, the bias goes back to the step before."""
        if fingerprint is None:
            return self.step >= 0 and self._current["values"].tolist() == s.tolist()
        arrival = self.journal.begin(fingerprint)
        if self.journal.must_replay:
            self._replay()
        return arrival is Arrival.SAME

    def _replay(self) -> None:
        """Brings the bias to the current step of the journal."""
        deposits = self.journal.replay()
        work = self._current["work"]
        self._work = work.tolist() if self.step >= 0 else [0.0] * len(work)
        if growing := self.total.growing:
            growing.replay([deposits, *self.journal.of_others()])

    def _let_hills_act(self, growing: GrowingBias) -> None:
        step = self._steps.step
        is_due = step > 0 and step % growing.pace == 0
        hill = None
        if is_due:
            s = self._current["values"][self.total.biased]
            hill = growing.deposit(s, step * self._time_step, self._memory)
        if len(acting := self.journal.deposit(hill)):
            growing.add(acting)
        if (step + 1) % self._read_stride == 0:
            for others in self.journal.of_others():
                growing.add(others)

    def _row(self, s: Array, step: int, work: list[float]) -> list[float]:
        unit, numbers = PER_EV[self._energy_unit], self.total.pure_numbers
        terms = self.total.terms.items()
        parts = (term(s, step, work) * (1 if name in numbers else unit) for name, term in terms)
        return [step * self._time_step, *s, *parts]
