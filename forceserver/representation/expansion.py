"""The spherical expansion of the neighbour density, for chosen centres, neighbours and l.

    c^i_{a n l m} = sum_{j of species a} R_nl(r_ij) Y_lm(r_ij / |r_ij|),    r_ij = r_j - r_i

over all neighbours (and images) inside the cutoff, with real spherical harmonics without Condon-Shortley phase,
m = -l .. l (for l = 1 that is y, z, x), and splined radial functions R_nl (`spline.SplineTable`), which include the
cutoff. The centre itself adds R_n0(0) Y_00 to its own species. This module computes the coefficients; forces and virial
of an energy that depends on them, as a vector-Jacobian product without a dense Jacobian; and explicit gradients, sparse
in (centre, atom).

docs/representation.md has the formulas and their sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _ext
from .lanes import aligned_zeros, round_to_lanes
from .neighbours import CLOSEST, NeighbourList, check_array
from .spline import SplineTable

_kernel = _ext.kernel("expansion")

L_MAX = 12
NO_ROW = -(2**31)
Y00 = 0.5 / np.sqrt(np.pi)


class ExpansionBasis:
    """Radial functions for every neighbour species, and the layout of the coefficients.

    tables: neighbour species (atomic number) -> spline; all with the same channels, on one grid. The numbers of
        channels `counts` of a table determine which l are computed (those with at least one).
    sum_species: one block for all species instead of one for each; contractions over species are part of the tables.
    centre_contribution: whether the centre itself contributes to l = 0 of its own species; a number is its weight.
    centre_in_all_blocks: whether it contributes to the blocks of all species instead.

    Coefficients are arrays (..., n_blocks, size); `split` gives views by l. Within a block they are laid out [l][m][n],
    with n padded to a multiple of eight by arbitrary numbers.

    The kernel (cython_ext/tile.h) reads the nodes, the grid, and the layout (5, n_l) with rows l, count, padded, radial
    offset, block offset.

    ValueError: no table, tables that differ in channels or grid, l larger than 12.
    """

    def __init__(
        self,
        tables: Mapping[int, SplineTable],
        *,
        sum_species: bool = False,
        centre_contribution: float = True,
        centre_in_all_blocks: bool = False,
    ) -> None:
        if not tables:
            raise ValueError("tables: at least one species is needed")
        self.species = tuple(sorted(tables))
        self.sum_species = sum_species
        self.centre_contribution = centre_contribution
        self.centre_in_all_blocks = centre_in_all_blocks
        one = tables[self.species[0]]
        for species in self.species:
            table = tables[species]
            if table.counts != one.counts:
                raise ValueError(
                    f"tables[{species}]: has {table.counts} channels, but tables[{self.species[0]}] {one.counts}"
                )
            if (table.cutoff, table.step, table.n_intervals) != (one.cutoff, one.step, one.n_intervals):
                raise ValueError(f"tables[{species}]: its grid differs from that of tables[{self.species[0]}]")
        if one.channels == 0 or len(one.counts) > L_MAX + 1:
            raise ValueError(f"tables: need channels for some l in 0 .. {L_MAX}, got {one.counts} for l = 0, 1, ...")
        self.cutoff = one.cutoff
        self.counts = {l: n for l, n in enumerate(one.counts) if n > 0}
        self.n_blocks = 1 if sum_species else len(self.species)
        self.offsets: dict[int, int] = {}
        padded: list[int] = []
        size = 0
        for l, n in self.counts.items():
            padded.append(round_to_lanes(n))
            self.offsets[l] = size
            size += (2 * l + 1) * padded[-1]
        self.size = size
        # If two species share a table object, the kernel gets one table: less to keep in the cache.
        distinct = list({id(tables[s]): tables[s] for s in self.species}.values())
        position = {id(table): k for k, table in enumerate(distinct)}
        self.table_of = np.array([position[id(tables[s])] for s in self.species], dtype=np.int32)
        self.block_of = (
            np.zeros(len(self.species), dtype=np.int32) if sum_species else np.arange(len(self.species), dtype=np.int32)
        )
        nodes, radial = _nodes(distinct, self.counts)
        self.own = np.zeros((len(self.species), round_to_lanes(self.counts.get(0, 0))))
        if centre_contribution and 0 in self.counts:
            for row, species in zip(self.own, self.species, strict=True):
                row[: self.counts[0]] = centre_contribution * Y00 * tables[species].at_zero[: self.counts[0]]
        self.own_by_block = self._by_block(centre_in_all_blocks)
        layout = (list(self.counts), list(self.counts.values()), padded, radial, list(self.offsets.values()))
        self.layout = np.array(layout, dtype=np.int32)
        self.nodes = nodes
        self.grid = one.cutoff, one.step, one.inverse_step
        self.kernel = _kernel.Expansion(*self.layout, size, self.n_blocks, nodes, *self.grid)

    def _by_block(self, in_all_blocks: bool) -> NDArray[np.float64]:
        """The contribution of a centre of each species to l = 0 of each block, (species, n_blocks, padded)."""
        found = np.zeros((len(self.species), self.n_blocks, self.own.shape[1]))
        places = np.arange(len(self.species))
        if in_all_blocks and not self.sum_species:
            found[:] = self.own
        else:
            found[places, self.block_of] = self.own
        return found

    def split(self, coefficients: NDArray[np.float64]) -> dict[int, NDArray[np.float64]]:
        """Views (..., 2 l + 1, n_l) of an array (..., size), for every l."""
        blocks = {}
        for l, n in self.counts.items():
            start, padded = self.offsets[l], round_to_lanes(n)
            part = coefficients[..., start : start + (2 * l + 1) * padded]
            blocks[l] = part.reshape(*part.shape[:-1], 2 * l + 1, padded)[..., :n]
        return blocks


@dataclass(frozen=True, eq=False, slots=True)
class Gradients:
    """Explicit gradients of the coefficients, with one row for every (centre, block, atom) within reach.

    rows: (n_rows, 3) int32: index of the centre in neighbours.centres, block, atom. The first row of a centre and block
        is that of the centre itself; rows of atoms that are only in the skin are zero.
    positions: (n_rows, 3, size), d c / d r_atom,b; `ExpansionBasis.split` gives views by l.
    strain: (n_centres, n_blocks, 3, 3, size), d c / d strain_ab, as in r -> r (1 + strain); or None.

    The arrays are overwritten by the next call.
    """

    rows: NDArray[np.int32]
    positions: NDArray[np.float64]
    strain: NDArray[np.float64] | None


class SphericalExpansion:
    """The expansion over one neighbour list.

    Work space is kept, so nothing is allocated from step to step; the number of threads cannot grow after construction.
    Returned arrays belong to this object and are overwritten by its next call.

    ValueError: the list has a neighbour species without a table, or a cutoff smaller than that of the basis.
    """

    def __init__(self, basis: ExpansionBasis, neighbours: NeighbourList) -> None:
        unknown = sorted(set(neighbours.neighbour_species) - set(basis.species))
        if unknown:
            raise ValueError(f"neighbours: no table for the species {unknown}, only for {list(basis.species)}")
        if neighbours.cutoff < basis.cutoff:
            raise ValueError(
                f"neighbours: their cutoff {neighbours.cutoff} must be at least that of the basis, {basis.cutoff}"
            )
        self.basis = basis
        self.neighbours = neighbours
        places = np.searchsorted(basis.species, neighbours.neighbour_species)
        self._kind_table = basis.table_of[places]
        self._kind_block = basis.block_of[places]
        n_centres, n_sites = len(neighbours.centres), len(neighbours.site_atom)
        species = neighbours.species[neighbours.centres]
        known = np.isin(species, basis.species) & (basis.centre_contribution != 0) & (0 in basis.counts)
        place = np.minimum(np.searchsorted(basis.species, species), len(basis.species) - 1)
        self._centre_own = np.where(known, place, -1).astype(np.int32)
        self._site_centre = np.full(n_sites, -1, dtype=np.int32)
        self._site_centre[neighbours.centre_site] = np.arange(n_centres)
        self._work = aligned_zeros((_ext.cpu.max_threads(), round_to_lanes(basis.kernel.workspace())))
        n_chunks = basis.kernel.chunks(n_centres)
        self._closest2 = np.empty(n_chunks)
        self._partial = np.empty((n_chunks, 10))
        self._coefficients: NDArray | None = None
        self._pair_gradient = np.empty((0, 4))
        self._forces = np.zeros((len(neighbours.species), 3))
        self._virial = np.empty((3, 3))
        self._rows: _Rows | None = None
        self._moved: tuple[NDArray, NDArray] | None = None

    def values(self) -> NDArray[np.float64]:
        """The coefficients (n_centres, n_blocks, size) at the positions last given to the neighbour list.

        ValueError if a neighbour is closer than 1e-8 Angstrom to its centre.
        """
        if self._coefficients is None:
            self._coefficients = aligned_zeros((len(self.neighbours.centres), self.basis.n_blocks, self.basis.size))
        self.basis.kernel.values(
            *self._pairs(),
            self.basis.own_by_block,
            self._centre_own,
            self._work,
            self._closest2,
            self._coefficients,
        )
        self._check(self._closest2)
        return self._coefficients

    def vjp(self, gradient: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Forces (N, 3) and virial (3, 3) of an energy with this gradient dE/dc (n_centres, n_blocks, size).

        forces = -dE/dr, virial = -dE/dstrain. ValueError: wrong shape or dtype, or atoms that coincide.
        """
        neighbours = self.neighbours
        check_array("gradient", gradient, (len(neighbours.centres), self.basis.n_blocks, self.basis.size))
        if len(self._pair_gradient) < len(neighbours):
            self._pair_gradient = aligned_zeros((len(neighbours), 4))
        self.basis.kernel.pull_back(
            *self._pairs(), *neighbours.transposed(), neighbours.site_atom, self._site_centre, self._work,
            self._partial, self._pair_gradient, gradient, self._forces, self._virial,
        )  # fmt: skip
        self._check(self._partial[:, 9])
        return self._forces, self._virial

    def moved(self, moves: NDArray[np.float64], strain: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivative (n_centres, n_blocks, size) of the coefficients along moves (N, 3) of atoms and a strain (3, 3).

        `vjp` is the transpose of this map; neither forms a dense Jacobian. ValueError: wrong shapes, coinciding atoms.
        """
        neighbours = self.neighbours
        check_array("moves", moves, (len(neighbours.species), 3))
        check_array("strain", strain, (3, 3))
        basis = self.basis
        if self._moved is None:
            size = round_to_lanes(basis.kernel.workspace() + basis.kernel.moving())
            self._moved = (
                aligned_zeros((len(self._work), size)),
                np.zeros((len(neighbours.centres), basis.n_blocks, basis.size)),
            )
        work, out = self._moved
        sites = np.ascontiguousarray(moves[neighbours.site_atom])
        basis.kernel.move(*self._pairs(), sites, strain, work, self._closest2, out)
        self._check(self._closest2)
        return out

    def gradients(self, *, strain: bool = True) -> Gradients:
        """Explicit gradients of all coefficients (`Gradients`); for models use `vjp`, which is much cheaper.

        ValueError if a neighbour is closer than 1e-8 Angstrom to its centre.
        """
        neighbours, basis = self.neighbours, self.basis
        if self._rows is None or self._rows.build != neighbours.n_builds:
            self._rows = _Rows.of(self, self._rows)
        rows = self._rows
        n_centres = len(neighbours.centres) if strain else 0
        if rows.strain is None or len(rows.strain) != n_centres:
            rows.strain = np.zeros((n_centres, basis.n_blocks, 3, 3, basis.size))
        basis.kernel.gradients(
            *self._pairs(), rows.pair_row, rows.own_row, self._work, self._closest2, rows.positions, rows.strain
        )
        self._check(self._closest2)
        return Gradients(rows.rows, rows.positions, rows.strain if strain else None)

    def _pairs(self) -> tuple[NDArray, ...]:
        n = self.neighbours
        return (
            n.packed, n.image_vectors, n.first, n.pair_site, n.pair_image, n.centre_site, n.site_kind,
            self._kind_table, self._kind_block,
        )  # fmt: skip

    def _check(self, closest2: NDArray[np.float64]) -> None:
        if closest2.min() < CLOSEST**2:
            self.neighbours.raise_if_too_close()


@dataclass(eq=False, slots=True)
class _Rows:
    """The row of the explicit gradients to which each pair contributes, for one build of the neighbour list."""

    build: int
    rows: NDArray[np.int32]
    pair_row: NDArray[np.int32]
    own_row: NDArray[np.int64]
    space: NDArray[np.float64]
    positions: NDArray[np.float64]
    strain: NDArray[np.float64] | None

    @classmethod
    def of(cls, expansion: SphericalExpansion, before: "_Rows | None") -> "_Rows":
        neighbours, basis = expansion.neighbours, expansion.basis
        n_atoms = np.int64(len(neighbours.species))
        pair_block = expansion._kind_block[neighbours.site_kind[neighbours.pair_site]]
        pair_atom = neighbours.site_atom[neighbours.pair_site]
        own = np.arange(len(neighbours.centres) * basis.n_blocks, dtype=np.int64) * (n_atoms + 1)
        pairs = (neighbours.pair_centre.astype(np.int64) * basis.n_blocks + pair_block) * (n_atoms + 1) + pair_atom + 1
        image_of_centre = pair_atom == neighbours.centres[neighbours.pair_centre]
        keys = np.union1d(own, pairs[~image_of_centre])
        if len(keys) >= -NO_ROW:
            raise ValueError(f"neighbours: {len(keys)} rows of gradients are too many (2^31)")
        row = np.searchsorted(keys, pairs)
        first = np.zeros(len(pairs), dtype=bool)
        first[np.unique(row, return_index=True)[1]] = True
        pair_row = np.where(image_of_centre, NO_ROW, np.where(first, row, ~row)).astype(np.int32)
        centre, block, atom = (
            keys // (n_atoms + 1) // basis.n_blocks,
            keys // (n_atoms + 1) % basis.n_blocks,
            keys % (n_atoms + 1),
        )
        atom = np.where(atom == 0, neighbours.centres[centre], atom - 1)
        space = before.space if before is not None else None
        if space is None or len(space) < len(keys):
            space = aligned_zeros((len(keys) + len(keys) // 8, 3, basis.size))
        return cls(
            neighbours.n_builds,
            np.stack([centre, block, atom], axis=1).astype(np.int32),
            pair_row,
            np.searchsorted(keys, own).reshape(len(neighbours.centres), basis.n_blocks),
            space,
            space[: len(keys)],
            before.strain if before is not None else None,
        )


def _nodes(tables: list[SplineTable], counts: Mapping[int, int]) -> tuple[NDArray[np.float64], list[int]]:
    """Values and step * derivatives at the nodes (tables, n_intervals + 1, 2, channels), and where each l begins.

    Functions that do not depend on l are stored once; the padding of an l may then contain further functions.
    """
    data = [_node_data(table) for table in tables]
    most = max(counts, key=lambda l: counts[l])

    def part(array: NDArray, table: SplineTable, l: int, n: int) -> NDArray:
        return array[:, table.offsets[l] : table.offsets[l] + n]

    shared = all(
        np.array_equal(part(array, table, l, n), part(array, table, most, n))
        for table, arrays in zip(tables, data, strict=True)
        for array in arrays
        for l, n in counts.items()
    )
    stored = {most: counts[most]} if shared else counts
    ends = np.cumsum([0, *map(round_to_lanes, stored.values())]).tolist()
    nodes = aligned_zeros((len(tables), tables[0].n_intervals + 1, 2, ends[-1]))
    for table, (values, slopes), out in zip(tables, data, nodes, strict=True):
        for (l, n), start in zip(stored.items(), ends, strict=False):
            out[:, 0, start : start + n] = part(values, table, l, n)
            out[:, 1, start : start + n] = table.step * part(slopes, table, l, n)
    return nodes, [0] * len(counts) if shared else ends[:-1]


def _node_data(table: SplineTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values and derivatives at all nodes, (n_intervals + 1, channels); they take half the cache of the cubics.

    The last interval may end early, at the cutoff; its cubic is then continued to the next node.
    """
    a0, a1, a2, a3 = np.moveaxis(table.coefficients[:, :, : table.channels], 1, 0)
    h = table.step
    end = (a0 + h * (a1 + h * (a2 + h * a3)))[-1:], (a1 + h * (2 * a2 + 3 * h * a3))[-1:]
    return np.concatenate([a0, end[0]]), np.concatenate([a1, end[1]])
