"""Fits a model that is linear in its weights: a basis, then one pass over the structures, then linear algebra."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import InputError, PotentialError
from ..frame import Array, Frame
from ..models.ace import AceModel
from ..models.base import MEMBERS, Model
from ..models.kernel import GapModel, SoapHypers, SoapTerm
from ..potentials.files import potential_of
from ..potentials.model import ENOUGH
from ..potentials.pair import PairPotential
from ..representation.contraction import Contraction
from . import data as labelled_data
from . import defaults, limits, nonlinear, parts
from .ace_rows import AceRows
from .calibration import Calibration, calibrate
from .config import Descriptor, FitConfig, PairDescriptor, SoapDescriptor
from .contradictions import contradiction
from .data import Labelled
from .labels import LabelReader
from .limits import Limit
from .regression import QUANTITIES, Factor, Validation, fit_all, leave_two_out
from .rows import UPPER, PairRows, Rows, SoapRows, isolated_features
from .selection import DIFFERENT, choose_features, choose_points, environments
from .sigmas import Progress, choose_sigmas

log = logging.getLogger(__name__)

CANDIDATE_BYTES, FEWEST_CANDIDATES = 2**29, 2000  # of the features among which points are chosen

SCALE_STRUCTURES = 30  # in which the functions of a cluster expansion are measured

Columns = SoapRows | PairRows | AceRows
"""What some of the weights stand for."""


def silent(things: Iterable, title: str, total: int) -> Iterable:
    """No progress."""
    return things


@dataclass(frozen=True, eq=False)
class Fit:
    """What came out.

    by_share: number of structures -> the model that was fitted to these many, for a learning curve.
    limits: what the model says far from its data.
    """

    model: Model
    by_share: dict[int, Model]
    train: list[Labelled]
    test: list[Labelled]
    limits: list[Limit]

    def __repr__(self) -> str:  # not the arrays: a model has thousands of numbers, and a prompt shows what is returned
        from ase.data import chemical_symbols

        species = ", ".join(chemical_symbols[number] for number in self.model.species)
        holes = sum(limit.hole for limit in self.limits)
        return (
            f"Fit({species}: {len(self.train)} structures, {len(self.test)} of test, "
            f"{len(self.limits)} limits, {holes} holes)"
        )


def fit(config: FitConfig, progress: Progress = silent) -> Fit:
    """Fits the model of a configuration, writes it to `output` and returns it.

    The rows of a group of structures are kept in `<output>.parts/` until the model is written, so that a fit that was
    interrupted goes on where it was. The model is tried before it is written. `InputError` for data or a configuration
    that no model can be made from, and while another fit writes this model.
    """
    data = _read(config)
    with parts.folder_for(config.output) as folder:
        return _fit(config, data, folder, progress)


@dataclass(frozen=True, eq=False)
class _Data:
    """Structures that are no isolated atoms, and e_0 (eV) of the species that have one."""

    train: list[Labelled]
    test: list[Labelled]
    species: tuple[int, ...]
    isolated: dict[int, float]


def _read(config: FitConfig) -> _Data:
    labels = LabelReader(config.data.keys())
    everything = labelled_data.read(config.data.train, config.data, labels)
    train, isolated = labelled_data.without_isolated(everything, config.data.train)
    if not train:
        raise InputError(f"{config.data.train}: there are only isolated atoms in it")
    test = labelled_data.read(config.data.test, config.data, labels) if config.data.test else []
    species = labelled_data.species_of(train)
    if config.data.test:
        labelled_data.check_species(test, species, config.data.test)
    if not any(one.energy is not None or one.forces is not None for one in train):
        raise InputError(f"{config.data.train}: no structure has energies or forces")
    unknown = set(config.sigma) - {one.group for one in everything} - {"default"}
    if unknown:
        raise InputError(f"sigma: no training structure is in the group {', '.join(sorted(unknown))}")
    return _Data(train, test, species, isolated)


def _fit(config: FitConfig, data: _Data, folder: Path, progress: Progress) -> Fit:
    from ase.data import atomic_numbers

    train, species, isolated = data.train, data.species, data.isolated
    shortest = defaults.shortest_distances([one.frame for one in train])
    config = config.model_copy(update={"baseline": [*config.baseline, *defaults.repulsion(config, species, shortest)]})
    baseline = _baseline(config, train)
    energies = labelled_data.atomic_energies(train, [b[0] for b in baseline], config.energies_ev, species, isolated)
    known = set(species) & ({atomic_numbers[symbol] for symbol in config.energies_ev} | set(isolated))
    rest = [_remainder(one, base, energies) for one, base in zip(train, baseline, strict=True)]
    per_atom = np.array([one.energy / len(one.frame) for one in rest if one.energy is not None])
    config = defaults.complete(config, train, species, per_atom)
    columns = [_columns_of(d, species, known, train, config, progress) for d in config.descriptors]
    groups = _groups(train, config.seed)
    factors = _accumulate(columns, rest, groups, config, folder, progress)
    regulariser = _block_diagonal([column.regulariser() for column in columns])
    validation = Validation(factors, regulariser)
    if (doubt := contradiction(validation)) is not None:
        log.warning("%s: %s", config.data.train, doubt)
    chosen, table = choose_sigmas(config, validation, factors, progress)
    del validation  # it is large
    regulariser = config.solver.regulariser(factors, chosen, regulariser)
    solution = fit_all(factors, chosen, regulariser)
    summary = _summary(config, train, known, factors, chosen, table)
    make = _Maker(config, species, energies, columns, summary)
    if config.embedding is not None:
        (column,) = columns
        assert isinstance(column, AceRows)  # `FitConfig` has seen to it
        trained = nonlinear.train(column, rest, config, factors, chosen, regulariser, solution, groups, folder)
        summary["training"] = trained.history
        model = make.embedded(column, trained)
        return _finished(model, {len(train): model}, train, known, data, config)
    members = None
    if len(groups) == MEMBERS:
        calibration = _calibrate(columns, rest, groups, leave_two_out(factors, chosen, regulariser), progress)
        members = solution.members(1.0 if calibration is None else calibration.factor)
        summary["uncertainty"] = None if calibration is None else calibration.summary()
    linear = make.model(solution.weights, members)
    sizes = np.cumsum([len(group) for group in groups])
    by_share = {int(sizes[k - 1]): make.model(w, None) for k, w in solution.by_share.items()}
    return _finished(linear, by_share, train, known, data, config)


def _finished(
    model: Model, by_share: dict[int, Model], train: list[Labelled], known: set[int], data: _Data, config: FitConfig
) -> Fit:
    """Tries the model, looks at its limits, and writes it."""
    _try(model, train[0].frame)
    found = limits.examine(potential_of(model), train, known)
    summary: Any = model.summary
    summary["holes"] = [limit.what for limit in found if limit.hole]
    model.save(config.output)
    return Fit(model, by_share, train, data.test, found)


def _calibrate(
    columns: Sequence[Columns],
    data: Sequence[Labelled],
    groups: Sequence[Sequence[int]],
    weights: Array,
    progress: Progress,
) -> Calibration | None:
    def row(frame: Frame) -> Array:
        next(shown, None)
        return Rows.joined([column.rows(frame, False, False) for column in columns]).energy

    labelled = sum(one.energy is not None for one in data)
    shown = iter(progress(range(labelled), "uncertainty", labelled))
    found = calibrate(weights, groups, data, row)
    next(shown, None)
    return found


def _try(model: Model, frame: Frame) -> None:
    """`InputError` if the model cannot be built, or gives something that is not finite."""
    try:
        result = potential_of(model, uncertainty=model.has_members).compute_one(frame)
    except PotentialError as error:
        raise InputError(f"the model was not written, it cannot be used: {error}") from error
    if not (np.isfinite(result.energy) and np.isfinite(result.forces).all() and np.isfinite(result.virial).all()):
        raise InputError(
            "the model was not written, it gives numbers that are not finite: raise sigma or lower n_sparse"
        )


def _baseline(config: FitConfig, data: Sequence[Labelled]) -> list[tuple[float, Array, Array]]:
    """Energy, forces and virial of the baseline for every structure."""
    if not config.baseline:
        return [(0.0, np.zeros((len(one.frame), 3)), np.zeros((3, 3))) for one in data]
    try:
        potential = PairPotential(config.baseline, enough=ENOUGH, others=labelled_data.species_of(data))
    except ValueError as error:
        raise InputError(f"baseline: {error}; repulsion = false leaves out that of the default") from error
    results = []
    for one in data:
        try:
            result = potential.compute_one(one.frame)
        except PotentialError as error:
            raise InputError(f"training {one.name}, baseline: {error}") from error
        results.append((result.energy, result.forces, result.virial))
    return results


def _columns_of(
    descriptor: Descriptor,
    species: tuple[int, ...],
    known: set[int],
    train: Sequence[Labelled],
    config: FitConfig,
    progress: Progress,
) -> Columns:
    """What is fitted for a descriptor."""
    if isinstance(descriptor, SoapDescriptor):
        return _soap_rows(descriptor, species, known, train, config, progress)
    if isinstance(descriptor, PairDescriptor):
        return PairRows(species, descriptor)
    try:
        columns = AceRows(species, descriptor)
    except ValueError as error:
        raise InputError(f"descriptors, ace: {error}") from error
    chosen = np.random.default_rng(config.seed).permutation(len(train))[:SCALE_STRUCTURES]
    columns.scale([train[number].frame for number in sorted(chosen.tolist())])
    return columns


def _soap_rows(
    descriptor: SoapDescriptor,
    species: tuple[int, ...],
    known: set[int],
    train: Sequence[Labelled],
    config: FitConfig,
    progress: Progress,
) -> SoapRows:
    """Chooses features and sparse points. Energies vanish for isolated atoms of the species that are known."""
    frames = [one.frame for one in train]
    contraction, mixed = _contraction(descriptor, species, frames)
    basis = descriptor.power_spectrum(species, **mixed)
    watched = list(progress(frames, "features", len(frames)))
    most = min(config.max_candidates, max(FEWEST_CANDIDATES, CANDIDATE_BYTES // (8 * len(basis))))
    x, of = environments(basis, watched, config.seed, most)
    if descriptor.n_features is not None:
        chosen = choose_features(x, descriptor.n_features, descriptor.feature_selection)
        basis = descriptor.power_spectrum(species, basis.features[chosen], **mixed)
        x = x[:, chosen]
        if descriptor.normalise:
            x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)
    isolated = {s: p for s in known if (p := isolated_features(basis, s)) is not None}
    points = {s: _points(x[of == s], s, isolated.get(s), descriptor, config, len(species)) for s in species}
    assert descriptor.delta_ev is not None  # `defaults.complete` has chosen it
    return SoapRows(descriptor, basis, points, descriptor.delta_ev, descriptor.jitter, isolated, contraction)


def _contraction(
    descriptor: SoapDescriptor, species: tuple[int, ...], frames: Sequence[Frame]
) -> tuple[Contraction | None, dict[str, Any]]:
    """That of a descriptor for these species, and as arguments of `power_spectrum`."""
    if descriptor.contraction is None:
        return None, {}
    assert descriptor.basis is not None, "`defaults.complete` chose one"
    made = descriptor.contraction.make(descriptor.basis, frames, species, tolerance=descriptor.spline_tolerance)
    log.info("%s: %s functions for l = 0, 1, ...", descriptor.contraction, ", ".join(map(str, made.counts)))
    return made, {"mixing": made.matrices, "sum_species": made.sum_species}


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


def _remainder(one: Labelled, baseline: tuple[float, Array, Array], energies: dict[int, float]) -> Labelled:
    """The labels without isolated atoms and baseline."""
    energy, forces, virial = baseline
    atoms = sum(energies[number] for number in one.frame.species.tolist())
    return replace(
        one,
        energy=None if one.energy is None else one.energy - energy - atoms,
        forces=None if one.forces is None else one.forces - forces,
        virial=None if one.virial is None else one.virial - virial,
    )


def _groups(train: Sequence[Labelled], seed: int) -> list[list[int]]:
    """Eight groups of structures in which every kind has its share, in random order; fewer for fewer structures."""
    order = np.random.default_rng(seed).permutation(len(train)).tolist()
    order.sort(key=lambda number: train[number].group)
    count = min(MEMBERS, len(train))
    return [order[k::count] for k in range(count)]


def _accumulate(
    columns: Sequence[Columns],
    data: Sequence[Labelled],
    groups: Sequence[Sequence[int]],
    config: FitConfig,
    folder: Path,
    progress: Progress,
) -> dict[str, list[Factor]]:
    fingerprint = _fingerprint(columns, data, config)
    n = sum(column.size for column in columns)
    factors: dict[str, list[Factor]] = {quantity: [] for quantity in QUANTITIES}
    watched = iter(progress([number for group in groups for number in group], "rows", len(data)))
    for k, group in enumerate(groups):
        path = folder / f"{k}.npz"
        found = parts.read(path, fingerprint, n)
        mine = found or {quantity: Factor(n) for quantity in QUANTITIES}
        for _ in group:
            number = next(watched)
            if not found:
                _add(mine, columns, data[number], config)
        if not found:
            for factor in mine.values():
                factor.finish()
            parts.write(path, fingerprint, mine)
        for quantity, factor in mine.items():
            factors[quantity].append(factor)
    next(watched, None)
    return {quantity: found for quantity, found in factors.items() if any(part.count for part in found)}


def _add(factors: dict[str, Factor], columns: Sequence[Columns], one: Labelled, config: FitConfig) -> None:
    try:
        rows = Rows.joined(
            [column.rows(one.frame, one.forces is not None, one.virial is not None) for column in columns]
        )
    except ValueError as error:
        raise InputError(f"training {one.name}: {error}") from error
    sigma, root = config.sigma_of(one.group), np.sqrt(len(one.frame))
    if one.energy is not None:
        weight = 1 / (sigma.energy_ev * root)
        factors["energy"].add(weight * rows.energy[None], np.array([weight * one.energy]))
    if one.forces is not None and rows.forces is not None:
        weight = 1 / sigma.force_ev_per_angstrom
        factors["forces"].add(weight * rows.forces, weight * one.forces.ravel())
    if one.virial is not None and rows.virial is not None:
        weight = 1 / (sigma.virial_ev * root)
        factors["virial"].add(weight * rows.virial, weight * one.virial.ravel()[UPPER])


def _fingerprint(columns: Sequence[Columns], data: Sequence[Labelled], config: FitConfig) -> str:
    """Of everything that the rows depend on."""
    digest = hashlib.sha256(
        config.model_dump_json(
            exclude={"output", "report", "cross_validation", "solver", "embedding", "training"}
        ).encode()
    )
    for column in columns:
        if isinstance(column, SoapRows):
            for points in column.points.values():
                digest.update(points.tobytes())
            for matrix in column.contraction.matrices.values() if column.contraction else ():
                digest.update(matrix.tobytes())
    for one in data:
        for array in (one.frame.positions, one.frame.cell, one.energy, one.forces, one.virial):
            digest.update(b"-" if array is None else np.asarray(array).tobytes())
    return digest.hexdigest()


def _block_diagonal(blocks: Sequence[Array]) -> Array:
    from scipy.linalg import block_diag

    return block_diag(*blocks)


def _summary(
    config: FitConfig,
    train: Sequence[Labelled],
    known: set[int],
    factors: dict[str, list[Factor]],
    chosen: dict[str, float],
    table: list[dict[str, Any]],
) -> dict[str, Any]:
    groups: dict[str, int] = {}
    for one in train:
        groups[one.group] = groups.get(one.group, 0) + 1
    return {
        "made_by": f"forceserver {__version__}",
        "structures": groups,
        "rows": {quantity: sum(part.count for part in parts) for quantity, parts in factors.items()},
        "sigma": {group: config.sigma_of(group).model_dump() for group in groups},
        "solver": config.solver.model_dump(),
        "sigma_factors": chosen,
        "cross_validation": table,
        "isolated_atoms_known": sorted(known),
        "descriptors": json.loads(config.model_dump_json(include={"descriptors"}))["descriptors"],
        "seed": config.seed,
    }


class _Maker:
    """Makes models of weights."""

    def __init__(
        self,
        config: FitConfig,
        species: tuple[int, ...],
        energies: dict[int, float],
        columns: Sequence[Columns],
        summary: dict[str, Any],
    ) -> None:
        self._baseline = tuple(config.baseline)
        self._embedding = config.embedding
        self._species, self._energies, self._columns, self._summary = species, energies, columns, summary

    def model(self, weights: Array, members: Array | None) -> Model:
        """weights (n,), members (8, n) or None."""
        soap: list[SoapTerm] = []
        expansion: dict[str, Any] = {}
        pairs: list[Any] = list(self._baseline)
        pair_members: list[list[Any]] = [list(self._baseline) for _ in range(MEMBERS)]
        for column, part in self._parts():
            if isinstance(column, PairRows):
                pairs += column.interactions(weights[part])
                for own, w in zip(pair_members, members if members is not None else (), strict=False):
                    own += column.interactions(w[part])
                continue
            of_members = None
            if members is not None:
                of_members = {s: w.T.copy() for s, w in column.split(members[:, part]).items()}
            if isinstance(column, AceRows):
                split = {s: w.copy() for s, w in column.split(weights[part]).items()}
                expansion = {"hypers": column.hypers, "functions": column.functions, "weights": split}
                expansion["members"] = of_members
                continue
            hypers = SoapHypers(**{name: getattr(column.hypers, name) for name in SoapHypers.model_fields})
            split = column.split(weights[part])
            term = SoapTerm(hypers, column.basis.features, column.points, split, of_members)
            if (made := column.contraction) is not None:
                term = replace(term, mixing=made.matrices, sum_species=made.sum_species)
            soap.append(term)
        common: dict[str, Any] = {
            "species": self._species,
            "energies": self._energies,
            "pairs": tuple(pairs),
            "pair_members": None if members is None else tuple(map(tuple, pair_members)),
            "summary": self._summary,
        }
        return AceModel(**expansion, **common) if expansion else GapModel(soap=tuple(soap), **common)

    def embedded(self, column: AceRows, trained: nonlinear.Trained) -> AceModel:
        """The nonlinear model of parameters that were trained."""
        return AceModel(
            species=self._species,
            energies=self._energies,
            hypers=column.hypers,
            functions=column.functions,
            weights={s: w.copy() for s, w in column.split(trained.weights).items()},
            pairs=self._baseline,
            summary=self._summary,
            embedding=self._embedding,
            parameters=dict(zip(column.species, trained.theta, strict=True)),
        )

    def _parts(self) -> Iterator[tuple[Columns, slice]]:
        first = 0
        for column in self._columns:
            yield column, slice(first, first + column.size)
            first += column.size
