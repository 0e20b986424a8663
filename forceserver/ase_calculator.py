"""Any forceserver potential as an ASE calculator."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from .errors import InputError, PotentialError
from .frame import Frame
from .potentials.base import Potential
from .results import check_results

if TYPE_CHECKING:
    from ase import Atoms


class ForceServerCalculator(Calculator):
    """An ASE calculator for any forceserver potential.

        atoms.calc = ForceServerCalculator.from_model("si.npz")

    It gives the energy (eV), forces (eV/Angstrom), the stress of systems with a volume (eV/Angstrom^3, ASE's sign and
    Voigt order), and the extras of the potential as further results. With sparse kernel models it also gives atomic
    energies (property "energies", eV).

    Args:
        potential: any `Potential`.
        options: keyword arguments of ASE's `Calculator`.

    Attributes:
        potential: the potential that computes the results.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress", "energies"]  # noqa: RUF012 - as in ASE

    def __init__(self, potential: Potential, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(potential, Potential):
            raise InputError(f"ForceServerCalculator: {potential!r} is not a Potential, such as load_potential returns")
        self.potential = potential

    @classmethod
    def from_model(cls, path: str | Path, **options: Any) -> "ForceServerCalculator":
        """Builds a calculator from a model file.

        Args:
            path: an .npz file from `forceserver fit`, or a file of another program (.json of librascal, .xml of QUIP,
                .yace, .ace).
            options: keyword arguments of its potential: `uncertainty`, `skin`, `precision` of kernel models, and
                `spline_tolerance` of PACE potentials.

        Returns:
            The calculator.

        Raises:
            InputError: the file cannot be read or is damaged.
        """
        from .potentials.model_files import load_potential

        return cls(load_potential(path, **options))

    @classmethod
    def from_config(cls, path: str | Path) -> "ForceServerCalculator":
        """Builds a calculator from the section [potential] of a configuration.

        Args:
            path: a TOML file with [structure] and [potential].

        Returns:
            The calculator.

        Raises:
            InputError: the configuration is wrong, or its potential cannot compute the template.
        """
        from .configuration import read_configuration
        from .potentials import build_potential
        from .template_structure import read_template

        configuration = read_configuration(Path(path))
        return cls(build_potential(configuration.potential, read_template(configuration.structure)))

    def calculate(
        self,
        atoms: "Atoms | None" = None,
        properties: tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Computes the results that ASE requests; ASE calls this method itself.

        Args:
            atoms: the structure; None: the one of the previous call.
            properties: names of the requested results; energy, forces and stress are always computed.
            system_changes: what has changed since the previous call.

        Raises:
            PotentialError: the structure cannot be computed, its results are not finite, or an extra of the potential
                has the name of one of these results.
        """
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None  # ASE has made a copy of what was given
        frame = Frame.from_ase(self.atoms)
        result = self.potential.compute_checked(frame)
        check_results([result], len(frame))
        energy, virial = float(result.energy), np.asarray(result.virial, float)
        computed = {"energy": energy, "free_energy": energy, "forces": np.asarray(result.forces, float)}
        if self.atoms.cell.rank == 3:
            computed["stress"] = full_3x3_to_voigt_6_stress(-virial / self.atoms.get_volume())
        if twice := result.extras.keys() & {*computed, "stress"}:
            names, whose = ", ".join(sorted(twice)), type(self.potential).__name__
            raise PotentialError(f"extras of {whose} have names that ASE gives to results: {names}; choose others")
        self.results = result.extras | computed
        if "energies" in properties:
            self.results["energies"] = self._atomic_energies(frame)

    def _atomic_energies(self, frame: Frame) -> np.ndarray:
        from ase.calculators.calculator import PropertyNotImplementedError

        if not hasattr(self.potential, "atomic_energies"):
            raise PropertyNotImplementedError(f"{type(self.potential).__name__} has no atomic energies")
        return self.potential.atomic_energies(frame)
