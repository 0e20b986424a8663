"""Models of torch-sim, against their own calls and against ASE."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from batches import assert_same, build

from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.potentials.conformance import check_potential

torch = pytest.importorskip("torch")
pytest.importorskip("torch_sim", reason="needs torch-sim-atomistic, which needs Python 3.12")
pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


LENNARD_JONES = {
    "kind": "torchsim",
    "model": "torch_sim.models.lennard_jones.LennardJonesModel",
    "arguments": {"sigma": 3.4, "epsilon": 0.0104, "cutoff": 8.5, "compute_forces": True},
    "device": "cpu",
    "precision": "double",
}


def argon(seed=0, repeat=2):
    atoms = bulk("Ar", cubic=True, a=5.4).repeat(repeat)
    atoms.set_cell(atoms.cell.array @ [[1, 0.1, 0], [0, 1, 0.05], [0.02, 0, 1]], scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return Frame.from_ase(atoms)


def test_stress_is_turned_on_and_becomes_the_virial():
    """The arguments do not mention it."""
    potential = build(argon(), **LENNARD_JONES)
    result = potential.compute_one(argon())
    state = potential._constants_of([argon()])
    own = potential._model(state)
    assert result.energy == float(own["energy"][0])
    np.testing.assert_allclose(result.virial, -abs(np.linalg.det(argon().cell)) * own["stress"][0].numpy(), rtol=1e-12)
    assert abs(result.virial).max() > 0.1


def test_batches_of_several_sizes_give_what_the_frames_give():
    frames = [argon(0), argon(1), argon(2, repeat=1), argon(3)]
    potential = build(frames[0], **LENNARD_JONES)
    assert_same(potential.compute(frames), [potential.compute_one(frame) for frame in frames])


def test_clusters_need_no_cell_and_no_stress():
    frames = [Frame.from_ase(molecule("CH3CH2OH")), Frame.from_ase(molecule("H2O"))]
    potential = build(frames[0], kind="torchsim", model="torchsim_models.Wells", arguments={"k": 2.0})
    for frame, result in zip(frames, potential.compute(frames), strict=True):
        assert result.energy == pytest.approx((frame.positions**2).sum())
        np.testing.assert_allclose(result.forces, -2 * frame.positions)
        np.testing.assert_allclose(result.virial, -2 * frame.positions.T @ frame.positions)


def test_extras_have_the_shapes_of_ipi():
    """Born effective charges are (3 N, 3) there, each row the derivative of the dipole for one coordinate."""
    from torchsim_models import ANISOTROPY

    frames = [Frame.from_ase(molecule("CH3CH2OH")), Frame.from_ase(molecule("H2O"))]
    keys = {"kind": "torchsim", "model": "torchsim_models.Wells", "extras": ["dipole", "charges", "BEC"]}
    for frame, result in zip(frames, build(frames[0], **keys).compute(frames), strict=True):
        charges = (-1.0) ** np.arange(len(frame))
        np.testing.assert_array_equal(result.extras["charges"], charges)
        np.testing.assert_allclose(
            result.extras["dipole"], charges @ frame.positions @ ANISOTROPY.T.numpy(), atol=1e-14
        )
        np.testing.assert_array_equal(result.extras["BEC"], np.kron(charges[:, None], ANISOTROPY.T))


def test_an_ensemble_is_a_committee():
    frame = Frame.from_ase(molecule("H2O"))
    result = build(frame, kind="torchsim", model="torchsim_models.Members").compute_one(frame)
    np.testing.assert_allclose(result.extras["committee_pot"], result.energy * np.array([0.9, 1.0, 1.1]), rtol=1e-6)
    assert result.extras["committee_uncertainty"] == pytest.approx(0.1 * result.energy, rel=1e-6)


def test_without_stress_there_is_no_barostat(caplog):
    wells = {"kind": "torchsim", "model": "torchsim_models.Wells"}
    with pytest.raises(InputError, match=r'torchsim_models.Wells has no stress: .* stress = "zero" for simulations at'):
        build(argon(), **wells)
    with caplog.at_level(logging.WARNING):
        assert not build(argon(), **wells, stress="zero").compute_one(argon()).virial.any()
    assert "virials are zero" in caplog.text


def test_charge_and_spin_of_a_structure_reach_its_model(caplog):
    """It was given neither, and computed neutral molecules without a word."""
    keys = {"kind": "torchsim", "model": "torchsim_models.Charged"}
    plain, charged, other = (molecule("H2O") for _ in range(3))
    charged.info |= {"charge": -2, "spin": 3}
    other.info |= {"charge": 1}
    frames = [Frame.from_ase(atoms) for atoms in (plain, charged, other)]
    expected = build(frames[0], kind="torchsim", model="torchsim_models.Wells").compute_one(frames[0]).energy
    potential = build(frames[1], **keys)
    assert potential.compute_one(frames[1]).energy == expected - 20 + 3
    assert "looks for" not in caplog.text
    assert [result.energy - expected for result in potential.compute(frames)] == pytest.approx([0, -17, 10])
    assert potential.compute_one(frames[2]).energy == expected + 10
    assert "the model Charged looks for spin, which the structure does not give" in caplog.text
    caplog.clear()
    potential = build(frames[0], **keys)
    assert potential.compute_one(frames[0]).energy == expected
    assert caplog.text.count("looks for charge, spin, which") == 1
    assert "`charge=0 spin=1` in the comment line" in caplog.text


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model": "torchsim_models.no_model"}, "gives a dict, no model of torch-sim: it has no 'forward'"),
        ({"model": "torchsim_models.Nothing"}, "the module 'torchsim_models' has no 'Nothing'"),
        ({"model": "Wells"}, "is not a dotted path such as 'torch_sim.models.mace.MaceModel'"),
        ({"model": "torchsim_models.Wells", "arguments": {"depth": 1}}, r"Wells\(depth=1\) cannot be made"),
        ({"model": "torchsim_models.Wells", "device": "cuda:9"}, "device = 'cuda:9' is not there"),
        ({"model": "torchsim_models.Blind"}, "the model Blind gave no forces, only energy, .*set compute_forces"),
        ({"model": "torchsim_models.Blind", "arguments": {"rows": 2}}, r"forces of shape \(2, 3\), should be \(3, 3\)"),
    ],
)
def test_wrong_models_are_told(keys, message):
    with pytest.raises(InputError, match=message):
        build(Frame.from_ase(molecule("H2O")), kind="torchsim", **keys)


def test_the_class_of_the_page(tmp_path, monkeypatch):
    """The batched network of docs/howto/own_network.md, and that it is the ASE calculator of the same page."""
    page = (Path(__file__).parents[2] / "docs" / "howto" / "own_network.md").read_text()
    for name, text in re.findall(r'```python title="(\w+).py"\n(.*?)```', page, re.DOTALL):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    frames = [Frame.from_ase(molecule(name, cell=[20, 20, 20])) for name in ("CH3CH2OH", "H2O")]
    potential = build(frames[0], kind="torchsim", model="dimer_batches.Dimers", arguments={"k": 0.3})
    calculator = build(frames[0], kind="ase", calculator="dimers.Dimers", arguments={"k": 0.3})
    assert_same(potential.compute(frames), calculator.compute(frames))
    check_potential(potential, frames[0]).raise_on_failure()


def test_mace_behind_torch_sim():
    """Kept lists through steps that wrap atoms, against MACE's own calculator."""
    pytest.importorskip("mace", reason="needs mace-torch")
    from mace.calculators import MACECalculator
    from mace_models import cluster, mace_model, structures

    from forceserver.potentials.ase import AsePotential

    network = mace_model()
    calculator = AsePotential(MACECalculator(models=[network], device="cpu", default_dtype="float64"))
    frames = [Frame.from_ase(atoms) for atoms in structures()]
    keys = {"kind": "torchsim", "model": "torch_sim.models.mace.MaceModel", "device": "cpu", "precision": "double"}
    potential = build(frames[0], **keys, arguments={"model": network})
    random = np.random.default_rng(0)
    for step in range(3):
        assert_same(potential.compute(frames), [calculator.compute_one(frame) for frame in frames])
        for frame in frames:
            frame.positions += random.normal(scale=0.08, size=frame.positions.shape) + frame.cell[step]
    clusters = [Frame.from_ase(cluster())] * 2
    assert_same(potential.compute(clusters), [calculator.compute_one(frame) for frame in clusters])
    check_potential(potential, frames[1]).raise_on_failure()


def test_an_exported_model_behind_metatomic_torchsim(tmp_path):
    """A model of `forceserver export`, in batches of two sizes, against the same model of ours."""
    pytest.importorskip("metatomic_torchsim")
    from ace_models import some_ace

    from forceserver.export.metatomic import export_model
    from forceserver.potentials.ace import AcePotential

    model = some_ace(functions=60, order=3)
    export_model(model, tmp_path / "ace.pt")
    frames = []
    for seed in range(3):
        atoms = bulk("BaTi", "cesiumchloride", a=4.0).repeat((1, 1, 1 + seed % 2)) + bulk("O", "sc", a=4.0)
        atoms.positions[-1] += [2.0, 2.0, 0.1]
        atoms.rattle(0.05, seed=seed)
        frames.append(Frame.from_ase(atoms))
    keys = {"model": "torch_sim.models.metatomic.MetatomicModel", "arguments": {"model": str(tmp_path / "ace.pt")}}
    potential = build(frames[0], kind="torchsim", device="cpu", **keys)
    expected = [AcePotential(model).compute_one(frame) for frame in frames]
    assert_same(potential.compute(frames), expected, tolerance=1e-7)
