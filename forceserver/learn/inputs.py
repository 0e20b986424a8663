"""The simulations of a run, and their inputs: those that `init` writes or the user's, with the model of a round."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..campaign.edits import edit_xml, read_xml
from ..errors import InputError
from ..frame import Frame
from ..ipi.input import read_ipi_input
from ..new_simulation import CONFIG, INPUT, Start, write_start
from ..structures import read_structure
from .config import LearnConfig, SimulationsConfig
from .rounds import Round

UNCERTAIN, RECORD, CERTAIN = "uncertain.extxyz", "record.extxyz", "certain"


@dataclass(frozen=True)
class Planned:
    """One simulation: `source` with one of its temperatures (None for inputs of one's own)."""

    name: str
    source: SimulationsConfig
    temperature_K: float | None


def planned(config: LearnConfig) -> list[Planned]:
    """All simulations of a round; `InputError` if two have one name."""
    found = []
    for one in config.simulations:
        path = one.structure or one.config
        assert path is not None  # one of the two is given
        name = one.name or (path.stem if one.structure else path.absolute().parent.name)
        if one.structure:
            found += [Planned(f"{name}-{T:g}K", one, T) for T in one.temperatures_K]
        else:
            found.append(Planned(name, one, None))
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"simulations: two are called {name}: give one of them another name")
    return found


@dataclass(frozen=True)
class Inputs:
    """The inputs of a simulation with the model of a round.

    potential: its section. seed: of its velocities and random forces. every: steps between two states that are kept,
    so that the simulation can go on.
    """

    plan: Planned
    potential: Mapping[str, Any]
    seed: int
    every: int

    def write(self, folder: Path) -> None:
        """Writes them into a folder that has no such files."""
        if self.plan.temperature_K is None:
            self._copy(folder)
        else:
            self._write(folder, self.plan.source, self.plan.temperature_K)
        if "<seed" in (folder / INPUT).read_text():
            edit_xml(folder / INPUT, {"//prng/seed": self.seed})
        if self.plan.source.resume:
            _add_checkpoint(folder / INPUT, self.every)

    def _write(self, folder: Path, source: SimulationsConfig, kelvin: float) -> None:
        assert source.structure is not None
        start = Start(
            ensemble=source.ensemble,
            temperature_K=kelvin,
            pressure_GPa=source.pressure_GPa,
            beads=source.beads,
            timestep_fs=source.timestep_fs,
            steps=source.steps,
        )
        write_start(folder, read_structure(source.structure), toml(self.potential), start)

    def _copy(self, folder: Path) -> None:
        """The configuration and what it names, under the names that `campaign.Simulation` knows."""
        from ..configuration import read_configuration

        source = self.plan.source
        given = input_of(source)
        assert source.config is not None
        assert given is not None
        configuration = read_configuration(source.config)
        shutil.copy(source.config, folder / CONFIG)
        shutil.copy(given, folder / INPUT)
        for path in (configuration.structure.file, *source.files):
            shutil.copy(path, folder / Path(path).name)
        self._adapt(folder / CONFIG, Path(configuration.structure.file).name)

    def _adapt(self, path: Path, structure: str) -> None:
        import tomlkit

        document: Any = tomlkit.parse(path.read_text())
        document["structure"]["file"] = structure
        document["simulation"]["input"] = INPUT
        document["potential"] = dict(self.potential)
        path.write_text(tomlkit.dumps(document))


def _add_checkpoint(path: Path, every: int) -> None:
    """Has i-PI keep its state whenever the uncertainty is looked at, if the input says what is written at all."""
    tree = read_xml(path)
    output = tree.getroot().find("output")
    if output is not None:
        element = ElementTree.SubElement(output, "checkpoint", stride=str(every), filename=CERTAIN, overwrite="True")
        element.tail = "\n"
        tree.write(path)


def toml(potential: Mapping[str, Any]) -> str:
    """The keys of [potential], without its header."""
    import tomlkit

    return tomlkit.dumps({"potential": dict(potential)}).removeprefix("[potential]\n")


def potential_section(
    one: Round, config: LearnConfig, threshold: float, steps: int, *, known: bool = False
) -> dict[str, Any]:
    """[potential] of a simulation of so many steps; known: whether the reference has computed its first structure."""
    check = config.uncertainty.check_every
    return {
        "kind": "trusted",
        "force_threshold_ev_per_angstrom": threshold,
        "save_to": UNCERTAIN,
        "check_every": check,
        "first_check": check if known else 0,
        "record_to": RECORD,
        "record_every": check * max(steps // (config.selection.records * check), 1),
        "potential": {
            "kind": config.fit.model,
            "model": os.path.join("..", "..", one.model.name),
            "uncertainty": "forces",
        },
    }


def beginning(source: SimulationsConfig) -> Frame:
    """Where a simulation begins."""
    from ..configuration import read_configuration
    from ..template_structure import read_template

    if source.structure is not None:
        return Frame.from_ase(read_structure(source.structure))
    assert source.config is not None  # one of the two is given
    return read_template(read_configuration(source.config).structure)


def input_of(source: SimulationsConfig) -> Path | None:
    """The user's own input of i-PI; None if there is none."""
    if source.config is None:
        return None
    from ..configuration import read_configuration, require

    section = read_configuration(source.config).simulation
    return require(section, "simulation", source.config, "it names i-PI's input").input


def steps_of(source: SimulationsConfig) -> int:
    """How long a simulation is to be."""
    given = input_of(source)
    return source.steps if given is None else read_ipi_input(given).total_steps
