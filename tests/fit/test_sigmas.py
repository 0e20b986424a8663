"""Expected errors from cross-validation: from few structures, from outliers, and from labels that are met exactly."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from forceserver.fit import run
from forceserver.fit.config import FitConfig
from forceserver.fit.progress import silent
from forceserver.fit.regression import Factor
from forceserver.fit.sigmas import choose_sigmas, go_back
from forceserver.fit.validation import LeftOut, Validation

N, GROUPS = 12, 8


def chosen(data, tmp_path):
    """data: for each quantity a list with the rows and targets of every group."""
    factors = factors_of(data)
    config = FitConfig(output=tmp_path / "m.npz", data={"train": __file__})
    return choose_sigmas(config, Validation(factors, np.eye(N)), factors, silent)


def factors_of(data):
    factors = {}
    for quantity, groups in data.items():
        factors[quantity] = [Factor(N) for _ in groups]
        for factor, (rows, targets) in zip(factors[quantity], groups, strict=True):
            factor.add(rows, targets)
            factor.finish()
    return factors


def groups_of(rng, count, weights, noise):
    found = []
    for _ in range(GROUPS):
        rows = rng.normal(size=(count, N))
        found.append((rows, rows @ weights + noise * rng.normal(size=count)))
    return found


def test_expected_errors_are_about_those_of_what_is_left_out(tmp_path):
    rng = np.random.default_rng(3)
    weights = rng.normal(size=N)
    factors, table = chosen(
        {"energy": groups_of(rng, 4, weights, 0.1), "forces": groups_of(rng, 40, weights, 0.5)}, tmp_path
    )
    (entry,) = (entry for entry in table if entry["factors"] == factors)
    assert entry["errors"]["forces"] == pytest.approx(0.5, rel=0.1)
    assert entry["score"] < 0.1 + min(entry["score"] for entry in table)


def test_the_gradient_of_the_score_is_its_derivative():
    rng = np.random.default_rng(2)
    weights = rng.normal(size=N)
    factors = factors_of({"energy": groups_of(rng, 2, weights, 0.1), "forces": groups_of(rng, 5, weights, 0.5)})
    factors["energy"][3] = Factor(N)  # a group without energies
    validation = Validation(factors, np.diag(rng.uniform(0.5, 2.0, N)))
    sigma = {"energy": 0.3, "forces": 1.7}
    gradient = validation.left_out(sigma).gradient()
    for quantity, slope in gradient.items():
        ends = [validation.left_out(sigma | {quantity: sigma[quantity] * np.exp(h)}).score() for h in (-1e-4, 1e-4)]
        assert slope == pytest.approx((ends[1] - ends[0]) / 2e-4, rel=1e-5)


def test_what_is_left_out_is_predicted_by_the_others():
    rng = np.random.default_rng(7)
    groups = groups_of(rng, 6, rng.normal(size=N), 0.3)
    left_out = Validation(factors_of({"energy": groups}), np.eye(N)).left_out({"energy": 0.5})
    for k, (rows, targets) in enumerate(groups):
        others = [group for j, group in enumerate(groups) if j != k]
        x, y = (2 * np.concatenate(parts) for parts in zip(*others, strict=True))
        w = np.linalg.solve(x.T @ x + np.eye(N), x.T @ y)
        assert left_out.squares["energy"][k] == pytest.approx(((rows @ w - targets) ** 2).sum())


def test_a_stronger_fit_must_be_surely_better(tmp_path):
    """Of labels without noise sigmas become small; where the groups disagree they stay near the defaults."""
    rng = np.random.default_rng(4)
    weights = 3 * rng.normal(size=N)
    exact, _ = chosen({"forces": groups_of(rng, 40, weights, 0.0)}, tmp_path)
    assert exact["forces"] < 0.25
    mixed = groups_of(rng, 3, weights, 0.0)
    mixed[1] = mixed[1][0], 5 * rng.normal(size=3)
    mixed[5] = mixed[5][0], 5 * rng.normal(size=3)
    _, table = chosen({"forces": mixed}, tmp_path)
    assert min(entry["factors"]["forces"] for entry in table[3:]) >= 1.0  # after three strengths


def test_sigmas_go_back_as_far_as_nothing_surely_gets_worse():
    """Forces, of all groups alike, from a factor of 1/e on; of energies, some groups gain what others lose."""
    groups = np.full(GROUPS, 5)

    def left_out(logarithms):
        of_energy, of_forces = logarithms
        energy = 10 * np.exp(0.2 * of_energy * (-1.0) ** np.arange(GROUPS))
        forces = np.full(GROUPS, np.exp(0.5 * max(of_forces + 1, 0)))
        return LeftOut(
            {"energy": groups * energy**2, "forces": groups * forces**2},
            {},
            dict.fromkeys(("energy", "forces"), groups),
        )

    assert go_back(left_out, np.array([-2.0, -2.0])).tolist() == [-0.125, -1.0]
    assert go_back(left_out, np.array([0.5, -2.0])).tolist() == [0.5, -1.0]
    assert go_back(left_out, np.array([0.5, 0.0])).tolist() == [0.5, 0.0]


def test_labels_that_are_met_exactly_are_not_met_at_any_price_of_others(tmp_path):
    """Copies of one structure: the error of energies left out becomes the smaller the smaller their sigma is."""
    rng = np.random.default_rng(5)
    weights = rng.normal(size=N)
    one = 30.0 * np.eye(1, N)
    forces = [(rows * (np.arange(N) > 0), targets) for rows, targets in groups_of(rng, 40, 0 * weights, 1.0)]
    factors, _ = chosen(
        {"energy": [(np.repeat(one, 3, axis=0), np.full(3, 30.0))] * GROUPS, "forces": forces}, tmp_path
    )
    assert factors["energy"] > 0.3
    assert factors["forces"] > 0.3


@pytest.mark.long
def test_few_structures_with_some_far_from_the_others(content, tmp_path):
    """Forces are not given up for energies that no fit can predict."""
    rng = np.random.default_rng(1)
    structures = []
    for number in range(20):
        atoms = bulk("Cu", cubic=True, a=3.75)
        atoms.symbols[:] = rng.choice(["Cu", "Au"], 4)
        atoms.rattle(0.12 if number < 16 else 0.55, seed=number)
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
        structures.append(atoms)
    write(tmp_path / "few.extxyz", structures)
    content |= {"data": {"train": str(tmp_path / "few.extxyz")}, "baseline": [], "sigma": {}}
    content["descriptors"][0]["basis"] |= {"n_max": 4, "l_max": 2}
    soap = content["descriptors"][0] | {"n_sparse": None, "sparse_selection": "cur", "delta_ev": None}
    content["descriptors"] = [soap]
    summary = run.fit(FitConfig.model_validate(content)).model.summary
    (entry,) = (one for one in summary["cross_validation"] if one["factors"] == summary["sigma_factors"])
    for quantity, factor in summary["sigma_factors"].items():
        assert factor <= max(1.0, entry["errors"][quantity])
    assert summary["sigma_factors"]["forces"] <= 1.0
