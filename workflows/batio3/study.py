"""Runs one of the studies of this folder, or goes on with it, and analyses what there is:

    python study.py npt                     # into runs/npt
    python study.py npt --steps 100000      # the same, longer; also when 4000 steps are there already
    python study.py npt --analyse           # no simulation

A run is a folder with a copy of the inputs; runs of one study differ in what `STUDIES` changes in them (places as in
forceserver.campaign.edits). What was interrupted goes on with the same command.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from forceserver.campaign import Inputs, Simulation, run

HERE = Path(__file__).parent.absolute()
INPUTS = ("forceserver.toml", "input.xml", "plumed.dat")
MODEL = HERE / "potential" / "batio3.npz"
Changes = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Study:
    """runs: by name, what is changed in the inputs. structure: that of runs which have no other.

    at_once: how many run side by side. shared: a folder for all. folder: that of the inputs, if it is not the name of
    the study. config: the configuration there.
    """

    runs: dict[str, Changes]
    structure: str = "rhombohedral_2"
    at_once: int = 1
    shared: str | None = None
    folder: str | None = None
    config: str = "forceserver.toml"


def _structure(name: str, model: Path = MODEL) -> Changes:
    path = HERE / "structures" / f"{name}.extxyz"
    toml = {"structure.file": path, "potential.model": model}
    return {"forceserver.toml": toml, "input.xml": {"//initialize/file": path}}


def _walker(number: int) -> Changes:
    return {
        "forceserver.toml": {"bias.metadynamics.walkers.id": number},
        "plumed.dat": {"WALKERS_ID=0": f"WALKERS_ID={number}", "COLVAR.0": f"COLVAR.{number}"},
        "input.xml": {"/prng/seed": 2022 + number},
    }


def _beads(number: int, steps: int = 20000) -> Changes:
    return {"input.xml": {"//initialize@nbeads": number, "/ffsocket/batch_size": number, "/total_steps": steps}}


STUDIES = {
    "path_integral": Study({"1": _beads(1, 60000), "8": _beads(8, 30000), "16": {}, "32": _beads(32, 5000)}),
    "path_integral_opes": Study({"1": _beads(1, 480000), "16": {}}, folder="path_integral", config="opes.toml"),
    "npt": Study({"from_R": {}, "from_T": _structure("tetragonal_4")}, "rhombohedral_4", at_once=2),
    "finite_size": Study({"2": {}, "3": _structure("rhombohedral_3")}),
    "replica_exchange": Study({"2": {}}),
    "walkers": Study({str(k): _walker(k) for k in range(4)}, at_once=4, shared="hills"),
}


def simulation(name: str, number: str, runs: Path, model: Path = MODEL) -> Simulation:
    """A run of a study in the folder of its runs."""
    study = STUDIES[name]
    parts = (_structure(study.structure), study.runs[number], {"forceserver.toml": {"potential.model": model}})
    changes: Changes = {}
    for part in parts:
        for file, places in part.items():
            changes.setdefault(file, {}).update(places)
    folder = HERE / (study.folder or name)
    files = {file: folder / (study.config if file == "forceserver.toml" else file) for file in INPUTS}
    files = {file: path for file, path in files.items() if path.exists()}
    return Simulation(runs / number, Inputs(files, changes), runs / study.shared if study.shared else None)


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
        simulations = [simulation(name, number, folder, model.absolute()) for number in only or study.runs]
        for one in simulations:
            one.prepare(steps)
        if study.shared:
            (folder / study.shared).mkdir(exist_ok=True)
        if code := run(simulations, study.at_once, max(threads // study.at_once, 1)):
            typer.echo(f"a simulation in {folder} did not come to its end; the same command goes on", err=True)
            raise typer.Exit(code)
    typer.echo(importlib.import_module(f"{study.folder or name}.analysis").analyse(folder))


if __name__ == "__main__":
    typer.run(main)
