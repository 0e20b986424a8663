"""A PLUMED input in a trial: what `check` does must not touch the files of a simulation."""

from types import SimpleNamespace

import numpy as np
import pytest

from forceserver.bias.plumed.config import PlumedConfig
from forceserver.bias.plumed.elsewhere import bring
from forceserver.bias.plumed.kernel import load_kernel
from forceserver.bias.plumed.written_files import check_folders
from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.preflight.answers import try_bias
from forceserver.preflight.plumed import read_by_plumed


def test_nothing_is_written_outside_and_everything_is_read(tmp_path):
    folder, trial = tmp_path / "run", tmp_path / "trial"
    for name in ("run/sub/HILLS", "run/table", "reference.pdb", "far/HILLS.1", "run/out/.keep"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    trial.mkdir()
    plumed_dat = folder / "plumed.dat"
    plumed_dat.write_text(
        f"r: RMSD REFERENCE=../reference.pdb\nm: METAD ... # comment\n ARG=r WALKERS_DIR={tmp_path}/far FILE=HILLS\n"
        f" WALKERS_N=2 WALKERS_ID=1\n...\nMETAD ARG=r FILE={{{folder}/sub/HILLS}} GRID_WFILE=../grid\n"
        "e: EXTERNAL ARG=r FILE=table\nPRINT ARG=r FILE=/dev/null\nPRINT ARG=m.bias FILE=out/COLVAR\n"
    )
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    tried = bring(plumed_dat, folder, trial)
    assert tried == trial / "plumed.dat"
    outside = f"outside{tmp_path}"
    assert tried.read_text().splitlines() == [
        f"r: RMSD REFERENCE={{{tmp_path}/reference.pdb}}",
        f"m: METAD ARG=r WALKERS_DIR={{{outside}/far}} FILE=HILLS WALKERS_N=2 WALKERS_ID=1",
        f"METAD ARG=r FILE={{{outside}/run/sub/HILLS}} GRID_WFILE={{outside/grid}}",
        "e: EXTERNAL ARG=r FILE=table",
        "PRINT ARG=r FILE=/dev/null",
        "PRINT ARG=m.bias FILE=out/COLVAR",
    ]
    assert (trial / "table").read_text() == "run/table"
    assert (trial / outside / "run/sub/HILLS").read_text() == "run/sub/HILLS"
    assert (trial / outside / "far/HILLS.1").read_text() == "far/HILLS.1"
    assert (trial / "out").is_dir()
    assert {path: path.read_text() for path in before} == before


def test_an_input_that_stays_where_it_runs_is_not_changed(tmp_path):
    (tmp_path / "plumed.dat").write_text("METAD ARG=r FILE=HILLS\n")
    (tmp_path / "trial").mkdir()
    assert bring(tmp_path / "plumed.dat", tmp_path, tmp_path / "trial") == tmp_path / "plumed.dat"
    assert not list((tmp_path / "trial").iterdir())


@pytest.mark.plumed
@pytest.mark.parametrize("way", ["hosted", "ffplumed"])
@pytest.mark.parametrize("file", ["{folder}/HILLS", "../run/HILLS"])
def test_hills_elsewhere_survive_a_trial(tmp_path, way, file):
    """`check`, and `launch --restart` before anything else, renamed them: the simulation went on without its bias."""
    folder, trial = tmp_path / "run", tmp_path / "trial"
    folder.mkdir()
    trial.mkdir()
    (folder / "HILLS").write_text("hills\n")
    (folder / "plumed.dat").write_text(
        f"d: DISTANCE ATOMS=1,2\nMETAD ARG=d SIGMA=1 HEIGHT=1 PACE=1 FILE={file.format(folder=folder)}\n"
    )
    if way == "hosted":
        section = PlumedConfig(plumed_dat=folder / "plumed.dat", time_step_fs=1.0, temperature_K=300)
        frame = Frame(np.diag([1.0, 2, 3])[:2], np.zeros((3, 3)), np.array([1, 1]), np.zeros(3, bool))
        result = try_bias(section, SimpleNamespace(cv=(), potential=None), frame, folder, trial)
        assert set(result.extras) == {"bias_eV"}
    else:
        read_by_plumed(load_kernel(), folder / "plumed.dat", 2, folder, trial)
    assert {path.name: path.read_text() for path in folder.glob("*HILLS*")} == {"HILLS": "hills\n"}


def test_what_is_included_from_above_is_found(tmp_path):
    folder, trial = tmp_path / "run", tmp_path / "trial"
    folder.mkdir()
    trial.mkdir()
    (tmp_path / "common.dat").write_text("UNITS LENGTH=A\n")
    (folder / "plumed.dat").write_text("INCLUDE FILE=../common.dat\nd: DISTANCE ATOMS=1,2\n")
    tried = bring(folder / "plumed.dat", folder, trial)
    assert tried.read_text() == "UNITS LENGTH=A\nd: DISTANCE ATOMS=1,2\n"


HILLS = (
    "#! FIELDS time d sigma_d height biasf clock\n#! SET multivariate false\n#! SET kerneltype stretched-gaussian\n"
    "1 0.5 0.1 1 5 1700000000\n"
)


@pytest.mark.plumed
@pytest.mark.parametrize("shared", ["run/hills", "hills"])
def test_a_walker_that_is_restarted_finds_the_others(tmp_path, shared):
    """`check` refused the restart: "restart file hills/HILLS.1 not found"."""
    folder, trial = tmp_path / "run", tmp_path / "trial"
    for place in (folder, trial, tmp_path / shared):
        place.mkdir()
    for number in range(2):
        (tmp_path / shared / f"HILLS.{number}").write_text(HILLS)
    place = "hills" if shared == "run/hills" else "../hills"
    (folder / "plumed.dat").write_text(
        "RESTART\nd: DISTANCE ATOMS=1,2\nMETAD ARG=d SIGMA=0.1 HEIGHT=1 PACE=1 BIASFACTOR=5 TEMP=300 WALKERS_N=2 "
        f"WALKERS_ID=0 WALKERS_DIR={place}\n"
    )
    read_by_plumed(load_kernel(), folder / "plumed.dat", 2, folder, trial)
    assert {path.name: path.read_text() for path in (tmp_path / shared).iterdir()} == dict.fromkeys(
        ["HILLS.0", "HILLS.1"], HILLS
    )


def test_a_folder_that_plumed_would_miss_is_named(tmp_path):
    """Behind a bias it is made; PLUMED inside i-PI dies of SIGSEGV."""
    (tmp_path / "plumed.dat").write_text("METAD ARG=d SIGMA=1 HEIGHT=1 PACE=1 FILE=out/HILLS\n")
    with pytest.raises(InputError, match=r"plumed\.dat writes out/HILLS: there is no folder .*/out; create it"):
        check_folders(tmp_path / "plumed.dat", tmp_path)
    (tmp_path / "out").mkdir()
    check_folders(tmp_path / "plumed.dat", tmp_path)


@pytest.mark.plumed
def test_errors_in_a_trial_name_the_file_of_the_user(tmp_path):
    (tmp_path / "trial").mkdir()
    (tmp_path / "plumed.dat").write_text("d: EXTRACV NAME=q\nMETAD ARG=d SIGMA=1 HEIGHT=1 PACE=1 FILE=../HILLS\n")
    section = PlumedConfig(plumed_dat=tmp_path / "plumed.dat", time_step_fs=1.0, temperature_K=300)
    frame = Frame(np.zeros((1, 3)), np.zeros((3, 3)), np.array([1]), np.zeros(3, bool))
    with pytest.raises(InputError, match=rf"{tmp_path}/plumed\.dat: no variable offers EXTRACV NAME=q"):
        try_bias(section, SimpleNamespace(cv=(), potential=None), frame, tmp_path, tmp_path / "trial")
