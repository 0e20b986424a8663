"""Contraction weights over the radial functions: given, or the first principal component of the coefficients."""

import numpy as np

from ..errors import InputError
from ..frame import Array, Frame
from ..representation.neighbours import NeighbourList
from ..representation.spline import SplineTable
from ..structures import read_structures
from .config import CVConfig, PrincipalComponent, selection


def contraction(config: CVConfig) -> tuple[Array, Array]:
    """The weights u_n (n_max,) for l = 1 and for l = 0.

    Given weights serve both. A principal component is taken for each l from the coefficients of all centres of all
    structures: for l = 1 of the second moments sum_im c_nm c_n'm (their mean vanishes by symmetry, Cersonsky and De,
    arXiv:2209.01948), for l = 0 of the covariance. Its norm is one and its largest weight positive.

    Raises `InputError` if the structures cannot be read or hold no pair of centre and neighbour.
    """
    if not isinstance(config.weights, PrincipalComponent):
        weights = np.array(config.weights)
        return weights, weights
    scalars, vectors = _coefficients(config, config.weights)
    vectors = vectors.reshape(-1, vectors.shape[-1])
    return _principal(vectors.T @ vectors), _principal(np.atleast_2d(np.cov(scalars, rowvar=False)))


def spline_table(config: CVConfig) -> SplineTable:
    """The splines of all radial functions; `InputError` if the tolerance cannot be reached."""
    try:
        return SplineTable.build(config.basis, config.tolerance)
    except ValueError as error:
        raise InputError(f"collective variable {config.name}: {error}") from error


def _principal(matrix: Array) -> Array:
    component = np.linalg.eigh(matrix)[1][:, -1]
    return component * np.sign(component[np.argmax(np.abs(component))])


def _coefficients(config: CVConfig, weights: PrincipalComponent) -> tuple[Array, Array]:
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
