"""kind = "distance_to_structure": SOAP similarity to reference structures, and the position along a path of them.

    similarityR     K_R, of `references`: 1 for a copy of the reference
    distanceR       D_R = sqrt(2 - 2 K_R)
    s               sum_R R exp(-lambda D_R^2) / sum_R exp(-lambda D_R^2),    R = 1, 2, ...
    z               -1/lambda ln sum_R exp(-lambda D_R^2)

s and z are the variables of Branduardi, Gervasio and Parrinello, J. Chem. Phys. 126, 054103 (2007). lambda is 2.3 over
the mean of D^2 between neighbours on the path unless it is given. A centre whose power spectrum is zero has similarity
zero.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..errors import InputError
from ..frame import Array
from ..representation.bases import AnyRadialBasis
from ..representation.config import selection
from ..representation.contraction_config import ContractionConfig, read_frames
from ..representation.invariants import PowerSpectrum
from ..sections import Distinct, InputFile
from .base import Group, Kind, VariableConfig
from .linear_functions import features
from .references import References, Spectra, spectra_of
from .reverse import ReversePart

OutputName = Literal["similarity", "distance", "s", "z"]
SAME = 1e-8  # similarity
ON_A_PATH = 2.3  # lambda times the squared distance of neighbours on a path, as the authors recommend


class StructureDistanceConfig(VariableConfig):
    """Section [[cv]], kind = "distance_to_structure": how similar environments are to those of references."""

    kind: Literal["distance_to_structure"]
    basis: AnyRadialBasis = Field(description="radial functions of the power spectrum")
    contraction: ContractionConfig | None = Field(default=None, description="of them; by default of the references")
    references: InputFile = Field(description="structures, any format that ASE reads; of a path in their order")
    zeta: int = Field(default=2, ge=1, le=32, description="exponent of the kernel")
    sharpness: float = Field(default=100.0, gt=0, le=1e6, description="of the choice of the best match")
    path_lambda: float | None = Field(default=None, gt=0, description="lambda of s and z; default: from the path")
    outputs: Annotated[tuple[OutputName, ...], Distinct] = ("distance",)

    @model_validator(mode="after")
    def _lambda_for_a_path(self) -> "StructureDistanceConfig":
        if self.path_lambda is not None and not {"s", "z"} & set(self.outputs):
            raise ValueError("path_lambda belongs to the outputs s and z")
        return self

    def build(self, centres: Sequence[int], neighbours: Sequence[int]) -> "StructureDistance":
        try:
            return StructureDistance(self, centres, tuple(neighbours))
        except (InputError, ValueError) as error:
            raise InputError(f"collective variable {self.name}: {error}") from error


Output = tuple[str, Callable[[Array], tuple[float, Array]]]
"""Name; and the K_R (R,) to a value and its derivative with respect to them (R,)."""


class StructureDistance(Kind):
    """The references, and the functions of the similarities to them."""

    def __init__(self, config: StructureDistanceConfig, centres: Sequence[int], neighbours: tuple[int, ...]) -> None:
        frames = list(read_frames(config.references))
        matrices, sum_species = None, False
        around, among = selection(config.neighbours), selection(config.centres)
        if config.contraction is not None:
            made = config.contraction.make(
                config.basis, frames, neighbours, centres=among, neighbours=around, tolerance=config.tolerance
            )
            matrices, sum_species = dict(made.matrices), made.sum_species
        self._basis = features(
            config.basis, neighbours, matrices, sum_species, normalise=True, tolerance=config.tolerance
        )
        spectra = [spectra_of(frame, number, self._basis, among, around) for number, frame in enumerate(frames, 1)]
        self._references = References.of(spectra, centres, config.zeta, config.sharpness)
        outputs: list[Output] = []
        for name in config.outputs:
            if name in ("similarity", "distance"):
                function = _similarity if name == "similarity" else _distance
                outputs += [(f"{name}{r + 1}", function(r)) for r in range(self._references.count)]
        if {"s", "z"} & set(config.outputs):
            path = Path(config.path_lambda or self._natural_lambda(spectra))
            outputs += [(name, getattr(path, name)) for name in config.outputs if name in ("s", "z")]
        self.outputs = self.centre_outputs = tuple(name for name, _ in outputs)
        self._functions = [function for _, function in outputs]

    def part(self, group: Group) -> ReversePart:
        pairs = group.neighbour_list(self._basis.expansion.cutoff)
        species = group.species[group.centres]
        return ReversePart(pairs, PowerSpectrum(self._basis, pairs), lambda p: self._outputs(species, p))

    def _outputs(self, species: NDArray[np.int32], spectra: Array) -> tuple[Array, list[Array]]:
        similarities = self._references.similarities(Spectra(species, spectra))
        found = [function(similarities.values.mean(axis=0)) for function in self._functions]
        derivatives = [similarities.derivative(slope / len(species)) for _, slope in found]
        return np.array([value for value, _ in found]), derivatives

    def _natural_lambda(self, spectra: Sequence[Spectra]) -> float:
        """From the squared distances of each reference to the next."""
        if len(spectra) < 2:
            raise InputError("references: there is one structure; s and z need a path of two at least, or path_lambda")
        squares = []
        for r, one in enumerate(spectra[:-1]):
            own, following = self._references.similarities(one).values.mean(axis=0)[[r, r + 1]]
            squares.append(2 - 2 * following)
            if abs(own - following) < SAME:
                raise InputError(f"references: structures {r + 1} and {r + 2} are the same; leave one out")
        return ON_A_PATH / float(np.mean(squares))


def _similarity(r: int) -> Callable[[Array], tuple[float, Array]]:
    def function(k: Array) -> tuple[float, Array]:
        return float(k[r]), np.eye(len(k))[r]

    return function


def _distance(r: int) -> Callable[[Array], tuple[float, Array]]:
    """The derivative at distance zero is taken to be zero."""

    def function(k: Array) -> tuple[float, Array]:
        distance = float(np.sqrt(max(0.0, 2 - 2 * k[r])))
        return distance, np.eye(len(k))[r] * (-1 / distance if distance > 0 else 0.0)

    return function


class Path:
    """Position along a path, and distance from it."""

    def __init__(self, sharpness: float) -> None:
        self._lambda = sharpness

    def s(self, k: Array) -> tuple[float, Array]:
        weights, _ = self._weights(k)
        place = np.arange(1, len(k) + 1)
        value = float(weights @ place)
        return value, 2 * self._lambda * weights * (place - value)

    def z(self, k: Array) -> tuple[float, Array]:
        weights, logarithm = self._weights(k)
        return -logarithm / self._lambda, -2 * weights

    def _weights(self, k: Array) -> tuple[Array, float]:
        """exp(-lambda D_R^2), normalised, and the logarithm of their sum."""
        exponents = -self._lambda * (2 - 2 * k)
        largest = exponents.max()
        weights = np.exp(exponents - largest)
        total = weights.sum()
        return weights / total, float(largest + np.log(total))
