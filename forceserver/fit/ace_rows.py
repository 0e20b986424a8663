"""Rows of the design matrix of a cluster expansion: its functions, summed over the atoms of each species."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..frame import Array, Frame
from ..models.ace import AceHypers
from ..representation.contraction import Contraction
from ..representation.expansion import ExpansionBasis, SphericalExpansion
from ..representation.invariant_products import InvariantProducts
from ..representation.neighbours import NeighbourList, Selection
from ..representation.products import ProductGraph, truncate
from .config import AceDescriptor
from .rows import Rows, strain_rows

FLOOR = 1e-6  # of the largest root mean square of a column, for those that are zero in the sample


class Place:
    """Neighbours and coefficients (N, n_blocks * size) of one structure; centres: species -> its atoms.

    bases: by the species of the centres that have them.
    """

    def __init__(self, bases: Mapping[tuple[int, ...], ExpansionBasis], species: Sequence[int], frame: Frame) -> None:
        self.centres = {s: np.flatnonzero(frame.species == s) for s in species}
        self._parts = []
        for own, basis in bases.items():
            atoms = np.flatnonzero(np.isin(frame.species, own))
            if len(atoms):
                chosen = Selection(indices=tuple(atoms.tolist()))
                neighbours = NeighbourList(frame.species, basis.cutoff, pbc=frame.pbc, centres=chosen)
                neighbours.update(frame.positions, frame.cell)
                self._parts.append((atoms, SphericalExpansion(basis, neighbours)))
        self.coefficients = self._joined([expansion.values() for _, expansion in self._parts])

    def _joined(self, parts: Sequence[Array]) -> Array:
        """Rows of all parts as one array (N, n_blocks * size), in the order of the atoms."""
        if len(parts) == 1:
            return parts[0].reshape(len(parts[0]), -1)
        whole = np.empty((sum(map(len, parts)), parts[0][0].size))
        for (atoms, _), part in zip(self._parts, parts, strict=True):
            whole[atoms] = part.reshape(len(part), -1)
        return whole

    def vjp(self, gradient: Array) -> tuple[Array, Array]:
        """Forces (N, 3) and virial (3, 3) of an energy with this gradient (N, n_blocks * size)."""
        found = []
        for atoms, expansion in self._parts:
            shape = len(atoms), expansion.basis.n_blocks, expansion.basis.size
            found.append(expansion.vjp(np.ascontiguousarray(gradient[atoms]).reshape(shape)))
        forces, virial = (sum(parts) for parts in zip(*found, strict=True))
        return forces, virial

    def moved(self, moves: Array, strain: Array) -> Array:
        """What moves (N, 3) of the atoms and a strain (3, 3) change of the coefficients."""
        return self._joined([expansion.moved(moves, strain) for _, expansion in self._parts])

    def gradients(self, strain: bool) -> "Iterator[tuple[Tangents, Tangents | None]]":
        """Derivatives of the coefficients of each part by positions and, or None, by strain."""
        for atoms, expansion in self._parts:
            found = expansion.gradients(strain=strain)
            of_strain = None if found.strain is None else _of_atoms(atoms, *strain_rows(found.strain))
            yield _of_atoms(atoms, found.rows, found.positions), of_strain


Tangents = tuple[NDArray[np.int32], Array]
"""Rows (R, 3) of atom, block and target, and derivatives (R, directions, block size)."""


def _of_atoms(atoms: NDArray[np.int64], rows: NDArray[np.int32], tangents: Array) -> Tangents:
    """Rows of centres as rows of atoms."""
    return np.column_stack([atoms[rows[:, 0]], rows[:, 1:]]).astype(np.int32), tangents


def _functions(
    descriptor: AceDescriptor, n_species: int, contraction: Contraction | None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Channels (K, 4, 3) of the functions as their degrees count them, and the functions (K, 13) of the coefficients.

    Pseudo-species have the radial functions of the basis one after the other, as one block; n begins anew with each.
    """
    assert descriptor.truncation is not None  # `defaults.complete` has chosen them
    assert descriptor.basis is not None
    n_max, counts, blocks = descriptor.basis.n_max, None, n_species
    pseudo = descriptor.contraction is not None and descriptor.contraction.kind == "alchemical"
    if contraction is not None and pseudo:
        blocks = max(contraction.counts) // n_max
    elif contraction is not None:
        blocks, counts = 1 if contraction.sum_species else n_species, contraction.counts
    functions = truncate(descriptor.truncation, blocks, counts)
    channels = functions[:, :-1].reshape(len(functions), -1, 3).copy()
    if pseudo:
        block = functions[:, :-1].reshape(channels.shape)
        there = block[:, :, 0] >= 0
        block[there, 1] += n_max * block[there, 0]
        block[there, 0] = 0
        functions[:, :-1] = block.reshape(len(functions), -1)
    return channels, functions


class AceRows:
    """Columns of the functions of an expansion, those of centres of the first species first.

    Energies are zero for atoms without neighbours, as every function is.

    contraction: that of the radial functions, or None.
    kept: places of the functions that are used, among those of the descriptor; default all.
    ValueError: there are fewer functions than the descriptor says, or the splines cannot be made.
    """

    def __init__(
        self,
        species: Sequence[int],
        descriptor: AceDescriptor,
        contraction: Contraction | None = None,
        kept: NDArray[np.int64] | None = None,
    ) -> None:
        self.species = tuple(species)
        self.descriptor = descriptor
        assert descriptor.basis is not None
        self.contraction, self.mixing = contraction, {} if contraction is None else contraction.fields()
        self._channels, functions = _functions(descriptor, len(self.species), contraction)
        if kept is not None:
            self._channels, functions = self._channels[kept], functions[kept]
        graph = ProductGraph(functions)
        self.functions = functions
        self.hypers = AceHypers(basis=descriptor.basis, spline_tolerance=descriptor.spline_tolerance)
        self._bases = self.hypers.expansions(self.species, graph, **self.mixing)
        one = next(iter(self._bases.values()))  # all have the same layout
        self.products = InvariantProducts(graph, one)
        self._columns = {s: slice(k * len(graph), (k + 1) * len(graph)) for k, s in enumerate(self.species)}
        self.size = len(self.species) * len(graph)
        self._rms = np.ones(self.size)

    def only(self, kept: NDArray[np.int64]) -> "AceRows":
        """Columns of some of the functions, by their places, with the same prior."""
        chosen = AceRows(self.species, self.descriptor, self.contraction, kept)
        chosen._rms = self._rms.reshape(len(self.species), -1)[:, kept].ravel()
        return chosen

    def split(self, weights: Array) -> dict[int, Array]:
        """Weights (..., size) by species of the centres."""
        return {species: weights[..., columns] for species, columns in self._columns.items()}

    def part_of(self, species: int) -> slice:
        """The columns of centres of a species."""
        return self._columns[species]

    def place(self, frame: Frame) -> "Place":
        """What the functions need of a structure; `ValueError` if two atoms coincide."""
        return Place(self._bases, self.species, frame)

    def scale(self, frames: Sequence[Frame]) -> None:
        """Measures the functions on a sample: priors are those of functions with forces of one size."""
        squares, count = np.zeros(self.size), 0
        for frame in frames:
            rows = self.rows(frame, True, False).forces
            assert rows is not None
            squares += np.einsum("rk,rk->k", rows, rows)
            count += len(rows)
        rms = np.sqrt(squares / max(count, 1))
        self._rms = np.maximum(rms, FLOOR * rms.max(initial=0.0)) if rms.any() else np.ones(self.size)

    def smoothness(self) -> Array:
        """(K,), what the prior multiplies each weight by: 1 + sum over channels of (n + 1)^p + (l_weight l)^p."""
        prior = self.descriptor.prior
        channels = self._channels
        there = channels[:, :, 0] >= 0
        n, l = channels[:, :, 1] + 1.0, prior.l_weight * channels[:, :, 2]
        return 1 + (np.where(there, n, 0) ** prior.exponent + np.where(there, l, 0) ** prior.exponent).sum(axis=1)

    def regulariser(self) -> Array:
        """S (size, size), diagonal."""
        diagonal = np.tile(self.smoothness(), len(self.species)) * self._rms
        return np.diag(diagonal / self.descriptor.prior.delta_ev_per_angstrom)

    def rows(self, frame: Frame, forces: bool, virial: bool) -> Rows:
        """The rows of one structure; `ValueError` if two atoms coincide."""
        place = self.place(frame)
        c = place.coefficients
        energy = np.concatenate([self.products.values(c[mine]).sum(axis=0) for mine in place.centres.values()])
        if not (forces or virial):
            return Rows(energy, None, None)
        force_rows = np.zeros((3 * len(frame), self.size), order="F") if forces else None
        virial_rows = np.zeros((6, self.size), order="F") if virial else None
        for of_positions, of_strain in place.gradients(virial):
            if force_rows is not None:
                self._add_derivatives(force_rows, frame, c, *of_positions)
            if virial_rows is not None and of_strain is not None:
                self._add_derivatives(virial_rows, frame, c, *of_strain)
        return Rows(energy, force_rows, virial_rows)

    def _add_derivatives(self, to: Array, frame: Frame, c: Array, rows: NDArray[np.int32], tangents: Array) -> None:
        """Adds minus the derivatives to `to` (n_targets * directions, size)."""
        of, targets = frame.species[rows[:, 0]], len(to) // tangents.shape[1]
        for species in np.unique(of).tolist():
            mine = of == species
            own = tangents if mine.all() else np.ascontiguousarray(tangents[mine])
            to[:, self.part_of(species)] += self.products.derivatives(c, rows[mine], own, targets)
