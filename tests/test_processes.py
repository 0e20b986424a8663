"""This program as a child of itself."""

import os
import signal
import subprocess
import sys

import pytest
from proc import wait_until

from forceserver.errors import InputError
from forceserver.potentials.dotted import find_callable
from forceserver.processes import FORCESERVER, end, is_stopped, signals_noted, start


def test_files_of_users_are_no_modules_of_python(tmp_path):
    """Drivers of `launch` work in the folder of the simulation; a random.py there used to end them."""
    for name in ("types", "random", "numpy", "structures", "forceserver"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name}.py of the user')")
    done = subprocess.run([*FORCESERVER, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("forceserver")


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_closed_terminal_ends_what_was_not_started_with_nohup(handler):
    before = signal.signal(signal.SIGHUP, handler)
    try:
        with signals_noted() as noted:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.SIGTERM in noted
        assert (signal.SIGHUP in noted) == (handler is signal.SIG_DFL)
        assert signal.getsignal(signal.SIGHUP) == handler
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(sys.platform != "linux", reason="sees in /proc that a process is stopped")
def test_a_stopped_process_hears_that_it_is_to_end(tmp_path):
    """A stopped i-PI was killed after a while, and wrote no RESTART."""
    code = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print(1); time.sleep(60)"
    process = start([sys.executable, "-S", "-u", "-c", code], tmp_path, tmp_path / "log", os.environ)
    wait_until(lambda: (tmp_path / "log").read_text())
    os.kill(process.pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(process))
    end([process], grace_seconds=30)
    assert process.returncode == 7


def test_names_that_a_locale_does_not_have_are_no_error(tmp_path):
    """i-PI prints the folder in which it runs."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-S", "-c", "print(chr(252))"]
    process = start(command, tmp_path, tmp_path / "log", environment)
    assert process.wait(30) == 0
    assert (tmp_path / "log").read_text("utf-8") == "\u00fc\n"


def test_a_module_in_this_folder_that_python_does_not_find(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"No module named 'soft_springs'$"):
        find_callable("soft_springs.Springs", "calculator", "ase.calculators.emt.EMT")
    (tmp_path / "soft_springs.py").touch()
    with pytest.raises(InputError, match=r"named 'soft_springs'; it is in this folder, .* with PYTHONPATH=/"):
        find_callable("soft_springs.Springs", "calculator", "ase.calculators.emt.EMT")


def test_a_working_directory_that_is_gone_is_told(tmp_path):
    """Somebody has removed and copied the folder again in another terminal; this was a traceback."""
    script = "cd gone && rmdir ../gone && exec $0 -m forceserver check /config.toml"
    (tmp_path / "gone").mkdir()
    run = subprocess.run(["bash", "-c", script, sys.executable], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr == "forceserver: the working directory has been removed; change to one that exists\n"
