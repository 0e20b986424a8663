"""Parts of the study of representations, small: that they run, and that their reference is right."""

import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

STUDY = Path(__file__).parents[2] / "workflows" / "representations"

pytestmark = pytest.mark.skipif(not STUDY.is_dir(), reason="not in the repository")


@pytest.fixture
def study(monkeypatch, tmp_path):
    """The folder of the study on the path, with results elsewhere."""
    monkeypatch.syspath_prepend(str(STUDY))
    names = ("common", "sensitivity", "higher_orders", "feature_space")
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
