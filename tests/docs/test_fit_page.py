"""The section on training of docs/potentials.md: its table is the program's, its configurations are fitted."""

import json
import re
from pathlib import Path

import ase.io
import pytest
from blocks import ROOT, blocks

from forceserver.fit import run
from forceserver.fit.config import (
    AceDescriptor,
    CrossValidationConfig,
    FitConfig,
    PairDescriptor,
    Sigma,
    Smoothness,
    SoapDescriptor,
    TrainingConfig,
    load,
)
from forceserver.models.kernel import GapModel
from forceserver.potentials.model_files import load_model
from forceserver.representation.products import Truncation

PAGE = ROOT / "docs" / "potentials.md"
SILICON = Path(__file__).parents[1] / "data" / "silicon.extxyz"
SECTIONS = {
    "": FitConfig,
    'soap"`': SoapDescriptor,
    'pair"`': PairDescriptor,
    'ace"`': AceDescriptor,
    "truncation`": Truncation,
    "prior`": Smoothness,
    "[training]`": TrainingConfig,
    "[sigma.GROUP]`": Sigma,
    "[cross_validation]`": CrossValidationConfig,
}
ELSEWHERE = {
    "data",
    "descriptors",
    "baseline",
    "sigma",
    "cross_validation",
    "kind",
    "truncation",
    "prior",
    "training",
}  # have tables or pages of their own

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="not in the repository")


def printed() -> dict[str, dict[str, str]]:
    """Section -> key -> default, as the page has them."""
    table = PAGE.read_text().partition("| key | default | |")[2].partition("\n\n")[0]
    found, section = {"": {}}, ""
    for key, default in re.findall(r"^\| (.+?) \| (.+?) \|", table, re.MULTILINE):
        if key.startswith("**"):
            section = next(name for name in SECTIONS if name and name in key)
            found[section] = {}
        else:
            found[section][key.strip("`")] = default
    return found


@pytest.mark.parametrize("section", SECTIONS)
def test_the_table_of_keys(section):
    fields = {name: field for name, field in SECTIONS[section].model_fields.items() if name not in ELSEWHERE}
    said = printed()[section]
    assert set(said) == set(fields)
    for key, field in fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, tuple):
            assert said[key] == f"`{', '.join(f'{value:g}' for value in default)}`"
        elif isinstance(default, bool | int | float | str) and not field.is_required():
            assert said[key] == f"`{str(default).lower()}`", key
        else:
            assert not said[key].startswith("`"), key


@pytest.mark.parametrize("page", [PAGE, PAGE.with_name("ace.md")])
@pytest.mark.parametrize(
    "title", ["fit.toml", "fit_all.toml", "fit_chosen.toml", "fit_solver.toml", "fit_embedding.toml"]
)
def test_configurations_are_fitted_as_printed(page, title, tmp_path):
    """But for the number of sparse points and of functions, for which the structures are too few here."""
    text = next((block.text for block in blocks(page) if block.title == title), None)
    if text is None:
        pytest.skip("not on this page")
    for name, fewer in (("n_sparse = 1000", "n_sparse = 60"), ("functions = 1000", "functions = 100")):
        text = text.replace(name, fewer)
    (tmp_path / title).write_text(text)
    frames = ase.io.read(SILICON, ":9")
    ase.io.write(tmp_path / "train.extxyz", frames)
    ase.io.write(tmp_path / "test.extxyz", frames[:3])
    fit = run.fit(load(tmp_path / title))
    loaded = load_model(load(tmp_path / title).output)
    assert type(loaded) is type(fit.model)
    assert len(loaded.pairs) == len(fit.model.pairs)


def test_numbers_of_barium_titanate_are_those_of_its_results():
    results = json.loads((ROOT / "workflows/batio3/potential/results/validation.json").read_text())
    test = results["errors"]["test"]["(all)"]
    structures = GapModel.load(ROOT / "workflows/batio3/potential/batio3.npz").summary["structures"]
    wells = max(1 - well["depth"] / well["reference_depth"] for well in results["wells"].values())
    text = " ".join(PAGE.read_text().split())
    assert f"from {sum(structures.values())} small PBEsol cells" in text
    assert f"{test['energy per atom (meV)']:.2f} meV/atom and {test['force component (meV/Å)'] / 1e3:.3f} eV/Å" in text
    assert f"double wells within {100 * wells:.0f} %" in text
