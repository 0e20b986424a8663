"""The neighbour list against a plain search over images, fresh and reused."""

from itertools import pairwise

import numpy as np
import pytest
import vesin
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from structures import barium_titanate, pairs, rotation

from forceserver.representation.neighbours import NeighbourList, Selection


def listed(neighbours: NeighbourList, cutoff: float) -> np.ndarray:
    """Rows (i, j, r_ij) of the pairs inside the cutoff, in a canonical order."""
    d = neighbours.vectors()
    i = neighbours.centres[neighbours.pair_centre]
    j = neighbours.site_atom[neighbours.pair_site]
    return canonical(i, j, d, cutoff)


def canonical(i, j, d, cutoff):
    rows = np.column_stack([i, j, d])[np.linalg.norm(d, axis=1) < cutoff]
    return rows[np.lexsort(np.round(rows, 6).T + 0.0)]


def assert_complete(neighbours: NeighbourList, atoms: Atoms, cutoff: float) -> None:
    i, j, d = pairs(atoms, cutoff)
    chosen = np.isin(i, neighbours.centres) & np.isin(j, neighbours.neighbours)
    expected = canonical(i[chosen], j[chosen], d[chosen], cutoff)
    found = listed(neighbours, cutoff)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-9)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(st.booleans(), st.booleans(), st.booleans()), st.floats(0.5, 7.0))
def test_any_cell_any_periodicity_any_cutoff(seed, pbc, cutoff):
    rng = np.random.default_rng(seed)
    cell = 3 * rng.normal(size=(3, 3)) + 4 * np.eye(3)
    if np.linalg.cond(cell) > 15:
        cell = 4 * np.eye(3) + 0.3 * cell
    n = int(rng.integers(1, 12))
    atoms = Atoms(rng.choice(["H", "O", "Ti"], n), positions=8 * rng.normal(size=(n, 3)), cell=cell, pbc=pbc)
    neighbours = NeighbourList(atoms.numbers, cutoff, pbc=pbc)
    assert neighbours.update(atoms.positions, atoms.cell.array)
    assert_complete(neighbours, atoms, cutoff)


@pytest.mark.parametrize("centres", [Selection(species=(22,)), Selection(indices=(7, 3, 11)), None])
@pytest.mark.parametrize("neighbours", [Selection(species=(8,)), Selection(species=(56, 8)), None])
def test_selection_on_both_sides(centres, neighbours):
    atoms = barium_titanate(2)
    found = NeighbourList(atoms.numbers, 4.7, centres=centres, neighbours=neighbours)
    found.update(atoms.positions, atoms.cell.array)
    assert_complete(found, atoms, 4.7)
    kinds = found.site_kind[found.pair_site]
    for start, stop in pairwise(found.first):
        assert np.all(np.diff(kinds[start:stop]) >= 0)


def test_agrees_with_vesin_on_a_large_skewed_cell():
    atoms = barium_titanate(6)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0.3, 0], [0, 1, -0.2], [0.1, 0, 1]]), scale_atoms=True)
    found = NeighbourList(atoms.numbers, 4.0)
    found.update(atoms.positions, atoms.cell.array)
    i, j, d = vesin.NeighborList(cutoff=4.0, full_list=True).compute(atoms.positions, atoms.cell.array, True, "ijD")
    np.testing.assert_allclose(listed(found, 4.0), canonical(i, j, d, 4.0), atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_reused_list_is_complete_while_atoms_move_and_the_cell_deforms(seed, pbc):
    rng = np.random.default_rng(seed)
    atoms = barium_titanate(1, rattle=0.3, seed=seed)
    atoms.pbc = pbc
    skin = 0.6
    neighbours = NeighbourList(atoms.numbers, 4.0, pbc=pbc, skin=skin)
    for _ in range(12):
        atoms.positions += rng.uniform(0, 0.15) * rng.normal(size=(len(atoms), 3))
        atoms.positions += rng.integers(-1, 2, size=(len(atoms), 3)) * atoms.pbc @ atoms.cell.array
        deformation = np.eye(3) + rng.uniform(0, 0.02) * rng.normal(size=(3, 3))
        atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=bool(rng.integers(2)))
        neighbours.update(atoms.positions, atoms.cell.array)
        assert_complete(neighbours, atoms, 4.0)


def test_small_motion_strain_and_wrapping_do_not_rebuild():
    atoms = barium_titanate(2)
    neighbours = NeighbourList(atoms.numbers, 3.0, skin=1.0)
    assert neighbours.update(atoms.positions, atoms.cell.array)
    assert not neighbours.update(atoms.positions + 0.28, atoms.cell.array)
    assert not neighbours.update(atoms.positions * 1.05, atoms.cell.array * 1.05)
    jump = np.zeros_like(atoms.positions)
    jump[3] = 2 * atoms.cell.array[0] - 7 * atoms.cell.array[2]
    assert not neighbours.update(atoms.positions + jump, atoms.cell.array)
    assert not neighbours.update(atoms.positions, atoms.cell.array)
    assert neighbours.n_builds == 1
    jump[3] = [0, 0, 0.51]
    assert neighbours.update(atoms.positions + jump, atoms.cell.array)
    assert neighbours.update(atoms.positions * 1.4, atoms.cell.array * 1.4)


def test_without_skin_the_same_positions_are_reused_and_others_not():
    atoms = barium_titanate(1)
    neighbours = NeighbourList(atoms.numbers, 3.0)
    assert neighbours.update(atoms.positions, atoms.cell.array)
    assert not neighbours.update(atoms.positions, atoms.cell.array)
    atoms.positions[0, 0] += 1e-9
    assert neighbours.update(atoms.positions, atoms.cell.array)


def test_single_atoms_and_atoms_far_apart():
    lonely = NeighbourList([1], 3.0, pbc=False)
    lonely.update(np.array([[1e5, -3.0, 0.0]]))
    assert len(lonely) == 0
    apart = NeighbourList([1, 1, 8], 3.0, pbc=False)
    apart.update(np.array([[0.0, 0, 0], [1e6, 0, 0], [1e6, 1, 0]]))
    assert len(apart) == 2
    crystal = NeighbourList([29], 4.0)
    crystal.update(np.zeros((1, 3)), 2.5 * np.eye(3))
    assert len(crystal) == 18


def test_transposed_list_holds_every_pair_once():
    atoms = barium_titanate(2)
    neighbours = NeighbourList(atoms.numbers, 3.5, centres=Selection(species=(22,)), neighbours=Selection(species=(8,)))
    neighbours.update(atoms.positions, atoms.cell.array)
    first, pair = neighbours.transposed()
    assert sorted(pair) == list(range(len(neighbours)))
    for site, (start, stop) in enumerate(pairwise(first)):
        assert np.all(neighbours.pair_site[pair[start:stop]] == site)
        assert np.all(np.diff(pair[start:stop]) > 0)


def test_rotating_everything_keeps_the_pairs():
    atoms, q = barium_titanate(2), rotation(5)
    before = NeighbourList(atoms.numbers, 4.0)
    before.update(atoms.positions, atoms.cell.array)
    after = NeighbourList(atoms.numbers, 4.0)
    after.update(np.ascontiguousarray(atoms.positions @ q.T), np.ascontiguousarray(atoms.cell.array @ q.T))
    np.testing.assert_allclose(
        np.sort(np.linalg.norm(before.vectors(), axis=1)), np.sort(np.linalg.norm(after.vectors(), axis=1))
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cutoff": 0.0}, "cutoff: must be finite and > 0"),
        ({"cutoff": np.nan}, "cutoff: must be finite and > 0"),
        ({"skin": -0.1}, "skin: must be finite and >= 0"),
        ({"species": []}, "species: must be a vector"),
        ({"centres": Selection(species=(6,))}, r"centres: no atom of species \[6\], there are \[8, 22, 56\]"),
        ({"centres": Selection(species=())}, "centres: no atom is selected"),
        ({"neighbours": Selection(indices=())}, "neighbours: no atom is selected"),
        ({"neighbours": Selection(indices=(0, 5))}, r"neighbours: indices must be in 0 \.\. 4"),
        ({"neighbours": Selection(indices=(-1,))}, r"neighbours: indices must be in 0 \.\. 4"),
        ({"centres": Selection(indices=(1, 1))}, "centres: an index is given twice"),
        ({"centres": Selection(indices=(1.5,))}, "centres: indices must be a list of integers"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        NeighbourList(**{"species": barium_titanate(1).numbers, "cutoff": 3.0, **arguments})


def test_selection_by_species_and_indices_at_once_is_refused():
    with pytest.raises(ValueError, match="not both"):
        Selection(species=(1,), indices=(0,))


@pytest.mark.parametrize(
    ("positions", "cell", "message"),
    [
        (np.zeros((4, 3)), np.eye(3), r"positions: must be a float64 array of shape \(5, 3\)"),
        (np.zeros((5, 3), dtype=np.float32), np.eye(3), "positions: must be a float64 array"),
        (np.zeros((3, 5)).T, np.eye(3), "positions: must be C-contiguous"),
        (np.full((5, 3), np.nan), np.eye(3), "positions: must be finite, but atom 0"),
        (np.full((5, 3), np.inf), np.eye(3), "positions: must be finite, but atom 0"),
        (np.zeros((5, 3)), np.zeros((3, 3)), "cell: the periodic vectors must be linearly independent"),
        (np.zeros((5, 3)), np.ones((3, 3)), "cell: the periodic vectors must be linearly independent"),
        (np.zeros((5, 3)), np.full((3, 3), np.nan), "cell: must be finite"),
        (np.zeros((5, 3)), np.eye(4), r"cell: must be a float64 array of shape \(3, 3\)"),
        (np.zeros((5, 3)), None, "cell: needed"),
    ],
)
def test_bad_frames_are_named(positions, cell, message):
    neighbours = NeighbourList([1, 1, 1, 1, 1], 3.0, skin=0.5)
    with pytest.raises(ValueError, match=message):
        neighbours.update(positions, cell)


def test_positions_that_become_nan_are_noticed_on_a_reused_list():
    atoms = barium_titanate(1)
    neighbours = NeighbourList(atoms.numbers, 3.0, skin=1.0)
    neighbours.update(atoms.positions, atoms.cell.array)
    atoms.positions[2, 1] = np.nan
    with pytest.raises(ValueError, match="atom 2"):
        neighbours.update(atoms.positions, atoms.cell.array)
    atoms = barium_titanate(1)
    assert neighbours.update(atoms.positions, atoms.cell.array) in (True, False)
    assert_complete(neighbours, atoms, 3.0)
