"""`forceserver describe`: coefficients, power spectrum and collective variables of structures, offline."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import CVError, InputError
from . import arguments

if TYPE_CHECKING:
    from ase import Atoms

    from ..cv import VariableConfig
    from ..representation.config import ExpansionConfig
    from ..representation.multispectrum import Multispectrum

Arrays = dict[str, Any]


def describe(
    config: arguments.Config,
    structures: arguments.Structures,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Output file (npz).", show_default=False)
    ],
    verbose: arguments.Verbose = False,
) -> None:
    """Write the representation of structures: what section `expansion` requests, and every `cv`.

    Read the file with numpy.load(FILE, allow_pickle=False). The centres of all structures are concatenated:

    centre_structure, centre_atom, centre_species (C): origin of each centre; species (A): the neighbour species.

    coefficients_l0, coefficients_l1, ... (C, A, 2 l + 1, n): m = -l .. l. After a mixed contraction A is 1.

    power_spectrum (C, F); power_spectrum_features (F, 5): a, n, a', n', l, where a is an index into `species`.

    multispectrum (C, F); multispectrum_nu (F): the order of each invariant. equivariants_nu2_l1, ... (C, 2 l + 1, K)
    for the degrees that are asked for, pseudo_equivariants_nu2_l1, ... for those of the other parity.

    With gradients = true, gradient_rows (R, 3): centre (0 .. C - 1), a, atom; gradients_l0, ... (R, 3, 2 l + 1, n):
    derivatives with respect to the position of that atom; strain_l0, ... (C, A, 3, 3, 2 l + 1, n): with respect to a
    strain, r -> r (1 + strain).

    For a `cv` named q with d outputs, and S structures: q (S, d); q_outputs (d): their names; q_strain (S, d, 3, 3);
    q_gradients (K, d, 3); q_gradient_rows (K, 2): structure, atom.
    """
    import numpy as np

    from ..configuration import read_configuration
    from ..files import atomic_write
    from ..structures import read_structures
    from .logs import set_up_logging

    set_up_logging(verbose)
    configuration = read_configuration(config)
    if configuration.expansion is None and not configuration.cv:
        raise InputError(f"{config}: nothing to describe: give a section [expansion], or at least one [[cv]]")
    arguments.check_structures(structures)
    arguments.check_ending("--output", output, ".npz")
    arguments.check_folder("cannot write", output)
    read = list(read_structures(structures))
    arrays: Arrays = {}
    if configuration.expansion is not None:
        arrays |= expansion_arrays(configuration.expansion, read)
    for variable in configuration.cv:
        arrays |= variable_arrays(variable, read)
    with atomic_write(output) as part:
        np.savez(part, **arrays)
    for name, array in arrays.items():
        typer.echo(f"{name}: {array.dtype} {array.shape}")


def expansion_arrays(config: "ExpansionConfig", structures: Iterable["Atoms"]) -> Arrays:
    """All arrays of section [expansion], under the names documented in `describe`."""
    import numpy as np

    from ..representation.describing import multispectrum_of
    from ..representation.invariants import PowerSpectrumBasis
    from .progress import progress

    structures = list(structures)
    basis = config.expansion_basis(structures)
    spectrum = PowerSpectrumBasis(basis, normalise=config.normalise) if config.power_spectrum else None
    multispectrum = multispectrum_of(config, basis, structures, progress)
    parts: list[Arrays] = []
    rows = 0
    for number, atoms in enumerate(structures):
        try:
            parts.append(_describe_one(config, basis, spectrum, multispectrum, atoms, number, rows))
        except ValueError as error:
            raise InputError(f"structure {number}: {error}") from error
        rows += len(parts[-1]["centre_atom"])
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    arrays["species"] = np.array(basis.species, dtype=np.int32)
    if spectrum is not None:
        arrays["power_spectrum_features"] = spectrum.features
    if multispectrum is not None:
        arrays["multispectrum_nu"] = multispectrum.order_of
    return arrays


def _describe_one(
    config: "ExpansionConfig", basis, spectrum, multispectrum, atoms: "Atoms", number: int, first_row: int
) -> Arrays:
    import numpy as np

    from ..frame import Frame
    from ..representation.describing import neighbours_of
    from ..representation.expansion import SphericalExpansion
    from ..representation.invariants import PowerSpectrum

    neighbours = neighbours_of(config, basis.cutoff, Frame.from_ase(atoms))
    if spectrum is None:
        expansion = SphericalExpansion(basis, neighbours)
    else:
        invariants = PowerSpectrum(spectrum, neighbours)
        expansion = invariants.expansion
    arrays: Arrays = {
        "centre_structure": np.full(len(neighbours.centres), number, dtype=np.int32),
        "centre_atom": neighbours.centres,
        "centre_species": neighbours.species[neighbours.centres],
    }
    arrays |= {f"coefficients_l{l}": part for l, part in basis.split(expansion.values()).items()}
    if spectrum is not None:
        arrays["power_spectrum"] = invariants.values()
    if multispectrum is not None:
        arrays |= _multispectrum_arrays(config, multispectrum, expansion.values(), arrays["centre_species"])
    if config.gradients:
        gradients = expansion.gradients()
        arrays["gradient_rows"] = gradients.rows + np.array([first_row, 0, 0], dtype=np.int32)
        arrays |= {f"gradients_l{l}": part for l, part in basis.split(gradients.positions).items()}
        arrays |= {f"strain_l{l}": part for l, part in basis.split(gradients.strain).items()}
    return arrays


def _multispectrum_arrays(config: "ExpansionConfig", multispectrum: "Multispectrum", coefficients, species) -> Arrays:
    arrays: Arrays = {"multispectrum": multispectrum.values(coefficients, species)}
    asked = config.multispectrum.equivariants if config.multispectrum else ()
    if asked:
        for (nu, irrep), part in multispectrum.equivariants(coefficients, species).items():
            if irrep.l in asked:
                arrays[f"{'' if irrep.parity > 0 else 'pseudo_'}equivariants_nu{nu}_l{irrep.l}"] = part
    return arrays


def variable_arrays(config: "VariableConfig", structures: Iterable["Atoms"]) -> Arrays:
    """Everything of one collective variable, under the names that `describe` documents."""
    import numpy as np

    from ..cv.variable import CollectiveVariable
    from ..frame import Frame

    variable: CollectiveVariable | None = None
    species = np.zeros(0, dtype=np.int32)
    outputs: tuple[str, ...] = ()
    results = []
    for number, atoms in enumerate(structures):
        frame = Frame.from_ase(atoms, number=number)
        try:
            if variable is None or not np.array_equal(species, frame.species):
                variable, species = CollectiveVariable(frame, **dict(config)), frame.species
                outputs = variable.outputs
            results.append(variable.compute(frame))
        except (CVError, InputError) as error:
            raise InputError(f"structure {number}: {error}") from error
    rows = [np.stack([np.full_like(r.active, number), r.active], axis=1) for number, r in enumerate(results)]
    return {
        config.name: np.stack([result.values for result in results]),
        f"{config.name}_outputs": np.array(outputs),
        f"{config.name}_strain": np.stack([result.strain for result in results]),
        f"{config.name}_gradients": np.concatenate([np.moveaxis(result.gradients, 0, 1) for result in results]),
        f"{config.name}_gradient_rows": np.concatenate(rows),
    }
