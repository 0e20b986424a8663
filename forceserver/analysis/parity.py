"""Errors of predictions against reference labels, in total and by group, and a parity plot.

Energies are compared per atom (eV), forces per component (eV/Angstrom), stresses by the six components xx, xy, xz, yy,
yz, zz of the symmetric tensor, each once (eV/Angstrom^3, from virials: stress = -virial / volume).
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray

from ..files import atomic_write

if TYPE_CHECKING:
    from ..frame import Result


class Labels(Protocol):
    """What results are compared with: energy (eV), forces (N, 3), virial (3, 3) in eV; None if absent."""

    energy: float | None
    forces: NDArray | None
    virial: NDArray | None


@dataclass(frozen=True)
class Quantity:
    """What is compared: its name, its internal unit, the unit of errors and how many of these an internal unit is."""

    name: str
    unit: str
    error_unit: str
    scale: float


ENERGY = Quantity("energy per atom", "eV", "meV", 1e3)
FORCE = Quantity("force component", "eV/Å", "meV/Å", 1e3)
STRESS = Quantity("stress component", "eV/Å³", "GPa", 1 / GPa)
QUANTITIES = (ENERGY, FORCE, STRESS)
TOTAL = "(all)"
UPPER = np.triu_indices(3)


@dataclass
class Parity:
    """Pairs of reference and prediction for one quantity of one group."""

    reference: list[NDArray] = field(default_factory=list)
    prediction: list[NDArray] = field(default_factory=list)

    def add(self, reference: NDArray, prediction: NDArray) -> None:
        self.reference.append(np.ravel(reference))
        self.prediction.append(np.ravel(prediction))

    def __len__(self) -> int:
        return sum(len(part) for part in self.reference)

    def arrays(self) -> tuple[NDArray, NDArray]:
        return np.concatenate(self.reference), np.concatenate(self.prediction)

    def rmse(self) -> float:
        """Root of the mean squared difference."""
        reference, prediction = self.arrays()
        return float(np.sqrt(np.mean((prediction - reference) ** 2)))

    def mae(self) -> float:
        """Mean absolute difference."""
        reference, prediction = self.arrays()
        return float(np.mean(np.abs(prediction - reference)))


class ParityTable:
    """Errors by quantity and group; the group `TOTAL` holds everything."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[Quantity, Parity]] = defaultdict(dict)

    def add(self, group: str | None, quantity: Quantity, reference: NDArray, prediction: NDArray) -> None:
        for name in (TOTAL, group) if group is not None else (TOTAL,):
            self.groups[name].setdefault(quantity, Parity()).add(reference, prediction)

    def compare(self, group: str | None, labels: Labels, result: "Result", volume: float) -> None:
        """Adds what a structure has labels of: the energy per atom, force components, and stress components if there is
        a volume (Angstrom^3)."""
        atoms = len(result.forces)
        if labels.energy is not None:
            self.add(group, ENERGY, labels.energy / atoms, result.energy / atoms)
        if labels.forces is not None:
            self.add(group, FORCE, labels.forces, result.forces)
        if labels.virial is not None and volume > 0:
            self.add(group, STRESS, -labels.virial[UPPER] / volume, -result.virial[UPPER] / volume)

    def __bool__(self) -> bool:
        return bool(self.groups)

    def quantities(self) -> list[Quantity]:
        return [quantity for quantity in QUANTITIES if quantity in self.groups[TOTAL]]

    def rows(self) -> Iterable[tuple[str, Quantity, Parity]]:
        """Group, quantity, errors; groups in alphabetical order, the total at the end."""
        for group in [*sorted(name for name in self.groups if name != TOTAL), TOTAL]:
            for quantity in QUANTITIES:
                if quantity in self.groups[group]:
                    yield group, quantity, self.groups[group][quantity]

    def plot(self, path: Path) -> None:
        """Writes a parity plot, one panel a quantity, coloured by group."""
        from matplotlib.figure import Figure

        quantities = self.quantities()
        figure = Figure(figsize=(4.2 * len(quantities), 4.0), layout="constrained")
        for axes, quantity in zip(figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
            groups = {name: parts[quantity] for name, parts in self.groups.items() if quantity in parts}
            total = groups.pop(TOTAL)
            for name, parity in sorted(groups.items()) or [("", total)]:
                reference, prediction = parity.arrays()
                axes.plot(reference, prediction, ".", markersize=3, label=name or None, rasterized=True)
            low, high = np.min(total.arrays()), np.max(total.arrays())
            axes.plot([low, high], [low, high], color="0.6", linewidth=0.8, zorder=0)
            axes.set(xlabel=f"reference {quantity.name} ({quantity.unit})", ylabel=f"prediction ({quantity.unit})")
            axes.set_title(f"RMSE {total.rmse() * quantity.scale:.4g} {quantity.error_unit}")
            if groups:
                axes.legend(markerscale=3, fontsize="small")
        with atomic_write(path) as part:
            figure.savefig(part, dpi=150)
