"""`forceserver launch` beside other runs, and with drivers that hang: nothing of others is touched, nothing is lost."""

import contextlib
import errno
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from proc import alive, descendants, wait_until

from forceserver.errors import InputError
from forceserver.ipi.activity import Activity, shared_page
from forceserver.ipi.addresses import clients_at, free_port
from forceserver.ipi.input import read_ipi_input
from forceserver.ipi.restart import newest_state, state_to_continue_from
from forceserver.launch.logs import Said
from forceserver.launch.plan import Plan
from forceserver.launch.reaper import Reaper
from forceserver.launch.sources import Sources
from forceserver.launch.steps import Patience, StepReader
from forceserver.launch.supervision import Supervisor
from forceserver.locks import FOLDER_LOCK

HANGING_CALCULATOR = """
import os
import signal
import time
from pathlib import Path

from ase.calculators.emt import EMT

CHILDREN = Path(__file__).with_name("children")


class Hanging(EMT):
    '''Computes some structures, then forks and hangs in code that no signal interrupts.'''

    calls = 0

    def calculate(self, *args, **kwargs):
        Hanging.calls += 1
        if Hanging.calls > int(os.environ.get("HANG_AFTER", 6)) and not Path(__file__).with_name("healed").exists():
            if child := os.fork():
                with open(CHILDREN, "a") as file:
                    file.write(f"{child}\\n")
            if "HANG_ONCE" in os.environ:
                Path(__file__).with_name("healed").touch()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
            time.sleep(1000)
        super().calculate(*args, **kwargs)
"""

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at processes through /proc")


def use_port(case, port: int, address: str = "localhost", host: str = "localhost", steps: int = 100_000) -> None:
    case.write_config(
        'mode = "unix"\naddress = "al"\nprefix = "', f'mode = "inet"\naddress = "{host}"\nport = {port} # '
    )
    where = f"<address>{address}</address><port>{port}</port><latency>0</latency>"
    case.write_simulation(steps=steps, forcefield=f"<ffsocket name='al' mode='inet'>{where}</ffsocket>")


@pytest.fixture
def listener():
    """Somebody else's server."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0)
        yield server


def nobody_came(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return True
    return False


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_starts_nothing(aluminium, listener, address):
    port = listener.getsockname()[1]
    use_port(aluminium, port, address)
    run = aluminium.run_here("launch", aluminium.config)
    assert run.returncode == 2
    assert f"port {port} is in use" in run.stdout + run.stderr
    assert "choose another (free now: " in run.stdout + run.stderr
    assert not list(aluminium.folder.glob("*.log"))
    assert not (aluminium.folder / FOLDER_LOCK).exists()
    assert nobody_came(listener)


@pytest.mark.parametrize(
    ("address", "words"),
    [("no.such.host.invalid", "cannot be found"), ("192.0.2.1", "is not an address of this machine")],
)
def test_an_address_that_is_not_here_starts_nothing(aluminium, address, words):
    use_port(aluminium, free_port(), address)
    run = aluminium.run_here("launch", aluminium.config)
    assert run.returncode == 2
    assert words in run.stdout + run.stderr
    assert not list(aluminium.folder.glob("*.log"))


def test_no_driver_comes_to_the_server_that_took_the_port_in_the_meantime(aluminium, listener, monkeypatch):
    for place in "ipi.addresses", "launch.start":
        monkeypatch.setattr(f"forceserver.{place}.address_taken", lambda *_: None)
    use_port(aluminium, listener.getsockname()[1])
    run = aluminium.run_here("launch", aluminium.config)
    assert run.returncode == 1
    assert "Address already in use" in run.stderr
    assert nobody_came(listener)
    assert {path.name for path in aluminium.folder.glob("*.log")} == {"ipi.log"}, "no driver was started"


def test_drivers_come_to_the_ipi_of_their_launch_whatever_host_is_configured(aluminium):
    use_port(aluminium, free_port(), "127.0.0.1", host="192.0.2.1", steps=5)
    run = aluminium.run_here("launch", aluminium.config)
    assert run.returncode == 0, run.stderr


def test_a_port_is_given_once(aluminium):
    """Neither the configuration nor the input has to be edited, and a state with another port goes on, too."""
    use_port(aluminium, free_port(), steps=4)
    first, second = free_port(), free_port()
    run = aluminium.run_here("launch", aluminium.config, "--port", first)
    assert run.returncode == 0, run.stderr
    restart = (aluminium.folder / "RESTART").read_text()
    assert f"<port>{first}</port>" in restart
    (aluminium.folder / "RESTART").write_text(restart.replace("<total_steps>4</", "<total_steps>8</"))
    run = aluminium.run_here("launch", aluminium.config, "--restart", "--port", second)
    assert run.returncode == 0, run.stderr
    assert f"<port>{second}</port>" in (aluminium.folder / "RESTART").read_text()
    assert [float(row.split()[0]) for row in aluminium.rows()] == list(range(8))


def test_a_port_for_a_unix_socket_is_refused(aluminium):
    run = aluminium.run_here("launch", aluminium.config, "--port", 4711)
    assert run.returncode == 2
    assert "no [socket] of mode 'inet'" in run.stderr


def test_a_second_launch_in_the_folder_changes_nothing(aluminium):
    aluminium.write_simulation(steps=100_000)
    first = aluminium.start()
    try:
        wait_until(lambda: len(aluminium.rows()) > 5)
        size = (aluminium.folder / "sim.out").stat().st_size
        for arguments in ([], ["--restart"]):
            run = aluminium.run_here("launch", aluminium.config, *arguments)
            assert run.returncode == 2
            assert f"is in use by `launch` on {socket.gethostname()} (process {first.pid})" in run.stderr
        assert (aluminium.folder / "sim.out").stat().st_size >= size
        assert not list(aluminium.folder.glob("#*"))
    finally:
        first.terminate()
        output, _ = first.communicate(timeout=200)
    assert first.returncode == 143, output
    steps = np.loadtxt(aluminium.folder / "sim.out")[:, 0]
    assert list(steps) == list(range(len(steps)))
    assert not (aluminium.folder / FOLDER_LOCK).exists()


def test_a_complete_run_and_what_follows_it(aluminium):
    """--restart has nothing to do, beside a run on another machine cuts nothing, and a new run takes no old state."""
    assert aluminium.run_here("launch", aluminium.config).returncode == 0
    run = aluminium.run_here("launch", aluminium.config, "--restart")
    assert run.returncode == 0
    assert "nothing to do, step 5 of total_steps 5: the simulation is complete" in run.stderr
    assert "asks for" not in run.stderr
    aluminium.write_simulation(steps=8)
    assert (
        "RESTART asks for 5 steps and input.xml for 8"
        in aluminium.run_here("launch", aluminium.config, "--restart").stderr
    )
    aluminium.write_simulation()

    before = {path.name: path.read_bytes() for path in aluminium.folder.glob("sim.*")}
    owner = {"host": "node17", "machine": "m", "boot": "b", "pid": 1, "since": time.time(), "job": None}
    (aluminium.folder / FOLDER_LOCK).write_text(json.dumps(owner))
    run = aluminium.run_here("launch", aluminium.config, "--restart")
    assert run.returncode == 2
    assert f"If it is dead, remove {aluminium.folder / FOLDER_LOCK}" in run.stderr
    assert {path.name: path.read_bytes() for path in aluminium.folder.glob("sim.*")} == before
    (aluminium.folder / FOLDER_LOCK).unlink()

    aluminium.write_simulation(steps=3)
    assert aluminium.run_here("launch", aluminium.config).returncode == 0
    assert "<step>5</step>" in (aluminium.folder / "#RESTART#0#").read_text()
    assert "<step>3</step>" in (aluminium.folder / "RESTART").read_text()


def hang(case) -> dict[str, str]:
    """A calculator that hangs after some steps; the environment in which it is found."""
    (case.folder / "hanging.py").write_text(HANGING_CALCULATOR)
    case.write_config("ase.calculators.emt.EMT", "hanging.Hanging")
    case.write_simulation(steps=12)
    return {"PYTHONPATH": str(case.folder)}


def children_of_potential(case) -> list[int]:
    return [int(line) for line in (case.folder / "children").read_text().split()]


@pytest.mark.long
@needs_proc
@pytest.mark.parametrize("whose", ["own", "external"])
def test_restart_is_written_while_an_evaluation_hangs(aluminium, whose):
    """For drivers that others have started (srun), i-PI's connections are closed under it."""
    environment = hang(aluminium)
    launch = aluminium.start("-n", 1 if whose == "own" else 0, **environment)
    external = aluminium.start(command="drive", **environment) if whose == "external" else None
    try:
        wait_until(lambda: (aluminium.folder / "children").exists())
        family = [*descendants(launch.pid), *children_of_potential(aluminium)] if whose == "own" else []
        launch.terminate()
        output, _ = launch.communicate(timeout=200)
    finally:
        if external:
            for pid in [external.pid, *children_of_potential(aluminium)]:
                os.kill(pid, signal.SIGKILL)
            external.communicate()
    assert launch.returncode == 143, output
    assert "<step>5</step>" in (aluminium.folder / "RESTART").read_text()
    wait_until(lambda: not any(alive(pid) for pid in family), 30)
    (aluminium.folder / "healed").touch()
    run = aluminium.run_here("launch", aluminium.config, "--restart")
    assert run.returncode == 0, run.stderr
    assert [float(row.split()[0]) for row in aluminium.rows()] == list(range(12))


@needs_proc
def test_restart_is_written_when_a_queue_system_signals_every_process(aluminium):
    """Two signals, that of the queue system and that of launch, would keep i-PI from writing it."""
    aluminium.write_simulation(steps=100_000)
    launch = aluminium.start()
    wait_until(lambda: len(aluminium.rows()) > 5)
    for pid in [launch.pid, *descendants(launch.pid)]:
        with contextlib.suppress(ProcessLookupError):  # one that has just ended
            os.kill(pid, signal.SIGTERM)
    output, _ = launch.communicate(timeout=200)
    assert launch.returncode == 143, output
    last = int(float(aluminium.rows()[-1].split()[0]))
    assert abs(int(re.search(r"<step>\s*(\d+)", (aluminium.folder / "RESTART").read_text())[1]) - last) <= 1


@needs_proc
def test_a_signal_that_ends_ipi_before_launch_looks_is_the_exit_code(aluminium, monkeypatch):
    """The next job of a chain would not be submitted: 0 means that all is done."""
    monkeypatch.setattr("forceserver.launch.supervision.POLL_SECONDS", 4.0)
    aluminium.write_simulation(steps=100_000)

    def end_all() -> None:
        wait_until(lambda: len(aluminium.rows()) > 5)
        for pid in [os.getpid(), *(pid for pid, command in descendants(os.getpid()).items() if "i-pi" in command)]:
            os.kill(pid, signal.SIGTERM)

    queue = threading.Thread(target=end_all)
    queue.start()
    run = aluminium.run_here("launch", aluminium.config)
    queue.join()
    assert run.returncode == 143, run.stderr
    assert (aluminium.folder / "RESTART").exists()


@pytest.mark.long
@needs_proc
def test_nothing_outlives_a_launch_that_is_killed_while_an_evaluation_hangs(aluminium):
    launch = aluminium.start(**hang(aluminium))
    wait_until(lambda: (aluminium.folder / "children").exists())
    family = [*descendants(launch.pid), *children_of_potential(aluminium)]
    launch.kill()
    launch.communicate()
    wait_until(lambda: not any(alive(pid) for pid in family), 40)
    assert "<step>5</step>" in (aluminium.folder / "RESTART").read_text()


@needs_proc
@pytest.mark.parametrize("after", [0, pytest.param(6, marks=pytest.mark.long)])
def test_a_driver_that_does_not_answer_is_replaced(aluminium, after):
    """Also in its first evaluation, of the template, before it connects."""
    environment = hang(aluminium)
    aluminium.write_config("ase.calculators.emt.EMT", "hanging.Hanging")
    with open(aluminium.config, "a") as file:
        file.write("[driver]\nevaluation_deadline_seconds = 1\n")
    launch = aluminium.start(HANG_ONCE="", HANG_AFTER=str(after), **environment)
    output, _ = launch.communicate(timeout=120)
    assert launch.returncode == 0, output
    assert "driver 1 ended (it had not answered for 1 s" in output
    assert not any(alive(pid) for pid in children_of_potential(aluminium))
    assert [float(row.split()[0]) for row in aluminium.rows()] == list(range(12))


@needs_proc
def test_a_stall_is_told_with_what_each_driver_does(aluminium, monkeypatch):
    """The simulation is ended when that has been told, however long the machine takes for it."""
    # five quick steps can be over between two looks: then only the first limit counts, as no interval is known
    monkeypatch.setattr("forceserver.launch.steps.Patience.FIRST_SECONDS", 0.5)
    monkeypatch.setattr("forceserver.launch.steps.Patience.LEAST_SECONDS", 0.2)
    monkeypatch.setattr("forceserver.launch.steps.Patience.FACTOR", 0)
    for name, value in hang(aluminium).items():
        monkeypatch.setenv(name, value)
    told = []

    def end_it() -> None:
        wait_until((aluminium.folder / "children").exists)
        os.kill(os.getpid(), signal.SIGINT)

    def tell(text: str) -> None:
        told.append(text)
        if "has computed for" in text:  # perhaps before the potential has forked
            threading.Thread(target=end_it, daemon=True).start()

    monkeypatch.setattr("forceserver.launch.display.tell", tell)
    run = aluminium.run_here("launch", aluminium.config)
    assert run.returncode == 128 + signal.SIGINT
    assert re.search(r"no step for \d+ s: driver 1 \(process \d+\) has computed for \d+ s", "\n".join(told)), told


def test_a_stall_is_told_with_the_sockets_that_others_must_serve(aluminium, monkeypatch):
    """The driver of this launch has answered, and nobody comes to the other socket."""
    monkeypatch.setattr("forceserver.launch.steps.Patience.FIRST_SECONDS", 0.2)
    sockets = "<ffsocket name='al' mode='unix'><address>al</address></ffsocket>"
    other = sockets.replace(">al<", ">other<").replace("'al'", "'far'")
    aluminium.write_simulation(forcefield=sockets + other, old="</forces>", new="<force forcefield='far'/></forces>")
    told = []

    def tell(text: str) -> None:
        told.append(text)
        if "has nothing to do" in text:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("forceserver.launch.display.tell", tell)
    run = aluminium.run_here("launch", aluminium.config)
    assert run.returncode == 128 + signal.SIGINT
    stall = next(text for text in told if "has nothing to do" in text)
    assert f"other drivers must serve <ffsocket name='far'> at {aluminium.prefix}other (none is connected)" in stall
    assert f"these serve <ffsocket name='al'> at {aluminium.prefix}al (1 connected)" in stall


@pytest.mark.skipif(not os.path.exists("/proc/net/unix"), reason="reads what Linux shows")
@pytest.mark.parametrize("mode", ["unix", "inet"])
def test_clients_are_counted(tmp_path, mode):
    path = str(tmp_path / "a socket")
    with socket.socket(socket.AF_UNIX if mode == "unix" else socket.AF_INET) as server, contextlib.ExitStack() as stack:
        server.bind(path if mode == "unix" else ("127.0.0.1", 0))
        server.listen()
        port = 0 if mode == "unix" else server.getsockname()[1]
        of_ipi = SimpleNamespace(mode=mode, unix_path=path, port=port)
        for count in range(3):
            assert clients_at(of_ipi) == count
            stack.enter_context(socket.socket(server.family)).connect(server.getsockname())
            stack.enter_context(server.accept()[0])


@pytest.mark.parametrize("when", ["before the words", "between them", "after them"])
@pytest.mark.parametrize("how", ["emptied", "removed", "renamed"])
def test_a_log_that_a_user_takes_away_is_still_read(tmp_path, how, when):
    """`launch` waited for ever, without a driver, for words that i-PI had said, or took its success for a failure."""
    log = tmp_path / "ipi.log"
    log.write_text("an earlier run, with words\n")

    def disturb(moment: str) -> None:
        if when == moment:
            {"emptied": lambda: os.truncate(log, 0), "removed": log.unlink, "renamed": lambda: log.rename(f"{log}.1")}[
                how
            ]()

    with contextlib.closing(Said(log)) as said, open(log, "ab", buffering=0) as ipi:
        assert not said.has("with words")
        ipi.write(b"this one begins\n")
        assert said.has("begins")
        disturb("before the words")
        ipi.write(b"with words")
        assert said.has("with words")
        disturb("between them")
        ipi.write(b" and others\n")
        disturb("after them")
        assert said.has("with words"), "it did say so"
        assert said.has("others") or (how, when) == ("emptied", "after them")
        assert said.last_lines(5).endswith("others") or how == "emptied"


def test_steps_in_a_log_that_was_emptied_count(aluminium):
    log = aluminium.folder / "ipi.log"
    log.write_text("an earlier run\n" * 100)
    reader = StepReader(SimpleNamespace(properties=()), log)
    log.write_text(f"{StepReader.LOG_MARK} 7. and so on\n")
    assert reader.read() == 8


def test_an_ipi_that_does_not_come_to_listen_is_told(aluminium, monkeypatch):
    monkeypatch.setattr("forceserver.launch.steps.Patience.FIRST_SECONDS", 0.2)
    monkeypatch.setattr("forceserver.launch.supervision.LISTENS", "never {name}")
    told = []

    def tell(text: str) -> None:
        told.append(text)
        if "no step for" in text:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("forceserver.launch.display.tell", tell)
    assert aluminium.run_here("launch", aluminium.config).returncode == 128 + signal.SIGINT
    assert any(f"i-PI does not listen yet, see {aluminium.folder}/ipi.log" in text for text in told), told


class Clock:
    """A time that passes when it is told to."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


def test_patience_follows_the_usual_steps(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("forceserver.launch.steps.time", clock)
    patience = Patience()
    clock.now += 299
    assert patience.lost() is None
    clock.now += 1
    assert patience.lost() == 300
    for step in range(5):
        clock.now += 20
        assert patience.see(step)
        assert not patience.see(step)
    clock.now += 99
    assert patience.lost() is None
    clock.now += 1
    assert patience.lost() == 100
    clock.now += 99
    assert patience.lost() is None  # told once, and again when it has doubled
    clock.now += 1
    assert patience.lost() == 200


CRASHING_CALCULATOR = """
import os
import signal
import time
from pathlib import Path

from ase.calculators.emt import EMT

time.sleep(float(os.environ["LOAD_SECONDS"]))


class Crashing(EMT):
    calls = 0

    def calculate(self, *args, **kwargs):
        Crashing.calls += 1
        if Crashing.calls > int(os.environ["CALLS"]) and not Path(__file__).with_name("healed").exists():
            if "CRASH_ONCE" in os.environ:
                Path(__file__).with_name("healed").touch()
            if "EDIT" in os.environ:
                Path(os.environ["EDIT"]).touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        super().calculate(*args, **kwargs)
"""


def crash(case, monkeypatch, **environment) -> None:
    (case.folder / "crashing.py").write_text(CRASHING_CALCULATOR)
    case.write_config("ase.calculators.emt.EMT", "crashing.Crashing")
    for name, value in {"PYTHONPATH": str(case.folder), "LOAD_SECONDS": "0", **environment}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.long
def test_a_driver_that_crashes_before_its_first_answer_is_not_tried_for_ever(aluminium, monkeypatch):
    crash(aluminium, monkeypatch, CALLS="1")
    run = aluminium.run_here("launch", aluminium.config)
    assert run.returncode == 3
    assert "driver 1 crashed 3 times (signal SIGSEGV) before its first answer" in run.stderr


@pytest.mark.long
def test_loading_a_model_is_no_time_without_a_driver(aluminium, monkeypatch):
    """Longer than the deadline, and again after a death."""
    crash(aluminium, monkeypatch, CALLS="4", LOAD_SECONDS="2.5", CRASH_ONCE="")
    run = aluminium.run_here("launch", aluminium.config, "--deadline", 1)
    assert run.returncode == 0, run.stderr
    assert "driver 1 ended (signal SIGSEGV); starting another" in run.stderr


@pytest.mark.long
def test_a_driver_that_follows_an_edited_configuration_is_told(aluminium, monkeypatch):
    """A driver that is started again computes with what is there then: in silence, with another model than before."""
    crash(aluminium, monkeypatch, CALLS="4", CRASH_ONCE="", EDIT=str(aluminium.folder / "al.extxyz"))
    run = aluminium.run_here("launch", aluminium.config)
    assert run.returncode == 0, run.stderr
    assert f"{aluminium.folder}/al.extxyz has changed since this run began: driver 1 computes with what is there" in (
        run.stderr
    )


def test_sources_are_the_files_that_drivers_read(aluminium):
    """Not those that they write: uncertain structures are appended to a file that a potential names, too."""
    member = 'kind = "ase"\ncalculator = "ase.calculators.emt.EMT"'
    files = [aluminium.folder / name for name in ("model.npz", "saved.extxyz")]
    for file in files:
        file.touch()
    potential = SimpleNamespace(structure=None, potential=[{"model": files[0], "save_to": files[1]}], cv=())
    sources = Sources(aluminium.config, potential)
    assert not sources.changed()
    files[0].write_text("another")
    aluminium.write_config(member, member + "\n")
    assert sources.changed() == [aluminium.config, files[0]]
    assert not sources.changed(), "told once"


def test_a_file_exit_of_an_earlier_stop_is_told(aluminium):
    """i-PI does not remove it, and ended at once and with success."""
    (aluminium.folder / "EXIT").touch()
    run = aluminium.run_here("launch", aluminium.config)
    assert run.returncode == 2
    assert f"{aluminium.folder}/EXIT would end i-PI at once, and is left from an earlier stop: remove it" in run.stderr
    assert not list(aluminium.folder.glob("*.log"))


def test_a_state_that_cannot_be_read_is_told(aluminium):
    """An edit of RESTART that went wrong was passed over in silence, for an older checkpoint without it."""
    aluminium.write_simulation(old="</trajectory>", new="</trajectory><checkpoint stride='2' filename='state'/>")
    assert aluminium.run_here("launch", aluminium.config).returncode == 0
    restart = aluminium.folder / "RESTART"
    restart.write_text(restart.read_text().replace("<total_steps>5<", "<total_steps>5O<"))
    simulation, told = read_ipi_input(aluminium.folder / "input.xml"), []
    assert newest_state(simulation, tell=told.append).path.name == "sim.state"
    assert re.search(
        r"RESTART: i-PI does not accept it: .*; the newest complete state is sim.state", told[0], re.DOTALL
    )
    (aluminium.folder / "sim.state").write_text("<simulation")
    with pytest.raises(InputError, match=r"(?s)nothing to continue from.*RESTART: i-PI does not accept it.*sim.state"):
        newest_state(simulation)


def test_it_goes_on_from_where_the_outputs_are_complete(aluminium):
    """A signal that comes while i-PI computes an output: RESTART is written, and the row is not."""
    aluminium.write_simulation(old="</trajectory>", new="</trajectory><checkpoint stride='2' filename='state'/>")
    assert aluminium.run_here("launch", aluminium.config).returncode == 0
    simulation, told = read_ipi_input(aluminium.folder / "input.xml"), []
    restart, out = aluminium.folder / "RESTART", aluminium.folder / "sim.out"

    def found() -> str:
        return state_to_continue_from(simulation, tell=told.append).path.name

    rows = out.read_text().splitlines(keepends=True)
    out.write_text("".join(rows[:-1]))
    assert found() == "RESTART", "it has reached its end"
    restart.write_text(restart.read_text().replace("<total_steps>5<", "<total_steps>50<"))
    assert found() == "sim.state"
    assert "sim.out ends at step 4, the state is at step 5: " in told[0]
    assert "continuing from sim.state, step 4, after which it is computed again" in told[0]
    out.write_text("".join(rows[:-2]))
    assert found() == "RESTART", "the older one lacks rows, too"
    out.write_text("".join(rows))
    assert found() == "RESTART"


def test_a_pause_of_launch_is_no_time_without_a_driver(tmp_path):
    """It was stopped (SIGSTOP, Ctrl-Z) for longer than the deadline, and gave up when it went on."""
    plan = Plan(
        (), {}, tmp_path, 1, None, deadline_seconds=60, attempts=20, evaluation_deadline_seconds=None, sources=None
    )
    supervisor = Supervisor(plan, simulation=None, lock=None, deaths=1)
    supervisor.looked = 0.0
    supervisor._count_time_without(3600.0)
    assert supervisor.without_seconds < 5
    for second in range(1, 100):
        supervisor._count_time_without(3600.0 + second)
    assert supervisor.without_seconds > 60


def test_no_more_processes_are_a_driver_that_is_started_later(tmp_path, monkeypatch):
    """At a limit of processes (`ulimit -u`) `launch` ended with a traceback, and the simulation with it."""
    unchanged = SimpleNamespace(changed=list)
    plan = Plan(
        (), {}, tmp_path, 1, None, deadline_seconds=60, attempts=20, evaluation_deadline_seconds=None, sources=unchanged
    )
    supervisor = Supervisor(plan, SimpleNamespace(folder=tmp_path), SimpleNamespace(descriptor=0))
    refusal = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    monkeypatch.setattr("subprocess.Popen", Mock(side_effect=refusal))
    slot = supervisor.slots[0]
    supervisor._start_driver(slot)
    assert slot.process is None
    assert slot.not_before > time.monotonic()
    assert slot.reason == (
        "it could not be started: the system starts no more processes (ulimit -u, memory): "
        "Resource temporarily unavailable"
    )
    with pytest.raises(InputError, match="starts no more processes"), Reaper():
        pass


def test_a_driver_that_is_stopped_between_evaluations_is_replaced(tmp_path):
    """It computes nothing that could last too long, and i-PI waited for it for ever."""
    plan = Plan((), {}, tmp_path, 1, None, 60, 20, evaluation_deadline_seconds=0.1, sources=None)
    supervisor = Supervisor(plan, None, None)
    slot = supervisor.slots[0]
    slot.process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    supervisor._replace_if_late(slot)
    slot.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: slot.silent_seconds() > 0.1)
    assert slot.alive()
    supervisor._replace_if_late(slot)
    assert not slot.alive()
    assert "had not answered for 0.1 s" in slot.reason


@pytest.mark.parametrize("code", [0, 2, 4])
def test_an_exit_code_from_within_an_evaluation_is_not_the_drivers(tmp_path, code):
    """STOP 2 of a Fortran code was taken for a driver that refuses its input, and ended the run."""
    supervisor = Supervisor(Plan((), {}, tmp_path, 1, None, 60, 20, None, sources=None), None, None)
    supervisor.reaper = Mock()
    slot = supervisor.slots[0]
    page = shared_page()
    slot.activity = Activity(page)
    os.close(page)
    slot.activity.evaluating("force").__enter__()  # and never leaves
    supervisor._note_death(slot, Mock(returncode=code, pid=0), now=0.0)
    assert slot.reason == f"exit code {code} within an evaluation"
    assert 0 < slot.not_before < 1


def test_a_log_of_another_user_changes_nothing(aluminium):
    """The states of the run were renamed first, and --restart then found none."""
    (aluminium.folder / "ipi.log").mkdir()  # no user may write to that, not even root
    (aluminium.folder / "RESTART").write_text("a state")
    done = aluminium.run_here("launch", aluminium.config)
    assert done.returncode == 2
    assert "ipi.log: Is a directory; nothing was started (--logs chooses another folder)" in done.stderr
    assert (aluminium.folder / "RESTART").read_text() == "a state"


@pytest.mark.long
def test_a_closed_terminal_is_a_hangup(aluminium):
    """Its last messages go nowhere, i-PI writes RESTART, and the code is that of SIGHUP."""
    aluminium.write_simulation(steps=100_000)
    ours, theirs = pty.openpty()
    launch = subprocess.Popen(
        [sys.executable, "-m", "forceserver", "launch", str(aluminium.config)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(theirs)
    drain = threading.Thread(target=read_until, args=(ours, lambda: len(aluminium.rows()) > 5))
    drain.start()
    drain.join(60)
    os.close(ours)
    assert launch.wait(200) == 128 + signal.SIGHUP
    assert (aluminium.folder / "RESTART").exists()
    assert not (aluminium.folder / FOLDER_LOCK).exists()


def take_terminal() -> None:
    """In a child: standard input becomes its terminal; the tests themselves may run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def read_until(terminal: int, condition) -> None:
    """Takes what comes from a terminal."""
    while not condition():
        if select.select([terminal], [], [], 0.1)[0]:
            os.read(terminal, 1 << 16)


@pytest.mark.parametrize("line", ["", "# 5", "nan 1", "inf 1", "\0\0\0\0 1", "1e999 3", "é"])
def test_a_progress_line_that_cannot_be_read_is_passed_over(tmp_path, line):
    log = tmp_path / "ipi.log"
    columns = SimpleNamespace(path=tmp_path / "out", stride=1, columns=("step",))
    by_properties = StepReader(SimpleNamespace(properties=(columns,)), log)
    by_log = StepReader(SimpleNamespace(properties=()), log)
    columns.path.write_text(f"# step\n 7.0 1\n{line}\n")
    log.write_text(f"{StepReader.LOG_MARK}  6. t/step\n{StepReader.LOG_MARK}{line}\n")
    assert by_properties.read() == 7
    assert by_log.read() == 7


@pytest.mark.long
@needs_proc
@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="looks at shared memory as Linux shows it")
def test_a_killed_ipi_leaves_no_shared_memory(aluminium):
    aluminium.write_config('mode = "unix"', 'mode = "shm"')
    aluminium.write_simulation(steps=100_000, old="mode='unix'", new="mode='shm'")
    launch = aluminium.start()
    wait_until(lambda: len(aluminium.rows()) > 2)
    ipi = next(pid for pid, command in descendants(launch.pid).items() if "bin/i-pi" in command)

    def segments() -> list[str]:
        return [name for name in os.listdir("/dev/shm") if name.startswith(f"ipi_shm_{ipi}_")]

    assert segments()
    os.killpg(ipi, signal.SIGKILL)  # with the process by which Python would remove them, as launch itself does
    launch.communicate(timeout=200)
    assert not segments()
