"""Labels of training structures that a model does not meet, though nothing kept it from following them."""

import numpy as np

from ..frame import Array
from .labels import PLURAL
from .regression import Factors

LARGEST_SHARE = 0.3
"""Of the labels beyond atoms and pair potentials, root mean square, that a model may leave."""
AGAINST = 1.5
"""Of the same, from which on a model without these labels would be better: others pull it away from them."""
NOTICED = 3.0
"""Expected errors below which it does not matter."""


def misfits(factors: Factors, weights: Array) -> list[str]:
    """What people should know about labels that the model does not describe.

    Args:
        factors: Of all groups, in units of the expected errors.
        weights: Those of the model, (n,).

    Returns:
        A line for each quantity of which a large share is left.
    """
    residual = np.append(weights, -1.0)
    told = []
    for quantity, parts in factors.items():
        count = sum(part.count for part in parts)
        left = np.sqrt(sum(((part.r @ residual) ** 2).sum() for part in parts) / count)
        labels = np.sqrt(sum((part.r[:, -1] ** 2).sum() for part in parts) / count)
        if left > max(NOTICED, LARGEST_SHARE * labels):
            if left > AGAINST * labels:
                why = (
                    "they contradict the other labels. Are all units those of this program (eV, Angstrom), and all "
                    "energies of one reference?"
                )
            else:
                why = (
                    f"its {len(weights)} weights cannot follow {count} labels. Give it more different structures, and "
                    "look for labels that are wrong"
                )
            told.append(
                f"the model leaves {left / labels:.0%} of the {PLURAL[quantity]} of the training structures (root mean "
                f"square): {why}"
            )
    return told
