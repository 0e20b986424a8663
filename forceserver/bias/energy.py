"""The potential energy as a variable of a bias.

Its gradient is minus the forces, so a bias V(E) adds dV/dE times the forces of the potential: exact, wherever the bias
acts on the configuration that the potential acts on (not on a centroid, not beside a second potential).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..cv import CVResult, Variable
from ..errors import InputError
from ..frame import Frame, Result
from ..potentials.base import Potential
from ..results import check_results
from ..turns import in_turn

VARIABLE, OUTPUT = "potential", "energy"
NAME = f"{VARIABLE}_{OUTPUT}"
"""What biases, and PLUMED's EXTRACV, call it; in eV."""


class PotentialEnergy(Variable):
    """A variable with one output, the energy (eV) of a potential, which keeps its own neighbour lists."""

    def __init__(self, potential: Potential, total_atoms: int) -> None:
        super().__init__(VARIABLE, [OUTPUT])
        self._potential, self.total_atoms = potential, total_atoms

    def compute(self, frame: Frame) -> CVResult:
        """The energy, with minus the forces as gradient and minus the virial as strain derivative."""
        result = self._potential.compute_checked(frame)
        check_results([result], len(frame))
        atoms = np.arange(len(frame), dtype=np.int32)
        return CVResult(np.array([result.energy]), atoms, -result.forces[None], -result.virial[None])


def with_energy(
    variables: Mapping[str, Variable], potential: Callable[[], Potential] | None, total_atoms: int
) -> dict[str, Variable]:
    """The variables and the energy of what `potential` gives.

    Raises `InputError` if there is none, or another variable has its name.
    """
    if potential is None:
        raise InputError(f"bias: {NAME} is the energy of [potential], which this configuration does not have; add it")
    if VARIABLE in variables:
        raise InputError(f"bias: with {NAME}, no [[cv]] may be called {VARIABLE!r}; rename it")
    return {**variables, VARIABLE: PotentialEnergy(potential(), total_atoms)}


class SharedPotential(Potential):
    """A potential that two drivers of one process use: each configuration is computed once."""

    def __init__(self, potential: Potential) -> None:
        self._potential = potential
        self._last: tuple[bytes, Result] | None = None

    @in_turn
    def compute_one(self, frame: Frame) -> Result:
        """The result of the potential, or that of the last call if it was for the same configuration."""
        key = frame.positions.tobytes() + frame.cell.tobytes()
        if self._last is None or self._last[0] != key:
            self._last = key, self._potential.compute_checked(frame)
        return self._last[1]

    @in_turn
    def compute(self, frames: Sequence[Frame]) -> list[Result]:
        """A batch goes to the potential as a whole."""
        if len(frames) == 1:
            return [self.compute_one(frames[0])]
        return self._potential.compute(frames)

    def begin_connection(self) -> None:
        self._potential.begin_connection()

    def close(self) -> None:
        self._potential.close()
