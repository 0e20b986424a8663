"""What i-PI itself makes of an input: its simulation is constructed, not run.

Its force fields are replaced by one without forces and its outputs by unnamed files: no socket is opened, no potential
built and nothing left behind. The outputs of the first step are written once, since i-PI checks many names and units
only then.
"""

import contextlib
import copy
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .doubts import KELVIN, MOVES_THE_CELL, doubts, dynamics
from .input import FEMTOSECOND, all_in, parse_input, quietly_in, words_of
from .problems import problems

GIGAPASCAL = 1 / 29421.0265  # Hartree / bohr^3

NO_ATOM = "Couldn't find an atom which matched"
"""In i-PI's warnings of properties of certain atoms."""


@dataclass(frozen=True)
class SystemAsUnderstood:
    """One <system> as i-PI understood it; None for what it does not have."""

    motion: str
    """Class of i-PI's <motion> and, for dynamics, the ensemble."""
    timestep_fs: float | None
    temperature_K: float | None
    kinetic_K: float | None
    """Temperature of the initial velocities, K; None without velocities."""
    moves_the_cell: bool
    kept_lengths: frozenset[int]
    """Directions (0 to 2) along which the barostat does not scale (<hfix>)."""
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
    charges_of_driver: bool
    """Whether the potential must send Born effective charges, the extra BEC."""
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


def rehearse(path: Path, folder: Path | None = None) -> Rehearsal:
    """Constructs the simulation of an input; `InputError` in i-PI's own words if i-PI would not start.

    folder: where i-PI runs, if not where the file is.
    """
    path = Path(path).absolute()
    with quietly_in(folder or path.parent) as said, _without_files():
        try:
            simulation = _put_together(path)
        except (Exception, SystemExit) as error:  # i-PI raises anything, and sometimes just exits
            raise InputError(f"{path}: i-PI would not start: {words_of(error, said.getvalue())}") from error
        refused, unmatched = _try_outputs(simulation)
        found = (*problems(simulation), *refused)
        doubtful = (*doubts(simulation), *unmatched)
        systems = tuple(_understood(system, simulation) for system in simulation.syslist)
        return Rehearsal(systems, (*found, *_try_steps(simulation)), doubtful)


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

    class Idle(ForceField):
        """What dynamics in an electric field gets from its driver is zero, like the forces."""

        def poll(self) -> None:
            super().poll()
            if any(map(_is_driven, systems)):
                for request in self.requests:
                    dipole = {"BEC": np.zeros((len(request["pos"]), 3)), "dipole": np.zeros(3)}
                    request["result"][3].update(dipole)

    class WithHills(Idle):
        """What <metad> expects of a bias."""

        def mtd_update(self, pos: Any, cell: Any) -> float:
            return 0.0

    given = parse_input(path)
    verbosity.level = "quiet"
    systems: list[Any] = []
    fields = []
    for tag, part in given.extra:
        if tag == "system":
            systems.append(part.fetch())
        elif tag == "system_template":
            systems.extend(part.fetch())
        else:
            if _is_made_of_numbers(tag, part):
                part.fetch()  # checks its parameters; opens nothing
            if tag == "ffdirect":
                _find_pes(part)
            fields.append((WithHills if tag == "ffplumed" else Idle)(name=part.name.fetch()))
    simulation = Simulation(
        mode=given.mode.fetch(),
        syslist=systems,
        fflist=fields,
        outputs=given.output.fetch(),
        prng=given.prng.fetch(),
        smotion=given.smotion.fetch(),
        step=given.step.fetch(),
        tsteps=max(given.total_steps.fetch(), given.step.fetch() + 1),
        safe_stride=given.safe_stride.fetch(),
    )
    simulation.bind(read_only=True)
    if simulation.smotion is not None:
        simulation.smotion.bind(simulation.syslist, simulation.prng, simulation.output_maker)
    return simulation


def _is_driven(system: Any) -> bool:
    return any(hasattr(motion, "Born_Charges") for motion in all_in(system.motion))


def _is_made_of_numbers(tag: str, part: Any) -> bool:
    """Whether a force field can be constructed without reading a model, loading a library or opening a connection."""
    if tag == "ffcommittee":
        return all(_is_made_of_numbers(*inner) for inner in part.extra)
    return tag in ("ffsocket", "fflj", "ffdebye", "ffdmd")


def _find_pes(part: Any) -> None:
    """`ValueError` if there is no such <pes>; it may be a model that takes long to read, so it is not made."""
    path = part.pes_path.fetch().strip()
    if part.pes.fetch().strip() == "custom" and not Path(path).is_file():
        raise ValueError(f"<ffdirect name='{part.name.fetch()}'>: there is no file {path!r} (<pes_path>)")


def _try_steps(simulation: Any) -> Iterator[str]:
    """What i-PI would die of, or lose itself in, in its first step: it checks many numbers no earlier.

    The last of all examinations, since atoms move.
    """
    for system, motion, mode in dynamics(simulation):
        stepping = motion.thermostat
        try:
            with np.errstate(all="ignore"), _words_at("low") as said:
                stepping.step()
                stepping = motion
                stepping.step()
        except (Exception, SystemExit) as error:  # i-PI raises anything, and sometimes just exits
            yield f"<{type(stepping).__name__}> cannot do a step: {words_of(error, said.getvalue())}"
        else:
            if not (np.isfinite(system.beads.q).all() and np.isfinite(system.beads.p).all()):
                text = "positions or momenta are not finite after the first step"
                hint = "is a number of the thermostat or barostat negative, or without a unit?"
                yield f"<dynamics mode='{mode}'>: {text}: {hint}"


def _try_outputs(simulation: Any) -> tuple[list[str], list[str]]:
    """What i-PI refuses of the outputs, and what it gives as zero with a warning that it hardly ever shows."""
    from ipi.engine.outputs import CheckpointOutput, TrajectoryOutput

    outputs = [output for output in simulation.outtemplate if not isinstance(output, CheckpointOutput)]
    names = [output.filename for output in simulation.outtemplate]
    refused = [f"two outputs have the filename '{name}'" for name in sorted(set(names)) if names.count(name) > 1]
    doubtful = []
    simulation.step = -1
    for output in outputs:
        who = f"<{'trajectory' if isinstance(output, TrajectoryOutput) else 'properties'} filename='{output.filename}'>"
        for system in simulation.syslist:
            with _words_at("medium") as said:
                try:
                    _try_output(output, system)
                except (Exception, SystemExit) as error:
                    refused.append(f"{who}: {words_of(error, '')}")
                    break
            if NO_ATOM in said.getvalue():
                doubtful.append(f"{who}: no atom has the label or number of a property, which i-PI gives as zero")
                break
    return refused, doubtful


def _try_output(output: Any, system: Any) -> None:
    trial = copy.deepcopy(output)
    trial.bind(system, "w")
    trial.print_header()
    if not _is_extras(output):
        trial.write()


@contextlib.contextmanager
def _words_at(level: str) -> Iterator[io.StringIO]:
    """What i-PI says at a verbosity at which it is not quiet, as it is in a rehearsal."""
    from ipi.utils.messages import verbosity

    said = io.StringIO()
    verbosity.level = level
    try:
        with contextlib.redirect_stdout(said):
            yield said
    finally:
        verbosity.level = "quiet"


def _is_extras(output: Any) -> bool:
    return getattr(output, "what", "").strip().startswith("extras")


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
        moves_the_cell=kind.startswith(MOVES_THE_CELL),
        kept_lengths=frozenset(k for k, name in enumerate(("xx", "yy", "zz")) if name in _hfix(motion)),
        pressure_GPa=pressure / GIGAPASCAL if kind.startswith("np") and pressure == pressure else None,
        thermostat_fs=_time_constant(motion, "thermostat"),
        barostat_fs=_time_constant(motion, "barostat"),
        beads=beads.nbeads,
        degrees_of_freedom=3 * beads.natoms * beads.nbeads,
        fixed=frozenset(int(number) for number in motion.fixatoms_dof),
        repeated=_repeated(system.fcomp),
        idle=tuple(part.ffield for part in system.fcomp if part.weight == 0),
        extras=tuple(wanted),
        charges_of_driver=any(
            bool(motion.Born_Charges.cbec) for motion in all_in(motion) if hasattr(motion, "Born_Charges")
        ),
        interpolated=tuple(interpolated),
    )


def _hfix(motion: Any) -> list[str]:
    return list(getattr(getattr(motion, "barostat", None), "hfix", []))


def _time_constant(motion: Any, part: str) -> float | None:
    """Of a thermostat or barostat; those of i-PI's base classes do nothing."""
    acting = getattr(motion, part, None)
    tau = getattr(acting, "tau", None) if type(acting).__name__.lower() != part else None
    return float(tau) / FEMTOSECOND if tau is not None and np.ndim(tau) == 0 and float(tau) > 0 else None


def _repeated(parts: Any) -> tuple[str, ...]:
    """Force fields of which two <force> agree in everything but the weight; with several time steps, none."""
    kinds = [(part.ffield, part.nbeads) for part in parts if part.weight != 0 and len(part.mts_weights) <= 1]
    return tuple(sorted({field for field, beads in kinds if kinds.count((field, beads)) > 1}))
