"""How many displacements of the atoms of an environment its features notice: the rank of their Jacobian.

The Jacobian J = df/dr (F, 3 n) of the features of a centre that sees n - 1 atoms has rank 3 n - 6 at most, since
translations and rotations change nothing; a smaller rank is a displacement that no model of these features can feel
(Pozdnyakov, Zhang, Ortner, Csanyi, Ceriotti, Open Res. Europe 1, 126 (2021)).

What counts as zero: displacements that change nothing for sure (translations, rotations, atoms beyond the cutoff) are
applied by finite steps. The largest response among them, |f(r + d) - f(r)| / |d|, is the level of the noise.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.spatial.transform import Rotation

from ..errors import InputError
from ..frame import Array, Frame
from ..representation.describing import Describer, FeatureMap
from ..representation.multispectrum import MultispectrumFeatures
from ..representation.neighbours import NeighbourList, Selection

STEP = 1e-3  # Angstrom, length of a displacement of all atoms together
MARGIN = 1.0  # Angstrom beyond the cutoff, in which atoms are looked for that change nothing
ROUNDS = 4  # of random displacements of each kind
APART = 10 * STEP


@dataclass(frozen=True, eq=False)
class Jacobian:
    """singular_values: descending, per Angstrom. noise: the level below which they are zero. atoms: n."""

    singular_values: Array
    noise: float
    atoms: int

    @property
    def rank(self) -> int:
        """Singular values above the noise."""
        return int((self.singular_values > self.noise).sum())

    @property
    def most(self) -> int:
        """3 n - 6, the largest possible rank; 1 for two atoms, 0 for one."""
        return 3 * self.atoms - 6 if self.atoms > 2 else self.atoms - 1


def environment(frame: Frame, centre: int, cutoff: float) -> Frame:
    """The atoms around one atom, up to MARGIN beyond the cutoff, as a cluster; the atom itself is the first."""
    pairs = NeighbourList(frame.species, cutoff + MARGIN, pbc=frame.pbc, centres=Selection(indices=(centre,)))
    pairs.update(frame.positions, frame.cell)
    vectors = pairs.packed[pairs.pair_site, :3] + pairs.image_vectors[pairs.pair_image, :3]
    vectors = vectors - pairs.packed[pairs.centre_site[0], :3]
    near = np.linalg.norm(vectors, axis=1) < cutoff + MARGIN
    species = np.append(frame.species[centre], frame.species[pairs.site_atom[pairs.pair_site]][near])
    positions = np.vstack([np.zeros(3), vectors[near]])
    return Frame(positions, np.zeros((3, 3)), species.astype(np.int32), np.zeros(3, dtype=bool))


def jacobian(features: FeatureMap, frame: Frame, centre: int, seed: int = 0) -> Jacobian:
    """The Jacobian of the features of one atom. `InputError` if neighbours are given by index, or atoms coincide."""
    if isinstance((features.config.neighbours or ("",))[0], int):
        raise InputError("expansion.neighbours: a Jacobian needs species, not indices, of neighbours")
    cluster = environment(frame, centre, features.expansion.cutoff)
    distances = np.linalg.norm(cluster.positions, axis=1)
    seen = (distances < features.expansion.cutoff) & np.isin(cluster.species, features.expansion.species)
    seen[0] = True
    try:
        rows = _rows(features, cluster)
    except ValueError as error:
        raise InputError(f"atom {centre}: {error}") from error
    inside = linalg.svdvals(rows[:, seen].reshape(len(rows), -1))
    return Jacobian(inside, _noise(features, cluster, distances, seen, seed), int(seen.sum()))


def _at(features: FeatureMap, cluster: Frame, positions: Array) -> Describer:
    moved = Frame(np.ascontiguousarray(positions), cluster.cell, cluster.species, cluster.pbc)
    return features.at(features.neighbours(moved, Selection(indices=(0,))))


def _rows(features: FeatureMap, cluster: Frame) -> Array:
    """(F, atoms, 3)."""
    describer = _at(features, cluster, cluster.positions)
    number = describer.values().shape[1]
    if isinstance(describer, MultispectrumFeatures):
        return -np.stack([describer.expansion.vjp(g[None])[0].copy() for g in describer.coefficient_gradients()])
    return -np.stack([describer.vjp(unit[None])[0].copy() for unit in np.eye(number)])


def _noise(features: FeatureMap, cluster: Frame, distances: Array, seen: NDArray[np.bool_], seed: int) -> float:
    before = _at(features, cluster, cluster.positions).values().copy()
    responses = []
    for positions in _unnoticed(cluster, distances - features.expansion.cutoff, seen, np.random.default_rng(seed)):
        change = np.linalg.norm(_at(features, cluster, positions).values() - before)
        responses.append(float(change / np.linalg.norm(positions - cluster.positions)))
    return max(responses)


def _unnoticed(cluster: Frame, beyond: Array, seen: NDArray[np.bool_], rng: np.random.Generator) -> Iterator[Array]:
    """Positions after displacements that change nothing."""
    x = cluster.positions
    for _ in range(ROUNDS):
        direction = rng.normal(size=3)
        yield x + STEP / np.sqrt(len(x)) * direction / np.linalg.norm(direction)
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        moved = np.linalg.norm(np.cross(axis, x))
        if moved > 0:
            yield Rotation.from_rotvec(axis * min(1.0, STEP / float(moved))).apply(x)
    outside = np.flatnonzero(~seen & (beyond > APART))
    for atom in rng.permutation(outside)[:ROUNDS]:
        step = np.zeros_like(x)
        step[atom] = rng.normal(size=3)
        yield x + STEP * step / np.linalg.norm(step)
