"""The studies of barium titanate: their inputs are accepted, and a few steps of each give data and a picture."""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from proc import descendants

from forceserver.campaign import Inputs, Simulation
from forceserver.campaign.edits import set_total_steps
from forceserver.configuration import read_configuration
from forceserver.errors import InputError
from forceserver.locks import locked_folder
from forceserver.preflight import WRONG, inspect

FOLDER = Path(__file__).parents[2] / "workflows" / "batio3"
STEPS = {"path_integral": 260, "walkers": 260, "npt": 120, "finite_size": 40, "replica_exchange": 40}
"""Rows of COLVAR make ten blocks; trajectories are content with fewer."""
RUNS = {"path_integral": ("--only", "1", "--only", "16")}
"""Where a study has more runs than a test needs."""

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="not in the repository")


def start(study: str, runs: Path, steps: int, *options: str) -> subprocess.Popen:
    command = [sys.executable, FOLDER / "study.py", study, "--runs", runs, "--steps", str(steps), *options]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen) -> str:
    said, _ = process.communicate(timeout=280)
    assert process.returncode == 0, said
    return said


def properties(path: Path) -> np.ndarray:
    return np.loadtxt(path, ndmin=2)


@pytest.mark.parametrize("config", [*(f"{study}/forceserver.toml" for study in STEPS), "path_integral/opes.toml"])
def test_inputs_fit_together(config):
    config = FOLDER / config
    settings = read_configuration(config)
    wrong = [
        finding
        for finding in inspect(config, settings, drivers=1, simulation=settings.simulation.input)
        if finding.verdict is WRONG
    ]
    assert not wrong


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module("study")
    sys.modules.pop("study")


def test_runs_differ_in_what_is_said(study, tmp_path):
    for name, number, inside in (
        ("path_integral", "8", ("8", "8", "70", "2022")),
        ("path_integral_opes", "1", ("1", "1", "70", "2022")),
        ("walkers", "3", ("1", "70", "2025")),
    ):
        run = study.simulation(name, number, tmp_path / name)
        run.prepare(70)
        text = ElementTree.parse(run.folder / "input.xml")
        places = ("system/initialize", "ffsocket/batch_size", "total_steps", "prng/seed")
        found = [text.find(place) for place in places]
        values = [element.get("nbeads", element.text) for element in found if element is not None]
        assert tuple(value.strip() for value in values) == inside
        settings = read_configuration(run.folder / "forceserver.toml")
        assert settings.structure.file.is_file()
        assert settings.potential.model == study.MODEL
    assert settings.bias.metadynamics.walkers.id == 3


def test_an_element_that_is_not_there_is_named(study, tmp_path):
    files = {name: FOLDER / "walkers" / name for name in study.INPUTS}
    for file, changes, message in (
        ("input.xml", {"/ffsocket/batch_size": 2}, r"input\.xml: there is no /ffsocket/batch_size"),
        ("input.xml", {"//initialize@beads": 2}, r"input\.xml: there is no //initialize@beads"),
        ("forceserver.toml", {"bias.metadynamics.walkers.number": 2}, r"toml: there is no bias\.metadynamics\.walkers"),
        ("plumed.dat", {"WALKERS_ID=7": "WALKERS_ID=8"}, r"plumed\.dat does not contain 'WALKERS_ID=7'"),
    ):
        run = Simulation(tmp_path / "run", Inputs(files, {file: changes}))
        with pytest.raises(InputError, match=message):
            run.prepare()
        assert not run.folder.exists()


def test_steps_of_a_state_that_leaves_them_out(tmp_path):
    (tmp_path / "RESTART").write_text(
        "<simulation><!-- a state --><step>7</step><prng><seed>1</seed></prng></simulation>"
    )
    for steps in (50, 60):
        set_total_steps(tmp_path / "RESTART", steps)
    root = ElementTree.parse(tmp_path / "RESTART").getroot()
    assert [element.text for element in root.iter("total_steps")] == ["60"]
    assert root.find("step").text == "7"


@pytest.mark.parametrize("study", ["path_integral", "walkers"])
def test_plumed_is_asked_for_the_same_hills(study):
    """`engine = "auto"` leaves the choice to the machine, so it must make no difference."""
    settings = read_configuration(FOLDER / study / "forceserver.toml")
    text = (FOLDER / study / "plumed.dat").read_text()
    bias, words = settings.bias.metadynamics, dict(word.split("=", 1) for word in text.split() if "=" in word)
    lists = {"GRID_MIN": "lower", "GRID_MAX": "upper", "SIGMA": "sigma"}
    biased = [variable for variable in bias.variables if variable.hills]
    assert f"ARG={','.join(variable.name for variable in biased)} SIGMA" in text
    for key, name in lists.items():
        assert [float(x) for x in words[key].split(",")] == [getattr(variable, name) for variable in biased]
    assert float(words["HEIGHT"]) == pytest.approx(bias.hills.height_eV * 96.48533212, rel=1e-5)
    assert float(words["PACE"]) == bias.hills.pace_steps
    assert float(words["BIASFACTOR"]) == bias.hills.bias_factor
    assert float(words["TEMP"]) == bias.hills.temperature_K == settings.bias.plumed.temperature_K
    assert float(words["STRIDE"]) == bias.colvar_stride_steps
    assert settings.bias.plumed.time_step_fs == bias.time_step_fs


LONG = ("npt", "finite_size", "replica_exchange")
"""The others stand for them in `make test-long`: walkers in processes of their own, and beads."""


@pytest.mark.long
@pytest.mark.parametrize(
    "study", [pytest.param(study, marks=pytest.mark.slow if study in LONG else ()) for study in STEPS]
)
def test_a_few_steps(study, tmp_path):
    finish(start(study, tmp_path, STEPS[study], *RUNS.get(study, ())))
    text = (tmp_path / study / f"{study}.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    results = json.loads(text)
    assert (tmp_path / study / f"{study}.png").stat().st_size > 10_000
    if study == "path_integral":
        runs = results["beads"]
        assert list(runs) == ["1", "16"]
        assert runs["16"]["kinetic"][0] > 1.3 * runs["1"]["kinetic"][0]  # zero-point motion
        assert all(0.03 < run["norm"][0] < 0.2 for run in runs.values())
    elif study == "walkers":
        assert results["walkers"] == 4
        assert results["hills"] == 4 * (STEPS[study] // 50)
        assert sum(results["octants"][0]) == pytest.approx(1, abs=1e-4)
    elif study == "finite_size":
        assert {"2", "3"} <= set(results)
    else:
        for part in [results] if study == "replica_exchange" else [results["from_R"], results["from_T"]]:
            assert len(part["at"]) == {"npt": 16, "replica_exchange": 8}[study]
            assert all(0.03 < row["norm"][0] < 0.2 for row in part["at"].values())


def test_what_an_end_before_the_first_state_has_left_is_removed(study, tmp_path):
    """Of this run; what other walkers have written stays, and a run that goes on at this moment is left alone."""
    shared = tmp_path / "hills"
    run = study.simulation("walkers", "1", tmp_path)
    run.prepare(40)
    assert (run.step, run.total) == (0, 40)
    shared.mkdir()
    left = [run.folder / "ipi.log", run.folder / "out.properties", shared / "HILLS.1", shared / "HILLS.10"]
    for path in left:
        path.write_text("of the first trial\n")
    with locked_folder(run.folder), pytest.raises(InputError, match="is in use"):
        run.prepare(50)
    run.prepare(50)
    assert [path.exists() for path in left] == [False, False, False, True]
    assert ElementTree.parse(run.folder / "input.xml").find("total_steps").text == "50"
    assert (run.step, run.total) == (0, 50)


@pytest.mark.slow
def test_a_study_that_was_killed_before_its_first_state(tmp_path):
    """All walkers at once; nothing of the first trial is left, in the shared folder, too."""
    process = start("walkers", tmp_path, 120)
    hills = [tmp_path / "walkers" / "hills" / f"HILLS.{k}" for k in range(4)]
    deadline = time.monotonic() + 200
    while not all(path.exists() and "polarization_x" in path.read_text() for path in hills):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for pid in [process.pid, *descendants(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    finish(start("walkers", tmp_path, 260))
    for walker in range(4):
        rows = np.loadtxt(hills[walker])
        assert len(rows) == 5
        steps = np.loadtxt(tmp_path / "walkers" / str(walker) / "out.properties")[:, 0]
        assert steps.tolist() == list(range(0, 261, 20))


@pytest.mark.slow
def test_an_interrupted_study_goes_on(tmp_path):
    """SIGTERM in the middle, the same command again, then more steps: one trajectory, as if nothing had been."""
    process = start("replica_exchange", tmp_path, 600)
    out = tmp_path / "replica_exchange" / "2" / "50K_out.properties"
    deadline = time.monotonic() + 120
    while not (out.exists() and len(out.read_text().splitlines()) > 20):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) != 0
    finish(start("replica_exchange", tmp_path, 600))
    said = finish(start("replica_exchange", tmp_path, 800))
    assert "round trips" in said
    for system in range(8):
        path = sorted(out.parent.glob("*_out.properties"))[system]
        table = properties(path)
        assert table[:, 0].tolist() == list(range(0, 801, 20))
        assert np.ptp(table[:, 2]) < 0.1  # eV, the conserved quantity of 40 atoms
    assert (out.parent / "out.remd_idx").stat().st_size > 0
