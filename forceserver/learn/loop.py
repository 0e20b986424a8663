"""The loop: label, judge, fit, decide, simulate, choose; each step is done if its file is there."""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import atomic_write
from ..fit.config import DataConfig
from ..fit.progress import Progress, silent
from ..frame import Frame
from ..ipi.input import read_ipi_input
from ..launch.display import tell
from ..locks import locked_folder
from ..new_simulation import INPUT
from ..structures import read_structures
from . import history, rounds, start
from .config import LearnConfig
from .inputs import Inputs, beginning, planned
from .judging import force_factor, judge
from .record import Record
from .reference import Reference, label
from .rounds import Round
from .selection import choose
from .simulations import simulate
from .threshold import threshold
from .training import train


@dataclass(frozen=True)
class End:
    """How a run has ended.

    reached: whether it has what was asked for: the target, or without one, simulations that meet nothing uncertain.
    why: for people. code: the exit code, 128 + n after a signal.
    """

    reached: bool
    why: str
    code: int


def learn(config: LearnConfig, progress: Progress = silent) -> End:
    """Learns until the target is reached, a budget is spent, or there is nothing new; the same call goes on.

    Args:
        config: The configuration.
        progress: Shows how far fits and calculations are.

    Returns:
        Why it has ended. The model is in `output`.

    Raises:
        InputError: The configuration or the structures are wrong, or another run uses the folder.
        PotentialError: The reference has failed three times in a row, or a simulation has died at once; the same call
            goes on where it was.
    """
    check(config)
    config.folder.mkdir(parents=True, exist_ok=True)
    with locked_folder(config.folder):
        start.begin(config.folder, config.data)
        number = 0
        while (end := _round(number, config, progress)) is None:
            number += 1
        if end.code < 128:
            _publish(list(rounds.rounds_in(config.folder))[-1], config)
        return end


def check(config: LearnConfig) -> list[str]:
    """`InputError` for what can be known to be wrong before anything is computed; else what will be done, in lines."""
    if not config.output.absolute().parent.is_dir():
        raise InputError(f"output: there is no folder {config.output.absolute().parent}")
    plans = planned(config)
    frames = {f"simulation {plan.name}": beginning(plan.source) for plan in plans}
    with tempfile.TemporaryDirectory() as folder:
        for plan in plans:
            (Path(folder) / plan.name).mkdir()
            Inputs(plan, {"kind": "trusted"}, seed=0, every=1).write(Path(folder) / plan.name)
            read_ipi_input(Path(folder) / plan.name / INPUT)
    _check_species(frames, config.data)
    with contextlib.closing(Reference(config.reference)) as reference:
        for frame in frames.values():
            reference.made_for(frame)
    if config.reference.kind == "socket":
        _check_order(frames, config.data.train)
    return [f"{name}: {len(frame)} atoms" for name, frame in frames.items()]


def _check_species(frames: Mapping[str, Frame], data: DataConfig) -> None:
    """`InputError` for too few structures, and for simulations of species that the first model cannot know."""
    labelled, bare = start.read_start(data)
    known = {symbol for atoms in (*labelled, *bare) for symbol in atoms.symbols}
    for name, frame in frames.items():
        if unknown := sorted(set(frame.to_ase().symbols) - known):
            raise InputError(
                f"{name} has {', '.join(unknown)}, which no structure of {data.train} has: add some that do"
            )


def _check_order(frames: Mapping[str, Frame], train: Path) -> None:
    """`InputError` unless all have the same atoms in the same order."""
    (first, wanted), *others = frames.items()
    data = ((f"{train}: structure {k}", Frame.from_ase(atoms)) for k, atoms in enumerate(read_structures(train)))
    for name, frame in itertools.chain(others, data):
        if not np.array_equal(frame.species, wanted.species):
            raise InputError(
                f"reference: a program behind kind = 'socket' knows one order of atoms only, its own; {name} has other "
                f"atoms than {first}"
            )


def _round(number: int, config: LearnConfig, progress: Progress) -> End | None:
    """One round; None if another is to follow."""
    every = list(rounds.rounds_in(config.folder))
    earlier, one = every[:number], rounds.round_of(config.folder, number)
    label(one, earlier, config.reference, progress)
    if earlier:
        judge(one, earlier[-1])
    known = not one.model.exists()
    train(one, earlier, config, progress)
    records = [record for record in history.history(config) if record.round <= number]
    if known:
        _tell(records, config)
    if (end := decide(records, config)) is not None:
        return end
    if not (after := rounds.round_of(config.folder, number + 1)).selected.exists():
        limit = threshold(one, config)
        tell(f"round {number}: simulations, until a force is uncertain by {limit:.3g} eV/Å")
        if code := simulate(one, config, limit, force_factor([*earlier, one])):
            return End(False, "ended by a signal; the same command goes on", code)
        records = history.history(config)
        _select(one, after, records, config)
    if not rounds.read(after.selected):
        return _nothing_new(config)
    return None


def _select(one: Round, after: Round, records: Sequence[Record], config: LearnConfig) -> None:
    left = config.budget.references - records[-1].references
    last = next((record.control for record in reversed(records) if record.control is not None), None)
    target = None if config.target is None else config.target.force_ev_per_angstrom
    complete = records[-1].all_complete
    verify = complete and (target is None or last is None or last <= target)
    chosen = choose(one, rounds.read(one.train), config, left, verify=verify, everywhere=complete)
    rounds.write(after.selected, chosen)
    why = [atoms.info["why"] for atoms in chosen]
    counts = ", ".join(f"{why.count(kind)} {kind}" for kind in ("control", "uncertain", "far") if kind in why)
    tell(f"round {one.number}: {len(chosen)} structures for the reference ({counts or 'nothing new'})")


def decide(records: Sequence[Record], config: LearnConfig) -> End | None:
    """Whether to end before the simulations of the last round; depends on what is on disk and the budget alone."""
    last, *before = records[-1], *reversed(records[:-1])
    if before and before[0].all_complete and (met := _met(before[0], config)):
        return End(True, met, 0)
    best = min((record.control for record in before if record.control is not None), default=None)
    said = "" if best is None else f"; the smallest error in what simulations met at random: {best:.3g} eV/Å"
    missed = 0 if config.target is None else 1
    if last.references >= config.budget.references:
        return End(False, f"the budget is spent, {last.references} references{said}", missed)
    if last.round >= config.budget.rounds:
        return End(False, f"the budget is spent, {last.round} rounds{said}", missed)
    if config.target is not None and _stands_still(list(reversed(before)), config.budget.patience):
        target = config.target.force_ev_per_angstrom
        patience = config.budget.patience
        why = f"no progress in {patience} round{'s' * (patience > 1)}, the target of {target:g} eV/Å seems out of reach"
        return End(False, f"{why} of this kind of model{said}", 1)
    return None


def _met(record: Record, config: LearnConfig) -> str | None:
    """What was reached, in words."""
    if record.control is None:
        return None
    what = f"all simulations of round {record.round} are complete, with an error of {record.control:.3g} eV/Å"
    if config.target is None:
        return what
    target = config.target.force_ev_per_angstrom
    return f"{what}, {target:g} wanted" if record.control <= target else None


def _stands_still(records: Sequence[Record], patience: int) -> bool:
    """Whether neither errors nor lengths were better in the last rounds than before."""
    judged = [record for record in records if record.control is not None]
    if len(judged) <= patience:
        return False
    old, new = judged[:-patience], judged[-patience:]
    smaller = min(record.control or 0.0 for record in new) < min(record.control or 0.0 for record in old)
    return not smaller and max(r.reached for r in new) <= max(r.reached for r in old)


def _nothing_new(config: LearnConfig) -> End:
    return End(
        config.target is None,
        "the simulations meet nothing new: what error is left is that of this kind of model, or they are too short",
        0 if config.target is None else 1,
    )


def _tell(records: Sequence[Record], config: LearnConfig) -> None:
    history.write(config, records)
    last = records[-1]
    tell(f"round {last.round}: a model of {last.structures} structures, {last.references} references so far")
    if len(records) > 1 and (control := records[-2].control) is not None:
        tell(f"round {last.round}: the model before had an error of {control:.3g} eV/Å in what its simulations met")


def _publish(one: Round, config: LearnConfig) -> None:
    """The last model is that of all structures."""
    model = one.model
    if not model.exists():  # of a round for which nothing was selected
        model = rounds.round_of(config.folder, one.number - 1).model
    history.write(config, history.history(config))
    with atomic_write(config.output) as part:
        shutil.copyfile(model, part)


def where(config: LearnConfig) -> str:
    """What is being done, or comes next, in one line."""
    every = list(rounds.rounds_in(config.folder))
    if not every:
        return f"{config.folder}: nothing is done yet\n"
    one = every[-1]
    selected, done = len(rounds.read(one.selected)), rounds.spent([one])
    if one.number and not selected:
        step = "the simulations before met nothing new"
    elif done < selected:
        step = f"{done} of {selected} reference calculations"
    elif not one.model.exists():
        step = "the fit"
    else:
        ended = len(list(one.simulations.glob("*/outcome.json")))
        step = f"simulations, {ended} of {len(planned(config))} have ended"
    return f"{config.folder}: round {one.number}, {step}\n"
