"""Sparse kernel models: kernel, potential, file, calculator."""

import numpy as np
import pytest
from ase.build import bulk
from gap_models import some_model

from forceserver import _ext
from forceserver.ase_calculator import ForceServerCalculator
from forceserver.errors import InputError, PotentialError
from forceserver.frame import Frame
from forceserver.models.kernel import GapModel, SoapTerm
from forceserver.potentials.conformance import check_potential
from forceserver.potentials.gap import GapPotential

_kernel = _ext.kernel("sparse_kernel")


@pytest.mark.parametrize(("n", "m", "f", "zeta"), [(1, 1, 1, 1), (25, 64, 17, 2), (50, 130, 33, 4), (7, 200, 252, 7)])
@pytest.mark.parametrize("single", [False, True])
def test_kernel_is_that_of_numpy(n, m, f, zeta, single):
    rng = np.random.default_rng(n)
    p, q = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rng.normal(size=(n, f)), rng.normal(size=(m, f))))
    weights, members = rng.normal(size=m), rng.normal(size=(m, 8))
    energies, gradient, of_members = np.empty(n), np.empty((n, f)), np.empty((n, 8))
    _kernel.SparseKernel(q, weights, members, zeta, single).evaluate(p, energies, gradient, of_members)
    u = p @ q.T
    tolerance = {"rtol": 0, "atol": (1e-6 if single else 1e-14) * zeta * np.abs(weights).sum()}
    np.testing.assert_allclose(energies, u**zeta @ weights, **tolerance)
    np.testing.assert_allclose(of_members, u**zeta @ members, **tolerance)
    np.testing.assert_allclose(gradient, (zeta * weights * u ** (zeta - 1)) @ q, **tolerance)


@pytest.fixture
def carbide():
    """Zinc blende, rattled and sheared so little that no pair comes near a jump of the cutoffs' second derivative."""
    atoms = bulk("SiC", "zincblende", a=5.43, cubic=True)
    atoms.rattle(0.05, seed=4)
    atoms.set_cell(atoms.cell.array @ [[1.01, 0.02, 0], [0, 0.99, 0], [0.01, 0, 1]], scale_atoms=True)
    return atoms


@pytest.mark.parametrize("zeta", [1, 2, 4])
def test_conformance(batio3, zeta):
    potential = GapPotential(some_model(zeta=zeta))
    check_potential(potential, Frame.from_ase(batio3), tolerance=5e-4).raise_on_failure()


@pytest.mark.parametrize("zeta", [1, 2, 4])
def test_forces_and_virial_to_eight_digits(carbide, zeta):
    """Five-point differences of the energy, along the largest force, and for every strain."""
    potential, frame = GapPotential(some_model((6, 14), zeta)), Frame.from_ase(carbide)
    result, positions, cell, h = potential.compute_one(frame), frame.positions.copy(), frame.cell.copy(), 1e-3
    stencil = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))
    atom = np.abs(result.forces).max(axis=1).argmax()
    direction = np.zeros_like(positions)
    direction[atom] = result.forces[atom] / np.linalg.norm(result.forces[atom])
    slope = 0.0
    for k, weight in stencil:
        frame.positions = positions + k * h * direction
        slope += weight * potential.compute_one(frame).energy / h
    assert -slope == pytest.approx(np.linalg.norm(result.forces[atom]), rel=1e-8)
    slopes = np.zeros((3, 3))
    for i, j in np.ndindex(3, 3):
        for k, weight in stencil:
            strain = np.eye(3)
            strain[i, j] += k * 0.3 * h
            frame.positions, frame.cell = positions @ strain, cell @ strain
            slopes[i, j] += weight * potential.compute_one(frame).energy / (0.3 * h)
    np.testing.assert_allclose(-slopes, result.virial, atol=1e-8 * np.abs(result.virial).max())


def test_same_bits_for_any_number_of_threads(batio3, threads_change_no_bit):
    """Whether they share the atoms of a frame, or the frames of a batch."""
    batch = []
    for seed in range(3):
        batio3.rattle(0.05, seed=seed)
        batch.append(Frame.from_ase(batio3))
    large = Frame.from_ase(batio3.repeat(2))

    def everything():
        potential = GapPotential(some_model())
        results = [potential.compute_one(large), *potential.compute(batch)]
        potential.close()
        return [number for result in results for number in (result.energy, result.forces, result.virial)]

    threads_change_no_bit(everything)


def test_atomic_energies_sum_to_the_energy(batio3):
    potential, frame = GapPotential(some_model()), Frame.from_ase(batio3)
    assert potential.atomic_energies(frame).sum() == pytest.approx(potential.compute_one(frame).energy, abs=1e-7)


def test_members_are_models_of_their_own(batio3):
    model, frame = some_model(), Frame.from_ase(batio3)
    extras = GapPotential(model, uncertainty=True).compute_one(frame).extras
    for k in range(8):
        terms = tuple(
            SoapTerm(t.hypers, t.features, t.points, {s: np.ascontiguousarray(w[:, k]) for s, w in t.members.items()})
            for t in model.soap
        )
        alone = GapPotential(GapModel(model.species, model.energies, terms, model.pairs)).compute_one(frame)
        assert extras["committee_pot"][k] == pytest.approx(alone.energy, rel=1e-12)
    assert extras["committee_uncertainty"] == pytest.approx(extras["committee_pot"].std(ddof=1))


def test_beads_and_other_systems_in_turn(batio3):
    """The lists of each place in a batch are its own, and follow a change of species."""
    model = some_model()
    potential, frames = GapPotential(model), []
    for seed in range(3):
        atoms = batio3.copy()
        atoms.rattle(0.1, seed=seed)
        frames.append(Frame.from_ase(atoms))
    other = Frame.from_ase(batio3[::-1])
    for batch in (frames, [other], frames[::-1]):
        for frame, result in zip(batch, potential.compute(batch), strict=True):
            alone = GapPotential(model).compute_one(frame)
            assert result.energy == pytest.approx(alone.energy, rel=1e-13)
            np.testing.assert_allclose(result.forces, alone.forces, atol=1e-11 * np.abs(alone.forces).max())


def test_single_precision_is_close(batio3):
    frame = Frame.from_ase(batio3)
    double, single = (GapPotential(some_model(), precision=p).compute_one(frame) for p in ("double", "single"))
    assert single.energy == pytest.approx(double.energy, rel=1e-6)
    np.testing.assert_allclose(single.forces, double.forces, atol=1e-5 * np.abs(double.forces).max())


def test_single_precision_bears_large_weights_that_cancel():
    """Points that are much alike, as those of real models, and weights whose sum is a millionth of their size."""
    rng = np.random.default_rng(0)
    q = rng.normal(size=60) + 0.3 * rng.normal(size=(300, 6)) @ rng.normal(size=(6, 60))
    q += 1e-3 * rng.normal(size=q.shape)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    p, weights = q[:40].copy(), 1e5 * rng.normal(size=len(q))
    weights -= weights.mean()
    gradients = [np.empty_like(p) for _ in range(2)]
    for single, gradient in zip((False, True), gradients, strict=True):
        kernel = _kernel.SparseKernel(q, weights, None, 3, single)
        kernel.evaluate(p, np.empty(len(p)), gradient, np.empty((len(p), 8)))
    assert np.abs(gradients[1] - gradients[0]).max() < 1e-10 * np.abs(weights).sum()


def test_bad_frames_are_told(batio3):
    potential = GapPotential(some_model())
    with pytest.raises(PotentialError, match=r"atom 0 .* is Si; the model knows O, Ti, Ba"):
        potential.compute_one(Frame.from_ase(bulk("Si")))
    batio3.positions[1] = batio3.positions[0]
    with pytest.raises(PotentialError, match=r"atoms \d and \d .* 0(\.000)? Angstrom apart"):
        potential.compute_one(Frame.from_ase(batio3))
    with pytest.raises(InputError, match="no members"):
        GapPotential(some_model(members=False), uncertainty=True)


def test_calculator(tmp_path, batio3):
    path = tmp_path / "model.npz"
    some_model().save(path)
    batio3.calc = ForceServerCalculator.from_model(path)
    result = GapPotential(GapModel.load(path)).compute_one(Frame.from_ase(batio3))
    assert batio3.get_potential_energy() == result.energy
    np.testing.assert_array_equal(batio3.get_forces(), result.forces)
    np.testing.assert_allclose(batio3.get_stress(voigt=False), -result.virial / batio3.get_volume(), atol=1e-12)
    assert batio3.get_potential_energies().sum() == pytest.approx(result.energy, abs=1e-7)
