"""Potentials of gap_fit against QUIP's own energies, forces and stresses (data/quip, made by quip_models.py)."""

import json
import random
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import ase.io
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forceserver.ase_calculator import ForceServerCalculator
from forceserver.cli.info import describe_model
from forceserver.errors import InputError, PotentialError
from forceserver.frame import Frame
from forceserver.models.readers import gap_xml
from forceserver.potentials.conformance import check_potential
from forceserver.potentials.model_files import load_potential
from forceserver.potentials.quip import QuipConfig

DATA = Path(__file__).parent / "data" / "quip"
PREDICTIONS = json.loads((DATA / "predictions.json").read_text())
STRUCTURES = ase.io.read(DATA / "structures.extxyz", ":")


@pytest.mark.parametrize("name", PREDICTIONS)
def test_results_are_those_of_quip(name):
    compare(ForceServerCalculator.from_model(DATA / f"{name}.xml"), PREDICTIONS[name])


def test_results_are_those_of_quip_here(tmp_path):
    """Computed now: another version, another processor. In a process of its own, which QUIP may end."""
    if find_spec("quippy") is None:
        pytest.skip("quippy-ase is not installed")
    code = (
        "import json, pathlib, sys; sys.path.append(sys.argv[1]); import quip_models;"
        "pathlib.Path(sys.argv[2]).write_text(json.dumps(quip_models.predictions('fitted')))"
    )
    found = tmp_path / "found.json"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(found)]
    subprocess.run(command, cwd=DATA, check=True, stdout=subprocess.DEVNULL)
    compare(ForceServerCalculator.from_model(DATA / "fitted.xml"), json.loads(found.read_text()))


def compare(calculator, predictions):
    for atoms, expected in zip(STRUCTURES, predictions, strict=True):
        atoms.calc = calculator
        if not set(atoms.numbers) <= set(calculator.potential.model.species):
            with pytest.raises(PotentialError, match="the model knows Cu, Au only"):
                atoms.get_potential_energy()
            continue
        np.testing.assert_allclose(
            atoms.get_potential_energy() / len(atoms), expected["energy"] / len(atoms), atol=1e-7
        )
        np.testing.assert_allclose(atoms.get_forces(), expected["forces"], atol=5e-6)
        if "stress" in expected:
            np.testing.assert_allclose(atoms.get_stress(), expected["stress"], atol=1e-7)


def test_all_is_in_the_model_that_is_saved(tmp_path):
    for name in ("any_species", "before_2015", "diagonal", "with_glue"):
        potential = load_potential(DATA / f"{name}.xml")
        potential.model.save(tmp_path / "model.npz")
        frame = Frame.from_ase(STRUCTURES[1])
        result, again = potential.compute_one(frame), load_potential(tmp_path / "model.npz").compute_one(frame)
        assert again.energy == result.energy
        np.testing.assert_array_equal(again.forces, result.forces)


@pytest.mark.parametrize("name", ["two_species", "any_species", "fitted"])
def test_conformance(name):
    potential = QuipConfig(kind="quip", model=DATA / f"{name}.xml").build(Frame.from_ase(STRUCTURES[1]))
    check_potential(potential, Frame.from_ase(STRUCTURES[1])).raise_on_failure()


def test_info_tells_what_is_computed():
    lines = "\n".join(describe_model(gap_xml.load(DATA / "with_glue.xml")))
    for words in ("equispaced_gaussians", "sparse points: Au 4", "pair Cu-Au: cubic_spline", "made_by: gap_fit"):
        assert words in lines


def changed(folder, *changes, name="two_species"):
    """A copy of a potential with other words in its xml."""
    for file in DATA.glob(f"{name}.xml*"):
        shutil.copy(file, folder)
    path = folder / f"{name}.xml"
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


KEYS = "soap l_max=2"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (KEYS, "soap_turbo l_max=2", "descriptor 'soap_turbo'; only soap and distance_2b can be computed; quippy"),
        (KEYS, "angle_3b l_max=2", "descriptor 'angle_3b'"),
        (KEYS, f"{KEYS} average=T", "soap: average is not F, the only value"),
        (KEYS, f"{KEYS} Z_mix=T K=5", "Z_mix is not F"),
        (KEYS, f"{KEYS} nu_R=1", "nu_R is not 2"),
        (KEYS, f"{KEYS} radial_basis=GTO", "radial_basis is not EQUISPACED_GAUSS"),
        (KEYS, f"{KEYS} covariance_sigma0=0.1", "covariance_sigma0 is not 0"),
        (KEYS, f"{KEYS} nonsense=3", "nonsense: unknown key"),
        ("cutoff=4.2", "cutoff=4.2x", "cutoff = '4.2x'"),
        ("n_species=2", "n_species=3", r"species_Z = \(79, 29\): must be 3 different atomic numbers"),
        ("n_max=3", "n_max=2", "dimensions = 64, but its descriptor has 31"),
        ("n_max=3", "n_max=30", "n_max = 30: Input should be less than or equal to 20"),
        ('covariance_type="2"', 'covariance_type="4"', "soap: covariance_type is pp; only dot_product"),
        ('zeta="4.0000000000000000"', 'zeta="4.5"', "zeta = 4.5; only whole numbers"),
        ("IP GAP", "Sum init_args_pot1={IP LJ} init_args_pot2={IP GAP", "baseline IP LJ; only one Glue"),
    ],
)
def test_what_cannot_be_computed_is_named_with_the_remedy(old, new, message, tmp_path):
    path = changed(tmp_path, (old, new))
    with pytest.raises(InputError, match=message) as error:
        gap_xml.load(path)
    assert 'kind = "ase" (calculator = "quippy.potential.Potential"' in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('n_sparseX="4"', 'n_sparseX="5"', "n_sparseX = 5, but it has 4 elements sparseX"),
        ('alpha="', 'alpha="nan" was="', "sparseX: alpha = 'nan' is not a number|number 1 is not finite"),
        ('sparseX.two_species1"', 'sparseX.other"', "there is no file .*two_species.xml.sparseX.other; gap_fit writes"),
        ('sparseX_md5sum="', 'sparseX_md5sum="00000000000000000000000000000000" was="', "its MD5 sum differs"),
        ('n_coordinate="2"', 'n_coordinate="3"', "n_coordinate = 3, but it has 2"),
        ('fitted="T"', 'fitted="F"', "the fit was not completed"),
        ('sparsified="T"', 'sparsified="F"', "only sparse ones"),
        ("GAP_params", "SW_params", "its root is two_species, without GAP_params; a file of gap_fit has one"),
        ("</gpSparse>", "", "it is not XML"),
    ],
)
def test_a_damaged_file_is_told(old, new, message, tmp_path):
    with pytest.raises(InputError, match=message):
        gap_xml.load(changed(tmp_path, (old, new)))


def test_sparse_points_are_counted_and_finite(tmp_path):
    path = changed(tmp_path, ("sparseX_md5sum", "was"))
    points = tmp_path / "two_species.xml.sparseX.two_species1"
    whole = points.read_text().split()
    for numbers, message in (
        (whole[:-1], "has 255 numbers; n_sparseX = 4 and dimensions = 64 make 256"),
        (["nan", *whole[1:]], "number 1 is not finite"),
        (["x", *whole[1:]], "could not convert string"),
    ):
        points.write_text("\n".join(numbers))
        with pytest.raises(InputError, match=message):
            gap_xml.load(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('rho="0.0"/><point a="1.0"', 'rho="0.3"/><point a="1.0"', "an electron density"),
        ('<point rho="1.0" E="-0.5"/>', '<point rho="1.0" E="-0.7"/>', "an embedding energy that is not constant"),
        (
            '<point r="2.9" E="0.0"/>',
            '<point r="2.9" E="0.1"/>',
            "pair potential of Cu-Cu ends at 2.9 Angstrom with 0.1",
        ),
        ('num_points="5"', 'num_points="7"', "num_points = 7, but it has 5"),
        ('type2="1"', 'type2="3"', r"per_pair_data of the types \[2, 3\], but there are \[1, 2\] only"),
        ('atomic_num="29"', 'atomic_num="129"', "atomic_num = 129 is no atomic number"),
        ("Z1=29", "Z1=129", "Z1 = '129': Input should be less than or equal to 118"),
    ],
)
def test_a_glue_that_cannot_be_computed(old, new, message, tmp_path):
    with pytest.raises(InputError, match=message):
        gap_xml.load(changed(tmp_path, (old, new), name="with_glue"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return changed(tmp_path_factory.mktemp("models"), name="with_glue")


@given(st.integers(), st.sampled_from(["cut", "drop", "swap", "number"]))
def test_anything_in_any_place(place, seed, what):
    """A model that can be described, or an error for people."""
    rng = random.Random(seed)
    text = (DATA / "with_glue.xml").read_text()
    words = text.split(" ")
    k, other = rng.randrange(len(words)), rng.randrange(len(words))
    if what == "cut":
        text = text[: rng.randrange(len(text))]
    elif what == "drop":
        text = " ".join(words[:k] + words[k + 1 :])
    elif what == "swap":
        words[k], words[other] = words[other], words[k]
        text = " ".join(words)
    else:
        text = text.replace(rng.choice("0123456789"), rng.choice(["-3", "1e400", "", "x", "7"]), rng.randrange(1, 5))
    place.write_text(text)
    try:
        model = gap_xml.load(place)
    except InputError:
        return
    assert describe_model(model)
