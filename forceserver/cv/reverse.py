"""Outputs that are functions of the numbers of all centres, with gradients in reverse mode.

The numbers of the centres are coefficients or a power spectrum. An output gives its derivative with respect to them,
and one vector-Jacobian product makes forces and virial of it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..frame import Array
from ..representation.neighbours import NeighbourList
from .base import ActiveSites, Part


class Representation(Protocol):
    """What `SphericalExpansion` and `PowerSpectrum` have in common."""

    def values(self) -> Array: ...

    def vjp(self, gradient: Array) -> tuple[Array, Array]: ...


Outputs = Callable[[Array], tuple[Array, Sequence[Array]]]
"""The numbers of the centres to the values (d,) and d derivatives, each of the shape of the numbers."""


class ReversePart(Part):
    """Functions of the numbers that a representation gives for the centres of a list."""

    def __init__(self, neighbours: NeighbourList, representation: Representation, outputs: Outputs) -> None:
        self.list = neighbours
        self._representation = representation
        self._outputs = outputs
        self._active = ActiveSites(neighbours)

    def atoms(self) -> NDArray[np.int32]:
        return self._active.atoms()

    def compute(self, positions: Array, cell: Array) -> tuple[Array, Array, Array]:
        self.list.update(positions, cell)
        values, derivatives = self._outputs(self._representation.values())
        return values, *pulled_back(self._representation, derivatives, self.atoms())


def pulled_back(
    representation: Representation, derivatives: Sequence[Array], atoms: NDArray[np.int32]
) -> tuple[Array, Array]:
    """Gradients (d, n, 3) with respect to these atoms and strain derivatives (d, 3, 3) of d outputs.

    derivatives: of each output with respect to what the representation gave last.
    """
    gradients = np.empty((len(derivatives), len(atoms), 3))
    strain = np.empty((len(derivatives), 3, 3))
    for k, derivative in enumerate(derivatives):
        forces, virial = representation.vjp(derivative)
        np.negative(forces.take(atoms, axis=0), out=gradients[k])
        np.negative(virial, out=strain[k])
    return gradients, strain
