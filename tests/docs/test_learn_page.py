"""docs/commands/learn.md: its table is the program's, its inputs are complete."""

import re

import ase.io
import pytest
from ase.build import bulk
from blocks import ROOT, blocks

from forceserver.errors import InputError
from forceserver.learn import loop
from forceserver.learn.config import (
    BudgetConfig,
    LearnConfig,
    SelectionConfig,
    SimulationsConfig,
    TargetConfig,
    UncertaintyConfig,
    load,
)

PAGE = ROOT / "docs" / "commands" / "learn.md"
SECTIONS = {
    "": LearnConfig,
    "[[simulations]]": SimulationsConfig,
    "[uncertainty]": UncertaintyConfig,
    "[selection]": SelectionConfig,
    "[target]": TargetConfig,
    "[budget]": BudgetConfig,
}
HAVE_ROWS = {"data", "fit", "reference", "simulations", "uncertainty", "selection", "target", "budget"}

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="not in the repository")


@pytest.mark.parametrize("section", SECTIONS)
def test_the_table_of_keys(section):
    table = PAGE.read_text().partition("## Configuration")[2].partition("\n\n**")[0]
    parts = re.split(r"^\| \*\*`(.+?)`\*\*.*$", table, flags=re.MULTILINE)
    text = parts[0] if not section else parts[parts.index(section) + 1]
    said = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text, re.MULTILINE))
    fields = {name: field for name, field in SECTIONS[section].model_fields.items() if name not in HAVE_ROWS}
    assert set(said) == set(fields)
    for key, field in fields.items():
        default = field.default
        if isinstance(default, tuple) and default:
            assert said[key] == f"`{', '.join(f'{value:g}' for value in default)}`"
        elif isinstance(default, int | float | str):
            assert said[key] == f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
        else:
            assert field.is_required() == (said[key] == "required"), key


def text_of(title: str) -> str:
    return next(block.text for block in blocks(PAGE) if block.title == title)


def test_the_first_input(tmp_path):
    (tmp_path / "learn.toml").write_text(text_of("learn.toml"))
    bulk("Cu", cubic=True).write(tmp_path / "crystal.extxyz")
    ase.io.write(tmp_path / "start.extxyz", [bulk("Cu", cubic=True)] * 8)
    config = load(tmp_path / "learn.toml")
    assert loop.check(config) == ["simulation crystal-300K: 4 atoms", "simulation crystal-900K: 4 atoms"]


def test_the_input_for_a_dft_code(tmp_path, monkeypatch):
    """Complete but for the program; with another client of the same protocol, nothing is missing."""
    path = tmp_path / "sic.toml"
    path.write_text(text_of("sic.toml"))
    bulk("SiC", "zincblende", a=4.36, cubic=True).write(tmp_path / "crystal.extxyz")
    ase.io.write(tmp_path / "start.extxyz", [bulk("SiC", "zincblende", a=4.36, cubic=True)] * 8)
    with monkeypatch.context() as nowhere:
        nowhere.setenv("PATH", "/nowhere")
        with pytest.raises(InputError, match="there is no program mpirun"):
            loop.check(load(path))
    command = re.search(r'^command = "(.+)"', path.read_text(), re.MULTILINE)[1]
    path.write_text(path.read_text().replace(command, "env i-pi-driver-py -u -a {address} -m harmonic -o 1"))
    assert len(loop.check(load(path))) == 3
    ase.io.write(tmp_path / "start.extxyz", [bulk("SiC", "zincblende", a=4.36, cubic=True)[::-1]] * 8)
    with pytest.raises(InputError, match=r"one order of atoms only, its own; .*start.extxyz: structure 0 has other"):
        loop.check(load(path))
