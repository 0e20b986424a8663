"""Multispectra as kernels see them: orders on one scale, normalised.

    x_k = scale_k A^nu_k,        p = x / |x|

The invariants of order nu are as large as the density to the power nu; the scale of an order makes them comparable.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..frame import Array
from .expansion import ExpansionBasis, SphericalExpansion
from .multispectrum import Multispectrum, MultispectrumFeatures
from .neighbours import NeighbourList


@dataclass(frozen=True, eq=False)
class ScaledMultispectrum:
    """Which invariants, in the place of a `PowerSpectrumBasis`.

    scale: (F,). normalise: whether the features of a centre are divided by their length.
    """

    multispectrum: Multispectrum
    scale: Array
    normalise: bool = False

    @property
    def expansion(self) -> ExpansionBasis:
        """The coefficients."""
        return self.multispectrum.expansion

    def __len__(self) -> int:
        """Number of features."""
        return len(self.scale)

    def raw(self) -> "ScaledMultispectrum":
        """The same, not normalised."""
        return replace(self, normalise=False)

    def at(self, neighbours: NeighbourList) -> "ScaledFeatures":
        """The features of the centres of a list."""
        return ScaledFeatures(self, neighbours)


class ScaledFeatures:
    """The features over one neighbour list, in the place of a `PowerSpectrum`."""

    def __init__(self, basis: ScaledMultispectrum, neighbours: NeighbourList) -> None:
        self.basis = basis
        self._features = MultispectrumFeatures(basis.multispectrum, neighbours)
        self._values = np.zeros((0, len(basis)))
        self._norm = np.ones((0, 1))

    @property
    def expansion(self) -> SphericalExpansion:
        """The coefficients."""
        return self._features.expansion

    def values(self) -> Array:
        """Features (n_centres, F) at the positions last given to the neighbour list; errors as for `PowerSpectrum`."""
        self._values = self._features.values() * self.basis.scale
        self._norm = np.ones((len(self._values), 1))
        if self.basis.normalise:
            lengths = np.linalg.norm(self._values, axis=1, keepdims=True)
            self._norm = np.where(lengths > 0, lengths, 1.0)
            self._values /= self._norm
        return self._values

    def vjp(self, gradient: Array) -> tuple[Array, Array]:
        """Forces (N, 3) and virial (3, 3) of an energy with dE/dp = gradient (n_centres, F), after `values`."""
        if self.basis.normalise:
            along = (gradient * self._values).sum(axis=1, keepdims=True)
            gradient = (gradient - along * self._values) / self._norm
        return self._features.vjp(gradient * self.basis.scale)
