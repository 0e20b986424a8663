"""The pictures of a history: errors against references, how far simulations came, and calibration."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.coverage import SHARES
from ..files import atomic_write
from .config import LearnConfig
from .judging import CONTROL
from .record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(path: Path, records: Sequence[Record], config: LearnConfig) -> None:
    """Writes the picture, three panels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6, 3.8), layout="constrained")
    errors, lengths, calibration = figure.subplots(1, 3)
    _errors(errors, records, config)
    _lengths(lengths, records)
    _calibration(calibration, records)
    with atomic_write(path) as part:
        figure.savefig(part, dpi=150)


def _errors(axes: "Axes", records: Sequence[Record], config: LearnConfig) -> None:
    kinds: tuple[tuple[str, str, Callable[[Record], float | None]], ...] = (
        ("o-", "met at random", lambda record: record.control),
        ("s:", "uncertain", lambda record: record.error("uncertain")),
        ("^--", "test structures", lambda record: record.test_error),
    )
    for style, label, value in kinds:
        points = [(record.references, found) for record in records if (found := value(record))]
        if points:
            axes.semilogy(*zip(*points, strict=True), style, label=label)
    if config.target is not None:
        axes.axhline(config.target.force_ev_per_angstrom, color="grey", linewidth=1, label="target")
    axes.set(xlabel="reference calculations", ylabel="RMSE of forces (eV/Å)", title="before they were learned")
    _whole_numbers(axes)
    if axes.has_data():
        axes.legend()


def _lengths(axes: "Axes", records: Sequence[Record]) -> None:
    """How far each simulation came; its line is broken where it began anew."""
    names = list(dict.fromkeys(one.name for record in records for one in record.outcomes))
    for name in names:
        points: list[tuple[int, float]] = []
        for record in records:
            for one in record.outcomes:
                if one.name == name and one.length_ps is not None:
                    points += [] if one.began else [(record.round, np.nan)]
                    points.append((record.round, one.length_ps))
        if points:
            axes.plot(*zip(*points, strict=True), "o-", label=name)
    axes.set(xlabel="round", ylabel="reached (ps)", title="simulations: connected where they went on")
    _whole_numbers(axes)
    if 0 < len(names) <= 10 and axes.has_data():
        axes.legend(fontsize="small")


def _calibration(axes: "Axes", records: Sequence[Record]) -> None:
    for number, (width, share) in enumerate(SHARES):
        key = f"within_{width:g}_sigma"
        points = [(record.round, 100 * record.judged[CONTROL][key]) for record in records if record.control is not None]
        axes.axhline(100 * share, color=f"C{number}", linewidth=1, linestyle=":")
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=f"C{number}", label=f"within {width:g} σ")
    axes.set(xlabel="round", ylabel="force components (%)", ylim=(0, 102), title="met at random: calibration")
    _whole_numbers(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _whole_numbers(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
