"""`forceserver basis`: the file it makes, that `describe` uses it, and what it refuses."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.io import read, write
from typer.testing import CliRunner

from forceserver.cli.app import app
from forceserver.errors import InputError
from forceserver.representation import contraction_file

CONFIG = """
[structure]
file = "in.extxyz"

[expansion]
CONTRACTION
tolerance = 1e-6

[expansion.basis]
kind = "gto"
n_max = 5
l_max = 2
cutoff = { cutoff_angstrom = 3.5, width_angstrom = 0.5 }
density = { kind = "gaussian", sigma_angstrom = 0.4 }
"""
PCA = 'contraction = { kind = "pca", mixed = MIXED, q_max = 3 }'


@pytest.fixture
def folder(tmp_path):
    names = ("H2O", "CH3OH", "C2H6", "CH4", "H2CO", "CH3CHO")
    write(tmp_path / "in.extxyz", [molecule(name) for name in names])
    return tmp_path


def run(command, folder, contraction, *options):
    config = folder / "c.toml"
    config.write_text(CONFIG.replace("CONTRACTION", contraction))
    result = CliRunner().invoke(app, [command, str(config), str(folder / "in.extxyz"), *map(str, options)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("mixed", ["true", "false"])
def test_describe_uses_the_file(folder, mixed):
    pca = PCA.replace("MIXED", mixed)
    said = run("basis", folder, pca, "-o", folder / "basis.npz", "--plot", folder / "basis.png").stdout
    made = contraction_file.load(folder / "basis.npz")
    assert made.species == (1, 6, 8)
    assert said.count("  l = 0") == len(made.eigenvalues)
    assert f"l = 1     3   {made.residual(next(iter(made.eigenvalues)))[1, 3]:.2e}" in said
    assert (folder / "basis.png").stat().st_size > 10_000
    run("describe", folder, 'contraction = { file = "basis.npz" }', "-o", folder / "file.npz")
    run("describe", folder, pca, "-o", folder / "here.npz")
    run("describe", folder, "", "-o", folder / "primitive.npz")
    file, here, primitive = (np.load(folder / f"{name}.npz") for name in ("file", "here", "primitive"))
    for l in range(3):
        name = f"coefficients_l{l}"
        np.testing.assert_allclose(file[name], here[name], atol=1e-12)
        u = np.stack([made.matrices[s][l] for s in made.species])
        wanted = np.einsum("camn,aqn->camq", primitive[name], u)
        if mixed == "true":
            wanted = wanted.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(file[name], wanted, atol=1e-10)
    np.testing.assert_array_equal(file["species"], [1, 6, 8])


def test_learns_from_energies(folder):
    """Pseudo-species, and covariates, of energies under a name of their own, or under a usual one."""
    for name, key in (("dft_total", ("--energy-key", "dft_total")), ("energy", ())):
        structures = read(folder / "in.extxyz", ":")
        for number, atoms in enumerate(structures):
            atoms.calc = None
            atoms.info = {name: -(number**1.5) * len(atoms)}
        write(folder / "in.extxyz", structures)
        for kind in ('kind = "pcovr", q_max = 3', 'kind = "alchemical", optimised = true, q_max = 1'):
            said = run("basis", folder, f"contraction = {{ {kind} }}", "-o", folder / "basis.npz", *key).stdout
            made = contraction_file.load(folder / "basis.npz")
            assert made.counts == ((3, 3, 3) if "pcovr" in kind else (5, 5, 5))
            assert f"l = 0     {made.counts[0]}" in said
    with pytest.raises(InputError, match=r"no structure has 'other' \(--energy-key\)"):
        run("basis", folder, f"contraction = {{ {kind} }}", "--energy-key", "other")
    with pytest.raises(InputError, match="--energy-key: no energy is read"):
        run("basis", folder, "contraction = { q_max = 3 }", "--energy-key", "energy")
    with pytest.raises(InputError, match="learns from energies"):
        run("describe", folder, f"contraction = {{ {kind} }}", "-o", folder / "none.npz")


def test_describe_writes_multispectra(folder):
    """Those of the library, of what it learned from the structures that it is told."""
    keys = "nu = 3, n_components = 6, num_expand = 60, equivariants = [1]"
    pca = PCA.replace("MIXED", "true").replace("q_max", 'structures = "in.extxyz", q_max')
    here = run("describe", folder, f"{pca}\nmultispectrum = {{ {keys} }}", "-o", folder / "all.npz")
    assert "multispectrum: float64" in here.stdout
    found = np.load(folder / "all.npz")
    assert found["multispectrum_nu"].tolist() == [1] * 3 + [2] * 6 + [3] * 6
    assert found["multispectrum"].shape == (len(found["centre_atom"]), 15)
    for name in ("equivariants_nu2_l1", "pseudo_equivariants_nu2_l1", "pseudo_equivariants_nu3_l1"):
        assert found[name].shape == (len(found["centre_atom"]), 3, 6)
    write(folder / "every.extxyz", read(folder / "in.extxyz", ":"))
    write(folder / "in.extxyz", molecule("CH3OH"))
    told = f'{pca}\nmultispectrum = {{ {keys}, structures = "every.extxyz" }}'.replace('"in.extxyz"', '"every.extxyz"')
    run("describe", folder, told, "-o", folder / "one.npz")
    rows = found["centre_structure"] == 1
    again = np.load(folder / "one.npz")["multispectrum"]
    np.testing.assert_allclose(again, found["multispectrum"][rows], atol=1e-10 * np.abs(again).max())


@pytest.mark.parametrize("displaced", [False, True])
def test_a_perfect_crystal_determines_no_functions_of_odd_degree(folder, displaced):
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.rattle(0.01 * displaced)
    write(folder / "in.extxyz", atoms)
    said = run("basis", folder, PCA.replace("MIXED", "false"), "-o", folder / "basis.npz").output
    assert ("no density of l = 1, 2 (perfect" in said) is not displaced


@pytest.mark.parametrize(
    ("contraction", "options", "message"),
    [
        ("", (), "nothing to contract: give a section \\[expansion\\] with a key contraction"),
        (PCA, ("-o", "basis.txt"), "--output basis.txt: the name must end in .npz"),
        (PCA, ("-o", "nowhere/basis.npz"), "there is no folder"),
        (PCA, ("--plot", "basis.doc"), "--plot basis.doc: the name must end in .png or .pdf or .svg"),
        ('contraction = { file = "c.toml" }', (), "this command makes such a file"),
        ("contraction = { q_max = 6 }", ("-o", "FOLDER/b.npz"), "q_max = 6 is larger than the number of radial"),
    ],
)
def test_refused(folder, contraction, options, message):
    options = [option.replace("FOLDER", str(folder)) for option in options]
    with pytest.raises(InputError, match=message):
        run("basis", folder, contraction.replace("MIXED", "true"), *options)
    assert not list(folder.glob("*.npz"))
