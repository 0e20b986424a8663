"""Simulations that go on where they were stopped, without i-PI: what is chosen, copied, and told."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from learn_case import crystal, write_case

from forceserver.configuration import read_configuration
from forceserver.files import write_json
from forceserver.ipi.input import read_ipi_input
from forceserver.learn import history, resuming, rounds
from forceserver.learn.config import LearnConfig, load
from forceserver.learn.inputs import Inputs, planned
from forceserver.learn.outcome import Outcome
from forceserver.learn.record import Record
from forceserver.learn.resuming import Begun, begun, place
from forceserver.learn.simulations import Beginning
from forceserver.template_structure import read_template

NAME = "crystal-600K"
COMMITTEE = {
    "kind": "trusted",
    "force_threshold_ev_per_angstrom": 0.5,
    "save_to": "uncertain.extxyz",
    "potential": {
        "kind": "committee",
        "members": [
            {"kind": "ase", "calculator": "ase.calculators.lj.LennardJones", "arguments": {"epsilon": e, "sigma": 2.3}}
            for e in (0.1, 0.2)
        ],
    },
}
"""Two members that agree in the crystal, where there are no forces, and the less the more its atoms are displaced."""


def write_state(folder: Path, name: str, step: int, displaced: float, beads: int = 1) -> None:
    """A state of i-PI: the input with a step, and other positions."""
    text = (folder / "input.xml").read_text().replace("<total_steps>", f"<step>{step}</step><total_steps>")
    atoms = crystal()
    atoms.rattle(displaced, seed=1)
    atoms.write(folder / f"{name}.extxyz")
    (folder / name).write_text(text.replace("start.extxyz", f"{name}.extxyz"))


def stopped(config: LearnConfig, step: int = 9, end: str = "uncertain", **states: tuple[int, float]) -> Path:
    """The folder of a simulation of the first round, with states: by name, step and displacement, Angstrom."""
    folder = rounds.round_of(config.folder, 0).simulations / NAME
    folder.mkdir(parents=True)
    Inputs(planned(config)[0], COMMITTEE, seed=1, every=5).write(folder)
    write_json(folder / "outcome.json", Outcome(NAME, step, 20, end).__dict__)
    for name, (at, displaced) in states.items():
        write_state(folder, name.replace("_", "."), at, displaced)
    return folder


CERTAIN, UNCERTAIN = 0.01, 0.4


@pytest.fixture
def config(tmp_path):
    return load(write_case(tmp_path))


@pytest.mark.parametrize(
    ("states", "step"),
    [
        ({"RESTART": (9, CERTAIN), "out_certain": (5, CERTAIN)}, 9),
        ({"RESTART": (9, UNCERTAIN), "out_certain": (5, CERTAIN)}, 5),
        ({"RESTART": (9, UNCERTAIN), "out_certain": (5, UNCERTAIN), "out_checkpoint": (2, CERTAIN)}, 2),
        ({"RESTART": (9, UNCERTAIN), "out_certain": (0, CERTAIN)}, None),
        ({}, None),
    ],
)
def test_the_newest_state_of_which_its_model_was_certain(config, states, step):
    found = place(stopped(config, **states), stops=3, every=5)
    if step is None:
        assert found is None
    else:
        assert found.begun == Begun(step, 9, 1)


@pytest.mark.parametrize("end", ["complete", "failed"])
def test_what_was_not_stopped_begins_anew(config, end):
    assert place(stopped(config, end=end, RESTART=(9, CERTAIN)), stops=3, every=5) is None


def test_all_beads_must_be_certain(config, monkeypatch):
    folder = stopped(config, RESTART=(9, CERTAIN))
    text = (folder / "RESTART").read_text()
    (folder / "RESTART").write_text(text.replace("nbeads='1'", "nbeads='2'").replace('nbeads="1"', 'nbeads="2"'))
    state = read_ipi_input(folder / "RESTART")
    assert state.systems[0].positions_of_beads.shape == (2, 8, 3)
    assert resuming.last_certain(folder).step == 9
    state.systems[0].positions_of_beads[1] += np.random.default_rng(0).normal(size=(8, 3)) * UNCERTAIN
    monkeypatch.setattr(resuming, "_states", lambda folder: [state])
    assert resuming.last_certain(folder) is None


def test_stopped_at_one_place_again_and_again_it_begins_anew(config, capfd):
    """Farther by no more than a look counts as the same place; the first structures of it do not count."""
    folder = stopped(config, RESTART=(9, CERTAIN))
    write_json(folder / "begun.json", Begun(4, 4, 1).__dict__)
    assert place(folder, stops=3, every=5).begun == Begun(9, 9, 2)
    assert place(folder, stops=3, every=4).begun == Begun(9, 9, 1)
    assert place(folder, stops=2, every=5) is None
    assert f"{NAME} was stopped 2 times in a row at step 9, and begins anew" in capfd.readouterr().err


def second(config: LearnConfig, train: Sequence[Atoms] = ()) -> Path:
    """The folder of the simulation in the second round, whose model has learned some structures."""
    one = rounds.round_of(config.folder, 1)
    rounds.write(one.train, train)
    folder = one.simulations / NAME
    Beginning(planned(config)[0], one, config, limit=0.7, seed=3).copy_to(folder)
    return folder


def test_its_folder_is_taken_along(config):
    """With what a bias has written; not what was saved of structures, nor logs, locks and other states."""
    before = stopped(config, RESTART=(9, UNCERTAIN), out_certain=(5, CERTAIN))
    for name in ("HILLS", "out.properties", "ipi.log", "launch.lock", "uncertain.extxyz", "record.extxyz"):
        (before / name).write_text(f"{name} of before")
    folder = second(config)
    assert {path.name for path in folder.iterdir()} == {
        *("config.toml", "input.xml", "start.extxyz", "RESTART", "begun.json", "HILLS", "out.properties"),
        *("RESTART.extxyz", "out.certain.extxyz"),  # of this test
    }
    assert (folder / "HILLS").read_text() == "HILLS of before"
    state = read_ipi_input(folder / "RESTART")
    assert (state.step, state.total_steps) == (5, 20)
    assert begun(folder) == Begun(5, 9, 1)
    text = (folder / "config.toml").read_text()
    assert "force_threshold_ev_per_angstrom = 0.7" in text
    assert 'kind = "ace"' in text
    assert read_ipi_input(folder / "input.xml").checkpoints[-1].name == "out.certain"


def test_what_the_reference_has_computed_is_no_reason_to_stop_again(config):
    """Members disagree about the only structure of its kind: its simulation goes on there without a look at it."""
    before = stopped(config, RESTART=(9, UNCERTAIN))
    there = read_template(read_configuration(before / "config.toml").structure).to_ase()
    there.positions = read_ipi_input(before / "RESTART").systems[0].positions
    assert place(before, stops=3, every=5) is None
    near = there.copy()
    near.positions[0, 0] += 0.001
    assert place(before, stops=3, every=5, train=[near]) is None
    folder = second(config, [near, there])
    assert begun(folder) == Begun(9, 9, 1)
    assert "first_check = 5" in (folder / "config.toml").read_text()


@pytest.mark.parametrize(("known", "first"), [(False, 0), (True, 5)])
def test_a_first_structure_that_was_computed_is_not_looked_at(config, known, first):
    folder = second(config, [crystal()] if known else [])
    assert f"first_check = {first}" in (folder / "config.toml").read_text()


def test_a_longer_simulation_goes_on(config):
    stopped(config, RESTART=(9, CERTAIN))
    longer = with_changes(config, steps=50)
    assert read_ipi_input(second(longer) / "RESTART").total_steps == 50


@pytest.mark.parametrize(("change", "told"), [({"timestep_fs": 2.0}, True), ({"resume": False}, False)])
def test_it_begins_anew(config, change, told, capfd):
    """As another simulation, or because it is to."""
    stopped(config, RESTART=(9, CERTAIN))
    folder = second(with_changes(config, **change))
    assert not (folder / "RESTART").exists()
    assert begun(folder) == Begun()
    said = capfd.readouterr().err
    assert (f"{NAME} is another simulation than in the round before, and begins anew" in said) is told


def test_another_structure_is_another_simulation(config):
    stopped(config, RESTART=(9, CERTAIN))
    atoms = crystal()
    atoms.rattle(0.01)
    atoms.write(config.simulations[0].structure)
    assert begun(second(config)) == Begun()


def test_without_resume_no_states_are_kept(config):
    assert "certain" not in (second(with_changes(config, resume=False)) / "input.xml").read_text()


def with_changes(config: LearnConfig, **changes: object) -> LearnConfig:
    return config.model_copy(update={"simulations": [config.simulations[0].model_copy(update=changes)]})


def test_the_history_tells_how_far_they_came(config):
    """In picoseconds, each round's own once; complete without a stop is more than complete."""
    first = Outcome(NAME, 100, 500, "uncertain", 0.9, timestep_fs=2.0)
    records = [Record(0, 16, 16, 0, 0.3, [first], {}, {})]
    on = replace(first, steps=500, end="complete", began=95)
    records.append(replace(records[0], round=1, outcomes=[on]))
    assert not records[-1].all_complete
    text = history.table(records, config)
    row = next(line for line in text.splitlines() if NAME in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        *(NAME, "500 of 500", "1", "1.01", "1", "1"),
        "complete, went on from 95",
    ]
    records.append(replace(records[0], round=2, outcomes=[replace(on, began=0)]))
    assert records[-1].all_complete
    config.folder.mkdir()
    history.write(config, records)
    assert (config.folder / "history.png").read_bytes().startswith(b"\x89PNG")
