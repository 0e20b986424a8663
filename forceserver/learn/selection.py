"""What the reference is to compute next, among what the simulations of a round have met.

Structures that have stopped a simulation come first, the most uncertain before others; then those that are farthest
from all that is known, among the more uncertain half of the records; and some at random, whose errors are those of the
simulations. The distance of a structure from others is that of its most unusual atom from the nearest atom of its
species, between power spectra of length one. What is no farther than `duplicate_distance` is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..fit.defaults import cutoff_for
from ..frame import Array, Frame
from ..potentials.trusted import MEASURE
from ..representation.config import ExpansionConfig
from ..representation.describing import FeatureMap
from . import rounds
from .config import LearnConfig
from .inputs import RECORD, UNCERTAIN, planned
from .rounds import Round
from .start import stripped

if TYPE_CHECKING:
    from ase import Atoms

MOST = 20_000
"""Known environments of a species with which others are compared; if there are more, so many of them at random."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A structure of a simulation, and the uncertainty of the model there, eV/Angstrom."""

    atoms: "Atoms"
    simulation: str
    uncertainty: float

    def chosen(self, why: str) -> "Atoms":
        """As it goes to the reference."""
        return stripped(
            self.atoms,
            None,
            why=why,
            simulation=self.simulation,
            uncertainty=self.uncertainty,
            number=int(self.atoms.info.get("number", -1)),
        )


def choose(
    one: Round, train: Sequence["Atoms"], config: LearnConfig, most: int, *, verify: bool, everywhere: bool = False
) -> list["Atoms"]:
    """What is to be computed after a round.

    Args:
        one: the round, whose simulations have ended.
        train: all structures that are known.
        config: the configuration.
        most: structures at most, what is left of the budget.
        verify: whether those at random are enough, since no simulation was stopped.
        everywhere: whether those at random are of every simulation, since they may tell that the target is reached.

    Returns:
        Structures, each with `why` it was chosen ("control", "uncertain" or "far") among its info; none if there is
        nothing new.
    """
    stopped = candidates(one, config, UNCERTAIN)
    records = candidates(one, config, RECORD)
    random = np.random.default_rng([config.seed, one.number])
    novelty = Novelty([Frame.from_ase(atoms) for atoms in train], config)
    chosen = []
    for candidate in control(records, config, random, everywhere=everywhere)[:most]:
        if novelty.add(candidate) > config.selection.duplicate_distance:
            chosen.append(candidate.chosen("control"))
    wanted = 0 if verify and not stopped else min(config.selection.per_round, most - len(chosen))
    uncertain: list[Atoms] = []
    for candidate in sorted(stopped, key=lambda one: -one.uncertainty):
        if len(uncertain) < wanted and novelty.of(candidate) > config.selection.duplicate_distance:
            novelty.add(candidate)
            uncertain.append(candidate.chosen("uncertain"))
    far = _farthest(records, novelty, wanted - len(uncertain), config.selection.duplicate_distance)
    return chosen + uncertain + [candidate.chosen("far") for candidate in far]


def candidates(one: Round, config: LearnConfig, file: str) -> list[Candidate]:
    """The structures that the simulations of a round have left in their files of this name."""
    found = []
    for plan in planned(config):
        path = one.simulations / plan.name / file
        for atoms in rounds.read(path) if path.exists() else ():
            found.append(Candidate(atoms, plan.name, float(atoms.info[MEASURE])))
    return found


def control(
    records: Sequence[Candidate], config: LearnConfig, random: np.random.Generator, *, everywhere: bool = False
) -> list[Candidate]:
    """One of each simulation after the other, until there are enough; each round has another order of simulations."""
    shuffled = [records[k] for k in random.permutation(len(records)).tolist()]
    plans = planned(config)
    names = [plans[k].name for k in random.permutation(len(plans)).tolist()]
    by_name = {name: [one for one in shuffled if one.simulation == name] for name in names}
    count = config.selection.control or len(names)
    if everywhere:
        count = max(count, len(names))
    turns = max((len(each) for each in by_name.values()), default=0)
    return [by_name[name][k] for k in range(turns) for name in names if k < len(by_name[name])][:count]


def _farthest(records: Sequence[Candidate], novelty: "Novelty", count: int, least: float) -> list[Candidate]:
    """Farthest points among the more uncertain half."""
    pool = sorted(records, key=lambda one: -one.uncertainty)[: (len(records) + 1) // 2]
    chosen: list[Candidate] = []
    while pool and len(chosen) < count:
        distances = [novelty.of(candidate) for candidate in pool]
        best = int(np.argmax(distances))
        if distances[best] <= least:
            break
        chosen.append(pool.pop(best))
        novelty.add(chosen[-1])
    return chosen


class Novelty:
    """How far structures are from all that is known."""

    def __init__(self, known: Sequence[Frame], config: LearnConfig) -> None:
        cutoff = config.fit.cutoff_angstrom or cutoff_for(known, config.seed)
        section = {
            "basis": {
                "kind": "gto",
                "n_max": 6,
                "l_max": 4,
                "cutoff": {"cutoff_angstrom": cutoff, "width_angstrom": 0.1 * cutoff},
                "density": {"kind": "gaussian", "sigma_angstrom": 0.1 * cutoff},
            },
            "normalise": True,
        }
        self._map = FeatureMap(ExpansionConfig.model_validate(section), [frame.to_ase() for frame in known])
        self._nearest: dict[Candidate, tuple[Array, NDArray[np.int32], Array]] = {}
        features, species = zip(*(self._features(frame) for frame in known), strict=True)
        self._known = dict(_by_species(np.concatenate(features), np.concatenate(species), config.seed))

    def of(self, candidate: Candidate) -> float:
        """The distance of its most unusual atom from the nearest that is known."""
        return float(self._distances(candidate)[2].max())

    def add(self, candidate: Candidate) -> float:
        """Makes it known; returns what was its distance."""
        distance = self.of(candidate)
        features, species, _ = self._distances(candidate)
        for other, near, least in self._nearest.values():
            np.minimum(
                least,
                _least_distances(other, near, {s: features[species == s] for s in set(species.tolist())}),
                out=least,
            )
        self._known = {
            s: np.concatenate([self._known.get(s, features[:0]), features[species == s]])
            for s in {*self._known, *species.tolist()}
        }
        return distance

    def _distances(self, candidate: Candidate) -> tuple[Array, NDArray[np.int32], Array]:
        """Features (N, F), species (N,) and distances (N,) of its atoms, which are computed once and then kept up."""
        if candidate not in self._nearest:
            features, species = self._features(Frame.from_ase(candidate.atoms))
            self._nearest[candidate] = features, species, _least_distances(features, species, self._known)
        return self._nearest[candidate]

    def _features(self, frame: Frame) -> tuple[Array, NDArray[np.int32]]:
        return self._map.at(self._map.neighbours(frame)).values().copy(), frame.species


def _by_species(features: Array, species: NDArray[np.int32], seed: int) -> Iterator[tuple[int, Array]]:
    random = np.random.default_rng(seed)
    for number in np.unique(species).tolist():
        mine = features[species == number]
        yield number, mine if len(mine) <= MOST else mine[random.choice(len(mine), MOST, replace=False)]


def _least_distances(features: Array, species: NDArray[np.int32], known: dict[int, Array]) -> Array:
    """(N,), infinite for a species that is not known: of vectors of length one, |a - b|^2 = 2 - 2 a.b."""
    distances = np.full(len(features), np.inf)
    for number, others in known.items():
        mine = species == number
        if mine.any() and len(others):
            products = (features[mine] @ others.T).max(axis=1)
            distances[mine] = np.sqrt(np.maximum(2 - 2 * products, 0.0))
    return distances
