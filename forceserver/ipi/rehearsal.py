"""What i-PI itself makes of an input: its simulation is constructed, not run.

Its force fields are replaced by one without forces and its outputs by unnamed files: no socket is opened, no potential
built and nothing left behind. The outputs of the first step are written once, since i-PI checks many names and units
only then.
"""

import contextlib
import copy
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..elements import find_element
from ..errors import InputError
from .input import FEMTOSECOND, all_in, parse_input, quietly_in

KELVIN = 3.1668115634556e-6  # Hartree
GIGAPASCAL = 1 / 29421.0265  # Hartree / bohr^3
DALTON = 1822.888486  # electron masses

ISOTOPES = (0.4, 3.5)
"""Masses relative to that of the element that are isotopes (tritium: 3), or hydrogen made heavier on purpose."""


@dataclass(frozen=True)
class SystemAsUnderstood:
    """One <system> as i-PI understood it; None for what it does not have."""

    motion: str
    """Class of i-PI's <motion> and, for dynamics, the ensemble."""
    timestep_fs: float | None
    temperature_K: float | None
    kinetic_K: float | None
    """Temperature of the initial velocities, K; None without velocities."""
    pressure_GPa: float | None
    """Only if the volume changes."""
    thermostat_fs: float | None
    """Its time constant, if it has one."""
    barostat_fs: float | None
    beads: int
    degrees_of_freedom: int
    """Of all beads."""
    fixed: frozenset[int]
    """Degrees of freedom that do not move: 3 i, 3 i + 1, 3 i + 2 of atom i."""
    repeated: tuple[str, ...]
    """Force fields that act more than once, in the same way."""
    idle: tuple[str, ...]
    """Force fields whose <force> has no weight."""
    extras: tuple[tuple[str, str], ...]
    """(trajectory, key): the extras that <trajectory> outputs request."""
    interpolated: tuple[tuple[str, str], ...]
    """(force field, key): the extras that i-PI expects to be numbers."""


@dataclass(frozen=True)
class Rehearsal:
    """What was found."""

    systems: tuple[SystemAsUnderstood, ...]
    problems: tuple[str, ...]
    """What i-PI would stumble over later: fixed atoms, and outputs in its own words."""
    doubts: tuple[str, ...]
    """What is meant in some simulations, and forgotten in others."""


def rehearse(path: Path) -> Rehearsal:
    """Constructs the simulation of an input; `InputError` in i-PI's own words if i-PI would not start."""
    path = Path(path).absolute()
    with quietly_in(path.parent) as said, _without_files():
        try:
            simulation = _put_together(path)
        except (Exception, SystemExit) as error:  # i-PI raises anything, and sometimes just exits
            raise InputError(f"{path}: i-PI would not start: {_words(error, said.getvalue())}") from error
        problems = (
            *_fixed_atoms(simulation),
            *_idle_parts(simulation),
            *_without_time(simulation),
            *_try_outputs(simulation),
        )
        doubts = (
            *_constant_enthalpy(simulation),
            *_without_effect(simulation),
            *_masses(simulation),
            *_twice(simulation),
            *_scaled(simulation),
            *_immobile(simulation),
        )
        systems = tuple(_understood(system, simulation) for system in simulation.syslist)
        return Rehearsal(systems, (*problems, *_try_thermostats(simulation)), doubts)


def _words(error: BaseException, said: str) -> str:
    if isinstance(error, SystemExit) or not str(error):
        return f"{type(error).__name__}: {said.strip().rpartition(chr(10))[2]}"
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _without_files() -> Iterator[None]:
    """Outputs of i-PI go to unnamed files, and are gone afterwards."""
    from ipi.engine import outputs
    from ipi.utils.softexit import softexit

    opened, before, functions = [], outputs.open_backup, list(softexit.flist)

    def open_nameless(filename: str, mode: str = "w", buffering: int = -1) -> Any:
        opened.append(tempfile.TemporaryFile("w+b" if "b" in mode else "w+"))  # noqa: SIM115 - closed below
        return opened[-1]

    outputs.open_backup = open_nameless
    try:
        yield
    finally:
        outputs.open_backup = before
        softexit.flist[:] = functions
        for file in opened:
            file.close()


def _put_together(path: Path) -> Any:
    """i-PI's `Simulation`, bound, with force fields that give zero."""
    from ipi.engine.forcefields import ForceField
    from ipi.engine.simulation import Simulation
    from ipi.utils.messages import verbosity

    class WithHills(ForceField):
        """What <metad> expects of a bias."""

        def mtd_update(self, pos: Any, cell: Any) -> float:
            return 0.0

    given = parse_input(path)
    verbosity.level = "quiet"
    systems, fields = [], []
    for tag, part in given.extra:
        if tag == "system":
            systems.append(part.fetch())
        elif tag == "system_template":
            systems.extend(part.fetch())
        else:
            if _is_made_of_numbers(tag, part):
                part.fetch()  # checks its parameters; opens nothing
            fields.append((WithHills if tag == "ffplumed" else ForceField)(name=part.name.fetch()))
    simulation = Simulation(
        mode=given.mode.fetch(),
        syslist=systems,
        fflist=fields,
        outputs=given.output.fetch(),
        prng=given.prng.fetch(),
        smotion=given.smotion.fetch(),
        step=given.step.fetch(),
        tsteps=max(given.total_steps.fetch(), given.step.fetch() + 1),
    )
    simulation.bind(read_only=True)
    if simulation.smotion is not None:
        simulation.smotion.bind(simulation.syslist, simulation.prng, simulation.output_maker)
    return simulation


def _is_made_of_numbers(tag: str, part: Any) -> bool:
    """Whether a force field can be constructed without reading a model, loading a library or opening a connection."""
    if tag == "ffcommittee":
        return all(_is_made_of_numbers(*inner) for inner in part.extra)
    return tag in ("ffsocket", "fflj", "ffdebye", "ffdmd")


def _fixed_atoms(simulation: Any) -> Iterator[str]:
    for system in simulation.syslist:
        fixed, atoms = system.motion.fixatoms_dof, system.beads.natoms
        if len(fixed) and not 0 <= min(fixed) <= max(fixed) < 3 * atoms:
            wrong = max(fixed) if max(fixed) >= 3 * atoms else min(fixed)
            yield f"<motion> fixes atom {wrong // 3}; there are atoms 0 to {atoms - 1}"


def _without_thermostat(simulation: Any) -> Iterator[str]:
    """The mode of every <dynamics> that has no <thermostat>."""
    from ipi.engine.thermostats import Thermostat

    for system in simulation.syslist:
        if type(getattr(system.motion, "thermostat", None)) is Thermostat:
            yield getattr(system.motion, "enstype", None) or ""


def _constant_enthalpy(simulation: Any) -> Iterator[str]:
    for mode in _without_thermostat(simulation):
        if mode in ("npt", "nst"):
            yield f"<dynamics mode='{mode}'> has no <thermostat>: the enthalpy is constant, not the temperature"


def _without_time(simulation: Any) -> Iterator[str]:
    """Time steps with which nothing moves, or everything backwards."""
    for system in simulation.syslist:
        if getattr(system.motion, "enstype", None) and not float(system.motion.dt) > 0:
            yield f"<dynamics> has a <timestep> of {float(system.motion.dt) / FEMTOSECOND:g} fs: it must be positive"


def _try_thermostats(simulation: Any) -> Iterator[str]:
    """What i-PI would die of in its first step: it checks the matrices of a GLE no earlier."""
    for system in simulation.syslist:
        for motion in all_in(system.motion):
            try:
                if thermostat := getattr(motion, "thermostat", None):
                    with np.errstate(all="ignore"):
                        thermostat.step()
            except Exception as error:  # i-PI raises anything
                yield f"<{type(thermostat).__name__}> cannot do a step: {type(error).__name__}: {error}"


def _without_effect(simulation: Any) -> Iterator[str]:
    """Parts of <dynamics> that its ensemble does not use."""
    idle = {"nve": ("thermostat", "barostat"), "nvt": ("barostat",), "nvt-cc": ("barostat",)}
    for system in simulation.syslist:
        mode = getattr(system.motion, "enstype", None) or ""
        for part in idle.get(mode, ()):
            if type(getattr(system.motion, part)).__name__.lower() != part:  # i-PI's base classes do nothing
                yield f"<dynamics mode='{mode}'> has a <{part}>, which has no effect there"
        if mode in idle and np.isfinite(system.ensemble.pext):
            yield f"<ensemble> has a <pressure>, which has no effect: <dynamics mode='{mode}'> keeps the volume"


def _masses(simulation: Any) -> Iterator[str]:
    """The first atom of each system whose mass is none of its element."""
    from ase.data import atomic_masses

    for system in simulation.syslist:
        for atom, (label, mass) in enumerate(zip(system.beads.names, system.beads.m / DALTON, strict=True)):
            number = find_element(str(label))
            if number and not ISOTOPES[0] < mass / atomic_masses[number] < ISOTOPES[1]:
                usual = f"{atomic_masses[number]:.4g}"
                yield f"atom {atom} ({label}) has a mass of {mass:.3g} u, usual is {usual}: is units='dalton' missing?"
                break


def _twice(simulation: Any) -> Iterator[str]:
    """Force fields of the potential that are in the bias, too."""
    for system in simulation.syslist:
        weights = [*system.ensemble.bweights, *[1.0] * len(system.ensemble.bcomp)]
        biases = {part.ffield for part, weight in zip(system.ensemble.bcomp, weights, strict=False) if weight}
        for name in sorted(biases & {part.ffield for part in system.fcomp if part.weight}):
            yield f"the force field '{name}' is in <forces> and in <bias>: its forces act twice"


def _scaled(simulation: Any) -> Iterator[str]:
    """The weight of a force that acts alone."""
    for system in simulation.syslist:
        acting = [part for part in system.fcomp if part.weight]
        if len(acting) == 1 and acting[0].weight != 1:
            weight = f"{float(acting[0].weight):g}"
            yield f"the only <force> has a weight of {weight}: energies and forces are multiplied by it"


def _immobile(simulation: Any) -> Iterator[str]:
    for system in simulation.syslist:
        if len(set(map(int, system.motion.fixatoms_dof))) == 3 * system.beads.natoms:
            yield "<motion> fixes every atom: nothing will move"


def _idle_parts(simulation: Any) -> Iterator[str]:
    """What i-PI accepts and silently ignores."""
    for mode in _without_thermostat(simulation):
        if mode.startswith("nvt"):
            yield f"<dynamics mode='{mode}'> has no <thermostat>: the temperature is free"
    biased = {part.ffield for system in simulation.syslist for part in system.ensemble.bcomp}
    for move in all_in(simulation.smotion):
        for name in getattr(move, "metaff", ()):
            if name not in biased:
                yield f"<metaff> names '{name}', which is in no <bias>: it will get no hills"


def _try_outputs(simulation: Any) -> Iterator[str]:
    from ipi.engine.outputs import CheckpointOutput, TrajectoryOutput

    names = [output.filename for output in simulation.outtemplate]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"two outputs have the filename '{name}'"
    simulation.step = -1
    for output in simulation.outtemplate:
        if isinstance(output, CheckpointOutput):
            continue
        is_trajectory = isinstance(output, TrajectoryOutput)
        for system in simulation.syslist:
            trial = copy.deepcopy(output)
            try:
                trial.bind(system, "w")
                trial.print_header()
                if not (is_trajectory and _is_extras(output)):
                    trial.write()
            except (Exception, SystemExit) as error:
                kind = "trajectory" if is_trajectory else "properties"
                yield f"<{kind} filename='{output.filename}'>: {_words(error, '')}"
                break


def _is_extras(output: Any) -> bool:
    return output.what.strip().startswith("extras")


def _understood(system: Any, simulation: Any) -> SystemAsUnderstood:
    from ipi.engine.outputs import TrajectoryOutput

    motion, ensemble, beads = system.motion, system.ensemble, system.beads
    dt = getattr(motion, "dt", None)
    kinetic = float((beads.p**2 / beads.m3).sum()) / (3 * beads.natoms * beads.nbeads**2) / KELVIN
    pressure = float(ensemble.pext)
    kind = getattr(motion, "enstype", None) or ""
    wanted = [
        (output.what.strip(), key.strip())
        for output in simulation.outtemplate
        if isinstance(output, TrajectoryOutput) and _is_extras(output)
        for key in output.extra_type.split(",")
    ]
    parts = (*system.fcomp, *ensemble.bcomp)
    interpolated = [(part.ffield, key) for part in parts for key in part.interpolate_extras]
    return SystemAsUnderstood(
        motion=" ".join(filter(None, (type(motion).__name__, kind))),
        timestep_fs=float(dt) / FEMTOSECOND if dt is not None and float(dt) > 0 else None,
        temperature_K=float(ensemble.temp) / KELVIN if ensemble.temp > 0 else None,
        kinetic_K=kinetic or None,
        pressure_GPa=pressure / GIGAPASCAL if kind.startswith("np") and pressure == pressure else None,
        thermostat_fs=_time_constant(motion, "thermostat"),
        barostat_fs=_time_constant(motion, "barostat"),
        beads=beads.nbeads,
        degrees_of_freedom=3 * beads.natoms * beads.nbeads,
        fixed=frozenset(int(number) for number in motion.fixatoms_dof),
        repeated=_repeated(system.fcomp),
        idle=tuple(part.ffield for part in system.fcomp if part.weight == 0),
        extras=tuple(wanted),
        interpolated=tuple(interpolated),
    )


def _time_constant(motion: Any, part: str) -> float | None:
    """Of a thermostat or barostat; those of i-PI's base classes do nothing."""
    acting = getattr(motion, part, None)
    tau = getattr(acting, "tau", None) if type(acting).__name__.lower() != part else None
    return float(tau) / FEMTOSECOND if tau is not None and np.ndim(tau) == 0 and float(tau) > 0 else None


def _repeated(parts: Any) -> tuple[str, ...]:
    """Force fields of which two <force> agree in everything but the weight; with several time steps, none."""
    kinds = [(part.ffield, part.nbeads) for part in parts if part.weight != 0 and len(part.mts_weights) <= 1]
    return tuple(sorted({field for field, beads in kinds if kinds.count((field, beads)) > 1}))
