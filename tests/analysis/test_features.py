"""Measures of features: known answers, scikit-matter by hand, methane and its degenerate manifold, what is refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from skmatter.datasets import load_degenerate_CH4_manifold
from skmatter.metrics import global_reconstruction_error, local_prediction_rigidity, local_reconstruction_error

from forceserver.analysis import features as measures
from forceserver.analysis.jacobian import environment, jacobian
from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.representation.config import ExpansionConfig
from forceserver.representation.describing import FeatureMap


def split_of(environments, seed=0):
    return measures.Split.of(np.arange(environments), seed)


def test_what_contains_the_other():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 8))
    split = split_of(60)
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    error, distortion = measures.reconstruction(x, x @ turn, split)
    assert max(error, distortion) < 1e-10
    error, distortion = measures.reconstruction(x, x @ (turn * np.linspace(1, 9, 8)), split)
    assert error < 1e-10
    assert distortion > 0.1
    assert measures.reconstruction(x, x[:, :3], split)[0] < 1e-10
    assert measures.reconstruction(x[:, :3], x, split)[0] > 0.5  # five of eight directions are missing
    assert measures.reconstruction(x, rng.normal(size=(60, 4)), split)[0] > 0.9


def test_wide_features_are_compared_as_they_are():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 200)), rng.normal(size=(30, 90))
    split = split_of(30)
    small = measures.compact(x)
    assert small.shape == (30, 30)
    np.testing.assert_allclose(small @ small.T, x @ x.T, atol=1e-11)
    whole = global_reconstruction_error(x, y, train_idx=split.train, test_idx=split.test)
    assert measures.reconstruction(small, measures.compact(y), split)[0] == pytest.approx(whole, abs=1e-10)
    structure = np.arange(30) // 3
    by_structure = measures.Split.of(structure, 2)
    train = [x[structure == s] for s in np.unique(structure[by_structure.train])]
    theirs = local_prediction_rigidity(train, [x[by_structure.test]], 1e-3)[0][0]
    np.testing.assert_allclose(measures.rigidity(small, structure, by_structure, 1e-3), theirs, rtol=1e-8)


def test_agrees_with_featomic_and_scikit_matter():
    """Two power spectra of molecules by featomic, and what scikit-matter says of them, to 1e-10."""
    featomic = pytest.importorskip("featomic")
    structures = [molecule(name) for name in ("CH3OH", "H2CO", "CH3CHO", "CH3OCH3", "HCOOH", "C2H4") for _ in range(2)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.1, seed=seed)
    mine, theirs = [], []
    for n_max, sigma in ((2, 0.5), (1, 0.3)):
        basis = {
            "kind": "gto",
            "n_max": n_max,
            "l_max": 1,
            "cutoff": {"cutoff_angstrom": 3.0, "width_angstrom": 0.5},
            "density": {"kind": "gaussian", "sigma_angstrom": sigma},
        }
        maps = FeatureMap(ExpansionConfig.model_validate({"basis": basis, "tolerance": 1e-11}), structures)
        mine.append(np.concatenate([maps.at(maps.neighbours(Frame.of(atoms))).values().copy() for atoms in structures]))
        calculator = featomic.SoapPowerSpectrum(
            cutoff={"radius": 3.0, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
            density={"type": "Gaussian", "width": sigma},
            basis={"type": "TensorProduct", "max_angular": 1, "spline_accuracy": None,
                   "radial": {"type": "Gto", "max_radial": n_max - 1}},
        )  # fmt: skip
        blocks = calculator.compute(structures).keys_to_samples("center_type")
        block = blocks.keys_to_properties(["neighbor_1_type", "neighbor_2_type"]).block()
        theirs.append(each_once(block)[np.lexsort((block.samples["atom"], block.samples["system"]))])
    split = split_of(len(mine[0]))
    for x, y in ((0, 1), (1, 0)):
        wanted = global_reconstruction_error(theirs[x], theirs[y], train_idx=split.train, test_idx=split.test)
        found = measures.reconstruction(measures.compact(mine[x]), measures.compact(mine[y]), split)[0]
        assert found == pytest.approx(wanted, abs=1e-10)
        assert found > 1e-3


def each_once(block):
    """featomic has features with n, n' exchanged twice where both species are the same."""
    a, b, n, m = (block.properties[name] for name in ("neighbor_1_type", "neighbor_2_type", "n_1", "n_2"))
    same = a == b
    return (block.values * np.where(same & (n != m), np.sqrt(2), 1.0))[:, ~same | (n <= m)]


def test_features_of_a_kernel():
    """Of exponent 2 these are the products of pairs of features."""
    x = np.random.default_rng(2).normal(size=(60, 4))
    induced = measures.kernel_features(x, 2)
    assert induced.shape == (60, 10)
    x /= np.linalg.norm(x, axis=1)[:, None]
    products = (x[:, :, None] * x[:, None, :]).reshape(60, 16)
    np.testing.assert_allclose(induced @ induced.T, products @ products.T, atol=1e-12)
    assert measures.reconstruction(induced, products, split_of(60))[0] < 1e-9
    with pytest.raises(InputError, match="an environment has no neighbours"):
        measures.kernel_features(np.zeros((9, 3)), 2)


def test_whole_structures_are_split():
    structure = np.repeat(np.arange(10), 4)
    split = measures.Split.of(structure, 3, 0.3)
    assert (split.by, len(split.train), len(split.test)) == ("structure", 12, 28)
    assert not set(structure[split.train]) & set(structure[split.test])
    alone = measures.Split.of(np.zeros(20), 3)
    assert (alone.by, len(alone.train)) == ("environment", 10)


def test_degenerate_manifold():
    """Of scikit-matter: local maps from the power spectrum fail where environments with the same one meet."""
    data = load_degenerate_CH4_manifold().data
    power, bi = data.SOAP_power_spectrum[::2], data.SOAP_bispectrum[::2]
    split = split_of(81, 1)
    found = measures.local_reconstruction(power, bi, split, 15, 1000)
    there = local_reconstruction_error(power, bi, 15, train_idx=split.train, test_idx=np.sort(split.test))
    assert np.linalg.norm(found) / np.sqrt(len(found)) == pytest.approx(float(there), rel=1e-6)
    back = measures.local_reconstruction(bi, power, split, 15, 1000)
    assert measures.percentiles(found)["99"] > 3 * measures.percentiles(back)["99"]
    assert len(measures.local_reconstruction(bi, power, split, 15, 7)) == 7


def section(n_max=4, l_max=3, **keys):
    basis = {
        "kind": "gto",
        "n_max": n_max,
        "l_max": l_max,
        "cutoff": {"cutoff_angstrom": 4.0, "width_angstrom": 0.5},
        "density": {"kind": "gaussian", "sigma_angstrom": 0.4},
    }
    return ExpansionConfig.model_validate({"basis": basis, "tolerance": 1e-6} | keys)


def methane(seed=0):
    atoms = molecule("CH4")
    atoms.rattle(0.2, seed=seed)
    return atoms


MULTI = {"nu": 3, "n_components": 12, "num_expand": 60}


@pytest.mark.parametrize("keys", [{}, {"normalise": True}, {"multispectrum": MULTI}])
def test_jacobian_of_methane(keys):
    """3 n - 6 displacements are noticed, and no more; the noise is that of rounding."""
    structures = [methane(seed) for seed in range(12)]
    maps = FeatureMap(section(**keys), structures)
    found = jacobian(maps, Frame.of(structures[3]), 0)
    assert (found.atoms, found.most, found.rank) == (5, 9, 9)
    assert found.noise < 1e-9 * found.singular_values[0]
    assert (found.singular_values[9:] < 1e-12 * found.singular_values[0]).all()


def test_rank_of_what_sees_distances_only():
    """Radial functions of one centre notice its distances: one for each neighbour, if there are enough functions."""
    structures = [methane(seed) for seed in range(3)]
    wide = FeatureMap(section(n_max=6, l_max=0, power_spectrum=False), structures)
    assert jacobian(wide, Frame.of(structures[0]), 0).rank == 4
    few = FeatureMap(section(n_max=2, l_max=0, power_spectrum=False), structures)
    assert jacobian(few, Frame.of(structures[0]), 0).rank == 2


def test_singular_values_are_finite_differences():
    structures = [methane(seed) for seed in range(12)]
    maps = FeatureMap(section(multispectrum=MULTI), structures)
    frame, h = Frame.of(structures[0]), 1e-5

    def features(positions):
        moved = Frame(positions, frame.cell, frame.species, frame.pbc)
        return maps.at(maps.neighbours(moved)).values()[0].copy()

    steps = np.eye(15).reshape(15, 5, 3) * h
    rows = [(features(frame.positions + d) - features(frame.positions - d)) / (2 * h) for d in steps]
    wanted = np.linalg.svd(np.array(rows).T, compute_uv=False)[:9]
    np.testing.assert_allclose(jacobian(maps, frame, 0).singular_values[:9], wanted, rtol=1e-6)


def test_environment_of_a_crystal():
    atoms = bulk("Si", cubic=True)
    cluster = environment(Frame.of(atoms), 3, 4.0)
    assert not cluster.pbc.any()
    distances = np.linalg.norm(cluster.positions, axis=1)
    assert (distances < 4.0).sum() == 17  # the atom, 4 and 12 neighbours
    assert distances.max() > 4.0
    atoms.rattle(0.05, seed=1)
    maps = FeatureMap(section(), [atoms])
    found = jacobian(maps, Frame.of(atoms), 3)
    assert found.most == 45
    assert found.rank <= 45


def test_an_atom_alone():
    atoms = Atoms("H", positions=[[0, 0, 0]])
    found = jacobian(FeatureMap(section(), [atoms]), Frame.of(atoms), 0)
    assert (found.atoms, found.most, found.rank) == (1, 0, 0)


def test_refused(monkeypatch):
    x = np.random.default_rng(0).normal(size=(40, 5))
    split = split_of(40)
    with pytest.raises(InputError, match="7 environments are too few, at least 8"):
        split_of(7)
    with pytest.raises(InputError, match=r"local points: 30 must be in 4 \.\. 20"):
        measures.local_reconstruction(x, x, split, 30, 10)
    with pytest.raises(InputError, match="features of B are the same for all environments of a half"):
        measures.reconstruction(x, np.ones((40, 3)), split)
    with pytest.raises(InputError, match="features that are not finite"):
        measures.compact(np.full((9, 3), np.nan))
    with pytest.raises(InputError, match="the rigidity needs several structures"):
        measures.rigidity(x, np.zeros(40), measures.Split.of(np.zeros(40)), 1e-3)
    monkeypatch.setattr("forceserver.memory.physical_memory", lambda: 1e9)
    with pytest.raises(InputError, match=r"comparing 9000 and 300 features of 20000 environments takes .* GB"):
        measures.require(20000, 9000, 300)
    by_index = FeatureMap(section(neighbours=(1, 2)), [methane()])
    with pytest.raises(InputError, match="a Jacobian needs species, not indices"):
        jacobian(by_index, Frame.of(methane()), 0)
