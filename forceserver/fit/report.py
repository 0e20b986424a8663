"""What a fit is like: a table of errors by group, parity plots, the learning curve."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..analysis.parity import ENERGY, FORCE, TOTAL, ParityTable
from ..errors import InputError, PotentialError
from ..files import atomic_write, write_json
from ..models.base import Model
from ..potentials.model_files import potential_of
from .data import UNNAMED, Labelled
from .progress import Progress, silent
from .run import Fit

FEWEST = 8
"""Structures among which one can be told to be unlike the others."""
STRANGE = 10.0
"""Error of a structure, in units of the median, that is unlike those of the others."""


def compare(
    model: Model,
    data: Sequence[Labelled],
    progress: Progress = silent,
    title: str = "errors",
    *,
    uncertainty: bool = False,
) -> ParityTable:
    """Predictions against labels, with the uncertainties of a model that has some if these are asked for."""
    potential, table = potential_of(model, uncertainty=uncertainty and model.has_members), ParityTable()
    for one in progress(data, title, len(data)):
        try:
            result = potential.compute_one(one.frame)
        except PotentialError as error:
            raise InputError(f"{one.name}: {error}") from error
        table.compare(None if one.group == UNNAMED else one.group, one, result, one.frame)
    return table


def outliers(table: ParityTable, data: Sequence[Labelled]) -> list[str]:
    """Structures that make most of the squared error of a quantity alone: wrong labels, or what the model cannot do.

    Args:
        table: The comparison of `data`.
        data: The structures, in this order.
    """
    told = []
    for quantity, label in ((ENERGY, "energy"), (FORCE, "forces")):
        labelled = [one for one in data if getattr(one, label) is not None]
        if len(labelled) < FEWEST:
            continue
        parity = table.groups[TOTAL][quantity]
        pairs = zip(parity.prediction, parity.reference, strict=True)
        squares = np.array([((found - wanted) ** 2).mean() for found, wanted in pairs])
        counts, worst = np.array([len(part) for part in parity.reference]), int(squares.argmax())
        usual = float(np.sqrt(np.median(squares)))
        if squares[worst] * counts[worst] > 0.5 * (squares @ counts) and np.sqrt(squares[worst]) > STRANGE * usual:
            told.append(
                f"{labelled[worst].name}: {quantity.name} off by {np.sqrt(squares[worst]) * quantity.scale:.3g} "
                f"{quantity.error_unit} (the median is {usual * quantity.scale:.3g}), more than all others together: "
                "is its label wrong, or is it unlike them?"
            )
    return told


def write(folder: Path, fit: Fit, tables: dict[str, ParityTable], progress: Progress = silent) -> None:
    """Writes errors.json, uncertainty.json, limits.json, parity_<set>.png, and, for a test set, learning_curve.png."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "errors.json", {name: errors(table) for name, table in tables.items()})
    coverage = {name: found.summary() for name, table in tables.items() if (found := table.coverage())}
    write_json(folder / "uncertainty.json", {"left_out": fit.model.summary.get("uncertainty"), **coverage})
    write_json(folder / "limits.json", [dataclasses.asdict(limit) for limit in fit.limits])
    for name, table in tables.items():
        table.plot(folder / f"parity_{name}.png")
    if "training" in fit.model.summary:
        plot_training(folder / "training.png", fit.model.summary["training"])
    if fit.test and len(fit.by_share) > 1:
        curve = {
            size: compare(model, fit.test, progress, f"learning curve, {size} structures")
            for size, model in fit.by_share.items()
        }
        plot_learning(folder / "learning_curve.png", curve)


def plot_training(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """The loss of both sets and their errors by iteration, on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6, 3.6), layout="constrained")
    panels = (
        ("loss", "loss / that of the linear model"),
        ("energy_mev", "energies (meV/atom)"),
        ("force_ev_per_angstrom", "forces (eV/Å)"),
    )
    for axes, (name, label) in zip(figure.subplots(1, 3), panels, strict=True):
        for prefix, said in (("", "trained"), ("validation_", "left out")):
            values = np.array([entry[prefix + name] for entry in history])
            axes.semilogy(values / (values[0] if name == "loss" else 1.0), label=said)
        axes.set(xlabel="iteration", ylabel=label)
    axes.legend()
    with atomic_write(path) as part:
        figure.savefig(part, dpi=150)


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
        rmse = [max(curve[size].groups[TOTAL][quantity].rmse() * quantity.scale, 1e-12) for size in sizes]
        axes.loglog(sizes, rmse, "o-")
        axes.set(xlabel="training structures", ylabel=f"test RMSE, {quantity.name} ({quantity.error_unit})")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        low, high = min(rmse) / 1.1, max(rmse) * 1.1
        axes.set_ylim(low, high)
        ticks = log_ticks(low, high)
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    with atomic_write(path) as part:
        figure.savefig(part, dpi=150)


def log_ticks(low: float, high: float) -> list[float]:
    """About four round numbers from low to high, for a logarithmic axis."""
    from matplotlib.ticker import MaxNLocator

    if high < 3 * low:
        return [tick for tick in np.asarray(MaxNLocator(5).tick_values(low, high)).tolist() if low <= tick <= high]
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [digit * 10.0**decade for decade in decades for digit in digits if low <= digit * 10.0**decade <= high]
        if len(ticks) >= 3:
            break
    return ticks[:: max(1, len(ticks) // 4)]
