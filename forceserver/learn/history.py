"""The history of a run, read from its files: a table, JSON, pictures."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..files import atomic_write, write_json
from . import rounds
from .config import LearnConfig
from .inputs import planned
from .judging import CONTROL
from .outcome import Outcome, outcomes
from .pictures import draw
from .record import Record
from .rounds import Round
from .threshold import known_threshold


def history(config: LearnConfig) -> list[Record]:
    """All rounds that have a model."""
    every = list(rounds.rounds_in(config.folder))
    names = [plan.name for plan in planned(config)]
    return [
        _record(one, every[: one.number + 1], next(iter(every[one.number + 1 :]), None), config, names)
        for one in every
        if one.model.exists()
    ]


def _record(one: Round, until: Sequence[Round], after: Round | None, config: LearnConfig, names: list[str]) -> Record:
    errors: Any = rounds.read_json(one.report / "errors.json") or {}
    return Record(
        round=one.number,
        structures=len(rounds.read(one.train)),
        references=rounds.spent(until),
        failed=sum(len(each.failures()) for each in until),
        threshold=known_threshold(one, config),
        outcomes=list(outcomes(one, names)),
        judged=(rounds.read_json(after.judged) if after is not None else None) or {},
        test=errors.get("test", {}).get("(all)", {}),
    )


def write(config: LearnConfig, records: Sequence[Record]) -> None:
    """Writes history.json, history.txt and history.png."""
    write_json(config.folder / "history.json", [asdict(record) for record in records])
    with atomic_write(config.folder / "history.txt") as part:
        part.write_text(table(records, config))
    draw(config.folder / "history.png", records, config)


def table(records: Sequence[Record], config: LearnConfig) -> str:
    """The history for people."""
    columns: tuple[str, ...] = (
        "round",
        "structures",
        "references",
        "threshold",
        "simulations",
        "uncertain",
        "control",
        "1σ",
        "2σ",
    )
    rows = [_row(record) for record in records]
    if any(record.test for record in records):
        columns = (*columns, "test")
        rows = [[*row, _test(record)] for row, record in zip(rows, records, strict=True)]
    title = "errors of forces, eV/Å, in structures before they were learned"
    return _shown(title, columns, rows) + _simulations(records)


def _shown(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left")
    for column in columns:
        shown.add_column(column, justify="right")
    for row in rows:
        shown.add_row(*row)
    text = io.StringIO()
    Console(file=text, width=140).print(shown)
    return text.getvalue()


def _row(record: Record) -> list[str]:
    failed = f" ({record.failed} failed)" if record.failed else ""
    complete = sum(one.end == "complete" for one in record.outcomes)
    ends = f"{complete} of {len(record.outcomes)} complete, {100 * record.reached:.0f} %" if record.outcomes else ""
    control = record.judged.get(CONTROL, {})
    return [
        str(record.round),
        str(record.structures),
        f"{record.references}{failed}",
        "" if record.threshold is None else f"{record.threshold:.3g}",
        ends,
        _error(record, "uncertain"),
        _error(record, CONTROL),
        *(f"{100 * control[key]:.0f} %" if key in control else "" for key in ("within_1_sigma", "within_2_sigma")),
    ]


def _error(record: Record, kind: str) -> str:
    error = record.error(kind)
    return "" if error is None else f"{error:.3f} ({record.judged[kind]['structures']})"


def _test(record: Record) -> str:
    return "" if record.test_error is None else f"{record.test_error:.3f}"


def _simulations(records: Sequence[Record]) -> str:
    """How far the simulations of the last round with some have come, and what they have simulated in all rounds."""
    last = next((record for record in reversed(records) if record.outcomes), None)
    if last is None:
        return ""
    columns = ("simulation", "steps", "ps", "ps in all", "begun", "stopped", "the last time")
    return _shown(f"simulations, round {last.round}", columns, [_simulated(one, records) for one in last.outcomes])


def _simulated(last: Outcome, records: Sequence[Record]) -> list[str]:
    every = [one for record in records for one in record.outcomes if one.name == last.name]
    in_all = sum(one.new_ps or 0.0 for one in every)
    ends = {"uncertain": f"uncertain by {last.uncertainty or 0:.3g} eV/Å", "failed": f"failed: {last.said}"}
    return [
        last.name,
        f"{last.steps} of {last.total}",
        "" if last.length_ps is None else f"{last.length_ps:.3g}",
        f"{in_all:.3g}",
        str(sum(not one.began for one in every)),
        str(sum(one.end == "uncertain" for one in every)),
        ends.get(last.end, last.end) + (f", went on from {last.began}" if last.began else ""),
    ]
