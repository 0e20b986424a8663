"""kind = "steinhardt": bond-orientational order parameters of any degree l, reduced over centres.

    q_lm(i) = sum_j sigma(r_ij) Y_lm(r_ij / r_ij) / sum_j sigma(r_ij)     of a switching function sigma
    q_lm(i) = sum_n u_n c^i_nlm                                           of the radial functions of a basis

    norm_of_mean    |1/N sum_i q_l(i)|                          PLUMED's Q_l with VMEAN
    mean_norm       1/N sum_i |q_l(i)|                          Q_l with MEAN
    mean_local      1/N sum_i of the average over neighbours j of q_l(i) . q_l(j) / |q_l(i)| |q_l(j)|     LOCAL_Ql, MEAN
    mean_averaged   1/N sum_i |average of q_l over i and its neighbours|                             LOCAL_AVERAGE, MEAN

Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983), whose Q_l have another factor: `convention`. A centre
without neighbours has q = 0.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..errors import InputError
from ..frame import Array
from ..representation.expansion import L_MAX, Y00, ExpansionBasis, SphericalExpansion
from ..representation.spline import SplineTable
from ..representation.switching import AnySwitchingFunction
from ..sections import Distinct
from .base import ActiveSites, Group, Kind, Part
from .local_order import (
    Order,
    OrderOutput,
    Partners,
    inverse_of,
    mean_averaged,
    mean_local,
    mean_norm,
    norm_of_mean,
)
from .radial import RadialKeys
from .reverse import pulled_back

OutputName = Literal["norm_of_mean", "mean_norm", "mean_local", "mean_averaged"]
Function = Callable[[Order], OrderOutput]

OUTPUTS: dict[str, Function] = {
    "norm_of_mean": norm_of_mean,
    "mean_norm": mean_norm,
    "mean_local": mean_local,
    "mean_averaged": mean_averaged,
}
WITH_PARTNERS = ("mean_local", "mean_averaged")
ALONE = {"mean_local": "local", "mean_averaged": "averaged"}
"""What the outputs are called for one centre, where nothing is averaged over centres."""


class SteinhardtConfig(RadialKeys):
    """Section [[cv]], kind = "steinhardt": how ordered the directions of the neighbours of centres are."""

    kind: Literal["steinhardt"]
    l: int = Field(ge=1, le=L_MAX, description="degree of the spherical harmonics")
    outputs: Annotated[tuple[OutputName, ...], Distinct] = ("mean_norm",)
    convention: Literal["plumed", "steinhardt"] = Field(
        default="plumed", description="steinhardt: times sqrt(4 pi / (2 l + 1)), the numbers of the literature"
    )
    local_switch: AnySwitchingFunction | None = Field(
        default=None, description="which centres are compared by mean_local and mean_averaged; default: switch"
    )

    @model_validator(mode="after")
    def _partners(self) -> "SteinhardtConfig":
        if self.basis is not None and self.l > self.basis.l_max:
            raise ValueError(f"l = {self.l} is larger than basis.l_max = {self.basis.l_max}")
        wanted = [name for name in self.outputs if name in WITH_PARTNERS]
        if wanted and self.local_switch is None and self.switch is None:
            raise ValueError(f"{wanted[0]} needs local_switch, which says what centres are compared")
        if not wanted and self.local_switch is not None:
            raise ValueError(f"local_switch belongs to the outputs {' and '.join(WITH_PARTNERS)}")
        return self

    def build(self, centres: Sequence[int], neighbours: Sequence[int]) -> "Steinhardt":
        return Steinhardt(self, neighbours)


class Steinhardt(Kind):
    """The splines, and which outputs there are."""

    def __init__(self, config: SteinhardtConfig, neighbours: Sequence[int]) -> None:
        self.outputs = config.outputs
        local = tuple(name for name in WITH_PARTNERS if name in config.outputs)
        self.centre_outputs = ("norm", *(ALONE[name] for name in local))
        self.sees_all_centres = bool(local)
        self._functions = [OUTPUTS[name] for name in config.outputs]
        self._alone = [mean_norm, *(OUTPUTS[name] for name in local)]
        self.l = config.l
        self.normalised = config.switch is not None
        self.factor = np.sqrt(4 * np.pi / (2 * config.l + 1)) if config.convention == "steinhardt" else 1.0
        self.basis = config.expansion([0, config.l] if self.normalised else [config.l], neighbours)
        self.partners: SplineTable | None = None
        if local:
            switch = config.local_switch or config.switch
            assert switch is not None
            try:
                self.partners = switch.table((1,), config.tolerance)
            except ValueError as error:
                raise InputError(f"collective variable {config.name}: local_switch: {error}") from error

    def part(self, group: Group) -> "SteinhardtPart":
        return SteinhardtPart(self, group, self._alone if group.alone else self._functions)


class BondVectors:
    """The vectors q_l of some atoms; keeps their neighbour list."""

    def __init__(self, kind: Steinhardt, group: Group, members: NDArray) -> None:
        self.list = group.neighbour_list(kind.basis.cutoff, centres=members)
        self.expansion = SphericalExpansion(kind.basis, self.list)
        self.active = ActiveSites(self.list)
        self.members = members
        self._l, self._factor, self._normalised = kind.l, kind.factor, kind.normalised
        self._derivative = np.zeros((len(members), 1, kind.basis.size))

    def values(self) -> Array:
        """(M, 2 l + 1) at the positions last given to the list."""
        coefficients = self.expansion.values()
        sums = _of(self.expansion.basis, coefficients, self._l) * self._factor
        if not self._normalised:
            return sums
        count = _of(self.expansion.basis, coefficients, 0) / Y00
        self._inverse = inverse_of(count)
        self._values = sums * self._inverse
        return self._values

    def pulled(self, derivative: Array) -> Array:
        """The derivative of an output with respect to the coefficients, from that with respect to `values`."""
        basis, out = self.expansion.basis, self._derivative
        if not self._normalised:
            _of(basis, out, self._l)[:] = self._factor * derivative
            return out
        scaled = derivative * self._inverse
        _of(basis, out, self._l)[:] = self._factor * scaled
        _of(basis, out, 0)[:] = -np.einsum("mk,mk->m", scaled, self._values)[:, None] / Y00
        return out


def _of(basis: ExpansionBasis, coefficients: Array, l: int) -> Array:
    """The coefficients (M, 2 l + 1) of the one function of a degree, a view."""
    return basis.split(coefficients)[l][:, 0, :, 0]


class SteinhardtPart(Part):
    """The outputs of one group. Where partners are compared, they have vectors of their own."""

    def __init__(self, kind: Steinhardt, group: Group, functions: Sequence[Function]) -> None:
        self._kind, self._group, self._functions = kind, group, functions
        self._partners = Partners(group, kind.partners) if kind.partners is not None else None
        self._past = 0  # how often lists were built that have been replaced
        self._bonds = BondVectors(kind, group, group.centres)
        self.list = self._bonds.list

    @property
    def builds(self) -> tuple[int, ...]:
        own = self._past + self._bonds.list.n_builds
        return (own,) if self._partners is None else (own, self._partners.list.n_builds)

    def atoms(self) -> NDArray[np.int32]:
        return self._bonds.active.atoms()

    def compute(self, positions: Array, cell: Array) -> tuple[Array, Array, Array]:
        if self._partners is not None and self._partners.update(positions, cell):
            self._take(self._partners.members())
        bonds = self._bonds
        bonds.list.update(positions, cell)
        vectors = bonds.values()
        if self._partners is None:
            order = Order(vectors, np.arange(len(vectors)))
        else:
            order = self._partners.order(vectors, bonds.members)
        found = [function(order) for function in self._functions]
        atoms = self.atoms()
        gradients, strain = np.empty((len(found), len(atoms), 3)), np.empty((len(found), 3, 3))
        for k, output in enumerate(found):
            pulled = pulled_back(bonds.expansion, [bonds.pulled(output.by_vectors)], atoms)
            gradients[k : k + 1], strain[k : k + 1] = pulled
            if self._partners is not None and output.by_weights is not None:
                among, gradient, by_strain = self._partners.gradient(output.by_weights)
                gradients[k, np.searchsorted(atoms, among)] += gradient
                strain[k] += by_strain
        return np.array([output.value for output in found]), gradients, strain

    def _take(self, members: NDArray[np.int32]) -> None:
        """Vectors of these atoms from now on."""
        if not np.array_equal(members, self._bonds.members):
            self._past += self._bonds.list.n_builds
            self._bonds = BondVectors(self._kind, self._group, members)
            self.list = self._bonds.list
