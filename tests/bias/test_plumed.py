"""PLUMED hosted by us: the user's plumed.dat as a potential."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from polarization import POLARIZATION

from forceserver.bias.choice import build_bias
from forceserver.bias.journal import RecentSteps
from forceserver.bias.plumed.actions import forgotten
from forceserver.bias.plumed.config import PlumedConfig
from forceserver.bias.plumed.files import warnings_in
from forceserver.bias.plumed.host import PlumedBias
from forceserver.bias.plumed.input import keyword, label_of, named_files, read_actions, read_input, split
from forceserver.bias.plumed.kernel import load_kernel
from forceserver.bias.plumed.written_files import check_made_folders, make_folders, written_files
from forceserver.cv import build_variables, variable_section
from forceserver.errors import BiasError, InputError
from forceserver.frame import Frame

KJ = 1 / 96.48533212331  # kJ/mol in eV

SECTION = POLARIZATION | {"name": "p", "outputs": ["x", "y", "z", "norm"]}


@pytest.fixture
def make(batio3, tmp_path, monkeypatch):
    """A function that makes the bias of a plumed.dat."""
    monkeypatch.chdir(tmp_path)
    made = []

    def make(text, masses=None, **settings):
        (tmp_path / "plumed.dat").write_text(text)
        section = PlumedConfig.model_validate(
            {"engine": "plumed", "plumed_dat": tmp_path / "plumed.dat", "time_step_fs": 1.0, "temperature_K": 300}
            | settings
        )
        frame = replace(Frame.from_ase(batio3), masses=masses)
        variables = build_variables([variable_section(SECTION)], frame)
        made.append(PlumedBias(section, variables, frame, load_kernel()))
        return made[-1]

    yield make
    for bias in made:
        bias.close()


def test_input_is_read_as_plumed_reads_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.dat").write_text("q: EXTRACV NAME=two # NAME=no\n")
    (tmp_path / "plumed.dat").write_text(
        "# EXTRACV NAME=comment\np: EXTRACV NAME=one\nINCLUDE FILE=other.dat\nEXTRACV ...\n  LABEL=r\n  NAME=three\n"
        "... EXTRACV\nPRINT ARG=p,q FILE=COLVAR\nENDPLUMED\ns: EXTRACV NAME=after\n"
    )
    actions = read_actions(tmp_path / "plumed.dat")
    assert [keyword(a, "NAME") for a in actions if a[0] == "EXTRACV"] == ["one", "two", "three"]
    assert actions[-1] == ["PRINT", "ARG=p,q", "FILE=COLVAR"]
    assert keyword(split("METAD ARG={x y} FILE={a folder/H}"), "FILE") == "a folder/H"
    (tmp_path / "plumed.dat").write_text("METAD ...\nARG=p\n")
    with pytest.raises(InputError, match=r"METAD ARG=p \.\.\. does not end"):
        read_actions(tmp_path / "plumed.dat")


def test_labels_are_kept_for_those_who_ask(tmp_path):
    (tmp_path / "plumed.dat").write_text("p: EXTRACV NAME=one\nMETAD ...\n  LABEL=m ARG=p\n...\nPRINT ARG=p\n")
    actions = read_input(tmp_path / "plumed.dat")
    assert [label_of(words) for words in actions] == ["p", "m", ""]
    assert read_actions(tmp_path / "plumed.dat") == [["EXTRACV", "NAME=one"], *actions[1:]]


def test_files_that_an_input_writes():
    """Also those whose names are PLUMED's own."""
    actions = [split(line) for line in ("METAD ARG=x WALKERS_N=2 WALKERS_ID=1 WALKERS_DIR=h", "OPES_METAD ARG=x")]
    actions += [split("METAD FILE=H GRID_WFILE=g"), split("EXTERNAL FILE=read"), split("PRINT ARG=x")]
    assert written_files(actions) == ["h/HILLS.1", "KERNELS", "g", "H"]


@pytest.mark.parametrize("text", ["METAD FILE=H WALKERS_DIR=../taken/hills", "PRINT FILE=../taken/COLVAR"])
def test_folders_that_cannot_be_made_are_refused(tmp_path, monkeypatch, text):
    """By `check`, and by a driver with the exit code of a wrong input: `launch` tried such drivers again and again."""
    (tmp_path / "run").mkdir()
    (tmp_path / "taken").touch()
    monkeypatch.chdir(tmp_path / "run")
    with pytest.raises(InputError, match=r"taken.* is a file; name another folder"):
        check_made_folders([split(text)], tmp_path / "run")
    with pytest.raises(InputError, match=r"taken.* is a file; name another folder"):
        make_folders([split(text)])
    check_made_folders([split("PRINT FILE=/dev/null"), split("METAD WALKERS_DIR=../new/hills")], tmp_path / "run")


def test_files_that_an_input_names(tmp_path):
    """Those that exist, also of included files; comments name none, in whatever encoding they are."""
    for name in ("grid", "a.pdb", "b.pdb", "HILLS.0", "comment"):
        (tmp_path / name).touch()
    (tmp_path / "more.dat").write_text("METAD ARG=d FILE=HILLS.0\n")
    (tmp_path / "plumed.dat").write_bytes(
        b"# \xc5 FILE=comment\nEXTERNAL ARG=d FILE=grid\nPATH REFERENCE={a.pdb,b.pdb}\nINCLUDE FILE=more.dat\n"
        b"PRINT ARG=d FILE=COLVAR\n"
    )
    found = named_files(tmp_path / "plumed.dat", tmp_path)
    assert found == {"grid", "a.pdb", "b.pdb", "more.dat", "HILLS.0"}


@pytest.mark.plumed
def test_plumed_weighs_atoms_with_the_masses_of_the_template(make, batio3):
    """Isotopes count: the centre of mass of a light and a heavy atom is not that of two equal ones."""
    masses = np.array([2.0141, 18.0, *np.ones(38)])
    bias = make("c: COM ATOMS=1,2\nd: DISTANCE ATOMS=c,3 NOPBC\nRESTRAINT ARG=d AT=0 KAPPA=2\n", masses=masses)
    centre = (masses[:2, None] * batio3.positions[:2]).sum(axis=0) / masses[:2].sum()
    distance = np.linalg.norm(batio3.positions[2] - centre) / 10
    assert bias.compute_one(Frame.from_ase(batio3)).energy == pytest.approx(distance**2 * KJ, rel=1e-6)


EXTRA_X = "x: EXTRACV NAME=p_x\n"
UMBRELLAS = "u: ECV_UMBRELLAS_LINE ARG=x CV_MIN=-0.1 CV_MAX=0.5 SIGMA=0.05 BARRIER=20\n"


@pytest.mark.plumed
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{EXTRA_X}METAD ARG=x ADAPTIVE=GEOM SIGMA=0.1 HEIGHT=1 PACE=2\n", "ADAPTIVE=GEOM needs derivatives"),
        (f"{EXTRA_X}METAD ARG=x SIGMA=0.1 HEIGHT=1 PACE=2 GRID_MIN=-1 GRID_MAX=1 GRID_RFILE=g\n", "GRID_RFILE takes"),
        (f"{EXTRA_X}OPES_METAD ARG=x PACE=2 BARRIER=9 SIGMA=0.1 STATE_RFILE=S\n", "STATE_RFILE takes a restart"),
        (
            f"{EXTRA_X}PBMETAD ARG=x SIGMA=0.1 HEIGHT=1 PACE=2 GRID_MIN=-1 GRID_MAX=1 GRID_RFILES=g\n",
            "GRID_RFILES takes",
        ),
        ("d: DIPOLE GROUP=1-4\nRESTRAINT ARG=d AT=0 KAPPA=1\n", "DIPOLE needs charges"),
        ("RESTART NO\n", "RESTART NO begins a new bias"),
        (
            f"{EXTRA_X}METAD ARG=x SIGMA=0.1 HEIGHT=1 PACE=2 WALKERS_MPI\n",
            "share hills by files .WALKERS_N, WALKERS_ID",
        ),
        (f"{EXTRA_X}METAD ARG=x SIGMA=0.1 HEIGHT=1 PACE=2 RESTART=NO\n", "METAD RESTART=NO begins a new bias"),
        (
            f"{EXTRA_X}METAD ARG=x SIGMA=0.1 HEIGHT=1 PACE=2\nMETAD ARG=x SIGMA=0.2 HEIGHT=1 PACE=2 FILE=./HILLS\n",
            "2 actions write to HILLS",
        ),
        (f"{EXTRA_X}PRINT ARG=x FILE=COLVAR\nPRINT ARG=x FILE=COLVAR STRIDE=5\n", "2 actions write to COLVAR"),
    ],
)
def test_what_plumed_would_do_wrong_is_refused(make, tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        make(text)
    assert [path.name for path in tmp_path.iterdir()] == ["plumed.dat"]


def test_what_a_restart_forgets_is_known():
    def lost(line):
        return forgotten([line.split()])

    assert lost("METAD ARG=x ADAPTIVE=DIFF SIGMA=3") == ["ADAPTIVE=DIFF (the spread)"]
    assert lost("OPES_METAD ARG=x BARRIER=3") == lost("OPES_METAD ARG=x SIGMA=ADAPTIVE") != []
    assert lost("ABMD ARG=x TO=1") == ["ABMD (the closest approach so far)"]
    assert not lost("OPES_METAD ARG=x SIGMA=0.1") + lost("METAD ARG=x SIGMA=1")
    assert lost("METAD ARG=x SIGMA=1 CALC_WORK") == ["METAD CALC_WORK (the work so far)"]
    moving = ["MOVINGRESTRAINT", "ARG=x", "STEP0=0"]
    assert not forgotten([moving, ["PRINT", "ARG=m.bias"]])
    assert forgotten([moving, ["PRINT", "ARG=m.x_work"]]) == forgotten([moving, ["PRINT", "ARG=m.*"]]) != []
    assert lost("HISTOGRAM ARG=x") == ["HISTOGRAM (what it has averaged)"]


@pytest.mark.plumed
@pytest.mark.parametrize(
    ("bias", "is_exact"),
    [
        ("METAD ARG=x SIGMA=0.01 HEIGHT=1 PACE=2 GRID_MIN=-1 GRID_MAX=1 GRID_WFILE=g GRID_WSTRIDE=2 FMT=%24.16g", True),
        ("PBMETAD ARG=x SIGMA=0.01 HEIGHT=1 PACE=2 FILE=H FMT=%24.16g", True),
        ("OPES_METAD ARG=x PACE=2 BARRIER=20 SIGMA=0.01 FMT=%24.16g", True),
        ("MOVINGRESTRAINT ARG=x STEP0=0 AT0=0 KAPPA0=100 STEP1=50 AT1=0.3", True),
        ("METAD ARG=x ADAPTIVE=DIFF SIGMA=10 HEIGHT=1 PACE=2 FMT=%24.16g", False),
        ("ABMD ARG=x TO=1.0 KAPPA=10000", False),
        ("METAD ARG=x SIGMA=0.01 HEIGHT=1 PACE=2 FREQUENCY_ADAPTIVE ACCELERATION FMT=%24.16g", False),
        (f"{UMBRELLAS}OPES_EXPANDED ARG=u.* PACE=2 OBSERVATION_STEPS=1 PRINT_STRIDE=1 FMT=%24.16g", True),
        (f"{UMBRELLAS}OPES_EXPANDED ARG=u.* PACE=2 OBSERVATION_STEPS=1 FMT=%24.16g", False),
    ],
)
def test_what_a_restart_forgets_is_forgotten(make, batio3, bias, is_exact):
    """The page says which actions restart exactly."""
    frames, text = walk(batio3, 30), EXTRA_X + bias + "\n"
    whole = make(text, state_file="whole")
    expected = [whole.compute_one(frame).energy for frame in frames]
    whole.close()
    for name in ("HILLS", "H", "KERNELS", "DELTAFS", "g"):
        Path(name).unlink(missing_ok=True)
    found = []
    for part in (frames[:17], frames[17:]):
        restarted = make(text, state_file="restarted")
        found += [restarted.compute_one(frame).energy for frame in part]
        restarted.close()
    assert (np.abs(np.subtract(found, expected)).max() < 1e-12) == is_exact
    assert bool(forgotten([line.split() for line in bias.splitlines()])) != is_exact


@pytest.mark.plumed
def test_an_input_that_plumed_refuses_leaves_no_files_that_would_be_continued(make, tmp_path):
    with pytest.raises(InputError, match="KAPA"):
        make(f"{EXTRA_X}METAD ARG=x SIGMA=0.1 HEIGHT=1 PACE=2\nRESTRAINT ARG=x AT=0 KAPA=1\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plumed.dat", "plumed.log"]


@pytest.mark.plumed
def test_a_volume_of_nothing_is_refused(make, batio3):
    batio3.pbc = False
    with pytest.raises(InputError, match="VOLUME needs a cell"):
        make("v: VOLUME\nRESTRAINT ARG=v AT=0 KAPPA=1\n")


METAD_X = "METAD ARG=x SIGMA=0.1 HEIGHT=1 PACE=1"


@pytest.mark.plumed
@pytest.mark.parametrize(
    ("action", "written"),
    [
        (f"{METAD_X} WALKERS_N=2 WALKERS_ID=0 WALKERS_DIR=hills/all WALKERS_RSTRIDE=2", "hills/all/HILLS.0"),
        (f"{METAD_X} FILE={{a folder/H}}", "a folder/H"),
        (f"{METAD_X} GRID_MIN=-1 GRID_MAX=1 GRID_WFILE=grids/g GRID_WSTRIDE=2", "grids/g"),
        ("OPES_METAD ARG=x PACE=2 BARRIER=9 SIGMA=0.01 STATE_WFILE=states/S STATE_WSTRIDE=4", "states/S"),
        ("DUMPDERIVATIVES ARG=x FILE=out/D", "out/D"),
        ("PRINT ARG=x FILE=out/COLVAR", "out/COLVAR"),
    ],
)
def test_folders_that_an_input_names_are_made(make, batio3, tmp_path, action, written):
    """PLUMED dies of a signal where one is missing, or fails when it first writes."""
    run(make, f"{EXTRA_X}{action}\n", walk(batio3, 6))
    assert (tmp_path / written).stat().st_size > 0


@pytest.mark.plumed
def test_files_that_plumed_writes_anew_are_not_cut(make, batio3):
    """Cut to the length of an earlier state a state would be one that no program can read."""
    bias = make(
        f"{EXTRA_X}OPES_METAD ARG=x PACE=1 BARRIER=20 SIGMA=0.001 STATE_WFILE=S STATE_WSTRIDE=10\n"
        f"{METAD_X} GRID_MIN=-1 GRID_MAX=1 GRID_WFILE=g GRID_WSTRIDE=10\n"
    )
    frames = walk(batio3, 22)
    for frame in frames:
        bias.compute_one(frame)
    bias.begin_connection()
    bias.compute_one(frames[15])
    assert sorted(path.name for path in Path().glob("*.undone")) == ["HILLS.undone", "KERNELS.undone"]
    for name in "S", "g":
        assert len(np.loadtxt(name)) > 5


@pytest.mark.plumed
def test_opes_before_its_first_kernel_says_how_to_begin_anew(make, batio3):
    """PLUMED cannot restart it from nothing."""
    text = f"{EXTRA_X}OPES_METAD ARG=x PACE=50 BARRIER=20 SIGMA=0.01\n"
    run(make, text, walk(batio3, 1))
    with pytest.raises(InputError, match=r"KERNELS is empty.*move PLUMED.state away"):
        make(text)


@pytest.mark.plumed
@pytest.mark.parametrize(
    ("units", "energy_unit", "length_unit"),  # in eV and Angstrom
    [
        ("", KJ, 10.0),
        ("UNITS ENERGY=eV LENGTH=A\n", 1.0, 1.0),
        ("UNITS ENERGY=kcal/mol LENGTH=0.05 TIME=fs\n", 4.184 * KJ, 0.5),
    ],
)
def test_energy_forces_and_virial_in_any_unit(make, batio3, units, energy_unit, length_unit):
    bias = make(
        f"{units}px: EXTRACV NAME=p_x\npn: EXTRACV NAME=p_norm\nd: DISTANCE ATOMS=2,3\n"
        "RESTRAINT ARG=px,pn,d AT=0.01,0.02,0.1 KAPPA=500,300,70\nc: COMBINE ARG=px,pn POWERS=2,1 PERIODIC=NO\n"
        "BIASVALUE ARG=c\n"
    )
    result = bias.compute_one(Frame.from_ase(batio3))
    px, pn = result.extras["p_x"], result.extras["p_norm"]
    d = batio3.get_distance(1, 2, mic=True) / length_unit
    expected = 250 * (px - 0.01) ** 2 + 150 * (pn - 0.02) ** 2 + 35 * (d - 0.1) ** 2 + px**2 + pn
    assert result.energy == pytest.approx(energy_unit * expected, rel=1e-6)

    def energy(positions, cell):
        frame = Frame.from_ase(batio3)
        frame.positions, frame.cell = positions, cell
        return bias.compute_one(frame).energy

    cell, step = batio3.cell.array, 1e-4
    for atom in (1, 2, 6, 20):
        for axis in range(3):
            move = np.zeros((40, 3))
            move[atom, axis] = step
            slope = (energy(batio3.positions + move, cell) - energy(batio3.positions - move, cell)) / (2 * step)
            assert result.forces[atom, axis] == pytest.approx(-slope, abs=1e-6)
    strain = np.zeros((3, 3))
    for a in range(3):
        for b in range(3):
            values = []
            for sign in (1, -1):
                deformation = np.eye(3)
                deformation[a, b] += sign * step
                values.append(energy(batio3.positions @ deformation, cell @ deformation))
            strain[a, b] = (values[0] - values[1]) / (2 * step)
    np.testing.assert_allclose(result.virial, -0.5 * (strain + strain.T), atol=1e-5)
    assert abs(result.virial).max() > 1e-3


METAD = "px: EXTRACV NAME=p_x\npy: EXTRACV NAME=p_y\nMETAD ARG=px,py SIGMA=0.02,0.02 HEIGHT=1.2 PACE=2 FILE=HILLS {}\n"


def hills(folder):
    return np.loadtxt(folder / "HILLS", ndmin=2)


def walk(batio3, n):
    frames = []
    for k in range(n):
        frame = Frame.from_ase(batio3)
        frame.positions += np.random.default_rng(k).normal(0, 0.02, (40, 3))
        frames.append(frame)
    return frames


def run(make, text, frames):
    """A start of PLUMED with this input, and its end."""
    bias = make(text)
    for frame in frames:
        bias.compute_one(frame)
    bias.close()


@pytest.mark.plumed
def test_hills_come_with_new_configurations_only(make, batio3, tmp_path):
    bias = make(METAD.format("BIASFACTOR=10"))
    frames = walk(batio3, 7)
    results = []
    for frame in frames:
        results.append(bias.compute_one(frame))
        again = bias.compute_one(frame)
        assert again.energy == results[-1].energy
    assert hills(tmp_path)[:, 0].tolist() == [0.002, 0.004, 0.006]
    assert results[-1].energy > 0
    assert results[-1].extras["p_x"] == pytest.approx(hills(tmp_path)[-1, 1])


RESTARTED = METAD.format("BIASFACTOR=10 FMT=%24.16g") + "PRINT ARG=px STRIDE=1 FILE=COLVAR\n"


def undisturbed(make, frames, folder):
    """Energies, HILLS and COLVAR of a run of its own; nothing of it is left."""
    bias = make(RESTARTED)
    energies = [bias.compute_one(frame).energy for frame in frames]
    bias.close()
    tables = [np.loadtxt(folder / name, ndmin=2) for name in ("HILLS", "COLVAR")]
    for path in [*folder.glob("*HILLS*"), *folder.glob("*COLVAR*"), folder / "PLUMED.state"]:
        path.unlink()
    return energies, tables


def assert_same(folder, tables):
    for name, table in zip(("HILLS", "COLVAR"), tables, strict=True):
        np.testing.assert_allclose(np.loadtxt(folder / name, ndmin=2), table, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.plumed
def test_a_restart_at_every_step_loses_and_doubles_nothing(make, batio3, tmp_path):
    frames = walk(batio3, 9)
    expected, tables = undisturbed(make, frames, tmp_path)
    for frame, energy in zip(frames, expected, strict=True):
        for _ in range(2):  # the configuration comes again after a restart
            bias = make(RESTARTED)
            assert bias.compute_one(frame).energy == pytest.approx(energy, rel=1e-9)
            bias.close()
    assert_same(tmp_path, tables)


@pytest.mark.plumed
def test_death_between_the_update_and_the_note_of_it_doubles_nothing(make, batio3, tmp_path, monkeypatch):
    frames = walk(batio3, 9)
    expected, tables = undisturbed(make, frames, tmp_path)

    def die(*_, **__):
        raise KeyboardInterrupt

    for frame, energy in zip(frames, expected, strict=True):
        bias = make(RESTARTED)
        with monkeypatch.context() as patch:
            patch.setattr(RecentSteps, "tick", die)
            with pytest.raises(KeyboardInterrupt):
                bias.compute_one(frame)
        bias.close()
        bias = make(RESTARTED)
        assert bias.compute_one(frame).energy == pytest.approx(energy, rel=1e-9)
        bias.close()
    assert_same(tmp_path, tables)


@pytest.mark.plumed
@pytest.mark.parametrize("rounding", [0, 1e-8])
def test_an_engine_that_goes_back_takes_the_bias_with_it(make, batio3, tmp_path, rounding):
    frames = walk(batio3, 12)
    expected, tables = undisturbed(make, frames, tmp_path)
    bias = make(RESTARTED)
    for frame in frames[:10]:
        bias.compute_one(frame)
    rng = np.random.default_rng(8)
    for frame in frames[5:]:
        frame.positions += rng.uniform(-rounding, rounding, frame.positions.shape)
    bias.begin_connection()
    energies = [bias.compute_one(frame).energy for frame in frames[5:]]
    np.testing.assert_allclose(energies, expected[5:], rtol=1e-9 if rounding == 0 else 1e-5)
    for name, table in zip(("HILLS", "COLVAR"), tables, strict=True):
        found = np.loadtxt(tmp_path / name, ndmin=2)
        np.testing.assert_allclose(found, table, rtol=1e-9 if rounding == 0 else 1e-5, atol=2e-8)
    assert np.loadtxt(tmp_path / "COLVAR.undone")[:, 0] == pytest.approx([0.005, 0.006, 0.007, 0.008, 0.009])
    assert np.loadtxt(tmp_path / "HILLS.undone", ndmin=2)[:, 0] == pytest.approx([0.006, 0.008])


@pytest.mark.plumed
def test_a_new_run_from_the_first_configuration_keeps_the_old_hills(make, batio3, tmp_path):
    frames = walk(batio3, 6)
    bias = make(RESTARTED)
    for _ in range(2):
        bias.begin_connection()
        for frame in frames:
            bias.compute_one(frame)
    assert hills(tmp_path)[:, 0] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.010])


@pytest.mark.plumed
def test_starts_that_never_get_to_a_step_leave_no_copies(make, tmp_path, monkeypatch):
    monkeypatch.setenv("PLUMED_MAXBACKUP", "3")  # PLUMED refuses to make more
    for _ in range(6):
        make(RESTARTED).close()
    assert not list(tmp_path.glob("bck.*"))


@pytest.mark.plumed
def test_any_number_of_restarts(make, batio3, tmp_path, monkeypatch):
    monkeypatch.setenv("PLUMED_MAXBACKUP", "3")
    for frame in walk(batio3, 6):
        run(make, RESTARTED, [frame])
    assert not list(tmp_path.glob("bck.*"))
    assert {path.name for path in tmp_path.glob("plumed.log*")} == {"plumed.log", "plumed.log.old"}


@pytest.mark.plumed
def test_lost_hills_are_an_error(make, batio3, tmp_path):
    run(make, RESTARTED, walk(batio3, 5))
    (tmp_path / "HILLS").unlink()
    with pytest.raises(InputError, match=r"HILLS had \d+ bytes after the last step and has 0 now; bring it back"):
        make(RESTARTED)


@pytest.mark.plumed
def test_an_edited_file_is_not_cut_within_a_line(make, batio3, tmp_path):
    """It was cut to its length before, and the last hill was lost without a word."""
    run(make, RESTARTED, walk(batio3, 9))
    (tmp_path / "HILLS").write_bytes((tmp_path / "HILLS").read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(InputError, match=r"HILLS had \d+ bytes .* it was edited; bring it back"):
        make(RESTARTED)


@pytest.mark.plumed
def test_warnings_in_the_log_of_plumed_are_told_once_a_start(make, batio3, caplog):
    """Nobody reads a log of hundreds of lines."""
    text = f"{EXTRA_X}METAD ARG=x SIGMA=0.01 HEIGHT=1 PACE=2 GRID_MIN=-1 GRID_MAX=1 GRID_BIN=20\n"
    for part in (walk(batio3, 3), walk(batio3, 6)[3:]):
        run(make, text, part)
    told = [record.message for record in caplog.records if record.message.startswith("PLUMED: ")]
    assert len(told) == 2
    assert told[0] == told[1]
    assert "Using a METAD with a Grid Spacing larger than half of the Gaussians width" in told[0]


def test_which_lines_of_a_log_are_warnings(tmp_path):
    (tmp_path / "log").write_text(
        "PLUMED: Action METAD\nPLUMED:  +++ WARNING +++ previous epsilon was 1 while now it is 2. diff = 1\n"
        "PLUMED:   WARNING: artifacts\nPLUMED:   WARNING: artifacts\n"
        "PLUMED:  +++ WARNING +++ RESTART from KERNELS might be approximate, use STATE_WFILE\n"
    )
    assert warnings_in(tmp_path / "log") == ["previous epsilon was 1 while now it is 2. diff = 1", "artifacts"]
    assert warnings_in(tmp_path / "none") == []


@pytest.mark.plumed
def test_two_biases_cannot_write_to_one_file(make, batio3, tmp_path):
    """PLUMED renamed the file of the first, which went on writing to it, and restarted from that of the second."""
    first = make(RESTARTED, state_file="one")
    for frame in walk(batio3, 9):
        first.compute_one(frame)
    with pytest.raises(InputError, match="another process writes to HILLS"):
        make(RESTARTED, state_file="two")
    assert not list(tmp_path.glob("bck.*"))
    first.close()
    make(RESTARTED, state_file="one").close()


@pytest.mark.plumed
@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("BIASFACTOR=10", "BIASFACTOR=5", "BIASFACTOR of METAD 1 was 10, is 5"),
        ("NAME=p_x", "NAME=p_z", "METAD 1 acts on another variable: 'px: EXTRACV NAME=p_x' has become"),
        ("HEIGHT=1.2", "HEIGHT=2.4", None),
    ],
)
def test_another_input_for_the_hills_of_before(batio3, tmp_path, monkeypatch, caplog, one, other, message):
    monkeypatch.chdir(tmp_path)
    frame = Frame.from_ase(batio3)
    variables = build_variables([variable_section(SECTION)], frame)
    section = {"plumed_dat": tmp_path / "plumed.dat", "time_step_fs": 1.0, "temperature_K": 300}

    def energy(text, frames):
        (tmp_path / "plumed.dat").write_text(text)
        bias = build_bias(PlumedConfig(**section), variables, frame)
        found = [bias.compute_one(frame).energy for frame in frames]
        bias.close()
        return found[-1]

    frames = walk(batio3, 8)
    before = energy(METAD.format("BIASFACTOR=10 FMT=%24.16g"), frames)
    text = METAD.format("BIASFACTOR=10 FMT=%24.16g").replace(one, other)
    if message:
        with pytest.raises(InputError, match=message):
            energy(text, frames[-1:])
    else:
        assert energy(text, frames[-1:]) == pytest.approx(before, rel=1e-9)
        told = [record.message for record in caplog.records if "other settings" in record.message]
        assert [text.split(": ")[1].split()[0] for text in told] == ["without", "with"]


@pytest.mark.plumed
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q: EXTRACV NAME=p_q\n", "no variable offers EXTRACV NAME=p_q; there are p_x, p_y, p_z, p_norm"),
        ("METAD ARG=nothing SIGMA=1 HEIGHT=1 PACE=1\n", "PLUMED refuses .*nothing"),
        ("d: DISTANSE ATOMS=1,2\n", "PLUMED refuses .*DISTANSE"),
        ("d: DISTANCE ATOMS=1,4000\n", "PLUMED refuses"),
        ("e: ENERGY\nRESTRAINT ARG=e AT=0 KAPPA=1\n", "uses ENERGY"),
    ],
)
def test_bad_input_is_refused_with_plumeds_own_words(make, text, message):
    with pytest.raises(InputError, match=message):
        make(text)


@pytest.mark.plumed
def test_failure_during_the_run_names_the_step(make, batio3):
    bias = make("px: EXTRACV NAME=p_x\nMETAD ARG=px SIGMA=0.01 HEIGHT=1 PACE=1 GRID_MIN=5 GRID_MAX=6 GRID_BIN=100\n")
    with pytest.raises(BiasError, match=r"PLUMED at step 0: .*a value outside the grid .*\(arg name: px\)"):
        bias.compute_one(Frame.from_ase(batio3))


def test_kernel_that_is_not_there(monkeypatch):
    monkeypatch.setenv("PLUMED_KERNEL", "/nonexistent/libplumedKernel.so")
    with pytest.raises(InputError, match="conda install -c conda-forge plumed py-plumed"):
        load_kernel()


def test_kernel_that_is_none(monkeypatch, tmp_path):
    (tmp_path / "libplumedKernel.so").write_text("no library")
    monkeypatch.setenv("PLUMED_KERNEL", str(tmp_path / "libplumedKernel.so"))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_kernel()
