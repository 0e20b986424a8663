"""Committees: mean, spread, the frames that are saved, and what i-PI's own committee makes of the extras."""

import json

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.units import Bohr, Hartree
from ipi.engine.forcefields import FFCommittee
from pydantic import TypeAdapter, ValidationError

from forceserver.errors import PotentialError
from forceserver.frame import Frame, Result
from forceserver.ipi.wire import decode_extras, encode_extras
from forceserver.potentials import PotentialConfig, build_potential
from forceserver.potentials.base import Potential
from forceserver.potentials.committee import CommitteePotential
from forceserver.potentials.conformance import check_potential
from forceserver.potentials.sum import SumPotential

EMT = {"kind": "ase", "calculator": "ase.calculators.emt.EMT"}
MEMBERS = [
    {
        "kind": "pair",
        "interactions": [
            {
                "form": "lennard_jones",
                "species": ["Al", "Al"],
                "epsilon_ev": epsilon,
                "sigma_angstrom": sigma,
                "cutoff_angstrom": 6.0,
                "smoothing_angstrom": 2.0,
            }
        ],
    }
    for epsilon, sigma in ((0.30, 2.5), (0.25, 2.6), (0.35, 2.55))
]


def build(section, frame, **context):
    return build_potential(TypeAdapter(PotentialConfig).validate_python(section, context=context), frame)


def committee(**keys):
    return {"kind": "committee", "members": MEMBERS, **keys}


@pytest.fixture
def frames():
    atoms = bulk("Al", cubic=True)
    atoms.set_cell(atoms.cell.array @ [[1, 0.1, 0], [0, 1, 0.05], [0.02, 0, 1]], scale_atoms=True)
    frames = []
    for seed in range(3):
        atoms.rattle(0.05, seed=seed)
        frames.append(Frame.from_ase(atoms, replica=seed, number=7))
    return frames


def test_mean_members_and_spread(frames):
    results = build(committee(), frames[0]).compute(frames)
    members = [build(member, frames[0]).compute(frames) for member in MEMBERS]
    for index, result in enumerate(results):
        energies = np.array([member[index].energy for member in members])
        forces = np.array([member[index].forces for member in members])
        virials = np.array([member[index].virial for member in members])
        assert result.energy == pytest.approx(energies.mean(), rel=1e-14)
        np.testing.assert_allclose(result.forces, forces.mean(axis=0), atol=1e-14)
        np.testing.assert_allclose(result.virial, virials.mean(axis=0), atol=1e-14)
        np.testing.assert_allclose(result.extras["committee_pot"], energies, rtol=1e-14)
        np.testing.assert_allclose(result.extras["committee_force"], forces, atol=1e-14)
        np.testing.assert_allclose(result.extras["committee_virial"], virials, atol=1e-14)
        assert result.extras["committee_uncertainty"] == pytest.approx(np.std(energies, ddof=1))
        spread = [np.sqrt(np.trace(np.cov(forces[:, atom].T))) for atom in range(len(frames[0]))]
        assert result.extras["committee_force_uncertainty"] == pytest.approx(max(spread))


def test_conformance(frames):
    check_potential(build(committee(), frames[0]), frames[0]).raise_on_failure()


def test_extras_can_be_short(frames):
    extras = build(committee(send="energies"), frames[0]).compute_one(frames[0]).extras
    assert set(extras) == {"committee_pot", "committee_uncertainty", "committee_force_uncertainty"}


def gather(result):
    """What i-PI's FFCommittee computes from one reply, read from the bytes that we send. In atomic units."""
    count = len(result.forces)
    reply = [
        result.energy / Hartree,
        (result.forces * Bohr / Hartree).ravel(),
        result.virial / Hartree,
        json.loads(encode_extras(result.extras)),
    ]
    client = type("Client", (), {"name": "driver", "release": lambda self, request: None})()
    ff = FFCommittee(fflist=[client], ffweights=np.ones(1), parse_json=True)
    request = {"pos": np.zeros(3 * count), "ff_handles": [{"result": reply}], "status": "Running"}
    ff.gather(request)
    return request["result"]


def test_ipi_reads_the_extras(frames):
    """Its means are our means and its uncertainty is ours, all in atomic units."""
    result = build(committee(), frames[0]).compute_one(frames[0])
    energy, forces, virial, extras = gather(result)
    assert energy == pytest.approx(result.energy / Hartree, rel=1e-13)
    np.testing.assert_allclose(forces.reshape(-1, 3), result.forces * Bohr / Hartree, atol=1e-14)
    np.testing.assert_allclose(virial, result.virial / Hartree, atol=1e-14)
    assert extras["committee_uncertainty"] == pytest.approx(result.extras["committee_uncertainty"] / Hartree)
    assert np.shape(extras["committee_force"]) == (3, 3 * len(result.forces))
    assert np.shape(extras["committee_virial"]) == (3, 9)


def test_the_wire_is_in_atomic_units(frames):
    extras = {**build(committee(), frames[0]).compute_one(frames[0]).extras, "dipole": [1.0, 2.0, 3.0], "model": "lj"}
    wire = decode_extras(encode_extras(extras))
    assert wire.pop("model") == extras.pop("model")
    for name, value in extras.items():
        unit = Bohr if name == "dipole" else Hartree / Bohr if "force" in name else Hartree
        np.testing.assert_allclose(wire[name], np.asarray(value) / unit, rtol=1e-14)


def test_committee_in_a_sum(frames):
    """A baseline under a committee belongs to every member: i-PI finds the sum as the mean of the members."""
    terms = [{"weight": 0.5, "potential": EMT}, {"weight": -2.0, "potential": committee()}]
    result = build({"kind": "sum", "terms": terms}, frames[0]).compute_one(frames[0])
    alone = build(committee(), frames[0]).compute_one(frames[0])
    baseline = build(EMT, frames[0]).compute_one(frames[0])
    assert result.energy == pytest.approx(0.5 * baseline.energy - 2 * alone.energy)
    energy, forces, virial, extras = gather(result)
    assert energy == pytest.approx(result.energy / Hartree, rel=1e-12)
    np.testing.assert_allclose(forces.reshape(-1, 3), result.forces * Bohr / Hartree, atol=1e-13)
    np.testing.assert_allclose(virial, result.virial / Hartree, atol=1e-13)
    assert extras["committee_uncertainty"] == pytest.approx(2 * alone.extras["committee_uncertainty"] / Hartree)
    for name in ("committee_uncertainty", "committee_force_uncertainty"):
        assert result.extras[name] == pytest.approx(2 * alone.extras[name])


@pytest.mark.parametrize("threshold", ["energy_threshold_ev", "force_threshold_ev_per_angstrom"])
def test_uncertain_frames_are_logged_and_saved(frames, tmp_path, caplog, threshold):
    name = {"energy_threshold_ev": "committee_uncertainty"}.get(threshold, "committee_force_uncertainty")
    values = [result.extras[name] for result in build(committee(), frames[0]).compute(frames)]
    between = sorted(values)[1]  # reached by two of the frames
    section = committee(**{threshold: between * (1 - 1e-9)}, save_to="uncertain.xyz", send="energies")
    potential = build(section, frames[np.argmin(values)], folder=tmp_path)
    assert not caplog.records
    results = potential.compute(frames)
    saved = ase.io.read(tmp_path / "uncertain.xyz", ":")
    expected = [index for index, value in enumerate(values) if value >= between]
    assert [atoms.info["replica"] for atoms in saved] == expected
    assert len(caplog.records) == 2
    for index, atoms, record in zip(expected, saved, caplog.records, strict=True):
        np.testing.assert_allclose(atoms.positions, frames[index].positions, atol=1e-7)
        np.testing.assert_allclose(atoms.get_forces(), results[index].forces, atol=1e-7)
        assert atoms.get_potential_energy() == pytest.approx(results[index].energy)
        assert atoms.info[name] == pytest.approx(values[index])
        assert f"structure 7 of this driver (replica {index})" in record.getMessage()


def test_saving_ends(frames, tmp_path, caplog):
    section = committee(energy_threshold_ev=1e-9, save_to="uncertain.xyz", max_saved=2)
    potential = build(section, frames[0], folder=tmp_path)
    assert not (tmp_path / "uncertain.xyz").exists()  # the template is no structure of a simulation
    for _ in range(3):
        potential.compute(frames)
    assert len(ase.io.read(tmp_path / "uncertain.xyz", ":")) == 2
    assert sum("is full" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"members": MEMBERS[:1]},
        {"save_to": "uncertain.xyz"},
        {"save_to": "uncertain.traj", "energy_threshold_ev": 1.0},
        {"energy_threshold_ev": -1.0},
        {"send": "nothing"},
        {"members": [*MEMBERS, {"kind": "pair"}]},
    ],
)
def test_wrong_sections_are_refused(changes):
    with pytest.raises(ValidationError):
        TypeAdapter(PotentialConfig).validate_python(committee(**changes))


@pytest.mark.parametrize("virial", [None, np.ones(3)], ids=["forgotten", "of three numbers"])
@pytest.mark.parametrize("combined", [CommitteePotential, lambda two: SumPotential([(1.0, one) for one in two])])
def test_a_member_whose_virial_does_not_fit_is_told(frames, combined, virial):
    class Incomplete(Potential):
        def compute_one(self, frame):
            return Result(0.0, np.zeros((len(frame), 3)), virial)

    with pytest.raises(PotentialError, match="the potential returned virial"):
        combined([build(MEMBERS[0], frames[0]), Incomplete()]).compute(frames)
