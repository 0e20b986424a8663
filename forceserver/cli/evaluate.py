"""`forceserver evaluate`: applies the configured potential to the structures in a file, without a simulation."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ..errors import FAILURES, InputError, PotentialError, text_of
from . import arguments
from .parity import print_errors

if TYPE_CHECKING:
    from ase import Atoms

    from ..analysis.parity import ParityTable
    from ..fit.labels import LabelKeys, LabelReader, Labels
    from ..frame import Frame, Result
    from ..potentials.base import Potential

LabelledAtoms: TypeAlias = "tuple[Atoms, Labels]"


def evaluate(
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG", help="The configuration, a TOML file, or a model file.", show_default=False),
    ],
    structures: arguments.Structures,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the structures with predictions (extxyz)."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Plot predictions against reference labels (PNG).")
    ] = None,
    energy_key: Annotated[
        str | None,
        typer.Option(help="Name of the reference energy, eV. [default: the usual names]", show_default=False),
    ] = None,
    forces_key: Annotated[
        str | None,
        typer.Option(help="Name of the reference forces, eV/Angstrom. [default: the usual names]", show_default=False),
    ] = None,
    virial_key: Annotated[
        str | None,
        typer.Option(
            help="Name of the reference virial, eV; preferred to the stress. [default: the usual names]",
            show_default=False,
        ),
    ] = None,
    stress_key: Annotated[
        str | None,
        typer.Option(
            help="Name of the reference stress, eV/Angstrom^3. [default: the usual names]", show_default=False
        ),
    ] = None,
    group_key: Annotated[
        str | None, typer.Option(help="Label by which errors are grouped. [default: config_type]", show_default=False)
    ] = None,
    prefix: Annotated[str, typer.Option(help="Prefix for the names of predictions.")] = "predicted_",
    batch: Annotated[
        int, typer.Option(min=1, help="Structures passed to the potential at once, if their species agree.")
    ] = 1,
    verbose: arguments.Verbose = False,
) -> None:
    """Evaluate structures offline, with the potential that `drive` would serve.

    Reads one structure at a time, so the file may be larger than memory. If there are reference labels, it reports
    their names and prints root-mean-square and mean absolute errors, by group if there are groups. To ignore a label,
    give none as its name.
    """
    from ..api import load_potential
    from ..fit.labels import LabelKeys, LabelReader
    from ..sections import names_extxyz
    from .logs import set_up_logging

    set_up_logging(verbose)
    arguments.check_structures(structures)
    if output is not None:
        if output.exists() and output.samefile(structures):
            raise InputError(f"--output {output} is the input; choose another name")
        try:
            names_extxyz(output)
        except ValueError as error:
            raise InputError(f"--output {error}") from error
    if plot is not None:
        arguments.check_ending("--plot", plot, *arguments.PICTURES)
    for path in filter(None, (output, plot)):
        arguments.check_folder("cannot write", path)
    keys = LabelKeys(energy_key, forces_key, virial_key, stress_key, group_key, "--{}-key")
    if output is not None:
        _refuse_names_of_labels(keys, prefix)
    labels = LabelReader(keys)
    labels.check_given(structures)
    potential = load_potential(config)
    try:
        table = _evaluate_all(potential, structures, output, labels, prefix, batch)
    finally:
        potential.close()
    if table:
        print_errors(table)
        if plot is not None:
            table.plot(plot)
    elif plot is not None:
        raise InputError(f"no parity plot: {structures} has no reference labels; name them with --energy-key and so on")


def _refuse_names_of_labels(keys: "LabelKeys", prefix: str) -> None:
    """`InputError` if predictions would be written over labels, or be read as such."""
    from ..fit.labels import LabelKeys

    for quantity in ("energy", "forces", "virial"):
        name = f"{prefix}{quantity}"
        if keys.reads(quantity, name) or LabelKeys().reads(quantity, name):
            raise InputError(f"--prefix {prefix!r}: predictions would be called as labels are ({name}); choose another")


def _evaluate_all(
    potential: "Potential", structures: Path, output: Path | None, labels: "LabelReader", prefix: str, batch: int
) -> "ParityTable":
    from ase.io.extxyz import write_extxyz

    from ..analysis.parity import ParityTable
    from ..files import atomic_write

    table = ParityTable()
    with contextlib.ExitStack() as stack:
        file = None
        if output is not None:
            part = stack.enter_context(atomic_write(output))
            file = stack.enter_context(open(part, "w"))
        for atoms, reference, frame, result in _progress(_predict(potential, _labelled(structures, labels), batch)):
            table.compare(reference.group, reference, result, frame)
            if file is not None:
                write_extxyz(file, [with_predictions(atoms, result, prefix)], write_info=True, write_results=False)
        labels.finish(structures)
    return table


def _labelled(path: Path, labels: "LabelReader") -> Iterator[LabelledAtoms]:
    from ..structures import read_structures

    for number, atoms in enumerate(read_structures(path)):
        yield atoms, labels.read(atoms, f"{path}: structure {number}")


def _predict(
    potential: "Potential", structures: Iterable[LabelledAtoms], batch: int
) -> Iterator[tuple["Atoms", "Labels", "Frame", "Result"]]:
    from ..frame import Frame
    from ..results import check_count, check_results

    done = 0
    for group in _batches(structures, batch):
        frames = [Frame.from_ase(atoms, number=done + i) for i, (atoms, _) in enumerate(group)]
        try:
            results = potential.compute(frames)
            check_count(results, len(frames))
            check_results(results, len(frames[0]))
        except FAILURES as error:
            where = f"structure {done}" if len(frames) == 1 else f"structures {done} to {done + len(frames) - 1}"
            raise PotentialError(f"{where}: {type(error).__name__}: {text_of(error)}") from error
        yield from ((*one, frame, result) for one, frame, result in zip(group, frames, results, strict=True))
        done += len(frames)


def _batches(structures: Iterable[LabelledAtoms], size: int) -> Iterator[list[LabelledAtoms]]:
    """Consecutive structures that have the same species and periodicity, at most `size` of them."""
    for _, run in groupby(structures, key=lambda one: (one[0].numbers.tobytes(), one[0].pbc.tobytes())):
        while part := list(islice(run, size)):
            yield part


def with_predictions(atoms: "Atoms", result: "Result", prefix: str) -> "Atoms":
    """A copy with its original labels, those of atoms with the atoms, and the predictions beside them."""
    import numpy as np
    from ase.io.extxyz import per_atom_properties
    from ase.stress import voigt_6_to_full_3x3_stress

    labelled = atoms.copy()
    for key, value in (atoms.calc.results if atoms.calc is not None else {}).items():
        if key in per_atom_properties:  # a column has at most two dimensions
            labelled.arrays[key] = np.reshape(value, (len(atoms), -1)) if np.ndim(value) > 2 else np.asarray(value)
        else:
            labelled.info[key] = voigt_6_to_full_3x3_stress(value) if key == "stress" else value
    for key, column in labelled.arrays.items():
        if column.dtype.kind in "OSU":
            labelled.arrays[key] = np.array(["_".join(str(word).split()) or "-" for word in column])
    labelled.info[f"{prefix}energy"] = float(result.energy)
    labelled.info[f"{prefix}virial"] = result.virial
    labelled.arrays[f"{prefix}forces"] = result.forces
    return labelled


def _progress(pairs: Iterable) -> Iterator:
    """Counts on a terminal while it runs; prints the rate at the end."""
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
