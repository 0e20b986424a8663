"""A disk that is full: nothing is half-written, nothing is written twice, nothing is killed by a signal."""

import contextlib
import os
import re
import subprocess
import sys

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from forceserver.bias.config import MetadynamicsConfig
from forceserver.bias.journal import RecentSteps
from forceserver.errors import BiasError, InputError
from forceserver.frame import Frame
from forceserver.ipi.failures import failed_evaluation
from forceserver.potentials.ase import AsePotential
from forceserver.potentials.committee import CommitteePotential

sys.path.append(os.path.join(os.path.dirname(__file__), "bias"))
from bias_case import trajectory


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "forceserver-test", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not mount a small file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place) -> None:
    """Takes the room that is left."""
    with open(place / "ballast", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_the_clock_takes_its_room_at_once(small_disk):
    """It was a sparse file: the process was killed by SIGBUS at the first page that did not fit."""
    with pytest.raises(InputError, match=r"clock needs .* MB, No space left on device; make room"):
        RecentSteps(small_disk / "clock", [("n", "i8", (8,))])
    assert not (small_disk / "clock").exists()
    RecentSteps(small_disk / "clock", [("n", "i8")], span=64).close()


def test_a_row_that_does_not_fit_is_written_once_and_its_work_counts_once(small_disk, tmp_path):
    """A retry doubled the row of COLVAR and the work of the moving restraint: 12.6955 instead of 12.5822."""

    def bias(folder):
        return MetadynamicsConfig(
            time_step_fs=0.5,
            variables=[{"name": "p"}, {"name": "q"}],
            moving_restraints=[{"variable": "p", "steps": [0, 400], "at": [-1, 1], "kappa_eV": [5, 5]}],
            clock_file=tmp_path / f"{folder.name}.clock",
            colvar_file=folder / "COLVAR",
        ).build()

    (tmp_path / "quiet").mkdir()
    quiet, disturbed = bias(tmp_path / "quiet"), bias(small_disk)
    failures = 0
    for n, s in enumerate(trajectory(300)):
        quiet.advance(s)
        if n in (40, 200):
            fill(small_disk)
        while True:
            try:
                disturbed.advance(s)
                break
            except BiasError as error:
                assert "COLVAR: No space left on device" in str(error)  # noqa: PT017
                failures += 1
                assert (small_disk / "COLVAR").read_bytes().endswith(b"\n")
                (small_disk / "ballast").unlink()
    assert failures == 2
    quiet.close()
    disturbed.close()
    assert (small_disk / "COLVAR").read_bytes() == (tmp_path / "quiet" / "COLVAR").read_bytes()
    assert np.loadtxt(small_disk / "COLVAR")[-1, -1] != 0


def test_what_a_command_writes_is_complete_or_not_there(small_disk, tmp_path):
    """And the message names the file; `init` left an empty config.toml, which the next `init` refused."""
    bulk("Al", cubic=True).write(tmp_path / "al.extxyz")
    (tmp_path / "many.extxyz").write_text((tmp_path / "al.extxyz").read_text() * 20)
    assert run("init", tmp_path / "al.extxyz", "ase.calculators.emt.EMT", "-f", tmp_path).returncode == 0
    fill(small_disk)
    for command in (
        ("init", tmp_path / "al.extxyz", "ase.calculators.emt.EMT", "-f", small_disk),
        ("evaluate", tmp_path / "config.toml", tmp_path / "many.extxyz", "-o", small_disk / "out.extxyz"),
    ):
        said = run(*command)
        assert said.returncode == 1
        assert re.fullmatch(rf"forceserver: {small_disk}/\S+: No space left on device\n", said.stderr)
        assert os.listdir(small_disk) == ["ballast"]


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "forceserver", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_uncertain_frames_that_do_not_fit_are_told_and_do_not_end_a_run(small_disk, caplog):
    frames = []
    for seed in range(3):
        atoms = bulk("Al", cubic=True) * (4, 4, 4)
        atoms.rattle(0.05, seed=seed)
        frames.append(Frame.from_ase(atoms, number=seed))
    path = small_disk / "uncertain.extxyz"
    members = [AsePotential(EMT()), AsePotential(LennardJones(sigma=2.6, rc=5.0))]
    committee = CommitteePotential(members, energy_threshold=1e-9, save_to=path, max_saved=2)
    committee.compute(frames[:1])
    fill(small_disk)
    assert len(committee.compute(frames[1:2])) == 1
    assert f"the frame is not saved: {path}: No space left on device" in caplog.text
    assert [atoms.info["number"] for atoms in ase.io.read(path, ":")] == [0]
    (small_disk / "ballast").unlink()
    committee.compute(frames[2:])
    assert [atoms.info["number"] for atoms in ase.io.read(path, ":")] == [0, 2]


def test_a_failed_frame_that_cannot_be_saved_is_told(small_disk):
    frame = Frame.from_ase(bulk("Al", cubic=True) * (4, 4, 4), number=3)
    fill(small_disk)
    message = str(failed_evaluation([frame], RuntimeError("boom"), small_disk))
    assert message.endswith(f"the structure could not be saved in {small_disk}: No space left on device")
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


@pytest.mark.long
def test_a_simulation_that_fills_the_disk_is_told(small_disk, tmp_path):
    """i-PI's traceback does not fit into its log, whose end said nothing.

    The next start waited for ever: a thread of i-PI died of its log, without a word there.
    """
    atoms = bulk("Al", cubic=True) * (4, 4, 4)
    atoms.rattle(0.05, seed=1)
    atoms.write(tmp_path / "al.extxyz")
    assert run("init", tmp_path / "al.extxyz", "ase.calculators.emt.EMT", "-f", small_disk).returncode == 0
    path = small_disk / "input.xml"
    path.write_text(path.read_text().replace("<trajectory stride='100'", "<trajectory stride='1'"))
    full = f"nothing can be written to {small_disk} (No space left on device)"
    said = run("launch", small_disk / "config.toml")
    assert said.returncode == 1
    assert f"{full}: change that and continue with --restart" in said.stderr
    states = sorted(small_disk.glob("*"))
    said = run("launch", small_disk / "config.toml", "--restart")
    assert said.returncode == 2
    assert f"{full}; nothing was started" in said.stderr
    assert sorted(small_disk.glob("*")) == states
