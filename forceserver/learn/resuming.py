"""Simulations that go on, with the next model, where a structure has stopped them.

States of i-PI have positions, velocities and the cell, what thermostats and barostats keep, and the random numbers. Two
are close to the end: RESTART, which i-PI writes when it is ended, one step before the structure that has stopped it;
and the checkpoint of the last look at the uncertainty (`inputs.CERTAIN`). A simulation goes on from the newest state of
which the model that led there was certain, or which the reference has computed since. Everything else that belongs to
it, hills of a bias for example, is copied, and cut to that state as by any other restart of `launch`.
"""

import filecmp
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from ..campaign.edits import set_total_steps
from ..configuration import read_configuration
from ..errors import InputError, PotentialError
from ..files import write_json
from ..frame import Frame
from ..ipi.input import IpiInput, read_ipi_input
from ..ipi.restart import state_files
from ..launch.display import tell
from ..new_simulation import CONFIG, INPUT
from ..potentials.base import Potential
from ..potentials.trusted import MEASURE, TrustedConfig
from ..sections import read_toml
from ..template_structure import read_template
from . import rounds
from .inputs import RECORD, UNCERTAIN, Inputs
from .outcome import OUTCOME, Outcome

if TYPE_CHECKING:
    from ase import Atoms

BEGUN = "begun.json"
FRESH = {UNCERTAIN, RECORD, OUTCOME, BEGUN, CONFIG, INPUT}
"""Files that a simulation which goes on does not take along, beside logs, locks and states."""
NOT_THE_SAME = ("prng", "total_steps", "output")
"""Elements of an input that may differ from those of the simulation that goes on."""
SAME_ANGSTROM = 1e-4
"""What files of structures and of i-PI round is less."""


@dataclass(frozen=True)
class Begun:
    """How a simulation has begun: at a step, after it was stopped at `stopped` for so many `times` in a row."""

    step: int = 0
    stopped: int = 0
    times: int = 0


def begun(folder: Path) -> Begun:
    """How the simulation in a folder has begun."""
    return Begun(**(rounds.read_json(folder / BEGUN) or {}))


@dataclass(frozen=True)
class Place:
    """Where a stopped simulation goes on: its folder, the state of i-PI, and what becomes its `Begun`."""

    folder: Path
    state: IpiInput
    begun: Begun

    def is_known(self, train: Sequence["Atoms"]) -> bool:
        """Whether the reference has computed it."""
        template = read_template(read_configuration(self.folder / CONFIG).structure)
        return is_known(frames_of(self.state, template), train)


def place(folder: Path, stops: int, every: int, train: Sequence["Atoms"] = ()) -> Place | None:
    """Where the simulation in a folder goes on.

    Args:
        folder: that of the round before.
        stops: how often in a row it may be stopped at one place; after these it begins anew, which is told.
        every: steps from one look at its uncertainty to the next. A stop no farther than that is at the same place.
        train: what the reference has computed.

    Returns:
        None if it begins anew: it was not stopped, or too often, or there is no such state.
    """
    record = rounds.read_json(folder / OUTCOME)
    if record is None or (outcome := Outcome(**record)).end != "uncertain":
        return None
    before = begun(folder)
    here = before.times > 0 and outcome.steps <= before.stopped + every
    times = before.times + 1 if here else 1
    if times >= stops:
        tell(f"{folder.name} was stopped {times} times in a row at step {outcome.steps}, and begins anew")
        return None
    state = last_certain(folder, train)
    return None if state is None else Place(folder, state, Begun(state.step, outcome.steps, times))


def last_certain(folder: Path, train: Sequence["Atoms"] = ()) -> IpiInput | None:
    """The newest state, beyond the first, of which the simulation's own model was certain, or which is in `train`."""
    configuration = read_configuration(folder / CONFIG)
    assert isinstance(configuration.potential, TrustedConfig)
    template = read_template(configuration.structure)
    potential = configuration.potential.potential.build(template)
    most = configuration.potential.force_threshold_ev_per_angstrom
    for state in sorted(_states(folder), key=lambda state: -state.step):
        frames = frames_of(state, template)
        if is_known(frames, train) or _is_certain(frames, potential, most):
            return state
    return None


def _states(folder: Path) -> Iterator[IpiInput]:
    """The complete ones after the first step."""
    for path in state_files(read_ipi_input(folder / INPUT)):
        with suppress(InputError):
            if (state := read_ipi_input(path)).step:
                yield state


def frames_of(state: IpiInput, template: Frame) -> list[Frame]:
    """The structures of a state or an input, of all systems and beads."""
    return [
        Frame(positions, system.cell, template.species, template.pbc)
        for system in state.systems
        for positions in system.positions_of_beads
    ]


def is_known(frames: Sequence[Frame], train: Sequence["Atoms"]) -> bool:
    """Whether all frames are among the structures that the reference has computed.

    The members of a model disagree about the only structure of its kind, though the model has learned it: one of them
    has not. To look at its uncertainty would stop a simulation again that was stopped there before.
    """
    return all(any(_are_same(frame, atoms) for atoms in train) for frame in frames)


def _are_same(frame: Frame, atoms: "Atoms") -> bool:
    return (
        np.array_equal(frame.species, atoms.numbers)
        and np.allclose(frame.positions, atoms.positions, atol=SAME_ANGSTROM, rtol=0)
        and np.allclose(frame.cell, atoms.cell.array, atol=SAME_ANGSTROM, rtol=0)
    )


def _is_certain(frames: Sequence[Frame], potential: Potential, most: float) -> bool:
    try:
        return all(result.extras[MEASURE] < most for result in potential.compute(frames))
    except PotentialError:  # atoms so close that the model has no value
        return False


def same_simulation(inputs: Inputs, folder: Path) -> bool:
    """Whether inputs are those of the simulation in a folder, but for its seed, its length and its outputs."""
    with tempfile.TemporaryDirectory() as scratch:
        inputs.write(Path(scratch))
        new = Path(scratch)
        structure = read_toml(new / CONFIG)["structure"]["file"]
        same = filecmp.cmp(new / structure, folder / structure, shallow=False)
        return same and _essence(new / INPUT) == _essence(folder / INPUT)


def _essence(path: Path) -> str:
    """An input without what may differ."""
    root = ElementTree.parse(path).getroot()
    for element in [element for element in root if element.tag in NOT_THE_SAME]:
        root.remove(element)
    return ElementTree.canonicalize(ElementTree.tostring(root, encoding="unicode"), strip_text=True)


def copy_simulation(where: Place, inputs: Inputs, new: Path) -> None:
    """Makes a simulation in an empty folder that goes on from a place, with new inputs."""
    inputs.write(new)
    states = {path.name for path in state_files(read_ipi_input(where.folder / INPUT))}
    for path in where.folder.iterdir():
        if path.is_file() and path.name not in FRESH | states and path.suffix not in (".log", ".lock"):
            shutil.copy(path, new / path.name)
    shutil.copy(where.state.path, new / "RESTART")
    set_total_steps(new / "RESTART", read_ipi_input(new / INPUT).total_steps)
    write_json(new / BEGUN, asdict(where.begun))
