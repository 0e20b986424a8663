"""Rows of the design matrix of a cluster expansion: its functions, summed over the atoms of each species."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..frame import Array, Frame
from ..models.ace import AceHypers
from ..representation.expansion import ExpansionBasis, SphericalExpansion
from ..representation.invariant_products import InvariantProducts
from ..representation.neighbours import NeighbourList
from ..representation.products import ProductGraph, truncate
from .config import AceDescriptor
from .rows import Rows, strain_rows

FLOOR = 1e-6  # of the largest root mean square of a column, for those that are zero in the sample


class Place:
    """Neighbours and coefficients (N, n_blocks * size) of one structure; centres: species -> its atoms."""

    def __init__(self, basis: ExpansionBasis, species: Sequence[int], frame: Frame) -> None:
        neighbours = NeighbourList(frame.species, basis.cutoff, pbc=frame.pbc)
        neighbours.update(frame.positions, frame.cell)
        self.expansion = SphericalExpansion(basis, neighbours)
        self.coefficients = self.expansion.values().reshape(len(frame), -1)
        self.centres = {s: np.flatnonzero(frame.species == s) for s in species}


class AceRows:
    """Columns of the functions of an expansion, those of centres of the first species first.

    Energies are zero for atoms without neighbours, as every function is.

    ValueError: there are fewer functions than the descriptor says, or the splines cannot be made.
    """

    def __init__(self, species: Sequence[int], descriptor: AceDescriptor) -> None:
        self.species = tuple(species)
        self.descriptor = descriptor
        assert descriptor.truncation is not None  # `defaults.complete` has chosen them
        assert descriptor.basis is not None
        functions = truncate(descriptor.truncation, len(self.species))
        graph = ProductGraph(functions)
        self.functions = functions
        self.hypers = AceHypers(basis=descriptor.basis, spline_tolerance=descriptor.spline_tolerance)
        self._expansion = self.hypers.expansion(self.species, graph)
        self.products = InvariantProducts(graph, self._expansion)
        self._columns = {s: slice(k * len(graph), (k + 1) * len(graph)) for k, s in enumerate(self.species)}
        self.size = len(self.species) * len(graph)
        self.block_size = self._expansion.size
        self._rms = np.ones(self.size)

    def split(self, weights: Array) -> dict[int, Array]:
        """Weights (..., size) by species of the centres."""
        return {species: weights[..., columns] for species, columns in self._columns.items()}

    def part_of(self, species: int) -> slice:
        """The columns of centres of a species."""
        return self._columns[species]

    def place(self, frame: Frame) -> "Place":
        """What the functions need of a structure; `ValueError` if two atoms coincide."""
        return Place(self._expansion, self.species, frame)

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
        channels = self.functions[:, :-1].reshape(len(self.functions), -1, 3)
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
        gradients = place.expansion.gradients(strain=virial)
        force_rows = virial_rows = None
        if forces:
            force_rows = self._derivatives(frame, c, gradients.rows, gradients.positions, len(frame))
        if gradients.strain is not None:
            virial_rows = self._derivatives(frame, c, *strain_rows(gradients.strain), 1)
        return Rows(energy, force_rows, virial_rows)

    def _derivatives(self, frame: Frame, c: Array, rows: NDArray[np.int32], tangents: Array, n_targets: int) -> Array:
        """Minus the derivatives, (n_targets * directions, size)."""
        of = frame.species[rows[:, 0]]
        parts = []
        for species in self.species:
            mine = of == species
            if mine.all():
                parts.append(self.products.derivatives(c, rows, tangents, n_targets))
            else:
                own = np.ascontiguousarray(tangents[mine])
                parts.append(self.products.derivatives(c, rows[mine], own, n_targets))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
