"""Metadynamics under `launch`, in which everything is killed at random: complete, and nothing twice in any file."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bias_runs import PACE, environment, prepare
from proc import alive, descendants

OUTPUTS = """
    <properties stride='2' filename='stepless'> [ potential, conserved ] </properties>
    <trajectory stride='3' filename='half' format='pdb'> positions{angstrom} </trajectory>
    <trajectory stride='1' filename='ase' format='ase'> x_centroid </trajectory>
    <trajectory stride='1' filename='bin' format='bin'> forces </trajectory>
    <checkpoint stride='25' filename='state'/>
    <checkpoint stride='40' filename='other'/>
  </output>"""

VICTIMS = "i-pi", "forceserver drive", "guard.py", "reaper.py", "launch", "everything"


class Launch:
    """`launch`, again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.starts = 0
        self.begin()

    def begin(self) -> None:
        """With --restart, unless it is the first."""
        command = [sys.executable, "-m", "forceserver", "launch", "forceserver.toml", "-n", "2"]
        with open(self.folder / "launch.log", "a") as log:
            self.process = subprocess.Popen(
                command + ["--restart"] * bool(self.starts), cwd=self.folder, env=environment(), stdout=log, stderr=log
            )
        self.starts += 1

    def begin_if_dead(self) -> None:
        if self.process.poll() is not None:
            assert self.process.returncode not in (2, 3), (self.folder / "launch.log").read_text()[-3000:]
            self.begin()

    def find(self, victim: str) -> list[int]:
        """The processes of that name, or all."""
        pid = self.process.pid
        family = {child: command for child, command in descendants(pid).items() if alive(child)}
        if victim in ("launch", "everything"):
            return [pid, *(family if victim == "everything" else [])]
        return [child for child, command in family.items() if victim in command]


def rows(folder: Path, name: str = "out.properties") -> int:
    path = folder / name
    return sum(not line.startswith(b"#") for line in path.read_bytes().split(b"\n")[:-1]) if path.exists() else 0


def wait_for_rows(launch: Launch, count: int) -> None:
    deadline = time.monotonic() + 120
    while rows(launch.folder) < count:
        launch.begin_if_dead()
        assert time.monotonic() < deadline, (launch.folder / "launch.log").read_text()[-3000:]
        time.sleep(0.05)


def kill(launch: Launch, victim: str, dice: random.Random) -> int:
    found = launch.find(victim)
    if victim not in ("launch", "everything"):
        found = dice.sample(found, min(len(found), 1))
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return bool(found)


def steps_in(path: Path) -> list[int]:
    """The steps of the frames in a trajectory."""
    text = path.read_bytes().replace(b"\0", b"").decode("latin-1")
    return [int(number) for number in re.findall(r"Step:\s+(\d+)\s", text)]


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_everything_is_killed_at_random(crystal, tmp_path):
    kills = int(os.environ.get("FORCESERVER_KILLS", "200"))
    folder = tmp_path / "run"
    prepare(folder, crystal, "embedded", 2, 10**6)
    text = (folder / "input.xml").read_text()
    (folder / "input.xml").write_text(text.replace("\n  </output>", OUTPUTS))
    with open(folder / "forceserver.toml", "a") as file:
        file.write('\n[simulation]\ninput = "input.xml"\n')
    dice = random.Random(kills)
    launch = Launch(folder)
    wait_for_rows(launch, 60)  # there is a state to go on from
    done = dict.fromkeys(VICTIMS, 0)
    try:
        while sum(done.values()) < kills:
            if dice.random() < 0.5:
                wait_for_rows(launch, rows(folder) + dice.randint(1, 40))
            time.sleep(dice.uniform(0, 1))
            launch.begin_if_dead()
            victim = dice.choice(VICTIMS)
            done[victim] += kill(launch, victim, dice)
        wait_for_rows(launch, rows(folder) + 30)
        (folder / "EXIT").touch()
        assert launch.process.wait(60) == 0, (folder / "launch.log").read_text()[-3000:]
    finally:
        launch.process.terminate()
        launch.process.wait()
    print(f"{done}, {launch.starts} starts, {rows(folder)} rows")

    last = rows(folder) - 1
    np.testing.assert_array_equal(np.loadtxt(folder / "out.properties")[:, 0], np.arange(last + 1))
    assert rows(folder, "out.stepless") == last // 2 + 1
    assert steps_in(folder / "out.centroid.xyz") == list(range(last + 1))
    assert steps_in(folder / "out.ase.extxyz") == list(range(last + 1))
    for bead in range(2):
        assert steps_in(folder / f"out.half_{bead}.pdb") == list(range(0, last + 1, 3))
        assert steps_in(folder / f"out.bin_{bead}.bin") == list(range(last + 1))
        assert steps_in(folder / f"out.cv_{bead}") == list(range(last + 1))
    hills = np.loadtxt(folder / "HILLS")[:, 0] / (PACE * 0.5e-3)
    np.testing.assert_allclose(hills, np.arange(1, len(hills) + 1), rtol=1e-9)
    assert abs(len(hills) - last // PACE) <= 1
    times = np.loadtxt(folder / "COLVAR")[:, 0]
    assert (np.diff(times) > 0).all()
    assert len(times) == round((times[-1] - times[0]) / np.diff(times).min()) + 1
