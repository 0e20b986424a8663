"""Contraction over species alone: what the channels are, how u is found, and what is refused."""

import numpy as np
import pytest
from ase import Atoms
from structures import barium_titanate

from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.representation import contraction_file
from forceserver.representation.alchemical import alchemical, principal_weights
from forceserver.representation.alchemical_model import optimise
from forceserver.representation.contraction import ALL, Covariance
from forceserver.representation.contraction_config import ContractionConfig
from forceserver.representation.expansion import SphericalExpansion
from forceserver.representation.gto import GtoBasis
from forceserver.representation.laplacian import LaplacianBasis
from forceserver.representation.neighbours import NeighbourList
from forceserver.representation.targets import Targets

SPECIES = (8, 22, 56)
FRAMES = [Frame.of(barium_titanate(n=1, rattle=0.1, seed=seed)) for seed in range(3)]
WEIGHTS = {"O": (1.0, 0.0), "Ti": (0.5, -0.5), "Ba": (0.0, 2.0)}


def basis(kind=GtoBasis, n_max=3, l_max=2):
    return kind(
        n_max=n_max,
        l_max=l_max,
        cutoff={"cutoff_angstrom": 3.5, "width_angstrom": 0.5},
        density={"kind": "gaussian", "sigma_angstrom": 0.4},
    )


def coefficients(expansion, frame):
    pairs = NeighbourList(frame.species, 3.5, pbc=frame.pbc)
    pairs.update(frame.positions, frame.cell)
    return expansion.split(SphericalExpansion(expansion, pairs).values())


@pytest.mark.parametrize("kind", [GtoBasis, LaplacianBasis])
def test_channels_are_sums_over_species(kind, tmp_path):
    primitive = basis(kind, n_max=4)
    made = ContractionConfig(kind="alchemical", weights=WEIGHTS).make(primitive, FRAMES, SPECIES, tolerance=1e-4)
    contraction_file.save(made, tmp_path / "u.npz")
    made = contraction_file.load(tmp_path / "u.npz")
    each = Covariance.of(primitive, FRAMES, SPECIES, tolerance=1e-4).contraction(q_max=4)  # rotated, all kept
    found, separate = (coefficients(one.expansion(1e-4), FRAMES[0]) for one in (made, each))
    u = np.array([WEIGHTS[symbol] for symbol in ("O", "Ti", "Ba")]).T
    for l, part in found.items():
        n = part.shape[-1] // 2
        back = np.stack([each.matrices[s][l, :n, :n] for s in SPECIES])  # orthogonal
        wanted = np.einsum("ba,camq,aqn->cmbn", u, separate[l][..., :n], back)
        np.testing.assert_allclose(part[:, 0], wanted.reshape(part[:, 0].shape), atol=1e-12)


def test_principal_weights_keep_most():
    covariance = Covariance.of(basis(), FRAMES, SPECIES)
    made = alchemical(covariance, principal_weights(covariance, 2, None))
    kept = [m.shape[1] * 2 for m in covariance.matrices]
    assert made.counts == tuple(kept)
    rng = np.random.default_rng(0)
    others = [alchemical(covariance, np.linalg.qr(rng.normal(size=(3, 2)))[0].T) for _ in range(9)]
    left = [
        sum(one.residual()[l, q] * one.eigenvalues[ALL][l].sum() for l, q in enumerate(kept)) for one in (made, *others)
    ]
    assert left[0] < min(left[1:])
    everything = alchemical(covariance, principal_weights(covariance, None, 1e-12))
    assert everything.residual()[0, -1] == 0


def alloys(number=48):
    """Clusters of three elements, two of which are the same to a pair potential."""
    rng, frames, energies = np.random.default_rng(0), [], []
    charge = {13: 1.0, 29: -0.5, 47: -0.5}
    for _ in range(number):
        atoms = Atoms(rng.choice([13, 29, 47], 5), positions=rng.uniform(0, 4, size=(5, 3)))
        distances = np.maximum(atoms.get_all_distances(), 0.5)
        q = np.array([charge[z] for z in atoms.numbers])
        energies.append(float((np.outer(q, q) * np.exp(-distances))[np.triu_indices(5, 1)].sum()))
        frames.append(Frame.of(atoms))
    return frames, energies


def problem():
    frames, energies = alloys()
    covariance = Covariance.of(basis(), frames, (13, 29, 47), tolerance=1e-4)
    return covariance, Targets.of(frames, energies)


def test_optimised_weights_find_what_energies_need():
    """One pseudo-species that is the charge, of a model that is linear in pairs of densities."""
    covariance, targets = problem()
    start = np.array([[1.0, 0.4, 0.3]])
    found = optimise(covariance, targets, start, tolerance=1e-4)
    assert found.losses == sorted(found.losses, reverse=True)
    assert found.losses[-1] < 0.5 * found.losses[0]
    assert (found.weights**2).sum() == pytest.approx(1)
    in_turn = optimise(covariance, targets, start, method="alternating", tolerance=1e-4)
    assert len(in_turn.losses) > len(found.losses) or min(in_turn.losses) > found.losses[-1]


def test_gradient_of_the_loss():
    from forceserver.representation import alchemical_model
    from forceserver.representation.expansion import ExpansionBasis
    from forceserver.representation.spline import splined

    covariance, targets = problem()
    tables = dict.fromkeys(covariance.species, splined(covariance.basis, 1e-4))
    of = alchemical_model._Problem(targets, alchemical_model._products(ExpansionBasis(tables), targets, None, None))
    u, h = np.random.default_rng(1).normal(size=(2, 3)), 1e-5
    gradient = of.loss(u, 1e-3)[1]
    for place in ((0, 0), (1, 2)):
        step = np.zeros_like(u)
        step[place] = h
        slope = (of.loss(u + step, 1e-3)[0] - of.loss(u - step, 1e-3)[0]) / (2 * h)
        assert gradient[place] == pytest.approx(slope, rel=1e-5)


def test_loss_is_that_of_structures_left_out():
    """One fit without each of them, by hand."""
    from forceserver.representation import alchemical_model
    from forceserver.representation.expansion import ExpansionBasis
    from forceserver.representation.spline import splined

    covariance, targets = problem()
    tables = dict.fromkeys(covariance.species, splined(covariance.basis, 1e-4))
    of = alchemical_model._Problem(targets, alchemical_model._products(ExpansionBasis(tables), targets, None, None))
    u, alpha = np.ones((1, 3)), 1e-3
    x, e, composition = of.rows(u, u), of._e, targets.composition
    strength, errors = alpha * (x**2).sum() / len(x), []
    for s in range(len(x)):
        rest = np.arange(len(x)) != s
        rows = np.hstack([x[rest], composition[rest]])
        ridge = np.diag([strength] * x.shape[1] + [0.0] * 3)
        w = np.linalg.lstsq(rows.T @ rows + ridge, rows.T @ e[rest], rcond=None)[0]
        errors.append(np.hstack([x[s], composition[s]]) @ w - e[s])
    assert of.loss(u, alpha)[0] == pytest.approx(np.square(errors).sum(), rel=1e-6)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"q_max": 4}, r"q_max = 4 pseudo-species of 3 species \(O, Ti, Ba\)"),
        ({"weights": {"O": (1.0,), "Ti": (1.0,)}}, "weights: there are none for the species Ba"),
        ({"weights": {"O": (1.0,), "Ti": (1.0,), "Ba": (1.0, 2.0)}}, "there are 1 for O, 1 for Ti, 2 for Ba"),
        ({"weights": {"O": (1.0, 2.0), "Ti": (2.0, 4.0), "Ba": (0.0, 0.0)}}, "2 pseudo-species are not independent"),
        ({"q_max": 2, "optimised": True}, "learns from energies, which are at hand in `forceserver fit` and"),
    ],
)
def test_refused(keys, message):
    with pytest.raises(InputError, match=message):
        ContractionConfig(kind="alchemical", **keys).make(basis(), FRAMES, SPECIES)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"weights": {"O": (1.0,)}, "q_max": 1}, "leave out q_max and residual_variance"),
        ({"q_max": 1, "mixed": True}, 'mixed belongs to kind = "pca", not to "alchemical"'),
        ({"q_max": 1, "gamma": 0.1}, 'gamma belongs to kind = "pcovr", not to "alchemical"'),
        ({"q_max": 1, "optimised": True, "structures": __file__}, "takes those at hand"),
    ],
)
def test_keys(keys, message):
    with pytest.raises(ValueError, match=message):
        ContractionConfig(kind="alchemical", **keys)


def test_fewer_environments_than_pseudo_species():
    one_atom = Frame.of(Atoms("O", cell=[3.0] * 3, pbc=True))
    covariance = Covariance.of(basis(), [one_atom], (8,))
    with pytest.raises(InputError, match="1 environments do not determine 2 functions"):
        alchemical(covariance, np.ones((2, 1)))


def test_products_that_fit_in_no_memory(monkeypatch):
    from forceserver import memory

    monkeypatch.setattr(memory, "physical_memory", lambda: 1e5)
    covariance, targets = problem()
    with pytest.raises(InputError, match=r"products of all pairs of species .* takes 0\.\d+ GB of memory"):
        optimise(covariance, targets, np.ones((1, 3)), tolerance=1e-4)
