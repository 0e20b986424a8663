"""QUIP's `soap` as power spectra of this program.

Density, radial functions and harmonics are the same except for factors: with the Gaussians of
`representation.equispaced` a coefficient is 4 pi (pi sigma^2)^(-3/4) times QUIP's, and a feature has the sign (-1)^l.
QUIP's cutoff function is the shifted cosine, its decay (cutoff_dexp, cutoff_scale, cutoff_rate) the algebraic scaling
u(r) = c / (c + (r / r_0)^m). Before 2015 features were not divided by sqrt(2 l + 1); for such files the radial
functions are multiplied by (2 l + 1)^(1/4).

    E_i = sum_t delta^2 alpha_t f_t (p_i . q_t)^zeta

(A. P. Bartok, G. Csanyi, Int. J. Quantum Chem. 115, 1051 (2015); `gp_predict.F90` of github.com/libAtoms/GAP; f_t is
the cutoff function at the sparse point, one for `soap`.) The last number of a sparse point is covariance_sigma0, zero.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ....frame import Array
from ...kernel import SoapHypers, SoapTerm
from .descriptors import Soap
from .document import Coordinate

DIVIDED_SINCE = 1423143769
"""The gap_version (seconds since 1970) from which on features are divided by sqrt(2 l + 1)."""
CENTRE_SINCE = 1426512068
"""The gap_version from which on a centre contributes only to the density of its own species, if there are several."""


def terms(
    coordinates: Iterable[tuple[Soap, Coordinate]], species: tuple[int, ...], version: int
) -> tuple[SoapTerm, ...]:
    """One term for all descriptors that differ only in the species of centres. species: those of the model, ascending.

    `ValueError` for an unsupported kernel, or sparse points of another length than the descriptor's.
    """
    groups: list[tuple[tuple[Soap, int], list[tuple[Soap, Coordinate]]]] = []
    for soap, coordinate in coordinates:
        same = soap.model_copy(update={"n_Z": 1, "Z": (0,)}), _zeta(coordinate)
        centres = _centres(soap, species)
        for other, members in groups:
            taken = {s for its, _ in members for s in _centres(its, species)}
            if other == same and taken.isdisjoint(centres):
                members.append((soap, coordinate))
                break
        else:
            groups.append((same, [(soap, coordinate)]))
    return tuple(_term(soap, zeta, members, species, version) for (soap, zeta), members in groups)


def _centres(soap: Soap, species: Sequence[int]) -> Sequence[int]:
    return species if soap.Z == (0,) else soap.Z


def _term(
    soap: Soap, zeta: int, members: list[tuple[Soap, Coordinate]], species: tuple[int, ...], version: int
) -> SoapTerm:
    hypers = _hypers(soap, zeta, version)
    any_species = soap.species_Z == (0,)
    features = _features(soap, [0] if any_species else [species.index(s) for s in soap.species_Z])
    points, weights = {}, {}
    for its, coordinate in members:
        values = _values(coordinate, features[:, 4], hypers)
        for s in _centres(its, species):
            points[s] = values
            weights[s] = coordinate.delta**2 * coordinate.alphas * coordinate.cutoffs
    mixing = None
    if version < DIVIDED_SINCE:
        scale = (2 * np.arange(soap.l_max + 1) + 1.0) ** 0.25
        mixing = dict.fromkeys(species, scale[:, None, None] * np.eye(soap.n_max))
    return SoapTerm(hypers, features, points, weights, mixing=mixing, sum_species=any_species)


def _hypers(soap: Soap, zeta: int, version: int) -> SoapHypers:
    in_all = soap.central_reference_all_species
    if version < CENTRE_SINCE:
        in_all = True
    elif in_all is None:
        in_all = soap.n_species == 1
    scaling = None
    if soap.cutoff_dexp:
        scaling = {"rate": soap.cutoff_rate, "scale_angstrom": soap.cutoff_scale, "exponent": soap.cutoff_dexp}
    return SoapHypers.model_validate(
        {
            "basis": {
                "kind": "equispaced_gaussians",
                "n_max": soap.n_max,
                "l_max": soap.l_max,
                "cutoff": {"cutoff_angstrom": soap.cutoff, "width_angstrom": soap.cutoff_transition_width},
                "density": {"kind": "gaussian", "sigma_angstrom": soap.atom_sigma},
                "scaling": scaling,
            },
            "zeta": zeta,
            "normalise": soap.normalise,
            "centre_weight": soap.central_weight,
            "centre_in_all_blocks": in_all,
        }
    )


def _zeta(coordinate: Coordinate) -> int:
    if coordinate.covariance != "dot_product":
        raise ValueError(f"soap: covariance_type is {coordinate.covariance}; only dot_product can be computed")
    zeta = coordinate.zeta
    if zeta is None:  # of old files
        zeta = float(coordinate.theta[0]) if len(coordinate.theta) == 1 else np.nan
    if zeta != round(zeta):
        raise ValueError(f"soap: zeta = {zeta:g}; only whole numbers can be computed")
    return int(zeta)


def _features(soap: Soap, blocks: Sequence[int]) -> NDArray[np.int32]:
    """Block, n, block', n', l of the numbers of a sparse point, in QUIP's order: l is fastest, then the second side."""
    sides = [(block, n) for block in blocks for n in range(soap.n_max)]
    return np.array(
        [
            (*first, *second, l)
            for k, first in enumerate(sides)
            for second in sides[: k + 1]
            if first[1] == second[1] or not soap.diagonal_radial
            for l in range(soap.l_max + 1)
        ],
        dtype=np.int32,
    )


def _values(coordinate: Coordinate, degrees: NDArray[np.int32], hypers: SoapHypers) -> Array:
    """The sparse points (n, features), converted to our conventions."""
    if coordinate.points.shape[1] != len(degrees) + 1:
        raise ValueError(
            f"gpCoordinates {coordinate.number}: dimensions = {coordinate.points.shape[1]}, but its descriptor has "
            f"{len(degrees) + 1}"
        )
    sigma = hypers.basis.density.sigma_angstrom  # type: ignore[union-attr]  # never a point
    unit = 1.0 if hypers.normalise else (4 * np.pi * (np.pi * sigma**2) ** -0.75) ** -2
    return np.ascontiguousarray(coordinate.points[:, :-1] * ((-1.0) ** degrees * unit))
