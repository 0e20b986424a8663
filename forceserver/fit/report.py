"""What a fit is like: a table of errors by group, parity plots, the learning curve."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..analysis.parity import TOTAL, ParityTable
from ..errors import InputError, PotentialError
from ..files import atomic_write, write_json
from ..potentials.gap import GapPotential
from ..potentials.gap_model import GapModel
from .data import Labelled
from .gap import Fit, Progress, silent


def compare(
    model: GapModel, data: Sequence[Labelled], progress: Progress = silent, title: str = "errors"
) -> ParityTable:
    """Predictions against labels."""
    potential, table = GapPotential(model), ParityTable()
    for number, one in enumerate(progress(data, title, len(data))):
        try:
            result = potential.compute_one(one.frame)
        except PotentialError as error:
            raise InputError(f"structure {number}: {error}") from error
        table.compare(one.group, one, result, abs(np.linalg.det(one.frame.cell)))
    return table


def write(folder: Path, fit: Fit, tables: dict[str, ParityTable], progress: Progress = silent) -> None:
    """Writes errors.json, limits.json, parity_<set>.png, and learning_curve.png if there is a test set."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "errors.json", {name: errors(table) for name, table in tables.items()})
    write_json(folder / "limits.json", [dataclasses.asdict(limit) for limit in fit.limits])
    for name, table in tables.items():
        table.plot(folder / f"parity_{name}.png")
    if fit.test and len(fit.by_share) > 1:
        curve = {
            size: compare(model, fit.test, progress, f"learning curve, {size} structures")
            for size, model in fit.by_share.items()
        }
        plot_learning(folder / "learning_curve.png", curve)


def errors(table: ParityTable) -> dict[str, dict[str, float]]:
    """RMSE of each quantity by group, in the unit of its name."""
    found: dict[str, dict[str, float]] = {}
    for group, quantity, parity in table.rows():
        found.setdefault(group, {})[f"{quantity.name} ({quantity.error_unit})"] = parity.rmse() * quantity.scale
    return found


def plot_learning(path: Path, curve: dict[int, ParityTable]) -> None:
    """RMSE on the test set against the number of training structures, on logarithmic axes."""
    from matplotlib.figure import Figure

    sizes = sorted(curve)
    quantities = curve[sizes[-1]].quantities()
    figure = Figure(figsize=(4.2 * len(quantities), 3.6), layout="constrained")
    for axes, quantity in zip(figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
        rmse = [curve[size].groups[TOTAL][quantity].rmse() * quantity.scale for size in sizes]
        axes.loglog(sizes, rmse, "o-")
        axes.set(xlabel="training structures", ylabel=f"test RMSE, {quantity.name} ({quantity.error_unit})")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
    with atomic_write(path) as part:
        figure.savefig(part, dpi=150)
