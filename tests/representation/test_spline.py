"""Spline tables against the functions that they stand for, and the layout that kernels read."""

import re
from pathlib import Path

import numpy as np
import pytest

from forceserver.representation.cutoff import ShiftedCosine
from forceserver.representation.dvr import DvrBasis
from forceserver.representation.gto import GtoBasis
from forceserver.representation.laplacian import LaplacianBasis
from forceserver.representation.spline import SplineTable


@pytest.fixture(scope="module")
def basis():
    cutoff = ShiftedCosine(cutoff_angstrom=3.0, width_angstrom=0.47)
    return GtoBasis(n_max=5, l_max=2, cutoff=cutoff, density={"kind": "gaussian", "sigma_angstrom": 0.35})


@pytest.fixture(scope="module")
def table(basis):
    return SplineTable.build(basis, tolerance=1e-7)


def flat(basis, r):
    return tuple(f.reshape(len(r), -1) for f in basis.evaluate(r))


def test_error_anywhere_is_below_the_tolerance(basis, table):
    r = np.random.default_rng(1).uniform(0, 3, 5000)
    for splined, exact in zip(table.evaluate(r), flat(basis, r), strict=True):
        error = np.abs(splined - exact).max(axis=0)
        assert error.max() < 1e-7
        assert (error / np.abs(exact).max(axis=0)).max() < 1.05e-7
    assert table.errors.worst <= 1e-7


def test_errors_reported_are_the_largest(basis):
    table = SplineTable.build(basis, tolerance=1e-4)
    r = np.random.default_rng(3).uniform(0, 3, 20_000)
    exact = flat(basis, r)
    for splined, wanted, absolute, relative in zip(
        table.evaluate(r),
        exact,
        (table.errors.value, table.errors.derivative),
        (table.errors.relative_value, table.errors.relative_derivative),
        strict=True,
    ):
        error = np.abs(splined - wanted).max(axis=0)
        assert 0.8 * absolute < error.max() < 1.02 * absolute
        assert 0.8 * relative < (error / np.abs(wanted).max(axis=0)).max() < 1.02 * relative


def test_tightest_tolerance_is_reached():
    """Of differences of values in intervals this narrow, only ten digits would be left."""
    cutoff = ShiftedCosine(cutoff_angstrom=3.0, width_angstrom=3.0)
    basis = GtoBasis(n_max=2, l_max=0, cutoff=cutoff, density={"kind": "gaussian", "sigma_angstrom": 0.5})
    table = SplineTable.build(basis, tolerance=1e-12)
    r = np.random.default_rng(4).uniform(0, 3, 5000)
    for splined, exact in zip(table.evaluate(r), flat(basis, r), strict=True):
        np.testing.assert_allclose(splined, exact, atol=1.5e-12)


@pytest.mark.parametrize("kind", [DvrBasis, LaplacianBasis])
def test_other_bases(kind, basis):
    table = SplineTable.build(
        kind(n_max=5, l_max=4, cutoff=basis.cutoff, density={"kind": "dirac_delta"}), tolerance=1e-6
    )
    assert table.errors.worst <= 1e-6
    assert table.counts == ((5, 5, 5, 5, 5) if kind is DvrBasis else (5, 4, 4, 3, 3))


@pytest.mark.parametrize("count", [1, 2])
def test_many_distances_at_once(table, threads, count):
    threads(count)
    r = np.random.default_rng(6).uniform(0, 3.2, 50_000)
    values, derivatives = table.evaluate(r)
    i = np.minimum((r * table.inverse_step).astype(int), table.n_intervals - 1)
    a = np.moveaxis(table.coefficients[i, :, :15], 1, 0)
    t = (r - i * table.step)[:, None]
    inside = (r < 3)[:, None]
    np.testing.assert_allclose(values, inside * (a[0] + t * (a[1] + t * (a[2] + t * a[3]))), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(derivatives, inside * (a[1] + t * (2 * a[2] + t * 3 * a[3])), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("width", [3.0, 2.9999999, 1.0, 0.47, 1e-2])
def test_grid_has_a_node_where_the_smoothing_starts(width):
    cutoff = ShiftedCosine(cutoff_angstrom=3.0, width_angstrom=width)

    def cosine(r):
        return tuple(f[:, None] for f in cutoff.evaluate(r))

    if width == 2.9999999:  # a node at 1e-7 would need more intervals than are allowed
        with pytest.raises(ValueError, match="smoothing starts, at 1e-07 A"):
            SplineTable.fit(cosine, 3.0, cutoff.smoothing_starts, (1,), 1e-6)
        return
    table = SplineTable.fit(cosine, 3.0, cutoff.smoothing_starts, (1,), 1e-4)
    nodes = cutoff.smoothing_starts / table.step
    assert nodes == pytest.approx(round(nodes), abs=1e-9)
    assert table.errors.relative_derivative <= 1e-4


def test_layout_is_what_kernels_read(table):
    assert table.counts == (5, 5, 5)
    assert table.offsets == (0, 5, 10, 15)
    assert table.coefficients.shape == (table.n_intervals, 4, 16)
    assert table.coefficients.flags.c_contiguous
    assert table.coefficients.ctypes.data % 64 == 0
    assert np.all(table.coefficients[:, :, 15] == 0)
    r = 1.2345
    i = int(r * table.inverse_step)
    t = r - i * table.step
    assert 0 <= t < table.step
    a = table.coefficients[i, :, :15]
    value, derivative = table.evaluate(np.array([r]))
    np.testing.assert_allclose(value[0], a[0] + t * (a[1] + t * (a[2] + t * a[3])), rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(derivative[0], a[1] + t * (2 * a[2] + t * 3 * a[3]), rtol=1e-13, atol=1e-15)


def test_zero_at_and_beyond_the_cutoff_and_never_past_the_table(table):
    value, derivative = table.evaluate(np.array([3.0, 3.5, 100.0]))
    assert np.all(value == 0)
    assert np.all(derivative == 0)
    assert int(np.nextafter(3.0, 0) * table.inverse_step) == table.n_intervals - 1
    assert np.abs(table.evaluate(np.array([np.nextafter(3.0, 0)]))[0]).max() < 1e-15


def test_contraction_is_that_of_the_values(table):
    rng = np.random.default_rng(2)
    matrices = [rng.normal(size=(q, 5)) for q in (2, 0, 7)]
    contracted = table.contract(matrices)
    assert contracted.counts == (2, 0, 7)
    r = rng.uniform(0, 3, 100)
    for whole, part in zip(table.evaluate(r), contracted.evaluate(r), strict=True):
        blocks = np.split(whole, table.offsets[1:-1], axis=1)
        np.testing.assert_allclose(
            part, np.hstack([b @ m.T for b, m in zip(blocks, matrices, strict=True)]), atol=1e-13
        )


def test_arrays_carry_the_table(table, tmp_path):
    np.savez(tmp_path / "table.npz", **table.to_arrays())
    with np.load(tmp_path / "table.npz", allow_pickle=False) as arrays:
        again = SplineTable.from_arrays(arrays)
    r = np.linspace(0, 3.1, 100)
    np.testing.assert_array_equal(again.evaluate(r), table.evaluate(r))
    assert again.errors == table.errors


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("cutoff", 3.1, "do not end at the cutoff"),
        ("step", 0.1, "do not end at the cutoff"),
        ("counts", np.array([5, 5, 20]), "must have the shape"),
        ("counts", np.array([5, 20, -10]), "must not be negative"),
        ("coefficients", np.zeros((7, 4, 15)), "do not end at the cutoff"),
        ("coefficients", np.zeros((7, 3, 15)), "must have the shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(table, name, value, message):
    with pytest.raises(ValueError, match=message):
        SplineTable.from_arrays({**table.to_arrays(), name: value})


def test_coefficients_that_are_not_finite_are_refused(table):
    arrays = table.to_arrays()
    with pytest.raises(ValueError, match="finite"):
        SplineTable.from_arrays({**arrays, "coefficients": np.full_like(arrays["coefficients"], np.nan)})


def test_at_zero_is_the_centre(basis, table):
    np.testing.assert_allclose(table.at_zero, flat(basis, np.zeros(1))[0][0], atol=1e-15)


@pytest.mark.parametrize("tolerance", [0, -1, 1, float("nan")])
def test_tolerance_out_of_range(basis, tolerance):
    with pytest.raises(ValueError, match="tolerance must be in"):
        SplineTable.build(basis, tolerance)


def test_contraction_of_the_wrong_shape(table):
    with pytest.raises(ValueError, match="one matrix for each l"):
        table.contract([np.eye(5)])
    with pytest.raises(ValueError, match=r"matrices\[1\]"):
        table.contract([np.eye(5), np.eye(4), np.eye(5)])


def test_examples_of_the_documentation(capsys):
    page = Path(__file__).parents[2] / "docs" / "representation.md"
    for example in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(example, {})
    assert "SplineErrors(" in capsys.readouterr().out
