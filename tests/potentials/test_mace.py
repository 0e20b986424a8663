"""Networks of MACE in batches, against MACE's own ASE calculator."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT
from batches import assert_same, build

from forceserver.errors import InputError, PotentialError
from forceserver.frame import Frame
from forceserver.potentials.ase import AseConfig, AsePotential, as_potential
from forceserver.potentials.conformance import check_potential
from forceserver.potentials.portions import Portions

torch = pytest.importorskip("torch")
pytest.importorskip("mace", reason="needs mace-torch")
pytestmark = pytest.mark.torch

from mace.calculators import MACECalculator  # noqa: E402
from mace.modules import AtomicDipolesMACE  # noqa: E402
from mace_models import cluster, dipole_model, mace_model, structures  # noqa: E402

from forceserver.potentials.mace import MacePotential  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network():
    return mace_model()


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("mace") / "ethanol.model"
    torch.save(network, path)
    return path


def one_by_one(models, frames):
    calculator = AsePotential(MACECalculator(models=models, device="cpu", default_dtype="float64"))
    return [calculator.compute_one(frame) for frame in frames]


@pytest.mark.parametrize("atoms", [structures(), [cluster(), cluster()]], ids=["periodic", "cluster"])
def test_a_batch_gives_what_the_calculator_gives_one_by_one(network, atoms):
    """Triclinic cells, atoms outside, images of an atom as its neighbours, several sizes; no cell at all."""
    frames = [Frame.from_ase(each) for each in atoms]
    assert_same(MacePotential([network]).compute(frames), one_by_one([network], frames))


def test_lists_that_are_kept_give_what_new_ones_give(network):
    """Over steps that move atoms through the skin, wrap them and deform the cell, in batches of changing size."""
    frame = Frame.from_ase(structures()[0])
    kept, random = MacePotential([network]), np.random.default_rng(0)
    for step in range(6):
        frame.positions += random.normal(scale=0.08, size=frame.positions.shape)
        frame.positions[step] += frame.cell[step % 3]
        frame.cell = frame.cell @ (np.eye(3) + random.normal(scale=0.004, size=(3, 3)))
        frames = [frame] * (1 + step % 3)
        assert_same(kept.compute(frames), MacePotential([network]).compute(frames))


@pytest.mark.parametrize("atoms", [structures()[1], cluster()], ids=["periodic", "cluster"])
def test_conformance(network, atoms):
    check_potential(MacePotential([network]), Frame.from_ase(atoms)).raise_on_failure()


def test_single_precision(file):
    frame = Frame.from_ase(structures()[0])
    single = build(frame, kind="mace", model=file, device="cpu", precision="single").compute_one(frame)
    double = build(frame, kind="mace", model=file, device="cpu").compute_one(frame)
    assert 0 < abs(single.forces - double.forces).max() < 1e-4


def test_a_batch_is_one_call(network):
    calls, frame = [], Frame.from_ase(cluster())
    potential = MacePotential([network])
    handle = network.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0]["ptr"]) - 1))
    potential.compute([frame] * 4)
    handle.remove()
    assert calls == [4]


def test_several_models_are_a_committee(tmp_path):
    models = [mace_model(seed=seed) for seed in range(2)]
    files = [tmp_path / f"{number}.model" for number in range(2)]
    for model, path in zip(models, files, strict=True):
        torch.save(model, path)
    frames = [Frame.from_ase(each) for each in structures()]
    results = build(frames[0], kind="mace", model=files, device="cpu").compute(frames)
    assert_same(results, one_by_one(models, frames))
    for result, *members in zip(results, *(MacePotential([model]).compute(frames) for model in models), strict=True):
        np.testing.assert_allclose(result.extras["committee_pot"], [member.energy for member in members], atol=1e-12)
        np.testing.assert_allclose(result.extras["committee_virial"], [member.virial for member in members], atol=1e-9)


def test_heads(tmp_path):
    frame = Frame.from_ase(cluster())
    path = tmp_path / "two.model"
    torch.save(mace_model(heads=("pbe", "ccsd")), path)
    with pytest.raises(InputError, match="needs head = one of pbe, ccsd"):
        build(frame, kind="mace", model=path, device="cpu")
    with pytest.raises(InputError, match="has no head 'r2scan'; it has pbe, ccsd"):
        build(frame, kind="mace", model=path, device="cpu", head="r2scan")
    result = build(frame, kind="mace", model=path, device="cpu", head="ccsd").compute_one(frame)
    own = AsePotential(MACECalculator(str(path), device="cpu", default_dtype="float64", head="ccsd"))
    assert_same([result], [own.compute_one(frame)])


def test_extras_are_those_of_each_structure(network):
    frames = [Frame.from_ase(each) for each in structures()]
    results = MacePotential([network], extras=["node_energy", "interaction_energy"]).compute(frames)
    for frame, result in zip(frames, results, strict=True):
        assert result.extras["node_energy"].shape == (len(frame),)
        assert result.extras["node_energy"].sum() == pytest.approx(result.energy)
        assert result.extras["interaction_energy"] == pytest.approx(result.energy + frame.species.sum())
    with pytest.raises(PotentialError, match=r"no output 'dipole' for the extras; it has energy, node_energy"):
        MacePotential([network], extras=["dipole"]).compute(frames)


def test_dipoles_of_a_model_that_has_them():
    frames = [Frame.from_ase(each) for each in structures()]
    network = dipole_model()
    calculator = MACECalculator(models=[network], device="cpu", default_dtype="float64", model_type="EnergyDipoleMACE")
    own = [AsePotential(calculator, extras=["dipole"]).compute_one(frame) for frame in frames]
    results = MacePotential([network], extras=["dipole"]).compute(frames)
    assert_same(results, own)
    for result, other in zip(results, own, strict=True):
        np.testing.assert_allclose(result.extras["dipole"], other.extras["dipole"], atol=1e-12)
    assert abs(results[2].extras["dipole"]).max() > 1e-3


def test_a_model_without_energies_is_refused():
    network = dipole_model(AtomicDipolesMACE, None)
    with pytest.raises(
        InputError, match=r"a model AtomicDipolesMACE needs inputs .* kind = 'torchsim', model = 'torch_sim"
    ):
        MacePotential([network])


def test_wrong_models_are_told(file, tmp_path):
    frame = Frame.from_ase(structures()[0])
    other = Frame(frame.positions, frame.cell, np.full(len(frame), 14, dtype=np.int32))
    with pytest.raises(InputError, match=r"ethanol.model'.* does not know the species Si; it knows H, C, O"):
        build(other, kind="mace", model=file, device="cpu")
    with pytest.raises(InputError, match=r"device = 'cuda:7' is not there: .*finds cpu"):
        build(frame, kind="mace", model=file, device="cuda:7")
    with pytest.raises(InputError, match="device = 'gpu' is not there"):
        build(frame, kind="mace", model=file, device="gpu")
    broken = tmp_path / "broken.model"
    broken.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cannot read the MACE model .*broken.model"):
        build(frame, kind="mace", model=broken, device="cpu")
    torch.save({"weights": 1}, broken)
    with pytest.raises(InputError, match="holds a dict, not a MACE model"):
        build(frame, kind="mace", model=broken, device="cpu")
    torch.save(mace_model(cutoff=4.0), broken)
    with pytest.raises(InputError, match="must have the same cutoff"):
        build(frame, kind="mace", model=[file, broken], device="cpu")


def test_the_calculator_of_mace_is_batched_by_itself(file):
    frames = [Frame.from_ase(each) for each in structures()]
    arguments = {"model_paths": str(file), "device": "cpu", "default_dtype": "float64"}
    config = {"kind": "ase", "calculator": "mace.calculators.MACECalculator", "arguments": arguments}
    potential = build(frames[0], **config)
    assert isinstance(potential, MacePotential)
    calculator = MACECalculator(**arguments)
    assert_same(potential.compute(frames), [AsePotential(calculator).compute_one(frame) for frame in frames])
    assert isinstance(as_potential(calculator), MacePotential)
    assert isinstance(AseConfig.model_validate(config | {"extras": ["node_energy"]}).build(frames[0]), AsePotential)
    calculator.energy_units_to_eV = 27.2
    assert isinstance(as_potential(calculator), AsePotential)


def test_a_calculator_that_is_not_batched_says_how_once(caplog):
    from ase.build import bulk

    frames = [Frame.from_ase(bulk("Al"))] * 3
    potential = AsePotential(EMT())
    with caplog.at_level(logging.INFO):
        potential.compute(frames[:1])
        assert not caplog.records
        potential.compute(frames)
        potential.compute(frames)
    (record,) = caplog.records
    assert "EMT computes the beads of a batch one by one" in record.message
    assert 'kind = "torchsim"' in record.message


def test_out_of_memory_makes_smaller_batches_and_is_said_once(network, caplog):
    """The device of this test holds three structures; torch's own error is what it raises."""
    frames = [Frame.from_ase(cluster()) for _ in range(8)]
    for seed, frame in enumerate(frames):
        frame.positions = frame.positions + np.random.default_rng(seed).normal(scale=0.02, size=(9, 3))
    potential, sizes = MacePotential([network]), []

    def small_device(module, inputs):
        sizes.append(len(inputs[0]["ptr"]) - 1)
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    expected = potential.compute(frames)
    handle = network.register_forward_pre_hook(small_device)
    with caplog.at_level(logging.WARNING):
        assert_same(potential.compute(frames), expected)
        assert_same(potential.compute(frames), expected)
    handle.remove()
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    (record,) = caplog.records
    assert (
        "batches of 8 structures do not fit into the memory of cpu: at most 2 are computed together" in record.message
    )


@pytest.mark.slow
def test_memory_that_is_really_exhausted(file):
    """A process that may not have more address space: batches get smaller until one fits."""
    script = """
import resource, sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from mace.modules import AtomicDipolesMACE  # noqa: E402
from mace_models import cluster
from forceserver.frame import Frame
from forceserver.potentials import portions
from forceserver.potentials.mace import MacePotential, read_model
portions.CACHED_ATOMS = 1 << 30
potential = MacePotential([read_model(sys.argv[2], "cpu")])
frames = [Frame.from_ase(cluster()) for _ in range(256)]
expected = potential.compute_one(frames[0]).energy
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 120_000_000,) * 2)
results = potential.compute(frames)
assert all(abs(result.energy - expected) < 1e-9 for result in results) and len(results) == 256
print("at most", potential._portions._largest)
"""
    command = [sys.executable, "-W", "ignore", "-c", script, Path(__file__).parent, file]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] in {"1", "2", "4", "8", "16", "32", "64", "128"}
    assert "batches of 256 structures do not fit" in done.stderr


def test_a_structure_that_does_not_fit_is_an_error():
    def full(frames, place):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

    with pytest.raises(PotentialError, match="one structure of 9 atoms does not fit into the memory of cuda:0"):
        Portions("cuda:0").compute(full, [Frame.from_ase(cluster())] * 2)


@pytest.mark.parametrize(("device", "sizes"), [("cpu", [10, 10, 10, 10]), ("cuda:0", [40])])
def test_a_processor_gets_what_stays_in_its_cache(device, sizes):
    """100 atoms for each thread: forty molecules of nine atoms come in even portions."""
    asked = []

    def computed(frames, place):
        asked.append((place, len(frames)))
        return [place + k for k in range(len(frames))]

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert Portions(device).compute(computed, [Frame.from_ase(cluster())] * 40) == list(range(40))
    finally:
        torch.set_num_threads(before)
    assert [size for _, size in asked] == sizes


def test_other_errors_pass_through_unchanged(network):
    frames = [Frame.from_ase(cluster()) for _ in range(2)]
    frames[1].positions[3] = np.nan
    with pytest.raises(ValueError, match="positions: must be finite, but atom 3 is at"):
        MacePotential([network]).compute(frames)
