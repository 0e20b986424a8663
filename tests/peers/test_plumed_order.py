"""Variables against PLUMED's own, in one run of the real kernel; exported ones through its METATOMIC."""

import os

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from plumed_runs import driver, table, version
from variable_kinds import BASIS, KINDS, weights_file

from forceserver.cv import build_variables, variable_section
from forceserver.cv_server.server import CVServer, CVServerConfig
from forceserver.frame import Frame

pytestmark = pytest.mark.plumed

SWITCHES = {
    "RATIONAL R_0=2.6 D_MAX=4.2": {"kind": "rational", "r0_angstrom": 2.6, "d_max_angstrom": 4.2},
    "RATIONAL R_0=0.5 D_0=2.4 NN=8 MM=15 D_MAX=4.2": {
        "kind": "rational",
        "r0_angstrom": 0.5,
        "d0_angstrom": 2.4,
        "n": 8,
        "m": 15,
        "d_max_angstrom": 4.2,
    },
    "GAUSSIAN R_0=0.4 D_0=2.5 D_MAX=4.2": {
        "kind": "gaussian",
        "r0_angstrom": 0.4,
        "d0_angstrom": 2.5,
        "d_max_angstrom": 4.2,
    },
    "CUBIC D_0=2.3 D_MAX=4.2": {"kind": "cubic", "d0_angstrom": 2.3, "d_max_angstrom": 4.2},
    "COSINUS R_0=1.5 D_0=2.5 D_MAX=4": {"kind": "cosine", "d0_angstrom": 2.5, "d_max_angstrom": 4.0},
}


@pytest.fixture(scope="module")
def copper():
    """Two frames of rattled, triclinic copper; the cell is wide enough for PLUMED's nearest images."""
    atoms = bulk("Cu", "fcc", a=3.7, cubic=True).repeat(3)
    atoms.set_cell(atoms.cell.array @ [[1, 0.02, 0], [0, 1, 0.01], [0.03, 0, 1]], scale_atoms=True)
    frames = [atoms.copy() for _ in range(2)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.1, seed=seed)
    return frames


def run_beside(folder, action, frames, section, plumed, argument, *options):
    """COLVAR (ours, theirs) and forces of a restraint on either, of one run of `plumed driver` each."""
    variables = build_variables([variable_section(section)], Frame.from_ase(frames[0]))
    forces, values = {}, {}
    with CVServer(CVServerConfig(address=str(folder / "s")), variables) as server:
        ours = f"UNITS LENGTH=A ENERGY=eV\nLOAD FILE={action}\np: FORCESERVER ADDRESS={server.address} CV=p"
        for name in (f"p.{section['outputs'][0]}", argument):
            run = driver(
                folder,
                f"{ours}\n{plumed}\nRESTRAINT ARG={name} AT=0.1 KAPPA=3\nPRINT ARG={name} FILE=COLVAR FMT=%.14g\n",
                frames,
                "--dump-forces",
                "forces",
                "--dump-forces-fmt=%.12f",
            )
            assert run.returncode == 0, run.stdout + run.stderr
            values[name] = table(folder / "COLVAR")[name]
            forces[name] = numbers(folder / "forces")
            (folder / "COLVAR").unlink()
    return values.values(), forces.values()


def numbers(path):
    """The numbers of a file of forces, cells included."""
    words = [word for line in path.read_text().splitlines() for word in line.split()]
    return np.array([float(word) for word in words if "." in word])


def compare(*arguments):
    (ours, theirs), (our_forces, their_forces) = run_beside(*arguments)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8)
    assert abs(their_forces).max() > 1e-3
    np.testing.assert_allclose(our_forces, their_forces, rtol=1e-8, atol=1e-7)


def of(action, component):
    """How PLUMED calls it: an action of its own since 2.10, a component before."""
    return f"{action}_{component}" if version() >= (2, 10) else f"{action}.{component}"


def section(**keys):
    return {"name": "p", "centres": "Cu", "neighbours": "Cu", "tolerance": 1e-10} | keys


@pytest.mark.parametrize("switch", SWITCHES)
def test_coordination(action, copper, tmp_path, switch):
    keys = section(kind="coordination", switch=SWITCHES[switch], outputs=("number",), centres=list(range(10)))
    plumed = f"c: COORDINATIONNUMBER SPECIESA=1-10 SPECIESB=1-108 SWITCH={{{switch}}} MEAN"
    compare(tmp_path, action, copper, keys, plumed, of("c", "mean"))


@pytest.mark.parametrize("switch", SWITCHES)
def test_mean_norm_of_q6(action, copper, tmp_path, switch):
    keys = section(kind="steinhardt", l=6, switch=SWITCHES[switch], outputs=("mean_norm",))
    compare(tmp_path, action, copper, keys, f"q: Q6 SPECIES=1-108 SWITCH={{{switch}}} MEAN", of("q", "mean"))


SWITCH = "RATIONAL R_0=0.5 D_0=2.4 NN=8 MM=15 D_MAX=4.2"


@pytest.mark.parametrize("l", [1, 3, 4, 6])
def test_norm_of_the_mean(action, copper, tmp_path, l):
    if l == 1 and version() < (2, 10):
        pytest.skip("PLUMED 2.9 has no Q1")
    keys = section(kind="steinhardt", l=l, switch=SWITCHES[SWITCH], outputs=("norm_of_mean",), centres=list(range(9)))
    plumed = f"q: Q{l} SPECIESA=1-9 SPECIESB=1-108 SWITCH={{{SWITCH}}} VMEAN"
    compare(tmp_path, action, copper, keys, plumed, of("q", "vmean"))


@pytest.mark.parametrize("l", [4, 6])
def test_local_and_averaged(action, copper, tmp_path, l):
    near = "COSINUS R_0=1.5 D_0=2.5 D_MAX=4"
    keys = section(kind="steinhardt", l=l, switch=SWITCHES[SWITCH], local_switch=SWITCHES[near])
    order = f"q: Q{l} SPECIES=1-108 SWITCH={{{SWITCH}}}\n"
    local = order + f"a: LOCAL_Q{l} SPECIES=q SWITCH={{{near}}} MEAN"
    compare(tmp_path, action, copper, keys | {"outputs": ("mean_local",)}, local, of("a", "mean"))
    average = order + f"a: LOCAL_AVERAGE SPECIES=q SWITCH={{{near}}} MEAN"
    compare(tmp_path, action, copper, keys | {"outputs": ("mean_averaged",)}, average, of("a", "mean"))


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_in_plumed_are_those_of_the_values(action, tmp_path, kind):
    """Of every kind of variable, through the action: positions and cell."""
    rng = np.random.default_rng(5)
    cell = np.diag([7.4, 7.1, 7.7])
    places = np.array([[0, 0, 0], [0.3, 0.3, 0], [0.3, 0, 0.3], [0, 0.3, 0.3]])
    atoms = Atoms("Ti2O2", places @ cell + rng.normal(0, 0.2, (4, 3)), cell=cell, pbc=True)
    keys = {"name": "p", "centres": ["Ti", "O"], "neighbours": ["Ti", "O"], "tolerance": 1e-9} | KINDS[kind]
    variables = build_variables([variable_section(keys)], Frame.from_ase(atoms))
    names = variables["p"].outputs
    with CVServer(CVServerConfig(address=str(tmp_path / "cv.sock")), variables) as server:
        lines = [
            f"UNITS LENGTH=A ENERGY=eV\nLOAD FILE={action}",
            f"a: FORCESERVER ADDRESS={server.address} CV=p",
            f"n: FORCESERVER ADDRESS={server.address} CV=p NUMERICAL_DERIVATIVES",
            *(f"DUMPDERIVATIVES ARG=a.{name},n.{name} FILE={name} FMT=%.10f" for name in names),
        ]
        run = driver(tmp_path, "\n".join(lines) + "\n", [atoms])
    assert run.returncode == 0, run.stdout + run.stderr
    largest = []
    for name in names:
        _, _, analytical, numerical = table(tmp_path / name).values()
        assert len(analytical) == 3 * 4 + 9
        largest.append(abs(analytical).max())
        np.testing.assert_allclose(analytical, numerical, rtol=1e-5, atol=1e-5)
    assert max(largest) > 1e-3


@pytest.mark.torch
@pytest.mark.parametrize(("number", "name"), [(1, "up"), (2, "down")])
def test_an_exported_variable_in_plumeds_metatomic(action, batio3, tmp_path, number, name):
    """Values, forces and virials of `forceserver export --cv` beside those of our action."""
    pytest.importorskip("metatomic.torch")
    library = os.environ.get("FORCESERVER_PLUMED_METATOMIC")
    if not library:
        pytest.skip("no METATOMIC action")
    from forceserver.export.variable import export_variable

    keys = {"name": "p", "centres": "Ti", "neighbours": ("O", "Ti"), "kind": "power_spectrum", "basis": BASIS}
    keys |= {"weights": weights_file("ti_o.npz"), "outputs": ("up", "down"), "tolerance": 1e-10}
    export_variable(variable_section(keys), tmp_path / "p.pt")
    types = {
        symbol: ",".join(str(k + 1) for k in np.flatnonzero(batio3.symbols == symbol)) for symbol in ("Ba", "Ti", "O")
    }
    species = " ".join(f"SPECIES{k + 1}={atoms}" for k, atoms in enumerate(types.values()))
    plumed = (
        f"LOAD FILE={library}\nm: METATOMIC MODEL=p.pt {species} SPECIES_TO_TYPES=56,22,8\n"
        f"c: SELECT_COMPONENTS ARG=m COMPONENTS={number}"
    )
    compare(tmp_path, action, [batio3], keys | {"outputs": (name,)}, plumed, "c")
