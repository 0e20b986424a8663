"""The FORCESERVER action in GROMACS, which counts in nanometres, picoseconds and kJ/mol.

Runs with FORCESERVER_GROMACS=/path/to/gmx_d, a GROMACS in double precision that takes `mdrun -plumed` (2025 and later).
"""

import os
import subprocess

import numpy as np
import pytest
from polarization import POLARIZATION

from forceserver.bias.plumed.kernel import program_environment
from forceserver.cv import build_variables, variable_section
from forceserver.cv_server.server import CVServer, CVServerConfig
from forceserver.frame import Frame

pytestmark = pytest.mark.plumed

MDP = """
integrator = md
dt = 0.0005
nsteps = 50
nstxout = 10
nstfout = 10
nstenergy = 10
nstcalcenergy = 10
cutoff-scheme = Verlet
rcoulomb = 0.5
rvdw = 0.5
comm-mode = None
gen-vel = yes
gen-temp = 600
gen-seed = 3
"""
SPRING = 20000
TYPES = {"Ba": ("BA", 137.3), "Ti": ("TI", 47.9), "O": ("OX", 16.0)}


@pytest.fixture
def gmx(tmp_path):
    """Runs a command of GROMACS in the folder of the test."""
    path = os.environ.get("FORCESERVER_GROMACS")
    if not path:
        pytest.skip("no GROMACS with PLUMED")

    def run(*arguments: str, choice: str = "") -> str:
        done = subprocess.run(
            [path, *arguments],
            cwd=tmp_path,
            env=program_environment() | {"OMP_NUM_THREADS": "1"},
            input=choice,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def write_system(folder, atoms) -> None:
    """Atoms on springs that do not see each other."""
    cell = atoms.cell.array / 10
    lines = ["batio3", str(len(atoms))]
    for number, (symbol, (x, y, z)) in enumerate(zip(atoms.symbols, atoms.positions / 10, strict=True), 1):
        lines.append(f"{1:5d}BTO  {TYPES[symbol][0]:>5s}{number:5d}{x:14.9f}{y:14.9f}{z:14.9f}")
    lines.append(" ".join(f"{x:.9f}" for x in [*cell.diagonal(), *cell[[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]]))
    (folder / "conf.gro").write_text("\n".join(lines) + "\n")
    (folder / "md.mdp").write_text(MDP)
    topology = ["[ defaults ]", "1 1 no 1 1", "[ atomtypes ]"]
    topology += [f"{name} {mass} 0.0 A 0.0 0.0" for name, mass in TYPES.values()]
    topology += ["[ moleculetype ]", "BTO 1", "[ atoms ]"]
    names = [TYPES[symbol][0] for symbol in atoms.symbols]
    topology += [f"{number} {name} 1 BTO {name} {number} 0.0" for number, name in enumerate(names, 1)]
    topology += ["[ position_restraints ]"]
    topology += [f"{number} 1 {SPRING} {SPRING} {SPRING}" for number in range(1, len(atoms) + 1)]
    topology += ["[ system ]", "batio3", "[ molecules ]", "BTO 1"]
    (folder / "topol.top").write_text("\n".join(topology) + "\n")


def columns(path) -> np.ndarray:
    return np.loadtxt(path, comments=("#", "@"), ndmin=2)[:, 1:]


def test_values_forces_and_virial(batio3, action, gmx, tmp_path):
    atoms = batio3.repeat(2)
    atoms.wrap()
    atoms.positions = np.round(atoms.positions, 8)  # as many digits as the file has
    template = Frame.from_ase(atoms)
    variables = build_variables([variable_section(POLARIZATION)], template)
    write_system(tmp_path, atoms)
    gmx(
        "grompp", "-f", "md.mdp", "-c", "conf.gro", "-r", "conf.gro", "-p", "topol.top", "-o", "md.tpr", "-maxwarn", "5"
    )
    mdrun = ["mdrun", "-s", "md.tpr", "-ntmpi", "1", "-ntomp", "1"]
    with CVServer(CVServerConfig(address=str(tmp_path / "s")), variables) as server:
        (tmp_path / "plumed.dat").write_text(
            f"LOAD FILE={action}\np: FORCESERVER ADDRESS={server.address} CV=polarization\n"
            "RESTRAINT ARG=p.x,p.y,p.z AT=0.1,0,0 KAPPA=1e6,1e6,1e6\nPRINT ARG=p.x,p.y,p.z FILE=COLVAR FMT=%.14g\n"
        )
        gmx(*mdrun, "-deffnm", "biased", "-plumed", "plumed.dat")
    gmx(*mdrun, "-deffnm", "free")
    gmx("traj", "-s", "md.tpr", "-f", "biased.trr", "-ox", "x.xvg", "-of", "f.xvg", "-fp", choice="0\n")
    terms = [f"Vir-{a}{b}" for a in "XYZ" for b in "XYZ"]
    for run in ("biased", "free"):
        gmx("energy", "-f", f"{run}.edr", "-o", f"{run}.xvg", "-dp", choice="\n".join(terms) + "\n\n")
    virial = -2 * (columns(tmp_path / "biased.xvg") - columns(tmp_path / "free.xvg"))[0].reshape(3, 3)

    colvar = columns(tmp_path / "COLVAR")
    positions, forces = (columns(tmp_path / name).reshape(6, -1, 3) for name in ("x.xvg", "f.xvg"))
    cell = atoms.cell.array
    for k in range(6):
        frame = Frame(10 * positions[k], cell, template.species, template.pbc)
        result = variables["polarization"].compute(frame)
        np.testing.assert_allclose(colvar[10 * k], result.values, atol=1e-8)
        moved = frame.positions - atoms.positions
        moved -= np.round(moved @ np.linalg.inv(cell)) @ cell
        expected = -SPRING * moved / 10
        pull = -1e6 * (result.values - [0.1, 0, 0])
        result.add_forces(10 * pull, expected)  # gradients are in 1/Angstrom
        np.testing.assert_allclose(forces[k], expected, rtol=1e-6, atol=1e-3)
        if k == 0:
            strain = np.tensordot(pull, result.strain, axes=1)
            np.testing.assert_allclose(virial, strain, rtol=1e-5, atol=0.1)
    assert np.abs(pull).max() > 1000
