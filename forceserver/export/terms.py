"""Atomic energies in torch: kernels of power spectra, and the atomic cluster expansion."""

# ruff: noqa: UP006, UP035
from typing import List, Tuple

import numpy as np
import torch

from ..models.ace import AceModel
from ..models.base import MEMBERS
from ..models.embedding import Embedding, FinnisSinclair, Network, Powers
from ..models.kernel import SoapTerm
from ..representation.couplings import real_clebsch_gordan
from ..representation.expansion import ExpansionBasis
from ..representation.invariant_products import InvariantProducts
from ..representation.invariants import PowerSpectrumBasis
from ..representation.lanes import round_to_lanes
from ..representation.products import ProductGraph
from .density import Density, _numbers, _places


class SpectrumPart(torch.nn.Module):
    """The features of one degree l: products of coefficients, summed over m."""

    first: torch.Tensor
    second: torch.Tensor
    weight: torch.Tensor

    def __init__(self, first: np.ndarray, second: np.ndarray, weight: np.ndarray, components: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("first", _places(first + components[:, None]))
        self.register_buffer("second", _places(second + components[:, None]))
        self.register_buffer("weight", _numbers(weight))

    def forward(self, c: torch.Tensor) -> torch.Tensor:
        return (c[:, self.first] * c[:, self.second]).sum(dim=1) * self.weight


class SpeciesKernel(torch.nn.Module):
    """Energies (n, 1 + members) of atoms of one species, sum_t w_t (p . q_t)^zeta."""

    points: torch.Tensor
    weights: torch.Tensor

    def __init__(self, place: int, points: np.ndarray, weights: np.ndarray, zeta: int) -> None:
        super().__init__()
        self.place, self.zeta = place, zeta
        self.register_buffer("points", _numbers(points.T))
        self.register_buffer("weights", _numbers(weights))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.pow(features @ self.points, self.zeta) @ self.weights


class Spectrum(torch.nn.Module):
    """Features (n, F) of the power spectra of n atoms of some species."""

    order: torch.Tensor

    def __init__(self, basis: PowerSpectrumBasis, species: Tuple[int, ...]) -> None:
        super().__init__()
        expansion = basis.expansion
        self.density = Density(expansion, species)
        self.normalise = basis.normalise
        b1, n1, b2, n2, l = basis.features.T.astype(int)
        parts, order = [], []
        for degree, start in expansion.offsets.items():
            mine = np.flatnonzero(l == degree)
            components = round_to_lanes(expansion.counts[degree]) * np.arange(2 * degree + 1)
            first, second = b1 * expansion.size + start + n1, b2 * expansion.size + start + n2
            if len(mine):
                parts.append(SpectrumPart(first[mine], second[mine], basis.weight[mine], components))
                order.append(mine)
        self.parts = torch.nn.ModuleList(parts)
        self.register_buffer("order", _places(np.argsort(np.concatenate(order))))

    def forward(
        self, vectors: torch.Tensor, centre: torch.Tensor, kind: torch.Tensor, species: torch.Tensor
    ) -> torch.Tensor:
        c = self.density(vectors, centre, kind, species)
        parts: List[torch.Tensor] = []
        for part in self.parts:
            parts.append(part(c))
        features = torch.cat(parts, dim=1)[:, self.order]
        if self.normalise:
            square = (features**2).sum(dim=1, keepdim=True)
            features = features / torch.sqrt(torch.where(square > 0.0, square, torch.ones_like(square)))
        return features


class KernelTerm(torch.nn.Module):
    """One power spectrum of a sparse kernel model."""

    def __init__(self, term: SoapTerm, species: Tuple[int, ...], members: bool) -> None:
        super().__init__()
        self.spectrum = Spectrum(term.power_spectrum(species), species)
        self.n_out = 1 + (MEMBERS if members else 0)
        kernels = []
        for place, s in enumerate(species):
            if s in term.points:
                weights = term.weights[s][:, None]
                if members:
                    weights = np.hstack([weights, term.members[s]])  # type: ignore[index]
                kernels.append(SpeciesKernel(place, term.points[s], weights, term.hypers.zeta))
        self.kernels = torch.nn.ModuleList(kernels)

    def forward(
        self, vectors: torch.Tensor, centre: torch.Tensor, kind: torch.Tensor, species: torch.Tensor
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """Energies (n, 1), or (n, 9) with the members, and features (n, F)."""
        features = self.spectrum(vectors, centre, kind, species)
        energies = torch.zeros([len(species), self.n_out], dtype=features.dtype, device=features.device)
        for kernel in self.kernels:
            mine = torch.nonzero(torch.eq(species, kernel.place))[:, 0]  # type: ignore[arg-type]
            energies = energies.index_add(0, mine, kernel(features[mine]))
        return energies, features


class Coupling(torch.nn.Module):
    """Couples pairs of vectors of two degrees to vectors of a third degree."""

    first: torch.Tensor
    second: torch.Tensor
    coupling: torch.Tensor

    def __init__(self, rows: np.ndarray) -> None:
        super().__init__()
        l1, l2, l3 = rows[0, :3].tolist()
        self.register_buffer("first", _places(rows[:, 3, None] + np.arange(2 * l1 + 1)))
        self.register_buffer("second", _places(rows[:, 4, None] + np.arange(2 * l2 + 1)))
        self.register_buffer("coupling", _numbers(real_clebsch_gordan(l1, l2, l3).reshape(-1, 2 * l3 + 1)))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        products = vectors[:, self.first].unsqueeze(3) * vectors[:, self.second].unsqueeze(2)
        return (products.flatten(2) @ self.coupling).flatten(1)


class Dots(torch.nn.Module):
    """Scalar products of vectors of one degree."""

    first: torch.Tensor
    second: torch.Tensor
    norms: torch.Tensor

    def __init__(self, dots: np.ndarray, norms: np.ndarray) -> None:
        super().__init__()
        components = np.arange(2 * int(dots[0, 2]) + 1)
        self.register_buffer("first", _places(dots[:, 0, None] + components))
        self.register_buffer("second", _places(dots[:, 1, None] + components))
        self.register_buffer("norms", _numbers(norms))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return (vectors[:, self.first] * vectors[:, self.second]).sum(dim=2) * self.norms


class Invariants(torch.nn.Module):
    """Computes the functions of a product graph, in their order, from coefficients (n, blocks * size)."""

    source: torch.Tensor
    order: torch.Tensor

    def __init__(self, graph: ProductGraph, products: InvariantProducts) -> None:
        super().__init__()
        self.register_buffer("source", _places(products.layout[0][1:]))
        self.couplings = torch.nn.ModuleList([Coupling(rows) for rows in _available(graph)])
        dots, order = [], []
        for degree in np.unique(graph.dots[:, 2]):
            mine = np.flatnonzero(graph.dots[:, 2] == degree)
            dots.append(Dots(graph.dots[mine], graph.norms[mine]))
            order.append(mine)
        self.dots = torch.nn.ModuleList(dots)
        self.register_buffer("order", _places(np.argsort(np.concatenate(order))))

    def forward(self, c: torch.Tensor) -> torch.Tensor:
        vectors = torch.cat([torch.ones_like(c[:, :1]), c[:, self.source]], dim=1)
        for coupling in self.couplings:
            vectors = torch.cat([vectors, coupling(vectors)], dim=1)
        parts: List[torch.Tensor] = []
        for dots in self.dots:
            parts.append(dots(vectors))
        return torch.cat(parts, dim=1)[:, self.order]


def _available(graph: ProductGraph) -> List[np.ndarray]:
    """The couplings in groups of one kind each; a group uses only vectors that earlier groups have computed."""
    groups: List[np.ndarray] = []
    start = 0
    for end in range(1, len(graph.couplings) + 1):
        rows = graph.couplings[start:end]
        if end < len(graph.couplings):
            following = graph.couplings[end]
            if (following[:3] == rows[0, :3]).all() and following[3:5].max() < rows[0, 5]:
                continue
        groups.append(rows)
        start = end
    return groups


class Embed(torch.nn.Module):
    """F(phi) for properties (n, P) with parameters (n, T) for each atom; see `models.embedding`."""

    exponents: torch.Tensor

    def __init__(self, embedding: Embedding) -> None:
        super().__init__()
        self.kind = embedding.kind
        self.trained, self.width, self.properties = False, 0, embedding.n_properties
        exponents: Tuple[float, ...] = ()
        if isinstance(embedding, Powers):
            self.trained, exponents = embedding.trained, embedding.exponents
        elif isinstance(embedding, Network):
            self.width = embedding.width
        elif not isinstance(embedding, FinnisSinclair):
            raise NotImplementedError(f"export: the embedding {embedding.kind} is not known")
        self.register_buffer("exponents", torch.tensor(exponents, dtype=torch.float64))

    def forward(self, phi: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        if self.kind == "finnis_sinclair":
            y = torch.abs(phi[:, 1])
            e = torch.exp(-y)
            return phi[:, 0] + torch.sign(phi[:, 1]) * (torch.sqrt(y + 0.25 * e) - 0.5 * e)
        if self.kind == "powers":
            m = theta if self.trained else self.exponents.unsqueeze(0)
            x = phi[:, 1:]
            return phi[:, 0] + (x * (x**2 + 0.01) ** (0.5 * (m - 1.0))).sum(dim=1)
        w, p = self.width, self.properties
        u, c, v = theta[:, : w * p].reshape(-1, w, p), theta[:, w * p : w * p + w], theta[:, w * p + w :]
        inner = torch.tanh((u @ phi.unsqueeze(2)).squeeze(2) + c) - torch.tanh(c)
        return phi[:, 0] + (v * inner).sum(dim=1)


class AceTerm(torch.nn.Module):
    """The cluster expansion of a model: linear, with its members, or with an embedding; for centres of some species."""

    weights: torch.Tensor
    theta: torch.Tensor

    def __init__(self, model: AceModel, expansion: ExpansionBasis, centres: Tuple[int, ...], members: bool) -> None:
        super().__init__()
        graph = ProductGraph(model.functions)
        self.density = Density(expansion, model.species)
        self.invariants = Invariants(graph, InvariantProducts(graph, expansion))
        embedded = model.embedding is not None
        self.embedded = embedded
        self.embed = Embed(model.embedding or FinnisSinclair())
        rows = []
        for s in model.species:
            weights = np.atleast_2d(model.weights[s]).T
            row = np.hstack([weights, model.members[s]]) if members and model.members else weights
            rows.append(row if s in centres else np.zeros_like(row))  # F(0) is 0
        self.n_out = rows[0].shape[1]
        self.register_buffer("weights", _numbers(np.hstack(rows)))
        theta = [model.parameters[s] for s in model.species] if embedded else [np.zeros(0)] * len(model.species)
        self.register_buffer("theta", _numbers(np.array(theta)))

    def forward(
        self, vectors: torch.Tensor, centre: torch.Tensor, kind: torch.Tensor, species: torch.Tensor
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """Energies (n, 1), or (n, 9) with the members, and the functions as features (n, K)."""
        functions = self.invariants(self.density(vectors, centre, kind, species))
        all_species = (functions @ self.weights).reshape(len(species), -1, self.n_out)
        properties = all_species[torch.arange(len(species), device=species.device), species]
        if self.embedded:
            properties = self.embed(properties, self.theta[species]).unsqueeze(1)
        return properties, functions
