"""workflows/batio3/cluster under a real Slurm: FORCESERVER_SLURM=1 pytest tests/peers/test_slurm.py (four minutes).

Needs the programs of Debian's slurm-wlm, no configuration, no rights: the Slurm is a private one with two nodes on
this machine.
"""

import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from ipi_runs import BIN, free_port
from private_slurm import missing_programs, private_slurm

STUDY = Path(__file__).parents[2] / "workflows" / "batio3"
MODEL = STUDY / "potential" / "batio3.npz"

if os.environ.get("FORCESERVER_SLURM") != "1":
    pytest.skip("starts daemons of Slurm: set FORCESERVER_SLURM=1 to run it", allow_module_level=True)
if missing := missing_programs():
    pytest.skip(f"no {', '.join(missing)} (Debian: apt install slurm-wlm)", allow_module_level=True)
if not MODEL.is_file():
    pytest.skip("the potential is not in this checkout", allow_module_level=True)

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
    with private_slurm(tmp_path / "slurm") as slurm:
        slurm.environment["PORT"] = str(free_port())  # and the next one, which is rarely in use
        yield slurm


@pytest.fixture
def folder(tmp_path):
    """The shipped folder, with one thread a driver."""
    folder = tmp_path / "batio3" / "cluster"
    shutil.copytree(STUDY / "cluster", folder, ignore=shutil.ignore_patterns("results"))
    (folder.parent / "potential").mkdir()
    shutil.copy(MODEL, folder.parent / "potential")
    replace(folder / "job.sh", "--cpus-per-task=2 ", "--cpus-per-task=1 ")
    replace(folder / "drivers.sh", "--cpus-per-task=2", "--cpus-per-task=1")
    return folder


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new))


def steps(folder: Path) -> np.ndarray:
    """The steps in i-PI's output, in the order in which they were written."""
    path = folder / "out.properties"
    lines = path.read_text().splitlines() if path.exists() else []
    return np.array([float(line.split()[0]) for line in lines if line.strip() and not line.startswith("#")], int)


def hill_times(folder: Path) -> np.ndarray:
    return np.atleast_1d(np.loadtxt(folder / "HILLS", usecols=0)) if (folder / "HILLS").exists() else np.zeros(0)


def log(folder: Path, job: int) -> str:
    path = folder / f"batio3-{job}.log"
    return path.read_text() if path.exists() else ""


def wait_for(condition, slurm, folder: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        said = "\n".join(f"{path.name}:\n{path.read_text()[-1000:]}" for path in folder.glob("*.log"))
        assert time.monotonic() < deadline, f"in vain: {slurm.jobs()}\n{said}\n{slurm.logs()}"
        time.sleep(0.2)


def test_a_job_that_runs_out_of_time_is_followed_by_one_that_goes_on(slurm, folder):
    """Limits of Slurm are whole minutes, and it warns up to a minute early: two, for a machine that is busy."""
    slurm.environment |= {"SBATCH_TIMELIMIT": "2", "SBATCH_SIGNAL": "B:USR1@15"}
    first = slurm.submit(folder, "job.sh")
    wait_for(lambda: "Submitted batch job" in log(folder, first), slurm, folder, 180)
    second = int(re.search(r"Submitted batch job (\d+)", log(folder, first))[1])
    reached = steps(folder)[-1]
    assert reached > 0
    wait_for(lambda: steps(folder)[-1] >= reached + 20, slurm, folder)
    (folder / "EXIT").touch()  # i-PI's own way to be told to stop
    wait_for(lambda: "the simulation is complete" in log(folder, second), slurm, folder)
    slurm.wait_until_empty(60)

    rows = steps(folder)
    np.testing.assert_array_equal(rows, np.arange(0, 10 * len(rows), 10))
    times = hill_times(folder)
    np.testing.assert_allclose(times, 0.1 * np.arange(1, len(times) + 1), rtol=1e-12)
    assert abs(len(times) - rows[-1] // 100) <= 1
    served = {path.name: "served" in path.read_text() for path in folder.glob(f"drivers-{first}-*.log")}
    assert served == {f"drivers-{first}-{task}.log": True for task in range(4)}
    assert len(re.findall("connected to .*:", (folder / f"drivers-{first}-0.log").read_text())) == 1


def test_a_cancelled_job_has_no_successor_and_a_killed_one_goes_on_from_its_checkpoint(slurm, folder):
    """With more drivers from a job of their own, which come and go."""
    replace(folder / "input.xml", "<checkpoint stride='200'", "<checkpoint stride='20'")
    job = slurm.submit(folder, "job.sh")
    helpers = slurm.submit(folder, "--ntasks=1", "drivers.sh")
    wait_for(lambda: len(steps(folder)) > 5, slurm, folder)
    helper_log = folder / f"drivers-{helpers}.log"
    wait_for(lambda: helper_log.exists() and "connected" in helper_log.read_text(), slurm, folder)
    slurm.run("scancel", str(helpers))
    wait_for(lambda: helpers not in slurm.jobs(), slurm, folder)
    alone = steps(folder)[-1]
    wait_for(lambda: steps(folder)[-1] > alone + 20, slurm, folder)
    slurm.run("scancel", str(job))
    slurm.wait_until_empty(60)  # and nothing has been submitted
    cancelled = steps(folder)[-1]
    assert not (folder / "ADDRESS").exists()

    job = slurm.submit(folder, "job.sh")
    wait_for(lambda: steps(folder)[-1] >= cancelled + 60, slurm, folder)
    slurm.run("scancel", "--full", "--signal=KILL", str(job))
    slurm.wait_until_empty(60)
    killed = steps(folder)[-1]

    job = slurm.submit(folder, "job.sh")
    wait_for(lambda: steps(folder)[-1] >= killed + 40, slurm, folder)
    (folder / "EXIT").touch()
    slurm.wait_until_empty(60)
    rows = steps(folder)
    np.testing.assert_array_equal(rows, np.arange(0, 10 * len(rows), 10))  # what came after the checkpoint was cut off
    assert (np.diff(hill_times(folder)) > 0).all()
