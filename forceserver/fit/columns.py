"""What the weights of a fit stand for: columns of the design matrix, made for each descriptor."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..frame import Array, Frame
from ..representation.contraction import Contraction
from ..representation.invariants import PowerSpectrumBasis
from ..representation.scaled_multispectrum import ScaledMultispectrum
from . import defaults
from .ace_rows import AceRows
from .config import AceDescriptor, Descriptor, FitConfig, PairDescriptor, SoapDescriptor
from .multispectrum_rows import MultispectrumRows, scaled_multispectrum
from .preparation import Problem
from .progress import Progress
from .rows import PairRows, Rows, SoapRows, isolated_features
from .selection import DIFFERENT, choose_features, choose_points, environments

log = logging.getLogger(__name__)

CANDIDATE_BYTES, FEWEST_CANDIDATES = 2**29, 2000  # of the features among which points are chosen
SCALE_STRUCTURES = 30  # in which the functions of a cluster expansion are measured

Columns = SoapRows | PairRows | AceRows
"""What some of the weights stand for."""


def columns_of(problem: Problem, progress: Progress) -> list[Columns]:
    """The columns of every descriptor; of an expansion with candidates those of all of them.

    Raises:
        InputError: A descriptor cannot be made from these data; the message names the key.
    """
    return [_columns(descriptor, problem, progress) for descriptor in problem.config.descriptors]


def joined_rows(columns: Sequence[Columns], frame: Frame, forces: bool, virial: bool) -> Rows:
    """The rows of one structure; `ValueError` if two atoms are in one place."""
    return Rows.joined([column.rows(frame, forces, virial) for column in columns])


def _columns(descriptor: Descriptor, problem: Problem, progress: Progress) -> Columns:
    if isinstance(descriptor, SoapDescriptor):
        return _soap_rows(descriptor, problem, progress)
    species, train = problem.data.species, problem.data.train
    if isinstance(descriptor, PairDescriptor):
        return PairRows(species, descriptor)
    if descriptor.candidates is not None and descriptor.truncation is not None:
        pool = descriptor.truncation.model_copy(update={"functions": descriptor.candidates})
        descriptor = descriptor.model_copy(update={"truncation": pool})
    try:
        columns = AceRows(species, descriptor, _contraction(descriptor, problem, centre_contribution=False))
    except ValueError as error:
        raise InputError(f"descriptors, ace: {error}") from error
    chosen = np.random.default_rng(problem.config.seed).permutation(len(train))[:SCALE_STRUCTURES]
    columns.scale([train[number].frame for number in sorted(chosen.tolist())])
    return columns


def _soap_rows(descriptor: SoapDescriptor, problem: Problem, progress: Progress) -> SoapRows:
    """Chooses features and sparse points. Energies vanish for isolated atoms of the species that are known."""
    config, species = problem.config, problem.data.species
    frames = [one.frame for one in problem.data.train]
    contraction = _contraction(descriptor, problem)
    mixed: dict[str, Any] = {} if contraction is None else contraction.fields()
    basis: PowerSpectrumBasis | ScaledMultispectrum
    if descriptor.multispectrum is not None:
        expansion = descriptor.expansion(species, **mixed)
        basis = scaled_multispectrum(descriptor.multispectrum, expansion, frames, descriptor.normalise, progress)
    else:
        basis = descriptor.power_spectrum(species, **mixed)
    most = min(config.max_candidates, max(FEWEST_CANDIDATES, CANDIDATE_BYTES // (8 * len(basis))))
    x, of = environments(basis, frames, config.seed, most, progress)
    if descriptor.n_features is not None and isinstance(basis, PowerSpectrumBasis):
        chosen = choose_features(x, descriptor.n_features, descriptor.feature_selection)
        basis = descriptor.power_spectrum(species, basis.features[chosen], **mixed)
        x = x[:, chosen]
        if descriptor.normalise:
            x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)
    isolated = {s: p for s in problem.known if (p := isolated_features(basis, s)) is not None}
    points = {s: _points(x[of == s], s, isolated.get(s), descriptor, config, len(species)) for s in species}
    assert descriptor.delta_ev is not None, "`defaults.complete` chose one"
    make = MultispectrumRows if isinstance(basis, ScaledMultispectrum) else SoapRows
    return make(descriptor, basis, points, descriptor.delta_ev, descriptor.jitter, isolated, contraction)


def _contraction(
    descriptor: SoapDescriptor | AceDescriptor, problem: Problem, *, centre_contribution: bool = True
) -> Contraction | None:
    """That of a descriptor for the species of the data."""
    if descriptor.contraction is None:
        return None
    assert descriptor.basis is not None, "`defaults.complete` chose one"
    basis: Any = descriptor.basis  # `Covariance` takes any that is the same for all pairs of species
    made = descriptor.contraction.make(
        basis,
        (one.frame for one in problem.rest),
        problem.data.species,
        energies=[one.energy for one in problem.rest],
        centre_contribution=centre_contribution,
        tolerance=descriptor.spline_tolerance,
    )
    log.info("%s: %s functions for l = 0, 1, ...", descriptor.contraction, ", ".join(map(str, made.counts)))
    return made


def _points(
    x: Array, number: int, isolated: Array | None, descriptor: SoapDescriptor, config: FitConfig, n_species: int
) -> Array:
    """Sparse points of a species; an environment without neighbours is none if its energy is zero anyway."""
    from ase.data import chemical_symbols

    if isolated is not None:
        x = x[((x - isolated) ** 2).sum(axis=1) > DIFFERENT * (isolated @ isolated)]
    if len(x) == 0 and descriptor.n_sparse is None:
        return x
    most = defaults.most_points(config, n_species)
    return choose_points(x, descriptor, chemical_symbols[number], config.seed, most)
