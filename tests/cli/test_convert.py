"""`forceserver convert`: the same numbers in one file, and what it refuses."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from typer.testing import CliRunner

from forceserver.cli.app import app
from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.potentials.model_files import load_potential

DATA = Path(__file__).parents[1] / "peers" / "data" / "librascal"


def run(*arguments):
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_converted_model_gives_the_same_bits(tmp_path):
    shutil.copy(DATA / "all_features.json", tmp_path / "model.json")
    assert str(tmp_path / "model.npz") in run(tmp_path / "model.json").stderr
    run(tmp_path / "model.npz", "-o", tmp_path / "again.npz")
    frame = Frame.from_ase(read(DATA / "structures.extxyz", 0))
    results = [load_potential(tmp_path / name).compute_one(frame) for name in ("model.json", "model.npz", "again.npz")]
    for other in results[1:]:
        assert other.energy == results[0].energy
        np.testing.assert_array_equal(other.forces, results[0].forces)


@pytest.mark.parametrize(
    ("model", "output", "message"),
    [
        ("model.json", "model.json", "model.json: the name must end in .npz"),
        ("model.json", "nowhere/model.npz", "there is no folder"),
        ("model.npz", "model.npz", "is the model itself"),
        ("other.json", "model.npz", "is not a librascal model"),
        ("missing.json", "model.npz", "missing.json"),
    ],
)
def test_what_is_refused(tmp_path, model, output, message):
    shutil.copy(DATA / "all_features.json", tmp_path / "model.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputError, match=message):
        run(tmp_path / model, "-o", tmp_path / output)
    assert not (tmp_path / "model.npz").exists()
