"""The shipped model of barium titanate: what it promises, and that its fit can be repeated."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from forceserver.ase_calculator import ForceServerCalculator
from forceserver.cli.app import app
from forceserver.models.kernel import GapModel

FOLDER = Path(__file__).parents[2] / "workflows" / "batio3"
MODEL = FOLDER / "potential" / "batio3.npz"


@pytest.fixture(scope="module")
def validate():
    spec = importlib.util.spec_from_file_location("batio3_validate", FOLDER / "potential" / "validate.py")
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.fixture
def calculator():
    return ForceServerCalculator.from_model(MODEL)


def test_results_are_those_of_the_shipped_model(validate):
    results = json.loads((FOLDER / "potential" / "results" / "validation.json").read_text())
    assert results["model_sha256"] == hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert MODEL.stat().st_size < 5e6
    errors = validate.errors(GapModel.load(MODEL))["test"]["(all)"]
    assert errors == pytest.approx(results["errors"]["test"]["(all)"], rel=1e-3)
    assert errors["energy per atom (meV)"] < 1.0
    assert errors["force component (meV/Å)"] < 60


def test_double_wells_are_as_deep_as_in_the_reference(validate, calculator):
    wells = validate.wells(calculator)
    for well in wells.values():
        assert well["depth"] == pytest.approx(well["reference_depth"], rel=0.15)
        assert well["amplitude"] == pytest.approx(well["reference_amplitude"], abs=0.01)
    assert wells["111"]["depth"] < wells["011"]["depth"] < wells["001"]["depth"] < -5


def test_evaluate_says_how_many_errors_are_within_the_uncertainty(tmp_path):
    """As the page of the model does, which was made before there was a calibration."""
    config = tmp_path / "forceserver.toml"
    test = FOLDER / "data" / "test.extxyz"
    template = FOLDER / "structures" / "rhombohedral_2.extxyz"
    config.write_text(
        f'[structure]\nfile = "{template}"\n[potential]\nkind = "gap"\nmodel = "{MODEL}"\nuncertainty = true\n'
    )
    done = CliRunner().invoke(app, ["evaluate", str(config), str(test)])
    assert done.exit_code == 0, done.output
    said = re.search(r"(\d+) % of 46 energy errors are within one standard deviation, (\d+) % within two", done.output)
    page = " ".join((FOLDER / "potential" / "README.md").read_text().split())
    assert f"{said[1]} % of the test errors are within one" in page
    assert f"{said[2]} % within two" in page
    assert "not calibrated" in CliRunner().invoke(app, ["info", str(MODEL)]).output


def test_structures_of_the_split_differ(validate):
    train, test = (
        {tuple(np.round(atoms.positions.ravel(), 6)) for atoms in validate.read(FOLDER / "data" / name, ":")}
        for name in ("train.extxyz", "test.extxyz")
    )
    assert train
    assert test
    assert not train & test


@pytest.mark.slow
def test_phases_and_their_stability(validate, calculator):
    at_rest = validate.phases(calculator)
    reference = {atoms.info["phase"]: atoms for atoms in validate.read(validate.REFERENCE, ":")}
    phases = validate.describe(at_rest, reference)
    for phase in phases.values():
        assert phase["below_cubic"] == pytest.approx(phase["below_cubic_pbesol"], abs=1.5)
    assert phases["cubic"]["lengths"][0] == pytest.approx(3.984, abs=0.005)  # of the calculations at nine volumes
    depth = [phases[name]["below_cubic"] for name in validate.PHASES]
    assert depth == sorted(depth)
    assert phases["tetragonal"]["lengths"][2] > phases["tetragonal"]["lengths"][0] + 0.03
    assert phases["rhombohedral"]["angles"][0] < 89.95
    cubic = at_rest["cubic"]
    gamma, _, _, r = validate.phonons(cubic, calculator, np.array(list(validate.POINTS.values())))
    assert (gamma[:3] < -100).all()
    assert (r > 0).all()
    assert validate.phonons(at_rest["rhombohedral"], calculator, validate.mesh()[1:]).min() > 20


@pytest.mark.slow
def test_crystal_stays_a_crystal_at_constant_pressure_and_500_kelvin(validate, calculator):
    atoms = validate.thermal_run(calculator, temperature=500, picoseconds=10)
    lengths, angles = atoms.cell.lengths() / 2, atoms.cell.angles()
    assert lengths.min() > 3.8
    assert lengths.max() < 4.3
    assert abs(angles - 90).max() < 5


@pytest.mark.slow
def test_fit_repeats_bit_for_bit(tmp_path, calculator, validate):
    digests = []
    for name in ("first", "second"):
        shutil.copytree(FOLDER / "data", tmp_path / name / "data")
        (tmp_path / name / "potential").mkdir()
        shutil.copy(FOLDER / "potential" / "fit.toml", tmp_path / name / "potential")
        subprocess.run(
            [sys.executable, "-m", "forceserver", "fit", "fit.toml"],
            cwd=tmp_path / name / "potential",
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            check=True,
            capture_output=True,
        )
        digests.append(hashlib.sha256((tmp_path / name / "potential" / "batio3.npz").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    again = ForceServerCalculator.from_model(tmp_path / "first" / "potential" / "batio3.npz")
    for atoms in validate.read(FOLDER / "data" / "test.extxyz", ":"):  # on any processor, with any BLAS
        energy, other = calculator.get_potential_energy(atoms), again.get_potential_energy(atoms)
        assert abs(energy - other) / len(atoms) < 5e-5
