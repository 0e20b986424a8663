"""Errors of predictions against reference labels, in total and by group, and a parity plot.

Energies are compared per atom (eV), forces per component (eV/Angstrom), stresses by all nine components (eV/Angstrom^3,
from virials: stress = -virial / volume), so that errors do not depend on the orientation of a structure.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from ase.units import GPa
from numpy.typing import ArrayLike, NDArray

from ..files import atomic_write
from .coverage import Coverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..frame import Frame, Result


class Reference(Protocol):
    """What results are compared with: energy (eV), forces (N, 3), virial (3, 3) in eV; None if absent."""

    energy: float | None
    forces: NDArray | None
    virial: NDArray | None


@dataclass(frozen=True)
class Quantity:
    """What is compared: its name, the units of errors in tables and of figures, and how many an internal unit is."""

    name: str
    error_unit: str
    scale: float
    figure_unit: str
    figure_scale: float = 1.0


ENERGY = Quantity("energy per atom", "meV", 1e3, "eV/atom")
FORCE = Quantity("force component", "meV/Å", 1e3, "eV/Å")
STRESS = Quantity("stress component", "GPa", 1 / GPa, "GPa", 1 / GPa)
QUANTITIES = (ENERGY, FORCE, STRESS)
TOTAL = "(all)"


MARKS = "osD^v"
FEW_POINTS = 300  # up to which they are drawn larger


def _look(number: int) -> dict[str, Any]:
    """Colour and marker of a group: ten colours, then again with another marker."""
    return {"color": f"C{number % 10}", "marker": MARKS[number // 10 % len(MARKS)], "markeredgewidth": "0"}


def _names(group: str | None) -> tuple[str, ...]:
    return (TOTAL,) if group is None else (TOTAL, group)


@dataclass
class Parity:
    """Pairs of reference and prediction for one quantity of one group."""

    reference: list[NDArray] = field(default_factory=list)
    prediction: list[NDArray] = field(default_factory=list)

    def add(self, reference: ArrayLike, prediction: ArrayLike) -> None:
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
        self._compositions: dict[str, list[Counter[int]]] = defaultdict(list)
        self._uncertain: list[tuple[float, float]] = []  # error and standard deviation of energies, eV

    def add(self, group: str | None, quantity: Quantity, reference: ArrayLike, prediction: ArrayLike) -> None:
        for name in _names(group):
            self.groups[name].setdefault(quantity, Parity()).add(reference, prediction)

    def compare(self, group: str | None, labels: Reference, result: "Result", frame: "Frame") -> None:
        """Adds what a structure has labels of: the energy per atom, force components, and stress components if it has
        a volume."""
        atoms, volume = len(frame), abs(np.linalg.det(frame.cell))
        if labels.energy is not None:
            self.add(group, ENERGY, labels.energy / atoms, result.energy / atoms)
            deviation = result.extras.get("committee_uncertainty", result.extras.get("energy_uncertainty"))
            if deviation is not None:
                self._uncertain.append((result.energy - labels.energy, float(deviation)))
            for name in _names(group):
                self._compositions[name].append(Counter(frame.species.tolist()))
        if labels.forces is not None:
            self.add(group, FORCE, labels.forces, result.forces)
        if labels.virial is not None and volume > 0:
            self.add(group, STRESS, -labels.virial / volume, -result.virial / volume)

    def __bool__(self) -> bool:
        return bool(self.groups)

    def coverage(self) -> Coverage | None:
        """Errors of energies relative to their uncertainties, if the potential has any."""
        return Coverage(*np.array(self._uncertain).T) if self._uncertain else None

    def quantities(self) -> list[Quantity]:
        return [quantity for quantity in QUANTITIES if quantity in self.groups[TOTAL]]

    def rows(self) -> Iterable[tuple[str, Quantity, Parity]]:
        """Group, quantity, errors; groups in alphabetical order, the total at the end."""
        for group in [*sorted(name for name in self.groups if name != TOTAL), TOTAL]:
            for quantity in QUANTITIES:
                if quantity in self.groups[group]:
                    yield group, quantity, self.groups[group][quantity]

    def plot(self, path: Path) -> None:
        """Writes a parity plot, one panel a quantity, coloured by group; grey is what is in none.

        Energies are drawn beyond e_0 of each element, least squares of the reference energies on the compositions.
        """
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D

        quantities = self.quantities()
        names = sorted(name for name in self.groups if name != TOTAL)
        width = 4.2 * len(quantities)
        columns = max(1, min(len(names), int(width / (0.6 + 0.08 * max(map(len, names), default=0)))))
        rows = -(-len(names) // columns)
        figure = Figure(figsize=(width, 4.4 + 0.2 * rows), layout="constrained")
        for axes, quantity in zip(figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
            self._panel(axes, quantity, names)
        if names:
            handles = [Line2D([], [], linestyle="", markersize=6, **_look(number)) for number in range(len(names))]
            figure.legend(handles, names, loc="outside lower center", ncols=columns, fontsize="small", frameon=False)
        figure.draw_without_rendering()  # the layout knows powers of ten on the axes from the second time on
        with atomic_write(path) as part:
            figure.savefig(part, dpi=150)

    def _panel(self, axes: "Axes", quantity: Quantity, names: list[str]) -> None:
        from matplotlib.ticker import MaxNLocator

        total = self._drawn(TOTAL, quantity)
        size = 2 if len(total[0]) > FEW_POINTS else 4
        axes.plot(*total, ".", markersize=size + 1, color="0.5" if names else None, rasterized=True)
        for number, name in enumerate(names):
            if quantity in self.groups[name]:
                axes.plot(*self._drawn(name, quantity), linestyle="", markersize=size, rasterized=True, **_look(number))
        low, high = np.min(total), np.max(total)
        margin = 0.05 * (high - low) or 0.5 * max(abs(low), 1e-3)
        limits = (low - margin, high + margin)
        axes.plot(limits, limits, color="0.6", linewidth=0.8, zorder=0)
        what = "energy − Σ e₀" if quantity is ENERGY else quantity.name
        axes.set(
            xlabel=f"reference {what} ({quantity.figure_unit})", ylabel=f"predicted {what} ({quantity.figure_unit})"
        )
        axes.set(xlim=limits, ylim=limits, box_aspect=1)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4))
        axes.ticklabel_format(style="sci", scilimits=(-3, 4))  # long numbers would run into each other
        rmse = self.groups[TOTAL][quantity].rmse() * quantity.figure_scale
        axes.set_title(f"RMSE {rmse:.3g} {quantity.figure_unit}")

    def _drawn(self, name: str, quantity: Quantity) -> tuple[NDArray, NDArray]:
        """References and predictions of a group, in the unit of figures."""
        reference, prediction = self.groups[name][quantity].arrays()
        if quantity is ENERGY:
            energies = np.linalg.lstsq(self.shares(TOTAL), self.groups[TOTAL][ENERGY].arrays()[0], rcond=None)[0]
            shift = self.shares(name) @ energies
            reference, prediction = reference - shift, prediction - shift
        return reference * quantity.figure_scale, prediction * quantity.figure_scale

    def shares(self, name: str) -> NDArray:
        """(structures of a group, elements of all): the share of each element in the atoms."""
        elements = sorted(set().union(*self._compositions[TOTAL]))
        return np.array([[c[e] / c.total() for e in elements] for c in self._compositions[name]])

    def sizes(self, name: str) -> NDArray:
        """(structures of a group,): the number of atoms."""
        return np.array([composition.total() for composition in self._compositions[name]])
