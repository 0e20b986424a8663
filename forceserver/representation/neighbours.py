"""Neighbour lists of selected centre-neighbour pairs, kept in use between steps by a Verlet skin.

A list of all pairs costs more than the sums over the few pairs that a selective representation needs. Therefore only
pairs of a selected centre and a selected neighbour are searched, with a cell list over the selected atoms alone, and
the list is kept as long as it is provably complete.

Completeness. Let h0 and r0 be the cell and the positions for which the list was built with radius R = cutoff + skin, h
and r the present ones, F = h0^-1 h the deformation, and u_k = r_k - r0_k F the displacement of an atom beyond it. A
pair that is not in the list was farther apart than R, so its distance is now at least s_min(F) R - 2 max|u|, with the
smallest singular value s_min(F) >= 1 - |F - 1|. The list is complete while

    2 max|u| <= (1 - |F - 1|) R - cutoff        (Frobenius norm; for a fixed cell: no atom moved more than skin/2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _ext

_kernel = _ext.kernel("neighbours")

CLOSEST = 1e-8
"""Two atoms closer than this (Angstrom) are an error: directions between them are not defined."""


@dataclass(frozen=True)
class Selection:
    """A choice of atoms: all of the given `species` (atomic numbers), those with the given `indices`, or all atoms."""

    species: tuple[int, ...] | None = None
    indices: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.species is not None and self.indices is not None:
            raise ValueError("selection: give species or indices, not both")

    def resolve(self, species: NDArray[np.int32], name: str = "selection") -> NDArray[np.int32]:
        """The chosen atoms, (n,) int32: ascending for species, in the given order for indices.

        ValueError if there are none, if an index is out of range or repeated, or if a species does not occur.
        """
        if self.indices is not None:
            atoms = np.asarray(self.indices)
            if atoms.size == 0:
                raise ValueError(f"{name}: no atom is selected; at least one index is needed")
            if atoms.ndim != 1 or atoms.dtype.kind not in "iu":
                raise ValueError(f"{name}: indices must be a list of integers, got {self.indices!r}")
            if atoms.min() < 0 or atoms.max() >= len(species):
                raise ValueError(
                    f"{name}: indices must be in 0 .. {len(species) - 1}, got {atoms.min()} .. {atoms.max()}"
                )
            if len(np.unique(atoms)) < len(atoms):
                raise ValueError(f"{name}: an index is given twice")
            return np.ascontiguousarray(atoms, dtype=np.int32)
        if self.species is None:
            return np.arange(len(species), dtype=np.int32)
        if len(self.species) == 0:
            raise ValueError(f"{name}: no atom is selected; at least one species is needed")
        missing = sorted(set(self.species) - set(np.unique(species).tolist()))
        if missing:
            raise ValueError(f"{name}: no atom of species {missing}, there are {np.unique(species).tolist()}")
        return np.flatnonzero(np.isin(species, self.species)).astype(np.int32)


class NeighbourList:
    """All pairs of a centre and a neighbour (any periodic image) that may be closer than `cutoff`.

    species: (N,) integers, atomic numbers; fixed for the life of the list.
    cutoff: Angstrom, > 0.
    pbc: a bool, or three of them.
    skin: Angstrom, >= 0. Pairs up to cutoff + skin are listed, so that the list stays valid while atoms move.
    centres, neighbours: the `Selection` of each.

    After `update`:

    first: (n_centres + 1,) int64. Pairs first[i] .. first[i+1] - 1 belong to centres[i], grouped by species.
    pair_site: (n_pairs,) int32, the neighbour as a *site* (site_atom[site] is the atom).
    pair_image: (n_pairs,) int16, row of image_vectors / images: the lattice vector that is added to the neighbour.
    packed: (n_sites, 4) float64, positions of the sites, wrapped into the cell when the list was built; last column 0.
    r_ij = packed[pair_site, :3] + image_vectors[pair_image, :3] - packed[centre_site, :3].
    n_builds: how often the list has been built.

    A pair may have r_ij > cutoff (in the skin); sums over pairs must skip it.
    """

    def __init__(
        self,
        species: ArrayLike,
        cutoff: float,
        *,
        pbc: bool | Sequence[bool] | NDArray[np.bool_] = True,
        skin: float = 0.0,
        centres: Selection | None = None,
        neighbours: Selection | None = None,
    ) -> None:
        self.species = np.ascontiguousarray(species, dtype=np.int32)
        if self.species.ndim != 1 or len(self.species) == 0:
            raise ValueError(f"species: must be a vector of at least one atom, got shape {self.species.shape}")
        if not (np.isfinite(cutoff) and cutoff > 0):
            raise ValueError(f"cutoff: must be finite and > 0 Angstrom, got {cutoff}")
        if not (np.isfinite(skin) and skin >= 0):
            raise ValueError(f"skin: must be finite and >= 0 Angstrom, got {skin}")
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        self.pbc = np.ascontiguousarray(np.broadcast_to(np.asarray(pbc, dtype=bool), (3,)))
        self._periodic = self.pbc.astype(np.int8)

        self.centres = (centres or Selection()).resolve(self.species, "centres")
        chosen = (neighbours or Selection()).resolve(self.species, "neighbours")
        self.site_atom = np.union1d(self.centres, chosen).astype(np.int32)
        self.centre_site = np.searchsorted(self.site_atom, self.centres).astype(np.int32)
        self.neighbour_site = np.searchsorted(self.site_atom, chosen).astype(np.int32)
        self.neighbour_species = tuple(np.unique(self.species[chosen]).tolist())
        # Kind: index of the species in neighbour_species. A site that is only a centre never occurs as a neighbour.
        kind = np.searchsorted(self.neighbour_species, self.species[self.site_atom])
        self.site_kind = np.minimum(kind, len(self.neighbour_species) - 1).astype(np.int32)

        n_sites = len(self.site_atom)
        self.n_builds = 0
        self.packed = np.zeros((n_sites, 4))
        self.first = np.zeros(len(self.centres) + 1, dtype=np.int64)
        self.pair_site = np.zeros(0, dtype=np.int32)
        self.pair_image = np.zeros(0, dtype=np.int16)
        self.images = np.zeros((1, 3), dtype=np.int32)
        self.image_vectors = np.zeros((1, 4))
        self._reference = np.zeros((n_sites, 3))
        self._offset = np.zeros((n_sites, 3), dtype=np.int16)
        self._cell = b""  # as given, to detect a change; _h is the completed cell
        self._h = self._g = self._h0 = self._g0 = np.eye(3)
        self._deformation = np.eye(3)
        self._limit = -1.0
        self._transposed: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None

    def __len__(self) -> int:
        """Number of listed pairs."""
        return len(self.pair_site)

    def update(self, positions: NDArray[np.float64], cell: NDArray[np.float64] | None = None) -> bool:
        """Takes new positions (N, 3) and cell (3, 3; rows, Angstrom); True if the list had to be rebuilt.

        The cell is ignored along directions that are not periodic, and may be left out if none is.
        ValueError: wrong shape or dtype, positions of selected atoms that are not finite, singular periodic cell.
        """
        check_array("positions", positions, (len(self.species), 3))
        if cell is not None:
            check_array("cell", cell, (3, 3))
        elif self.pbc.any():
            raise ValueError("cell: needed, because the list is periodic")
        same_cell = self.n_builds > 0 and (cell is None or cell.tobytes() == self._cell)
        if not same_cell:
            self._take_cell(cell)
        if self._limit >= 0 and not _kernel.track(
            positions, self.site_atom, self._offset, self._reference, self.packed,
            self._h, self._g, self._deformation, self._periodic, self._limit,
        ):  # fmt: skip
            return False
        if not np.isfinite(positions[self.site_atom]).all():
            bad = self.site_atom[~np.isfinite(positions[self.site_atom]).all(axis=1)][0]
            raise ValueError(f"positions: must be finite, but atom {bad} is at {positions[bad].tolist()}")
        self._build(positions)
        return True

    def _take_cell(self, cell: NDArray[np.float64] | None) -> None:
        h, g = complete_cell(np.zeros((3, 3)) if cell is None else cell, self.pbc)
        if self.n_builds > 0:
            # Non-periodic directions keep the unit vectors of the build: any F with S h0 F = S h for lattice vectors S
            # is valid.
            kept = np.where(self.pbc[:, None], h, self._h0)
            self._deformation = np.ascontiguousarray(self._g0 @ kept)
            strain = float(np.linalg.norm(self._deformation - np.eye(3)))
            self._limit = 0.5 * ((1.0 - strain) * (self.cutoff + self.skin) - self.cutoff)
        self._h, self._g = h, g
        self._cell = b"" if cell is None else cell.tobytes()
        self.image_vectors = _lattice_vectors(self.images, h)

    def _build(self, positions: NDArray[np.float64]) -> None:
        radius = self.cutoff + self.skin
        fractional = np.empty((len(self.site_atom), 3))
        lost = _kernel.wrap(
            positions, self.site_atom, self._offset, self._reference, self.packed, fractional,
            self._h, self._g, self._periodic,
        )  # fmt: skip
        if lost >= 0:
            raise ValueError(f"positions: atom {self.site_atom[lost]} is more than 32767 cells away; wrap the atoms")
        grid = _Grid.over(fractional[self.neighbour_site], self._g, self.pbc, radius)
        n_bins = int(np.prod(grid.n_bins, dtype=np.int64))
        bin_first = np.empty(n_bins + 1, dtype=np.int32)
        bin_site = np.empty(len(self.neighbour_site), dtype=np.int32)
        bin_xyz = np.empty((3, len(self.neighbour_site)))
        _kernel.sort_into_bins(
            self.packed, fractional, self.neighbour_site, grid.origin, grid.bins_per_unit, grid.n_bins,
            bin_first, bin_site, bin_xyz,
        )  # fmt: skip
        cells = (
            self.packed, fractional, self.centre_site, self._h, self._periodic, radius,
            grid.origin, grid.bins_per_unit, grid.n_bins, grid.reach, grid.images, bin_first, bin_site, bin_xyz,
        )  # fmt: skip
        _kernel.count_pairs(*cells, self.first)
        n_pairs = int(self.first[-1])
        if n_pairs >= 2**31:
            raise ValueError(f"cutoff: gives {n_pairs} pairs, more than a list can hold (2^31); choose a smaller one")
        if len(self.pair_site) != n_pairs:
            self.pair_site = np.empty(n_pairs, dtype=np.int32)
            self.pair_image = np.empty(n_pairs, dtype=np.int16)
        longest = int(np.diff(self.first).max())
        scratch = np.empty((_ext.cpu.max_threads(), 2 * longest + 16), dtype=np.int32)
        _kernel.fill_pairs(
            *cells, self.first, self.site_kind, len(self.neighbour_species), self.pair_site, self.pair_image, scratch
        )
        self.images = grid.all_images()
        self.image_vectors = _lattice_vectors(self.images, self._h)
        self._h0, self._g0 = self._h, self._g
        self._deformation = np.eye(3)
        self._limit = 0.5 * self.skin
        self._transposed = None
        self.n_builds += 1

    def transposed(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The pairs in which a site is the neighbour: first (n_sites + 1,) and pair numbers (n_pairs,) int32."""
        if self._transposed is None:
            first = np.empty(len(self.site_atom) + 1, dtype=np.int32)
            pair = np.empty(len(self.pair_site), dtype=np.int32)
            _kernel.transpose(self.pair_site, first, pair)
            self._transposed = first, pair
        return self._transposed

    def write_edges(self, edges: NDArray[np.int64], shifts: NDArray[np.float64], begin: int, at: int) -> int:
        """Writes the pairs closer than the cutoff, without those in the skin. All atoms must be selected.

        Args:
            edges: (2, room) int64, gets the atoms i and j of each pair, counted from `begin`.
            shifts: (room, 3), gets whole numbers n with r_ij = r_j + n h - r_i for positions as they were given.
            begin: number of the first atom.
            at: the first column of `edges` to write.

        Returns:
            The column after the last that was written.
        """
        return _kernel.edges_within(
            self.packed, self._offset, self.first, self.pair_site, self.pair_image, self.images, self.image_vectors,
            self.cutoff, begin, at, edges, shifts,
        )  # fmt: skip

    @property
    def neighbours(self) -> NDArray[np.int32]:
        """The selected neighbours, (n_neighbours,) int32."""
        return self.site_atom[self.neighbour_site]

    @property
    def pair_centre(self) -> NDArray[np.int32]:
        """The index of the centre of each pair, (n_pairs,) int32: `centres[pair_centre]` are the atoms."""
        return np.repeat(np.arange(len(self.centres), dtype=np.int32), np.diff(self.first))

    def raise_if_too_close(self) -> None:
        """Raises a ValueError that names the pair if two atoms are closer than `CLOSEST`."""
        distances = np.linalg.norm(self.vectors(), axis=1)
        if len(distances) and distances.min() < CLOSEST:
            pair = distances.argmin()
            i, j = self.centres[self.pair_centre[pair]], self.site_atom[self.pair_site[pair]]
            raise ValueError(
                f"positions: atoms {i} and {j} are {distances[pair]:g} Angstrom apart, must be at least {CLOSEST:g}"
            )

    def vectors(self) -> NDArray[np.float64]:
        """r_ij of all listed pairs, (n_pairs, 3), Angstrom; for code that is not a kernel."""
        centre = self.centre_site[self.pair_centre]
        return (self.packed[self.pair_site] + self.image_vectors[self.pair_image] - self.packed[centre])[:, :3]


@dataclass(frozen=True)
class _Grid:
    """Bins along the cell vectors: their number, their origin, and the reach of a search."""

    origin: NDArray[np.float64]
    bins_per_unit: NDArray[np.float64]
    n_bins: NDArray[np.int32]
    reach: NDArray[np.int32]
    images: NDArray[np.int32]

    BINS_PER_RADIUS = 1.0
    """Finer bins mean fewer distances but more bins to visit; 1 was faster than 2 and 3 for 6 to 70 neighbours."""

    @classmethod
    def over(cls, fractional: NDArray, inverse: NDArray, pbc: NDArray[np.bool_], radius: float) -> "_Grid":
        heights = 1.0 / np.linalg.norm(inverse, axis=0)  # Angstrom per unit of s, perpendicular to the other two
        origin = np.where(pbc, 0.0, fractional.min(axis=0))
        extent = np.where(pbc, 1.0, fractional.max(axis=0) - origin)
        n = np.maximum(np.floor(extent * heights * cls.BINS_PER_RADIUS / radius), 1.0)
        # In a large, nearly empty cell there need not be more bins than atoms.
        while np.prod(n) > 2 * len(fractional) + 64:
            n = np.maximum(np.floor(n / 2), 1.0)
        width = np.maximum(extent * heights, 1e-300) / n
        with np.errstate(over="ignore"):
            reach = np.where(pbc, np.ceil(radius / width), np.minimum(np.ceil(radius / width), n - 1))
        images = np.where(pbc, np.ceil(reach / n), 0)
        if np.prod(2 * images + 1) > 32767:  # largest value of pair_image
            raise ValueError(f"cutoff: {radius} Angstrom spans {images.tolist()} cells; choose a larger cell")
        return cls(
            origin, n / np.where(extent > 0, extent, 1.0), n.astype(np.int32), reach.astype(np.int32),
            images.astype(np.int32),
        )  # fmt: skip

    def all_images(self) -> NDArray[np.int32]:
        """Every (n0, n1, n2) with |n_d| <= images_d, in the order that the kernel numbers them."""
        ranges = [np.arange(-n, n + 1, dtype=np.int32) for n in self.images]
        return np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)


def _lattice_vectors(images: NDArray[np.int32], h: NDArray[np.float64]) -> NDArray[np.float64]:
    vectors = np.zeros((len(images), 4))
    vectors[:, :3] = images @ h
    return vectors


def complete_cell(cell: NDArray[np.float64], pbc: NDArray[np.bool_]) -> tuple[NDArray, NDArray]:
    """The cell with its free directions replaced by unit vectors orthogonal to the others, and its inverse.

    ValueError if the periodic vectors are not finite or not linearly independent.
    """
    h = np.array(cell, dtype=np.float64)
    given = h[pbc]
    if not np.isfinite(given).all():
        raise ValueError(f"cell: must be finite, got {cell.tolist()}")
    if len(given):
        lengths = np.linalg.norm(given, axis=1)
        scaled = given / np.where(lengths > 0, lengths, 1.0)[:, None]
        singular = np.linalg.svd(scaled, compute_uv=False)
        if lengths.min() == 0 or singular[-1] < 1e-6:
            raise ValueError(f"cell: the periodic vectors must be linearly independent, got {cell.tolist()}")
    if len(given) < 3:
        free = np.linalg.svd(given)[2][len(given) :] if len(given) else np.eye(3)
        h[~pbc] = free
    return np.ascontiguousarray(h), np.ascontiguousarray(np.linalg.inv(h))


def check_array(name: str, array: NDArray, shape: tuple[int, ...]) -> None:
    """ValueError unless `array` is a C-contiguous float64 array of this shape, as the kernels require."""
    if not isinstance(array, np.ndarray) or array.dtype != np.float64 or array.shape != shape:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{name}: must be a float64 array of shape {shape}, got {got}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name}: must be C-contiguous; use numpy.ascontiguousarray")
