"""Radial functions by principal covariates regression: against scikit-matter, at both ends, and what is refused."""

from functools import cache

import numpy as np
import pytest
from ase import Atoms
from skmatter.decomposition import PCovR

from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.representation.contraction import ALL, Covariance, coefficients_of
from forceserver.representation.contraction_config import ContractionConfig
from forceserver.representation.expansion import ExpansionBasis
from forceserver.representation.gto import GtoBasis
from forceserver.representation.spline import splined
from forceserver.representation.supervised import covariates, pcovr
from forceserver.representation.targets import Targets

BASIS = GtoBasis(
    n_max=6,
    l_max=1,
    cutoff={"cutoff_angstrom": 4.0, "width_angstrom": 0.5},
    density={"kind": "gaussian", "sigma_angstrom": 0.3},
)
SPECIES = (6, 8)


@cache
def data():
    """Clusters whose energy is a function of the distances from carbon to oxygen, sharp at 2 Angstrom."""
    rng, frames, energies = np.random.default_rng(0), [], []
    for _ in range(30):
        atoms = Atoms(rng.choice(SPECIES, 6), positions=rng.uniform(0, 4, size=(6, 3)))
        pairs = atoms.get_all_distances()[np.ix_(atoms.numbers == 6, atoms.numbers == 8)]
        energies.append(float(np.exp(-20 * (pairs - 2) ** 2).sum()))
        frames.append(Frame.of(atoms))
    return Covariance.of(BASIS, frames, SPECIES, tolerance=1e-4), Targets.of(frames, energies), frames, energies


def test_is_scikit_matters_of_all_environments():
    """Which knows nothing of covariances: the space of the first functions, to 1e-10."""
    covariance, _, frames, _ = data()
    expansion = ExpansionBasis(dict.fromkeys(SPECIES, splined(BASIS, 1e-4)))
    parts = [expansion.split(coefficients_of(expansion, f, k)[0])[0][:, 0, 0] for k, f in enumerate(frames)]
    x, weights = np.concatenate(parts), np.random.default_rng(1).normal(size=(6, 2))
    values, rows = covariates(covariance.matrices[0][0, :, 0], weights, 0.3)
    both = np.vstack([x, -x])  # it expects centred rows
    y = both @ weights
    model = PCovR(mixing=0.3, n_components=2, space="sample", regressor="precomputed")
    model.fit(both / np.linalg.norm(both), y / np.linalg.norm(y), W=weights * np.linalg.norm(both) / np.linalg.norm(y))
    theirs = np.linalg.qr(model.pxt_)[0]
    np.testing.assert_allclose(rows[:2].T @ rows[:2], theirs @ theirs.T, atol=1e-10)
    np.testing.assert_allclose(rows @ rows.T, np.eye(6), atol=1e-12)
    assert values.sum() == pytest.approx((x**2).sum() / len(x))


@pytest.mark.parametrize("mixed", [False, True])
def test_of_variance_only_it_is_pca(mixed):
    covariance, targets, *_ = data()
    found = pcovr(covariance, targets, gamma=1.0, mixed=mixed, q_max=3, tolerance=1e-4)
    wanted = covariance.contraction(mixed=mixed, q_max=3)
    for s in SPECIES:
        np.testing.assert_allclose(found.matrices[s], wanted.matrices[s], atol=1e-9)


@pytest.mark.parametrize("mixed", [False, True])
def test_predicts_better_with_as_few_functions(mixed):
    covariance, targets, *_ = data()
    made = (
        covariance.contraction(mixed=mixed, q_max=1),
        pcovr(covariance, targets, mixed=mixed, q_max=1, tolerance=1e-4),
    )
    errors = [misfit(one.expansion(1e-4), targets) for one in made]
    assert errors[1] < 0.85 * errors[0]
    species = ALL if mixed else 6
    assert made[1].residual(species)[0, 1] > made[0].residual(species)[0, 1]


def misfit(expansion, targets):
    """Of a linear model of pairs."""
    x = []
    for frame, share in zip(targets.frames, targets.composition, strict=True):
        c, species = coefficients_of(expansion, frame, 0)
        radial = expansion.split(c)[0][:, :, 0].reshape(len(c), -1)
        x.append(np.concatenate([*(radial[species == s].sum(axis=0) / len(frame) for s in SPECIES), share]))
    return np.linalg.norm(targets.energies - x @ np.linalg.lstsq(x, targets.energies, rcond=None)[0])


def test_by_the_key():
    _, _, frames, energies = data()
    config = ContractionConfig(kind="pcovr", q_max=3, gamma=0.2)
    made = config.make(BASIS, frames, SPECIES, energies=[None, *energies[1:]], tolerance=1e-4)
    assert made.counts == (3, 3)


@pytest.mark.parametrize(
    ("energies", "message"),
    [
        (None, "learns from energies, which are at hand in `forceserver fit` and `forceserver basis` only"),
        ([0.0, float("nan")], "the energy of structure 1 is nan, not finite"),
        ([0.0, float("inf")], "the energy of structure 1 is inf, not finite"),
        ([0.0, 1.0, 2.0], "3 structures have an energy, and it takes 4"),
        ([0.0] * 30, "the composition explains all energies"),
    ],
)
def test_energies_that_cannot_be(energies, message):
    frames = data()[2]
    if energies is not None:
        energies = energies + [None] * (30 - len(energies))
    with pytest.raises(InputError, match=message):
        ContractionConfig(kind="pcovr", q_max=3).make(BASIS, frames, SPECIES, energies=energies, tolerance=1e-4)
    with pytest.raises(InputError, match="there are 2 energies for 30 structures"):
        Targets.of(frames, [0.0, 1.0])
