"""`forceserver evaluate`: the potential of the configuration on the structures of a file, without a simulation."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, PotentialError
from . import arguments
from .parity import print_errors

if TYPE_CHECKING:
    from ase import Atoms

    from ..analysis.parity import ParityTable
    from ..frame import Result
    from ..potentials.base import Potential


@dataclass(frozen=True)
class Keys:
    """Names of the reference labels in a structure's info and arrays, and the prefix of what is written."""

    energy: str
    forces: str
    virial: str
    stress: str
    group: str
    prefix: str


def evaluate(
    config: arguments.Config,
    structures: Annotated[
        Path, typer.Argument(metavar="STRUCTURES", help="Structures in any format that ASE reads.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write structures and predictions (extxyz).")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw predictions against reference labels (PNG).")
    ] = None,
    energy_key: Annotated[str, typer.Option(help="Reference energy, eV.")] = "energy",
    forces_key: Annotated[str, typer.Option(help="Reference forces, eV/Angstrom.")] = "forces",
    virial_key: Annotated[str, typer.Option(help="Reference virial, eV; it goes before the stress.")] = "virial",
    stress_key: Annotated[str, typer.Option(help="Reference stress, eV/Angstrom^3.")] = "stress",
    group_key: Annotated[str, typer.Option(help="Label that errors are grouped by.")] = "config_type",
    prefix: Annotated[
        str, typer.Option(help="Prefix of the names under which predictions are written.")
    ] = "predicted_",
    batch: Annotated[
        int, typer.Option(min=1, help="Structures that go to the potential at once, if their species agree.")
    ] = 1,
    verbose: arguments.Verbose = False,
) -> None:
    """Evaluate structures offline, with the potential that `drive` would serve.

    Reads one structure after the other, so that a file may be larger than memory. Where a structure has reference
    labels, prints root-mean-square and mean absolute errors, by group if it has groups.
    """
    from ..potentials import build_potential
    from ..settings import load, require
    from ..template import read_template
    from .logs import set_up_logging

    set_up_logging(verbose)
    settings = load(config)
    if not structures.is_file():
        raise InputError(f"structures: there is no file {structures}")
    if output is not None and output.exists() and output.samefile(structures):
        raise InputError(f"--output {output} is the input; choose another name")
    for path in filter(None, (output, plot)):
        if not path.absolute().parent.is_dir():
            raise InputError(f"cannot write {path}: there is no folder {path.absolute().parent}")
    keys = Keys(energy_key, forces_key, virial_key, stress_key, group_key, prefix)
    require(settings.potential, "potential", config, "it says what to evaluate")
    potential = build_potential(settings.potential, read_template(settings.structure))
    try:
        table = _evaluate_all(potential, structures, output, keys, batch)
    finally:
        potential.close()
    if table:
        print_errors(table)
        if plot is not None:
            table.plot(plot)
    elif plot is not None:
        raise InputError(
            f"no parity plot: {structures} has no reference labels {energy_key!r}, {forces_key!r}, {virial_key!r} or "
            f"{stress_key!r}; name them with --energy-key and so on"
        )


def _evaluate_all(
    potential: "Potential", structures: Path, output: Path | None, keys: Keys, batch: int
) -> "ParityTable":
    from ase.io.extxyz import write_extxyz

    from ..analysis.parity import ParityTable
    from ..files import atomic_write
    from ..structures import read_structures

    table = ParityTable()
    with contextlib.ExitStack() as stack:
        file = None
        if output is not None:
            part = stack.enter_context(atomic_write(output))
            file = stack.enter_context(open(part, "w"))
        for atoms, result in _progress(_predict(potential, read_structures(structures), batch)):
            _compare(table, atoms, result, keys)
            if file is not None:
                write_extxyz(file, [_labelled(atoms, result, keys)], write_info=True, write_results=False)
    return table


def _predict(potential: "Potential", structures: Iterable["Atoms"], batch: int) -> Iterator[tuple["Atoms", "Result"]]:
    from ..frame import Frame

    done = 0
    for group in _batches(structures, batch):
        frames = [Frame.from_ase(atoms, step=done + i) for i, atoms in enumerate(group)]
        try:
            results = potential.compute(frames)
        except Exception as error:
            where = f"structure {done}" if len(frames) == 1 else f"structures {done} to {done + len(frames) - 1}"
            raise PotentialError(f"{where}: {type(error).__name__}: {error}") from error
        yield from zip(group, results, strict=True)
        done += len(frames)


def _batches(structures: Iterable["Atoms"], size: int) -> Iterator[list["Atoms"]]:
    """Consecutive structures that have the same species and periodicity, at most `size` of them."""
    for _, run in groupby(structures, key=lambda atoms: (atoms.numbers.tobytes(), atoms.pbc.tobytes())):
        part: list[Atoms] = []
        for atoms in run:
            part.append(atoms)
            if len(part) == size:
                yield part
                part = []
        if part:
            yield part


def _compare(table: "ParityTable", atoms: "Atoms", result: "Result", keys: Keys) -> None:
    import numpy as np

    from ..analysis.parity import ENERGY, FORCE, STRESS

    group = atoms.info.get(keys.group)
    group = None if group is None else str(group)
    energy, forces = _label(atoms, keys.energy), _label(atoms, keys.forces)
    if energy is not None:
        table.add(group, ENERGY, energy / len(atoms), result.energy / len(atoms))
    if forces is not None:
        table.add(group, FORCE, forces, result.forces)
    stress = _reference_stress(atoms, keys)
    if stress is not None:
        table.add(group, STRESS, stress, -result.virial[np.triu_indices(3)] / atoms.get_volume())


def _label(atoms: "Atoms", key: str) -> Any:
    """A label from the info, the arrays, or what ASE's readers turn into results of a calculator; None if absent."""
    import numpy as np

    results = atoms.calc.results if atoms.calc is not None else {}
    for place in (atoms.info, atoms.arrays, results):
        if key in place:
            return np.asarray(place[key], dtype=float)
    return None


def _reference_stress(atoms: "Atoms", keys: Keys) -> Any:
    """The upper triangle xx xy xz yy yz zz of the reference stress in eV/Angstrom^3; None if absent."""
    import numpy as np
    from ase.stress import voigt_6_to_full_3x3_stress

    if atoms.cell.rank < 3:
        return None
    virial, stress = _label(atoms, keys.virial), _label(atoms, keys.stress)
    if virial is not None:
        stress = -virial / atoms.get_volume()
    if stress is None:
        return None
    full = voigt_6_to_full_3x3_stress(stress) if stress.size == 6 else stress.reshape(3, 3)
    return full[np.triu_indices(3)]


def _labelled(atoms: "Atoms", result: "Result", keys: Keys) -> "Atoms":
    """A copy with the reference labels as they were and the predictions beside them."""
    from ase.stress import voigt_6_to_full_3x3_stress

    labelled = atoms.copy()
    for key, value in (atoms.calc.results if atoms.calc is not None else {}).items():
        if key == "forces":
            labelled.arrays[key] = value
        else:
            labelled.info[key] = voigt_6_to_full_3x3_stress(value) if key == "stress" else value
    labelled.info[f"{keys.prefix}energy"] = float(result.energy)
    labelled.info[f"{keys.prefix}virial"] = result.virial
    labelled.arrays[f"{keys.prefix}forces"] = result.forces
    return labelled


def _progress(pairs: Iterable) -> Iterator:
    """Counts on a terminal while it runs; says the rate at the end."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.completed:.0f} structures"), TimeElapsedColumn())
    start, done = time.monotonic(), 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("")
        for pair in pairs:
            yield pair
            done += 1
            progress.advance(task)
    seconds = time.monotonic() - start
    print(f"{done} structures in {seconds:.1f} s ({done / max(seconds, 1e-9):.4g} per second)", file=sys.stderr)
