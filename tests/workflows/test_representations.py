"""Parts of the study of representations, small: that they run, and that their reference is right."""

import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write

STUDY = Path(__file__).parents[2] / "workflows" / "representations"

pytestmark = pytest.mark.skipif(not STUDY.is_dir(), reason="not in the repository")


@pytest.fixture
def study(monkeypatch, tmp_path):
    """The folder of the study on the path, with results elsewhere."""
    monkeypatch.syspath_prepend(str(STUDY))
    names = ("common", "sensitivity", "higher_orders", "feature_space", "regressions", "learning", "two_bodies")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import common

    monkeypatch.setattr(common, "RESULTS", tmp_path)
    yield tmp_path
    for name in names:
        sys.modules.pop(name, None)


def test_jacobians(study, monkeypatch):
    import sensitivity

    monkeypatch.setattr(sensitivity, "NUMBER", 2)
    monkeypatch.setattr(sensitivity, "SIZES", ((2, 1), (4, 3)))
    monkeypatch.setattr(sensitivity, "SHOWN", ((4, 3),))
    found = sensitivity.spectra()
    assert [found[name]["ranks"] for name in found] == [[5, 5], [9, 9], [9, 9]]
    assert (study / "jacobians.png").stat().st_size > 10_000


def test_lengths_are_those_of_the_invariants(study):
    """The integral over rotations and the features themselves, if nothing is cut off."""
    import higher_orders

    from forceserver.representation.multispectrum_config import MultispectrumConfig
    from forceserver.representation.multispectrum_fit import fit

    structures = [molecule(name) for name in ("H2O", "CH3OH", "H2CO", "CH3CHO") for _ in range(4)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.1, seed=seed)
    expansion, c = higher_orders._coefficients(structures, (2, 1, 3.5, 0.4, 0.5), 2)
    config = MultispectrumConfig(nu=4, n_components=1000, num_expand=None, l_max=2)
    spectrum = fit(expansion, c, np.ones(len(c), dtype=np.int32), config)
    squares = (spectrum.values(c, np.ones(len(c), dtype=np.int32)) ** 2).mean(axis=0)
    total = higher_orders.lengths(expansion, c)
    for nu in range(1, 5):
        assert squares[spectrum.order_of == nu].sum() == pytest.approx(total[nu], rel=1e-9)


def test_sorted_distances_and_soap(study):
    import common
    import feature_space

    found = feature_space.radial(common.methane(40))
    assert found["names"] == ["SOAP, σ 0.2", "SOAP, σ 0.5", "sorted"]
    assert np.all(np.diag(found["gfre"]) == 0)
    assert found["gfre"][0][1] < found["gfre"][1][0] + 0.05 < 1


def test_retained_fractions_multiply(study, monkeypatch):
    """Of a truncated density nearly; of contracted orders at least."""
    import higher_orders

    monkeypatch.setattr(higher_orders, "SHAPE", (3, 1, 3.5, 0.4, 0.5))
    monkeypatch.setattr(higher_orders, "SMALL", (3, 1, 3.5, 0.4, 0.5))
    monkeypatch.setattr(higher_orders, "CHANNELS", (2, 4))
    monkeypatch.setattr(higher_orders, "COMPONENTS", (3,))
    structures = [molecule(name) for name in ("H2O", "CH3OH", "H2CO", "CH3CHO") for _ in range(4)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.1, seed=seed)
    for one in higher_orders.density_truncated(structures).values():
        assert one["measured"] == sorted(one["measured"])
        np.testing.assert_allclose(one["measured"], one["rule"], rtol=0.4)
    for one in higher_orders.contracted(structures).values():
        assert one["measured"][0] == pytest.approx(one["rule"][0], rel=1e-6)
        assert all(measured < rule for measured, rule in zip(one["measured"][1:], one["rule"][1:], strict=True))


@pytest.fixture
def molecules(study):
    """A file of twelve, with the key of the data set."""
    structures = [molecule(name) for name in ("H2O", "CH3OH", "H2CO", "CH3NO2") for _ in range(3)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.1, seed=seed)
        atoms.info["dft_formation_energy_per_atom_in_eV"] = -1 - 0.1 * seed
    write(study / "molecules.extxyz", structures)
    return study / "molecules.extxyz"


def test_regressions_find_what_is_there(molecules):
    """Energies that are linear in the features and the composition."""
    import regressions

    data = regressions.Molecules.read(molecules, 1)
    x = np.random.default_rng(0).normal(size=(12, 3))
    energies = data.composition @ [1.0, 2.0, 3.0, 4.0] + x @ [0.1, -0.2, 0.3]
    known = regressions.Molecules(data.atoms, energies, data.composition)
    errors = regressions.linear_errors(x, known, np.arange(2, 12), np.arange(2))
    assert np.abs(errors).max() < 1e-4


def test_models_of_molecules(molecules):
    """Sizes of the features, and the kernel of pairs by hand."""
    import learning
    import two_bodies
    from regressions import Molecules

    some = learning.Curves(molecules, 1)
    assert [some.errors(2, n, kind, [9])["features"] for n, kind in ((1, "GTO"), (4, "mixed PCA"))] == [40, 40]
    pairs = two_bodies.Pairs(Molecules.read(molecules, 1))
    x = pairs.contracted(2, np.arange(9), False)
    flat = x.reshape(len(x), -1) / np.linalg.norm(x.reshape(len(x), -1), axis=1)[:, None]
    both = (flat @ flat.T) ** 4 * (pairs.species[:, None] == pairs.species)
    i, j = pairs.structure == 0, pairs.structure == 2
    assert pairs.kernel(x)[0, 2] == pytest.approx(both[np.ix_(i, j)].mean())
