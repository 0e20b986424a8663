"""`forceserver basis`: a contracted radial basis from structures, as a file and as pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import arguments

if TYPE_CHECKING:
    from ase import Atoms

    from ..representation.config import ExpansionConfig
    from ..representation.contraction import Contraction
    from ..representation.contraction_config import ContractionConfig


def basis(
    config: arguments.Config,
    structures: arguments.Structures,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where the contraction goes (npz).")
    ] = Path("basis.npz"),
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw eigenvalues, residual variance and optimal functions."),
    ] = None,
    energy_key: Annotated[
        str | None,
        typer.Option("--energy-key", metavar="NAME", help="Name of the energies, if a contraction learns from them."),
    ] = None,
    verbose: arguments.Verbose = False,
) -> None:
    """Contract a radial basis to the functions that keep most of the variance of structures.

    The section `expansion` of the configuration defines the basis, the centres and the neighbours, and its key
    `contraction` how many functions are kept. Descriptors of `fit`, `expansion` and `cv` use the result by
    `contraction = { file = "FILE" }`.
    """
    from ..configuration import read_configuration
    from ..representation import contraction_file
    from .logs import set_up_logging

    set_up_logging(verbose)
    section = read_configuration(config).expansion
    if section is None or section.contraction is None:
        raise InputError(
            f"{config}: nothing to contract: give a section [expansion] with a key contraction, "
            'such as contraction = { kind = "pca", q_max = 6 }'
        )
    if section.contraction.file is not None:
        raise InputError(f"{config}: expansion.contraction.file: this command makes such a file; give kind and q_max")
    if energy_key is not None and not section.contraction.supervised:
        raise InputError(
            f"--energy-key: no energy is read for a {section.contraction}; those that learn from energies are of "
            'kind = "pcovr", or optimised'
        )
    _check_paths(structures, output, plot)
    made = _make(section, section.contraction, structures, energy_key)
    contraction_file.save(made, output)
    for line in table(made):
        typer.echo(line)
    typer.echo(f"basis: {output}", err=True)
    if plot is not None:
        from ..analysis.contraction import draw_contraction

        draw_contraction(made, plot)
        typer.echo(f"plot: {plot}", err=True)


def table(made: "Contraction") -> list[str]:
    """For each species and l: the number of functions, and the fraction of the variance that they leave out."""
    from ..elements import symbols
    from ..representation.contraction import ALL

    counts, lines = made.counts, []
    for species in made.eigenvalues:
        name = f"{symbols(made.species)}, mixed" if species == ALL else symbols([species])
        lines.append(f"{name}: functions, residual variance")
        left = made.residual(species)
        lines += [f"  l = {l:<2d} {q:4d}   {left[l, q]:.2e}" for l, q in enumerate(counts)]
    return lines


def _check_paths(structures: Path, output: Path, plot: Path | None) -> None:
    arguments.check_structures(structures)
    arguments.check_ending("--output", output, ".npz")
    arguments.check_folder("--output", output)
    if plot is not None:
        arguments.check_ending("--plot", plot, *arguments.PICTURES)
        arguments.check_folder("--plot", plot)


def _make(
    section: "ExpansionConfig", contraction: "ContractionConfig", path: Path, energy_key: str | None
) -> "Contraction":
    from ..frame import Frame
    from ..structures import read_structures
    from .progress import progress

    read: list[Atoms] = list(read_structures(path))
    frames = progress(map(Frame.from_ase, read), "environments", len(read))
    here = contraction.model_copy(update={"structures": None})
    energies = _energies(read, path, energy_key) if contraction.supervised else None
    return section.contract(here, frames, section.neighbour_species(read), energies)


def _energies(read: "list[Atoms]", path: Path, key: str | None) -> list[float | None]:
    """The energies of the structures (eV), under this name or a usual one."""
    from ..fit.labels import LabelKeys, LabelReader

    labels = LabelReader(LabelKeys(energy=key, forces="none", virial="none", stress="none", option="--{}-key"))
    found = [labels.read(atoms, f"{path}: structure {number}").energy for number, atoms in enumerate(read)]
    labels.finish(path)
    labels.check_given(path)
    return found
