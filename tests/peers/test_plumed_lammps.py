"""The FORCESERVER action in LAMMPS's `fix plumed`, on one rank and with the atoms spread over two.

Runs with FORCESERVER_LAMMPS_PLUMED=/path/to/lmp, a LAMMPS with the PLUMED package; on two ranks if PLUMED has MPI.
"""

import os
import subprocess

import numpy as np
import pytest
from ase.io import read, write
from plumed_runs import has_mpi, hills_sum, table
from polarization import POLARIZATION

from forceserver.bias.plumed.config import PlumedConfig
from forceserver.bias.plumed.host import PlumedBias
from forceserver.bias.plumed.kernel import load_kernel, program_environment
from forceserver.cv import build_variables, variable_section
from forceserver.cv_server.server import CVServer, CVServerConfig
from forceserver.frame import Frame

pytestmark = pytest.mark.plumed

INPUT = """
units metal
atom_style atomic
read_data batio3.data
mass 1 137.3
mass 2 47.9
mass 3 16.0
pair_style zero 3.0
pair_coeff * *
fix springs all spring/self 2.0
fix_modify springs energy yes
fix bias all plumed plumedfile plumed.dat outfile plumed.log
fix nve all nve
velocity all create 600 7
timestep 0.001
compute virial all pressure NULL virial
thermo 1
thermo_style custom step etotal f_bias c_virial[1] c_virial[2] c_virial[3] c_virial[4] c_virial[5] c_virial[6]
thermo_modify format float %.15g
dump frames all custom 1 frames.lammpstrj id type xu yu zu fx fy fz
dump_modify frames sort id format float %.15g
run 100
"""
SPRING = 2.0
BAR = 1.6021765e6
"""LAMMPS's eV/Angstrom^3 in bar."""

METAD = "METAD ARG={} SIGMA=0.02,0.02,0.02 HEIGHT=0.1 PACE=5 BIASFACTOR=8 TEMP=300 FILE={} FMT=%24.14g\n"


@pytest.fixture
def lmp():
    path = os.environ.get("FORCESERVER_LAMMPS_PLUMED")
    if not path:
        pytest.skip("no LAMMPS with PLUMED")
    return path


def thermo(log: str) -> np.ndarray:
    """The thermodynamic output, a row a step."""
    lines = log.splitlines()
    first = next(k for k, line in enumerate(lines) if line.split()[:2] == ["Step", "TotEng"])
    last = next(k for k, line in enumerate(lines) if line.startswith("Loop time"))
    return np.array([line.split() for line in lines[first + 1 : last]], dtype=float)


@pytest.mark.parametrize("ranks", [1, 2])
def test_values_forces_virial_energy_and_hills(batio3, action, lmp, tmp_path, monkeypatch, ranks):
    if ranks > 1 and not has_mpi():
        pytest.skip("no PLUMED with MPI")
    monkeypatch.chdir(tmp_path)
    write("batio3.data", batio3, format="lammps-data", specorder=["Ba", "Ti", "O"])
    template = Frame.from_ase(batio3)
    variables = build_variables([variable_section(POLARIZATION)], template)
    (tmp_path / "lammps.in").write_text(INPUT)
    with CVServer(CVServerConfig(address=str(tmp_path / "s")), variables) as server:
        text = f"UNITS ENERGY=eV LENGTH=A TIME=fs\nLOAD FILE={action}\n"
        text += (
            f"p: FORCESERVER ADDRESS={server.address} CV=polarization\n{METAD.format('p.x,p.y,p.z', 'HILLS.lammps')}"
        )
        text += "PRINT ARG=p.x,p.y,p.z FILE=COLVAR FMT=%.14g\n"
        (tmp_path / "plumed.dat").write_text(text)
        run = subprocess.run(
            [*(["mpiexec", "-n", str(ranks)] if ranks > 1 else []), lmp, "-in", "lammps.in"],
            env=program_environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert run.returncode == 0, run.stdout + run.stderr
    assert f"{ranks} by 1 by 1 MPI processor grid" in run.stdout or f"by {ranks} MPI processor grid" in run.stdout

    frames = read("frames.lammpstrj", index=":", format="lammps-dump-text")
    assert len(frames) == 101
    steps = thermo(run.stdout)
    colvar = table(tmp_path / "COLVAR")
    names = [f"polarization_{c}" for c in "xyz"]
    extra = "".join(f"{name}: EXTRACV NAME={name}\n" for name in names)
    (tmp_path / "hosted.dat").write_text(
        "UNITS ENERGY=eV LENGTH=A TIME=fs\n" + extra + METAD.format(",".join(names), "HILLS.hosted")
    )
    section = PlumedConfig(plumed_dat=tmp_path / "hosted.dat", time_step_fs=1, temperature_K=300)
    hosted = PlumedBias(section, variables, template, load_kernel())
    largest = 0.0
    for k, atoms in enumerate(frames):
        frame = Frame(atoms.positions, batio3.cell.array, template.species, template.pbc)
        expected = hosted.compute_one(frame)
        found = [colvar[f"p.{c}"][k] for c in "xyz"]
        assert found == pytest.approx([expected.extras[name] for name in names], abs=1e-9)
        springs = -SPRING * (atoms.positions - batio3.positions)
        bias_forces = atoms.get_forces() - springs
        np.testing.assert_allclose(bias_forces, expected.forces, atol=1e-6)
        if k < 100:
            assert steps[k + 1, 2] == pytest.approx(expected.energy, abs=1e-6)  # fix plumed asks before it calculates
        result = variables["polarization"].compute(frame)
        pull = np.linalg.lstsq(result.gradients.reshape(3, -1).T, bias_forces[result.active].ravel(), rcond=None)[0]
        virial = np.tensordot(pull, result.strain, axes=1)  # not symmetric; fix plumed takes the upper triangle
        upper = virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        np.testing.assert_allclose(steps[k, 3:] * batio3.get_volume() / BAR, upper, atol=1e-6)
        np.testing.assert_allclose(0.5 * (virial + virial.T), expected.virial, atol=1e-6)
        largest = max(largest, np.abs(bias_forces).max())
    hosted.close()
    assert largest > 0.1
    hills = [np.loadtxt(f"HILLS.{way}") for way in ("lammps", "hosted")]
    assert len(hills[0]) == 20
    np.testing.assert_allclose(hills[0][:, 1:8], hills[1][:, 1:8], rtol=1e-6, atol=1e-8)


def test_walkers_in_partitions_share_their_hills(batio3, action, lmp, tmp_path):
    """Two LAMMPS in one MPI run, one server; the bias on each is the sum of the hills of both."""
    if not has_mpi():
        pytest.skip("no PLUMED with MPI")
    write(tmp_path / "batio3.data", batio3, format="lammps-data", specorder=["Ba", "Ti", "O"])
    text = INPUT.replace("velocity", "variable seed world 3 4\nvelocity").replace("600 7", "600 ${seed}")
    (tmp_path / "lammps.in").write_text(text.replace("frames.lammpstrj", "frames.${seed}.lammpstrj"))
    variables = build_variables([variable_section(POLARIZATION)], Frame.from_ase(batio3))
    with CVServer(CVServerConfig(address=str(tmp_path / "s")), variables) as server:
        (tmp_path / "plumed.dat").write_text(
            f"UNITS ENERGY=eV LENGTH=A TIME=fs\nLOAD FILE={action}\n"
            f"p: FORCESERVER ADDRESS={server.address} CV=polarization\n"
            + "m: "
            + METAD.format("p.x,p.y,p.z", "HILLS WALKERS_MPI")
            + "PRINT ARG=p.x,p.y,p.z,m.bias FILE=COLVAR FMT=%.14g\n"
        )
        run = subprocess.run(
            ["mpiexec", "-n", "2", lmp, "-partition", "2x1", "-in", "lammps.in"],
            cwd=tmp_path,
            env=program_environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert run.returncode == 0, run.stdout + run.stderr
    rows = np.loadtxt(tmp_path / "HILLS")
    assert len(rows) == 40
    for walker in range(2):
        colvar = np.loadtxt(tmp_path / f"COLVAR.{walker}")
        assert len(colvar) == 101
        for time, *at, bias in colvar[::5]:
            hills = [(row[1:4], row[7] * 7 / 8) for row in rows if row[0] < time - 1e-6]
            assert bias == pytest.approx(hills_sum(np.array(at), hills, 0.02), rel=1e-6, abs=1e-9)
        assert bias > 0.1


def test_energy_is_conserved(batio3, action, lmp, tmp_path):
    """With a restraint that takes up as much as the thermal energy of several atoms."""
    write(tmp_path / "batio3.data", batio3, format="lammps-data", specorder=["Ba", "Ti", "O"])
    (tmp_path / "lammps.in").write_text(INPUT.replace("run 100", "run 1000"))
    variables = build_variables([variable_section(POLARIZATION)], Frame.from_ase(batio3))
    drifts = {}
    with CVServer(CVServerConfig(address=str(tmp_path / "s")), variables) as server:
        for kappa in (0, 1000):
            text = f"UNITS ENERGY=eV LENGTH=A TIME=fs\nLOAD FILE={action}\n"
            text += f"p: FORCESERVER ADDRESS={server.address} CV=polarization\n"
            text += f"RESTRAINT ARG=p.x,p.y,p.z AT=0,0,0 KAPPA={kappa},{kappa},{kappa}\n"
            (tmp_path / "plumed.dat").write_text(text)
            run = subprocess.run(
                [lmp, "-in", "lammps.in"],
                cwd=tmp_path,
                env=program_environment(),
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert run.returncode == 0, run.stdout + run.stderr
            steps = thermo(run.stdout)
            bias = steps[1:, 2]  # of the step before
            drifts[kappa] = np.ptp((steps[:, 1] - steps[:, 2])[:-1] + bias)
    assert np.ptp(bias) > 0.1
    assert drifts[1000] < 0.02 * np.ptp(bias)
    assert drifts[0] < 0.02 * np.ptp(bias)
