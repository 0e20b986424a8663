"""`forceserver evaluate`: what comes out is what the calculator says, and the errors are those of numpy."""

import re

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa
from scipy.spatial.transform import Rotation

from forceserver.fit.config import DataConfig
from forceserver.fit.data import read
from forceserver.fit.report import compare
from forceserver.frame import Frame
from forceserver.models.kernel import GapModel
from forceserver.potentials.gap import GapPotential
from forceserver.potentials.pair import LennardJones

HOT = """
import numpy as np
from ase.calculators.emt import EMT


class Hot(EMT):
    count = 0

    def calculate(self, *arguments):
        super().calculate(*arguments)
        self.count += 1
        if self.count == 3:  # the template, a structure, and this one
            self.results["forces"][3, 0] = np.nan
"""


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
        27,
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
    assert "no reference labels; name them" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.xyz"], "there is no file"),
        (["al.extxyz", "-o", "al.extxyz"], "is the input; choose another name"),
        (["al.extxyz", "-o", "al.traj"], "al.traj would be extended XYZ under another name"),
        (["al.extxyz", "-o", "nowhere/out.xyz"], "there is no folder"),
        (["al.extxyz", "--plot", "parity.docx"], "must end in .png or .pdf or .svg"),
        (["al.extxyz", "-o", "out.xyz", "--prefix=dft_"], "would be called as labels are (dft_energy)"),
        (["broken.xyz"], "structure 1 cannot be read"),
        (["empty.xyz"], "empty.xyz: is empty"),
    ],
)
def test_bad_input(aluminium, arguments, message):
    good = "1\nProperties=species:S:1:pos:R:3\nAl 0 0 0\n"
    (aluminium.folder / "broken.xyz").write_text(good + "2\n\nAl 0 0 0\n")
    (aluminium.folder / "empty.xyz").write_text("")
    places = [argument if argument[0] == "-" else aluminium.folder / argument for argument in arguments]
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


def test_a_prediction_that_is_not_finite_is_named(aluminium, monkeypatch):
    (aluminium.folder / "hot.py").write_text(HOT)
    monkeypatch.syspath_prepend(aluminium.folder)
    aluminium.write_config("ase.calculators.emt.EMT", "hot.Hot")
    path = aluminium.folder / "test.extxyz"
    ase.io.write(path, labelled_structures())
    run = aluminium.run_here("evaluate", aluminium.config, path, "-o", aluminium.folder / "out.extxyz")
    assert run.returncode == 1
    assert "structure 1: PotentialError: the potential returned forces[3, 0] = nan" in run.stderr
    assert not (aluminium.folder / "out.extxyz").exists()


def test_a_label_that_is_not_finite_is_refused_before_anything_is_computed(aluminium):
    structures = labelled_structures()
    structures[1].calc.results["energy"] = np.nan
    ase.io.write(aluminium.folder / "in.xyz", structures, format="extxyz")
    run = aluminium.run_here("evaluate", aluminium.config, aluminium.folder / "in.xyz")
    assert run.returncode == 2
    assert "structure 1: the label 'energy' is not finite" in run.stderr


def test_what_was_found_is_told_and_a_name_that_is_nowhere_refused(aluminium):
    ase.io.write(aluminium.folder / "in.xyz", labelled_structures(), format="extxyz")
    run = aluminium.run_here("evaluate", aluminium.config, aluminium.folder / "in.xyz")
    found = "4 structures with 4 energies (energy), 4 forces (forces), 0 virials, 3 stresses (stress)"
    assert found in run.stderr
    run = aluminium.run_here("evaluate", aluminium.config, aluminium.folder / "in.xyz", "--forces-key", "force")
    assert run.returncode == 2
    assert "no structure has 'force' (--forces-key); there are config_type, energy, forces" in run.stderr


def test_labels_of_atoms_stay_with_the_atoms(aluminium):
    """Whatever a file has for each atom is a column again, and nothing is lost."""
    rng = np.random.default_rng(1)
    structures = []
    for size in (4, 1, 3):  # 3: a dipole has three components, too
        atoms = (bulk("Al", cubic=True) * (2, 1, 1))[:size]
        atoms.arrays["momenta"] = rng.normal(size=(size, 3))
        atoms.arrays["tags"] = np.arange(size)
        atoms.arrays["spin_axis"] = rng.normal(size=(size, 3))
        atoms.info["note"] = "two words"
        atoms.set_initial_charges(rng.normal(size=size))
        results = {"magmoms": rng.normal(size=size), "charges": rng.normal(size=size), "energies": np.ones(size)}
        results |= {"energy": 1.0, "free_energy": 1.0, "magmom": 2.0, "dipole": rng.normal(size=3)}
        atoms.calc = SinglePointCalculator(atoms, forces=rng.normal(size=(size, 3)), **results)
        structures.append(atoms)
    ase.io.write(aluminium.folder / "in put.xyz", structures, format="extxyz")
    out = aluminium.folder / "out put.xyz"
    run = aluminium.run_here("evaluate", aluminium.config, aluminium.folder / "in put.xyz", "-o", out)
    assert run.returncode == 0, run.stderr
    for atoms, before in zip(ase.io.read(out, index=":"), structures, strict=True):
        for key, value in before.calc.results.items():
            assert np.shape(atoms.calc.results[key]) == np.shape(value), key
            np.testing.assert_allclose(atoms.calc.results[key], value, atol=1e-8, err_msg=key)
        for key, value in before.arrays.items():
            np.testing.assert_allclose(atoms.arrays[key], value, atol=1e-8, err_msg=key)
        assert atoms.arrays["predicted_forces"].shape == (len(atoms), 3)
        assert atoms.info["note"] == "two words"


def test_words_of_atoms_stay_one_column(aluminium):
    """Residues of a pdb file may have blanks in their names, or none."""
    rows = [f"ATOM  {i:5d}  AL  {name:3} A   1    {3 * i:8.3f}   0.000   0.000  1.00  0.00          AL" for i, name in
            enumerate(["A B", "", "ALA"])]  # fmt: skip
    (aluminium.folder / "in.pdb").write_text("\n".join([*rows, "END"]) + "\n")
    out = aluminium.folder / "out.xyz"
    run = aluminium.run_here("evaluate", aluminium.config, aluminium.folder / "in.pdb", "-o", out)
    assert run.returncode == 0, run.stderr
    atoms = ase.io.read(out)
    assert list(atoms.arrays["residuenames"]) == ["A_B", "-", "ALA"]
    np.testing.assert_allclose(atoms.positions[:, 0], [0, 3, 6])


def test_errors_are_those_of_a_fit(aluminium):
    """One definition for both; of the stress, over all nine components, whatever the orientation."""
    structures = labelled_structures()[:3]
    rng = np.random.default_rng(3)
    for atoms in structures:
        atoms.calc.results["stress"] = atoms.calc.results["stress"] + rng.normal(scale=[0.1, 0.2, 0.3, 0.01, 0, 0])
    path = aluminium.folder / "in.xyz"
    ase.io.write(path, structures, format="extxyz")
    pair = {"species": ("Al", "Al"), "cutoff_angstrom": 5.0, "smoothing_angstrom": 1.0}
    model = GapModel((13,), {13: 0.1}, pairs=(LennardJones(epsilon_ev=0.1, sigma_angstrom=2.5, **pair),))
    model.save(aluminium.folder / "lj.npz")
    kind = 'kind = "ase"\ncalculator = "ase.calculators.emt.EMT"'
    aluminium.write_config(kind, 'kind = "gap"\nmodel = "lj.npz"')
    run = aluminium.run_here("evaluate", aluminium.config, path)
    assert run.returncode == 0, run.stderr
    assert aluminium.run_here("evaluate", aluminium.folder / "lj.npz", path).stdout == run.stdout  # no configuration
    table = compare(model, read(path, DataConfig(train=path)))
    for quantity in table.quantities():
        expected = table.groups["(all)"][quantity]
        values, rmse, _ = errors(run.stdout)["(all)", quantity.name.split()[0]]
        assert values == len(expected)
        assert rmse == pytest.approx(expected.rmse() * quantity.scale, rel=1e-3)
    stresses = [-r.virial / a.get_volume() for r, a in zip(predictions(model, structures), structures, strict=True)]
    turn = Rotation.from_rotvec([0.3, 0.4, 0.5]).as_matrix()
    difference = [turn @ (s - a.get_stress(voigt=False)) @ turn.T for s, a in zip(stresses, structures, strict=True)]
    rmse = np.sqrt(np.mean(np.square(difference))) / GPa
    assert errors(run.stdout)["(all)", "stress"][1] == pytest.approx(rmse, rel=1e-3)


def predictions(model, structures):
    return [GapPotential(model).compute_one(Frame.from_ase(atoms)) for atoms in structures]
