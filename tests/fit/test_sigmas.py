"""Expected errors from cross-validation: from few structures, from outliers, and from labels that are met exactly."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from forceserver.fit import run
from forceserver.fit.config import FitConfig
from forceserver.fit.progress import silent
from forceserver.fit.regression import Factor, Validation
from forceserver.fit.sigmas import choose_sigmas

N, GROUPS = 12, 8


def chosen(data, tmp_path):
    """data: for each quantity a list with the rows and targets of every group."""
    factors = {}
    for quantity, groups in data.items():
        factors[quantity] = [Factor(N) for _ in groups]
        for factor, (rows, targets) in zip(factors[quantity], groups, strict=True):
            factor.add(rows, targets)
            factor.finish()
    config = FitConfig(output=tmp_path / "m.npz", data={"train": __file__})
    return choose_sigmas(config, Validation(factors, np.eye(N)), factors, silent)


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


def test_labels_that_are_met_exactly_are_not_met_at_any_price_of_others(tmp_path):
    """Copies of one structure: the error of energies left out becomes the smaller the smaller their sigma is."""
    rng = np.random.default_rng(5)
    weights = rng.normal(size=N)
    one = 30.0 * np.eye(1, N)
    forces = [(rows * (np.arange(N) > 0), targets) for rows, targets in groups_of(rng, 40, 0 * weights, 1.0)]
    factors, _ = chosen(
        {"energy": [(np.repeat(one, 3, axis=0), np.full(3, 30.0))] * GROUPS, "forces": forces}, tmp_path
    )
    assert factors["energy"] >= 0.5
    assert factors["forces"] >= 0.5


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
