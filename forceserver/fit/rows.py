"""Rows of the design matrix: energies, forces and virials of a structure as linear functions of the weights."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..frame import Array, Frame
from ..models.kernel import SoapHypers
from ..models.pairs import GaussianPair, SplinedPair, gaussians, smooth_step
from ..representation.contraction import Contraction
from ..representation.invariants import PowerSpectrumBasis
from ..representation.neighbours import NeighbourList
from ..representation.pairs import pairs_within
from ..representation.scaled_multispectrum import ScaledMultispectrum
from .config import PairDescriptor
from .regression import root_of_kernel

CHUNK_BYTES = 1 << 24  # what the caches hold
UPPER = np.array([0, 1, 2, 4, 5, 8])  # xx xy xz yy yz zz


@dataclass(frozen=True, eq=False)
class Rows:
    """energy (n,); forces (3 N, n) and virial (6, n: xx xy xz yy yz zz) or None."""

    energy: Array
    forces: Array | None
    virial: Array | None

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """Columns of several descriptors side by side."""

        def join(name: str) -> Any:
            arrays = [getattr(part, name) for part in parts]
            return None if arrays[0] is None else np.concatenate(arrays, axis=-1)

        return cls(join("energy"), join("forces"), join("virial"))


def strain_rows(strain: Array) -> tuple[NDArray[np.int32], Array]:
    """Strain derivatives (n_centres, n_blocks, 3, 3, size) as `SphericalExpansion.gradients` has those of positions.

    Rows (n, 3) of centre, block and target, which is always the first; derivatives (n, 6, size).
    """
    n_centres, n_blocks = strain.shape[:2]
    centre, block = (index.ravel() for index in np.indices((n_centres, n_blocks)))
    return np.stack([centre, block, 0 * centre], axis=1), strain.reshape(n_centres * n_blocks, 9, -1)[:, UPPER]


class SoapRows:
    """Columns of the sparse points of one power spectrum, those of the first species first.

    points: species -> (M, F), normalised if the features are.
    isolated: species -> (F,), features of an atom without neighbours, for species whose e_0 is that of the atom. The
        kernel is then k(p, q) - k(p, p_0) k(p_0, q) / k(p_0, p_0): that of functions that vanish for the atom.
    contraction: that of the basis, for the model.
    """

    def __init__(
        self,
        hypers: SoapHypers,
        basis: PowerSpectrumBasis | ScaledMultispectrum,
        points: Mapping[int, Array],
        delta: float,
        jitter: float = 1e-13,
        isolated: Mapping[int, Array] | None = None,
        contraction: Contraction | None = None,
    ) -> None:
        self.hypers = hypers
        self.contraction = contraction
        self.basis: Any = basis
        isolated = isolated or {}
        self.points = {s: np.vstack([isolated[s], q]) if s in isolated else np.array(q) for s, q in points.items()}
        self._raw = basis.raw()
        self._delta, self._jitter = delta, jitter
        self._columns, self._whole = _consecutive(points), _consecutive(self.points)
        self.size = sum(map(len, points.values()))
        self._width = sum(map(len, self.points.values()))
        self._shares = {s: self._share(self.points[s]) for s in isolated}

    def _share(self, points: Array) -> Array:
        """k(p_0, q) / k(p_0, p_0) of the other points, (M,), p_0 being the first."""
        kernel = (points @ points[0]) ** self.hypers.zeta
        return kernel[1:] / kernel[0]

    def split(self, weights: Array) -> dict[int, Array]:
        """Weights (..., size) by species, for all points; that of p_0 makes the energy of the atom zero."""
        parts = {species: weights[..., columns] for species, columns in self._columns.items()}
        for species, share in self._shares.items():
            part = parts[species]
            parts[species] = np.concatenate([-(part @ share)[..., None], part], axis=-1)
        return parts

    def regulariser(self) -> Array:
        """S (size, size), block-diagonal by species: w^T K w / delta^2."""
        s = np.zeros((self.size, self.size))
        for species, q in self.points.items():
            part = self._columns[species]
            kernel = (q @ q.T) ** self.hypers.zeta
            if species in self._shares:
                kernel = kernel[1:, 1:] - np.outer(kernel[1:, 0], self._shares[species])
            s[part, part] = root_of_kernel(kernel, self._jitter) / self._delta
        return s

    def _reduced(self, whole: Array) -> Array:
        """Rows (..., width) for all points to rows (..., size) for the weights that are free."""
        if not self._shares:
            return whole
        rows = np.empty((*whole.shape[:-1], self.size))
        for species, columns in self._columns.items():
            part = whole[..., self._whole[species]]
            if species in self._shares:
                part = part[..., 1:] - part[..., :1] * self._shares[species]
            rows[..., columns] = part
        return rows

    def rows(self, frame: Frame, forces: bool, virial: bool) -> Rows:
        """The rows of one structure; `ValueError` for atoms on one place."""
        neighbours = NeighbourList(frame.species, self.basis.expansion.cutoff, pbc=frame.pbc)
        neighbours.update(frame.positions, frame.cell)
        spectrum = self._raw.at(neighbours)
        features = spectrum.values().copy()
        norms = np.linalg.norm(features, axis=1) if self.hypers.normalise else np.ones(len(features))
        norms[norms == 0] = 1.0
        features /= norms[:, None]
        kernels, slopes = self._kernels(frame.species, features)
        energy = np.zeros(self._width)
        for species, u in kernels.items():
            energy[self._whole[species]] = (u**self.hypers.zeta).sum(axis=0)
        energy = self._reduced(energy)
        if not (forces or virial):
            return Rows(energy, None, None)
        gradients = spectrum.expansion.gradients(strain=virial)
        coefficients = spectrum.expansion.values()
        place = _Place(frame, features, norms, slopes)
        force_rows = virial_rows = None
        if forces:
            force_rows = np.zeros((3 * len(frame), self._width))
            self._reverse(place, coefficients, gradients.rows, gradients.positions, force_rows)
            force_rows = self._reduced(force_rows)
        if gradients.strain is not None:
            virial_rows = np.zeros((6, self._width))
            self._reverse(place, coefficients, *strain_rows(gradients.strain), virial_rows)
            virial_rows = self._reduced(virial_rows)
        return Rows(energy, force_rows, virial_rows)

    def _kernels(self, species: NDArray[np.int32], features: Array) -> tuple[dict[int, Array], dict[int, Array]]:
        """p . q of the centres of each species, (n, M), and zeta (p . q)^(zeta - 1)."""
        zeta = self.hypers.zeta
        kernels = {s: features[species == s] @ q.T for s, q in self.points.items() if (species == s).any()}
        return kernels, {s: zeta * u ** (zeta - 1) for s, u in kernels.items()}

    def _reverse(
        self, place: "_Place", coefficients: Array, rows: NDArray[np.int32], derivative: Array, out: Array
    ) -> None:
        """out[target, direction] -= d sum_i k(p_i, q) for derivatives (n_rows, directions, size) of coefficients."""
        directions = derivative.shape[1]
        per_row = 8 * directions * (self._width + 4 * len(self.basis))
        for first in range(0, len(rows), max(1, CHUNK_BYTES // per_row)):
            part = slice(first, first + max(1, CHUNK_BYTES // per_row))
            centre, block, target = rows[part].T
            g = self._feature_gradients(place.frame.species, coefficients, centre, block, derivative[part])
            if self.hypers.normalise:  # through p / |p|
                features = place.features[centre]
                g -= (g @ features[:, :, None]) * features[:, None]
            g /= place.norms[centre, None, None]
            for species, columns in self._whole.items():
                mine = np.flatnonzero(place.frame.species[centre] == species)
                if len(mine) == 0:
                    continue
                own = g if len(mine) == len(g) else g[mine]
                d = own.reshape(len(mine) * directions, -1) @ self.points[species].T
                d = d.reshape(len(mine), directions, -1)
                for of_centre, number in _runs(place.number[centre[mine]]):
                    d[of_centre] *= place.slopes[species][number]
                scatter = sparse.csr_matrix(
                    (np.ones(len(mine)), (target[mine], np.arange(len(mine)))),
                    shape=(len(out) // directions, len(mine)),
                )
                out[:, columns] -= (scatter @ d.reshape(len(mine), -1)).reshape(len(out), -1)

    def _feature_gradients(
        self, species: NDArray[np.int32], coefficients: Array, centre: Array, block: Array, derivative: Array
    ) -> Array:
        """d p / d x (n, directions, F), not normalised, of derivatives of the coefficients of one block."""
        expansion = self.basis.expansion
        c, dc = expansion.split(coefficients), expansion.split(derivative)
        directions = derivative.shape[1]
        g = np.zeros((len(centre) * directions, len(self.basis)))
        of_block = {b: _whole_rows(block == b, directions) for b in np.unique(block).tolist()}
        for degree in expansion.counts:
            right = np.swapaxes(c[degree][centre], 1, 2)  # (n, m, blocks, n')
            right = right.reshape(len(centre), 2 * degree + 1, -1)
            left = np.swapaxes(dc[degree], 2, 3).reshape(len(centre), -1, 2 * degree + 1)  # (n, directions n, m)
            products = (left @ right).reshape(len(g), -1)
            for b, rows in of_block.items():
                own = products if len(rows) == len(g) else products[rows]
                for features, places in self._picks[b, degree]:
                    g[rows[:, None], features] += self.basis.weight[features] * own.take(places, axis=1)
        return g.reshape(len(centre), directions, -1)

    @cached_property
    def _picks(self) -> dict[tuple[int, int], list[tuple[NDArray[np.intp], NDArray[np.intp]]]]:
        """`_pick` of every block and degree."""
        blocks = range(self.basis.expansion.n_blocks)
        return {(b, l): self._pick(b, l) for b in blocks for l in self.basis.expansion.counts}

    def _pick(self, b: int, degree: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Features to which the derivative of block b adds, and places of (n, block', n') in its products with others:
        one pair for each side."""
        n_blocks, n_radial = self.basis.expansion.n_blocks, self.basis.expansion.counts[degree]
        b1, n1, b2, n2, l = self.basis.features.T
        found = []
        for own_b, own_n, other_b, other_n in ((b1, n1, b2, n2), (b2, n2, b1, n1)):
            features = np.flatnonzero((l == degree) & (own_b == b))
            places = (own_n * n_blocks + other_b) * n_radial + other_n
            found.append((features, places[features]))
        return found


class _Place:
    """What the derivative needs of the centres of a structure."""

    def __init__(self, frame: Frame, features: Array, norms: Array, slopes: dict) -> None:
        self.frame, self.features, self.norms, self.slopes = frame, features, norms, slopes
        self.number = np.zeros(len(frame), dtype=np.int64)  # among the centres of the same species
        for species in np.unique(frame.species):
            mine = frame.species == species
            self.number[mine] = np.arange(mine.sum())


def _whole_rows(chosen: NDArray[np.bool_], directions: int) -> NDArray[np.intp]:
    """Places (directions * the number of those chosen,) in an array that has a row for each direction."""
    return np.flatnonzero(np.repeat(chosen, directions))


def _runs(numbers: NDArray[np.int64]) -> Iterator[tuple[slice, int]]:
    """Where equal numbers follow one another, and which."""
    ends = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    return ((slice(first, last), int(numbers[first])) for first, last in pairwise(ends))


def _consecutive(parts: Mapping[int, Array]) -> dict[int, slice]:
    """Where each part is if all are put side by side."""
    ends = np.cumsum([0, *map(len, parts.values())]).tolist()
    return dict(zip(parts, map(slice, ends[:-1], ends[1:]), strict=True))


def isolated_features(basis: PowerSpectrumBasis | ScaledMultispectrum, species: int) -> Array | None:
    """Features (F,) of an atom without neighbours, or None if they all are zero: then every kernel with it is, too."""
    neighbours = NeighbourList(np.array([species], dtype=np.int32), basis.expansion.cutoff, pbc=np.zeros(3, dtype=bool))
    neighbours.update(np.zeros((1, 3)), np.zeros((3, 3)))
    features = basis.at(neighbours).values()[0].copy()
    return features if features.any() else None


class PairRows:
    """Columns of Gaussian kernels of distances, for every pair of species."""

    def __init__(self, species: Sequence[int], descriptor: PairDescriptor) -> None:
        self._descriptor = descriptor
        self._points = np.linspace(descriptor.start_angstrom, descriptor.cutoff_angstrom, descriptor.n_sparse)
        self.kinds = list(combinations_with_replacement(sorted(species), 2))
        self.size = len(self.kinds) * len(self._points)

    def interactions(self, weights: Array) -> tuple[SplinedPair, ...]:
        """The pair potentials that weights (size,) stand for."""
        from ase.data import chemical_symbols

        d = self._descriptor
        return tuple(
            GaussianPair(
                species=(chemical_symbols[first], chemical_symbols[second]),
                cutoff_angstrom=d.cutoff_angstrom,
                smoothing_angstrom=d.smoothing_angstrom,
                length_angstrom=d.length_angstrom,
                distances_angstrom=tuple(self._points.tolist()),
                weights_ev=tuple(part.tolist()),
            ).splined()
            for (first, second), part in zip(self.kinds, weights.reshape(len(self.kinds), -1), strict=True)
        )

    def regulariser(self) -> Array:
        """S (size, size): w^T K w / delta^2 for each pair of species."""
        kernel = gaussians(self._points, self._points, self._descriptor.length_angstrom)[0]
        root: Array = root_of_kernel(kernel) / self._descriptor.delta_ev
        return np.kron(np.eye(len(self.kinds)), root).astype(np.float64, copy=False)

    def rows(self, frame: Frame, forces: bool, virial: bool) -> Rows:
        """The rows of one structure."""
        i, j, r, vectors = pairs_within(frame, self._descriptor.cutoff_angstrom)
        n_points = len(self._points)
        value, slope = self._functions(r)
        low, high = np.minimum(frame.species[i], frame.species[j]), np.maximum(frame.species[i], frame.species[j])
        energy = np.zeros(self.size)
        force_rows = np.zeros((3 * len(frame), self.size)) if forces else None
        virial_rows = np.zeros((6, self.size)) if virial else None
        for k, (first, second) in enumerate(self.kinds):
            columns = slice(k * n_points, (k + 1) * n_points)
            mine = np.flatnonzero((low == first) & (high == second))
            energy[columns] = value[mine].sum(axis=0)
            towards = vectors[mine, :, None] / r[mine, None, None] * slope[mine, None, :]  # dE/dr_j
            if force_rows is not None:
                number = np.arange(len(mine))
                ends = np.concatenate([i[mine], j[mine]]), np.concatenate([number, number])
                signs = np.repeat([1.0, -1.0], len(mine))
                scatter = sparse.csr_matrix((signs, ends), shape=(len(frame), len(mine)))
                force_rows[:, columns] = (scatter @ towards.reshape(len(mine), 3 * n_points)).reshape(-1, n_points)
            if virial_rows is not None:
                full = -np.einsum("pa,pbt->abt", vectors[mine], towards)
                virial_rows[:, columns] = full.reshape(9, -1)[UPPER]
        return Rows(energy, force_rows, virial_rows)

    def _functions(self, r: Array) -> tuple[Array, Array]:
        """Switched kernels and their derivatives (k, t), as `GaussianPair.evaluate` has them."""
        d = self._descriptor
        switch, switch_slope = smooth_step(r, d.cutoff_angstrom, d.smoothing_angstrom)
        value, slope = gaussians(r, self._points, self._descriptor.length_angstrom)
        return value * switch[:, None], slope * switch[:, None] + value * switch_slope[:, None]
