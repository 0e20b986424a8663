"""A bias on collective variables as a potential of the atoms, which the bias driver serves like any other."""

from collections.abc import Mapping
from typing import NoReturn

import numpy as np

from ..cv import Variable
from ..errors import BiasError
from ..frame import Frame, Result
from ..potentials.base import Potential
from ..turns import in_turn
from .engine import BiasEngine
from .journal import fingerprint_of
from .outputs import add_forces, offered, places, values_of
from .reproducible import ReproducibleVariables


class AtomicBias(Potential):
    """V(s(r)): forces -dV/ds . ds/dr and virial -dV/ds . ds/dstrain.

    The variables of the bias are called `variable_output`, like PLUMED's EXTRACV. Their values have the same bits after
    a restart: the configuration of their neighbour lists is in the journal of the bias.
    Raises `InputError` if the bias needs an output that no variable has.
    """

    def __init__(self, bias: BiasEngine, variables: Mapping[str, Variable]) -> None:
        self.bias = bias
        self._is_closed = False
        self._places = places(bias.names, variables)
        self._offered = offered(variables)
        atoms = max((variable.total_atoms for variable in variables.values()), default=0)
        self._variables = ReproducibleVariables(variables, bias.journal.stored_structure(atoms) if atoms else None)

    @in_turn
    def compute_one(self, frame: Frame) -> Result:
        """The bias, its forces and virial; extras: every output of every variable by name, the parts of the bias
        and `bias_eV`.

        The clock of the bias ticks if the configuration is a new one. Raises `BiasError` and `CVError`.
        """
        if self._is_closed:
            raise BiasError("this bias has been closed; a new one with the same files goes on from them")
        self.bias.journal.check_process()
        computed = self._variables.compute(frame)
        values = np.array([computed[name].values[row] for name, row in self._places])
        self.bias.advance(values, fingerprint_of(frame))
        energy, slope = self.bias.compute(values)
        forces, virial = np.zeros((len(frame), 3)), np.zeros((3, 3))
        add_forces(dict(zip(self._places, (-slope).tolist(), strict=True)), computed, forces, virial)
        extras = values_of(self._offered, computed) | {"bias_eV": float(energy)}
        extras |= {f"{name}_eV": float(value) for name, value in self.bias.terms(values).items()}
        return Result(float(energy), forces, 0.5 * (virial + virial.T), extras)

    def __reduce__(self) -> NoReturn:
        raise BiasError("a bias, which writes to its files, cannot be copied or pickled: make it where it is used")

    def begin_connection(self) -> None:
        self.bias.begin_connection()

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self.bias.close()
