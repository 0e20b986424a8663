"""`forceserver cv fit` as a user runs it."""

import pytest
from ase.build import bulk
from ase.io import write
from typer.testing import CliRunner

from forceserver.cli.app import app
from forceserver.errors import InputError

CONFIG = """
[structure]
file = "start.extxyz"

[[cv]]
name = "phase"
kind = "power_spectrum"
centres = "Cu"
neighbours = "Cu"
weights = "phase.npz"

[cv.basis]
kind = "gto"
n_max = 3
l_max = 3
cutoff = { cutoff_angstrom = 4.0, width_angstrom = 0.5 }
density = { kind = "gaussian", sigma_angstrom = 0.5 }
"""


SECOND = "[[cv]]" + CONFIG.partition("[[cv]]")[2].replace('"phase"', '"two"')


@pytest.fixture
def folder(tmp_path):
    structures = []
    for seed in range(4):
        for name, a in (("fcc", 3.6), ("bcc", 2.87)):
            atoms = bulk("Cu", name, a=a, cubic=True).repeat(2)
            atoms.rattle(0.05, seed=seed)
            atoms.info["phase"] = name
            structures.append(atoms)
    write(tmp_path / "phases.extxyz", structures)
    structures[0].write(tmp_path / "start.extxyz")
    (tmp_path / "forceserver.toml").write_text(CONFIG)
    return tmp_path


def run(folder, *options, command=("cv", "fit")):
    arguments = [*command, str(folder / "forceserver.toml"), *options]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_variable_is_fitted_and_used(folder):
    structures = str(folder / "phases.extxyz")
    said = run(folder, structures, "--method", "lda", "--label", "phase")
    assert said.startswith("192 samples of 8 structures: ld1\n")
    assert "environments of structures that were left out: 100.0% in the right class" in said
    said = run(folder, structures, "-o", str(folder / "out.npz"), command=("describe",))
    assert "phase: float64 (8, 1)" in said
    assert "phase_ld1" in run(folder, command=("check",))
    said = run(folder, structures, "--method", "pca", "--components", "1", "--cv", "phase")
    assert "pc1: " in said


def test_before_it_is_fitted_it_cannot_be_used(folder):
    with pytest.raises(InputError, match=r"there is no file .*; `forceserver cv fit` makes it"):
        run(folder, str(folder / "phases.extxyz"), "-o", str(folder / "out.npz"), command=("describe",))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (("power_spectrum", "coordination"), (), "weights = .phase.npz.: should be a list"),
        (("phase.npz", "phase.dat"), (), "the name must end in .npz"),
        (("phase.npz", "no/phase.npz"), (), "there is no folder"),
        (("", ""), ("--cv", "other"), "no .*cv.* of that name"),
        (("[structure]", SECOND + "[structure]"), (), "several .*phase.*: choose one with --cv"),
    ],
)
def test_what_cannot_be_fitted(folder, change, options, message):
    (folder / "forceserver.toml").write_text(CONFIG.replace(*change, 1))
    with pytest.raises(InputError, match=message):
        run(folder, str(folder / "phases.extxyz"), "--method", "lda", "--label", "phase", *options)


@pytest.mark.parametrize("digits", [16, 7])
@pytest.mark.parametrize("method", ["lda", "pca", "ridge"])
def test_perfect_crystals_have_nothing_to_learn_but_rounding(folder, method, digits):
    """Of one, all environments are alike; of two, there is one direction, and no scatter to measure it in."""
    crystals = [bulk("Cu", name, a=a, cubic=True).repeat(3) for name, a in (("fcc", 3.61), ("bcc", 2.87))]
    for number, atoms in enumerate(crystals):
        atoms.info |= {"phase": ("fcc", "bcc")[number], "order": number}
        atoms.positions = atoms.positions.round(digits)
    label = {"lda": ("--label", "phase"), "pca": (), "ridge": ("--label", "order")}[method]
    path = str(folder / "crystals.extxyz")
    write(path, crystals[:1] * 4)
    with pytest.raises(InputError, match=r"all environments are alike|all labels are"):
        run(folder, path, "--method", method, *label)
    write(path, crystals * 2)
    if method == "lda":
        with pytest.raises(InputError, match="lda: all environments of class bcc, fcc are alike"):
            run(folder, path, "--method", method, *label)
    else:
        said = run(folder, path, "--method", method, *label)
        assert ("pc2: the structures do not differ" in said) == (method == "pca")


def test_nothing_to_fit_and_no_structures(folder):
    with pytest.raises(InputError, match=r"there is no file .*none\.extxyz"):
        run(folder, str(folder / "none.extxyz"), "--method", "pca")
    (folder / "forceserver.toml").write_text(CONFIG.partition("[[cv]]")[0])
    with pytest.raises(InputError, match="nothing to fit"):
        run(folder, str(folder / "phases.extxyz"), "--method", "pca")
