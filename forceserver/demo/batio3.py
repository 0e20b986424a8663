"""The demonstration with BaTiO3: one folder, two simulations side by side, one picture.

FOLDER/demo.json        says what the folder is; also its lock
FOLDER/demo/cold, hot   the simulations, FOLDER/potential what they share
FOLDER/result.json      exists once all is done
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..campaign import Inputs, Simulation, run
from ..errors import InputError
from ..files import atomic_write, write_json
from ..ipi.program import ipi_script
from ..ipi.rehearsal import rehearse
from ..locks import try_lock
from . import result

RECORD = "demo.json"
SIDES = ("cold", "hot")
NEEDED_BYTES = 200_000_000


@dataclass(frozen=True)
class Demo:
    """A demonstration in a folder; `make` makes it, `open_demo` opens it.

    engine: of the bias. picoseconds: length of each simulation; None: as in their inputs.
    """

    folder: Path
    engine: str
    picoseconds: float | None
    temperatures_K: dict[str, float]

    @property
    def complete(self) -> bool:
        return (self.folder / "result.json").exists()

    def simulations(self) -> list[Simulation]:
        """Prepares both simulations."""
        sides = [Simulation(self.folder.absolute() / "demo" / side, self._inputs(side)) for side in SIDES]
        for side in sides:
            side.prepare()
        return sides

    def simulate(self) -> int:
        """Runs or resumes both; 0 when they are complete, see `campaign.run`."""
        labels = {side: f"{kelvin:g} K" for side, kelvin in self.temperatures_K.items()}
        return run(self.simulations(), at_once=len(SIDES), threads=1, labels=labels, estimate=self._estimate)

    def evaluate(self) -> None:
        """Text, picture and numbers; the file of numbers, which marks the demonstration as done, comes last."""
        phases = [
            result.evaluate_phase(side, kelvin, result.read_vectors(self.folder / "demo" / side / "COLVAR", kelvin))
            for side, kelvin in self.temperatures_K.items()
        ]
        result.draw_phases(phases, self.folder / "batio3.png")
        with atomic_write(self.folder / "result.txt") as part:
            part.write_text(result.text(phases))
        write_json(self.folder / "result.json", result.numbers(phases))

    def _inputs(self, side: str) -> Inputs:
        source = workflow() / "demo" / side
        changes: dict[str, dict[str, Any]] = {"forceserver.toml": {"bias.order": [self.engine]}}
        if self.picoseconds is not None:
            steps = max(round(1000 * self.picoseconds / _time_step_fs(source / "input.xml")), 1)
            changes["input.xml"] = {"/total_steps": steps}
        return Inputs({path.name: path for path in sorted(source.iterdir()) if path.is_file()}, changes)

    def _estimate(self, simulation: Simulation) -> str:
        """The free energy of the centre so far, as text."""
        colvar = simulation.folder / "COLVAR"
        if not colvar.exists():
            return ""
        try:
            kelvin = self.temperatures_K[simulation.name]
            centre = result.centre_so_far(result.read_vectors(colvar, kelvin, growing=True))
        except InputError:  # hardly any data yet
            return ""
        return "F(0) not visited yet" if centre is None else f"F(0) - F(min) = {centre:.0f} meV"


@contextmanager
def open_demo(folder: Path) -> Iterator[Demo]:
    """The demonstration in a folder, which is locked; `InputError` if another one is using it."""
    with locked(folder) as record:
        yield Demo(folder, record["engine"], record["picoseconds"], record["temperatures_K"])


@contextmanager
def locked(folder: Path) -> Iterator[dict[str, Any]]:
    """The content of the record; only one demonstration at a time uses a folder."""
    with open(folder / RECORD) as file:
        if not try_lock(file.fileno()):
            raise InputError(f"another demo is running in {folder}; wait for it, or choose another --folder")
        try:
            yield json.load(file)
        except json.JSONDecodeError as error:
            raise InputError(f"{folder / RECORD} is damaged; --force starts afresh") from error


def remove(folder: Path) -> None:
    """Removes what a demonstration made, and nothing else."""
    if not folder.exists():
        return
    if not (folder / RECORD).is_file():
        raise InputError(f"{folder} was not made by a demo and is left alone; choose another --folder")
    with locked(folder):
        shutil.rmtree(folder)


def check_machine(folder: Path) -> None:
    """`InputError` with the remedy if something is missing, before anything is written."""
    ipi_script()
    workflow()
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK):
        raise InputError(f"cannot write to {existing}; choose another --folder")
    if (free := shutil.disk_usage(existing).free) < NEEDED_BYTES:
        raise InputError(
            f"{existing} has {free / 1e6:.0f} MB left, the demo needs {NEEDED_BYTES / 1e6:.0f} MB; "
            "make room, or choose another --folder"
        )


def workflow() -> Path:
    """The folder of the study: beside the package in the repository, inside it when installed."""
    package = Path(__file__).parents[1]
    for place in (package / "workflows" / "batio3", package.parent / "workflows" / "batio3"):
        if (place / "demo").is_dir():
            if not (potential := place / "potential" / "batio3.npz").is_file():
                raise InputError(
                    f"the potential {potential} is missing; install forceserver again, or fit it: forceserver fit "
                    f"{potential.with_name('fit.toml')}"
                )
            return place
    raise InputError("the files of the demo 'batio3' are not installed; install forceserver again")


def make(folder: Path, engine: str, picoseconds: float | None) -> None:
    """Copies what the simulations share; the record comes last. `InputError` if the folder holds something else."""
    if folder.exists():
        others = [path.name for path in folder.iterdir() if path.name not in ("demo", "potential")]
        if not all(name.startswith(f".{Path(RECORD).stem}.") for name in others):  # an unfinished record
            raise InputError(f"{folder} holds other files; choose another --folder")
        shutil.rmtree(folder)
    source = workflow()
    (folder / "potential").mkdir(parents=True)
    shutil.copy(source / "potential" / "batio3.npz", folder / "potential")
    temperatures = {side: _temperature(source / "demo" / side / "input.xml") for side in SIDES}
    record = {"demo": "batio3", "engine": engine, "picoseconds": picoseconds, "temperatures_K": temperatures}
    write_json(folder / RECORD, record)


def _temperature(xml: Path) -> float:
    return round(_system(xml).temperature_K, 2)  # i-PI's kelvin differs from ours in the seventh digit


def _time_step_fs(xml: Path) -> float:
    return _system(xml).timestep_fs


def _system(xml: Path) -> Any:
    (system,) = rehearse(xml).systems
    return system
