"""`forceserver compare`: numbers, their consistency, and what it refuses."""

import json

import pytest
from ase.build import bulk, molecule
from ase.io import write
from typer.testing import CliRunner

from forceserver.cli.app import app
from forceserver.errors import InputError

CONFIG = """
[structure]
file = "in.extxyz"

[expansion]
KEYS
tolerance = 1e-6

[expansion.basis]
kind = "gto"
n_max = 3
l_max = 2
cutoff = { cutoff_angstrom = 3.5, width_angstrom = 0.5 }
density = { kind = "gaussian", sigma_angstrom = 0.4 }
"""
OPTIONS = ("--local-points", "8", "--local-tests", "10", "--jacobians", "1", "--environments", "60")


@pytest.fixture
def folder(tmp_path):
    structures = [molecule(name) for name in ("H2O", "CH3OH", "C2H6", "CH4", "H2CO", "CH3CHO") for _ in range(3)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.1, seed=seed)
    write(tmp_path / "in.extxyz", structures)
    return tmp_path


def run(folder, first, second, *options):
    for name, keys in (("a", first), ("b", second)):
        (folder / f"{name}.toml").write_text(CONFIG.replace("KEYS", keys))
    names = [str(folder / name) for name in ("a.toml", "b.toml", "in.extxyz")]
    result = CliRunner().invoke(app, ["compare", *names, *OPTIONS, *map(str, options)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_two_representations(folder):
    multi = "multispectrum = { nu = 3, n_components = 30, num_expand = 100 }"
    said = run(folder, multi, "", "-o", folder / "out.json", "--plot", folder / "out.png").stdout
    found = json.loads((folder / "out.json").read_text())
    assert found["features"]["A"]["kind"] == "multispectrum, nu = 3"
    assert found["features"]["B"] == {"kind": "power spectrum", "number": 135}
    for way in ("A -> B", "B -> A"):
        assert 0 < found["gfre"][way] < 1
        assert len(found["lfre"][way]["values"]) == 10
        assert f"{found['gfre'][way]:11.3g}" in said
    assert len(found["rigidity"]["A"]["values"]) == len(found["split"]["test"])
    (one,) = found["jacobians"]
    assert one["A"]["rank"] == one["B"]["rank"] == one["A"]["most"]
    assert "whole structures, seed 0" in said
    assert (folder / "out.png").stat().st_size > 10_000
    assert run(folder, multi, "").stdout == said


def test_kernels(folder):
    """Exponent 2 of radial features, compared with themselves."""
    radial = "power_spectrum = false"
    said = run(folder, radial, radial, "--jacobians", "0", "--zeta-a", "2", "--environments", "1000").stdout
    assert "A: coefficients, l = 0, kernel of zeta = 2, 9 features" in said
    forth, back = (float(word) for word in said.partition("GFRE")[2].split("\n")[0].split())
    assert forth < back


def test_a_set_with_few_environments(folder):
    """Local maps are fitted to all environments for training if there are fewer than asked for."""
    run(folder, "", "", "-o", folder / "out.json", "--jacobians", "0", "--local-points", "500")
    found = json.loads((folder / "out.json").read_text())
    assert found["options"]["local_points"] == len(found["split"]["train"]) < 60


def test_the_same_twice(folder):
    radial = "power_spectrum = false"
    said = run(folder, radial, radial, "--jacobians", "0", "--seed", "3", "--environments", "1000")
    errors = [float(word) for word in said.stdout.partition("GFRE")[2].split("\n")[0].split()]
    assert max(errors) < 1e-6
    assert "seed 3" in said.stdout


@pytest.mark.parametrize(
    ("first", "options", "message"),
    [
        ('centres = "H"', (), "A and B describe other atoms"),
        ("", ("-o", "out.txt"), r"--output out\.txt: the name must end in \.json"),
        ("", ("--plot", "nowhere/out.png"), "there is no folder"),
    ],
)
def test_refused(folder, first, options, message):
    with pytest.raises(InputError, match=message):
        run(folder, first, "", *options)


def test_a_perfect_crystal_has_nothing_to_compare(folder):
    write(folder / "in.extxyz", [bulk("Cu", cubic=True).repeat(2)] * 4)
    with pytest.raises(InputError, match="the features of A are the same for all environments"):
        run(folder, "", "")


def test_without_an_expansion(folder):
    (folder / "c.toml").write_text('[structure]\nfile = "in.extxyz"\n')
    arguments = [str(folder / name) for name in ("c.toml", "c.toml", "in.extxyz")]
    result = CliRunner().invoke(app, ["compare", *arguments])
    assert "section [expansion] is missing: it says which features are compared" in str(result.exception)
