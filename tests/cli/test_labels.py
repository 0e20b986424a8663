"""Isotopes: a real run of i-PI whose atoms are called D and C13, which a potential knows as H and C."""

import re

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

CELL = "# CELL(abcABC): 9 9 9 90 90 90 positions{angstrom} cell{angstrom}"
POSITIONS = [[3.0, 3.1, 3.0], [3.1, 3.9, 3.0], [3.9, 2.9, 3.2], [3.0, 2.6, 3.8]]
INITIAL = "<file mode='ase'> al.extxyz </file>"


def xyz(labels) -> str:
    rows = [f"{label} {x} {y} {z}" for label, (x, y, z) in zip(labels, POSITIONS, strict=True)]
    return "\n".join([str(len(labels)), CELL, *rows]) + "\n"


@pytest.fixture
def methane(aluminium):
    (aluminium.folder / "ipi.xyz").write_text(xyz(["C13", "D", "D", "H"]))
    (aluminium.folder / "plain.xyz").write_text(xyz(["C", "H", "H", "H"]))
    aluminium.write_simulation(steps=3, old=INITIAL, new="<file mode='xyz'> ipi.xyz </file>")
    return aluminium


@pytest.mark.long
@pytest.mark.parametrize("template", ["ipi.xyz", "plain.xyz"])
def test_deuterium_is_launched(methane, template):
    methane.write_config('file = "al.extxyz"', f'file = "{template}"')
    run = methane.run_here("launch", methane.config)
    assert run.returncode == 0, run.stderr
    table = np.loadtxt(methane.folder / "sim.out")
    assert len(table) == 4
    atoms = Atoms("CH3", positions=POSITIONS, cell=[9, 9, 9], pbc=True, calculator=EMT())
    assert table[0, 4] == pytest.approx(atoms.get_potential_energy(), abs=2e-6)
    masses = re.search(r"<m [^>]*>\s*\[(.*?)\]", (methane.folder / "RESTART").read_text(), re.DOTALL)
    amu = np.array(masses[1].split(","), float) / 1822.8885
    np.testing.assert_allclose(amu, [13.00335, 2.0141, 2.0141, 1.00794], rtol=1e-6)


def test_check_says_what_the_potential_sees(methane):
    methane.write_config('file = "al.extxyz"', 'file = "plain.xyz"')
    run = methane.run_here("check", methane.config)
    assert run.returncode == 0, run.stdout
    assert "C13 is C, D is H to the potential; masses are i-PI's" in run.stdout


def test_check_finds_another_element(methane):
    (methane.folder / "other.xyz").write_text(xyz(["C", "H", "Cl37", "H"]))
    methane.write_config('file = "al.extxyz"', 'file = "other.xyz"')
    run = methane.run_here("check", methane.config)
    assert run.returncode == 2
    assert "atom 2 is D in i-PI, Cl here; other species" in run.stdout


@pytest.mark.parametrize("label", ["E", "Sj"])
def test_a_label_that_is_no_element_is_told_and_goes(methane, label):
    start = f"<file mode='xyz'> plain.xyz </file><labels mode='manual'> [{label}, H, H, H] </labels>"
    methane.write_simulation(old=INITIAL, new=start)
    methane.write_config('file = "al.extxyz"', 'file = "plain.xyz"')
    run = methane.run_here("check", methane.config)
    assert run.returncode == 0, run.stdout
    assert re.search(rf"advice +labels +{label} is C to the potential", run.stdout)


def test_isotopes_cannot_be_selected_by_name(methane):
    methane.config.write_text(
        methane.config.read_text()
        + '[expansion]\ncentres = "D"\n[expansion.basis]\nkind = "gto"\nn_max = 2\nl_max = 1\n'
        + "cutoff = { cutoff_angstrom = 3.0, width_angstrom = 0.5 }\n"
        + 'density = { kind = "gaussian", sigma_angstrom = 0.5 }\n'
    )
    run = methane.run_here("check", methane.config)
    assert run.returncode == 2
    assert "there is no element 'D'; it is H here: write that, or indices where only some are meant" in run.stderr


def test_a_template_that_is_not_periodic_must_not_be_folded(methane):
    (methane.folder / "molecule.xyz").write_text(xyz(["C", "H", "H", "H"]).replace(CELL, ""))
    methane.write_config('file = "al.extxyz"', 'file = "molecule.xyz"')
    assert methane.run_here("check", methane.config).returncode == 0
    text = (methane.folder / "input.xml").read_text()
    (methane.folder / "input.xml").write_text(text.replace("mode='unix'", "mode='unix' pbc='True'"))
    run = methane.run_here("check", methane.config)
    assert run.returncode == 2
    assert "<ffsocket pbc='True'> folds atoms into the cell" in run.stdout


@pytest.mark.long
def test_a_molecule_in_a_box_is_launched_without_its_images(aluminium):
    """The file says pbc="F F F"; i-PI's cell is periodic all the same."""
    atoms = Atoms("Al2", positions=[[0.5, 0.5, 0.5], [3.0, 0.5, 0.5]], cell=[4, 4, 4], pbc=False)
    atoms.write(aluminium.folder / "al.extxyz")
    aluminium.write_simulation(steps=1)
    assert "a crystal needs [structure] pbc = true" in aluminium.run_here("check", aluminium.config).stdout
    run = aluminium.run_here("launch", aluminium.config)
    assert run.returncode == 0, run.stderr
    atoms.calc = EMT()
    assert np.loadtxt(aluminium.folder / "sim.out")[0, 4] == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    run = aluminium.run_here(
        "evaluate", aluminium.config, aluminium.folder / "al.extxyz", "-o", aluminium.folder / "o.xyz"
    )
    assert f"predicted_energy={atoms.get_potential_energy():.6f}" in (aluminium.folder / "o.xyz").read_text()
