"""`forceserver learn` with i-PI itself: to the end, stopped, killed again and again, and with simulations that die."""

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time

import ase.io
import numpy as np
import pytest
from learn_case import with_failures, write_case
from proc import alive, descendants

from forceserver.learn import rounds
from forceserver.learn.config import load
from forceserver.new_simulation import Start, potential_section, write_start
from forceserver.potentials.model_files import load_model

pytestmark = pytest.mark.timeout(1800)


def run(config, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(config, *options), capture_output=True, text=True, env=environment(config))


def command(config, *options: str) -> list[str]:
    return [sys.executable, "-m", "forceserver", "learn", str(config), *options]


def environment(config) -> dict[str, str]:
    places = os.pathsep.join([str(config.parent), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}


@pytest.mark.long
def test_a_simulation_stops_where_the_model_is_uncertain_and_that_is_learned(tmp_path):
    strict = "records = 4\n\n[uncertainty]\nforce_ev_per_angstrom = 1e-4\n\n[budget]\nreferences = 17\n"
    config = write_case(tmp_path, ("records = 4\n", strict))
    done = run(config)
    assert done.returncode == 1, done.stderr
    assert "stopped: the budget is spent, 17 references" in done.stderr
    history = json.loads((tmp_path / "learn" / "history.json").read_text())
    assert [record["structures"] for record in history] == [16, 17]
    (outcome,) = history[0]["outcomes"]
    assert (outcome["end"], outcome["steps"] < 20) == ("uncertain", True)
    assert outcome["uncertainty"] >= 1e-4
    simulation = tmp_path / "learn" / "round-000" / "simulations" / "crystal-600K"
    assert (
        "driver 1 ends the simulation: forceserver: the force on an atom is uncertain"
        in (simulation / "launch.log").read_text()
    )
    (chosen,) = rounds.read(tmp_path / "learn" / "round-001" / "selected.extxyz")
    assert chosen.info["why"] == "uncertain"
    assert history[0]["judged"]["uncertain"]["structures"] == 1
    assert load_model(tmp_path / "cuau.npz").has_members
    assert (tmp_path / "learn" / "history.png").read_bytes().startswith(b"\x89PNG")
    status = run(config, "--status")
    assert "round 1, simulations, 0 of 1 have ended" in status.stdout
    assert (tmp_path / "learn" / "history.txt").read_text() in status.stdout


@pytest.mark.slow
def test_a_stopped_simulation_goes_on_with_the_next_model(tmp_path):
    """From round to round: one trajectory, no step twice and none missing, with its velocities."""
    strict = "records = 4\n\n[uncertainty]\nforce_ev_per_angstrom = 0.15\n\n[budget]\nreferences = 19\n"
    config = write_case(tmp_path, ("records = 4\n", strict), ("steps = 20", "steps = 300"))
    done = run(config)
    assert "stopped: the budget is spent, 19 references" in done.stderr
    outcomes = [record["outcomes"][0] for record in json.loads((tmp_path / "learn" / "history.json").read_text())[:-1]]
    assert outcomes[0]["began"] == 0
    for before, now in itertools.pairwise(outcomes):
        assert before["steps"] - 5 <= now["began"] <= before["steps"] < now["steps"]
    properties = [
        np.loadtxt(tmp_path / "learn" / f"round-{number:03d}" / "simulations" / "crystal-600K" / "out.properties")
        for number in range(3)
    ]
    for before, now, outcome in zip(properties, properties[1:], outcomes[1:], strict=False):
        assert len(np.unique(now[:, 0])) == len(now)
        assert np.diff(now[:, 0]).max() == 10
        kept = before[before[:, 0] <= outcome["began"]]
        np.testing.assert_array_equal(now[: len(kept)], kept)
        temperatures = now[len(kept) - 1 : len(kept) + 1, 2]
        assert abs(np.diff(temperatures)[0]) < 300, "no new velocities"


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A run that has reached its target."""
    config = write_case(tmp_path_factory.mktemp("learn"))
    return config, run(config)


@pytest.mark.slow
def test_to_the_target(complete):
    config, done = complete
    assert done.returncode == 0, done.stderr
    assert "reached: all simulations of round" in done.stderr
    history = json.loads((config.parent / "learn" / "history.json").read_text())
    assert history[-2]["judged"]["control"]["force_rmse_ev_per_angstrom"] <= 0.5
    assert all(outcome["end"] == "complete" for outcome in history[-2]["outcomes"])


@pytest.mark.slow
def test_a_complete_run_computes_nothing_again(complete):
    config, _ = complete
    files = {path: path.stat().st_mtime_ns for path in (config.parent / "learn").glob("round-*/**/*") if path.is_file()}
    again = run(config)
    assert again.returncode == 0
    assert files == {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threshold", [None, 0.15])
def test_killed_again_and_again_it_goes_on_with_the_same_command(tmp_path, threshold, seed):
    """With the default threshold no simulation is stopped; with the other, they go on in the next round."""
    strict = f"records = 4\n\n[uncertainty]\nforce_ev_per_angstrom = {threshold}\n\n[budget]\nreferences = 20\n"
    changes = [("records = 4\n", strict), ("steps = 20", "steps = 300")] if threshold else []
    config = write_case(tmp_path, with_failures(tmp_path, "{}"), *changes)
    moments = random.Random(seed)
    kills = 0
    while True:
        process = subprocess.Popen(
            command(config), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(config)
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=moments.uniform(2, 30 + 10 * kills))
            break
        family = descendants(process.pid)
        process.kill()
        process.communicate()
        kills += 1
        deadline = time.monotonic() + 60
        while any(alive(pid) for pid in family):
            assert time.monotonic() < deadline, "something outlives it"
            time.sleep(0.1)
    assert process.returncode == (0 if threshold is None else 1)
    assert kills
    folder = load(config).folder
    every = list(rounds.rounds_in(folder))
    for one in every:
        assert len(one.labelled()) == len(rounds.read(one.selected))
    assert len((tmp_path / "calls").read_text()) <= rounds.spent(every) + kills, "at most one is lost to a kill"
    assert load_model(tmp_path / "cuau.npz").has_members
    assert not list(folder.rglob("*.new"))


@pytest.mark.slow
def test_a_signal_ends_it_in_order(tmp_path):
    config = write_case(tmp_path, ("steps = 20", "steps = 100000"))
    process = subprocess.Popen(command(config), stderr=subprocess.PIPE, text=True, env=environment(config))
    properties = tmp_path / "learn" / "round-000" / "simulations" / "crystal-600K" / "out.properties"
    while not properties.exists():
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the same command goes on" in said
    assert (properties.parent / "RESTART").exists()


@pytest.mark.slow
def test_a_simulation_that_dies_at_once_is_told_with_its_last_words(tmp_path):
    config = write_case(tmp_path)
    atoms = ase.io.read(tmp_path / "crystal.extxyz")
    atoms.positions[1] = atoms.positions[0]
    atoms.write(tmp_path / "crystal.extxyz")
    done = run(config)
    assert done.returncode == 1
    assert "the simulation crystal-600K died at once; its last words:" in done.stderr
    assert "atoms 0 and 1 are 0 Angstrom apart" in done.stderr


@pytest.mark.slow
def test_failures_of_the_reference(tmp_path):
    config = write_case(tmp_path, with_failures(tmp_path, "{2, 3, 4}"))
    done = run(config)
    assert done.returncode == 1
    assert "the reference has failed 3 times in a row" in done.stderr
    done = run(config)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_inputs_of_ones_own(tmp_path):
    """At constant pressure, with two beads, from another folder; the model of the round takes the place of theirs."""
    own = tmp_path / "own"
    structure = ase.io.read(write_case(tmp_path).parent / "crystal.extxyz")
    start = Start(ensemble="npt", temperature_K=300, beads=2, timestep_fs=2.0, steps=10)
    write_start(own, structure, potential_section("ase.calculators.emt.EMT", own), start)
    built_in = 'structure = "crystal.extxyz"\ntemperatures_K = [600]\ntimestep_fs = 4.0\nsteps = 20\n'
    config = write_case(tmp_path, (built_in, 'config = "own/config.toml"\n'))
    done = run(config)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "learn" / "round-000" / "simulations" / "own"
    assert 'kind = "trusted"' in (folder / "config.toml").read_text()
    assert json.loads((folder / "outcome.json").read_text())["total"] == 10
