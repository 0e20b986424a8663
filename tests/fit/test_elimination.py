"""Functions of an expansion that are chosen out of more candidates."""

import numpy as np
import pydantic
import pytest
from test_fit import DATA, rmse

from forceserver.analysis import parity
from forceserver.errors import InputError
from forceserver.fit import run
from forceserver.fit.config import FitConfig
from forceserver.fit.elimination import EnergyRows, NormalEquations, Parts, eliminate, optimism_of
from forceserver.representation.products import Truncation, truncate


def rows_with(rng, functions: int, species: int = 1):
    """Rows (200, n) of some size, and labels that functions 0, 3 and 7 make, with little noise."""
    rows = rng.normal(size=(200, functions * species)) * rng.uniform(0.5, 2.0, size=functions * species)
    needed = np.array([0, 3, 7])
    columns = (needed + functions * np.arange(species)[:, None]).ravel()
    return rows, rows[:, columns].sum(axis=1) + 0.01 * rng.normal(size=200), needed


def normal_equations(rows, labels, scale=None):
    found = NormalEquations(np.ones(rows.shape[1]) if scale is None else scale)
    for part in np.array_split(np.column_stack([rows, labels]), 7):
        found.add(part[:, :-1], part[:, -1])
    return found.total()


def test_normal_equations_are_those_of_all_rows():
    rng = np.random.default_rng(0)
    rows, scale = rng.normal(size=(3000, 6)), rng.uniform(1, 2, size=5)
    expected = rows / np.append(scale, 1.0)
    found = normal_equations(rows[:, :-1], rows[:, -1], scale)
    np.testing.assert_allclose(np.triu(found), np.triu(expected.T @ expected), atol=1e-9)


@pytest.mark.parametrize("species", [1, 2])
def test_what_the_labels_are_made_of_is_kept(species):
    rows, labels, needed = rows_with(np.random.default_rng(0), 20, species)
    assert eliminate(normal_equations(rows, labels), 20, 3).tolist() == needed.tolist()


def test_the_first_to_go_costs_least():
    """By the minima of all problems without one function."""
    rows, labels, _ = rows_with(np.random.default_rng(1), 10)

    def minimum(columns):
        left = np.vstack([rows[:, columns], np.eye(len(columns))])
        right = np.append(labels, np.zeros(len(columns)))
        return np.linalg.lstsq(left, right)[1][0]

    minima = [minimum([k for k in range(10) if k != gone]) for gone in range(10)]
    kept = eliminate(normal_equations(rows, labels), 10, 9)
    assert set(range(10)) - set(kept.tolist()) == {int(np.argmin(minima))}


def groups_of_noise(rng, functions: int, size: int, parts: int = 4):
    """Normal equations and rows of energies of groups whose labels no function makes."""
    for _ in range(parts):
        equations = NormalEquations(np.full(functions, 0.1))
        energies = EnergyRows(equations, np.full(functions, 0.1))
        energies.add(rng.normal(size=(size, functions)), rng.normal(size=size))
        yield equations.total(), energies.all()


def test_groups_are_read_as_they_were_kept(tmp_path):
    groups = list(groups_of_noise(np.random.default_rng(3), 5, 4))
    parts = Parts(tmp_path)
    total = parts.take_in(groups)
    np.testing.assert_allclose(total, sum(equations for equations, _ in groups))
    for (equations, energies), (kept, rows) in zip(groups, parts, strict=True):
        np.testing.assert_array_equal(np.triu(kept), np.triu(equations))
        np.testing.assert_array_equal(rows, energies)


def test_a_choice_in_which_the_left_out_took_part_is_too_optimistic():
    """By fits without each group, whose functions are chosen with and without it; of noise, all is optimism."""
    functions, kept = 120, 12
    groups = list(groups_of_noise(np.random.default_rng(2), functions, 20))
    rows = [energies for _, energies in groups]
    total = sum(equations for equations, _ in groups)
    chosen = eliminate(total, functions, kept)

    def deviations(k, places):
        others = np.concatenate([part for j, part in enumerate(rows) if j != k])
        own, seen = rows[k][:, places], np.vstack([others[:, places], np.eye(len(places))])
        u = np.linalg.lstsq(seen, np.append(others[:, -1], np.zeros(len(places))))[0]
        return np.abs(own @ u - rows[k][:, -1]) / np.linalg.norm(own @ np.linalg.pinv(seen), axis=1)

    def spread(found):
        errors = np.concatenate(found)
        return np.sqrt(np.quantile(errors, 0.6827) * np.quantile(errors, 0.9545) / 2)

    alone = [eliminate(total - equations, functions, kept) for equations, _ in groups]
    expected = spread([deviations(k, places) for k, places in enumerate(alone)])
    expected /= spread([deviations(k, chosen) for k in range(len(groups))])
    found = optimism_of(total, groups, functions, chosen)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found > 1.3


def test_a_choice_of_all_functions_is_not_optimistic():
    groups = list(groups_of_noise(np.random.default_rng(2), 9, 20))
    total = sum(equations for equations, _ in groups)
    assert optimism_of(total, groups, 9, np.arange(9)) == 1.0


def test_a_fit_chooses_among_candidates(tmp_path):
    """As many functions as it says, some beyond those of the smallest degree, and closer to the data."""
    content = {
        "model": "ace",
        "functions": 25,
        "cutoff_angstrom": 4.0,
        "output": str(tmp_path / "ace.npz"),
        "data": {"train": str(DATA)},
        "sigma": {"default": {"energy_ev": 0.003, "force_ev_per_angstrom": 0.1}},
    }
    plain = run.fit(FitConfig.model_validate(content))
    chosen = run.fit(FitConfig.model_validate(content | {"candidates": 60}))
    pool = {tuple(row) for row in truncate(Truncation(functions=60)).tolist()}
    functions = {tuple(row) for row in chosen.model.functions.tolist()}
    assert len(functions) == 25
    assert functions < pool
    assert functions != {tuple(row) for row in plain.model.functions.tolist()}
    assert rmse(chosen.model, chosen.train, parity.FORCE) < 0.9 * rmse(plain.model, plain.train, parity.FORCE)
    assert plain.model.summary["uncertainty"]["optimism"] == 1.0
    assert 1.0 < chosen.model.summary["uncertainty"]["optimism"] < 2.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"candidates": 20}, "20 are fewer than the 30 functions"),
        ({"model": "gap", "candidates": 60}, "kernel models have n_sparse"),
        ({"descriptors": [{"kind": "ace", "candidates": 5, "truncation": {"functions": 9}}]}, "5 are fewer than the 9"),
    ],
)
def test_candidates_that_do_not_fit_are_refused(tmp_path, change, said):
    content = {"model": "ace", "functions": 30, "output": str(tmp_path / "ace.npz"), "data": {"train": str(DATA)}}
    with pytest.raises(pydantic.ValidationError, match=said):
        FitConfig.model_validate(content | change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"functions": 1000}, "functions: are those of model"),
        ({"training": {}}, "training: is that of an embedding"),
        ({"report": str(DATA)}, "is a file; the report is a folder"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_what_can_have_no_effect_is_refused_before_anything_is_done(tmp_path, change, said):
    content = {"output": str(tmp_path / "si.npz"), "data": {"train": str(DATA)}}
    FitConfig.model_validate(content | {"report": str(tmp_path)})
    with pytest.raises(pydantic.ValidationError, match=said):
        FitConfig.model_validate(content | change)


def test_more_candidates_than_there_are(tmp_path):
    truncation = {"functions": 5, "n_max": [2, 2, 2, 2], "l_max": [0, 1, 1, 1], "order": 2}
    content = {
        "model": "ace",
        "cutoff_angstrom": 4.0,
        "output": str(tmp_path / "ace.npz"),
        "data": {"train": str(DATA)},
    }
    content["descriptors"] = [{"kind": "ace", "candidates": 500, "truncation": truncation}]
    with pytest.raises(InputError, match="there are only"):
        run.fit(FitConfig.model_validate(content))
