"""The simulations of a round: set up with its model, run side by side, and what became of each."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import campaign
from ..campaign.edits import edit_xml
from ..errors import InputError, PotentialError
from ..files import write_json
from ..ipi.input import read_ipi_input
from ..launch.supervision import ExitCode, last_line
from ..new_simulation import CONFIG, INPUT, Start, write_start
from ..processes import describe_end, usable_cores
from ..structures import read_structure
from . import rounds
from .config import LearnConfig, SimulationsConfig
from .rounds import Round

UNCERTAIN, RECORD = "uncertain.extxyz", "record.extxyz"
PRIME = 7919
"""Seeds of one simulation in two rounds differ by this."""


@dataclass(frozen=True)
class Outcome:
    """What became of a simulation.

    end: "complete"; "uncertain", stopped where the model was; "failed", with its last words in `said`.
    uncertainty: eV/Angstrom, of the structure that has stopped it.
    """

    name: str
    steps: int
    total: int
    end: str
    uncertainty: float | None = None
    said: str | None = None


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


class Inputs:
    """The inputs of a simulation with the model of a round; has `copy_to`, as `campaign.Inputs`."""

    def __init__(self, plan: Planned, potential: Mapping[str, Any], seed: int) -> None:
        self._plan, self._potential, self._seed = plan, potential, seed

    def copy_to(self, folder: Path) -> None:
        """Makes the inputs in a new folder, completely or not at all."""
        new = folder.with_name(folder.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        if self._plan.temperature_K is None:
            self._copy(new)
        else:
            self._write(new, self._plan.source, self._plan.temperature_K)
        if "<seed" in (new / INPUT).read_text():
            edit_xml(new / INPUT, {"//prng/seed": self._seed})
        new.rename(folder)

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
        write_start(folder, read_structure(source.structure), toml(self._potential), start)

    def _copy(self, folder: Path) -> None:
        """The configuration and what it names, under the names that `campaign.Simulation` knows."""
        from ..configuration import read_configuration, require

        source = self._plan.source
        assert source.config is not None
        configuration = read_configuration(source.config)
        why = "it names the input file of i-PI"
        given = require(configuration.simulation, "simulation", source.config, why).input
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
        document["potential"] = dict(self._potential)
        path.write_text(tomlkit.dumps(document))


def toml(potential: Mapping[str, Any]) -> str:
    """The keys of [potential], without its header."""
    import tomlkit

    return tomlkit.dumps({"potential": dict(potential)}).removeprefix("[potential]\n")


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


def potential_section(one: Round, config: LearnConfig, threshold: float, steps: int) -> dict[str, Any]:
    """[potential] of a simulation of so many steps."""
    check = config.uncertainty.check_every
    return {
        "kind": "trusted",
        "force_threshold_ev_per_angstrom": threshold,
        "save_to": UNCERTAIN,
        "check_every": check,
        "record_to": RECORD,
        "record_every": check * max(steps // (config.selection.records * check), 1),
        "potential": {
            "kind": config.fit.model,
            "model": os.path.join("..", "..", one.model.name),
            "uncertainty": "forces",
        },
    }


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
        if (folder / "outcome.json").exists():
            continue
        section = potential_section(one, config, threshold / factor, steps_of(plan.source))
        seed = config.seed + 1 + index + PRIME * one.number
        run = Run(folder, Inputs(plan, section, seed), config=CONFIG)
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
        write_json(run.folder / "outcome.json", asdict(_outcome(run, factor)))
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


def steps_of(source: SimulationsConfig) -> int:
    """How long a simulation is to be."""
    if source.config is None:
        return source.steps
    from ..configuration import read_configuration, require

    section = require(
        read_configuration(source.config).simulation, "simulation", source.config, "it names i-PI's input"
    )
    return read_ipi_input(section.input).total_steps


def _outcome(run: Run, factor: float) -> Outcome:
    if run.stopped:
        uncertainty = factor * float(rounds.read(run.folder / UNCERTAIN)[-1].info["committee_force_uncertainty"])
        return Outcome(run.name, run.reached, run.total, "uncertain", uncertainty)
    if run.code:
        return Outcome(run.name, run.reached, run.total, "failed", said=last_line(run.log))
    return Outcome(run.name, run.reached, run.total, "complete")


def outcomes(one: Round, plans: Sequence[Planned]) -> Iterator[Outcome]:
    """Those that are known."""
    for plan in plans:
        record = rounds.read_json(one.simulations / plan.name / "outcome.json")
        if record is not None:
            yield Outcome(**record)
