"""Models of the atomic cluster expansion as data.

    E = sum_i [ e_0(a_i) + sum_k w_k(a_i) f_k(i) ] + E_pair                       linear
    E = sum_i [ e_0(a_i) + F(phi_i1 .. phi_iP) ] + E_pair, phi_ip = sum_k w_pk(a_i) f_k(i)   with an embedding F

with invariants f_k of the density of point-like neighbours (`representation.products`). All species of centres use the
same functions, each with its own weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..frame import Array
from ..npy_files import Claim
from ..representation.expansion import ExpansionBasis
from ..representation.polynomial import PolynomialBasis
from ..representation.products import COLUMNS, ProductGraph
from ..representation.spline import SplineTable
from ..sections import Section
from .base import MEMBERS, Model, ModelHeader
from .embedding import Embedding
from .pairs import PairInteraction


class AceHypers(Section):
    """The radial functions of a cluster expansion, and how accurately they are splined.

    Energies are computed from the splines and forces are their exact derivatives; the tolerance bounds the deviation of
    the splines from the polynomials.
    """

    basis: PolynomialBasis
    spline_tolerance: float = Field(default=1e-3, ge=1e-12, le=1e-2)

    def expansions(
        self,
        species: tuple[int, ...],
        graph: ProductGraph,
        mixing: Mapping[int, Array] | None = None,
        sum_species: bool = False,
    ) -> "dict[tuple[int, ...], ExpansionBasis]":
        """The coefficients that the functions are made of, for neighbours of these species (atomic numbers).

        By the species of the centres that have them: all together unless a length differs between pairs of species.
        mixing, sum_species: see `AceModel`.
        `ValueError` if a length is missing for a pair, or the splines cannot be made.
        """
        tables = self._tables(species, graph.counts, mixing)
        alike: dict[tuple[SplineTable, ...], list[int]] = {}
        for centre in species:
            alike.setdefault(tuple(tables[centre, neighbour] for neighbour in species), []).append(centre)
        return {
            tuple(centres): ExpansionBasis(
                dict(zip(species, found, strict=True)), sum_species=sum_species, centre_contribution=False
            )
            for found, centres in alike.items()
        }

    def _tables(
        self, species: tuple[int, ...], counts: tuple[int, ...], mixing: Mapping[int, Array] | None
    ) -> dict[tuple[int, int], SplineTable]:
        """The splines for each centre and neighbour, on one grid, with the first functions of each l."""
        n_max = self.basis.n_max
        of_pairs = {(a, b): self.basis.of_pair(a, b).model_copy(update={"l_max": 0}) for a in species for b in species}
        distinct: list[PolynomialBasis] = []
        for basis in of_pairs.values():
            if basis not in distinct:
                distinct.append(basis)

        def functions(r: Array) -> tuple[Array, Array]:
            values, slopes = zip(*(basis.evaluate(r) for basis in distinct), strict=True)
            return np.concatenate(values, axis=2)[:, 0], np.concatenate(slopes, axis=2)[:, 0]

        begins = max(basis.cutoff.smoothing_starts for basis in distinct)
        table = SplineTable.fit(functions, self.reach, begins, (len(distinct) * n_max,), self.spline_tolerance)

        @cache
        def part(basis: int, neighbour: int | None) -> SplineTable:
            first = basis * n_max
            if neighbour is None or mixing is None:
                return table.chosen([range(first, first + count) for count in counts])
            rows = [mixing[neighbour][l, :count] for l, count in enumerate(counts)]
            return table.chosen([range(first, first + n_max)] * len(counts)).contract(rows)

        return {
            (centre, neighbour): part(distinct.index(basis), neighbour if mixing else None)
            for (centre, neighbour), basis in of_pairs.items()
        }

    @property
    def reach(self) -> float:
        """The cutoff, Angstrom."""
        return self.basis.cutoff.cutoff_angstrom


class AceHeader(ModelHeader):
    """Header of a file."""

    ace: AceHypers
    embedding: Embedding | None = None
    sum_species: bool = False


@dataclass(frozen=True, eq=False)
class AceModel(Model):
    """A fitted model.

    species: atomic numbers, ascending. energies: e_0 of each species, eV.
    hypers: radial functions. functions: (K, 13) int32, see `products.truncate`; blocks are indices into `species`.
    weights, members: for each species of centres (K,) in eV, and (K, 8) or None; with an embedding (P, K), None.
    embedding, parameters: F, and its parameters theta for each species of centres.
    pairs: pair potentials; pair_members: those of each of the eight members, or None.
    mixing: for each species of neighbours (l_max + 1, n, n_max), the n radial functions as linear combinations of those
        of the basis, or None; where an l has fewer, its last rows are zero.
    sum_species: whether neighbours of all species add to the same coefficients, one block, each with its own mixing.
    summary: what is known about the training, JSON-serialisable.
    """

    FORMAT: ClassVar[str] = "forceserver atomic cluster expansion"
    VERSION: ClassVar[int] = 2
    READABLE: ClassVar[tuple[int, ...]] = (1, 2)
    """2: lengths of pairs of species, contracted radial functions."""
    HEADER: ClassVar[type[ModelHeader]] = AceHeader

    species: tuple[int, ...]
    energies: Mapping[int, float]
    hypers: AceHypers
    functions: NDArray[np.int32]
    weights: Mapping[int, Array]
    members: Mapping[int, Array] | None = None
    pairs: tuple[PairInteraction, ...] = ()
    pair_members: tuple[tuple[PairInteraction, ...], ...] | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    embedding: Embedding | None = None
    parameters: Mapping[int, Array] = field(default_factory=dict)
    mixing: Mapping[int, Array] | None = None
    sum_species: bool = False

    def expansions(self, graph: ProductGraph) -> "dict[tuple[int, ...], ExpansionBasis]":
        """The coefficients that the functions are made of, see `AceHypers.expansions`."""
        return self.hypers.expansions(self.species, graph, self.mixing, self.sum_species)

    @property
    def reach(self) -> float:
        return self.hypers.reach

    def member(self, number: int) -> "AceModel":
        if self.pair_members is None or self.members is None:
            raise ValueError("the model has no members")
        weights = {s: np.ascontiguousarray(members[:, number]) for s, members in self.members.items()}
        return replace(self, weights=weights, members=None, pairs=self.pair_members[number], pair_members=None)

    def _own_header(self) -> dict[str, Any]:
        embedding = None if self.embedding is None else self.embedding.model_dump(mode="json")
        own: dict[str, Any] = {"ace": self.hypers.model_dump(mode="json"), "embedding": embedding}
        return own | {"sum_species": self.sum_species}

    def _arrays(self) -> dict[str, NDArray]:
        arrays: dict[str, NDArray] = {"functions": np.asarray(self.functions, dtype=np.int32)}
        parts = {"weights": self.weights, "members": self.members or {}, "parameters": self.parameters}
        for name, part in (parts | {"mixing": self.mixing or {}}).items():
            for species, array in part.items():
                arrays[f"{name}/{species}"] = np.ascontiguousarray(array, dtype=np.float64)
        return arrays

    @classmethod
    def _from(cls, header: AceHeader, arrays: dict[str, NDArray]) -> "AceModel":
        def of_species(name: str) -> dict[int, Array]:
            return {s: arrays[f"{name}/{s}"] for s in header.species if f"{name}/{s}" in arrays}

        mixing = of_species("mixing") or None
        _check_functions(header, arrays["functions"], mixing)
        return cls(
            species=header.species,
            energies=header.energies,
            hypers=header.ace,
            functions=arrays["functions"],
            weights=of_species("weights"),
            members=of_species("members") or None,
            pairs=header.pairs,
            pair_members=header.pair_members,
            summary=header.summary,
            embedding=header.embedding,
            parameters=of_species("parameters"),
            mixing=mixing,
            sum_species=header.sum_species,
        )

    @classmethod
    def _expected(cls, header: AceHeader, claims: Mapping[str, Claim]) -> dict[str, Claim]:
        claim = claims.get("functions")
        count = claim.shape[0] if claim is not None and len(claim.shape) == 2 else 1
        expected = {"functions": Claim((max(1, count), COLUMNS), np.dtype(np.int32))}
        real, embedding = np.dtype(np.float64), header.embedding
        expected |= _expected_mixing(header, claims)
        for species in header.species:
            expected[f"weights/{species}"] = Claim((count,), real)
            if embedding is not None:
                expected[f"weights/{species}"] = Claim((embedding.n_properties, count), real)
                size = len(embedding.start(np.random.default_rng(0)))
                expected[f"parameters/{species}"] = Claim((size,), real)
            elif header.pair_members is not None:
                expected[f"members/{species}"] = Claim((count, MEMBERS), real)
        return expected


def _expected_mixing(header: AceHeader, claims: Mapping[str, Claim]) -> dict[str, Claim]:
    """Of all species or of none; with as many functions as the first one has."""
    if not header.sum_species and not any(name.startswith("mixing/") for name in claims):
        return {}
    basis, first = header.ace.basis, claims.get(f"mixing/{header.species[0]}")
    count = first.shape[1] if first is not None and len(first.shape) == 3 else 1
    shape = (basis.l_max + 1, max(1, count), basis.n_max)
    return {f"mixing/{species}": Claim(shape, np.dtype(np.float64)) for species in header.species}


def _check_functions(
    header: AceHeader, functions: NDArray[np.int32], mixing: Mapping[int, Array] | None = None
) -> None:
    """`ValueError` unless all channels exist and couple to invariants; the kernel does not check this."""
    basis, blocks = header.ace.basis, 1 if header.sum_species else len(header.species)
    n_max = basis.n_max if mixing is None else min(matrices.shape[1] for matrices in mixing.values())
    channels = functions[:, :-1].reshape(len(functions), -1, 3)
    absent = (channels == -1).all(axis=2)
    b, n, l = np.moveaxis(channels, 2, 0)
    inside = (b >= 0) & (b < blocks) & (n >= 0) & (n < n_max) & (l >= 0) & (l <= basis.l_max)
    wrong = ~(inside | absent).all(axis=1) | absent[:, 0] | (np.diff(absent.astype(int), axis=1) < 0).any(axis=1)
    total, order, last = np.where(absent, 0, l).sum(axis=1), (~absent).sum(axis=1), functions[:, -1]
    l1, l2, l3, l4 = np.where(absent, 0, l).T
    coupled = (last >= np.abs(l1 - l2)) & (last <= l1 + l2)
    coupled_right = (last >= np.abs(l3 - l4)) & (last <= l3 + l4)
    fits = [(l1 == 0) & (last == 0), (l1 == l2) & (last == l1), coupled & (last == l3), coupled & coupled_right]
    wrong |= (total % 2 != 0) | ~np.choose(np.clip(order - 1, 0, 3), fits)
    if wrong.any():
        raise ValueError(f"functions: row {int(wrong.argmax())} is not an invariant of these species and functions")
