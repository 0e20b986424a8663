"""What the check of a potential has found, as data and as a table for people."""

from dataclasses import dataclass, replace

import numpy as np

from ..errors import PotentialError

SMALLEST_STEP, LARGEST_STEP = 5e-4, 5e-2  # of finite differences, Angstrom
SINGLE = 1e-8  # relative noise above which it is that of single precision


@dataclass(frozen=True, slots=True)
class Noise:
    """Rounding noise: standard deviations of energy (eV), force components (eV/Angstrom) and virial (eV); scales are
    the numbers themselves, or one."""

    energy: float = 0.0
    forces: float = 0.0
    virial: float = 0.0
    energy_scale: float = 1.0
    force_scale: float = 1.0

    def times(self, factor: float) -> "Noise":
        """The noise for coordinates larger by a factor."""
        return replace(self, energy=factor * self.energy, forces=factor * self.forces, virial=factor * self.virial)

    @property
    def relative(self) -> float:
        """The larger of energy and forces."""
        return max(self.energy / self.energy_scale, self.forces / self.force_scale)

    @property
    def step(self) -> float:
        """Angstrom; where noise and truncation error of the differences are about equal."""
        return float(np.clip(np.cbrt(self.energy), SMALLEST_STEP, LARGEST_STEP))

    def __str__(self) -> str:
        precision = "single" if self.relative > SINGLE else "double"
        return f"{precision} precision, noise {self.energy:.0e} eV and {self.forces:.0e} eV/Angstrom"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check: its name, the largest error where there is one, and what went wrong, if anything."""

    name: str
    error: float | None
    failure: str


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of `check_potential`; `str(report)` is a table for people."""

    title: str
    tolerance: float
    noise: Noise | None  # None if it could not be measured
    step: float
    findings: tuple[CheckResult, ...]

    @property
    def failures(self) -> list[CheckResult]:
        """The checks that have failed."""
        return [finding for finding in self.findings if finding.failure]

    def __str__(self) -> str:
        lines = [f"{self.title}, relative tolerance {self.tolerance:g}", self.precision]
        for finding in self.findings:
            error = "" if finding.error is None else f"{finding.error:9.1e}"
            lines.append(
                f"  {'FAIL' if finding.failure else 'ok':4}  {finding.name:58} {error:9} {finding.failure}".rstrip()
            )
        return "\n".join(lines)

    @property
    def precision(self) -> str:
        """The rounding noise, and the step of the finite differences that follows from it."""
        return f"{self.noise}; step {self.step:.2g} Angstrom" if self.noise else "the rounding noise was not measured"

    def raise_on_failure(self) -> None:
        """`PotentialError` with the whole report if a check has failed."""
        if self.failures:
            raise PotentialError(str(self))
