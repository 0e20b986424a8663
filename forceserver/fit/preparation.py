"""What is fitted: structures, and their labels less isolated atoms and pair potentials."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from ..errors import InputError, PotentialError
from ..frame import Array
from ..models.base import MEMBERS
from ..models.pairs import Zbl
from ..potentials.model import ENOUGH
from ..potentials.pair import PairPotential
from . import data as labelled_data
from . import defaults
from .bonds import unlike_lengths
from .config import FitConfig, PairDescriptor
from .data import Labelled
from .labels import LabelReader
from .trajectories import follow_in_time

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Data:
    """The structures of a fit, without isolated atoms.

    species: atomic numbers in the training structures, ascending. isolated: energies (eV) of isolated atoms in the
    data, by atomic number.
    """

    train: list[Labelled]
    test: list[Labelled]
    species: tuple[int, ...]
    isolated: dict[int, float]


@dataclass(frozen=True, eq=False)
class Problem:
    """A fit in which nothing is left open.

    config: complete, with all defaults. rest: the training structures with what is left of their labels.
    energies: e_0 (eV) of each species. known: the species whose e_0 is that of an isolated atom. repulsion: what is
    in the baseline of `config` by default.
    """

    config: FitConfig
    data: Data
    rest: list[Labelled]
    energies: dict[int, float]
    known: set[int]
    repulsion: list[Zbl]


def read(config: FitConfig) -> Data:
    """Reads training and test structures.

    Raises:
        InputError: A file cannot be read, a label is refused (see `data.read`), there is nothing to fit, or the
            configuration names a group or the test structures have a species that no training structure has.
    """
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
        raise InputError(f"{config.data.train}: no structure has energies or forces; data.energy_key, ... name them")
    unknown = set(config.sigma) - {one.group for one in everything} - {"default"}
    if unknown:
        raise InputError(f"sigma: no training structure is in the group {', '.join(sorted(unknown))}")
    return Data(train, test, species, isolated)


def prepare(config: FitConfig, data: Data) -> Problem:
    """Completes the configuration and subtracts isolated atoms and pair potentials from the labels.

    Raises:
        InputError: A pair potential cannot be made, or cannot be evaluated for a training structure.
    """
    from ase.data import atomic_numbers

    train, species = data.train, data.species
    shortest = defaults.shortest_distances([one.frame for one in train])
    if (told := unlike_lengths(shortest)) is not None:
        log.warning("%s: %s", config.data.train, told)
    repulsion = defaults.repulsion(config, species, shortest)
    config = config.model_copy(update={"baseline": [*config.baseline, *repulsion]})
    baseline = _baseline(config, train)
    energies = labelled_data.atomic_energies(
        train, [b[0] for b in baseline], config.energies_ev, species, data.isolated
    )
    rest = [_remainder(one, base, energies) for one, base in zip(train, baseline, strict=True)]
    per_atom = np.array([one.energy / len(one.frame) for one in rest if one.energy is not None])
    complete = defaults.complete(config, train, species, per_atom)
    _check_cutoffs(complete, shortest)
    known = set(species) & ({atomic_numbers[symbol] for symbol in config.energies_ev} | set(data.isolated))
    return Problem(complete, data, rest, energies, known, repulsion)


def _check_cutoffs(config: FitConfig, shortest: Mapping[tuple[int, int], float]) -> None:
    """`InputError` if no atom has a neighbour: in nanometres, cutoffs are too short."""
    bases = [d.basis for d in config.descriptors if not isinstance(d, PairDescriptor)]
    cutoffs = [d.cutoff_angstrom for d in config.descriptors if isinstance(d, PairDescriptor)]
    cutoffs += [basis.cutoff.cutoff_angstrom for basis in bases if basis is not None]
    if shortest and max(cutoffs) < min(shortest.values()):
        raise InputError(
            f"cutoff_angstrom = {max(cutoffs):g}: the closest atoms of the training structures are "
            f"{min(shortest.values()):.3g} Angstrom apart, so that none has a neighbour"
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


def groups_of(train: Sequence[Labelled], seed: int) -> list[list[int]]:
    """Deals the structures into eight groups (fewer for fewer structures).

    Every kind of structure has its share in each. The order is random, but structures that follow one another in time
    stay together, in an eighth of each kind.

    Returns:
        The places of the structures of each group.
    """
    in_time, count = follow_in_time(train), min(MEMBERS, len(train))
    order = list(range(len(train))) if in_time else np.random.default_rng(seed).permutation(len(train)).tolist()
    order.sort(key=lambda number: train[number].group)
    if not in_time:
        return [order[k::count] for k in range(count)]
    log.info("structures follow one another in time: consecutive ones are left out together in cross-validation")
    kinds = [np.array_split(list(kind), count) for _, kind in groupby(order, key=lambda number: train[number].group)]
    return [np.concatenate(parts).astype(int).tolist() for parts in zip(*kinds, strict=True)]
