"""The steps of `forceserver learn` one by one, without simulations."""

import sys
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, Hartree
from learn_case import crystal, structures, with_failures, write_case

from forceserver.errors import InputError, PotentialError
from forceserver.fit.progress import silent
from forceserver.frame import Frame
from forceserver.learn import history, loop, rounds, start
from forceserver.learn.config import load
from forceserver.learn.inputs import planned
from forceserver.learn.judging import force_factor, judge
from forceserver.learn.outcome import Outcome
from forceserver.learn.record import Record
from forceserver.learn.reference import label
from forceserver.learn.selection import Candidate, Novelty, choose, control
from forceserver.learn.threshold import left_out, threshold
from forceserver.learn.training import train
from forceserver.potentials.model_files import load_model


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A run whose first model is fitted."""
    config = load(write_case(tmp_path_factory.mktemp("learn")))
    start.begin(config.folder, config.data)
    one = rounds.round_of(config.folder, 0)
    label(one, [], config.reference, silent)
    train(one, [], config, silent)
    return config, one


def met(config, one, name: str, frames, uncertainties) -> None:
    """What a simulation would have left."""
    folder = one.simulations / planned(config)[0].name
    for atoms, uncertainty in zip(frames, uncertainties, strict=True):
        atoms.info |= {"committee_force_uncertainty": uncertainty, "number": 7}
    rounds.write(folder / name, frames)


def test_the_reference_computes_what_has_no_labels(fitted):
    _, one = fitted
    labelled = one.labelled()
    assert len(labelled) == 16
    for atoms, bare in zip(labelled, structures(16), strict=True):
        bare.calc = EMT()
        assert atoms.info["REF_energy"] == pytest.approx(bare.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(atoms.arrays["REF_forces"], bare.get_forces(), atol=1e-6)
        np.testing.assert_allclose(
            atoms.info["REF_virial"], -bare.get_stress(voigt=False) * bare.get_volume(), atol=1e-5
        )
    assert load_model(one.model).has_members
    assert (one.report / "errors.json").exists()
    assert "16 structures with 16 energies" in (one.folder / "fit.log").read_text()


def test_labels_of_the_start_are_kept_and_others_computed(tmp_path):
    config = load(write_case(tmp_path))
    frames = list(structures(10))
    for atoms in frames[:4]:
        atoms.calc = SinglePointCalculator(atoms, energy=1.5, forces=np.ones((8, 3)))
        atoms.info["config_type"] = "mine"
    ase.io.write(tmp_path / "start.extxyz", frames)
    start.begin(config.folder, config.data)
    kept = rounds.read(config.folder / "start.extxyz")
    assert [atoms.info["REF_energy"] for atoms in kept] == [1.5] * 4
    assert kept[0].info["config_type"] == "mine"
    assert len(rounds.read(rounds.round_of(config.folder, 0).selected)) == 6
    frames[0].positions += 0.1
    ase.io.write(tmp_path / "start.extxyz", frames)
    with pytest.raises(InputError, match=r"start\.extxyz: .* has begun with other structures; choose another folder"):
        start.begin(config.folder, config.data)


def test_left_out_errors_are_those_of_fits_without_the_structures(fitted):
    """They are larger than errors of what was fitted, and the default threshold is their 95 % quantile."""
    config, one = fitted
    largest = left_out(one, config)
    assert len(largest) == 16
    model = history.history(config)[0]
    assert model.structures == model.references == 16
    from forceserver.potentials.model_files import potential_of

    potential = potential_of(load_model(one.model))
    fitted_errors = [
        np.linalg.norm(potential.compute_one(Frame.from_ase(a)).forces - a.arrays["REF_forces"], axis=1).max()
        for a in rounds.read(one.train)
    ]
    assert np.mean(largest) > 1.2 * np.mean(fitted_errors)
    without = config.model_copy(update={"target": None})
    assert threshold(one, without) == pytest.approx(np.quantile(largest, 0.95))
    assert threshold(one, config) == max(10 * 0.5, threshold(one, without))
    given = config.uncertainty.model_copy(update={"force_ev_per_angstrom": 0.123})
    assert threshold(one, config.model_copy(update={"uncertainty": given})) == 0.123


def test_choice(fitted):
    """Those that stopped a simulation, far ones, some at random, and nothing twice."""
    config, one = fitted
    frames = list(structures(6, seed=100))
    wild = crystal()
    wild.rattle(0.4, seed=5)
    met(config, one, "uncertain.extxyz", [wild], [2.0])
    records = [*frames, frames[3].copy()]  # one is there twice
    met(config, one, "record.extxyz", records, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.4])
    known = rounds.read(one.train)
    chosen = choose(one, known, config, 100, verify=False)
    why = [atoms.info["why"] for atoms in chosen]
    assert why[:2] == ["control", "uncertain"]
    assert set(why[2:]) == {"far"}
    np.testing.assert_allclose(chosen[1].positions, wild.positions, atol=1e-7)
    positions = {np.round(atoms.positions, 5).tobytes() for atoms in chosen}
    assert len(positions) == len(chosen), "none twice"
    assert chosen == choose(one, known, config, 100, verify=False), "the same again"
    assert len(choose(one, known, config, 2, verify=False)) == 2, "the budget"
    (one.simulations / planned(config)[0].name / "uncertain.extxyz").unlink()
    assert [a.info["why"] for a in choose(one, known, config, 100, verify=True)] == ["control"]
    assert not choose(one, [*known, *records], config, 100, verify=False), "all is known"


def test_a_small_control_is_not_always_of_the_same_simulations(tmp_path):
    """With fewer structures than simulations, each of these has its turn."""
    config = load(write_case(tmp_path))
    hotter = config.simulations[0].model_copy(update={"temperatures_K": (300, 600, 900, 1200)})
    fewer = config.selection.model_copy(update={"control": 2})
    config = config.model_copy(update={"simulations": [hotter], "selection": fewer})
    records = [Candidate(crystal(), plan.name, 0.1) for plan in planned(config) for _ in range(5)]
    drawn = [control(records, config, np.random.default_rng([0, number])) for number in range(20)]
    assert all(len({one.simulation for one in each}) == 2 for each in drawn)
    assert {one.simulation for each in drawn for one in each} == {plan.name for plan in planned(config)}
    every = control(records, config, np.random.default_rng(0), everywhere=True)
    assert [one.simulation for one in every].count("crystal-300K") == 1
    assert len(every) == 4, "what tells that the target is reached is of all simulations"


def test_distance_of_environments(fitted):
    """No distance to itself in any orientation, and the more the farther atoms are moved."""
    config, one = fitted
    novelty = Novelty([Frame.from_ase(atoms) for atoms in rounds.read(one.train)], config)
    from forceserver.learn.selection import Candidate

    same = rounds.read(one.train)[3]
    same.rotate(40, (1, 2, 3), rotate_cell=True)
    same = same[[7, 2, 1, 0, 3, 4, 5, 6]]
    assert novelty.of(Candidate(same, "a", 0.0)) < 1e-5
    distances = []
    for size in (0.1, 0.2, 0.4):
        moved = crystal()
        moved.rattle(size, seed=1)
        distances.append(novelty.of(Candidate(moved, "a", 0.0)))
    assert sorted(distances) == distances
    assert distances[-1] > 2 * distances[0]


def test_judged_before_they_are_learned(fitted):
    config, one = fitted
    after = rounds.round_of(config.folder, 1)
    frames = [start.stripped(atoms, None, why="control") for atoms in structures(4, seed=50)]
    rounds.write(after.selected, frames)
    label(after, [one], config.reference, silent)
    judge(after, one)
    judged = rounds.read_json(after.judged)["control"]
    assert judged["structures"] == 4
    records = history.history(config)
    assert records[0].control == judged["force_rmse_ev_per_angstrom"] > 0
    assert 0 <= judged["within_1_sigma"] <= judged["within_2_sigma"] <= 1
    factor = force_factor([one, after])
    assert factor == judged["factor"] > 0
    assert force_factor([one]) == 1.0
    assert force_factor([one, after, after, after, after]) == pytest.approx(factor)
    text = history.table(records, config)
    assert f"{records[0].control:.3f} (4)" in text
    assert "round 1, the fit" in loop.where(config)


def test_a_program_behind_a_socket(tmp_path):
    """Two clients compute at once, here i-PI's harmonic crystal: E = k r^2 / 2 around the origin, in atomic units."""
    driver = Path(sys.executable).parent / "i-pi-driver-py"
    socket = f'kind = "socket"\ncommand = "{driver} -u -a {{address}} -m harmonic -o 0.01"\nclients = 2\n'
    old = 'kind = "ase"\ncalculator = "ase.calculators.emt.EMT"\n'
    config = load(write_case(tmp_path, (old, socket), count=9))
    start.begin(config.folder, config.data)
    one = rounds.round_of(config.folder, 0)
    label(one, [], config.reference, silent)
    stiffness = 0.01 * Hartree / Bohr**2
    labelled = one.labelled()
    assert len(labelled) == 9
    for atoms, bare in zip(labelled, structures(9), strict=True):
        np.testing.assert_allclose(atoms.arrays["REF_forces"], -stiffness * bare.positions, atol=1e-5)
        assert atoms.info["REF_energy"] == pytest.approx(0.5 * stiffness * (bare.positions**2).sum(), rel=1e-6)
    assert sorted(path.name for path in tmp_path.glob("client-*")) == ["client-0", "client-1"]


def test_three_failures_in_a_row_stop_and_are_tried_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    config = load(write_case(tmp_path, with_failures(tmp_path, "{1, 4, 5, 6}")))
    start.begin(config.folder, config.data)
    one = rounds.round_of(config.folder, 0)
    with pytest.raises(PotentialError, match=r"failed 3 times in a row.*RuntimeError: the density does not converge"):
        label(one, [], config.reference, silent)
    assert len(one.labelled()) == 3  # 0, 2, 3
    assert [path.name for path in one.failures()] == ["0001.failed.json"]
    label(one, [], config.reference, silent)
    assert len(one.labelled()) == 15
    assert rounds.spent([one]) == 16
    label(one, [], config.reference, silent)
    assert len((tmp_path / "calls").read_text()) == 7 + 12, "nothing is computed twice"


SOAP = """
[[fit.descriptors]]
kind = "soap"
n_sparse = 20

[fit.descriptors.basis]
kind = "gto"
n_max = 4
l_max = 3
cutoff = { cutoff_angstrom = 4.0, width_angstrom = 0.5 }
density = { kind = "gaussian", sigma_angstrom = 0.5 }

[[simulations]]"""


@pytest.mark.slow
def test_a_kernel_model(tmp_path):
    config = load(write_case(tmp_path, ('"ace"\nfunctions = 40\n', '"gap"\n'), ("[[simulations]]", SOAP)))
    start.begin(config.folder, config.data)
    one = rounds.round_of(config.folder, 0)
    label(one, [], config.reference, silent)
    train(one, [], config, silent)
    assert 0 < threshold(one, config.model_copy(update={"target": None})) < 5


def record(
    number: int, control: float | None, ends: str = "complete", steps: int = 100, references: int = 10
) -> Record:
    judged = {} if control is None else {"control": {"force_rmse_ev_per_angstrom": control}}
    outcome = Outcome("md", steps, 100, ends)
    return Record(number, 20, references, 0, 0.3, [outcome], judged, {})


def test_when_to_end(tmp_path):
    config = load(write_case(tmp_path))
    now = replace(record(9, None), outcomes=[])
    assert loop.decide([record(0, 0.4), now], config).reached
    assert loop.decide([record(0, 0.4, "uncertain", 50), now], config) is None
    assert loop.decide([record(0, 0.6), now], config) is None
    assert loop.decide([record(0, 0.6), record(1, 0.4), now], config).code == 0
    spent = loop.decide([record(0, 0.7), record(1, 0.6), replace(now, references=200)], config)
    assert (spent.reached, spent.code) == (False, 1)
    assert "the budget is spent, 200 references; the smallest error" in spent.why
    assert "0.6 eV/Å" in spent.why
    still = [record(number, 0.7) for number in range(6)]
    assert loop.decide([*still[:5], now], config) is None
    far = loop.decide([*still, now], config)
    assert not far.reached
    assert "no progress in 5 rounds, the target of 0.5 eV/Å seems out of reach" in far.why
    longer = [record(number, 0.7, "uncertain", 10 * number) for number in range(6)]
    assert loop.decide([*longer, now], config) is None, "simulations become longer"
    assert "20 rounds" in loop.decide([record(0, 0.6), replace(now, round=20)], config).why
    aimless = config.model_copy(update={"target": None})
    assert loop.decide([record(0, 0.4), now], aimless).reached
    assert loop.decide([record(0, 0.4), replace(now, references=200)], aimless).code == 0


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('output = "cuau.npz"', 'output = "cuau.pt"', "the name of a model ends in .npz"),
        ('structure = "crystal.extxyz"\n', "", "give structure, where dynamics begin, or config"),
        ('model = "ace"', 'model = "ace"\nembedding = { kind = "sqrt" }', "knows|embedding"),
        ("temperatures_K = [600]", "temperatures_K = []", "at least one temperature"),
        ("temperatures_K = [600]", "temperatures_K = [0]", "greater than 0"),
        ("steps = 20", 'files = ["crystal.extxyz"]', "files: belong to inputs of your own"),
        ('kind = "ase"', 'kind = "asse"', "asse"),
        ("[target]\n", "[target]\nenergy_ev = 1\n", "energy_ev: unknown key"),
    ],
)
def test_wrong_keys(tmp_path, old, new, told):
    with pytest.raises(InputError, match=told):
        load(write_case(tmp_path, (old, new)))


def test_what_is_known_to_be_wrong_before_anything_is_computed(tmp_path):
    with pytest.raises(InputError, match=r"no_such"):
        loop.check(load(write_case(tmp_path, ("ase.calculators.emt.EMT", "no_such.module.Thing"))))
    with pytest.raises(InputError, match=r"output: there is no folder .*nowhere"):
        loop.check(load(write_case(tmp_path, ('"cuau.npz"', '"nowhere/cuau.npz"'))))
    twice = ("temperatures_K = [600]", "temperatures_K = [600, 600]")
    with pytest.raises(InputError, match="two are called crystal-600K"):
        loop.check(load(write_case(tmp_path, twice)))
    write_case(tmp_path, ("temperatures_K = [600]", 'ensemble = "npt"'))
    atoms = crystal()
    atoms.pbc = (True, True, False)
    atoms.write(tmp_path / "crystal.extxyz")
    with pytest.raises(InputError, match="not periodic in all directions, so it has no pressure"):
        loop.check(load(tmp_path / "learn.toml"))
    config = load(write_case(tmp_path, count=7))
    for begin in (lambda: start.begin(config.folder, config.data), lambda: loop.check(config)):
        with pytest.raises(InputError, match="has 7 structures, at least 8 are needed"):
            begin()
    config = load(write_case(tmp_path, count=8))
    assert loop.check(config) == ["simulation crystal-600K: 8 atoms"]
    atoms = crystal()
    atoms.symbols[3] = "Al"
    atoms.write(tmp_path / "crystal.extxyz")
    with pytest.raises(InputError, match=r"crystal-600K has Al, which no structure of .*start\.extxyz has: add some"):
        loop.check(config)
