"""What may not pass from a potential to anybody, said as `PotentialError` so that a reader finds the culprit."""

from collections.abc import Sequence

import numpy as np

from .errors import PotentialError
from .frame import Result


def is_finite(result: Result) -> bool:
    """Whether energy, forces and virial are all finite."""
    return bool(np.isfinite(result.energy) and np.isfinite(result.forces).all() and np.isfinite(result.virial).all())


def check_count(results: Sequence[Result], structures: int) -> None:
    """There must be a result for each structure."""
    if len(results) != structures:
        raise PotentialError(f"the potential returned {len(results)} results for {structures} structures")


def check_results(results: Sequence[Result], atoms: int) -> None:
    """Results must have the shapes of `atoms` atoms and be finite."""
    for result in results:
        shapes = np.shape(result.forces), np.shape(result.virial)
        if shapes != ((atoms, 3), (3, 3)):
            raise PotentialError(
                f"the potential returned forces of shape {shapes[0]} and a virial of shape {shapes[1]} for {atoms} "
                "atoms"
            )
        for what in ("energy", "forces", "virial"):
            numbers = np.asarray(getattr(result, what), float)
            bad = np.argwhere(~np.isfinite(numbers))
            if len(bad):
                at = tuple(bad[0].tolist())
                raise PotentialError(f"the potential returned {what}{list(at) if at else ''} = {numbers[at]}")
