"""What variables of every kind must do: derivatives, groups, single centres, atoms that are alone, restarts."""

import numpy as np
import pytest
from ase import Atoms
from derivatives import central_differences, dense
from variable_kinds import KINDS

from forceserver.bias.reproducible import ReproducibleVariables
from forceserver.cv import CollectiveVariable, build_variables, variable_section
from forceserver.errors import CVError
from forceserver.frame import Frame

pytestmark = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def crystal():
    """TiO in few atoms, triclinic, so that every atom has images of itself as neighbours; all distances are sampled."""
    rng = np.random.default_rng(5)
    cell = np.array([[4.4, 0.3, 0.0], [0.2, 4.1, 0.5], [-0.4, 0.1, 4.7]])
    positions = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0.5], [0, 0, 0.5]]) @ cell
    return Atoms("Ti3O3", positions + rng.normal(0, 0.2, (6, 3)), cell=cell, pbc=True)


def variable(kind, atoms, **changes):
    around = {"name": "q", "centres": ["Ti", "O"], "neighbours": ["Ti", "O"], "tolerance": 1e-9}
    return CollectiveVariable(atoms, **(around | KINDS[kind] | changes))


@pytest.mark.parametrize("centres", [["Ti", "O"], ["Ti"]])
def test_derivatives_are_those_of_the_values(kind, centres, crystal):
    """Of groups and of single centres, also where neighbours are not centres."""
    cv = variable(kind, crystal, centres=centres, per_centre=[1], groups={"few": [0, 2], "one": [1]})
    result = cv.compute(crystal)
    assert abs(result.gradients).max() > 1e-3
    gradients, strain = central_differences(cv.compute, crystal)
    np.testing.assert_allclose(dense(result, len(crystal)), gradients, atol=2e-7)
    np.testing.assert_allclose(result.strain, strain, atol=2e-7)


def test_a_group_of_one_is_that_centre(kind, crystal):
    cv = variable(kind, crystal, per_centre=[1], groups={"one": [1]})
    values = dict(zip(cv.outputs, cv.compute(crystal).values, strict=True))
    alone = [value for name, value in values.items() if name.startswith("atom1_")]
    assert alone
    for value in alone:
        assert min(abs(value - other) for name, other in values.items() if name.startswith("one_")) < 1e-12


def test_moving_and_turning_everything_changes_nothing(kind, crystal):
    cv = variable(kind, crystal)
    values = cv.compute(crystal).values
    turned = crystal.copy()
    turned.positions += [0.3, -7.0, 2.0]
    turned.rotate(40, (1, 2, -1), rotate_cell=True)
    np.testing.assert_allclose(cv.copy().compute(turned).values, values, atol=1e-12)


def test_an_atom_without_neighbours_has_values(kind):
    """One atom in nothing, and a pair beyond the cutoff: no NaN, no force."""
    for atoms in (Atoms("Ti"), Atoms("TiO", positions=[(0, 0, 0), (9, 0, 0)])):
        result = variable(kind, atoms, centres=[0], neighbours=list(range(len(atoms)))).compute(atoms)
        assert np.isfinite(result.values).all()
        assert not result.gradients.any()
        assert not result.strain.any()


def test_one_atom_with_its_images(kind):
    atoms = Atoms("Ti", cell=[[0, 2.1, 2.1], [2.1, 0, 2.2], [2.1, 2.2, 0]], pbc=True)
    cv = variable(kind, atoms, centres="Ti", neighbours="Ti")
    result = cv.compute(atoms)
    gradients, strain = central_differences(cv.compute, atoms)
    np.testing.assert_allclose(dense(result, 1), gradients, atol=2e-7)
    np.testing.assert_allclose(result.strain, strain, atol=2e-7)


def test_a_neighbour_list_that_is_kept_gives_what_a_new_one_gives(kind, crystal):
    """Over a path on which lists are kept and built, and of copies."""
    rng = np.random.default_rng(2)
    cv = variable(kind, crystal, per_centre=[2], skin_angstrom=0.25)
    atoms, builds = crystal.copy(), []
    for _ in range(8):
        atoms.positions += rng.normal(0, 0.04, atoms.positions.shape)
        result, fresh = cv.compute(atoms), cv.copy().compute(atoms)
        builds.append(sum(cv.builds))
        np.testing.assert_allclose(result.values, fresh.values, atol=1e-12)
        np.testing.assert_allclose(dense(result, 6), dense(fresh, 6), atol=1e-11)
    assert 1 < len(set(builds)) < 8


def test_values_have_the_same_bits_after_a_restart(kind, crystal):
    """From the configuration of the last build on, which is what a bias keeps."""
    rng = np.random.default_rng(2)
    variables = {"q": variable(kind, crystal, per_centre=[2], skin_angstrom=0.25)}
    straight, atoms, frames = ReproducibleVariables(variables), crystal.copy(), []
    for _ in range(8):
        atoms.positions += rng.normal(0, 0.04, atoms.positions.shape)
        frames.append(Frame.from_ase(atoms))
    expected, built = [], 0
    for k, frame in enumerate(frames):
        before = list(straight._builds)
        expected.append(straight.compute(frame)["q"].values.copy())
        built = k if straight._builds != before else built
    again = ReproducibleVariables(variables)
    found = [again.compute(frame)["q"].values.copy() for frame in frames[built:]]
    np.testing.assert_array_equal(found, expected[built:])


def test_two_atoms_in_one_place_are_an_error(kind, crystal):
    cv = variable(kind, crystal)
    atoms = crystal.copy()
    atoms.positions[1] = atoms.positions[0]
    with pytest.raises(CVError, match=r"atoms \d and \d are 0 Angstrom"):
        cv.compute(atoms)


def test_written_and_read_it_is_the_same(kind, crystal):
    content = {"name": "q", "centres": "Ti", "neighbours": "O"} | KINDS[kind]
    config = variable_section(content)
    built = build_variables([config], Frame.from_ase(crystal))["q"]
    assert built.outputs == CollectiveVariable(crystal, **content).outputs
