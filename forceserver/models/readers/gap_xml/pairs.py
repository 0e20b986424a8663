"""QUIP's `distance_2b` as splined pair potentials.

Each of the two atoms of a pair has the other as a neighbour, so a pair has the energy

    V(r) = 2 f_c(r) sum_t alpha_t f_t [ delta^2 exp(-(x - x_t)^2 / 2 theta^2) + f_0^2 ],   x = r^k

with sparse points x_t, the shifted cosine f_c, f_t its value at the sparse point, and k = `exponents`, one by default
(`descriptors.F90` and `gp_predict.F90` of github.com/libAtoms/GAP).
"""

import math
from collections.abc import Iterable, Iterator

from ...pairs import KNOTS_PER_LENGTH, TABLE_START, SplinedPair, gaussians, knots
from .descriptors import Distance
from .document import Coordinate

MOST_KNOTS = 4000


def interactions(distance: Distance, coordinate: Coordinate, species: tuple[int, ...]) -> Iterator[SplinedPair]:
    """One potential for each pair of species to which it applies. `ValueError`: another kernel or dimension.

    species: those of the model.
    """
    if coordinate.covariance != "ard_se":
        raise ValueError(f"distance_2b: covariance_type is {coordinate.covariance}; only ard_se can be computed")
    if coordinate.points.shape[1] != 1 or len(coordinate.theta) != 1:
        raise ValueError("distance_2b: it must have one dimension and one theta")
    energies = _energies(distance, coordinate)
    for first, second in _pairs(distance.Z1, distance.Z2, species):
        yield SplinedPair(
            species=(_symbol(first), _symbol(second)),
            cutoff_angstrom=distance.cutoff,
            smoothing_angstrom=distance.cutoff_transition_width,
            energies_ev=energies,
            switch="cosine",
        )


def _energies(distance: Distance, coordinate: Coordinate) -> tuple[float, ...]:
    """Energies at the knots of the spline, without the cutoff function."""
    theta, k = abs(float(coordinate.theta[0])), distance.exponents
    steepest = abs(k) * max(distance.cutoff ** (k - 1), TABLE_START ** (k - 1)) if k != 1 else 1.0
    count = min(MOST_KNOTS, 8 + math.ceil(KNOTS_PER_LENGTH * distance.cutoff * steepest / theta))
    value, _ = gaussians(knots(distance.cutoff, count) ** k, coordinate.points[:, 0], theta)
    weights = 2 * coordinate.alphas * coordinate.cutoffs
    return tuple(((coordinate.delta**2 * value + coordinate.f0**2) @ weights).tolist())


def _pairs(first: int, second: int, species: Iterable[int]) -> list[tuple[int, int]]:
    firsts = list(species) if first == 0 else [first]
    seconds = list(species) if second == 0 else [second]
    return sorted({(min(a, b), max(a, b)) for a in firsts for b in seconds})


def _symbol(number: int) -> str:
    from ase.data import chemical_symbols

    return chemical_symbols[number]
