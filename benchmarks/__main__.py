"""`python -m benchmarks`: runs the suites of this folder and prints their tables as markdown."""

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

from .harness.machine import describe

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "benchmarks.md"


def suites() -> list[str]:
    """The names of the suites: the plain modules of this folder."""
    return [
        module.name for module in pkgutil.iter_modules([str(FOLDER)]) if not module.ispkg and module.name != "__main__"
    ]


def run(name: str, quick: bool) -> str:
    """The section of one suite: its title, what it says about itself, the machine, its tables."""
    suite = importlib.import_module(f"{__package__}.{name}")
    title, _, about = suite.__doc__.strip().partition("\n")
    sections = [f"## {title.rstrip('.')}", about.strip(), f"Measured on: {describe()}."]
    for table in suite.tables(quick):
        print(f"{name}: {table.title}", file=sys.stderr)
        sections.append(table.markdown().strip())
    return "\n\n".join(filter(None, sections)) + "\n"


def update(page: str, name: str, section: str) -> str:
    """The page with the section between the marks of `name` replaced, or added at its end."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
    before, mark, rest = page.partition(begin)
    after = rest.partition(end)[2] if mark else ""
    return before.rstrip("\n") + "\n\n" + begin + section + end + after


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="SUITE", nargs="+", choices=suites(), help=f"of: {', '.join(suites())}")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds")
    parser.add_argument("--update", action="store_true", help=f"also replace the sections of docs/{PAGE.name}")
    options = parser.parse_args()
    for name in options.only or suites():
        section = run(name, options.quick)
        print(section, flush=True)
        if options.update:
            PAGE.write_text(update(PAGE.read_text(), name, section))


if __name__ == "__main__":
    main()
