"""What is on disk: the state of a run is which files exist.

FOLDER/start.json               what the run began with
FOLDER/start.extxyz             structures of the beginning that have labels
FOLDER/round-000/               structures without labels, and the first model; round-001, ... those chosen since
    selected.extxyz             what the reference is to compute
    reference/0000.extxyz       its results; 0000.failed.json: why there is none
    judged.json                 what the model before knew of them
    train.extxyz, model.npz, report/, fit.log
    threshold.json              the uncertainty at which simulations stop
    simulations/NAME/           they, and outcome.json

A file appears when it is complete, so a step is done if its file exists, and a run goes on at the first missing one.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import atomic_write
from ..structures import read_structures

if TYPE_CHECKING:
    from ase import Atoms

RESULTS, FAILURES = "[0-9]*.extxyz", "[0-9]*.failed.json"
"""Not the unfinished files of a writer that was killed, which begin with a point."""


@dataclass(frozen=True)
class Round:
    """The files of a round."""

    folder: Path
    number: int

    @property
    def selected(self) -> Path:
        return self.folder / "selected.extxyz"

    @property
    def references(self) -> Path:
        return self.folder / "reference"

    @property
    def judged(self) -> Path:
        return self.folder / "judged.json"

    @property
    def train(self) -> Path:
        return self.folder / "train.extxyz"

    @property
    def model(self) -> Path:
        return self.folder / "model.npz"

    @property
    def report(self) -> Path:
        return self.folder / "report"

    @property
    def threshold(self) -> Path:
        return self.folder / "threshold.json"

    @property
    def simulations(self) -> Path:
        return self.folder / "simulations"

    def result(self, index: int) -> Path:
        """Of the reference, for a selected structure."""
        return self.references / f"{index:04d}.extxyz"

    def failure(self, index: int) -> Path:
        """Why there is no result."""
        return self.references / f"{index:04d}.failed.json"

    def labelled(self) -> list["Atoms"]:
        """The selected structures with their labels; those that failed are left out."""
        return [structure for path in sorted(self.references.glob(RESULTS)) for structure in read(path)]

    def failures(self) -> list[Path]:
        return sorted(self.references.glob(FAILURES))


def round_of(folder: Path, number: int) -> Round:
    """A round, which may not exist."""
    return Round(folder / f"round-{number:03d}", number)


def rounds_in(folder: Path) -> Iterator[Round]:
    """Those that have begun."""
    number = 0
    while (one := round_of(folder, number)).selected.exists():
        yield one
        number += 1


def read(path: Path) -> list["Atoms"]:
    """The structures of a file of ours, which may be empty."""
    return list(read_structures(path)) if path.stat().st_size else []


def write(path: Path, structures: Sequence["Atoms"]) -> None:
    """Complete or not there; an empty file for no structures."""
    import ase.io

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        part.touch()
        if structures:
            ase.io.write(part, structures, format="extxyz")


def read_json(path: Path) -> Any:
    """Its content; None if there is no such file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def spent(rounds: Iterable[Round]) -> int:
    """How many calculations of the reference were tried."""
    return sum(len(list(one.references.glob(RESULTS))) + len(one.failures()) for one in rounds)
