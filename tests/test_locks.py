"""The lock of a folder: who holds it, who may take it over, what the others are told."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from forceserver import locks
from forceserver.errors import InputError
from forceserver.locks import FOLDER_LOCK, locked_folder


def leave(folder, **changes) -> None:
    """A lock whose owner is gone."""
    owner = {**locks._here(), "pid": 2**22 + 1, "since": time.time(), **changes}
    (folder / FOLDER_LOCK).write_text(json.dumps(owner))


def test_one_owner_at_a_time(tmp_path):
    with locked_folder(tmp_path) as lock:
        assert not lock.after_death
        assert json.loads((tmp_path / FOLDER_LOCK).read_text())["pid"] == os.getpid()
        with (
            pytest.raises(InputError, match=f"in use by `launch` .*process {os.getpid()}") as error,
            locked_folder(tmp_path),
        ):
            pass
        assert "last sign of life was 0 s ago" in str(error.value)
    assert not list(tmp_path.iterdir())
    with locked_folder(tmp_path):
        pass


def test_the_lock_of_a_dead_process_of_this_machine_is_taken_over(tmp_path):
    leave(tmp_path)
    with locked_folder(tmp_path) as lock:
        assert lock.after_death
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.getuid() != 0, reason="gives files to another user")
def test_the_lock_of_another_user_is_explained():
    """It said "Permission denied", and no more."""
    with tempfile.TemporaryDirectory() as name:  # others may not enter the folders of pytest
        folder = Path(name)
        leave(folder, pid=os.getpid())
        os.chmod(folder, 0o777)
        os.chmod(folder / FOLDER_LOCK, 0o644)
        os.chown(folder / FOLDER_LOCK, 12345, 12345)
        assert _as_another_user(folder, r"in use by `launch`.*belongs to the user 12345") == 0


@pytest.mark.skipif(os.getuid() != 0, reason="gives files to another user")
def test_the_lock_that_another_user_has_left_may_be_removed():
    """It said that a process of the dead owner was alive, which one was to wait for."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        leave(folder)
        os.chmod(folder, 0o777)
        os.chmod(folder / FOLDER_LOCK, 0o644)
        assert _as_another_user(folder, r"dead, and so is all that it started: remove .*launch\.lock") == 0
        with (folder / FOLDER_LOCK).open() as kept:  # as a process does that the owner has started
            assert locks.try_lock(kept.fileno())
            assert _as_another_user(folder, "but a process that it started is alive: wait for that") == 0


def _as_another_user(folder, told) -> int:
    """The status of a child that tries to lock the folder: 0 if it is told this."""
    child = os.fork()
    if child == 0:
        try:
            os.setuid(23456)
            with (
                pytest.raises(InputError, match=told),
                locked_folder(folder),
            ):
                pass
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def test_a_machine_that_was_started_again_knows_that_its_processes_are_gone(tmp_path):
    leave(tmp_path, boot="another", machine="same", pid=os.getpid())
    with pytest.MonkeyPatch.context() as patch:
        here = {**locks._here(), "machine": "same"}
        patch.setattr(locks, "_here", lambda: here)
        with locked_folder(tmp_path) as lock:
            assert lock.after_death


def test_the_lock_of_another_machine_is_explained_not_guessed_at(tmp_path):
    leave(tmp_path, host="node17", machine="m", boot="b", job="4711")
    past = time.time() - 7200
    os.utime(tmp_path / FOLDER_LOCK, (past, past))
    before = (tmp_path / FOLDER_LOCK).read_text()
    with pytest.raises(InputError) as error, locked_folder(tmp_path):
        pass
    text = str(error.value)
    assert all(words in text for words in ("node17", "job 4711", "7200 s ago"))
    assert f"remove {tmp_path / FOLDER_LOCK}" in text
    assert (tmp_path / FOLDER_LOCK).read_text() == before


@pytest.mark.parametrize("content", ["", "[]", "{", '{"pid": "x"}', '{"since": "never", "host": 3}'])
def test_a_lock_that_cannot_be_read_is_respected(tmp_path, content):
    (tmp_path / FOLDER_LOCK).write_text(content)
    with pytest.raises(InputError, match=f"remove {tmp_path / FOLDER_LOCK}"), locked_folder(tmp_path):
        pass


def test_what_a_dead_owner_has_left_running_keeps_the_lock(tmp_path, monkeypatch):
    code = f"""
import subprocess, sys, os
from pathlib import Path
from forceserver.locks import locked_folder
with locked_folder(Path({str(tmp_path)!r})) as lock:
    child = subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(100)"],
                             pass_fds=[lock.descriptor])
    print(child.pid, flush=True)
    os.kill(os.getpid(), 9)
"""
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(owner.stdout.readline())
    owner.wait()
    monkeypatch.setattr(locks, "LAST_BREATH_SECONDS", 0.5)
    with pytest.raises(InputError, match="It is dead, but a process that it started is alive"), locked_folder(tmp_path):
        pass
    os.kill(child, signal.SIGKILL)
    monkeypatch.setattr(locks, "LAST_BREATH_SECONDS", 30)
    with locked_folder(tmp_path) as lock:
        assert lock.after_death


def contend(folder, barrier, inside, wins) -> None:
    barrier.wait()
    for _ in range(30):
        try:
            with locked_folder(folder):
                with inside.get_lock():
                    inside.value += 1
                    assert inside.value == 1, "two owners"
                wins.value += 1
                with inside.get_lock():
                    inside.value -= 1
        except InputError:
            pass


def test_many_contend_for_a_dead_lock_and_one_gets_it(tmp_path):
    leave(tmp_path)
    context = multiprocessing.get_context("fork")
    barrier, inside, wins = context.Barrier(4), context.Value("i", 0), context.Value("i", 0)
    processes = [context.Process(target=contend, args=(tmp_path, barrier, inside, wins)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert wins.value > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("before", ["nobody", "a dead owner"])
def test_a_lock_for_which_there_is_no_space_keeps_nobody_out(tmp_path, monkeypatch, before):
    """It was left behind empty, and refused everybody when there was space again."""
    if before == "a dead owner":
        leave(tmp_path)

    def write(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", write)
        with pytest.raises(InputError, match=r"No space left on device \(.*launch.lock\)"), locked_folder(tmp_path):
            pass
    with locked_folder(tmp_path) as lock:
        assert lock.after_death == (before == "a dead owner")


def test_a_folder_that_cannot_be_written_to_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="absent"), locked_folder(tmp_path / "absent"):
        pass
