"""Runs one of the studies of this folder, or goes on with it, and analyses what there is:

    python study.py npt                     # into runs/npt
    python study.py npt --steps 100000      # the same, longer; also when 4000 steps are there already
    python study.py npt --analyse           # no simulation

A run is a folder with a copy of the inputs; runs of one study differ in what `STUDIES` replaces: elements of input.xml
by their path (`path@attribute` for an attribute), and words in any file. What was interrupted goes on with the same
command.
"""

import importlib
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree

import typer

from forceserver.errors import InputError
from forceserver.ipi.input import read_ipi_input
from forceserver.ipi.restart import newest_state
from forceserver.locks import locked_folder

HERE = Path(__file__).parent.absolute()
INPUTS = ("forceserver.toml", "input.xml", "plumed.dat")
MODEL = HERE / "potential" / "batio3.npz"


@dataclass(frozen=True)
class Study:
    """runs: by name, what is replaced in the inputs, elements (/...) or words. at_once: how many run side by side.

    shared: a folder for all.
    """

    runs: dict[str, dict[str, str]]
    at_once: int = 1
    shared: str | None = None


def _walker(number: int) -> dict[str, str]:
    return {
        "id = 0": f"id = {number}",
        "WALKERS_ID=0": f"WALKERS_ID={number}",
        "COLVAR.0": f"COLVAR.{number}",
        "/prng/seed": str(2022 + number),
    }


def _beads(number: int, steps: int = 20000) -> dict[str, str]:
    return {
        "/system/initialize@nbeads": str(number),
        "/ffsocket/batch_size": str(number),
        "/total_steps": str(steps),
    }


STUDIES = {
    "path_integral": Study({"1": _beads(1, 60000), "8": _beads(8, 30000), "16": {}, "32": _beads(32, 5000)}),
    "npt": Study({"from_R": {}, "from_T": {"rhombohedral_4": "tetragonal_4"}}, at_once=2),
    "finite_size": Study({"2": {}, "3": {"rhombohedral_2": "rhombohedral_3"}}),
    "replica_exchange": Study({"2": {}}),
    "walkers": Study({str(k): _walker(k) for k in range(4)}, at_once=4, shared="hills"),
}


@dataclass
class Run:
    """One simulation: its folder, and the study that its inputs come from.

    shared: a folder for files of all runs of the study, which end with the name of the run.
    """

    folder: Path
    inputs: Path
    changes: dict[str, str] = field(default_factory=dict)
    shared: Path | None = None

    def prepare(self, steps: int | None, model: Path) -> None:
        """Copies the inputs, unless they are there; sets the number of steps, in states to go on from, too."""
        if (self.folder / "ipi.log").exists() and self.step == 0:
            self.clear()
        if not self.folder.exists():
            new = self.folder.with_name(self.folder.name + ".new")
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            texts = {name: (self.inputs / name).read_text() for name in INPUTS if (self.inputs / name).exists()}
            words = {old: text for old, text in self.changes.items() if not old.startswith("/")}
            for old in words:
                if not any(old in text for text in texts.values()):
                    raise SystemExit(f"{self.inputs}: no input contains {old!r}")
            for name, text in texts.items():
                for old, word in words.items():
                    text = text.replace(old, word)
                text = text.replace("../potential/batio3.npz", str(model))
                text = text.replace("../structures/", f"{HERE}/structures/")
                (new / name).write_text(text)
            elements = {old: text for old, text in self.changes.items() if old.startswith("/")}
            edit_xml(new / "input.xml", elements)
            new.rename(self.folder)
        if steps:
            for path in (self.folder / "input.xml", self.folder / "RESTART", *self.folder.glob("out.checkpoint*")):
                if path.exists():
                    set_total_steps(path, steps)

    @property
    def step(self) -> int:
        """Of the state to go on from; 0 if there is none."""
        try:
            return newest_state(read_ipi_input(self.folder / "input.xml")).step
        except InputError:
            return 0

    def clear(self) -> None:
        """Removes what an end before the first state has left: a bias would count its steps and hills twice."""
        with locked_folder(self.folder):
            for path in self.shared.glob(f"*.{self.folder.name}") if self.shared else ():
                path.unlink()
            shutil.rmtree(self.folder)

    def command(self, threads: int) -> list[str]:
        """What brings it to its end from wherever it is; nothing if it is there."""
        simulation = read_ipi_input(self.folder / "input.xml")
        if self.step >= simulation.total_steps:
            return []
        command = [sys.executable, "-m", "forceserver", "launch", str(self.folder / "forceserver.toml")]
        return [*command, "--threads", str(threads), *(["--restart"] if self.step else [])]


def edit_xml(path: Path, texts: dict[str, str]) -> None:
    """Gives elements (`/path`) or attributes (`/path@name`) of an input these texts; `SystemExit` if one is missing."""
    tree = _xml(path)
    for place, text in texts.items():
        where, _, attribute = place.partition("@")
        element = tree.find("." + where)
        if element is None or (attribute and attribute not in element.attrib):
            raise SystemExit(f"{path}: there is no {place}")
        if attribute:
            element.set(attribute, text)
        else:
            element.text = text
    tree.write(path)


def set_total_steps(path: Path, steps: int) -> None:
    """Sets <total_steps> of an input or a state, which leaves it out if it is i-PI's default."""
    tree = _xml(path)
    root = tree.getroot()
    element = root.find("total_steps")
    if element is None:
        element = ElementTree.Element("total_steps")
        element.tail = "\n"
        root.insert(0, element)
    element.text = str(steps)
    tree.write(path)


def _xml(path: Path) -> ElementTree.ElementTree:
    return ElementTree.parse(path, ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True)))


def main(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(STUDIES)}.", show_default=False)],
    steps: Annotated[int | None, typer.Option(min=1, help="Of each run. [default: what input.xml says]")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of the driver of each run.")] = 2,
    runs: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the simulations are.")] = HERE / "runs",
    model: Annotated[Path, typer.Option(help="Another potential.")] = MODEL,
    only: Annotated[list[str] | None, typer.Option(metavar="RUN", help="Simulate this run of the study alone.")] = None,
    analyse: Annotated[bool, typer.Option("--analyse", help="Do not simulate.")] = False,
) -> None:
    """Runs a study, or goes on with it, and analyses it: data and picture are in FOLDER/NAME."""
    if name not in STUDIES:
        raise typer.BadParameter(f"there is no {name}; there are {', '.join(STUDIES)}")
    study = STUDIES[name]
    unknown = set(only or ()) - set(study.runs)
    if unknown:
        raise typer.BadParameter(f"{name} has no run {', '.join(unknown)}; it has {', '.join(study.runs)}")
    folder = runs.absolute() / name
    if not analyse:
        chosen = {run: changes for run, changes in study.runs.items() if not only or run in only}
        shared = folder / study.shared if study.shared else None
        simulations = [Run(folder / run, HERE / name, changes, shared) for run, changes in chosen.items()]
        for run in simulations:
            run.prepare(steps, model.absolute())
        if shared:
            shared.mkdir(exist_ok=True)
        commands = [run.command(max(threads // study.at_once, 1)) for run in simulations]
        with ThreadPoolExecutor(study.at_once) as pool:
            if any(pool.map(lambda command: subprocess.run(command).returncode, filter(None, commands))):
                raise SystemExit(f"a simulation in {folder} failed; the same command tries to go on")
    typer.echo(importlib.import_module(f"{name}.analysis").analyse(folder))


if __name__ == "__main__":
    typer.run(main)
