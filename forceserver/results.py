"""What may not pass from a potential to anybody, said as `PotentialError` so that a reader finds the culprit."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .errors import PotentialError, shortened
from .frame import Result

UNITS = {"energy": "eV", "forces": "eV/Angstrom", "virial": "eV", "stress": "eV/Angstrom^3"}
REMEDIES = {
    "energy": "one number, in eV",
    "forces": "x, y, z for each atom, in eV/Angstrom",
    "virial": "minus the derivative of the energy with respect to strain, in eV; zeros if the volume never changes",
    "stress": "all components or six in Voigt order, in eV/Angstrom^3",
}
"""What to return."""

ASYMMETRY, ROUNDING = 1e-2, 1e-8
"""Differences of two components that should be equal, relative to the largest, that are noise."""
LEAST_ASYMMETRY = {"virial": 1e-2, "stress": 1e-4}
"""Differences that always are: where all components nearly vanish."""


def is_finite(result: Result) -> bool:
    """Whether energy, forces and virial are all finite."""
    return bool(np.isfinite(result.energy) and np.isfinite(result.forces).all() and np.isfinite(result.virial).all())


def check_count(results: Sequence[Result], structures: int) -> None:
    """There must be a list with a result for each structure."""
    if not hasattr(results, "__len__"):
        given = type(results).__name__
        raise PotentialError(f"the potential returned a {given} for {structures} structures, not a list of Results")
    if len(results) != structures:
        raise PotentialError(f"the potential returned {len(results)} results for {structures} structures")


def check_results(results: Sequence[Result], atoms: int) -> None:
    """Results must have the shapes of `atoms` atoms and be finite."""
    for result in results:
        if problem := problem_of(result, atoms):
            raise PotentialError(f"the potential returned {problem}")


def problem_of(result: object, atoms: int) -> str:
    """What makes a result unfit for a structure of `atoms` atoms: the quantity, its value, the remedy. Empty if fit."""
    if not isinstance(result, Result):
        return f"a {type(result).__name__}, not a Result(energy, forces, virial)"
    shapes: dict[str, tuple[int, ...]] = {"energy": (), "forces": (atoms, 3), "virial": (3, 3)}
    for name, shape in shapes.items():
        if problem := problem_of_numbers(name, getattr(result, name), shape):
            return problem
    if not isinstance(result.extras, dict | str):
        return f"extras = {shortened(result.extras)}: should be a dictionary, names to values"
    return ""


def problem_of_numbers(name: str, value: object, shape: tuple[int, ...], finite: bool = True) -> str:
    """What is wrong with a quantity that should be real numbers of a shape; empty if nothing is.

    name: one of `UNITS`. value: whatever was given for it; anything that numpy makes an array of. finite: whether the
    numbers must be.
    """
    try:
        numbers = np.asarray(value)
    except ValueError:  # rows of different lengths
        numbers = np.array(None)
    should = f"should be {f'of shape {shape}: ' if shape else ''}{REMEDIES[name]}"
    if numbers.shape != shape and isinstance(value, np.ndarray):
        return f"{name} of shape {numbers.shape}, {should}"
    if numbers.dtype.kind not in "fiu" and isinstance(value, np.ndarray):
        return f"{name} of type {numbers.dtype}, should be real numbers (float64)"
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        return f"{name} with masked values, {should}"
    if numbers.shape != shape or numbers.dtype.kind not in "fiu":
        return f"{name} = {shortened(value, 40)}, {should}"
    return _not_finite(name, numbers) if finite else ""


def problem_of_symmetry(name: str, tensor: NDArray) -> str:
    """What is wrong with a finite virial or stress (3, 3) that is not symmetric; empty if it is, but for noise.

    i-PI gets the symmetric part, which is half of the shear if one triangle was left empty. Noise is what is left by
    models whose energy changes a little when a structure turns.
    """
    difference = abs(tensor - tensor.T)
    largest = difference.max()
    is_triangular = not np.tril(tensor, -1).any() or not np.triu(tensor, 1).any()
    noise = ROUNDING * abs(tensor).max() if is_triangular else max(ASYMMETRY * abs(tensor).max(), LEAST_ASYMMETRY[name])
    if not largest > noise:
        return ""
    i, j = np.unravel_index(np.argmax(difference), (3, 3))
    other = f"{name}[{j}, {i}] = {tensor[j, i]:.6g} {UNITS[name]}"
    return f"{name}[{i}, {j}] = {tensor[i, j]:.6g}, but {other}: it should be symmetric, with both triangles filled"


def _not_finite(name: str, numbers: NDArray) -> str:
    """The first number that is not finite, and how many there are; empty if there are none."""
    bad = np.argwhere(~np.isfinite(numbers))
    if not len(bad):
        return ""
    at = tuple(bad[0].tolist())
    found = f"{name}{list(at) if at else ''} = {numbers[at]} {UNITS[name]}"
    if name == "forces":
        atoms = len(np.unique(bad[:, 0]))
        found += f" ({'xyz'[at[1]]} of atom {at[0]}; forces on {atoms} of {len(numbers)} atoms are not finite)"
    return f"{found}: do two atoms coincide?"
