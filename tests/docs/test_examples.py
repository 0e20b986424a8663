"""The scripts of examples/ run as they are, with fewer steps."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from blocks import ROOT

from forceserver.bias.plumed.kernel import find_kernel

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LIMIT_SECONDS = 240

pytestmark = pytest.mark.skipif(not EXAMPLES, reason="not in the repository")


def missing(script: Path) -> str | None:
    """What it needs and is not there."""
    if 'engine = "plumed"' in script.read_text() and find_kernel() is None:
        return "no PLUMED kernel"
    if "import torch" in script.read_text() and find_spec("torch") is None:
        return "no torch"
    return None


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(path, id=path.stem, marks=pytest.mark.long if path.stem in ("metadynamics", "own_network") else ())
        for path in EXAMPLES
    ],
)
def test_example(script, tmp_path):
    if reason := missing(script):
        pytest.skip(reason)
    folder = tmp_path / "a folder"
    folder.mkdir()
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    small = {"STEPS": "20", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "PATH": programs}
    run = subprocess.run(
        [sys.executable, script], cwd=folder, env=os.environ | small, capture_output=True, text=True,
        timeout=LIMIT_SECONDS,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert list(folder.iterdir()) == [folder / script.stem], "an example keeps to its folder"


def test_there_is_one_for_each_tutorial():
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert len(EXAMPLES) >= 5
    for script in EXAMPLES:
        assert f"examples/{script.stem}.md" in navigation
