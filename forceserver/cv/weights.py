"""Contraction weights over the radial functions: given, or the first principal component of the coefficients.

They become a spline for each species of neighbours, the same for all species except after a mixed contraction.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field, model_validator

from ..elements import symbols
from ..errors import InputError
from ..frame import Array, Frame
from ..representation.config import selection
from ..representation.contraction_config import ContractionConfig
from ..representation.gto import GtoBasis
from ..representation.neighbours import NeighbourList
from ..representation.spline import SplineTable, splined
from ..sections import InputFile, Section
from ..structures import read_structures
from .base import VariableConfig

SplineTables = dict[int, SplineTable]


class PrincipalComponent(Section):
    """Contraction weights that keep most of the variance of the expansion coefficients over a set of structures."""

    first_principal_component_of: InputFile = Field(description="structures, any format that ASE reads")


class WeightsConfig(VariableConfig):
    """The keys that say what is made of the radial functions of a vector."""

    basis: GtoBasis = Field(description="radial functions, l_max = 1")
    weights: tuple[float, ...] | PrincipalComponent | None = Field(
        default=None, description="u_n, one for each radial function; or else a contraction"
    )
    contraction: ContractionConfig | None = Field(
        default=None, description="the first function of each l, of structures or of a file; mixed for several species"
    )

    @model_validator(mode="after")
    def _determined(self) -> "WeightsConfig":
        if self.basis.l_max != 1:
            raise ValueError(f"basis.l_max must be 1, got {self.basis.l_max}")
        if (self.weights is None) == (self.contraction is None):
            raise ValueError("give either weights or contraction, which say what is made of the radial functions")
        if self.contraction is not None and self.contraction.file is None and self.contraction.structures is None:
            raise ValueError("contraction.structures or contraction.file is missing: a variable has no data of its own")
        if isinstance(self.weights, tuple) and len(self.weights) != self.basis.n_max:
            raise ValueError(f"weights must hold basis.n_max = {self.basis.n_max} numbers, got {len(self.weights)}")
        if isinstance(self.weights, tuple) and not any(self.weights):
            raise ValueError("weights are all zero")
        return self


def tables(config: WeightsConfig, species: Sequence[int]) -> tuple[SplineTables, SplineTables]:
    """For each species of neighbours the splines with one channel of l = 1, and with one of l = 0.

    Raises `InputError` if the structures or the file of a contraction do not suffice.
    """
    table = spline_table(config)
    nothing = np.zeros((0, config.basis.n_max))
    if config.contraction is None:
        vector, density = contraction(config)
        one = table.contract([nothing, vector[None]]), table.contract([density[None], nothing])
        return dict.fromkeys(species, one[0]), dict.fromkeys(species, one[1])
    matrices = _contracted(config, config.contraction, species)
    return (
        {s: table.contract([nothing, m[1, :1]]) for s, m in matrices.items()},
        {s: table.contract([m[0, :1], nothing]) for s, m in matrices.items()},
    )


def _contracted(config: WeightsConfig, how: ContractionConfig, species: Sequence[int]) -> dict[int, Array]:
    try:
        made = how.make(
            config.basis,
            [],
            species,
            centres=selection(config.centres),
            neighbours=selection(config.neighbours),
            tolerance=config.tolerance,
        )
    except InputError as error:
        raise InputError(f"collective variable {config.name}: {error}") from error
    if len(species) > 1 and not made.sum_species:
        raise InputError(
            f"collective variable {config.name}: its neighbours are {symbols(species)}, so that the contraction must "
            "be mixed: functions of each species alone have no common sign"
        )
    if min(made.counts) < 1:
        raise InputError(f"collective variable {config.name}: the contraction has no function for l = 0 or l = 1")
    return dict(made.matrices)


def contraction(config: WeightsConfig) -> tuple[Array, Array]:
    """The weights u_n (n_max,) for l = 1 and for l = 0.

    Given weights serve both. A principal component is taken for each l from the coefficients of all centres of all
    structures: for l = 1 of the second moments sum_im c_nm c_n'm (their mean vanishes by symmetry, Cersonsky and De,
    arXiv:2209.01948), for l = 0 of the covariance. Its norm is one and its largest weight positive.

    Raises `InputError` if the structures cannot be read or hold no pair of centre and neighbour.
    """
    if config.weights is None or isinstance(config.weights, tuple):
        weights = np.array(config.weights)
        return weights, weights
    scalars, vectors = _coefficients(config, config.weights)
    vectors = vectors.reshape(-1, vectors.shape[-1])
    return _principal(vectors.T @ vectors), _principal(np.atleast_2d(np.cov(scalars, rowvar=False)))


def spline_table(config: WeightsConfig) -> SplineTable:
    """The splines of all radial functions; `InputError` if the tolerance cannot be reached."""
    try:
        return splined(config.basis, config.tolerance)
    except ValueError as error:
        raise InputError(f"collective variable {config.name}: {error}") from error


def _principal(matrix: Array) -> Array:
    component = np.linalg.eigh(matrix)[1][:, -1]
    return component * np.sign(component[np.argmax(np.abs(component))])


def _coefficients(config: WeightsConfig, weights: PrincipalComponent) -> tuple[Array, Array]:
    """c_n00 (centres, n_max) and c_n1m (centres, 3, n_max), up to the constant factors Y_00 and sqrt(3 / 4 pi)."""
    path = weights.first_principal_component_of
    table = spline_table(config)
    scalars, vectors = [], []
    for number, atoms in enumerate(read_structures(path)):
        frame = Frame.from_ase(atoms)
        try:
            pairs = NeighbourList(
                frame.species,
                table.cutoff,
                pbc=frame.pbc,
                centres=selection(config.centres),
                neighbours=selection(config.neighbours),
            )
            pairs.update(frame.positions, frame.cell)
        except ValueError as error:
            raise InputError(f"weights: structure {number} of {path}: {error}") from error
        r = pairs.vectors()
        distance = np.linalg.norm(r, axis=1)
        value = table.evaluate(distance)[0].reshape(len(r), 2, -1)
        shape = (len(pairs.centres), config.basis.n_max)
        scalar, vector = np.zeros(shape), np.zeros((shape[0], 3, shape[1]))
        np.add.at(scalar, pairs.pair_centre, value[:, 0])
        np.add.at(vector, pairs.pair_centre, (r / distance[:, None])[:, :, None] * value[:, 1, None])
        scalars.append(scalar)
        vectors.append(vector)
    scalar, vector = np.concatenate(scalars), np.concatenate(vectors)
    if not vector.any():
        raise InputError(f"weights: no centre in {path} has a neighbour within {table.cutoff:g} Angstrom")
    return scalar, vector
