"""PACE potentials as data.

    E = sum_i [ e_0(a_i) + fc(e_i) F(rho_i1 .. rho_iP) + e_i ],    F = sum_p b_p f(rho_p; m_p)
    rho_ip = sum_j sum_k v_pk g_k(r_ij) + sum_k w_pk B_k(i)

with the core repulsion e_i of an atom by its neighbours and a switch fc, base functions g_k of each pair of species
(`models.pace_radial`), and invariants B_k of order two and higher of the density of point-like neighbours, with radial
functions R_nl (`representation.products`). Each species of centres has its own functions. The harmonics are those of
this program times sqrt(4 pi), so that the first is one.

With `zbl`, E_i = e_0 + fc F + (1 - fc) e_i, where fc depends on the distance of the nearest neighbour.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..frame import Array
from ..npy_files import Claim
from ..representation.products import ProductGraph
from ..sections import Section
from .base import Model, ModelHeader
from .pace_radial import PaceBond, inner_step
from .pairs import PairInteraction

HIGHEST_ORDER = 8
SMOOTH = 1e-6  # below which a power is linear, with "FinnisSinclair"


class PaceEmbedding(Section):
    """F and fc of one species.

    kind: FinnisSinclair, f = sign(x) |x|^m, linear below 1e-6; FinnisSinclairShiftedScaled,
        f = sign(x) ((|x| + s exp(-|x|))^m - t exp(-|x|)), s and t such that f(0) = 0, f'(0) = 1
        (Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021)).
    prefactors, exponents: b_p and m_p.
    core_cutoff_ev, core_width_ev: fc goes from one to zero in the last `core_width_ev` below `core_cutoff_ev`.
    """

    kind: Literal["FinnisSinclair", "FinnisSinclairShiftedScaled"]
    prefactors: tuple[float, ...] = Field(min_length=1, max_length=64)
    exponents: tuple[float, ...]
    core_cutoff_ev: float
    core_width_ev: float = Field(ge=0)

    @model_validator(mode="after")
    def _belong_together(self) -> "PaceEmbedding":
        if len(self.exponents) != len(self.prefactors):
            raise ValueError(f"{len(self.exponents)} exponents for {len(self.prefactors)} prefactors")
        if min(self.exponents) <= 0:
            raise ValueError(f"exponents must be positive, got {min(self.exponents):g}")
        return self

    def evaluate(self, rho: Array) -> tuple[Array, Array]:
        """F (n,) and dF/drho (n, P) of densities (n, P), eV."""
        function = _power if self.kind == "FinnisSinclair" else _shifted_power
        energies, slopes = np.zeros(len(rho)), np.empty_like(rho)
        for p, (b, m) in enumerate(zip(self.prefactors, self.exponents, strict=True)):
            value, slope = (rho[:, p], np.ones(len(rho))) if abs(m - 1) < 1e-10 else function(rho[:, p], m)
            energies += b * value
            slopes[:, p] = b * slope
        return energies, slopes

    def switch(self, core: Array) -> tuple[Array, Array]:
        """fc and its derivative for repulsions (n,), eV."""
        return inner_step(core, self.core_cutoff_ev, self.core_width_ev)


def _power(x: Array, m: float) -> tuple[Array, Array]:
    a, w = np.abs(x), 1 / SMOOTH
    linear = SMOOTH ** (m - 1)
    g = np.exp(-np.minimum((w * a) ** 3, 700.0))
    g[(w * a) ** 3 > 30] = 0.0
    tiny = a <= 1e-10
    safe = np.where(tiny, 1.0, a)
    power, dg = safe**m, -3 * w**3 * a**2 * g
    value = (1 - g) * power + linear * g * a
    slope = m * safe ** (m - 1) * (1 - g) - power * dg + linear * (dg * a + g)
    return np.where(tiny, linear * x, np.copysign(value, x)), np.where(tiny, linear, slope)


def _shifted_power(x: Array, m: float) -> tuple[Array, Array]:
    a, n = np.abs(x), 1 / m
    decay = np.exp(-a)
    shift, offset = n ** (n / (1 - n)) * decay, n ** (1 / (1 - n)) * decay
    power = (shift + a) ** (m - 1)
    return np.copysign((shift + a) * power - offset, x), offset + m * (1 - shift) * power


class PaceHeader(ModelHeader):
    """Header of a file."""

    bonds: tuple[PaceBond, ...]
    embeddings: dict[int, PaceEmbedding]

    @model_validator(mode="after")
    def _there_is_one_of_each(self) -> "PaceHeader":
        if sorted(self.embeddings) != list(self.species):
            raise ValueError(f"embeddings: must be for the species {self.species}, are for {sorted(self.embeddings)}")
        pairs = [(bond.centre, bond.neighbour) for bond in self.bonds]
        if sorted(pairs) != [(a, b) for a in self.species for b in self.species]:
            raise ValueError(f"bonds: must be one for each centre and neighbour among {self.species}, are {pairs}")
        kinds = {bond.inner for bond in self.bonds}
        if len(kinds) > 1:
            raise ValueError(f"bonds: have different inner cutoffs, {', '.join(sorted(kinds))}; one kind is needed")
        return self


@dataclass(frozen=True, eq=False)
class PaceModel(Model):
    """A potential.

    species: atomic numbers, ascending. energies: e_0 of each species, eV.
    bonds, radial: for each (centre, neighbour) its base functions, and c_nlk (N, l_max + 1, K).
    first: for each (centre, neighbour) v_pk (P, K).
    functions, weights: for each species of centres (M, columns) int32, see `products`, whose blocks are indices into
        `species`; and w_pk (P, M), eV.
    summary: where it comes from, JSON-serialisable.
    """

    FORMAT: ClassVar[str] = "forceserver PACE potential"
    VERSION: ClassVar[int] = 1
    READABLE: ClassVar[tuple[int, ...]] = (1,)
    HEADER: ClassVar[type[ModelHeader]] = PaceHeader

    species: tuple[int, ...]
    energies: Mapping[int, float]
    bonds: Mapping[tuple[int, int], PaceBond]
    embeddings: Mapping[int, PaceEmbedding]
    radial: Mapping[tuple[int, int], Array]
    first: Mapping[tuple[int, int], Array]
    functions: Mapping[int, NDArray[np.int32]]
    weights: Mapping[int, Array]
    pairs: tuple[PairInteraction, ...] = ()
    pair_members: None = None
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reach(self) -> float:
        return max(bond.cutoff_angstrom for bond in self.bonds.values())

    def _own_header(self) -> dict[str, Any]:
        return {
            "bonds": [bond.model_dump(mode="json") for bond in self.bonds.values()],
            "embeddings": {str(s): embedding.model_dump(mode="json") for s, embedding in self.embeddings.items()},
        }

    def _arrays(self) -> dict[str, NDArray]:
        arrays: dict[str, NDArray] = {}
        for (centre, neighbour), coefficients in self.radial.items():
            arrays[f"radial/{centre}-{neighbour}"] = np.ascontiguousarray(coefficients, dtype=np.float64)
            first = self.first[centre, neighbour]
            arrays[f"first/{centre}-{neighbour}"] = np.ascontiguousarray(first, dtype=np.float64)
        for species in self.species:
            arrays[f"functions/{species}"] = np.ascontiguousarray(self.functions[species], dtype=np.int32)
            arrays[f"weights/{species}"] = np.ascontiguousarray(self.weights[species], dtype=np.float64)
        return arrays

    @classmethod
    def _from(cls, header: PaceHeader, arrays: dict[str, NDArray]) -> "PaceModel":
        bonds = {(bond.centre, bond.neighbour): bond for bond in header.bonds}
        model = cls(
            species=header.species,
            energies=header.energies,
            bonds=bonds,
            embeddings=header.embeddings,
            radial={(a, b): arrays[f"radial/{a}-{b}"] for a, b in bonds},
            first={(a, b): arrays[f"first/{a}-{b}"] for a, b in bonds},
            functions={s: arrays[f"functions/{s}"] for s in header.species},
            weights={s: arrays[f"weights/{s}"] for s in header.species},
            summary=header.summary,
        )
        for species in model.species:
            check_functions(model, species)
        return model

    @classmethod
    def _expected(cls, header: PaceHeader, claims: Mapping[str, Claim]) -> dict[str, Claim]:
        def shape(name: str, dimensions: int) -> tuple[int, ...]:
            claim = claims.get(name)
            return claim.shape if claim is not None and len(claim.shape) == dimensions else (1,) * dimensions

        expected, real = {}, np.dtype(np.float64)
        for bond in header.bonds:
            name = f"{bond.centre}-{bond.neighbour}"
            size = (*shape(f"radial/{name}", 3)[:2], bond.n_base)
            expected[f"radial/{name}"] = Claim(size, real)
            densities = len(header.embeddings[bond.centre].prefactors)
            expected[f"first/{name}"] = Claim((densities, bond.n_base), real)
        for species in header.species:
            count, columns = shape(f"functions/{species}", 2)
            order = min(max((columns + 3) // 4, 4), HIGHEST_ORDER)
            expected[f"functions/{species}"] = Claim((count, 4 * order - 3), np.dtype(np.int32))
            expected[f"weights/{species}"] = Claim((len(header.embeddings[species].prefactors), count), real)
        return expected


def check_functions(model: PaceModel, species: int) -> None:
    """`ValueError` unless the functions of these centres are invariants, and their radial functions exist."""
    graph = ProductGraph(model.functions[species])
    sizes = [model.radial[species, neighbour].shape[:2] for neighbour in model.species]
    for number in range(len(graph)):
        channels = graph.channels_of(number)
        there = all(
            0 <= c.block < len(sizes) and 0 <= c.n < sizes[c.block][0] and 0 <= c.l < sizes[c.block][1]
            for c in channels
        )
        if len(channels) < 2 or not there or not graph.is_invariant(number):
            raise ValueError(f"functions/{species}: row {number} is no invariant of these species and radial functions")
