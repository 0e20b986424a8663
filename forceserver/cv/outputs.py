"""What is made of the reduced density: the named outputs of a collective variable and their derivatives.

The reduction leaves the numbers b = (x, y, z, density) for each group of centres: the l = 1 components and the l = 0
density, which is there only if an output is called so. Every output is a function of the numbers of one group; its
gradients follow by the chain rule.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from ..frame import Array

OutputFunction = Callable[[Array], tuple[float, Array]]
"""The numbers b, (3,) or (4,), to the value and its derivative with respect to all four, (4,)."""


def _component(k: int) -> OutputFunction:
    unit = np.eye(4)[k]
    return lambda b: (b[k], unit)


def projection(axis: Sequence[float]) -> OutputFunction:
    """The component along an axis, which need not be normalised."""
    direction = np.append(np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis), 0.0)
    return lambda b: (float(direction[:3] @ b[:3]), direction)


def _norm(b: Array) -> tuple[float, Array]:
    """Length of the vector; the derivative at length zero is taken to be zero, which symmetry makes it on average."""
    norm = float(np.linalg.norm(b[:3]))
    return norm, np.append(b[:3] / norm if norm > 0 else np.zeros(3), 0.0)


def _norm2(b: Array) -> tuple[float, Array]:
    return float(b[:3] @ b[:3]), np.append(2 * b[:3], 0.0)


def _cubic4(b: Array) -> tuple[float, Array]:
    """x^4 + y^4 + z^4: 1, 1/2, 1/3 (times norm^4) for tetragonal, orthorhombic and rhombohedral directions."""
    return float(np.sum(b[:3] ** 4)), np.append(4 * b[:3] ** 3, 0.0)


def _cubic6(b: Array) -> tuple[float, Array]:
    """x^2 y^2 z^2: 0, 0, 1/27 (times norm^6) for tetragonal, orthorhombic and rhombohedral directions."""
    x, y, z = b[:3]
    return (x * y * z) ** 2, np.array([2 * x * (y * z) ** 2, 2 * y * (x * z) ** 2, 2 * z * (x * y) ** 2, 0.0])


OutputName = Literal["x", "y", "z", "density", "norm", "norm2", "cubic4", "cubic6"]

OUTPUTS: dict[OutputName, OutputFunction] = {
    "x": _component(0),
    "y": _component(1),
    "z": _component(2),
    "density": _component(3),
    "norm": _norm,
    "norm2": _norm2,
    "cubic4": _cubic4,
    "cubic6": _cubic6,
}


def combine(functions: Sequence[OutputFunction], b: Array) -> tuple[Array, Array]:
    """Values (d,) of the functions and their derivatives (d, 4) at b (3,) or (4,)."""
    pairs = [function(b) for function in functions]
    return np.array([value for value, _ in pairs]), np.array([derivative for _, derivative in pairs])
