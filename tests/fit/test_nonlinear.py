"""Embeddings, the gradient of their loss, and their training."""

import numpy as np
import pydantic
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from test_fit import rmse

from forceserver.analysis import parity
from forceserver.fit import nonlinear, run
from forceserver.fit.ace_rows import AceRows
from forceserver.fit.config import AceDescriptor, FitConfig, Sigma
from forceserver.fit.data import Labelled
from forceserver.fit.preparation import groups_of
from forceserver.frame import Frame
from forceserver.models.ace import AceModel
from forceserver.models.embedding import FinnisSinclair, Network, Powers
from forceserver.potentials.ace import AcePotential
from forceserver.potentials.conformance import check_potential
from forceserver.representation.products import Truncation

EMBEDDINGS = [FinnisSinclair(), Powers(exponents=(0.5, 1.5)), Powers(trained=False), Network(properties=3, width=4)]


@pytest.mark.parametrize("embedding", EMBEDDINGS, ids=lambda e: e.kind)
def test_embeddings_against_differences(embedding):
    rng = np.random.default_rng(0)
    phi, theta = rng.normal(size=(7, embedding.n_properties)), embedding.start(rng)
    a, b = rng.normal(size=7), rng.normal(size=phi.shape)

    def combined(phi, theta):
        value, slope = embedding.evaluate(phi, theta)
        return a @ value + (b * slope).sum()

    step = 1e-6
    in_phi, in_theta = embedding.pull(phi, theta, a, b)
    direction = rng.normal(size=phi.shape)
    differences = (combined(phi + step * direction, theta) - combined(phi - step * direction, theta)) / (2 * step)
    assert (in_phi * direction).sum() == pytest.approx(differences, rel=1e-6)
    _, slope = embedding.evaluate(phi, theta)
    change = embedding.evaluate(phi + step * direction, theta)[0] - embedding.evaluate(phi - step * direction, theta)[0]
    np.testing.assert_allclose((slope * direction).sum(axis=1), change / (2 * step), rtol=1e-6, atol=1e-8)
    for k in range(len(theta)):
        unit = np.eye(len(theta))[k]
        differences = (combined(phi, theta + step * unit) - combined(phi, theta - step * unit)) / (2 * step)
        assert in_theta[k] == pytest.approx(differences, rel=1e-6, abs=1e-7)
    np.testing.assert_allclose(embedding.evaluate(np.zeros((1, embedding.n_properties)), theta)[0], 0, atol=1e-15)


def structures_of(columns, count=3, virials=True):
    found = []
    for seed in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.numbers[:2] = 79
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        virial = -atoms.get_stress(voigt=False) * atoms.get_volume() if virials else None
        labels = Labelled(Frame.from_ase(atoms), "x", energy, forces, virial)
        found.append(nonlinear.Structure(labels, Sigma(), columns.place(labels.frame)))
    return found


def some_columns(functions=30, r0=2.5):
    basis = {
        "n_max": 5,
        "l_max": 2,
        "cutoff": {"cutoff_angstrom": 3.8},
        "transform": {"kind": "agnesi", "r0_angstrom": r0},
    }
    truncation = Truncation(functions=functions, order=4, n_max=(5,), l_max=(0, 2, 2, 2))
    return AceRows((29, 79), AceDescriptor(kind="ace", basis=basis, truncation=truncation))


BY_PAIR = {"Cu-Cu": 2.4, "Cu-Au": 2.5, "Au-Au": 2.6}


@pytest.mark.parametrize(
    ("embedding", "r0"), [*((embedding, 2.5) for embedding in EMBEDDINGS), (FinnisSinclair(), BY_PAIR)]
)
def test_gradient_of_the_loss_against_differences(embedding, r0):
    """Energies, forces and virials; every parameter at once along random directions, 1e-6."""
    columns, rng = some_columns(r0=r0), np.random.default_rng(1)
    loss = nonlinear.Loss(columns, embedding, structures_of(columns))
    weights = 0.3 * rng.normal(size=(embedding.n_properties, columns.size))
    theta = np.array([embedding.start(rng) for _ in columns.species])
    _, by_weights, by_theta = loss.evaluate(weights, theta)
    for direction, other in ((rng.normal(size=weights.shape), 0 * theta), (0 * weights, rng.normal(size=theta.shape))):
        if not other.any() and not direction.any():
            continue
        slopes = []
        for step in (1e-5, 2e-5):
            ahead, behind = (
                loss.evaluate(weights + s * step * direction, theta + s * step * other, gradient=False)[0].loss
                for s in (1, -1)
            )
            slopes.append((ahead - behind) / (2 * step))
        expected = (by_weights * direction).sum() + (by_theta * other).sum()
        assert (4 * slopes[0] - slopes[1]) / 3 == pytest.approx(expected, rel=1e-6)


@pytest.fixture(scope="module")
def copper(tmp_path_factory):
    """By EMT, whose embedding is nonlinear."""
    structures = []
    for seed in range(40):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell * np.random.default_rng(seed).uniform(0.93, 1.07), scale_atoms=True)
        atoms.rattle(0.12, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        structures.append(atoms)
    path = tmp_path_factory.mktemp("copper") / "copper.extxyz"
    write(path, structures)
    return path


@pytest.fixture
def content(tmp_path, copper):
    return {
        "model": "ace",
        "functions": 40,
        "cutoff_angstrom": 4.0,
        "output": str(tmp_path / "fs.npz"),
        "report": str(tmp_path / "report"),
        "data": {"train": str(copper)},
        "sigma": {"default": {"energy_ev": 0.001, "force_ev_per_angstrom": 0.01}},
        "embedding": {"kind": "finnis_sinclair"},
        "training": {"iterations": 30},
    }


def test_training_is_better_than_the_linear_model(content):
    fit = run.fit(FitConfig.model_validate(content))
    history = fit.model.summary["training"]
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert min(entry["validation_loss"] for entry in history) < 0.97 * history[0]["validation_loss"]
    assert rmse(fit.model, fit.train, parity.FORCE) < 0.01
    last = [fit.train[k] for k in groups_of(fit.train, 0)[-1]]  # by which training ended, but the model has seen it
    assert rmse(fit.model, last, parity.FORCE) < 0.9 * min(
        entry["validation_force_ev_per_angstrom"] for entry in history
    )
    loaded = AceModel.load(FitConfig.model_validate(content).output)
    potential = AcePotential(loaded)
    check_potential(potential, Frame.from_ase(bulk("Cu", cubic=True)), tolerance=1e-4).raise_on_failure()
    frame = fit.train[0].frame
    assert potential.compute_one(frame).energy == AcePotential(fit.model).compute_one(frame).energy


def test_interrupted_training_goes_on(content, monkeypatch):
    keep, calls = nonlinear.Training._keep, []

    def interrupted(self, path, fingerprint):
        keep(self, path, fingerprint)
        calls.append(len(self._history))
        if len(calls) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(nonlinear.Training, "_keep", interrupted)
    config = FitConfig.model_validate(content)
    with pytest.raises(KeyboardInterrupt):
        run.fit(config)
    assert not config.output.exists()
    fit = run.fit(config)
    assert calls[:6] == [2, 3, 4, 5, 6, 7]
    assert len(fit.model.summary["training"]) <= 31


def test_a_loss_that_is_not_finite_names_the_structure_and_keeps_the_best(content, monkeypatch, caplog):
    evaluate, count = nonlinear.Loss.evaluate, []

    def broken(self, weights, theta, *, gradient=True):
        count.append(1)
        if len(count) == 12:
            raise FloatingPointError("structure 7")
        return evaluate(self, weights, theta, gradient=gradient)

    monkeypatch.setattr(nonlinear.Loss, "evaluate", broken)
    fit = run.fit(FitConfig.model_validate(content))
    assert "the loss of structure 7 is not finite" in caplog.text
    assert np.isfinite(fit.model.weights[29]).all()


def test_embeddings_are_for_expansions(content):
    content["model"] = "gap"
    with pytest.raises(pydantic.ValidationError, match='embedding: is for model = "ace"'):
        FitConfig.model_validate(content)
