"""`forceserver evaluate`: what comes out is what the calculator says, and the errors are those of numpy."""

import re

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa


def labelled_structures(energy_error: float = 0.0, force_error: float = 0.0, stress_error: float = 0.0) -> list:
    """Strained and rattled aluminium, one of them a molecule, with EMT's labels and known errors."""
    structures = []
    for i, size in enumerate([(2, 2, 2), (2, 2, 2), (1, 2, 2), (0, 0, 0)]):
        if sum(size):
            atoms = bulk("Al", cubic=True) * size
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + np.triu(0.02 * np.ones((3, 3)))), scale_atoms=True)
        else:
            atoms = bulk("Al", cubic=True)
            atoms.cell, atoms.pbc = None, False
        atoms.rattle(0.1, seed=i)
        atoms.info["config_type"] = "crystal" if sum(size) else "cluster"
        atoms.calc = EMT()
        labels = {
            "energy": atoms.get_potential_energy() + energy_error * len(atoms),
            "forces": atoms.get_forces() + force_error,
        }
        if sum(size):
            labels["stress"] = atoms.get_stress() + stress_error
        atoms.calc = SinglePointCalculator(atoms, **labels)
        structures.append(atoms)
    return structures


def errors(stdout: str) -> dict[tuple[str, str], tuple[int, float, float]]:
    """(group, quantity) -> (values, RMSE, MAE) of the printed table."""
    rows = re.findall(
        r"[│|]\s*(\S+)\s*[│|]\s*(\w+) \w+(?: \w+)?\s*[│|]\s*(\d+)\s*[│|]\s*(\S+)\s*[│|]\s*(\S+)\s*[│|]", stdout
    )
    return {(group, quantity): (int(n), float(rmse), float(mae)) for group, quantity, n, rmse, mae in rows}


@pytest.mark.parametrize("batch", [1, 8])
def test_predictions_are_those_of_the_calculator(aluminium, batch):
    structures = labelled_structures()
    ase.io.write(aluminium.folder / "in.xyz", structures, format="extxyz")
    out = aluminium.folder / "out.xyz"
    run = aluminium.run_here("evaluate", aluminium.config, aluminium.folder / "in.xyz", "-o", out, "--batch", batch)
    assert run.returncode == 0, run.stderr
    assert "4 structures in" in run.stderr
    written = ase.io.read(out, index=":")
    assert len(written) == 4
    for atoms, labelled in zip(written, structures, strict=True):
        reference = labelled.calc.results
        assert atoms.info["predicted_energy"] == pytest.approx(reference["energy"], abs=1e-6)
        np.testing.assert_allclose(atoms.arrays["predicted_forces"], reference["forces"], atol=1e-6)
        assert atoms.get_potential_energy() == pytest.approx(reference["energy"], abs=1e-6)
        assert atoms.info["config_type"] == labelled.info["config_type"]
        if "stress" in reference:
            stress = -atoms.info["predicted_virial"] / atoms.get_volume()
            np.testing.assert_allclose(stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], reference["stress"], atol=1e-7)


def test_errors_by_group_and_in_total(aluminium):
    structures = labelled_structures(energy_error=0.012, force_error=-0.034, stress_error=0.0056)
    ase.io.write(aluminium.folder / "in.xyz", structures, format="extxyz")
    run = aluminium.run_here("evaluate", aluminium.config, aluminium.folder / "in.xyz")
    assert run.returncode == 0, run.stderr
    found = errors(run.stdout)
    assert found["(all)", "energy"] == (4, pytest.approx(12, rel=1e-3), pytest.approx(12, rel=1e-3))
    assert found["(all)", "force"] == (3 * (32 + 32 + 16 + 4), pytest.approx(34, rel=1e-3), pytest.approx(34, rel=1e-3))
    assert found["crystal", "stress"] == (
        18,
        pytest.approx(0.0056 / GPa, rel=1e-3),
        pytest.approx(0.0056 / GPa, rel=1e-3),
    )
    assert ("cluster", "stress") not in found
    assert found["cluster", "energy"][0] == 1


def test_labels_under_other_names_and_virials(aluminium):
    structures = labelled_structures()[:3]
    for atoms in structures:
        results = atoms.calc.results
        atoms.info["dft_energy"] = results["energy"]
        atoms.info["dft_virial"] = -atoms.get_volume() * atoms.get_stress(voigt=False) + 0.01 * atoms.get_volume()
        atoms.arrays["dft_forces"] = results["forces"]
        atoms.info["kind"] = 7
        atoms.calc = None
    ase.io.write(aluminium.folder / "in.xyz", structures, format="extxyz")
    names = ["--energy-key=dft_energy", "--forces-key=dft_forces", "--virial-key=dft_virial", "--group-key=kind"]
    run = aluminium.run_here("evaluate", aluminium.config, aluminium.folder / "in.xyz", *names)
    assert run.returncode == 0, run.stderr
    found = errors(run.stdout)
    assert found["7", "force"][1] < 1e-3
    assert found["7", "stress"][1] == pytest.approx(0.01 / GPa, rel=1e-3)


def test_plot(aluminium):
    ase.io.write(aluminium.folder / "in.xyz", labelled_structures(0.01, 0.1), format="extxyz")
    plot = aluminium.folder / "parity.png"
    run = aluminium.run_here("evaluate", aluminium.config, aluminium.folder / "in.xyz", "--plot", plot)
    assert run.returncode == 0, run.stderr
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in aluminium.folder.glob(".*")] == []


def test_plot_without_labels_is_refused(aluminium):
    bulk("Al").write(aluminium.folder / "in.xyz", format="extxyz")
    run = aluminium.run_here(
        "evaluate", aluminium.config, aluminium.folder / "in.xyz", "--plot", aluminium.folder / "p.png"
    )
    assert run.returncode == 2
    assert "no reference labels 'energy'" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.xyz"], "there is no file"),
        (["al.extxyz", "-o", "al.extxyz"], "is the input; choose another name"),
        (["al.extxyz", "-o", "nowhere/out.xyz"], "there is no folder"),
        (["broken.xyz"], "structure 1 cannot be read"),
        (["empty.xyz"], "structure 0 cannot be read: UnknownFileTypeError: Empty file"),
    ],
)
def test_bad_input(aluminium, arguments, message):
    good = "1\nProperties=species:S:1:pos:R:3\nAl 0 0 0\n"
    (aluminium.folder / "broken.xyz").write_text(good + "2\n\nAl 0 0 0\n")
    (aluminium.folder / "empty.xyz").write_text("")
    places = [argument if argument == "-o" else aluminium.folder / argument for argument in arguments]
    run = aluminium.run_here("evaluate", aluminium.config, *places)
    assert run.returncode == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_a_structure_that_cannot_be_computed_is_named_and_leaves_no_output(aluminium):
    ase.io.write(aluminium.folder / "in.xyz", [bulk("Al"), bulk("Na")], format="extxyz")
    out = aluminium.folder / "out.xyz"
    run = aluminium.run_here("evaluate", aluminium.config, aluminium.folder / "in.xyz", "-o", out)
    assert run.returncode == 1
    assert "structure 1: " in run.stderr
    assert sorted(path.name for path in aluminium.folder.glob("*out*")) == []
    assert [path.name for path in aluminium.folder.glob(".*")] == []
