"""The graph of a batch of structures, against a list that is made anew."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.neighborlist import neighbor_list

from forceserver.potentials.graphs import Graphs


def expected(atoms, cutoff, begin):
    i, j, shifts = neighbor_list("ijS", atoms, cutoff)
    return sorted(zip((i + begin).tolist(), (j + begin).tolist(), *shifts.T.tolist(), strict=True))


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_edges_are_the_pairs_within_the_cutoff(pbc):
    """Of several structures, while atoms move through the skin, leave the cell, and the cell changes."""
    structures = [bulk("Si", cubic=True), molecule("CH3CH2OH", cell=[6, 7, 8]), bulk("Si", cubic=True)]
    structures[0].set_cell(structures[0].cell.array @ [[1, 0.2, 0], [0, 1, -0.1], [0.3, 0, 0.9]], scale_atoms=True)
    random, graphs = np.random.default_rng(0), Graphs(4.0)
    for step in range(5):
        for atoms in structures:
            atoms.pbc = pbc
            atoms.positions += random.normal(scale=0.07, size=atoms.positions.shape)
            atoms.positions[step] += np.array(pbc) @ atoms.cell.array
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + random.normal(scale=0.003, size=(3, 3))))
        first = np.cumsum([0, *map(len, structures)])
        cells = np.stack([atoms.cell.array for atoms in structures])
        edges = graphs.edges(np.concatenate([a.positions for a in structures]), cells, np.array(pbc), first)
        found = [*edges.pairs.T.tolist()], edges.shifts.astype(int).tolist()
        assert np.array_equal(edges.shifts, np.rint(edges.shifts))
        ends = np.cumsum([0, *edges.counts])
        for s, atoms in enumerate(structures):
            pairs = slice(ends[s], ends[s + 1])
            own = sorted((*pair, *shift) for pair, shift in zip(found[0][pairs], found[1][pairs], strict=True))
            assert own == expected(atoms, 4.0, first[s])


def test_a_place_gets_another_structure():
    """Another number of atoms, and another periodicity."""
    graphs = Graphs(4.0)
    for atoms in (bulk("Si", cubic=True), bulk("Si"), molecule("H2O", cell=[9, 9, 9])):
        edges = graphs.edges(atoms.positions, atoms.cell.array[None], atoms.pbc, [0, len(atoms)])
        assert len(edges.shifts) == len(expected(atoms, 4.0, 0))
