"""kind = "power_spectrum": linear functions of the power spectrum (SOAP) of centres, reduced over centres.

    s_k = sum_i w_i (sum_f W_kf p^i_f + o_k)

with the power spectrum p of each centre, plain or divided by its length, and weights W from a file, `linear_functions`:
principal components, linear discriminants, a ridge regression (`fitting`), or anything else that a user puts there. The
power spectrum of a centre without neighbours is that of its own density, or zero if its species is not among those of
the neighbours.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..errors import InputError
from ..frame import Array
from ..representation.bases import AnyRadialBasis
from ..representation.contraction_config import ContractionConfig
from ..representation.invariants import PowerSpectrum
from ..sections import Distinct, OutputPath
from .base import Group, Kind, Name, VariableConfig
from .linear_functions import LinearFunctions
from .reverse import ReversePart


class PowerSpectrumConfig(VariableConfig):
    """Section [[cv]], kind = "power_spectrum": linear functions of the power spectrum of centres."""

    kind: Literal["power_spectrum"]
    basis: AnyRadialBasis = Field(description="radial functions")
    normalise: bool = Field(default=True, description="divide the power spectrum of a centre by its length")
    contraction: ContractionConfig | None = Field(
        default=None, description="of the radial functions, made by the fit and kept in its file"
    )
    weights: OutputPath = Field(description="the file that `forceserver cv fit` writes, and everything else reads")
    reduction: Literal["mean", "sum"] = "mean"
    outputs: Annotated[tuple[Name, ...], Distinct] | None = Field(
        default=None, description="some of the functions in the file; default: all"
    )

    def build(self, centres: Sequence[int], neighbours: Sequence[int]) -> "LinearPowerSpectrum":
        try:
            return LinearPowerSpectrum(self, tuple(neighbours))
        except InputError as error:
            raise InputError(f"collective variable {self.name}: {error}") from error


class LinearPowerSpectrum(Kind):
    """The features and the weights.

    Attributes:
        basis: the features F.
        weights: (d, F), offsets: (d,), of the d outputs.
        mean: whether outputs are means over the centres, not sums.
    """

    def __init__(self, config: PowerSpectrumConfig, neighbours: tuple[int, ...]) -> None:
        if not config.weights.is_file():
            raise InputError(f"weights: there is no file {config.weights}; `forceserver cv fit` makes it")
        functions = LinearFunctions.load(config.weights)
        functions.check(config.basis, config.normalise, neighbours, config.weights)
        wanted = functions.names if config.outputs is None else config.outputs
        unknown = sorted(set(wanted) - set(functions.names))
        if unknown:
            known = ", ".join(functions.names)
            raise InputError(f"outputs: weights {config.weights} have no {unknown[0]!r}, only {known}")
        rows = [functions.names.index(name) for name in wanted]
        self.outputs = self.centre_outputs = wanted
        self.weights, self.offsets = functions.weights[rows], functions.offsets[rows]
        try:
            self.basis = functions.power_spectrum(config.tolerance)
        except ValueError as error:
            raise InputError(str(error)) from error
        self.mean = config.reduction == "mean"

    def part(self, group: Group) -> ReversePart:
        n = len(group.centres)
        weight = 1.0 / n if self.mean or group.alone else 1.0
        pairs = group.neighbour_list(self.basis.expansion.cutoff)
        derivatives = [np.tile(weight * row, (n, 1)) for row in self.weights]
        offsets = weight * n * self.offsets

        def outputs(features: Array) -> tuple[Array, list[Array]]:
            return weight * (self.weights @ features.sum(axis=0)) + offsets, derivatives

        return ReversePart(pairs, PowerSpectrum(self.basis, pairs), outputs)
