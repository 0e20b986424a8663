"""A bias on collective variables, spread over the atoms: what the bias door serves, as any other potential."""

import hashlib
from collections.abc import Mapping

import numpy as np

from ..cv import CollectiveVariable
from ..errors import InputError
from ..frame import Frame, Result
from ..potentials.base import Potential
from .base import Bias


class AtomicBias(Potential):
    """V(s(r)): forces -dV/ds . ds/dr and virial -dV/ds . ds/dstrain.

    The variables of the bias are called `variable_output`, like PLUMED's EXTRACV.

    Raises `InputError` if the bias wants an output that no variable has.
    """

    def __init__(self, bias: Bias, variables: Mapping[str, CollectiveVariable]) -> None:
        self.bias = bias
        self._places: list[tuple[str, int]] = []
        offered = {
            f"{name}_{output}": (name, row)
            for name, variable in variables.items()
            for row, output in enumerate(variable.outputs)
        }
        for name in bias.names:
            if name not in offered:
                raise InputError(
                    f"bias: no collective variable offers {name}; there are {', '.join(offered) or 'none'}"
                )
            self._places.append(offered[name])
        self._variables = {name: variables[name].copy() for name in dict.fromkeys(cv for cv, _ in self._places)}

    def compute_one(self, frame: Frame) -> Result:
        """The bias, its forces and virial; extras: the variables by name, the parts of the bias and `bias_eV`.

        The clock of the bias ticks if the configuration is another one than the last. Raises `BiasError` and `CVError`.
        """
        computed = {name: variable.compute(frame) for name, variable in self._variables.items()}
        values = np.array([computed[name].values[row] for name, row in self._places])
        # Positions, not values: those differ in the last bit between two builds of a neighbour list.
        configuration = hashlib.sha256(frame.positions)
        configuration.update(frame.cell)
        self.bias.advance(values, configuration.digest())
        energy, slope = self.bias.compute(values)
        forces, virial = np.zeros((len(frame), 3)), np.zeros((3, 3))
        for name, result in computed.items():
            pull = np.zeros(len(result.values))
            for (owner, row), derivative in zip(self._places, slope, strict=True):
                if owner == name:
                    pull[row] = -derivative
            result.add_forces(pull, forces)
            virial += (pull @ result.strain.reshape(-1, 9)).reshape(3, 3)
        extras = dict(zip(self.bias.names, values.tolist(), strict=True)) | {"bias_eV": float(energy)}
        extras |= {f"{name}_eV": float(value) for name, value in self.bias.terms(values).items()}
        return Result(float(energy), forces, 0.5 * (virial + virial.T), extras)

    def close(self) -> None:
        self.bias.close()
