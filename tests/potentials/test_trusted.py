"""`kind = "trusted"`: what is passed on, what ends a simulation, and what `launch` makes of that."""

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from test_committee import MEMBERS, build

from forceserver.errors import InputError, UntrustedError
from forceserver.frame import Frame

COMMITTEE = {"kind": "committee", "members": MEMBERS, "send": "energies"}


def trusted(folder, potential=COMMITTEE, **keys):
    section = {"kind": "trusted", "potential": potential, "save_to": "uncertain.extxyz", **keys}
    return build(section, Frame.from_ase(bulk("Al", cubic=True)), folder=folder)


def frames(*sizes: float) -> list[Frame]:
    found = []
    for step, size in enumerate(sizes):
        atoms = bulk("Al", cubic=True)
        atoms.rattle(size, seed=step)
        found.append(Frame.from_ase(atoms, number=step))
    return found


def uncertainty(potential, frame: Frame) -> float:
    return potential.compute_one(frame).extras["committee_force_uncertainty"]


def test_below_the_threshold_it_is_the_potential(tmp_path):
    calm = frames(0.01, 0.02)
    plain = build(COMMITTEE, calm[0])
    ours = trusted(tmp_path, force_threshold_ev_per_angstrom=1e3)
    for mine, theirs in zip(ours.compute(calm), plain.compute(calm), strict=True):
        assert mine.energy == pytest.approx(theirs.energy, rel=1e-13)
        np.testing.assert_allclose(mine.forces, theirs.forces, atol=1e-12)
    assert not (tmp_path / "uncertain.extxyz").exists()


def test_a_structure_beyond_it_is_saved_and_nothing_is_computed(tmp_path):
    calm, wild = frames(0.01, 0.3)
    plain = build(COMMITTEE, calm)
    limits = uncertainty(plain, calm), uncertainty(plain, wild)
    ours = trusted(tmp_path, force_threshold_ev_per_angstrom=float(np.mean(limits)))
    ours.compute_one(calm)
    with pytest.raises(
        UntrustedError, match=rf"uncertain by {limits[1]:.3g} eV/Angstrom .structure 1 of this driver.*force_threshold"
    ) as told:
        ours.compute_one(wild)
    assert told.value.exit_code == 4
    saved = ase.io.read(tmp_path / "uncertain.extxyz")
    np.testing.assert_allclose(saved.positions, wild.positions, atol=1e-7)
    assert saved.info["committee_force_uncertainty"] == pytest.approx(limits[1])
    with pytest.raises(UntrustedError):
        ours.compute(frames(0.01, 0.3))  # one bead of a batch is enough


def test_looks_and_records(tmp_path):
    calm = frames(*[0.02] * 9)
    keys = {"force_threshold_ev_per_angstrom": 1e3, "check_every": 2, "record_to": "record.extxyz", "record_every": 4}
    ours = trusted(tmp_path, **keys)
    for frame in calm:
        ours.compute_one(frame)
    recorded = ase.io.read(tmp_path / "record.extxyz", ":")
    assert [atoms.info["number"] for atoms in recorded] == [4, 8], "not where it begins"
    strict = trusted(tmp_path, **{**keys, "force_threshold_ev_per_angstrom": 1e-9})
    with pytest.raises(UntrustedError):
        strict.compute_one(calm[0])
    later = trusted(tmp_path, **{**keys, "force_threshold_ev_per_angstrom": 1e-9, "first_check": 3})
    for frame in calm[:4]:  # the look at call 2 is left out
        later.compute_one(frame)
    with pytest.raises(UntrustedError):
        later.compute_one(calm[4])


def test_needs_an_uncertainty(tmp_path):
    with pytest.raises(InputError, match="gives no uncertainty of its forces"):
        trusted(tmp_path, MEMBERS[0], force_threshold_ev_per_angstrom=1.0)
    with pytest.raises(ValueError, match="record_every = 5 must be a multiple of check_every = 2"):
        trusted(tmp_path, force_threshold_ev_per_angstrom=1.0, record_to="r.xyz", record_every=5, check_every=2)
