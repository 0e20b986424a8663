"""The configuration of docs/metadynamics.md makes a bias of the variable of docs/plumed.md."""

import ase.io
import pytest
from ase.calculators.lj import LennardJones
from blocks import ROOT, blocks

from forceserver.bias.choice import build_bias
from forceserver.configuration import read_configuration
from forceserver.cv import build_variables
from forceserver.potentials.ase import AsePotential
from forceserver.template_structure import read_template


def printed(page: str) -> list[str]:
    return [block.text for block in blocks(ROOT / "docs" / page) if block.language == "toml"]


KINDS = {
    "hills": ({"metad.bias_eV", "walls.bias_eV"}, "HILLS"),
    "walkers": ({"metad.bias_eV", "walls.bias_eV"}, "../hills/HILLS.0"),
    "opes": ({"opes.bias_eV", "walls.bias_eV"}, "KERNELS"),
    "multithermal": ({"opes.bias_eV", "potential_energy"}, "DELTAFS"),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_bias_as_printed_runs(kind, tmp_path, monkeypatch):
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    ase.io.write("batio3.extxyz", ase.io.read(ROOT / "workflows" / "batio3" / "data" / "test.extxyz", 0))
    hills, walkers, opes, multithermal = printed("metadynamics.md")
    text = {"hills": hills, "walkers": hills + walkers, "opes": opes, "multithermal": multithermal}[kind]
    (folder / "forceserver.toml").write_text(printed("plumed.md")[0] + text)
    settings = read_configuration(folder / "forceserver.toml")
    template = read_template(settings.structure)
    variables = build_variables(settings.cv, template)
    bias = build_bias(settings.bias, variables, template, lambda: AsePotential(LennardJones()))
    extras = bias.compute_one(template).extras
    bias.close()
    columns, file = KINDS[kind]
    assert {"polarization_x", "polarization_y", *columns} <= extras.keys()
    assert (folder / file).exists()
