"""What an input file of i-PI says: sockets, systems, lengths and output, read by i-PI's own parser.

i-PI's parser checks tags, types and units; the structures are read by its initialiser, so what is found here is what
the simulation will start from. No socket is opened, no potential built and no output written.
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.units import Bohr

from ..errors import InputError
from ..files import working_in
from ..frame import Array

FEMTOSECOND = 41.341374575751  # atomic units
NESTED_PREFIX = "/tmp/ipi_"
"""Prefix of sockets inside other force fields: i-PI 3.3.1 applies its `sockets_prefix` to outer ones only."""


@dataclass(frozen=True)
class SocketServer:
    """One <ffsocket>."""

    name: str
    forcefield: str
    """The name that <force forcefield=...> uses: its own, or that of the <ffcommittee> or <ffrotations> around it."""
    mode: str
    prefix: str
    """Precedes the address of a unix socket."""
    address: str
    port: int
    latency_seconds: float
    batch_size: int
    pbc: bool
    consolidated: bool
    timeout_seconds: float
    active: tuple[int, ...] | None
    """Indices of the atoms that are sent; None for all."""

    @property
    def unix_path(self) -> str:
        """The path of a unix socket."""
        return self.prefix + self.address

    @property
    def place(self) -> str:
        """Where it listens; no two sockets can share it."""
        return f"{self.address}:{self.port}" if self.mode == "inet" else self.unix_path

    @property
    def nested(self) -> bool:
        """Whether it is inside another force field, in a committee for example."""
        return self.forcefield != self.name


@dataclass(frozen=True)
class Component:
    """One <force> of the potential, or of the <bias> of an ensemble."""

    forcefield: str
    beads: int
    """Structures per step: fewer than the system's beads if the ring polymer is contracted (<force nbeads=...>)."""
    bias: bool


@dataclass(frozen=True)
class System:
    """One <system>, as it starts."""

    species: tuple[str, ...]
    """Labels in the order of the atoms."""
    beads: int
    cell: Array
    """(3, 3), Angstrom, vectors as rows."""
    positions_of_beads: Array
    """(beads, atoms, 3), Angstrom."""
    cell_of_file: bool
    """Whether the cell comes from the file with the positions, rather than from the input."""
    components: tuple[Component, ...]

    @property
    def positions(self) -> Array:
        """(atoms, 3), Angstrom, of the first bead."""
        return self.positions_of_beads[0]

    def beads_of(self, forcefield: str) -> int:
        """How many structures a force field gets per step; 0 if it does not act on this system."""
        return sum(component.beads for component in self.components if component.forcefield == forcefield)


@dataclass(frozen=True)
class PropertiesFile:
    """One <properties> output."""

    path: Path
    stride: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class PlumedForceField:
    """One <ffplumed>."""

    name: str
    input: Path
    """What PLUMED reads (plumed.dat)."""
    step: int
    """Its own count of steps, which is the time in its outputs."""
    updated: bool
    """Whether an <smotion mode='metad'> names it: PLUMED adds hills and prints only then."""


@dataclass(frozen=True)
class IpiInput:
    """The parts of an input file that matter to force engines and to `launch`."""

    path: Path
    folder: Path
    """Where i-PI runs: paths in the input file are relative to it."""
    sockets: tuple[SocketServer, ...]
    other_forcefields: tuple[tuple[str, str], ...]
    """Tag and name of every force field that neither is nor contains an <ffsocket>."""
    forcefields: tuple[str, ...]
    """Names of all force fields that <force> may use."""
    systems: tuple[System, ...]
    step: int
    total_steps: int
    verbosity: str
    float_format: str
    """Of numbers in outputs and states."""
    threading: bool
    """Whether systems are stepped in threads of their own."""
    properties: tuple[PropertiesFile, ...]
    trajectories: tuple[tuple[Path, int], ...]
    """For each <trajectory>: the beginning of its file names, and its stride."""
    checkpoints: tuple[Path, ...]
    """The files of <checkpoint> outputs; those that are not overwritten get a number appended."""
    checkpoint_stride: int
    """Of the one that is written most often; 0 without any."""
    prefix: str
    """Precedes the names of all outputs."""
    swaps: tuple[Path, ...]
    """Where replica exchange (REMD) records its swaps."""
    plumed: tuple[PlumedForceField, ...]
    motions: tuple[str, ...]
    """i-PI's class of each <motion>."""
    timestep_fs: float | None
    """Of the first motion that has one."""

    @property
    def folders(self) -> list[Path]:
        """Folders of outputs, but for that in which i-PI runs."""
        stems = [*(file.path for file in self.properties), *(stem for stem, _ in self.trajectories)]
        return sorted({stem.parent for stem in (*stems, *self.checkpoints, *self.swaps)} - {self.folder})

    def told_to_stop(self) -> str:
        """What is to be said of a file EXIT, which ends i-PI; nothing if there is none."""
        stop = self.folder / "EXIT"
        words = f"{stop} would end i-PI at once, and is left from an earlier stop: remove it to go on"
        return words if stop.exists() else ""


def read_ipi_input(path: Path, folder: Path | None = None) -> IpiInput:
    """Reads an input or RESTART file of i-PI; `InputError` in i-PI's own words if i-PI rejects it.

    folder: where i-PI runs, if not where the file is.
    """
    path = Path(path).absolute()
    folder = Path(folder or path.parent).absolute()
    try:
        with quietly_in(folder) as said:
            return _read(path, folder)
    except (Exception, SystemExit) as error:  # i-PI raises anything, and sometimes just exits
        raise InputError(f"{path}: i-PI does not accept it: {words_of(error, said.getvalue())}") from error


def words_of(error: BaseException, said: str) -> str:
    """What i-PI raised, with the last line that it said where the error itself says nothing."""
    words = said.strip().rpartition("\n")[2] if isinstance(error, SystemExit) or not str(error) else error
    return f"{type(error).__name__}: {words}"


def parse_input(path: Path) -> Any:
    """i-PI's `InputSimulation`: tags, types and units have been checked; raises what i-PI raises."""
    from ipi.inputs.simulation import InputSimulation

    simulation = InputSimulation()
    simulation.parse(read_tags(path))
    return simulation


def read_tags(path: Path) -> Any:
    """i-PI's node of the tag <simulation>: `fields` are its tags with their nodes, in the order of the file."""
    from ipi.utils.io.inputs.io_json import json_parse_file
    from ipi.utils.io.inputs.io_xml import xml_parse_file

    with open(path) as file:
        tree = json_parse_file(file) if path.suffix == ".json" else xml_parse_file(file)
    tag, node = tree.fields[0]
    if tag != "simulation":
        raise ValueError(f"the outermost tag is <{tag}>, not <simulation>")
    return node


def _read(path: Path, folder: Path) -> IpiInput:
    from ipi.utils.prng import Random

    simulation = parse_input(path)
    sockets, others, systems = [], [], []
    for tag, part in simulation.extra:
        if tag == "ffsocket":
            sockets.append(_socket(part, simulation.sockets_prefix.fetch(), part.name.fetch()))
        elif inner := _inner_sockets(tag, part):
            sockets.extend(_socket(socket, NESTED_PREFIX, part.name.fetch()) for socket in inner)
        elif tag == "system":
            systems.append(part.fetch())
        elif tag == "system_template":
            systems.extend(part.fetch())
        else:
            others.append((tag, part.name.fetch()))
    for system in systems:
        system.prng = Random(seed=1)
        system.init.init_stage1(system)
    moves = [move for system in systems for move in all_in(system.motion)]
    return IpiInput(
        path=path,
        folder=folder,
        sockets=tuple(sockets),
        other_forcefields=tuple(others),
        forcefields=tuple(
            part.name.fetch() for tag, part in simulation.extra if tag not in ("system", "system_template")
        ),
        systems=tuple(_system(system) for system in systems),
        step=simulation.step.fetch(),
        total_steps=simulation.total_steps.fetch(),
        verbosity=simulation.verbosity.fetch(),
        float_format=simulation.floatformat.fetch(),
        threading=simulation.threading.fetch(),
        motions=tuple(type(move).__name__ for move in moves),
        timestep_fs=next((float(move.dt) / FEMTOSECOND for move in moves if getattr(move, "dt", None)), None),
        swaps=_swaps(simulation, folder),
        plumed=tuple(_plumed(part, simulation, folder) for tag, part in simulation.extra if tag == "ffplumed"),
        **_outputs(simulation.output.fetch(), systems, folder),
    )


def _inner_sockets(tag: str, part: Any) -> list[Any]:
    """The <ffsocket> parts inside another force field."""
    if tag == "ffcommittee":
        return [inner for inner_tag, inner in part.extra if inner_tag == "ffsocket"]
    if tag == "ffrotations" and part.ffsocket._explicit:
        return [part.ffsocket]
    return []


def _socket(part: Any, prefix: str, forcefield: str) -> SocketServer:
    active = np.atleast_1d(part.activelist.fetch())
    return SocketServer(
        name=part.name.fetch(),
        forcefield=forcefield,
        prefix=prefix,
        mode=part.mode.fetch(),
        address=part.address.fetch().strip(),
        port=part.port.fetch(),
        latency_seconds=part.latency.fetch(),
        batch_size=max(part.batch_size.fetch(), 1),  # i-PI takes less for 1, too
        pbc=part.pbc.fetch(),
        consolidated=part.consolidate_messages.fetch(),
        timeout_seconds=part.timeout.fetch(),
        active=None if active[0] == -1 else tuple(int(i) for i in active),
    )


def all_in(move: Any) -> list[Any]:
    """A motion (of one system or of all), or the parts of one with mode 'multi'."""
    return list(getattr(move, "mlist", [move]))


def _swaps(simulation: Any, folder: Path) -> tuple[Path, ...]:
    prefix = simulation.output.fetch().prefix
    names = [move.swapfile for move in all_in(simulation.smotion.fetch()) if hasattr(move, "swapfile")]
    return tuple(folder / (f"{prefix}.{name}" if prefix else name) for name in names)


def _plumed(part: Any, simulation: Any, folder: Path) -> PlumedForceField:
    name, moves = part.name.fetch(), all_in(simulation.smotion.fetch())
    updated = any(name in getattr(move, "metaff", ()) for move in moves)
    return PlumedForceField(name, folder / part.plumed_dat.fetch(), part.plumed_step.fetch(), updated)


def _system(system: Any) -> System:
    return System(
        species=tuple(str(name) for name in system.beads.names),
        beads=system.beads.nbeads,
        cell=np.array(system.cell.h).T * Bohr,
        positions_of_beads=np.array(system.beads.q).reshape(system.beads.nbeads, -1, 3) * Bohr,
        cell_of_file=_cell_of_file(system.init.queue),
        components=tuple(
            Component(part.ffield, min(part.nbeads or system.beads.nbeads, system.beads.nbeads), bias)
            for bias, parts in ((False, system.fcomp), (True, system.ensemble.bcomp))
            for part in parts
        ),
    )


def _cell_of_file(queue: list[tuple[str, Any]]) -> bool:
    files = {item.value for tag, item in queue if tag == "positions" and item.mode != "manual"}
    cells = [item for tag, item in queue if tag == "cell"]
    return bool(cells) and cells[-1].mode != "manual" and cells[-1].value in files


def _outputs(outputs: Any, systems: list[Any], folder: Path) -> dict[str, Any]:
    """The files that will be written, by kind."""
    from ipi.engine.outputs import CheckpointOutput, PropertyOutput

    properties, trajectories, checkpoints, strides = [], [], [], []
    for output in outputs:
        name = f"{outputs.prefix}.{output.filename}" if outputs.prefix else output.filename
        if isinstance(output, CheckpointOutput):
            checkpoints.append(folder / name)
            strides.append(output.stride)
            continue
        for system in systems:
            path = folder / (f"{system.prefix}_{name}" if system.prefix else name)
            if isinstance(output, PropertyOutput):
                properties.append(PropertiesFile(path, output.stride, tuple(str(c).strip() for c in output.outlist)))
            else:
                trajectories.append((path, output.stride))
    return {
        "prefix": outputs.prefix,
        "properties": tuple(properties),
        "trajectories": tuple(trajectories),
        "checkpoints": tuple(checkpoints),
        "checkpoint_stride": min(strides, default=0),
    }


@contextlib.contextmanager
def quietly_in(folder: Path) -> Iterator[io.StringIO]:
    """i-PI opens files relative to the working directory and writes to standard output."""
    said = io.StringIO()
    with working_in(folder), contextlib.redirect_stdout(said):
        yield said
