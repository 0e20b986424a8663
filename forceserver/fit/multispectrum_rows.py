"""Columns of a fit for kernels of multispectra."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..frame import Array, Frame
from ..representation.expansion import ExpansionBasis
from ..representation.multispectrum_config import MultispectrumConfig
from ..representation.multispectrum_fit import Show, all_coefficients, make
from ..representation.scaled_multispectrum import ScaledMultispectrum
from .rows import SoapRows


def scaled_multispectrum(
    config: MultispectrumConfig, expansion: ExpansionBasis, frames: Sequence[Frame], normalise: bool, show: Show
) -> ScaledMultispectrum:
    """A multispectrum learned from structures, each order of mean square length 1 in them.

    `InputError`: as for `multispectrum_fit.make`.
    """
    spectrum = make(config, expansion, frames, show=show)
    coefficients, species, _ = all_coefficients(expansion, frames)
    squares = np.square(spectrum.values(coefficients, species)).mean(axis=0)
    of_order = np.bincount(spectrum.order_of, weights=squares, minlength=spectrum.nu + 1)
    return ScaledMultispectrum(spectrum, 1 / np.sqrt(np.maximum(of_order, 1e-300))[spectrum.order_of], normalise)


class MultispectrumRows(SoapRows):
    """Columns of the sparse points of one multispectrum.

    The derivatives of the features of a centre by its coefficients are made in reverse mode, all features at once.
    """

    basis: ScaledMultispectrum

    def _feature_gradients(
        self, species: NDArray[np.int32], coefficients: Array, centre: Array, block: Array, derivative: Array
    ) -> Array:
        number = len(self.basis)
        g = np.empty((*derivative.shape[:2], number))
        for i in np.unique(centre):
            same = np.repeat(coefficients[i : i + 1], number, axis=0)
            jacobian = self.basis.multispectrum.pull_back(
                same, np.repeat(species[i : i + 1], number), np.diag(self.basis.scale)
            )
            for b in np.unique(block[centre == i]):
                mine = (centre == i) & (block == b)
                g[mine] = derivative[mine] @ jacobian[:, b].T
        return g
