"""A weighted sum of potentials: a baseline and a correction, a core and a model, a mixture of two."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from ..errors import PotentialError
from ..frame import Frame, Result
from ..sections import Section
from .base import Potential, compute_all
from .committee import within_sum

if TYPE_CHECKING:
    from . import PotentialConfig


class TermConfig(Section):
    """One term of a sum: `weight` times `potential`."""

    weight: float = 1.0
    potential: "PotentialConfig"


class SumConfig(Section):
    """`kind = "sum"`: the weighted sum of the potentials in `terms`."""

    kind: Literal["sum"]
    terms: list[TermConfig] = Field(min_length=1)

    def build(self, template: Frame) -> "SumPotential":
        """The potential; the errors are those of the terms."""
        return SumPotential([(term.weight, term.potential.build(template)) for term in self.terms])


class SumPotential(Potential):
    """sum_k weight_k potential_k, for energy, forces and virial.

    The extras of all terms are sent; `PotentialError` if two terms have the same. A committee among the terms makes the
    sum a committee, all others are passed on as they are.
    """

    def __init__(self, terms: Sequence[tuple[float, Potential]]) -> None:
        self._terms = list(terms)

    def compute_one(self, frame: Frame) -> Result:
        return self.compute([frame])[0]

    def compute(self, frames: Sequence[Frame]) -> list[Result]:
        weights = [weight for weight, _ in self._terms]
        by_frame = compute_all([potential for _, potential in self._terms], frames)
        return [add_results(weights, results) for results in by_frame]

    def close(self) -> None:
        for _, potential in self._terms:
            potential.close()


def add_results(weights: Sequence[float], results: Sequence[Result]) -> Result:
    """The weighted sum of results of the same frame."""
    weighted = list(zip(weights, results, strict=True))
    total = Result(
        energy=sum(weight * result.energy for weight, result in weighted),
        forces=sum((weight * result.forces for weight, result in weighted), np.zeros_like(results[0].forces)),
        virial=sum((weight * result.virial for weight, result in weighted), np.zeros((3, 3))),
    )
    for weight, result in weighted:
        if twice := total.extras.keys() & result.extras.keys():
            raise PotentialError(f"two terms of a sum have the same extras: {', '.join(sorted(twice))}")
        rest = Result(
            energy=total.energy - weight * result.energy,
            forces=total.forces - weight * result.forces,
            virial=total.virial - weight * result.virial,
        )
        total.extras.update(within_sum(result.extras, weight, rest))
    return total
