"""The outputs of collective variables as biases know them, and the way from them back to the atoms."""

from collections.abc import Iterable, Mapping

import numpy as np

from ..cv import CVResult, Variable
from ..errors import InputError
from ..frame import Array

Output = tuple[str, int]
"""The name of a variable, and which of its outputs."""


def offered(variables: Mapping[str, Variable]) -> dict[str, Output]:
    """All outputs by the names that biases, and PLUMED's EXTRACV, use: `variable_output`."""
    return {
        f"{name}_{output}": (name, row)
        for name, variable in variables.items()
        for row, output in enumerate(variable.outputs)
    }


def places(names: Iterable[str], variables: Mapping[str, Variable], told: str = "bias") -> list[Output]:
    """Where the named outputs are; `InputError`, which begins with `told`, for one that no variable offers."""
    known = offered(variables)
    for name in names:
        if name not in known:
            raise InputError(f"{told}: no collective variable offers {name}; there are {', '.join(known) or 'none'}")
    return [known[name] for name in names]


def values_of(outputs: Mapping[str, Output], computed: Mapping[str, CVResult]) -> dict[str, float]:
    """The values of outputs by their names."""
    return {name: float(computed[cv].values[row]) for name, (cv, row) in outputs.items()}


def add_forces(
    generalised: Mapping[Output, float], computed: Mapping[str, CVResult], forces: Array, virial: Array
) -> None:
    """Adds to forces (N, 3) and virial (3, 3) the effect of generalised forces, minus dE/d(output), on the atoms."""
    for name, result in computed.items():
        force = np.array([generalised.get((name, row), 0.0) for row in range(len(result.values))])
        if not force.any():
            continue
        result.add_forces(force, forces)
        virial += (force @ result.strain.reshape(-1, 9)).reshape(3, 3)
