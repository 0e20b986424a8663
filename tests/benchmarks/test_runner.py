"""What the runner of the benchmarks writes."""

import importlib

from benchmarks.__main__ import suites, update
from benchmarks.harness import Table, interleave


def test_table_is_markdown_with_three_digits():
    table = Table("Title", ["name", "µs"], [["a", 12.3456], ["b", None], ["c", 7], ["d", 1.5e-7]], note="Note.")
    assert table.markdown() == (
        "**Title**\n\n"
        "| name |       µs |\n"
        "|------|---------:|\n"
        "| a    |     12.3 |\n"
        "| b    |        - |\n"
        "| c    |        7 |\n"
        "| d    | 1.50e-07 |\n"
        "\nNote.\n"
    )


def test_update_replaces_one_section_and_keeps_the_rest():
    page = update(update("# Page\n", "a", "first\n"), "b", "second\n")
    assert page == ("# Page\n\n<!-- begin a -->\nfirst\n<!-- end a -->\n\n<!-- begin b -->\nsecond\n<!-- end b -->\n")
    assert update(page, "a", "new\n") == page.replace("first", "new")


def test_rounds_are_interleaved():
    calls = []
    contenders = {name: lambda name=name: calls.append(name) for name in "ab"}
    timings = interleave(contenders, rounds=3, block_seconds=0)
    assert calls[-6:] == list("ababab")
    assert all(len(timing.rounds) == 3 and timing.best <= timing.median for timing in timings.values())


def test_helpers_are_no_suites():
    assert {"driver", "ipi_steps", "endurance"} <= set(suites())
    assert not {"__main__", "harness", "clients"} & set(suites())


def test_every_suite_can_be_imported():
    """Otherwise nobody notices that something a suite needs has moved until somebody measures again."""
    for name in suites():
        assert callable(importlib.import_module(f"benchmarks.{name}").tables)
