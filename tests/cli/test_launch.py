"""`forceserver launch` with i-PI itself: what it returns, what it leaves behind, what it survives."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time

import ase.io
import numpy as np
import pytest
from proc import alive, children, wait_until

from forceserver.launch.slot import driver_environment

CRASHING_CALCULATOR = """
import os
import signal
from ase.calculators.emt import EMT


class Crashing(EMT):
    '''Computes the template, then dies as a segmentation fault would.'''

    calls = 0

    def calculate(self, *args, **kwargs):
        Crashing.calls += 1
        if Crashing.calls > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        super().calculate(*args, **kwargs)
"""


def drivers(pid: int) -> list[int]:
    return [child for child, command in children(pid).items() if "forceserver drive" in command]


def steps(case) -> np.ndarray:
    return np.loadtxt(case.folder / "sim.out", ndmin=2)


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at processes through /proc")


@pytest.mark.parametrize("beads", [1, 4])
def test_runs_to_the_end(aluminium, beads):
    aluminium.write_simulation(steps=20, beads=beads)
    run = aluminium.run("launch", aluminium.config, "-n", 2)
    assert run.returncode == 0, run.stderr
    assert "i-PI ended at step 20 of 20" in run.stderr
    assert "step 20 of 20" in run.stderr
    assert list(steps(aluminium)[:, 0]) == list(range(21))
    assert {path.name for path in aluminium.folder.glob("*.log")} == {"ipi.log", "driver-1.log", "driver-2.log"}
    assert not list(aluminium.folder.glob("s_*")), "a socket is left"


@pytest.mark.long
@needs_proc
def test_survives_kill_9_of_drivers_and_the_trajectory_is_the_same(aluminium):
    aluminium.write_simulation(steps=150, beads=2)
    undisturbed = aluminium.run_here("launch", aluminium.config, "-n", 2)
    assert undisturbed.returncode == 0, undisturbed.stderr
    reference = steps(aluminium)
    (aluminium.folder / "sim.out").unlink()

    launch = aluminium.start("-n", 2)
    moments = random.Random(7)
    killed = 0
    wait_until(lambda: len(aluminium.rows()) > 5)
    while launch.poll() is None and killed < 3:
        for pid in drivers(launch.pid)[:1]:
            os.kill(pid, signal.SIGKILL)
            killed += 1
        time.sleep(moments.uniform(0.05, 0.4))
    output, _ = launch.communicate(timeout=120)
    assert launch.returncode == 0, output
    assert killed > 1
    assert "(signal SIGKILL); starting another" in output
    np.testing.assert_allclose(steps(aluminium), reference, rtol=1e-7, atol=1e-7)


@needs_proc
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_everything_and_the_run_can_go_on(aluminium, number):
    aluminium.write_simulation(steps=100_000)
    launch = aluminium.start()
    wait_until(lambda: len(aluminium.rows()) > 20)
    family = children(launch.pid)
    assert len(family) == 3, "i-PI, driver, reaper"
    launch.send_signal(number)
    output, _ = launch.communicate(timeout=200)
    assert launch.returncode == 128 + number, output
    assert not any(alive(pid) for pid in family)
    done = int(steps(aluminium)[-1, 0])

    restart = (aluminium.folder / "RESTART").read_text()
    assert restart.count("100000") == 1
    (aluminium.folder / "RESTART").write_text(restart.replace("100000", str(done + 10)))
    run = aluminium.run_here("launch", aluminium.config, "--restart")
    assert run.returncode == 0, run.stderr
    assert list(steps(aluminium)[:, 0]) == list(range(done + 11)), "the output is continued, nothing twice or lost"


CHECKPOINTS = """</trajectory>
    <trajectory filename='half' stride='2' format='pdb'> positions{angstrom} </trajectory>
    <trajectory filename='ase' stride='3' format='ase'> velocities </trajectory>
    <trajectory filename='bin' stride='1' format='bin'> forces </trajectory>
    <trajectory filename='centre' stride='1' format='xyz'> x_centroid </trajectory>
    <properties stride='1' filename='late'> [ cell_h, step ] </properties>
    <properties stride='4' filename='stepless'> [ potential, cell_h ] </properties>
    <checkpoint stride='7' filename='state'/>
    <checkpoint stride='20' filename='older'/>
    <checkpoint stride='50' filename='numbered' overwrite='False'/>"""


def lines_of_outputs(case) -> dict[str, int]:
    """How much there is in each output: lines, or bytes."""
    paths = [
        path for path in case.folder.glob("sim.*") if not path.name.startswith(("sim.state", "sim.older", "sim.num"))
    ]
    return {
        path.name: len(content) if b"\0" in (content := path.read_bytes()) else content.count(b"\n") for path in paths
    }


@pytest.mark.long
@needs_proc
def test_goes_on_after_kill_9_of_ipi_from_the_newest_checkpoint(aluminium):
    def begin() -> subprocess.Popen:
        aluminium.write_simulation(steps=70, old="</trajectory>", new=CHECKPOINTS)
        text = (aluminium.folder / "input.xml").read_text()
        (aluminium.folder / "input.xml").write_text(text.replace("<simulation", "<simulation floatformat='%25.17e'"))
        return aluminium.start()

    output, _ = (launch := begin()).communicate(timeout=200)
    assert launch.returncode == 0, output
    reference, lines = steps(aluminium), lines_of_outputs(aluminium)
    assert len(lines) == 8
    for path in aluminium.folder.glob("*sim.*"):
        path.unlink()

    launch = begin()
    wait_until(lambda: len(aluminium.rows()) > 30)
    os.kill(next(pid for pid, command in children(launch.pid).items() if "i-pi" in command), signal.SIGKILL)
    launch.communicate(timeout=200)
    assert launch.returncode == 1
    with open(aluminium.folder / "sim.older", "r+") as file:  # as if i-PI had been killed while it wrote this one
        file.truncate(1000)
    (aluminium.folder / "sim.older").rename(aluminium.folder / "RESTART")
    assert not (aluminium.folder / "s_al").exists(), "i-PI's socket is left"
    run = aluminium.run_here("launch", aluminium.config, "--restart")
    assert run.returncode == 0, run.stderr
    assert list(steps(aluminium)[:, 0]) == list(range(71)), "nothing twice or lost"
    np.testing.assert_allclose(steps(aluminium), reference, rtol=1e-9, atol=1e-9)
    assert lines_of_outputs(aluminium) == lines


@pytest.mark.long
@needs_proc
def test_states_in_a_folder_of_their_own(aluminium):
    """i-PI runs where its input is, wherever the state is; and it creates no folders."""
    aluminium.write_simulation(steps=70, old="</trajectory>", new=CHECKPOINTS)
    text = (aluminium.folder / "input.xml").read_text()
    (aluminium.folder / "input.xml").write_text(text.replace("prefix='sim'", "prefix='out/sim'"))
    run = aluminium.run_here("launch", aluminium.config)
    assert run.returncode == 2
    assert f"mkdir -p {aluminium.folder / 'out'}" in " ".join(run.stdout.split())
    (aluminium.folder / "out").mkdir()
    launch, out = aluminium.start(), aluminium.folder / "out" / "sim.out"
    wait_until(lambda: out.exists() and len(out.read_text().splitlines()) > 40)
    os.kill(next(pid for pid, command in children(launch.pid).items() if "i-pi" in command), signal.SIGKILL)
    launch.communicate(timeout=200)
    assert launch.returncode == 1
    run = aluminium.run_here("launch", aluminium.config, "--restart")
    assert run.returncode == 0, run.stderr
    assert np.loadtxt(out)[:, 0].tolist() == list(range(71))


@needs_proc
def test_nothing_outlives_a_launch_that_is_killed(aluminium):
    aluminium.write_simulation(steps=100_000)
    launch = aluminium.start("-n", 2)
    wait_until(lambda: len(aluminium.rows()) > 5)
    family = children(launch.pid)
    assert len(family) == 4, "i-PI, drivers, reaper"
    launch.kill()
    launch.communicate()
    wait_until(lambda: not any(alive(pid) for pid in family), 30)


@pytest.mark.long
def test_gives_up_when_drivers_only_die(aluminium, monkeypatch):
    (aluminium.folder / "crashing.py").write_text(CRASHING_CALCULATOR)
    aluminium.write_config("ase.calculators.emt.EMT", "crashing.Crashing")
    monkeypatch.setenv("PYTHONPATH", str(aluminium.folder))
    run = aluminium.run_here("launch", aluminium.config, "--attempts", 2)
    assert run.returncode == 3
    assert "drivers died 2 times and the simulation did not advance" in run.stderr


@pytest.mark.long
def test_gives_up_when_no_driver_can_be_had_within_the_deadline(aluminium, monkeypatch):
    (aluminium.folder / "crashing.py").write_text(CRASHING_CALCULATOR)
    aluminium.write_config("ase.calculators.emt.EMT", "crashing.Crashing")
    monkeypatch.setenv("PYTHONPATH", str(aluminium.folder))
    run = aluminium.run_here("launch", aluminium.config, "--attempts", 1000, "--deadline", 2)
    assert run.returncode == 3
    assert "no driver could be started for 2 s" in run.stderr
    assert not list(aluminium.folder.glob("s_*")), "a socket is left"


def test_gives_up_at_once_when_the_driver_refuses(aluminium):
    aluminium.write_config("ase.calculators.emt.EMT", "ase.calculators.emt.ETM")
    run = aluminium.run_here("launch", aluminium.config)
    assert run.returncode == 3
    assert "driver 1 refuses (exit code 2)" in run.stderr
    assert "ETM" in run.stderr


def test_failure_of_ipi_is_the_exit_code_and_is_shown(aluminium):
    aluminium.write_simulation(old="temperature{kelvin}", new="temprature{kelvin}")
    run = aluminium.run_here("launch", aluminium.config, "--no-check")
    assert run.returncode == 1
    assert "temprature is not a recognized property" in run.stderr
    assert not list(aluminium.folder.glob("s_*")), "a socket is left, the corrected input would be refused"


def leave_unread(path: str) -> None:
    """A client that leaves with a structure unread takes i-PI's polling thread with it (a dying code, a scanner)."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(path)
        assert client.recv(12) == b"STATUS      "
        client.sendall(b"READY       ")
        client.recv(12, socket.MSG_PEEK)


@pytest.mark.long
def test_a_connection_that_breaks_ipi_costs_a_restart(aluminium, monkeypatch):
    """However often, if there is progress: a scanner that comes every night ended a simulation in the sixth."""
    monkeypatch.setattr("forceserver.launch.resuming.IPI_RESTARTS", 1)
    aluminium.write_simulation(steps=100_000, beads=2)
    log = aluminium.folder / "ipi.log"

    def disturb() -> None:
        for times in range(3):
            before = len(aluminium.rows())
            wait_until(lambda before=before: len(aluminium.rows()) > before + 5)
            if times == 2:
                os.kill(os.getpid(), signal.SIGTERM)
                return
            leave_unread(f"{aluminium.prefix}al")
            wait_until(lambda times=times: log.read_text().count("Exception in thread") > times)

    client = threading.Thread(target=disturb)
    client.start()
    run = aluminium.run_here("launch", aluminium.config)
    client.join()
    assert run.returncode == 143, run.stderr
    assert run.stderr.count("a broken connection has stopped i-PI") == 2
    assert "continuing from RESTART, step" in run.stderr
    rows = steps(aluminium)[:, 0]
    assert list(rows) == list(range(len(rows))), "nothing twice or lost"


def test_an_ipi_that_breaks_again_and_again_is_given_up(aluminium, monkeypatch):
    monkeypatch.setattr("forceserver.launch.resuming.IPI_RESTARTS", 1)
    aluminium.write_simulation(steps=10)
    done = threading.Event()

    def disturb() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError, AssertionError):
                leave_unread(f"{aluminium.prefix}al")
            done.wait(0.05)

    monkeypatch.chdir(aluminium.folder)
    clients = threading.Thread(target=disturb)
    clients.start()
    try:
        run = aluminium.run_here("launch", aluminium.config, "-n", 0)
    finally:
        done.set()
        clients.join()
    assert run.returncode == 1, run.stderr
    assert "restart 1 of at most 1 without progress" in run.stderr
    assert "ConnectionResetError" in run.stderr


def test_a_stop_by_a_file_exit_is_no_failure(aluminium):
    aluminium.write_simulation(steps=100_000)
    launch = aluminium.start()
    wait_until(lambda: len(aluminium.rows()) > 5)
    (aluminium.folder / "EXIT").touch()
    output, _ = launch.communicate(timeout=200)
    assert launch.returncode == 0, output
    assert f"i-PI ended at step {int(steps(aluminium)[-1, 0])} of 100000" in output


def test_earlier_results_are_kept(aluminium):
    assert aluminium.run_here("launch", aluminium.config).returncode == 0
    first = (aluminium.folder / "sim.out").read_text()
    assert aluminium.run_here("launch", aluminium.config).returncode == 0
    assert (aluminium.folder / "#sim.out#0#").read_text() == first
    assert (aluminium.folder / "ipi.log").read_text().count("I-PI reports success") == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('input = "input.xml"', 'input = "absent.xml"', "there is no file"),
        ('[simulation]\ninput = "input.xml"', "", "section [simulation] is missing"),
        ('address = "al"', 'address = "la"', "but i-PI listens"),
    ],
)
def test_bad_input_starts_nothing(aluminium, old, new, message):
    aluminium.write_config(old, new)
    run = aluminium.run_here("launch", aluminium.config)
    assert run.returncode == 2
    assert message in " ".join((run.stdout + run.stderr).split())
    assert not list(aluminium.folder.glob("*.log"))


def test_what_check_finds_can_be_overruled(aluminium):
    """31 atoms where i-PI sends 32: refused, or with --no-check left to the driver, which refuses it too."""
    atoms = ase.io.read(aluminium.folder / "al.extxyz")
    atoms[:-1].write(aluminium.folder / "template.extxyz")
    aluminium.write_config('file = "al.extxyz"', 'file = "template.extxyz"')
    run = aluminium.run_here("launch", aluminium.config)
    assert run.returncode == 2
    assert "nothing was started; --no-check starts it" in run.stderr
    assert not (aluminium.folder / "ipi.log").exists()
    run = aluminium.run_here("launch", aluminium.config, "--no-check", "--deadline", "20")
    assert run.returncode != 0
    assert "started all the same" in run.stderr
    assert (aluminium.folder / "driver-1.log").exists()


def test_restart_without_a_file_is_refused(aluminium):
    run = aluminium.run_here("launch", aluminium.config, "--restart")
    assert run.returncode == 2
    assert "nothing to continue from" in run.stderr


def test_cores_are_divided_among_drivers(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(9))
    assert driver_environment({}, drivers=1, threads=None) == {"OMP_NUM_THREADS": "8"}
    assert driver_environment({}, drivers=3, threads=None) == {"OMP_NUM_THREADS": "2"}
    assert driver_environment({}, drivers=100, threads=None) == {"OMP_NUM_THREADS": "1"}
    assert driver_environment({"OMP_NUM_THREADS": "3"}, drivers=1, threads=None) == {"OMP_NUM_THREADS": "3"}
    assert driver_environment({"OMP_NUM_THREADS": "3"}, drivers=1, threads=2) == {"OMP_NUM_THREADS": "2"}


@pytest.mark.long
def test_a_second_launch_sets_all_states_aside(aluminium):
    """Of checkpoints of which one is called as the other with an ending: one was renamed twice, in a traceback."""
    names = ("checkpoint", "checkpoint_older")
    checkpoints = "".join(f"<checkpoint stride='2' filename='{name}'/>" for name in names)
    aluminium.write_simulation(old="</properties>", new=f"</properties>{checkpoints}")
    for _ in range(2):
        done = aluminium.run_here("launch", aluminium.config)
        assert done.returncode == 0, done.stderr
    for name in names:
        assert (aluminium.folder / f"sim.{name}").is_file()
        assert len(list(aluminium.folder.glob(f"#sim.{name}#*"))) == 1
