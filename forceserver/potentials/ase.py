"""Any ASE calculator, named by its dotted path and constructed with keyword arguments.

The calculator lives as long as the potential, so it keeps its neighbour lists, its caches and what it learned from the
last step.
"""

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from pydantic import Field

from ..errors import InputError, PotentialError, shortened
from ..forks import end_in_children_of
from ..frame import Array, Attributes, Frame, Result
from ..results import is_finite, problem_of_numbers, problem_of_symmetry
from ..sections import Section
from ..turns import in_turn
from .base import Potential
from .batched_calculators import batched, how_to_batch
from .calculator_caches import forget
from .dotted import call, find_callable

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.abc import GetPropertiesMixin

log = logging.getLogger(__name__)


StressSource = Literal["analytic", "numerical", "zero"]


class AseConfig(Section):
    """`kind = "ase"`: an ASE calculator.

    calculator: dotted path of a calculator class, or of a function that returns a calculator.
    arguments: keyword arguments of the class or function.
    stress: source of the virial of a periodic system. "analytic": the calculator's stress. "numerical": finite
        differences, twelve more energies per frame. "zero": no virial, for simulations at constant volume only.
    extras: names of further results of the calculator to send, such as "dipole".
    """

    kind: Literal["ase"]
    calculator: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    stress: StressSource = "analytic"
    extras: list[str] = Field(default_factory=list)

    def build(self, template: Frame) -> Potential:
        """The potential; `InputError` if the calculator cannot be constructed or lacks a requested property."""
        calculator = make_calculator(self.calculator, self.arguments)
        implemented = getattr(calculator, "implemented_properties", None)
        if self.stress == "analytic" and template.pbc.any() and implemented is not None and "stress" not in implemented:
            raise InputError(
                f"the ASE calculator {self.calculator} has no stress (it has {', '.join(implemented)}): set "
                'stress = "zero" for simulations at constant volume, or stress = "numerical"'
            )
        if self.stress == "analytic" and not self.extras and (potential := batched(calculator)) is not None:
            log.info("the beads of a batch are one call of the network of %s", self.calculator)
            return potential
        return AsePotential(calculator, stress=self.stress, extras=self.extras)


def make_calculator(path: str, arguments: dict[str, Any]) -> "GetPropertiesMixin":
    """The calculator `path(**arguments)`; `InputError` says which part of the path or which argument is wrong."""
    factory = find_callable(path, "calculator", "ase.calculators.emt.EMT")
    calculator = call(factory, arguments, f"calculator {path}")
    if isinstance(calculator, Potential):
        made = type(calculator).__name__
        raise InputError(
            f"calculator = {path!r} gives a {made}, a Potential and not an ASE calculator: name a function that "
            f"returns ForceServerCalculator({made}(...))"
        )
    if not hasattr(calculator, "calculate"):
        raise InputError(f"calculator = {path!r} gives a {type(calculator).__name__}, which is not an ASE calculator")
    return calculator


def as_potential(thing: "Potential | GetPropertiesMixin") -> Potential:
    """A potential unchanged, or the potential of an ASE calculator; `InputError` for a class or anything else."""
    if isinstance(thing, type):
        raise InputError(f"{thing.__name__} is a class, not a potential: make one, as in {thing.__name__}()")
    if isinstance(thing, Potential):
        return thing
    if not hasattr(thing, "get_forces"):
        raise InputError(f"{thing!r} is neither a Potential nor an ASE calculator")
    return batched(thing) or AsePotential(thing)


class AsePotential(Potential):
    """An ASE calculator as a potential.

    The energy is the free energy if the calculator has one, because the forces are its derivative. Without
    periodicity the virial is sum_i r_i (x) f_i, and no stress is requested.

    Args:
        calculator: any ASE calculator.
        stress: source of the virial of a periodic system. "analytic": the calculator's stress. "numerical": finite
            differences, twelve more energies per frame. "zero": no virial, for simulations at constant volume only.
        extras: names of further results of the calculator to send, such as "dipole".

    Raises:
        InputError: an argument is something else.
    """

    def __init__(
        self,
        calculator: "GetPropertiesMixin",
        stress: StressSource = "analytic",
        extras: list[str] | None = None,
    ) -> None:
        if isinstance(calculator, type | Potential) or not hasattr(calculator, "get_forces"):
            raise InputError(f"AsePotential: {shortened(calculator)} is not an ASE calculator, such as EMT()")
        if isinstance(extras, str) or stress not in get_args(StressSource):
            raise InputError(
                f"AsePotential: extras = {extras!r}, stress = {stress!r}: extras should be a list of names, and stress "
                f"one of {', '.join(get_args(StressSource))}"
            )
        self._calculator: Any = calculator
        self._force_consistent = "free_energy" in getattr(calculator, "implemented_properties", ())
        self._stress = stress
        self._extras = list(extras or ())
        self._told_of_batches = self._told_of_changes = False
        self._attributes: Attributes | None = None
        if stress == "zero":
            log.warning("virials are zero: pressures will be wrong, the volume must not change")

    @property
    def computes_batches(self) -> bool:
        """False: an ASE calculator knows one structure at a time."""
        return False

    def compute(self, frames: Sequence[Frame]) -> list[Result]:
        """Computes the frames one after the other, and says once how they could be computed in one call.

        Args:
            frames: the structures.

        Returns:
            A result for each frame, in their order.

        Raises:
            PotentialError: the calculator fails, or its results have the wrong shape.
        """
        if len(frames) > 1 and not self._told_of_batches:
            self._told_of_batches = True
            name = type(self._calculator).__name__
            log.info(
                "%s computes the beads of a batch one by one; in one call: %s", name, how_to_batch(self._calculator)
            )
        return super().compute(frames)

    @in_turn
    def compute_one(self, frame: Frame) -> Result:
        """Computes one frame.

        Args:
            frame: the structure.

        Returns:
            Energy (eV), forces (N, 3) in eV/Angstrom, virial (3, 3) in eV, and the requested extras.

        Raises:
            PotentialError: the calculator lacks the stress or a requested extra. Exceptions of the calculator pass
                through unchanged.
        """
        result = None
        process = os.getpid()
        try:
            result = self._compute(Frame.of(frame))
        finally:
            end_in_children_of(process)
            if result is None or not is_finite(result):
                forget(self._calculator)  # otherwise ASE would repeat the failure for the same atoms
        return result

    def _compute(self, frame: Frame) -> Result:
        from ase.calculators.calculator import PropertyNotImplementedError

        if frame.attributes is not self._attributes:  # ASE's cache does not look at `info`
            forget(self._calculator)
            self._attributes = frame.attributes
        atoms = self._atoms(frame)
        of_forces = partial(atoms.get_forces, apply_constraint=False)  # of constraints that the calculator has set
        forces = self._asked("forces", of_forces, (len(frame), 3))
        if self._stress == "numerical":
            self._check_untouched(atoms, frame)
        elif not self._told_of_changes and not _computes_alike(atoms, frame):
            self._told_of_changes = True
            log.warning(
                "%s changes the atoms that it gets: if it does so before it computes them, its forces belong to other "
                "positions or another order of atoms; let it work on a copy of them",
                type(self._calculator).__name__,
            )
        of_energy = partial(
            self._atoms(frame).get_potential_energy, force_consistent=self._force_consistent, apply_constraint=False
        )
        energy = float(self._asked("energy", of_energy, ()))
        extras = {name: self._extra(name) for name in self._extras}  # now: numerical stress computes other frames
        try:
            virial = self._virial(frame, forces)
        except PropertyNotImplementedError as error:
            raise PotentialError(
                f"the ASE calculator {type(self._calculator).__name__} gave no stress for a periodic frame: set "
                'stress = "zero" for simulations at constant volume, or stress = "numerical"'
            ) from error
        return Result(energy, forces, virial, extras)

    def close(self) -> None:
        """Closes the calculator if it has a method `close`, as those do that keep another program running."""
        if hasattr(self._calculator, "close"):
            self._calculator.close()

    def _atoms(self, frame: Frame) -> "Atoms":
        """A new copy of the frame for every property.

        A calculator may change the atoms it is given (wrap positions, say). ASE would then compute the energy of the
        changed atoms after the forces of the original ones.
        """
        atoms = frame.to_ase()
        if frame.attributes is not None:
            frame.attributes.give_to(atoms)
        atoms.calc = self._calculator
        return atoms

    def _virial(self, frame: Frame, forces: Array) -> Array:
        if not frame.pbc.any():
            virial = frame.positions.T @ forces
            return (virial + virial.T) / 2
        if self._stress == "zero":
            return np.zeros((3, 3))
        if self._stress == "numerical":
            from ase.calculators.fd import calculate_numerical_stress

            stress = calculate_numerical_stress(
                self._atoms(frame), eps=1e-5, voigt=False, force_consistent=self._force_consistent
            )
        else:
            stress = self._analytic_stress(self._atoms(frame))
        return np.array(-abs(np.linalg.det(frame.cell)) * stress, dtype=np.float64, order="C")

    def _asked(self, name: str, compute: Callable[[], Any], shape: tuple[int, ...]) -> Array:
        """Energy or forces; `PotentialError` if the calculator has none, or not of this shape."""
        from ase.calculators.calculator import PropertyNotImplementedError

        try:
            return self._numbers(name, compute(), shape)
        except PropertyNotImplementedError as error:
            calculator = type(self._calculator).__name__
            raise PotentialError(
                f"the ASE calculator {calculator} gave no {name}; a potential needs both energy and forces ({error})"
            ) from error

    def _analytic_stress(self, atoms: "Atoms") -> Array:
        """The stress (3, 3), which calculators give so or in Voigt order."""
        from ase.stress import voigt_6_to_full_3x3_stress

        stress = self._calculator.get_stress(atoms)
        if np.shape(stress) == (6,):
            return self._numbers("stress", voigt_6_to_full_3x3_stress(stress), (3, 3))
        stress = self._numbers("stress", stress, (3, 3))
        if problem := problem_of_symmetry("stress", stress):
            raise PotentialError(f"the ASE calculator {type(self._calculator).__name__} returned {problem}")
        return stress

    def _numbers(self, name: str, value: Any, shape: tuple[int, ...]) -> Array:
        """A copy of a result of the calculator; `PotentialError` unless it is numbers of this shape."""
        if problem := problem_of_numbers(name, value, shape, finite=False):
            raise PotentialError(f"the ASE calculator {type(self._calculator).__name__} returned {problem}")
        return np.array(value, dtype=np.float64, order="C")

    def _check_untouched(self, atoms: "Atoms", frame: Frame) -> None:
        """Finite differences need a calculator that does not modify the atoms it is given."""
        given = frame.to_ase()
        if not all(
            np.array_equal(getattr(atoms, name), getattr(given, name)) for name in ("numbers", "positions", "pbc")
        ) or not np.array_equal(atoms.cell.array, given.cell.array):
            raise PotentialError(
                f"the ASE calculator {type(self._calculator).__name__} changes the atoms that it gets (positions "
                'or cell), so there is no stress = "numerical": let it work on a copy of them'
            )

    def _extra(self, name: str) -> Any:
        try:
            value = self._calculator.results[name]
        except KeyError:
            raise PotentialError(
                f"the ASE calculator {type(self._calculator).__name__} has no result {name!r} for the extras; it has "
                f"{', '.join(self._calculator.results)}"
            ) from None
        return np.array(value) if isinstance(value, np.ndarray) else value


def _computes_alike(atoms: "Atoms", frame: Frame) -> bool:
    """Whether atoms and frame differ by nothing but a translation, and vectors of the cell."""
    if np.array_equal(atoms.positions, frame.positions) and np.array_equal(atoms.cell.array, frame.cell):
        return True
    if not np.array_equal(atoms.numbers, frame.species):
        return False
    from ..representation.neighbours import complete_cell

    cell, inverse = complete_cell(frame.cell, frame.pbc)
    moved = (atoms.positions - frame.positions - (atoms.positions - frame.positions)[0]) @ inverse
    moved[:, frame.pbc] -= np.round(moved[:, frame.pbc])
    return np.allclose(moved @ cell, 0, atol=1e-6) and np.allclose(atoms.cell.array[frame.pbc], frame.cell[frame.pbc])
