"""The simulations of a round: set up with its model, run side by side, and what became of each."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import campaign
from ..errors import PotentialError
from ..files import write_json
from ..ipi.input import read_ipi_input
from ..launch.display import tell
from ..launch.logs import last_line
from ..launch.plan import ExitCode
from ..new_simulation import CONFIG, INPUT
from ..processes import describe_end, usable_cores
from . import rounds
from .config import LearnConfig
from .inputs import UNCERTAIN, Inputs, Planned, beginning, input_of, planned, potential_section, steps_of
from .outcome import OUTCOME, Outcome
from .resuming import Place, begun, copy_simulation, frames_of, is_known, place, same_simulation
from .rounds import Round, round_of

if TYPE_CHECKING:
    from ase import Atoms

PRIME = 7919
"""Seeds of one simulation in two rounds differ by this."""


@dataclass(frozen=True)
class Beginning:
    """How a simulation begins in a round: anew, or where it was stopped in the round before; a `campaign.Source`.

    limit: uncertainty of the model at which it is stopped, eV/Angstrom.
    """

    plan: Planned
    one: Round
    config: LearnConfig
    limit: float
    seed: int

    def copy_to(self, folder: Path) -> None:
        """Makes its folder, completely or not at all."""
        new = folder.with_name(folder.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        train = rounds.read(self.one.train)
        where = self._place(train)
        if where is None:
            self._inputs(0, _begins_known(self.plan, train)).write(new)
        else:
            copy_simulation(where, self._inputs(where.state.step, where.is_known(train)), new)
        new.rename(folder)

    def _place(self, train: Sequence["Atoms"]) -> Place | None:
        """Where it goes on; None if it begins anew."""
        if not self.plan.source.resume or self.one.number == 0:
            return None
        before = round_of(self.config.folder, self.one.number - 1).simulations / self.plan.name
        where = place(before, self.plan.source.tries, self.config.uncertainty.check_every, train)
        if where is not None and not same_simulation(self._inputs(0, False), before):
            tell(f"{self.plan.name} is another simulation than in the round before, and begins anew")
            return None
        return where

    def _inputs(self, done: int, known: bool) -> Inputs:
        steps = max(steps_of(self.plan.source) - done, 1)
        section = potential_section(self.one, self.config, self.limit, steps, known=known)
        return Inputs(self.plan, section, self.seed, self.config.uncertainty.check_every)


def _begins_known(plan: Planned, train: Sequence["Atoms"]) -> bool:
    """Whether the reference has computed the first structure."""
    template = beginning(plan.source)
    given = input_of(plan.source)
    return is_known([template] if given is None else frames_of(read_ipi_input(given), template), train)


class Run(campaign.Simulation):
    """A simulation of a round."""

    @property
    def stopped(self) -> bool:
        """Whether a structure has stopped it."""
        return (self.folder / UNCERTAIN).exists()

    @property
    def failed(self) -> bool:
        """Whether it was refused or has died without a step: later deaths are those of bad models, and outcomes."""
        died = self.code not in (0, ExitCode.UNTRUSTED)
        return died and (self.step == 0 or self.code == ExitCode.BAD_INPUT)

    @property
    def reached(self) -> int:
        """The last step that is known: properties may have been written less often than states."""
        return max(self.step, self._newest_step())


def simulate(one: Round, config: LearnConfig, threshold: float, factor: float) -> int:
    """Runs or resumes all simulations of a round; returns 0, or 128 + n after signal n.

    Args:
        one: the round.
        config: the configuration.
        threshold: expected error of the force on an atom at which they are stopped, eV/Angstrom.
        factor: by which the uncertainties of the model are too small.

    Raises:
        PotentialError: one has died at once, with its last words.
    """
    runs = []
    for index, plan in enumerate(planned(config)):
        folder = one.simulations.absolute() / plan.name
        if (folder / OUTCOME).exists():
            continue
        seed = config.seed + 1 + index + PRIME * one.number
        run = Run(folder, Beginning(plan, one, config, threshold / factor, seed), config=CONFIG)
        run.prepare()
        runs.append(run)
    cores = usable_cores()
    at_once = config.at_once or max(1, cores // 2)
    labels = {run.name: run.name for run in runs}
    going = [run for run in runs if not run.stopped]
    code = campaign.run(going, at_once, max(1, cores // at_once - 1), labels) if going else 0
    if code > 128:
        return code
    _stop_if_dead(runs)
    for run in runs:
        write_json(run.folder / OUTCOME, asdict(_outcome(run, factor)))
    return 0


def _stop_if_dead(runs: Sequence[Run]) -> None:
    for run in runs:
        if run.failed and 0 < run.code < 128:
            raise PotentialError(
                f"the simulation {run.name} died at once; its last words: {last_line(run.log)}; see {run.log}"
            )
    for run in runs:
        if run.code < 0 or run.code >= 128:  # somebody has ended it, which says nothing about the model
            how = describe_end(run.code)
            raise PotentialError(f"the simulation {run.name} was ended ({how}); the same command goes on with it")


def _outcome(run: Run, factor: float) -> Outcome:
    known = Outcome(
        run.name,
        run.reached,
        run.total,
        "complete",
        began=begun(run.folder).step,
        timestep_fs=read_ipi_input(run.folder / INPUT).timestep_fs,
    )
    if run.stopped:
        uncertainty = factor * float(rounds.read(run.folder / UNCERTAIN)[-1].info["committee_force_uncertainty"])
        return replace(known, end="uncertain", uncertainty=uncertainty)
    return replace(known, end="failed", said=last_line(run.log)) if run.code else known
