"""Models of the atomic cluster expansion.

Positions -> coefficients of the density of points -> products -> dE/dc -> forces and virial. `models.ace` has the
formula, cython_ext/ace.pyx the kernel.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ..frame import Array, Frame
from ..models.ace import AceModel
from ..models.embedding import Embedding
from ..representation.expansion import ExpansionBasis, SphericalExpansion
from ..representation.invariant_products import InvariantProducts
from ..representation.neighbours import NeighbourList
from ..representation.products import ProductGraph
from ..sections import InputFile, Section
from .base import SKIN
from .model import ModelPotential, Term, Uncertainty


class AceConfig(Section):
    """`kind = "ace"`: a model (.npz) that `forceserver fit` made with `model = "ace"`.

    uncertainty: send the energies of the eight members of the model and their standard deviation; "atoms", "forces": as
        for `kind = "gap"`.
    """

    kind: Literal["ace"]
    model: InputFile
    uncertainty: Uncertainty = False
    skin_angstrom: float = Field(default=SKIN, ge=0)

    def build(self, template: Frame) -> "AcePotential":
        """The potential; `InputError` if the file is damaged, or lacks members for a requested uncertainty."""
        return AcePotential.load(self.model, uncertainty=self.uncertainty, skin=self.skin_angstrom)


class AcePotential(ModelPotential):
    """A model at work; the arguments are those of `AceConfig`, errors those of `ModelPotential`."""

    def __init__(self, model: AceModel, *, uncertainty: Uncertainty = False, skin: float = SKIN) -> None:
        super().__init__(model, lambda: _at_work(model, bool(uncertainty)), uncertainty, skin)

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> "AcePotential":
        """The potential of a model file; options `uncertainty` and `skin`. `InputError` if the file is damaged."""
        return cls(AceModel.load(Path(path)), **options)


def _at_work(model: AceModel, members: bool) -> list[Term]:
    graph = ProductGraph(model.functions)
    expansions = model.expansions(graph)
    return [_term(model, graph, expansion, centres, members) for centres, expansion in expansions.items()]


def _term(
    model: AceModel, graph: ProductGraph, expansion: ExpansionBasis, centres: tuple[int, ...], members: bool
) -> Term:
    """The atoms of some species, which have the same radial functions."""
    products = InvariantProducts(graph, expansion)
    kernels: dict[int, Any] = {}
    by_member = model.members if members and model.members else {}
    for species in centres:
        weights = model.weights[species]
        if model.embedding is not None:
            kernels[species] = EmbeddedKernel(products, weights, model.embedding, model.parameters[species])
        else:
            kernels[species] = AceKernel(products, weights, by_member.get(species))
    return Term(lambda around: Coefficients(expansion, around.within(expansion.cutoff)), kernels)


class Coefficients:
    """The coefficients of all blocks as features (n_centres, n_blocks * size)."""

    def __init__(self, basis: ExpansionBasis, neighbours: NeighbourList) -> None:
        self.expansion = SphericalExpansion(basis, neighbours)
        self._shape = (len(neighbours.centres), basis.n_blocks, basis.size)

    def values(self) -> Array:
        """(n_centres, n_blocks * size); `ValueError` if two atoms coincide."""
        return self.expansion.values().reshape(self._shape[0], -1)

    def vjp(self, gradient: Array) -> tuple[Array, Array]:
        """Forces (N, 3) and virial (3, 3) of an energy with this gradient."""
        return self.expansion.vjp(gradient.reshape(self._shape))


class EmbeddedKernel:
    """The energies of atoms of one species, F of linear properties; weights (P, K), parameters of F."""

    def __init__(self, products: InvariantProducts, weights: Array, embedding: Embedding, parameters: Array) -> None:
        self._products = products
        self._together = products.prepared(weights)
        self._weights = list(self._together)
        self._embedding, self._parameters = embedding, parameters

    def properties(self, features: Array) -> tuple[Array, Array]:
        """phi (n, P) and their derivatives by the features (P, n, F)."""
        phi = np.empty((len(self._weights), len(features)))
        slopes = np.empty((len(self._weights), *features.shape))
        for weights, values, slope in zip(self._weights, phi, slopes, strict=True):
            self._products.energies(features, weights, values, slope)
        return phi.T, slopes

    def evaluate(self, features: Array, energies: Array, gradient: Array, members: Array) -> None:
        """See `model.Kernel`; there are no members."""
        phi = self._products.properties(features, self._together)
        energies[:], of_properties = self._embedding.evaluate(phi.T, self._parameters)
        self._products.pull(features, self._together, of_properties.T, gradient)


class AceKernel:
    """The energies of atoms of one species; weights (K,), members (K, 8) or None, eV."""

    def __init__(self, products: InvariantProducts, weights: Array, members: Array | None) -> None:
        self._products = products
        self._weights = products.prepared(weights)
        self._members = members

    def evaluate(self, features: Array, energies: Array, gradient: Array, members: Array) -> None:
        """See `model.Kernel`."""
        self._products.energies(features, self._weights, energies, gradient)
        if self._members is not None:
            members[:] = self._products.values(features) @ self._members
