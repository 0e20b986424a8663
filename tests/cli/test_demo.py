"""`forceserver demo` with i-PI itself: to the end, again, interrupted, killed; and what it refuses."""

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from proc import alive, descendants

from forceserver import processes
from forceserver.bias.tables import FieldsReader
from forceserver.campaign.run import GRACE_SECONDS
from forceserver.demo import batio3
from forceserver.errors import InputError
from forceserver.files import working_in

SHORT = "--ps", "0.8", "--engine", "metadynamics"
STEPS = 400


def run(folder, *options: str, timeout: float = 250) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "forceserver", "demo", "batio3", "--folder", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def start(folder, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "forceserver", "demo", "batio3", "--folder", str(folder), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def rows(path) -> np.ndarray:
    return FieldsReader(path).read()


def check_outputs(place, steps: int) -> None:
    """Both simulations are complete, with no step twice and none left out."""
    for side in ("cold", "hot"):
        folder = place / "demo" / side
        assert np.loadtxt(folder / "out.properties")[:, 0].tolist() == list(range(0, steps + 1, 25))
        np.testing.assert_allclose(rows(folder / "COLVAR")[:, 0], np.arange(0, steps + 1, 5) * 0.002, atol=1e-9)
        hills = rows(folder / "HILLS")[:, 0]
        np.testing.assert_allclose(hills, np.arange(25, steps, 25) * 0.002, atol=1e-9)


def compare(place, other) -> None:
    """The same hills and the same trajectory.

    Up to the round-off that neighbour lists of another age make; chaos makes it visible after 2 ps.
    """
    for side in ("cold", "hot"):
        for name in ("HILLS", "COLVAR"):
            mine, theirs = (rows(folder / "demo" / side / name) for folder in (place, other))
            early = theirs[:, 0] < 1.5
            np.testing.assert_allclose(mine[early], theirs[early], rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A short demo that ran to its end, and what it said."""
    folder = tmp_path_factory.mktemp("demo")
    return folder / "batio3", run(folder, *SHORT)


@pytest.mark.long
def test_to_the_end(undisturbed):
    place, done = undisturbed
    assert done.returncode == 0, done.stdout + done.stderr
    assert (place / "batio3.png").read_bytes().startswith(b"\x89PNG")
    assert (place / "result.txt").read_text() in done.stdout
    phases = json.loads((place / "result.json").read_text())
    assert [phase["name"] for phase in phases] == ["cold", "hot"]
    assert all(0 < phase["minimum_angstrom"] < 0.2 for phase in phases)
    check_outputs(place, STEPS)
    assert not list(place.rglob("force")), "no socket is left"


def test_a_line_that_is_being_written_is_no_warning_in_the_progress(tmp_path, caplog):
    """The last line of COLVAR is incomplete in every other look at it."""
    lines = ["#! FIELDS time polarization_x polarization_y polarization_z metad.rbias"]
    lines += [f"{0.01 * step:g} 0.01 0.02 {0.001 * (step % 60):g} 0.0" for step in range(200)]
    (tmp_path / "COLVAR").write_text("\n".join(lines) + "\n 2.01 0.0")
    demo = batio3.Demo(tmp_path, "metadynamics", None, {"cold": 50.0})
    assert "F(0)" in demo._estimate(SimpleNamespace(name="cold", folder=tmp_path))
    assert not caplog.records


@pytest.mark.long
def test_complete_results_are_shown_again_and_kept(undisturbed):
    place, _ = undisturbed
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    again = run(place.parent, *SHORT)
    assert again.returncode == 0
    assert "is complete; --force repeats it" in again.stdout
    assert str(place / "batio3.png") in again.stdout
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


def wait_for_steps(process, colvar, count: int) -> None:
    deadline = time.monotonic() + 200
    while not colvar.exists() or colvar.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no steps"
        time.sleep(0.01)


def an_ipi_of(process) -> int:
    """The id of an i-PI that the demo runs; it starts after files of an earlier run are there already."""
    while True:
        assert process.poll() is None, process.communicate()[0]
        for pid, command in descendants(process.pid).items():
            if "i-pi" in command:
                return pid


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at processes through /proc")


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The folder of a demo that Ctrl-C has ended after some steps."""
    folder = tmp_path_factory.mktemp("interrupted")
    first = start(folder, *SHORT)
    for side in ("cold", "hot"):  # one that has done no step begins anew, in a new folder
        wait_for_steps(first, folder / "batio3" / "demo" / side / "COLVAR", 4)
    family = descendants(first.pid)
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=60)
    assert first.returncode == 128 + signal.SIGINT
    assert "the same command resumes it" in said
    assert not any(alive(pid) for pid in family)
    assert not (folder / "batio3" / "result.json").exists()
    return folder


@pytest.mark.long
@needs_proc
def test_a_socket_in_use_is_said(interrupted):
    """The name of a socket at which somebody listens is not taken away from him."""
    with contextlib.ExitStack() as stack:  # at both: one of the two simulations may be complete
        for side in ("cold", "hot"):
            other = stack.enter_context(socket.socket(socket.AF_UNIX))
            stack.callback(os.unlink, interrupted / "batio3" / "demo" / side / "force")
            with working_in(interrupted / "batio3" / "demo" / side):  # the name of a socket must be short
                other.bind("force")
            other.listen()
        refused = run(interrupted, *SHORT)
    assert refused.returncode == 2
    assert "force exists already" in " ".join((refused.stdout + refused.stderr).split())


@pytest.mark.long
@needs_proc
def test_interrupted_and_killed_it_goes_on_with_the_same_command(interrupted, undisturbed):
    other, _ = undisturbed
    place = interrupted / "batio3"
    second = start(interrupted, *SHORT)
    wait_for_steps(second, place / "demo" / "hot" / "COLVAR", 30)
    os.kill(an_ipi_of(second), signal.SIGKILL)
    said, _ = second.communicate(timeout=60)
    if second.returncode:  # it may just have ended
        assert "failed" in said
        assert "the same command resumes it" in said

    third = run(interrupted, *SHORT)
    assert third.returncode == 0, third.stdout + third.stderr
    check_outputs(place, STEPS)
    compare(place, other)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_random_the_hills_are_those_of_an_undisturbed_run(tmp_path):
    """kill -9 of i-PI, of drivers, of both, at random moments."""
    options = ["--ps", "4", "--engine", "metadynamics"]
    done = run(tmp_path / "quiet", *options, timeout=600)
    assert done.returncode == 0, done.stderr
    dice, killed = random.Random(3), 0
    place = tmp_path / "rough" / "batio3"
    while not (place / "result.json").exists():
        demo_process = start(tmp_path / "rough", *options)
        while demo_process.poll() is None:
            time.sleep(dice.uniform(0.5, 4.0))
            if killed < 30:
                family = descendants(demo_process.pid)
                kinds = dice.choice((["i-pi"], ["forceserver drive"], ["i-pi", "forceserver drive"]))
                for pid in [pid for pid, command in family.items() if any(kind in command for kind in kinds)]:
                    if dice.random() < 0.7 and "launch" not in family[pid]:
                        killed += 1
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
        demo_process.communicate()
    assert killed >= 10
    check_outputs(place, 2000)
    compare(place, tmp_path / "quiet" / "batio3")


def test_unknown_demo(aluminium):
    refused = aluminium.run_here("demo", "carbon")
    assert refused.returncode == 2
    assert "there is no demo 'carbon'; there is batio3" in refused.stderr


def test_other_files_are_left_alone(aluminium, tmp_path):
    place = tmp_path / "d" / "batio3"
    place.mkdir(parents=True)
    (place / "thesis.txt").write_text("mine")
    for options in ((), ("--force",)):
        refused = aluminium.run_here("demo", "batio3", "--folder", tmp_path / "d", *options)
        assert refused.returncode == 2
        assert "choose another --folder" in refused.stderr
    assert (place / "thesis.txt").read_text() == "mine"


def test_a_folder_that_was_killed_while_it_was_made_is_made_again(tmp_path):
    place = tmp_path / "batio3"
    (place / "demo").mkdir(parents=True)
    (place / f".{batio3.RECORD.replace('.', '.1234.part.')}").write_text("{")
    batio3.make(place, "metadynamics", 1.0)
    assert {path.name for path in place.iterdir()} == {"potential", batio3.RECORD}
    assert json.loads((place / batio3.RECORD).read_text())["temperatures_K"] == {"cold": 50.0, "hot": 150.0}


def test_a_state_of_step_0_is_nothing_to_go_on_from(tmp_path):
    place = tmp_path / "batio3"
    batio3.make(place, "metadynamics", 1.0)
    with batio3.open_demo(place) as study:
        side, _ = study.simulations()
    for name in ("ipi.log", "HILLS", "BIAS.clock"):  # of a run that was ended in its first steps
        (side.folder / name).write_text("")
    shutil.copy(side.folder / "input.xml", side.folder / "RESTART")
    side.prepare()
    side.begin(threads=1)
    try:
        assert "--restart" not in side.process.args
        assert not any((side.folder / name).exists() for name in ("RESTART", "HILLS", "BIAS.clock"))
    finally:
        processes.end([side.process], GRACE_SECONDS)


@pytest.mark.long
def test_two_demos_in_one_folder_are_refused(aluminium, undisturbed):
    place, _ = undisturbed
    with open(place / batio3.RECORD) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for options in ((), ("--force",)):
            refused = aluminium.run_here("demo", "batio3", "--folder", place.parent, *options)
            assert refused.returncode == 2
            assert "another demo is running" in refused.stderr
    assert (place / "result.json").exists()


def test_what_is_missing_is_said_with_its_remedy(aluminium, tmp_path, monkeypatch):
    monkeypatch.setenv("PLUMED_KERNEL", "/nowhere/libplumedKernel.so")
    refused = aluminium.run_here("demo", "batio3", "--folder", tmp_path, "--engine", "plumed")
    assert refused.returncode == 2
    assert "install PLUMED" in refused.stderr
    monkeypatch.setattr(batio3, "NEEDED_BYTES", 10**18)
    with pytest.raises(InputError, match="make room, or choose another --folder"):
        batio3.check_machine(tmp_path)
    source = batio3.workflow()
    shutil.copytree(source / "demo", tmp_path / "package" / "workflows" / "batio3" / "demo")
    monkeypatch.setattr(batio3, "__file__", str(tmp_path / "package" / "demo" / "batio3.py"))
    with pytest.raises(InputError, match=r"batio3\.npz is missing; install forceserver again, or fit it"):
        batio3.workflow()
