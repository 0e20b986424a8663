"""The fused l = 1 mean against plain sums, featomic, finite differences and symmetry."""

import os
import subprocess
import sys

import numpy as np
import pytest
from featomic import SphericalExpansion
from structures import STRUCTURES, barium_titanate, pairs, rotation

from forceserver import _ext
from forceserver.representation.cutoff import ShiftedCosine
from forceserver.representation.gto import GtoBasis
from forceserver.representation.neighbours import NeighbourList, Selection
from forceserver.representation.radial import Gaussian
from forceserver.representation.spline import SplineTable
from forceserver.representation.vector_mean import Y1, VectorMean

CUTOFF = 3.0
MIX = np.array([0.7, -0.4, 0.9, 0.2, -0.3, 0.5])


@pytest.fixture(scope="module")
def basis():
    cutoff = ShiftedCosine(cutoff_angstrom=CUTOFF, width_angstrom=0.5)
    return GtoBasis(n_max=6, l_max=1, cutoff=cutoff, density=Gaussian(sigma_angstrom=0.3))


@pytest.fixture(scope="module")
def table(basis):
    return SplineTable.build(basis, 1e-9).contract([np.zeros((0, 6)), MIX[None]])


@pytest.fixture(scope="module")
def tables(table):
    """Different functions for different species, on one grid."""
    scaled = {8: 1.0, 22: -0.6, 56: 1.7, 14: 1.0, 1: 0.8}
    return {species: table.contract([np.zeros((0, 0)), np.array([[factor]])]) for species, factor in scaled.items()}


def variable(atoms, tables, skin=0.0, centres=None, neighbours=None, weights=None):
    found = NeighbourList(atoms.numbers, CUTOFF, pbc=atoms.pbc, skin=skin, centres=centres, neighbours=neighbours)
    mean = VectorMean(tables, found, weights)

    def value(positions, cell):
        found.update(np.ascontiguousarray(positions), np.ascontiguousarray(cell))
        result = mean.compute()
        return result.value.copy(), result.gradient.copy(), result.strain.copy()

    return found, value


@pytest.mark.parametrize("skin", [0.0, 0.7])
@pytest.mark.parametrize("name", STRUCTURES)
def test_value_is_the_plain_sum(name, skin, basis, table, tables):
    atoms = STRUCTURES[name]()
    weights = np.random.default_rng(0).normal(size=len(atoms))
    _, value = variable(atoms, tables, skin, weights=weights)
    i, j, d = pairs(atoms, CUTOFF)
    r = np.linalg.norm(d, axis=1)
    factor = np.array(
        [tables[species].coefficients[0, 1, 0] / table.coefficients[0, 1, 0] for species in atoms.numbers]
    )
    for radial, tolerance in ((table.evaluate(r)[0][:, 0], 1e-14), (basis.evaluate(r)[0][:, 1] @ MIX, 1e-8)):
        expected = ((weights[i] * factor[j] * radial / r)[:, None] * Y1 * d).sum(axis=0)
        np.testing.assert_allclose(value(atoms.positions, atoms.cell.array)[0], expected, atol=tolerance * 50)


def test_agrees_with_featomic(basis, table):
    atoms = barium_titanate(2)
    calculator = SphericalExpansion(
        cutoff={"radius": CUTOFF, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        density={"type": "Gaussian", "width": 0.3},
        basis={
            "type": "TensorProduct",
            "max_angular": 1,
            "radial": {"type": "Gto", "max_radial": 5},
            "spline_accuracy": 1e-10,
        },
    )
    block = calculator.compute(atoms).block(center_type=22, neighbor_type=8, o3_lambda=1)
    expected = (block.values.mean(axis=0) @ MIX)[[2, 0, 1]]  # featomic's m = -1, 0, 1 are y, z, x
    _, value = variable(atoms, {8: table}, 0.5, Selection(species=(22,)), Selection(species=(8,)))
    np.testing.assert_allclose(value(atoms.positions, atoms.cell.array)[0], expected, atol=1e-8)


@pytest.mark.parametrize("name", STRUCTURES)
def test_gradient_and_strain_are_derivatives(name, tables):
    atoms = STRUCTURES[name]()
    centres = Selection(species=(int(atoms.numbers[0]),))
    weights = np.random.default_rng(1).normal(size=len(centres.resolve(atoms.numbers)))
    found, value = variable(atoms, tables, 0.4, centres, weights=weights)
    positions, cell = atoms.positions, atoms.cell.array
    _, gradient, strain = value(positions, cell)

    def difference(moved):
        """Fourth-order central difference of the value along moved(h) -> positions, cell."""
        h = 1e-5  # small, because the second derivative of the cutoff function jumps
        ends = {k: value(*moved(k * h))[0] for k in (-2, -1, 1, 2)}
        return (8 * (ends[1] - ends[-1]) - (ends[2] - ends[-2])) / (12 * h)

    def assert_derivative(derivative, moved, largest):
        np.testing.assert_allclose(derivative, difference(moved), atol=1e-7 * largest)

    largest_gradient, largest_strain = np.abs(gradient).max(), np.abs(strain).max()
    for site in range(min(len(found.site_atom), 12)):
        for b in range(3):
            step = np.zeros_like(positions)
            step[found.site_atom[site], b] = 1
            assert_derivative(gradient[:, site, b], lambda h, step=step: (positions + h * step, cell), largest_gradient)
    for a in range(3):
        for b in range(3):
            step = np.zeros((3, 3))
            step[a, b] = 1

            def strained(h, step=step):
                return positions @ (np.eye(3) + h * step), cell @ (np.eye(3) + h * step)

            assert_derivative(strain[:, a, b], strained, largest_strain)
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-12)


def test_turns_as_a_vector_and_does_not_depend_on_the_choice_of_cell(tables):
    atoms, q = barium_titanate(2, rattle=0.2), rotation(1)
    _, value = variable(atoms, tables, 0.3)
    v, gradient, strain = value(atoms.positions, atoms.cell.array)
    for turn in (q, -np.eye(3), -q):
        turned = value(atoms.positions @ turn.T, atoms.cell.array @ turn.T)
        np.testing.assert_allclose(turned[0], turn @ v, atol=1e-13)
        np.testing.assert_allclose(turned[1], np.einsum("pm,mkb,qb->pkq", turn, gradient, turn), atol=1e-13)
        np.testing.assert_allclose(turned[2], np.einsum("ia,jb,kc,abc", turn, turn, turn, strain), atol=1e-12)
    skewed = np.array([[1, 1, 0], [0, 1, -2], [0, 0, 1]]) @ atoms.cell.array
    np.testing.assert_allclose(value(atoms.positions, skewed)[0], v, atol=1e-13)
    order = np.random.default_rng(0).permutation(len(atoms))
    _, permuted = variable(atoms[order], tables, 0.3)
    np.testing.assert_allclose(permuted(atoms.positions[order], atoms.cell.array)[0], v, atol=1e-13)


def test_same_bits_for_any_number_of_threads(tables, threads_change_no_bit):
    atoms = barium_titanate(12)
    _, value = variable(atoms, tables, 0.3)
    threads_change_no_bit(lambda: value(atoms.positions, atoms.cell.array))


@pytest.mark.skipif(_ext.isa == "baseline", reason="one build only on this processor")
def test_every_build_gives_the_same_numbers(tmp_path):
    code = """
import sys, numpy as np
sys.path.insert(0, sys.argv[2])
from structures import barium_titanate
from forceserver.representation.neighbours import NeighbourList
from forceserver.representation.spline import SplineTable
from forceserver.representation.vector_mean import VectorMean
functions = lambda r: ((r * (3 - r) ** 2)[:, None], ((3 - r) ** 2 - 2 * r * (3 - r))[:, None])
table = SplineTable.fit(functions, 3.0, 0.0, (0, 1), 1e-6)
atoms = barium_titanate(2)
neighbours = NeighbourList(atoms.numbers, 3.0, skin=0.5)
neighbours.update(atoms.positions, atoms.cell.array)
result = VectorMean({8: table, 22: table, 56: table}, neighbours).compute()
np.savez(sys.argv[1], value=result.value, gradient=result.gradient, strain=result.strain)
"""
    results = []
    for isa in _ext.LEVELS[: _ext.LEVELS.index(_ext.isa) + 1]:
        file = tmp_path / f"{isa}.npz"
        environment = {**os.environ, "FORCESERVER_ISA": isa}
        subprocess.run([sys.executable, "-c", code, file, os.path.dirname(__file__)], env=environment, check=True)
        results.append(np.load(file))
    for other in results[1:]:
        for key in other:
            np.testing.assert_allclose(other[key], results[0][key], atol=1e-14)


def test_atoms_at_the_same_place_are_refused(tables):
    atoms = barium_titanate(1)
    _, value = variable(atoms, tables, 0.5)
    atoms.positions[3] = atoms.positions[1] + 1e-9
    with pytest.raises(ValueError, match=r"atoms 1 and 3 are .* Angstrom apart"):
        value(atoms.positions, atoms.cell.array)


def test_bad_arguments_are_named(basis, table):
    atoms = barium_titanate(1)
    found = NeighbourList(atoms.numbers, CUTOFF)
    full = SplineTable.build(basis, 1e-3)
    with pytest.raises(ValueError, match=r"tables: missing for the neighbour species \[22, 56\]"):
        VectorMean({8: table}, found)
    oxygen = NeighbourList(atoms.numbers, CUTOFF, neighbours=Selection(species=(8,)))
    with pytest.raises(ValueError, match=r"tables\[8\]: must have one channel, of l = 1"):
        VectorMean({8: full}, oxygen)
    coarse = full.contract([np.zeros((0, 6)), MIX[None]])
    with pytest.raises(ValueError, match=r"tables\[22\]: its grid differs"):
        VectorMean({8: table, 22: coarse, 56: table}, found)
    with pytest.raises(ValueError, match=r"weights: must be finite, of shape \(5,\)"):
        VectorMean({8: table}, oxygen, np.ones(4))
    with pytest.raises(ValueError, match=r"neighbours: their cutoff 2\.0 must be at least"):
        VectorMean({8: table}, NeighbourList(atoms.numbers, 2.0, neighbours=Selection(species=(8,))))
