"""The history of a run, read from its files: a table, JSON, pictures."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..files import atomic_write, write_json
from . import rounds
from .config import LearnConfig
from .judging import CONTROL
from .pictures import draw
from .record import Record
from .rounds import Round
from .simulations import outcomes, planned
from .threshold import known_threshold


def history(config: LearnConfig) -> list[Record]:
    """All rounds that have a model."""
    every = list(rounds.rounds_in(config.folder))
    plans = planned(config)
    return [
        _record(one, every[: one.number + 1], next(iter(every[one.number + 1 :]), None), config, plans)
        for one in every
        if one.model.exists()
    ]


def _record(one: Round, until: Sequence[Round], after: Round | None, config: LearnConfig, plans: Any) -> Record:
    errors: Any = rounds.read_json(one.report / "errors.json") or {}
    return Record(
        round=one.number,
        structures=len(rounds.read(one.train)),
        references=rounds.spent(until),
        failed=sum(len(each.failures()) for each in until),
        threshold=known_threshold(one, config),
        outcomes=list(outcomes(one, plans)),
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
    from rich.console import Console
    from rich.table import Table

    shown = Table(title="errors of forces, eV/Å, in structures before they were learned", title_justify="left")
    for column in ("round", "structures", "references", "threshold", "simulations", "uncertain", "control", "1σ", "2σ"):
        shown.add_column(column, justify="right")
    tested = any(record.test for record in records)
    if tested:
        shown.add_column("test", justify="right")
    for record in records:
        shown.add_row(*_row(record), *([_test(record)] if tested else []))
    text = io.StringIO()
    Console(file=text, width=140).print(shown)
    return text.getvalue() + _simulations(records)


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
    """How far the simulations of the last round with some have come."""
    last = next((record for record in reversed(records) if record.outcomes), None)
    if last is None:
        return ""
    lines = [f"simulations of round {last.round}:"]
    for one in last.outcomes:
        why = {"uncertain": f", stopped at {one.uncertainty or 0:.3g} eV/Å", "failed": f", failed: {one.said}"}
        lines.append(f"  {one.name}: {one.steps} of {one.total} steps{why.get(one.end, '')}")
    return "\n".join(lines) + "\n"
