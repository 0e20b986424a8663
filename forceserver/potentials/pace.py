"""PACE potentials at work: files of pacemaker, evaluated by the kernels of our own cluster expansion.

Positions -> coefficients, and the repulsion that each atom feels -> densities -> energies and their derivatives by
these -> forces and virial. `models.pace` has the formula.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..frame import Array, Frame
from ..models import readers
from ..models.pace import PaceEmbedding, PaceModel
from ..models.pace_radial import PaceBond, inner_step
from ..models.pace_splines import core_of, expansion_of
from ..representation.expansion import ExpansionBasis, SphericalExpansion
from ..representation.invariant_products import InvariantProducts
from ..representation.neighbours import NeighbourList
from ..representation.products import ProductGraph
from ..sections import InputFile, Section
from .base import SKIN
from .model import ModelPotential, Surroundings, Term

TOLERANCE = 1e-6  # of radial functions, relative to the largest value of each


class PaceConfig(Section):
    """`kind = "pace"`: a potential of pacemaker (.yace, .ace), or one that `forceserver convert` has made (.npz).

    spline_tolerance: how far splined radial functions may be from exact ones, relative to the largest value.
    """

    kind: Literal["pace"]
    model: InputFile
    spline_tolerance: float = Field(default=TOLERANCE, ge=1e-10, le=1e-2)
    skin_angstrom: float = Field(default=SKIN, ge=0)

    def build(self, template: Frame) -> "PacePotential":
        """The potential; `InputError` if the file is damaged, or has what is not known here."""
        return PacePotential.load(self.model, spline_tolerance=self.spline_tolerance, skin=self.skin_angstrom)


class PacePotential(ModelPotential):
    """A PACE potential; the arguments are those of `PaceConfig`, errors those of `ModelPotential`.

    It has no members: `InputError` if an uncertainty is requested.
    """

    def __init__(
        self,
        model: PaceModel,
        *,
        uncertainty: bool = False,
        spline_tolerance: float = TOLERANCE,
        skin: float = SKIN,
    ) -> None:
        super().__init__(
            model, lambda: [_at_work(model, s, spline_tolerance) for s in model.species], uncertainty, skin
        )

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> "PacePotential":
        """The potential of a file; options `spline_tolerance` and `skin`. `InputError` if it cannot be read."""
        return cls(readers.load(Path(path), (PaceModel,)), **options)


def _at_work(model: PaceModel, centre: int, tolerance: float) -> Term:
    """The term of the atoms of one species."""
    groups = _alike(model, centre)
    functions, weights = with_first_order(model, centre)
    graph = ProductGraph(_in_blocks(functions, [model.species.index(z) for group in groups for z in group]))
    ends = np.cumsum([0, *map(len, groups)]).tolist()
    bases = [
        expansion_of(model, centre, group, _counts(graph, range(start, end)), tolerance)
        for group, start, end in zip(groups, ends, ends[1:], strict=False)
    ]
    bonds = {neighbour: model.bonds[centre, neighbour] for neighbour in model.species}
    products = InvariantProducts(graph, [basis for basis in bases for _ in basis.species])
    cores = {z: core_of(bond) for z, bond in bonds.items() if bond.has_core}
    nearest = bonds if bonds[centre].inner == "zbl" else {}
    kernel = PaceKernel(products, weights, model.embeddings[centre], bool(cores), bool(nearest))
    return Term(lambda around: Environment(around, bases, cores, nearest), {centre: kernel})


def _alike(model: PaceModel, centre: int) -> list[tuple[int, ...]]:
    """The neighbours whose radial functions can be splined on one grid, in groups that share a neighbour list."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for neighbour in model.species:
        bond = model.bonds[centre, neighbour]
        groups.setdefault((bond.cutoff_angstrom, *bond.breaks), []).append(neighbour)
    return [tuple(group) for group in groups.values()]


def _in_blocks(functions: NDArray[np.int32], order: Sequence[int]) -> NDArray[np.int32]:
    """The functions with blocks in another order: `order` are their numbers before."""
    place = np.append(np.argsort(order), -1).astype(np.int32)
    moved, blocks = functions.copy(), slice(0, 3 * ((functions.shape[1] + 3) // 4), 3)
    moved[:, blocks] = place[functions[:, blocks]]
    return moved


def with_first_order(model: PaceModel, centre: int) -> tuple[NDArray[np.int32], Array]:
    """Functions and weights (P, M) of one species, with those of order one.

    In every block each density has one radial function of its own: l = 0, after those of the others.
    """
    functions, weights = model.functions[centre], model.weights[centre]
    densities = len(weights)
    rows = np.full((len(model.species) * densities, functions.shape[1]), -1, dtype=np.int32)
    for row, (block, p) in zip(rows, np.ndindex(len(model.species), densities), strict=True):
        row[:3] = block, len(model.radial[centre, model.species[block]]) + p, 0
        row[-1] = 0
    return np.concatenate([rows, functions]), np.hstack([*[np.eye(densities)] * len(model.species), weights])


def _counts(graph: ProductGraph, blocks: range) -> tuple[int, ...]:
    """For each l the largest number of radial functions of these blocks that are in use."""
    used = [channel for channel in graph.channels if channel.block in blocks]
    l_max = max(channel.l for channel in used)
    return tuple(max((1 + c.n for c in used if c.l == l), default=0) for l in range(l_max + 1))


class Environment:
    """What the atoms of one species have around them, (n, F).

    The coefficients of neighbours, of one group of species after the other; if there is a repulsion, its sum; and, if
    the nearest neighbour matters, how far in its switch it is.
    """

    def __init__(
        self,
        around: Surroundings,
        bases: Sequence[ExpansionBasis],
        cores: Mapping[int, ExpansionBasis],
        nearest: Mapping[int, PaceBond],
    ) -> None:
        ends = np.cumsum([0, *(basis.n_blocks * basis.size for basis in bases)]).tolist()
        there = set(around.species.tolist())
        self._parts = [
            (slice(start, end), SphericalExpansion(basis, around.within(basis.cutoff, present)))
            for basis, start, end in zip(bases, ends, ends[1:], strict=False)
            if (present := tuple(species for species in basis.species if species in there))
        ]
        self._cores = [
            SphericalExpansion(basis, around.within(basis.cutoff, (species,)))
            for species, basis in cores.items()
            if species in there
        ]
        self._core_column = ends[-1]
        self._nearest = Nearest(around, nearest) if nearest else None
        self._features = np.zeros((len(around.centres), ends[-1] + bool(cores) + bool(nearest)))

    def values(self) -> Array:
        """(n, F); `ValueError` if two atoms coincide."""
        features = self._features
        for part, expansion in self._parts:
            features[:, part] = expansion.values().reshape(len(features), -1)
        if self._cores:
            features[:, self._core_column] = sum(expansion.values()[:, 0, 0] for expansion in self._cores)
        if self._nearest is not None:
            features[:, -1] = self._nearest.values()
        return features

    def vjp(self, gradient: Array) -> tuple[Array, Array]:
        """Forces (N, 3) and virial (3, 3) of an energy with this gradient (n, F)."""
        found = []
        for part, expansion in self._parts:
            shape = len(gradient), expansion.basis.n_blocks, expansion.basis.size
            found.append(expansion.vjp(np.ascontiguousarray(gradient[:, part]).reshape(shape)))
        if self._cores:
            by_core = np.zeros((len(gradient), 1, self._cores[0].basis.size))
            by_core[:, 0, 0] = gradient[:, self._core_column]
            found += [expansion.vjp(by_core) for expansion in self._cores]
        if self._nearest is not None:
            found.append(self._nearest.vjp(gradient[:, -1]))
        forces, virial = (sum(parts) for parts in zip(*found, strict=True))
        return forces, virial


class Nearest:
    """Which neighbour of each atom is nearest, counted from where it switches the atom over entirely."""

    def __init__(self, around: Surroundings, bonds: Mapping[int, PaceBond]) -> None:
        widest = max(bond.inner_smoothing_angstrom for bond in bonds.values())
        self._lists: list[tuple[NeighbourList, PaceBond]] = [
            (around.within(bond.inner_angstrom - bond.inner_smoothing_angstrom + widest, (species,)), bond)
            for species, bond in bonds.items()
            if species in around.species
        ]
        self._atoms, self._centres = len(around.species), around.centres

    def values(self) -> Array:
        """(n,): how far in its switch that neighbour is, from zero to one; two if there is none."""
        count = len(self._centres)
        self._vector, self._neighbour = np.zeros((count, 3)), np.zeros(count, dtype=np.int64)
        self._width, best, place = np.ones(count), np.full(count, np.inf), np.full(count, 2.0)
        for found, bond in self._lists:
            vectors, centre = found.vectors(), found.pair_centre
            beyond = np.linalg.norm(vectors, axis=1) - bond.inner_angstrom + bond.inner_smoothing_angstrom
            closer = np.flatnonzero(beyond < best[centre])
            pairs = closer[np.lexsort((beyond[closer], centre[closer]))]
            atoms, first = np.unique(centre[pairs], return_index=True)
            pairs, width = pairs[first], bond.inner_smoothing_angstrom
            best[atoms], place[atoms], self._width[atoms] = beyond[pairs], beyond[pairs] / width, width
            self._vector[atoms] = vectors[pairs]
            self._neighbour[atoms] = found.site_atom[found.pair_site[pairs]]
        return np.minimum(place, 2.0)

    def vjp(self, gradient: Array) -> tuple[Array, Array]:
        """Forces (N, 3) and virial (3, 3) of an energy with this gradient (n,)."""
        r = np.maximum(np.linalg.norm(self._vector, axis=1), 1e-300)
        pull = (gradient / self._width / r)[:, None] * self._vector
        forces = np.zeros((self._atoms, 3))
        np.add.at(forces, self._centres, pull)
        np.add.at(forces, self._neighbour, -pull)
        return forces, -pull.T @ self._vector


class PaceKernel:
    """The energies of atoms of one species; weights (P, M), eV.

    core: whether features have a repulsion after the coefficients. nearest: whether the nearest neighbour is the last.
    """

    def __init__(
        self, products: InvariantProducts, weights: Array, embedding: PaceEmbedding, core: bool, nearest: bool
    ) -> None:
        self._products = products
        self._weights = products.prepared(weights)
        self._embedding = embedding
        self._core, self._nearest = core, nearest

    def evaluate(self, features: Array, energies: Array, gradient: Array, members: Array) -> None:
        """See `model.Kernel`; there are no members."""
        rho = self._products.properties(features, self._weights)
        energy, by_rho = self._embedding.evaluate(rho.T)
        core = features[:, self._products.size] if self._core else np.zeros(len(features))
        if self._nearest:
            switch, slope = inner_step(1 - features[:, -1], 1.0, 1.0)
            energies[:] = energy * switch + core * (1 - switch)
            by_core = 1 - switch
        else:
            switch, slope = self._embedding.switch(core)
            energies[:] = energy * switch + core
            by_core = 1 + energy * slope
        self._products.pull(features, self._weights, (by_rho * switch[:, None]).T, gradient)
        if self._core:
            gradient[:, self._products.size] = by_core
        if self._nearest:
            gradient[:, -1] = -(energy - core) * slope
