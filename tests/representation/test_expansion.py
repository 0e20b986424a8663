"""The spherical expansion against an un-splined reference, featomic, finite differences and symmetry."""

import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from ase import Atoms
from direct_expansion import expand, expand_gradients
from featomic import SphericalExpansion as FeatomicExpansion
from structures import STRUCTURES, barium_titanate, rotation, silicon

from forceserver import _ext
from forceserver.representation.cutoff import ShiftedCosine
from forceserver.representation.expansion import ExpansionBasis, SphericalExpansion
from forceserver.representation.gto import GtoBasis
from forceserver.representation.neighbours import NeighbourList, Selection
from forceserver.representation.spline import SplineTable

CUTOFF, SIGMA, WIDTH = 3.5, 0.4, 0.5


@cache
def radial(n_max=5, l_max=4):
    cutoff = ShiftedCosine(cutoff_angstrom=CUTOFF, width_angstrom=WIDTH)
    return GtoBasis(n_max=n_max, l_max=l_max, cutoff=cutoff, density={"kind": "gaussian", "sigma_angstrom": SIGMA})


@cache
def table(n_max=5, l_max=4, tolerance=1e-8):
    return SplineTable.build(radial(n_max, l_max), tolerance)


def exact(basis):
    return lambda r: basis.evaluate(r)[0].reshape(len(r), -1)


def tables(atoms, one):
    return dict.fromkeys(np.unique(atoms.numbers).tolist(), one)


class System:
    """An expansion that can be asked at any positions and cell."""

    def __init__(self, atoms, basis, skin=0.3, centres=None, neighbours=None):
        self.atoms = atoms
        self.list = NeighbourList(
            atoms.numbers, CUTOFF, pbc=atoms.pbc, skin=skin, centres=centres, neighbours=neighbours
        )
        self.expansion = SphericalExpansion(basis, self.list)
        self.move(atoms.positions, atoms.cell.array)

    def move(self, positions, cell):
        self.list.update(np.ascontiguousarray(positions), np.ascontiguousarray(cell))
        return self.expansion

    def derivatives(self, function, h=1e-5):
        """Central differences of function(expansion): (n_atoms, 3, ...) and with respect to strain (3, 3, ...)."""
        positions, cell = self.atoms.positions, self.atoms.cell.array
        by_position, by_strain = [], []
        for k in range(len(positions)):
            for b in range(3):
                step = np.zeros_like(positions)
                step[k, b] = h
                ends = [np.array(function(self.move(positions + s * step, cell))) for s in (1, -1)]
                by_position.append((ends[0] - ends[1]) / (2 * h))
        for a in range(3):
            for b in range(3):
                step = np.zeros((3, 3))
                step[a, b] = h
                ends = []
                for s in (1, -1):
                    ends.append(
                        np.array(function(self.move(positions @ (np.eye(3) + s * step), cell @ (np.eye(3) + s * step))))
                    )
                by_strain.append((ends[0] - ends[1]) / (2 * h))
        self.move(positions, cell)
        return np.stack(by_position).reshape(len(positions), 3, -1), np.stack(by_strain).reshape(3, 3, -1)


@pytest.mark.parametrize("skin", [0.0, 0.6])
@pytest.mark.parametrize("name", STRUCTURES)
def test_values_are_the_unsplined_ones(name, skin):
    atoms = STRUCTURES[name]()
    basis = ExpansionBasis(tables(atoms, table()))
    c = System(atoms, basis, skin).expansion.values()
    expected = expand(atoms, exact(radial()), table().counts, CUTOFF, basis.species)
    largest = max(np.abs(part).max() for part in expected.values())
    for l, part in basis.split(c).items():
        np.testing.assert_allclose(part, expected[l], atol=1e-10 * largest)


@pytest.mark.parametrize("name", STRUCTURES)
def test_gradients_are_the_unsplined_ones(name):
    atoms = STRUCTURES[name]()
    one = table(3, 4, 1e-11)
    basis = ExpansionBasis(tables(atoms, one))
    gradients = System(atoms, basis).expansion.gradients()

    def functions(r):
        return tuple(part.reshape(len(r), -1) for part in radial(3, 4).evaluate(r))

    by_position, by_strain = expand_gradients(atoms, functions, one.counts, CUTOFF, basis.species)
    largest = max(np.abs(part).max() for part in by_position.values())
    centres, blocks, moved = gradients.rows.T
    for l, part in basis.split(gradients.positions).items():
        full = np.zeros_like(by_position[l])
        for x in range(3):
            np.add.at(full, (moved, x, centres, blocks), part[:, x])
        np.testing.assert_allclose(full, by_position[l], atol=1e-10 * largest)
    for l, part in basis.split(gradients.strain).items():
        full = np.moveaxis(part, (2, 3), (0, 1))
        np.testing.assert_allclose(full, by_strain[l], atol=1e-10 * np.abs(by_strain[l]).max())


@pytest.mark.parametrize(("n_max", "l_max"), [(1, 0), (20, 12), (12, 7)])
def test_range_of_n_and_l(n_max, l_max):
    waves = np.linspace(0, 2, n_max * (l_max + 1))

    def functions(r):
        x = (CUTOFF - r)[:, None]
        wave = np.outer(r, waves)
        return x**2 * np.cos(wave), -2 * x * np.cos(wave) - x**2 * waves * np.sin(wave)

    one = SplineTable.fit(functions, CUTOFF, 0.0, (n_max,) * (l_max + 1), 1e-2)
    atoms = barium_titanate(1, rattle=0.2)
    basis = ExpansionBasis(tables(atoms, one), centre_contribution=False)
    system = System(atoms, basis)
    c = system.expansion.values().copy()
    expected = expand(atoms, lambda r: one.evaluate(r)[0], one.counts, CUTOFF, basis.species, False)
    for l, part in basis.split(c).items():
        np.testing.assert_allclose(part, expected[l], atol=1e-11)
    forces = system.expansion.vjp(c)[0].copy()
    by_position, _ = system.derivatives(lambda expansion: 0.5 * (expansion.values() ** 2).sum())
    np.testing.assert_allclose(forces, -by_position[:, :, 0], atol=1e-7 * np.abs(forces).max())


@pytest.mark.parametrize("name", STRUCTURES)
def test_values_and_gradients_agree_with_featomic(name):
    atoms = STRUCTURES[name]()
    basis = ExpansionBasis(tables(atoms, table()))
    system = System(atoms, basis, 0.4)
    c = basis.split(system.expansion.values())
    gradients = system.expansion.gradients()
    calculator = FeatomicExpansion(
        cutoff={"radius": CUTOFF, "smoothing": {"type": "ShiftedCosine", "width": WIDTH}},
        density={"type": "Gaussian", "width": SIGMA},
        basis={
            "type": "TensorProduct",
            "max_angular": 4,
            "radial": {"type": "Gto", "max_radial": 4},
            "spline_accuracy": 1e-12,
        },
    )
    of_row = {tuple(row): k for k, row in enumerate(gradients.rows.tolist())}
    by_position = basis.split(gradients.positions)
    by_strain = basis.split(gradients.strain)
    largest = max(np.abs(part).max() for part in c.values())
    largest_gradient = max(np.abs(part).max() for part in by_position.values())
    for key, block in calculator.compute(atoms, gradients=["positions", "strain"]).items():
        l, a = int(key["o3_lambda"]), basis.species.index(int(key["neighbor_type"]))
        centres = block.samples["atom"]
        np.testing.assert_allclose(c[l][centres, a], block.values, atol=1e-7 * largest)
        theirs = block.gradient("positions")
        mine = [
            of_row[int(centres[s]), a, int(k)]
            for s, k in zip(theirs.samples["sample"], theirs.samples["atom"], strict=True)
        ]
        np.testing.assert_allclose(by_position[l][mine], theirs.values, atol=1e-7 * largest_gradient)
        theirs = block.gradient("strain")
        mine = centres[theirs.samples["sample"]]
        np.testing.assert_allclose(by_strain[l][mine, a], theirs.values, atol=1e-6 * largest_gradient)


@pytest.mark.parametrize("name", ["batio3-1", "water", "triclinic"])
def test_vjp_and_gradients_are_derivatives(name):
    atoms = barium_titanate(1, rattle=0.2) if name == "batio3-1" else STRUCTURES[name]()
    basis = ExpansionBasis(tables(atoms, table(3, 3)))
    system = System(atoms, basis, 0.4)
    c = system.expansion.values()
    g = np.random.default_rng(0).normal(size=c.shape)
    forces, virial = (part.copy() for part in system.expansion.vjp(g))
    gradients = system.expansion.gradients()
    by_position, by_strain = system.derivatives(lambda expansion: expansion.values())
    full = np.zeros((len(atoms), 3, *c.shape))
    for (centre, block, atom), row in zip(gradients.rows, gradients.positions, strict=True):
        full[atom, :, centre, block] += row
    scale = np.abs(full).max()
    np.testing.assert_allclose(full.reshape(by_position.shape), by_position, atol=1e-7 * scale)
    strain = np.moveaxis(gradients.strain, (2, 3), (0, 1)).reshape(by_strain.shape)
    np.testing.assert_allclose(strain, by_strain, atol=1e-7 * np.abs(strain).max())
    np.testing.assert_allclose(forces, -np.einsum("kacbs,cbs->ka", full, g), atol=1e-12 * scale * 100)
    np.testing.assert_allclose(virial, -np.einsum("cbxys,cbs->xy", gradients.strain, g), atol=1e-11 * scale * 100)
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-11)


def test_selected_centres_and_neighbours_get_both_terms_of_the_gradient():
    """Titanium and oxygen move, barium does not matter; titanium is no neighbour, oxygen no centre."""
    atoms = barium_titanate(2)
    one = table(4, 1).contract([np.zeros((0, 4)), np.eye(4)])
    basis = ExpansionBasis({8: one})
    system = System(atoms, basis, 0.3, Selection(species=(22,)), Selection(species=(8,)))
    c = system.expansion.values()
    assert list(basis.counts) == [1]
    assert c.shape == (8, 1, 3 * 8)
    g = np.random.default_rng(1).normal(size=c.shape)
    forces = system.expansion.vjp(g)[0].copy()
    by_position, _ = system.derivatives(lambda expansion: (expansion.values() * g).sum())
    np.testing.assert_allclose(forces, -by_position[:, :, 0], atol=1e-7)
    assert np.all(forces[atoms.numbers == 56] == 0)
    assert np.all(np.abs(forces[atoms.numbers == 22]).max(axis=1) > 1e-3)
    assert np.all(np.abs(forces[atoms.numbers == 8]).max(axis=1) > 1e-3)


def test_different_counts_for_each_l_and_contraction_over_species():
    atoms = barium_titanate(1, rattle=0.2)
    rng = np.random.default_rng(2)
    counts = (3, 9, 0, 2)
    mixes = {s: [rng.normal(size=(n, 5)) for n in counts] + [np.zeros((0, 5))] for s in (8, 22, 56)}
    mixed = {s: table().contract(mix) for s, mix in mixes.items()}
    whole = ExpansionBasis(dict.fromkeys(mixes, table()))
    summed = ExpansionBasis(mixed, sum_species=True)
    apart = ExpansionBasis(mixed)
    c = whole.split(System(atoms, whole).expansion.values())
    s = summed.split(System(atoms, summed).expansion.values())
    a = apart.split(System(atoms, apart).expansion.values())
    assert list(s) == [0, 1, 3]
    for l in s:
        expected = np.stack([c[l][:, k] @ mixes[species][l].T for k, species in enumerate(whole.species)], axis=1)
        np.testing.assert_allclose(a[l], expected, atol=1e-12)
        np.testing.assert_allclose(s[l][:, 0], expected.sum(axis=1), atol=1e-12)


def test_centre_contribution_is_optional_and_only_in_l_0_of_its_own_species():
    atoms = barium_titanate(1)
    with_centre, without = (ExpansionBasis(tables(atoms, table()), centre_contribution=on) for on in (True, False))
    difference = System(atoms, with_centre).expansion.values() - System(atoms, without).expansion.values()
    for l, part in with_centre.split(difference).items():
        for atom, number in enumerate(atoms.numbers):
            for block, species in enumerate(with_centre.species):
                own = l == 0 and number == species
                expected = 0.5 / np.sqrt(np.pi) * table().evaluate(np.zeros(1))[0][0, :5] if own else 0.0
                np.testing.assert_allclose(part[atom, block, 0], expected, atol=1e-13)


def test_symmetries():
    atoms = barium_titanate(2, rattle=0.2)
    basis = ExpansionBasis(tables(atoms, table()))
    system = System(atoms, basis)
    original = system.expansion.values().copy()
    c = basis.split(original)
    for turn in (rotation(1), -rotation(2), -np.eye(3)):
        turned = basis.split(system.move(atoms.positions @ turn.T, atoms.cell.array @ turn.T).values())
        xyz = [2, 0, 1]  # m = -1, 0, 1 are y, z, x
        np.testing.assert_allclose(turned[1][:, :, xyz], np.einsum("xy,abyn->abxn", turn, c[1][:, :, xyz]), atol=1e-12)
        for l in c:
            lengths = [np.einsum("abmn,abmk->abnk", part, part) for part in (turned[l], c[l])]
            np.testing.assert_allclose(*lengths, atol=1e-12)
    inverted = basis.split(system.move(-atoms.positions, -atoms.cell.array).values())
    for l in c:
        np.testing.assert_allclose(inverted[l], (-1) ** l * c[l], atol=1e-12)
    skewed = np.array([[1, 1, 0], [0, 1, -2], [0, 0, 1]]) @ atoms.cell.array
    np.testing.assert_allclose(system.move(atoms.positions, skewed).values(), original, atol=1e-12)
    order = np.random.default_rng(0).permutation(len(atoms))
    np.testing.assert_allclose(System(atoms[order], basis).expansion.values(), original[order], atol=1e-12)


def test_same_bits_for_any_number_of_threads(threads_change_no_bit):
    def everything():
        expansion = System(silicon(), ExpansionBasis({14: table()})).expansion
        c = expansion.values()
        gradients = expansion.gradients()
        return [c, *expansion.vjp(c), gradients.positions, gradients.strain]

    threads_change_no_bit(everything)


@pytest.mark.skipif(_ext.isa == "baseline", reason="one build only on this processor")
def test_every_build_gives_the_same_numbers(tmp_path):
    code = """
import sys, numpy as np
sys.path.insert(0, sys.argv[2])
from structures import triclinic
from test_expansion import System, tables, table
from forceserver.representation.expansion import ExpansionBasis
from forceserver.representation.invariants import PowerSpectrum, PowerSpectrumBasis
atoms = triclinic()
system = System(atoms, ExpansionBasis(tables(atoms, table(5, 4, 1e-4))))
c = system.expansion.values().copy()
spectrum = PowerSpectrum(PowerSpectrumBasis(system.expansion.basis, normalise=True), system.list)
p = spectrum.values().copy()
forces, virial = spectrum.vjp(np.cos(np.arange(p.size)).reshape(p.shape))
np.savez(sys.argv[1], c=c, p=p, forces=forces, virial=virial, gradients=system.expansion.gradients().positions)
"""
    results = []
    for isa in _ext.LEVELS[: _ext.LEVELS.index(_ext.isa) + 1]:
        file = tmp_path / f"{isa}.npz"
        environment = {**os.environ, "FORCESERVER_ISA": isa}
        subprocess.run([sys.executable, "-c", code, file, os.path.dirname(__file__)], env=environment, check=True)
        results.append(np.load(file))
    for other in results[1:]:
        for key in other:
            np.testing.assert_allclose(other[key], results[0][key], atol=1e-12)


def test_a_single_atom_has_only_its_own_contribution():
    atoms = Atoms("O", positions=[[1e4, -3.0, 0.5]])
    basis = ExpansionBasis({8: table()})
    expansion = System(atoms, basis).expansion
    c = basis.split(expansion.values())
    np.testing.assert_array_equal(c[0][0, 0, 0], basis.own[0, :5])
    assert all(np.all(c[l] == 0) for l in range(1, 5))
    forces, virial = expansion.vjp(np.ones_like(expansion.values()))
    gradients = expansion.gradients()
    assert gradients.rows.tolist() == [[0, 0, 0]]
    assert not any(part.any() for part in (forces, virial, gradients.positions, gradients.strain))


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, True)])
def test_images_of_one_atom_exert_no_force_but_a_virial(pbc):
    """A cell of one atom, smaller than the cutoff; free directions may have no cell vector at all."""
    cell = np.where(np.array(pbc)[:, None], [[2.1, 0.3, 0.2], [-0.4, 2.3, 0.1], [0.2, 0.5, 2.5]], 0.0)
    atoms = Atoms("O", positions=[[0.3, 0.1, 7.0]], cell=cell, pbc=pbc)
    basis = ExpansionBasis({8: table(3, 3)})
    system = System(atoms, basis)
    c = system.expansion.values()
    expected = expand(atoms, exact(radial(3, 3)), table(3, 3).counts, CUTOFF, basis.species)
    for l, part in basis.split(c).items():
        np.testing.assert_allclose(part, expected[l], atol=1e-8)
    g = np.random.default_rng(0).normal(size=c.shape)
    forces, virial = (part.copy() for part in system.expansion.vjp(g))
    np.testing.assert_allclose(forces, 0, atol=1e-12)
    _, by_strain = system.derivatives(lambda expansion: (expansion.values() * g).sum())
    np.testing.assert_allclose(virial, -by_strain[:, :, 0], atol=1e-7 * np.abs(virial).max())
    assert not system.expansion.gradients().positions.any()


def test_bad_arguments_are_named():
    atoms = barium_titanate(1)
    neighbours = NeighbourList(atoms.numbers, CUTOFF)
    with pytest.raises(ValueError, match="tables: at least one species"):
        ExpansionBasis({})
    with pytest.raises(ValueError, match=r"tables\[22\]: has \(5, 5\) channels"):
        ExpansionBasis({8: table(), 22: table(5, 1)})
    with pytest.raises(ValueError, match=r"tables\[22\]: its grid differs"):
        ExpansionBasis({8: table(), 22: table(5, 4, 1e-4)})
    with pytest.raises(ValueError, match=r"neighbours: no table for the species \[22, 56\], only for \[8\]"):
        SphericalExpansion(ExpansionBasis({8: table()}), neighbours)
    basis = ExpansionBasis(tables(atoms, table()))
    with pytest.raises(ValueError, match=r"neighbours: their cutoff 3\.0 must be at least that of the basis"):
        SphericalExpansion(basis, NeighbourList(atoms.numbers, 3.0))
    expansion = System(atoms, basis).expansion
    with pytest.raises(ValueError, match="gradient: must be a float64 array of shape"):
        expansion.vjp(np.zeros((5, 3)))
    atoms.positions[3] = atoms.positions[1] + 1e-9
    system = System(atoms, basis)
    for product in (
        expansion.values,
        lambda: expansion.vjp(np.zeros_like(expansion._coefficients)),
        expansion.gradients,
    ):
        expansion.neighbours.update(atoms.positions, atoms.cell.array)
        with pytest.raises(ValueError, match=r"atoms 1 and 3 are .* Angstrom apart"):
            product()
    del system
