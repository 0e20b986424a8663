"""The cluster expansion: training.

The structures of `workflows/silicon` and `workflows/copper` with their `ace.toml`, errors on the test structures; CPU
time and memory as the operating system reports them of the process, one thread.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .gap import run
from .harness import Table

WORKFLOWS = Path(__file__).parents[1] / "workflows"
CASES = {"silicon": "ace.toml", "copper": "ace.toml"}


def training(folder: Path, quick: bool) -> Table:
    """CPU time, memory and errors of the fits of the workflows."""
    columns = ("", "functions", "CPU / s", "memory / GB", "test energies / meV/atom", "test forces / eV/A")
    table = Table("Training", columns)
    for name, config in CASES.items():
        code = (
            "import json, sys; from pathlib import Path; from forceserver.fit import run, report; "
            "from forceserver.fit.config import load; source, out, quick = sys.argv[1:]; config = load(Path(source)); "
            "config = config.model_copy(update={'output': Path(out), 'report': None} | "
            "({'functions': 200} if quick == 'True' else {})); found = run.fit(config); "
            "errors = report.errors(report.compare(found.model, found.test)); "
            "Path(out).with_suffix('.json').write_text(json.dumps([len(found.model.functions), errors['(all)']]))"
        )
        out = folder / f"{name}.npz"
        seconds, memory = run(
            [sys.executable, "-c", code, str(WORKFLOWS / name / config), str(out), str(quick)], folder
        )
        functions, errors = json.loads(out.with_suffix(".json").read_text())
        energy, force = (next(v for key, v in errors.items() if key.startswith(word)) for word in ("energy", "force"))
        table.rows.append((name, functions, seconds, memory, energy, force / 1e3))
    return table


def tables(quick: bool) -> Iterator[Table]:
    """One table."""
    with tempfile.TemporaryDirectory(prefix="fsace-") as name:
        yield training(Path(name), quick)
