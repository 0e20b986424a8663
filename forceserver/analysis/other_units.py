"""Whether references are in other units than predictions, or relative to other energies of atoms."""

from itertools import permutations

import numpy as np
from ase.units import Bohr, GPa

from ..frame import Array
from ..units import PER_EV
from .parity import ENERGY, FORCE, STRESS, TOTAL, ParityTable, Quantity

ALIKE = 0.95
"""Cosine of references and predictions (of either sign) from which on a factor between them is one of units."""

FACTOR = 1.5
"""Between which and its inverse a factor is an error of the potential."""

ENOUGH = 10
"""Numbers, from which on they may show a factor."""

SAME_FACTOR = 0.05
"""Relative: how well a factor is known."""

CONSTANT = 10.0
"""How many times smaller the errors of energies are without a constant for each element, if these are the error."""

NOTICED, RESOLVED = 0.1, 1e-4
"""eV per atom: errors, and differences of energies, that say something."""

FEW_STRESSES, OTHER_ORDER = 5, 0.5
"""Structures, and the share of the errors of shears that is left in another order, from which on it is that order."""

MOVING = 0.02
"""eV/Angstrom, from which on a force is not zero."""

PER_ANGSTROM = {"": 1.0, "/Bohr": Bohr}
ENERGIES = {**PER_EV, "Ry": 2 * PER_EV["Ha"]}
UNITS: dict[Quantity, dict[str, float]] = {
    ENERGY: {**ENERGIES, "meV": 1000.0},
    FORCE: {
        f"{energy}{length or '/Angstrom'}": factor * per_length
        for energy, factor in ENERGIES.items()
        for length, per_length in PER_ANGSTROM.items()
    },
    STRESS: {
        "GPa": 1 / GPa,
        "kbar": 10 / GPa,
        **{f"{energy}/Bohr^3": ENERGIES[energy] * Bohr**3 for energy in ("Ha", "Ry")},
        **{f"{energy}/Angstrom^3": factor for energy, factor in ENERGIES.items()},
    },
}
"""What one internal unit is in others."""


def doubts(table: ParityTable) -> list[str]:
    """What people should know of the references: units, signs and energies of atoms that are not those of predictions.

    Args:
        table: of predictions that are right, up to errors.
    """
    told = _zeros(table)
    for quantity in (FORCE, STRESS):
        if quantity in table.groups[TOTAL] and (factor := _factor(*table.groups[TOTAL][quantity].arrays())):
            named = _named(quantity, factor)
            told.append(f"the references of the {quantity.name}s are {factor:.3g} times the predictions{named}")
    if STRESS in table.groups[TOTAL] and (order := _other_order(*table.groups[TOTAL][STRESS].arrays())):
        told.append(
            f"the off-diagonal reference stresses are the predictions in the order {order}: is that the order of the "
            "program that computed them? Six numbers are read as xx yy zz yz xz xy"
        )
    if ENERGY in table.groups[TOTAL]:
        if (multiple := _multiple_of_energies(table)) is not None:
            told.append(f"the reference energies, beyond a constant for each element, are {multiple}")
        elif (without := _without_constants(table)) is not None:
            told.append(
                "the reference energies differ from the predictions by a constant for each element (other energies of "
                f"isolated atoms?); without it the RMSE is {1e3 * without:.4g} meV/atom"
            )
    return told


def _zeros(table: ParityTable) -> list[str]:
    """A line about structures whose forces are all exactly zero, and are not by symmetry."""
    forces = table.groups[TOTAL].get(FORCE)
    if forces is None:
        return []
    pairs = zip(forces.reference, forces.prediction, strict=True)
    found = [float(abs(prediction).max()) for reference, prediction in pairs if not reference.any()]
    found = [largest for largest in found if largest > MOVING]
    if not found:
        return []
    return [
        f"the reference forces of {len(found)} structures are all exactly zero, the predictions up to {max(found):.3g} "
        "eV/Angstrom: if they were not computed, remove them or leave them out (none as their name)"
    ]


def _ratio(reference: Array, prediction: Array) -> float | None:
    """What the predictions are to be multiplied by, if that explains the references."""
    lengths = np.linalg.norm(reference), np.linalg.norm(prediction)
    if len(reference) < ENOUGH or not all(lengths) or abs(reference @ prediction) < ALIKE * lengths[0] * lengths[1]:
        return None
    return float(reference @ prediction / lengths[1] ** 2)


def _factor(reference: Array, prediction: Array) -> float | None:
    """The same, if it is far from one."""
    ratio = _ratio(reference, prediction)
    return None if ratio is None or 1 / FACTOR < ratio < FACTOR else ratio


def _multiple_of_energies(table: ParityTable) -> str | None:
    """What the energies are of the predictions, beyond a constant for each element, if a unit or the number of atoms
    explains it.

    The energy of a single structure that the potential does not know may be far off: another multiple is no doubt.
    """
    reference, prediction = table.groups[TOTAL][ENERGY].arrays()
    shares, sizes = table.shares(TOTAL), table.sizes(TOTAL)
    given, of_all, predicted = (
        one - shares @ np.linalg.lstsq(shares, one, rcond=None)[0] for one in (reference, sizes * reference, prediction)
    )
    if len(shares) < shares.shape[1] + ENOUGH or np.sqrt(np.mean(predicted**2)) < RESOLVED:
        return None
    factor, ratio = _factor(given, predicted), _ratio(of_all, predicted)
    if factor is not None and (named := _named(ENERGY, factor)):
        return f"{factor:.3g} times the predictions{named}"
    if _ratio(given, predicted) in (None, factor) and ratio is not None and abs(ratio - 1) < SAME_FACTOR:
        return "the predictions divided by the number of atoms: are they energies per atom?"
    return None


def _named(quantity: Quantity, factor: float) -> str:
    sign = " with the other sign" if factor < 0 else ""
    unit, wanted = min(UNITS[quantity].items(), key=lambda entry: abs(np.log(abs(factor) / entry[1])))
    if wanted == 1 or abs(abs(factor) / wanted - 1) > SAME_FACTOR:
        return sign
    return f": are they in {unit}{sign}?"


def _other_order(reference: Array, prediction: Array) -> str | None:
    """The order in which the components yz, xz and xy of references are those of the predictions, if it is another."""
    shears = [array.reshape(-1, 3, 3)[:, (1, 0, 0), (2, 2, 1)] for array in (reference, prediction)]
    if len(shears[0]) < FEW_STRESSES:
        return None
    errors = {order: float(np.linalg.norm(shears[0] - shears[1][:, order])) for order in permutations(range(3))}
    best = min(errors, key=errors.__getitem__)
    if errors[best] >= OTHER_ORDER * errors[0, 1, 2] or errors[best] >= OTHER_ORDER * np.linalg.norm(shears[0]):
        return None
    return "xx yy zz " + " ".join(("yz", "xz", "xy")[component] for component in best)


def _without_constants(table: ParityTable) -> float | None:
    """The root-mean-square error (eV per atom) that is left, if constants are nearly all of it."""
    reference, prediction = table.groups[TOTAL][ENERGY].arrays()
    shares, difference = table.shares(TOTAL), reference - prediction
    if len(difference) < shares.shape[1] + 3:
        return None
    constants = np.linalg.lstsq(shares, difference, rcond=None)[0]
    before, left = (float(np.sqrt(np.mean(d**2))) for d in (difference, difference - shares @ constants))
    return left if before > max(NOTICED, CONSTANT * left) else None
