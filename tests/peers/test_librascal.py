"""Models of librascal against its own predictions (data/librascal, made by librascal_models.py)."""

import json
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.stress import voigt_6_to_full_3x3_stress
from hypothesis import given
from hypothesis import strategies as st

from forceserver.ase_calculator import ForceServerCalculator
from forceserver.cli.info import describe_model
from forceserver.errors import InputError
from forceserver.models.kernel import GapModel
from forceserver.models.readers import librascal

DATA = Path(__file__).parent / "data" / "librascal"
PREDICTIONS = json.loads((DATA / "predictions.json").read_text())


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_are_those_of_librascal(name, native, tmp_path):
    path = DATA / f"{name}.json"
    if native:
        librascal.load(path).save(tmp_path / "model.npz")
        path = tmp_path / "model.npz"
    calculator = ForceServerCalculator.from_model(path)
    for atoms, expected in zip(ase.io.read(DATA / "structures.extxyz", ":"), PREDICTIONS[name], strict=True):
        atoms.calc = calculator
        stress = voigt_6_to_full_3x3_stress(expected["stress"])
        close(atoms.get_potential_energy(), expected["energy"], 1e-8)
        close(atoms.get_forces(), expected["forces"], 3e-7)
        close(atoms.get_stress(voigt=False), stress, 3e-7)


def close(ours, theirs, tolerance):
    """Relative to the largest; librascal's own splines and 1F1 are good to this."""
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


def changed(path, **changes):
    """The content of a model with other arguments somewhere in it."""
    text = (DATA / "all_features.json").read_text()
    for key, value in changes.items():
        text, count = re.subn(rf'"{key}": [^,}}\]]+', f'"{key}": {json.dumps(value)}', text)
        assert count
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radial_basis": "DVR"}, "radial_basis = 'DVR'; only 'GTO'"),
        ({"soap_type": "BiSpectrum"}, "soap_type"),
        ({"cutoff_function_type": "Step"}, "cutoff_function_type"),
        ({"target_type": "Atom"}, "target_type"),
        ({"length": "Bohr"}, "length = 'Bohr'"),
        ({"gaussian_sigma_constant": -0.5}, "sigma"),
        ({"class_name": "KRR2"}, "a KRR is expected"),
        ({"zeta": 0}, "zeta"),
    ],
)
def test_what_has_no_counterpart_is_refused(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        librascal.load(changed(tmp_path / "model.json", **changes))


def test_weights_are_counted(tmp_path):
    content = json.loads((DATA / "all_features.json").read_text())
    content["init_params"]["weights"][1].pop()
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="4 weights for 5 sparse points"):
        librascal.load(tmp_path / "model.json")


def test_large_arrays_are_in_files_of_their_own(tmp_path):
    content = json.loads((DATA / "all_features.json").read_text())
    np.save(tmp_path / "model-krr-weights.npy", np.array(content["init_params"]["weights"][1]))
    content["init_params"]["weights"] = "model-krr-weights.npy"
    (tmp_path / "model.json").write_text(json.dumps(content))
    model, other = librascal.load(tmp_path / "model.json"), librascal.load(DATA / "all_features.json")
    for species, weights in other.soap[0].weights.items():
        np.testing.assert_array_equal(model.soap[0].weights[species], weights)


@pytest.mark.parametrize("text", ["{", "[]", '{"class_name": "KRR"}'])
def test_other_files_are_refused(text, tmp_path):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(InputError, match="is not a librascal model that can be read"):
        librascal.load(tmp_path / "model.json")


def test_file_keeps_everything(tmp_path):
    model = librascal.load(DATA / "mixed_radial.json")
    model.save(tmp_path / "model.npz")
    again = GapModel.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.soap[0].multiplicity, model.soap[0].multiplicity)
    for species, mixing in model.soap[0].mixing.items():
        np.testing.assert_array_equal(again.soap[0].mixing[species], mixing)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("models") / "model.json"


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just([]) | st.just({})


@given(st.data())
def test_anything_in_any_place(place, data):
    """A model that can be described, or an error for people."""
    content = json.loads((DATA / "mixed_radial.json").read_text())
    for _ in range(data.draw(st.integers(1, 2))):
        here, key = {"": content}, ""
        while isinstance(here[key], dict | list) and here[key] and data.draw(st.integers(0, 7)):
            here = here[key]
            key = data.draw(st.sampled_from(sorted(here))) if isinstance(here, dict) else data.draw(
                st.integers(0, len(here) - 1)
            )  # fmt: skip
        here[key] = data.draw(ANYTHING)
    place.write_text(json.dumps(content))
    try:
        model = librascal.load(place)
    except InputError:
        return
    assert describe_model(model)


def test_weights_that_are_not_finite(tmp_path):
    content = json.loads((DATA / "all_features.json").read_text())
    content["init_params"]["weights"][1][2] = float("nan")
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"soap0/weights/\d+: the number at .* is nan"):
        librascal.load(tmp_path / "model.json")


def test_weights_in_a_file_that_claims_too_much(tmp_path):
    content = json.loads((DATA / "all_features.json").read_text())
    content["init_params"]["weights"] = "weights.npy"
    (tmp_path / "model.json").write_text(json.dumps(content))
    with open(tmp_path / "weights.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with pytest.raises(InputError, match="claims 8000000000000 bytes"):
        librascal.load(tmp_path / "model.json")
