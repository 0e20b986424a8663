"""Whether labels contradict one another: a stress with the sign of a pressure, forces in other units than energies.

The labels of each quantity are compared with what a fit to the other quantities says of them. Where these know
anything of it, the predictions are the labels, up to errors; a sign or a unit that is wrong makes them another factor.

Energies are compared beyond a constant for each element: forces know nothing of those. Where isolated atoms are given,
the energies of a molecule or a crystal are mostly such a constant.
"""

from collections.abc import Callable

import numpy as np

from ..frame import Array
from .labels import PLURAL
from .validation import FEWEST, RESOLVED, Validation

ALIKE = 0.8
"""Correlation (of either sign) from which on the others know enough of a quantity to contradict its labels."""
FACTOR = 4.0
"""From which on a factor is none of incomplete knowledge; wrong units make 14 (Rydberg for eV), 27, 160 or 1000."""


Energies = Callable[[Array], tuple[Array, Array, Array]]
"""From weights (n,): predicted energies (m,), labels (m,) and numbers of atoms of each element (m, elements), of some
structures, all divided by the expected errors."""


def contradiction(validation: Validation, energies: Energies) -> str | None:
    """What people should know of the labels that contradict the others most clearly, or None.

    Only these: the others are then compared with predictions that come of them.
    """
    found = []
    for quantity in validation.quantities:
        if quantity != "energy":
            beside = validation.beside_the_others(quantity)
        elif (weights := validation.weights_of_the_others(quantity)) is not None:
            beside = beyond_elements(*energies(weights))
        else:
            beside = None
        if beside is not None and abs(beside[1]) > ALIKE and not 1 / FACTOR < beside[0] < FACTOR:
            found.append((abs(beside[1]), quantity, *beside))
    if not found:
        return None
    _, quantity, factor, correlation = max(found)
    others = " and ".join(PLURAL[other] for other in validation.quantities if other != quantity)
    return (
        f"the labels contradict one another: the {PLURAL[quantity]} are about {factor:.2g} times what a fit to the "
        f"{others} says of them (correlation {correlation:.2f}). Are all signs and units those of this program? "
        "Energies are in eV, of all atoms; forces are -dE/dr in eV/Angstrom; a stress is dE/dstrain / volume in "
        "eV/Angstrom^3 (1 GPa is 0.0062415), positive under tension; a virial is -dE/dstrain in eV, of all atoms"
    )


def beyond_elements(predicted: Array, labels: Array, counts: Array) -> tuple[float, float] | None:
    """The factor (least squares) and the correlation of labels and predictions (m,) without what is linear in the
    numbers of atoms (m, elements). None if too few are left, or what is left of them is no more than digits."""
    p, y = (one - counts @ np.linalg.lstsq(counts, one, rcond=None)[0] for one in (predicted, labels))
    if len(y) - np.linalg.matrix_rank(counts) < FEWEST or y @ y <= RESOLVED**2 * len(y) or not p @ p > 0:
        return None
    return float(p @ y / (p @ p)), float(p @ y / np.sqrt((p @ p) * (y @ y)))
