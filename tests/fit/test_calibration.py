"""The uncertainty of a fitted model: what is compared, the factor that comes of it, and what is said about it."""

import numpy as np
import pytest
from ase import Atoms

from forceserver.analysis.coverage import Coverage
from forceserver.cli.info import describe_model
from forceserver.fit.calibration import calibrate
from forceserver.fit.data import Labelled
from forceserver.fit.regression import Factor, fit_all
from forceserver.fit.run import fit
from forceserver.fit.validation import Validation
from forceserver.frame import Frame
from forceserver.models.kernel import GapModel
from forceserver.potentials.gap import GapPotential


def factors_of(rows, targets, groups):
    factors = []
    for group in groups:
        factors.append(Factor(rows.shape[1]))
        factors[-1].add(rows[group], targets[group])
        factors[-1].finish()
    return factors


def test_two_groups_are_left_out():
    """As if they had never been there; a quantity of two weighs what its sigma says."""
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(40, 6)), rng.normal(size=40)
    groups = np.array_split(rng.permutation(40), 5)
    factors = factors_of(rows, targets, groups)
    regulariser = 0.3 * np.eye(6) + 0.1 * rng.normal(size=(6, 6))
    sigma = {"energy": 2.0, "forces": 0.5}
    weights = Validation({"energy": factors, "forces": factors}, regulariser).left_two_out(sigma)
    assert weights.shape == (5, 5, 6)
    for j, k in ((0, 0), (1, 3), (3, 1), (4, 4)):
        rest = [factor for number, factor in enumerate(factors) if number not in (j, k)]
        expected = fit_all({"energy": rest, "forces": rest}, sigma, regulariser).weights
        np.testing.assert_allclose(weights[j, k], expected, rtol=1e-9)


def test_the_factor_makes_the_deviations_what_the_errors_are():
    """Energies of a thousand structures that are linear functions but for noise which the fits cannot know."""
    rng = np.random.default_rng(1)
    rows, groups = rng.normal(size=(1000, 3)), np.array_split(np.arange(1000), 8)
    targets = rows @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=1000)
    weights = Validation({"energy": factors_of(rows, targets, groups)}, 1e-6 * np.eye(3)).left_two_out({})
    frame = Frame.from_ase(Atoms("H"))
    data = [Labelled(frame, "", energy, None, None) for energy in targets]
    found = {}
    for stretch in (1.0, 5.0):
        members = weights[np.arange(8), np.arange(8), :][:, None] * (1 - 1 / stretch) + weights / stretch
        order = iter(rows)
        found[stretch] = calibrate(members, groups, data, lambda frame, order=order: next(order))
        assert found[stretch].coverage.within(1) == pytest.approx(0.68, abs=0.1)
        assert found[stretch].coverage.within(2) == pytest.approx(0.95, abs=0.05)
    # members that differ by a fifth need a factor that is five times as large
    assert found[5.0].factor == pytest.approx(5 * found[1.0].factor, rel=1e-6)
    assert calibrate(weights, [[0], [1]], data, lambda frame: rows[0]) is None


def test_coverage():
    rng = np.random.default_rng(0)
    spreads = rng.uniform(0.5, 2, 20000)
    found = Coverage(2 * spreads * rng.normal(size=20000), spreads)
    assert found.within(2) == pytest.approx(0.6827, abs=0.02)
    assert found.ratio() == pytest.approx(2, rel=0.05)
    assert Coverage(found.errors, 2 * spreads).within(1) == found.within(2)
    assert "38 % of 20000 energy errors are within one standard deviation, 68 % within two" in str(found)


def test_members_of_a_model_are_spread_by_the_factor(config):
    result = fit(config)
    found = result.model.summary["uncertainty"]
    assert found["structures"] == 18
    potential = GapPotential(GapModel.load(config.output), uncertainty=True)
    extras = potential.compute_one(result.train[0].frame).extras
    assert extras["committee_uncertainty"] == pytest.approx(np.std(extras["committee_pot"], ddof=1))
    assert np.mean(extras["committee_pot"]) == pytest.approx(potential.compute_one(result.train[0].frame).energy)
    said = "\n".join(describe_model(result.model))
    assert f"uncertainty: eight members, spread {found['factor']:.2f} times" in said


def test_a_model_without_a_factor_is_not_calibrated(config):
    result = fit(config)
    del result.model.summary["uncertainty"]
    result.model.save(config.output)
    assert "uncertainty: eight members, not calibrated" in "\n".join(describe_model(GapModel.load(config.output)))
