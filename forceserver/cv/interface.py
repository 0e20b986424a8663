"""What a bias knows of a collective variable, whoever has written it: named outputs, computed with their gradients."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _ext
from ..errors import CVError, shortened
from ..frame import Array, Frame
from ..representation.neighbours import check_array

_kernel = _ext.kernel("generalised_force")


@dataclass(slots=True)
class CVResult:
    """The d outputs of one variable for one configuration.

    Attributes:
        values: (d,) float64.
        active: (n,) int32, each once: the atoms on which the values may depend. `CollectiveVariable` gives, ascending,
            centres and neighbours within cutoff and skin; its methods say whether they are indices into the whole
            structure.
        gradients: (d, n, 3) float64, derivatives with respect to the positions of the active atoms, in units of the
            value per Angstrom.
        strain: (d, 3, 3) float64, derivatives with respect to a strain applied to positions and cell,
            r -> r (1 + strain), in units of the value.

    A variable of your own may give lists in place of arrays.
    """

    values: Array
    active: NDArray[np.int32]
    gradients: Array
    strain: Array

    def add_forces(self, generalised_force: ArrayLike, forces: Array) -> None:
        """Adds the atomic forces that result from a generalised force on the values.

        Args:
            generalised_force: (d,), -dE/ds, eV per unit of the value.
            forces: (N, 3) float64, eV/Angstrom, C-contiguous, changed in place; `active` must index its rows.

        Raises:
            CVError: an array has another shape or type.
        """
        generalised_force = np.ascontiguousarray(generalised_force, np.float64)
        try:
            check_array("generalised_force", generalised_force, np.shape(self.values))
            check_array("forces", forces, (len(forces), 3))
            gradients = np.ascontiguousarray(self.gradients, np.float64)
            _kernel.add_forces(generalised_force, gradients, np.ascontiguousarray(self.active, np.int32), forces)
        except (IndexError, ValueError) as error:
            raise CVError(f"add_forces: {error}") from error


class Variable(ABC):
    """Base class of all collective variables; one of your own defines `compute`.

        class Distance(Variable):
            def compute(self, frame):
                bond = frame.positions[1] - frame.positions[0]
                r = np.linalg.norm(bond)
                return CVResult([r], [0, 1], [[-bond / r, bond / r]], [np.outer(bond, bond) / r])

        distance = Distance("bond", ["length"])

    Args:
        name: name of the variable.
        outputs: names of its d outputs; a bias knows them as `name_output`.

    Attributes:
        name: name of the variable.
        outputs: names of its d outputs.
    """

    total_atoms = 0
    """Number of atoms in a structure, for variables that keep neighbour lists."""

    def __init__(self, name: str, outputs: Sequence[str]) -> None:
        self.name, self.outputs = name, tuple(outputs)

    @property
    def builds(self) -> list[int]:
        """Number of times each neighbour list has been built; there are none unless a subclass has some."""
        return []

    @abstractmethod
    def compute(self, frame: Frame) -> CVResult:
        """Computes the outputs for one structure.

        Args:
            frame: the structure.

        Returns:
            Values, gradients and strain derivatives; `active` holds indices into the structure.

        Raises:
            CVError: the structure cannot be computed; a subclass may raise any other exception too.
        """

    def copy(self) -> "Variable":
        """Copies the variable for use in another thread, walker or replica.

        Returns:
            The variable itself; one that keeps anything between calls returns another object.
        """
        return self

    def compute_checked(self, frame: Frame) -> CVResult:
        """Computes the outputs, and makes sure that they are what a bias can use.

        Args:
            frame: the structure.

        Returns:
            What `compute` returns.

        Raises:
            CVError: it is no `CVResult`, or a part of it has another shape, is not finite, or names atoms that do not
                exist. Exceptions of `compute` pass through unchanged.
        """
        return _checked(self.compute(frame), self, len(frame))


def _checked(result: object, variable: Variable, atoms: int) -> CVResult:
    told = f"collective variable {variable.name}: compute returns"
    if not isinstance(result, CVResult):
        raise CVError(f"{told} a {type(result).__name__}, not a CVResult(values, active, gradients, strain)")
    d, n = len(variable.outputs), np.size(result.active)
    for name, shape, meaning in (
        ("values", (d,), f"one for each of the outputs {', '.join(variable.outputs)}"),
        ("active", (n,), "indices of atoms"),
        ("gradients", (d, n, 3), "for each output and each active atom"),
        ("strain", (d, 3, 3), "for each output; zeros will do if the volume never changes"),
    ):
        setattr(result, name, _part(f"{told} {name}", getattr(result, name), shape, meaning))
    result.active = active = result.active.astype(np.int32)
    if n and not (active.min() >= 0 and active.max() < atoms and len(np.unique(active)) == n):
        raise CVError(f"{told} active = {shortened(active.tolist())}: should be atoms from 0 to {atoms - 1}, each once")
    return result


def _part(told: str, value: Any, shape: tuple[int, ...], meaning: str) -> Array:
    """A part of a result as an array; `CVError` unless it is finite numbers of this shape."""
    try:
        array = np.ascontiguousarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise CVError(f"{told} = {shortened(value)}: should be numbers of shape {shape}, {meaning}") from error
    if np.shape(value) != shape:
        raise CVError(f"{told} of shape {np.shape(value)}: should be {shape}, {meaning}")
    for at in np.argwhere(~np.isfinite(array))[:1].tolist():
        raise CVError(f"{told}{at} = {array[tuple(at)]}: should be finite")
    return array
