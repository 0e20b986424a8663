"""Labels of training structures that a model does not meet, though its expected errors were chosen for them."""

from collections.abc import Mapping

import numpy as np

from ..frame import Array
from .labels import PLURAL
from .regression import Factors

TOO_MUCH = 3.0
"""Expected errors, root mean square, from which on labels are not met."""


def misfits(factors: Factors, sigma: Mapping[str, float], weights: Array) -> list[str]:
    """What people should know about labels that are further from the model than expected.

    Args:
        factors: Of all groups.
        sigma: By which the expected errors were multiplied.
        weights: Those of the model, (n,).

    Returns:
        A line for each quantity whose errors are `TOO_MUCH`.
    """
    residual = np.append(weights, -1.0)
    told = []
    for quantity, parts in factors.items():
        square = sum(((part.r @ residual) ** 2).sum() for part in parts)
        count = sum(part.count for part in parts)
        ratio = float(np.sqrt(square / count)) / sigma.get(quantity, 1.0)
        if ratio > TOO_MUCH:
            told.append(
                f"the {PLURAL[quantity]} of the training structures are {ratio:.2g} times their expected errors from "
                f"those of the model: its {len(weights)} weights cannot follow {count} labels. Give it more different "
                "structures, and look for labels that are wrong"
            )
    return told
