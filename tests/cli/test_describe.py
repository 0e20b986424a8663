"""`forceserver describe`: the documented arrays, and that they are those of the library and of featomic."""

import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from featomic import SphericalExpansion
from program import run_here

CONFIG = """
[structure]
file = "in.xyz"

[expansion]
centres = "Ti"
gradients = true
normalise = true

[expansion.basis]
kind = "gto"
n_max = 4
l_max = 2
cutoff = { cutoff_angstrom = 3.5, width_angstrom = 0.5 }
density = { kind = "gaussian", sigma_angstrom = 0.4 }

[[cv]]
name = "p"
centres = "Ti"
neighbours = "O"
weights = [1.0, 0.5, 0.2]

[cv.basis]
kind = "gto"
n_max = 3
l_max = 1
cutoff = { cutoff_angstrom = 3.0, width_angstrom = 0.5 }
density = { kind = "gaussian", sigma_angstrom = 0.4 }
"""


@pytest.fixture
def structures(tmp_path) -> list[Atoms]:
    """Two crystals of barium titanate of different size."""
    unit = Atoms(
        "BaTiO3",
        scaled_positions=[[0, 0, 0], [0.51, 0.52, 0.53], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
        cell=[4.0, 4.1, 3.9],
        pbc=True,
    )
    made = [unit.repeat((1, 1, 2)), unit.repeat((2, 2, 1))]
    for seed, atoms in enumerate(made):
        atoms.rattle(0.05, seed=seed)
    ase.io.write(tmp_path / "in.xyz", made, format="extxyz")
    (tmp_path / "describe.toml").write_text(CONFIG)
    return ase.io.read(tmp_path / "in.xyz", index=":")


def test_arrays_are_documented_and_right(structures, tmp_path):
    done = run_here("describe", tmp_path / "describe.toml", tmp_path / "in.xyz", "-o", tmp_path / "out.npz")
    assert done.returncode == 0, done.stderr
    out = np.load(tmp_path / "out.npz", allow_pickle=False)
    for name in out.files:
        assert f"{name}: {out[name].dtype} {out[name].shape}" in done.stdout
    np.testing.assert_array_equal(out["species"], [8, 22, 56])
    np.testing.assert_array_equal(out["centre_structure"], [0] * 2 + [1] * 4)
    assert np.all(out["centre_species"] == 22)
    for structure, atom in zip(out["centre_structure"], out["centre_atom"], strict=True):
        assert structures[structure].numbers[atom] == 22
    np.testing.assert_allclose(np.linalg.norm(out["power_spectrum"], axis=1), 1, atol=1e-13)
    assert out["power_spectrum_features"].shape == (out["power_spectrum"].shape[1], 5)

    calculator = SphericalExpansion(
        cutoff={"radius": 3.5, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        density={"type": "Gaussian", "width": 0.4},
        basis={"type": "TensorProduct", "max_angular": 2, "radial": {"type": "Gto", "max_radial": 3}},
    )
    theirs = calculator.compute(structures, gradients=["positions"])
    for l in range(3):
        for a, species in enumerate((8, 22, 56)):
            block = theirs.block(center_type=22, neighbor_type=species, o3_lambda=l)
            np.testing.assert_allclose(out[f"coefficients_l{l}"][:, a], block.values, atol=1e-7)
            gradient = block.gradient("positions")
            row_of = {tuple(row): k for k, row in enumerate(out["gradient_rows"].tolist())}
            samples = zip(gradient.samples["sample"], gradient.samples["atom"], strict=True)
            mine = out[f"gradients_l{l}"][[row_of[int(s), a, int(k)] for s, k in samples]]
            np.testing.assert_allclose(mine, gradient.values, atol=1e-6)
            assert out[f"strain_l{l}"][:, a].shape == (6, 3, 3, 2 * l + 1, 4)

    assert out["p_outputs"].tolist() == ["x", "y", "z"]
    assert out["p"].shape == (2, 3)
    assert out["p_strain"].shape == (2, 3, 3, 3)
    rows, gradients = out["p_gradient_rows"], out["p_gradients"]
    assert gradients.shape == (len(rows), 3, 3)
    for number, atoms in enumerate(structures):
        mine = rows[:, 0] == number
        assert set(atoms.numbers[rows[mine, 1]]) == {8, 22}
        np.testing.assert_allclose(gradients[mine].sum(axis=0), 0, atol=1e-12)


def test_the_page_has_an_example_that_runs_and_the_name_of_every_array(structures, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "commands" / "describe.md").read_text()
    example = re.search(r"```toml[^\n]*\n(.*?)```", page, re.DOTALL)[1].replace("in.extxyz", "in.xyz")
    (tmp_path / "page.toml").write_text(example)
    done = run_here("describe", tmp_path / "page.toml", tmp_path / "in.xyz", "-o", tmp_path / "page.npz")
    assert done.returncode == 0, done.stderr
    (tmp_path / "named.toml").write_text(CONFIG.replace('name = "p"', 'name = "q"'))
    done = run_here("describe", tmp_path / "named.toml", tmp_path / "in.xyz", "-o", tmp_path / "named.npz")
    assert done.returncode == 0, done.stderr
    for name in {re.sub(r"_l\d$", "_l0", name) for name in np.load(tmp_path / "named.npz", allow_pickle=False).files}:
        assert f"`{name}`" in page


@pytest.mark.parametrize(
    ("change", "output", "message"),
    [
        (("[expansion]", "[expansion]\ncentre = 1"), "out.npz", "expansion.centre: unknown key"),
        (('centres = "Ti"\ngradients', 'centres = "Tx"\ngradients'), "out.npz", "there is no element 'Tx'"),
        (
            ('centres = "Ti"\ngradients', 'centres = "C"\ngradients'),
            "out.npz",
            "structure 0: centres: no atom of species",
        ),
        (("n_max = 4", "n_max = 0"), "out.npz", "n_max"),
        (("", ""), "out.txt", "must end in .npz"),
        (("", ""), "nowhere/out.npz", "there is no folder"),
    ],
)
def test_mistakes_are_explained_and_nothing_is_written(structures, tmp_path, change, output, message):
    config = tmp_path / "describe.toml"
    config.write_text(config.read_text().replace(*change))
    done = run_here("describe", config, tmp_path / "in.xyz", "-o", tmp_path / output)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert not (tmp_path / output).exists()
