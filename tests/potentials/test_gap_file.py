"""The file of a model: what is written comes back, and whatever else is in a file is told, before memory is spent."""

import copy
import io
import json
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from gap_models import some_model
from hypothesis import given
from hypothesis import strategies as st

from forceserver.cli.info import describe_model
from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.models.kernel import GapModel, SoapTerm
from forceserver.npy_files import ArrayFile, checksum, read_array
from forceserver.potentials.gap import GapPotential


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The bytes of a model: two power spectra, pair potentials, members."""
    path = tmp_path_factory.mktemp("good") / "model.npz"
    some_model().save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The bytes of the smallest model: one species, one sparse point, one feature."""
    hypers = some_model((14,), members=False).soap[0].hypers
    term = SoapTerm(hypers, np.array([[0, 0, 0, 0, 0]]), {14: np.ones((1, 1))}, {14: np.array([0.5])})
    path = tmp_path_factory.mktemp("small") / "model.npz"
    GapModel((14,), {14: -1.0}, (term,)).save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A path for files that hypothesis writes."""
    return tmp_path_factory.mktemp("models") / "model.npz"


def test_file_gives_the_same_model(tmp_path, batio3):
    model, path, frame = some_model(), tmp_path / "model.npz", Frame.from_ase(batio3)
    model.save(path)
    again = GapModel.load(path)
    assert (again.species, again.energies, again.pairs, again.summary) == (
        model.species, model.energies, model.pairs, model.summary,
    )  # fmt: skip
    before, after = (GapPotential(m, uncertainty=True).compute_one(frame) for m in (model, again))
    assert after.energy == before.energy
    np.testing.assert_array_equal(after.forces, before.forces)
    np.testing.assert_array_equal(after.extras["committee_pot"], before.extras["committee_pot"])
    assert list(tmp_path.iterdir()) == [path]


def contents(data):
    """Header and arrays."""
    with np.load(io.BytesIO(data)) as file:
        arrays = dict(file)
    return json.loads(arrays.pop("header").tobytes()), {k: v for k, v in arrays.items() if k != "checksum"}


def write(path, header, arrays, save=np.savez):
    """A file with a checksum that is right."""
    arrays = arrays | {"header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)}
    save(path, checksum=checksum(arrays), **arrays)


def points_too_narrow(header, arrays):
    arrays["soap0/points/8"] = np.ascontiguousarray(arrays["soap0/points/8"][:, :-1])


def transposed(header, arrays):
    arrays["soap0/points/8"] = arrays["soap0/points/8"].T


def columns_first(header, arrays):
    arrays["soap0/points/8"] = np.asfortranarray(arrays["soap0/points/8"])


def too_few_weights(header, arrays):
    arrays["soap1/weights/22"] = arrays["soap1/weights/22"][:-1]


def single(header, arrays):
    arrays["soap0/weights/8"] = arrays["soap0/weights/8"].astype(np.float32)


def other_end_first(header, arrays):
    arrays["soap0/weights/8"] = arrays["soap0/weights/8"].astype(">f8")


def words(header, arrays):
    arrays["soap0/weights/8"] = arrays["soap0/weights/8"].astype("U12")


def not_finite(header, arrays):
    arrays["soap0/weights/8"][3] = np.nan


def no_features(header, arrays):
    arrays["soap0/features"] = arrays["soap0/features"][:0]


def missing(header, arrays):
    del arrays["soap1/features"]


def no_points_of_one(header, arrays):
    del arrays["soap1/points/8"]


def no_term(header, arrays):
    del header["soap"][1], header["sum_species"][1], header["multispectra"][1]


def member_lost(header, arrays):
    arrays["soap0/members/56"] = arrays["soap0/members/56"][:, :7].copy()


def stranger(header, arrays):
    arrays["soap0/points/14"] = arrays["soap0/points/8"]


def extra(header, arrays):
    arrays["notes"] = np.zeros(3)


def mixing_too_short(header, arrays):
    arrays["soap0/mixing/8"] = np.zeros((2, 2, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (points_too_narrow, r"soap0/points/8: is float64 \(70, 134\), must be float64 \(70, 135\)"),
        (transposed, r"soap0/points/8: is .*must be float64"),
        (columns_first, "soap0/points/8: is .*, in Fortran order, must be"),
        (too_few_weights, r"soap1/weights/22: is float64 \(70,\), must be float64 \(71,\)"),
        (single, "soap0/weights/8: is float32 .* must be float64"),
        (other_end_first, "soap0/weights/8: is >f8"),
        (words, "soap0/weights/8: is <U12"),
        (not_finite, r"soap0/weights/8: the number at \(3,\) is nan"),
        (no_features, r"soap0/features: is int32 \(0, 5\), must be int32 \(1, 5\)"),
        (missing, "soap1/features: this array is missing"),
        (no_points_of_one, "soap1/points/8: this array is missing"),
        (no_term, "soap1/.*: no such array belongs"),
        (member_lost, r"soap0/members/56: .* must be float64 \(72, 8\)"),
        (stranger, "soap0/points/14: no such array belongs"),
        (extra, "notes: no such array belongs"),
        (mixing_too_short, r"soap0/mixing/8: is float64 \(2, 2, 3\), must be float64 \(3, 2, 3\)"),
        (lambda header, arrays: header["units"].update(energy="hartree"), "units.energy = 'hartree'.*'eV'"),
        (lambda header, arrays: header["units"].update(length="bohr"), "units.length = 'bohr'.*'angstrom'"),
        (lambda header, arrays: header.pop("units"), "units: this key is required"),
        (lambda header, arrays: header.update(version=99), "schema version 99, this program reads versions up to 5"),
        (lambda header, arrays: header.update(format="a poem"), "is not a .* but 'a poem'"),
        (lambda header, arrays: header.update(species=[8, 56, 22]), "must ascend"),
        (lambda header, arrays: header.update(species=[8, 22, 56, 57]), "energies: must be given for the species"),
        (lambda header, arrays: header["energies"].update({"8": float("nan")}), "energies.8 = nan"),
        (lambda header, arrays: header["pair_members"].pop(), "pair_members"),
        (lambda header, arrays: header["pairs"][0]["weights_ev"].pop(), "1 weights_ev for 2 distances_angstrom"),
        (lambda header, arrays: header["soap"][0].update(zeta=0), "zeta = 0"),
    ],
)  # fmt: skip
def test_wrong_content_is_told_by_name(good, tmp_path, change, message):
    """With a checksum that is right."""
    header, arrays = contents(good)
    change(header, arrays)
    write(tmp_path / "model.npz", header, arrays)
    with pytest.raises(InputError, match=rf"(?s)model .*model\.npz: .*{message}"):
        GapModel.load(tmp_path / "model.npz")


def test_features_that_do_not_exist_are_told(good, tmp_path):
    header, arrays = contents(good)
    arrays["soap0/features"][0, 0] = 7
    write(tmp_path / "model.npz", header, arrays)
    with pytest.raises(InputError, match=r"features: blocks .* must be in 0 \.\. 2"):
        GapPotential(GapModel.load(tmp_path / "model.npz"))


def test_what_cannot_be_read_is_not_written(tmp_path):
    model = some_model()
    model.soap[0].weights[8][0] = np.inf
    with pytest.raises(ValueError, match=r"soap0/weights/8: the number at \(0,\) is inf"):
        model.save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def test_checksum(good, tmp_path):
    header, arrays = contents(good)
    write(tmp_path / "model.npz", header, arrays)
    with np.load(tmp_path / "model.npz") as file:
        arrays = dict(file)
    arrays["soap0/weights/8"][3] *= 1 + 1e-15
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(InputError, match="checksum is wrong"):
        GapModel.load(tmp_path / "model.npz")
    del arrays["header"]
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(InputError, match=f"is not a {GapModel.FORMAT}"):
        GapModel.load(tmp_path / "model.npz")


@pytest.mark.parametrize("keep", [0, 10, 1000, -30])
def test_truncated_files_are_told(good, tmp_path, keep):
    path = tmp_path / "model.npz"
    path.write_bytes(good[:keep])
    with pytest.raises(InputError, match=r"model .*model\.npz: it is damaged, or not an \.npz file"):
        GapModel.load(path)


def test_a_bomb_is_not_unpacked(small, tmp_path):
    """A hundred megabytes of zeros in a hundred kilobytes."""
    header, arrays = contents(small)
    path = tmp_path / "model.npz"
    write(path, header, arrays | {"zeros": np.zeros(2**24)}, np.savez_compressed)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"is compressed \(method 8\).*numpy.savez"):
            GapModel.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def npy(shape, data=b"", descr="<f8"):
    """An array that claims a shape, and its data."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy((10**12,)), r"claims 8000000000000 bytes \(float64 \(1000000000000,\)\) and has 0"),
        (npy((-1,), bytes(8)), "claims"),
        (npy((2,), bytes(16), "|O"), "Python objects"),
        (b"\x93NUMPY\x09\x00v\x00{", "damaged|version"),
        (npy((1,), bytes(16)), "claims 8 bytes"),
        (b"", "damaged|EOF|magic"),
    ],
)
def test_arrays_that_claim_too_much(small, tmp_path, data, message):
    path = tmp_path / "model.npz"
    path.write_bytes(small)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("more.npy", data)
    with pytest.raises(InputError, match=f"more: .*({message})"):
        GapModel.load(path)
    (tmp_path / "alone.npy").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_array(tmp_path / "alone.npy")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 99])
def test_methods_of_zip(small, tmp_path, method):
    """Also one that Python does not know, in both headers of the member."""
    data, name = bytearray(small), b"soap0/features.npy"
    local, central = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    while not data[local + 30 :].startswith(name):
        local = data.index(b"PK\x03\x04", local + 1)
    while not data[central + 46 :].startswith(name):
        central = data.index(b"PK\x01\x02", central + 1)
    struct.pack_into("<H", data, local + 8, method)
    struct.pack_into("<H", data, central + 10, method)
    (tmp_path / "model.npz").write_bytes(data)
    with pytest.raises(InputError, match=rf"soap0/features: is compressed \(method {method}\)"):
        GapModel.load(tmp_path / "model.npz")


def test_members_of_other_kinds(small, tmp_path):
    path = tmp_path / "model.npz"
    for name, message in (("readme.txt", "is not an array"), ("header.npy", "header: occurs twice")):
        path.write_bytes(small)
        with zipfile.ZipFile(path, "a") as file, pytest.warns() if name == "header.npy" else io.BytesIO():
            file.writestr(name, b"hello")
        with pytest.raises(InputError, match=message):
            GapModel.load(path)


def load_or_told(path):
    """The model, or None after an error for people; any other exception is the test's failure."""
    try:
        return GapModel.load(path)
    except InputError:
        return None


@given(st.data())
def test_bytes_flipped(small, place, data):
    """Wherever a bit is, the model is the same, or an error is told."""
    changed = bytearray(small)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(small) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    place.write_bytes(changed)
    model = load_or_told(place)
    if model is not None:
        assert (model.species, model.energies, model.soap[0].weights) == ((14,), {14: -1.0}, {14: [0.5]})


@given(st.data())
def test_pieces_lost_or_doubled(small, place, data):
    first, last = sorted(data.draw(st.integers(0, len(small))) for _ in range(2))
    place.write_bytes(small[:last] + small[first:] if data.draw(st.booleans()) else small[:first] + small[last:])
    load_or_told(place)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(content):
    """Every place in nested lists and dictionaries, as (container, key)."""
    for key in list(content) if isinstance(content, dict) else range(len(content)):
        yield content, key
        if isinstance(content[key], dict | list):
            yield from places(content[key])


@given(st.data())
def test_anything_in_the_header(good, place, data):
    """With a right checksum; what is accepted can be described."""
    header, arrays = contents(good)
    header = copy.deepcopy(header)
    where = list(places(header))
    container, key = where[data.draw(st.integers(0, len(where) - 1))]
    if data.draw(st.booleans()):
        container[key] = data.draw(JSON)
    else:
        del container[key]
    write(place, header, arrays)
    model = load_or_told(place)
    if model is not None:
        assert describe_model(model)


@given(st.data())
def test_any_array_in_place_of_another(small, place, data):
    header, arrays = contents(small)
    name = data.draw(st.sampled_from(sorted(arrays)))
    kind = data.draw(st.sampled_from(["f8", "f4", "i4", "c16", "?", "U3", "S2", "M8[s]", "f8,i4"]))
    arrays[name] = np.zeros(data.draw(st.lists(st.integers(0, 3), max_size=4)), dtype=kind)
    write(place, header, arrays)
    model = load_or_told(place)
    if model is not None:
        assert model.soap[0].points[14].shape == (1, 1)


def test_array_file_keeps_what_numpy_writes(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "c": rng.random((3, 4)),
        "f": np.asfortranarray(rng.random((3, 4))),
        "one": np.array(7),
        "s": np.array("x"),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    with ArrayFile(tmp_path / "a.npz") as file:
        for name, array in arrays.items():
            np.testing.assert_array_equal(file.read(name), array)
    np.save(tmp_path / "a.npy", arrays["f"])
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), arrays["f"])
