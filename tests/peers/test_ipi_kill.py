"""Drivers that are killed at any moment cost i-PI nothing but time.

i-PI hangs for ever if a client dies with bytes unread in its socket (docs/protocol.md, "When things go wrong").
"""

import contextlib
import os
import random
import re
import signal
import time

import pytest
from ipi_runs import Ipi, ended


def kill_and_compare(folder, kills: int, steps: int, **options) -> None:
    """Runs with two drivers, kills one of them `kills` times, and compares with a run without."""
    quiet = Ipi(folder / "quiet", "nvt", 8, steps=steps, **options)
    expected = quiet.run(clients=2, timeout=280)
    rough = Ipi(folder / "rough", "nvt", 8, steps=steps, **options)
    dice = random.Random(kills)
    with ended(rough.start_ipi()) as processes:
        ipi = processes[0]
        processes += [rough.start_driver(f"driver{i}", "--respawn") for i in range(2)]
        logs = "driver0", "driver1"
        while not all("INIT" in rough.log(name) for name in logs):
            time.sleep(0.05)
            assert ipi.poll() is None
        done = 0
        while done < kills and ipi.poll() is None:
            time.sleep(dice.uniform(0.0, 0.06))
            alive = re.findall(r"^driver (\d+)$", rough.log(dice.choice(logs)), re.MULTILINE)[-1]
            with contextlib.suppress(ProcessLookupError):  # the one before is not replaced yet
                os.kill(int(alive), signal.SIGKILL)
                done += 1
        assert done == kills, f"i-PI ended after {done} kills: more steps are needed"
        assert ipi.wait(280) == 0, rough.log("ipi")
    assert rough.trajectory().difference(expected) < 1e-11


@pytest.mark.long
@pytest.mark.parametrize("batch", [1, 4])
def test_killed_drivers(tmp_path, batch):
    kill_and_compare(tmp_path, kills=8, steps=40, batch=batch)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("mode", "batch"), [("unix", 1), ("unix", 4), ("shm", 1), ("inet", 1)])
def test_killed_drivers_many_times(tmp_path, mode, batch):
    kill_and_compare(tmp_path, kills=200, steps=800, mode=mode, batch=batch)
