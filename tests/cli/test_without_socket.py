"""The same configuration without a socket: inside i-PI, inside i-PI's own driver, and over MPI.

Everywhere the trajectory must be that of `forceserver drive`.
"""

import functools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.units import Bohr, Hartree

import forceserver.ipi.pes
from forceserver.errors import InputError, PotentialError, ProtocolError
from forceserver.frame import Frame, Result
from forceserver.ipi.direct import DirectDriver
from forceserver.ipi.driver import DriverConfig
from forceserver.ipi.program import ipi_script
from forceserver.potentials.ase import AsePotential
from forceserver.potentials.base import Potential

PES = Path(forceserver.ipi.pes.__file__)
PARAMETERS = "<parameters>{config: forceserver.toml}</parameters>"
DIRECT = f"<ffdirect name='al'><pes>custom</pes><pes_path>{PES}</pes_path>{PARAMETERS}</ffdirect>"
DIRECT_BATCHES = (
    f"<ffdirect name='al' threaded='True'><pes>custom</pes><pes_path>{PES}</pes_path>{PARAMETERS}"
    "<batch_size>4</batch_size></ffdirect>"
)
MPI = "<ffmpi name='al'><batch_size>{}</batch_size><latency>0</latency></ffmpi>"

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def results(case) -> tuple[np.ndarray, np.ndarray]:
    """Properties of all steps, and positions of all frames."""
    properties = np.loadtxt(case.folder / "sim.out", ndmin=2)
    frames = ase.io.read(sorted(case.folder.glob("sim.pos_*.xyz"))[0], index=":")
    return properties, np.array([frame.positions for frame in frames])


@pytest.fixture
def reference(aluminium):
    """A function that runs the simulation over the socket and returns its results; the folder is clean afterwards."""

    def run(beads: int, steps: int = 8):
        aluminium.write_simulation(steps=steps, beads=beads)
        launched = aluminium.run_here("launch", aluminium.config)
        assert launched.returncode == 0, launched.stderr
        found = results(aluminium)
        for path in aluminium.folder.glob("sim.*"):
            path.unlink()
        return found

    return run


def assert_same(case, expected) -> None:
    properties, positions = results(case)
    np.testing.assert_allclose(properties, expected[0], rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(positions, expected[1], rtol=1e-7, atol=1e-7)


def test_path_of_the_pes_file_is_printed(aluminium):
    run = aluminium.run_here("ipi-pes")
    assert run.returncode == 0
    assert Path(run.stdout.strip()).samefile(PES)


def test_what_a_pes_file_cannot_serve_is_said(aluminium):
    for role, message in (("window", "no role 'window'; there are force, bias"), ("bias", r"\[bias\] is missing")):
        with pytest.raises(InputError, match=message):
            forceserver.ipi.pes.ForceServerPES(aluminium.config, role=role)


@pytest.mark.parametrize(
    ("beads", "forcefield"), [(1, DIRECT), pytest.param(4, DIRECT_BATCHES, marks=pytest.mark.long)]
)
def test_ffdirect(aluminium, reference, beads, forcefield):
    expected = reference(beads)
    aluminium.write_simulation(steps=8, beads=beads, forcefield=forcefield)
    run = aluminium.run_here("launch", aluminium.config, "-n", 0)
    assert run.returncode == 0, run.stderr
    assert_same(aluminium, expected)


def test_ipi_s_own_driver_with_the_pes_file(aluminium, reference):
    expected = reference(beads=2)
    aluminium.write_simulation(steps=8, beads=2)
    ipi = subprocess.Popen(
        [sys.executable, ipi_script(), "input.xml"], cwd=aluminium.folder, stdout=subprocess.DEVNULL, env=ONE_THREAD
    )
    try:
        address = aluminium.folder / "s_al"
        while not address.exists():
            assert ipi.poll() is None
        driver = [sys.executable, ipi_script().with_name("i-pi-driver-py"), "-u", "-a", "al", "-S", aluminium.prefix]
        options = ["-m", "custom", "-P", str(PES), "-o", f"config={aluminium.config}"]
        done = subprocess.run([*driver, *options], capture_output=True, text=True, timeout=120, env=ONE_THREAD)
        assert done.returncode == 0, done.stderr
        assert ipi.wait(60) == 0
    finally:
        ipi.kill()
        ipi.wait()
    assert_same(aluminium, expected)


WORLD = "from mpi4py import MPI; print(MPI.COMM_WORLD.Get_size(), MPI.Get_library_version())"


@functools.cache
def find_mpirun() -> list[str] | str:
    """A launcher whose processes find each other in mpi4py, or why there is none.

    Where several MPIs are installed, mpi4py may load another one than that of the launcher: all are then alone.
    """
    folders = [str(Path(sys.executable).parent), *os.environ["PATH"].split(os.pathsep)]
    places = [(name, folder) for folder in folders for name in ("mpirun", "mpirun.mpich", "mpirun.openmpi")]
    found = [launcher for name, folder in places if (launcher := shutil.which(name, path=folder))]
    tried: dict[str, str] = {}
    for launcher in found:
        tried.setdefault(os.path.realpath(launcher), launcher)
    for launcher in tried.values():
        version = subprocess.run([launcher, "--version"], capture_output=True, text=True).stdout
        options = ["--oversubscribe", "--allow-run-as-root"] if "Open MPI" in version else []
        command = [launcher, *options, "-n", "2", sys.executable, "-c", WORLD]
        # two lines written at once may be mixed; each process alone would say 1
        if subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.startswith("2"):
            return [launcher, *options]
    alone = subprocess.run([sys.executable, "-c", WORLD], capture_output=True, text=True).stdout.strip()
    library = alone.partition(" ")[2].partition("\n")[0].strip() or "no MPI library at all"
    return f"mpi4py loads {library}, and none of {', '.join(tried.values()) or 'no mpirun'} starts processes of that"


def mpirun() -> list[str]:
    """The command that starts an MPI job; skips the test if there is none for the MPI of mpi4py."""
    pytest.importorskip("mpi4py", reason="needs the extra mpi")
    found = find_mpirun()
    if isinstance(found, str):
        pytest.skip(found)
    return found


def run_mpi(case, drivers: int, *options: str) -> str:
    """What the drivers said.

    How the job ended is not asked: i-PI leaves while its polling thread may still be inside MPI, which in a few runs
    of a hundred, with i-PI's own driver too, makes MPICH kill or keep the job after all is done.
    """
    driver = [sys.executable, "-m", "forceserver", "drive", "--mpi", *options, str(case.config)]
    server = [sys.executable, str(ipi_script()), "input.xml"]
    with open(case.folder / "mpi.log", "w+") as log:
        job = subprocess.Popen(
            [*mpirun(), "-n", "1", *server, ":", "-n", str(drivers), *driver],
            cwd=case.folder,
            stdout=log,
            stderr=log,
            env=ONE_THREAD,
        )
        try:
            job.wait(60)
        except subprocess.TimeoutExpired:
            job.terminate()
            job.wait(20)
        log.seek(0)
        return log.read()


@pytest.mark.parametrize(
    ("beads", "drivers", "batch"),
    [(1, 1, 1), *(pytest.param(*case, marks=pytest.mark.long) for case in ((4, 2, 2), (5, 2, 3)))],
)
def test_ffmpi(aluminium, reference, beads, drivers, batch):
    expected = reference(beads)
    aluminium.write_simulation(steps=8, beads=beads, forcefield=MPI.format(batch))
    said = run_mpi(aluminium, drivers)
    assert said.count("i-PI said EXIT") == drivers, said
    assert_same(aluminium, expected)


@pytest.mark.long
def test_ffmpi_by_name(aluminium, reference):
    expected = reference(beads=1)
    aluminium.write_simulation(steps=8, forcefield=MPI.format(1))
    said = run_mpi(aluminium, 1, "--mpi-name", "al")
    assert said.count("i-PI said EXIT") == 1, said
    assert_same(aluminium, expected)


def test_an_mpi_driver_that_fails_ends_the_job(aluminium):
    """i-PI would wait for the lost structure for ever."""
    ase.io.write(aluminium.folder / "few.extxyz", ase.io.read(aluminium.folder / "al.extxyz")[:8])
    aluminium.write_config('file = "al.extxyz"', 'file = "few.extxyz"')
    aluminium.write_simulation(steps=8, forcefield=MPI.format(1))
    began = time.monotonic()
    said = run_mpi(aluminium, 1)
    assert "i-PI sends 32 atoms, the template has 8; ending the MPI job" in said
    assert time.monotonic() - began < 50, "the job was ended by this test"


def test_mpi_without_ipi_is_refused(aluminium):
    mpirun()
    run = aluminium.run("drive", "--mpi", aluminium.config)
    assert run.returncode == 2
    assert "rank 0 must be i-PI" in run.stderr


class Moody(Potential):
    """Gives what it is told to give."""

    def __init__(self, result: Result | Exception) -> None:
        self.result = result

    def compute_one(self, frame: Frame) -> Result:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def frame(atoms: int = 2) -> Frame:
    rng = np.random.default_rng(3)
    cell = np.array([[6.0, 0, 0], [1.0, 5.0, 0], [-0.5, 0.7, 7.0]])
    return Frame(rng.uniform(0, 5, (atoms, 3)), cell, np.full(atoms, 13, dtype=np.int32))


def test_units_signs_and_transposes():
    """A triclinic cell as i-PI sends it and by hand."""
    from ase.calculators.emt import EMT

    where = frame(4)
    potential = AsePotential(EMT())
    direct = potential.compute_one(where)
    driver = DirectDriver(potential, where, DriverConfig())
    columns = where.cell.T / Bohr
    ((energy, forces, virial, extras),) = driver.evaluate([columns], [where.positions / Bohr])
    assert energy == pytest.approx(direct.energy / Hartree, rel=1e-12)
    np.testing.assert_allclose(forces, direct.forces * Bohr / Hartree, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(virial, direct.virial / Hartree, rtol=1e-9, atol=1e-12)
    assert extras == b""


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (Result(np.nan, np.zeros((2, 3)), np.zeros((3, 3))), "energy = nan"),
        (Result(0.0, np.full((2, 3), np.inf), np.zeros((3, 3))), r"forces\[0, 0\] = inf"),
        (Result(0.0, np.zeros((2, 3)), np.full((3, 3), np.nan)), r"virial\[0, 0\] = nan"),
        (Result(0.0, np.zeros((3, 3)), np.zeros((3, 3))), "forces of shape"),
        (Result(0.0, np.zeros((2, 3)), np.zeros((3, 3)), {"raw": 1}), "'raw'"),
        (ValueError("the model is tired"), "ValueError: the model is tired"),
    ],
)
def test_what_must_not_leave_is_saved_and_told(tmp_path, result, message):
    where = frame()
    driver = DirectDriver(Moody(result), where, DriverConfig(failed_frames=tmp_path / "failed"))
    with pytest.raises(PotentialError, match=message):
        driver.evaluate([where.cell.T / Bohr], [where.positions / Bohr])
    (saved,) = (tmp_path / "failed").glob("*.xyz")
    np.testing.assert_allclose(ase.io.read(saved).positions, where.positions, atol=1e-7)


@pytest.mark.parametrize(
    ("cell", "position", "message"),
    [
        (np.nan, 0.0, "cell that is not finite"),
        (0.0, 0.0, "singular cell"),
        (6.0, np.nan, "nan as coordinate x of atom 0"),
    ],
)
def test_structures_that_are_none_are_refused(cell, position, message):
    driver = DirectDriver(Moody(Result(0.0, np.zeros((2, 3)), np.zeros((3, 3)))), frame(), DriverConfig())
    with pytest.raises(ProtocolError, match=message):
        driver.evaluate([cell * np.eye(3)], [np.full((2, 3), position)])


@pytest.mark.parametrize("threaded", ["False", "True"])
def test_a_failure_inside_ipi_ends_it(aluminium, threaded):
    """Also in the polling thread, whose death alone would leave i-PI waiting for ever."""
    few = ase.io.read(aluminium.folder / "al.extxyz")[:8]
    few.write(aluminium.folder / "few.extxyz")
    aluminium.write_config('file = "al.extxyz"', 'file = "few.extxyz"')
    aluminium.write_simulation(forcefield=DIRECT.replace("name=", f"threaded='{threaded}' name="))
    done = subprocess.run(
        [sys.executable, ipi_script(), "input.xml"],
        cwd=aluminium.folder,
        capture_output=True,
        text=True,
        timeout=120,
        env=ONE_THREAD,
    )
    assert "i-PI has 32 atoms, the template has 8" in done.stdout + done.stderr
