"""The folder of a fit that is not done: one fit at a time, kept when it is interrupted, told when it cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forceserver.errors import InputError
from forceserver.files import atomic_write
from forceserver.fit import parts

DATA = Path(__file__).parents[1] / "data" / "silicon.extxyz"


def test_one_fit_at_a_time(tmp_path):
    model = tmp_path / "si.npz"
    with (
        parts.folder_for(model),
        pytest.raises(InputError, match=r"another fit writes .*si\.npz: wait for it"),
        parts.folder_for(model),
    ):
        pass
    with parts.folder_for(model) as folder:
        assert folder.is_dir()
    assert not folder.exists()


def test_what_was_interrupted_stays(tmp_path):
    def interrupted():
        with parts.folder_for(tmp_path / "si.npz") as folder:
            (folder / "0.npz").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with parts.folder_for(tmp_path / "si.npz") as again:
        assert (again / "0.npz").exists()


def test_a_full_disk_names_the_file(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    path = tmp_path / "si.npz"

    def full():
        with atomic_write(path) as part:
            part.symlink_to("/dev/full")
            part.write_bytes(b"model")

    with pytest.raises(OSError, match="No space left") as caught:
        full()
    assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="needs a folder that nobody can write to")
def test_a_folder_that_cannot_be_written_is_a_message(tmp_path):
    config = tmp_path / "fit.toml"
    config.write_text(f'output = "/sys/kernel/si.npz"\n[data]\ntrain = "{DATA}"\n')
    done = subprocess.run(
        [sys.executable, "-m", "forceserver", "fit", str(config)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "forceserver: /sys/kernel/si.parts: " in done.stderr
    assert "Traceback" not in done.stderr
