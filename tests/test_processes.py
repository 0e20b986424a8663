"""This program as a child of itself."""

import os
import signal
import subprocess

import pytest

from forceserver.errors import InputError
from forceserver.potentials.dotted import find_callable
from forceserver.processes import FORCESERVER, signals_noted


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


def test_a_module_in_this_folder_that_python_does_not_find(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"No module named 'soft_springs'$"):
        find_callable("soft_springs.Springs", "calculator", "ase.calculators.emt.EMT")
    (tmp_path / "soft_springs.py").touch()
    with pytest.raises(InputError, match=r"named 'soft_springs'; it is in this folder, .* with PYTHONPATH=/"):
        find_callable("soft_springs.Springs", "calculator", "ase.calculators.emt.EMT")
