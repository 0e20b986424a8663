"""Collective variables against their definition and against finite differences."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import reference
from ase import Atoms
from ase.io import write
from derivatives import central_differences, dense

from forceserver.cv import build_variables, variable_section
from forceserver.errors import CVError, InputError
from forceserver.frame import Frame
from forceserver.representation import contraction_file
from forceserver.representation.contraction import Covariance
from forceserver.representation.neighbours import Selection

WEIGHTS = (0.7, -0.3, 0.2, 0.1)
BASIS = {
    "kind": "gto",
    "n_max": 4,
    "l_max": 1,
    "cutoff": {"cutoff_angstrom": 3.0, "width_angstrom": 0.5},
    "density": {"kind": "gaussian", "sigma_angstrom": 0.4},
}
EVERYTHING = ("x", "y", "z", "density", "norm", "norm2", "cubic4", "cubic6")


def section(**changes):
    content = {"name": "p", "centres": "Ti", "neighbours": "O", "basis": BASIS, "weights": WEIGHTS, "tolerance": 1e-9}
    return variable_section(content | changes)


def variable(atoms, **changes):
    return build_variables([section(**changes)], Frame.from_ase(atoms))["p"]


def test_values_are_those_of_the_definition(batio3):
    cv = variable(batio3, outputs=EVERYTHING)
    values = dict(zip(cv.outputs, cv.compute(Frame.from_ase(batio3)).values, strict=True))
    centres, neighbours = np.flatnonzero(batio3.symbols == "Ti"), np.flatnonzero(batio3.symbols == "O")
    x, y, z, density = reference.mean(batio3, section().basis, WEIGHTS, centres, neighbours)
    expected = {
        "x": x,
        "y": y,
        "z": z,
        "density": density,
        "norm": np.sqrt(x**2 + y**2 + z**2),
        "norm2": x**2 + y**2 + z**2,
        "cubic4": x**4 + y**4 + z**4,
        "cubic6": (x * y * z) ** 2,
    }
    assert abs(np.array([x, y, z])).min() > 1e-4, "a vanishing component would test nothing"
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-9), name


def test_derivatives_are_those_of_the_values(batio3):
    cv = variable(batio3, outputs=EVERYTHING, axes={"diagonal": (1, 1, -2)}, per_centre=[6])
    result = cv.compute(Frame.from_ase(batio3))
    gradients, strain = central_differences(cv.compute, batio3)
    np.testing.assert_allclose(dense(result, 40), gradients, atol=1e-7)
    np.testing.assert_allclose(result.strain, strain, atol=1e-7)


AXES = {"diagonal": (1, 1, -2), "up": (0, 0, 3)}


@hypothesis.given(
    outputs=st.sets(st.sampled_from(EVERYTHING)).map(sorted),
    axes=st.sets(st.sampled_from(sorted(AXES))),
    per_centre=st.sets(st.sampled_from([1, 6])).map(sorted),
    grouped=st.booleans(),
)
@hypothesis.settings(max_examples=40, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_an_output_does_not_depend_on_the_others(batio3, outputs, axes, per_centre, grouped):
    """Whatever is asked for beside it: axes without the density were an error once."""
    hypothesis.assume(outputs or axes or per_centre)
    groups = {"groups": {"low": [1, 6, 11], "high": [16, 21, 26, 31, 36]}} if grouped else {}
    frame = Frame.from_ase(batio3)
    whole = variable(batio3, outputs=EVERYTHING, axes=AXES, per_centre=[1, 6], **groups)
    some = variable(batio3, outputs=outputs, axes={name: AXES[name] for name in axes}, per_centre=per_centre, **groups)
    expected, found = whole.compute(frame), some.compute(frame)
    rows = [whole.outputs.index(name) for name in some.outputs]
    np.testing.assert_allclose(found.values, expected.values[rows], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dense(found, 40), dense(expected, 40)[rows], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.strain, expected.strain[rows], rtol=1e-12, atol=1e-13)


def test_neighbour_of_the_centres_species_keeps_both_terms_and_the_own_density(batio3):
    cv = variable(batio3, neighbours=["Ti", "O"], outputs=["x", "density"], basis=_wide(4.5))
    result = cv.compute(Frame.from_ase(batio3))
    atoms = np.flatnonzero(np.isin(batio3.symbols, ["Ti", "O"]))
    expected = reference.mean(batio3, _wide_basis(4.5), WEIGHTS, np.flatnonzero(batio3.symbols == "Ti"), atoms)
    np.testing.assert_allclose(result.values, expected[[0, 3]], atol=1e-8)
    gradients, strain = central_differences(cv.compute, batio3)
    np.testing.assert_allclose(dense(result, 40), gradients, atol=1e-7)
    np.testing.assert_allclose(result.strain, strain, atol=1e-7)


def _wide(cutoff):
    return BASIS | {"cutoff": {"cutoff_angstrom": cutoff, "width_angstrom": 0.5}}


def _wide_basis(cutoff):
    return section(basis=_wide(cutoff)).basis


def test_only_atoms_that_matter_are_active(batio3):
    result = variable(batio3, outputs=(), per_centre=[1]).compute(Frame.from_ase(batio3))
    distance = batio3.get_distances(1, range(40), mic=True)
    near = [k for k in range(40) if batio3.symbols[k] == "O" and distance[k] < 3.0]
    assert sorted(result.active) == sorted([1, *near])
    assert result.gradients.shape == (3, 1 + len(near), 3)


def test_a_generalised_force_becomes_forces_on_the_active_atoms(batio3):
    """Added to what is there; also of several outputs whose gradients are not contiguous."""
    rng = np.random.default_rng(3)
    for changes in ({}, {"outputs": ["norm", "x"], "groups": {"few": [1, 6], "many": [11, 16, 21]}}):
        result = variable(batio3, **changes).compute(Frame.from_ase(batio3))
        for gradients in (result.gradients, np.asfortranarray(result.gradients)):
            result.gradients = gradients
            force, forces = rng.normal(size=len(result.values)), rng.normal(size=(40, 3))
            expected = forces.copy()
            np.add.at(expected, result.active, np.tensordot(force, gradients, axes=1))
            result.add_forces(force, forces)
            np.testing.assert_allclose(forces, expected, atol=1e-14)


def test_groups_are_reduced_separately(batio3):
    titanium = np.flatnonzero(batio3.symbols == "Ti").tolist()
    frame = Frame.from_ase(batio3)
    split = variable(batio3, groups={"low": titanium[:3], "high": titanium[3:]}, outputs=["x", "norm"])
    assert split.outputs == ("low_x", "low_norm", "high_x", "high_norm")
    whole, parts = variable(batio3, outputs=["x"]).compute(frame), split.compute(frame)
    assert 3 / 8 * parts.values[0] + 5 / 8 * parts.values[2] == pytest.approx(whole.values[0], abs=1e-14)
    combined = 3 / 8 * dense(parts, 40)[0] + 5 / 8 * dense(parts, 40)[2]
    np.testing.assert_allclose(combined, dense(whole, 40)[0], atol=1e-14)


def test_sum_is_the_mean_times_the_number_of_centres(batio3):
    frame = Frame.from_ase(batio3)
    total = variable(batio3, reduction="sum").compute(frame).values
    np.testing.assert_allclose(total, 8 * variable(batio3).compute(frame).values, rtol=1e-13)


def test_molecule_without_cell():
    atoms = Atoms("TiO3", positions=[(0, 0, 0), (1.9, 0, 0.1), (-0.2, 2.1, 0), (0.3, 0, 1.8)])
    cv = variable(atoms)
    expected = reference.mean(atoms, section().basis, WEIGHTS, [0], [1, 2, 3])[:3]
    np.testing.assert_allclose(cv.compute(Frame.from_ase(atoms)).values, expected, atol=1e-9)


def test_norm_at_zero_has_no_direction():
    atoms = Atoms("TiO2", positions=[(0, 0, 0), (2, 0, 0), (-2, 0, 0)])
    result = variable(atoms, outputs=["norm"]).compute(Frame.from_ase(atoms))
    assert result.values[0] == pytest.approx(0, abs=1e-15)
    assert np.isfinite(result.gradients).all()


def test_copies_do_not_share_their_neighbour_list(batio3):
    cv = variable(batio3)
    frame, far = Frame.from_ase(batio3), Frame.from_ase(batio3)
    far.positions = np.random.default_rng(1).uniform(0, 8, (40, 3))
    before, other = cv.compute(frame), cv.copy()
    other.compute(far)
    np.testing.assert_array_equal(cv.compute(frame).values, before.values)
    np.testing.assert_array_equal(other.compute(frame).values, before.values)


def test_principal_component_keeps_the_most_variance(batio3, tmp_path):
    rng = np.random.default_rng(3)
    structures = []
    for _ in range(4):
        atoms = batio3.copy()
        atoms.positions += rng.normal(0, 0.1, (40, 3))
        structures.append(atoms)
    write(tmp_path / "set.extxyz", structures)
    cv = variable(batio3, weights={"first_principal_component_of": tmp_path / "set.extxyz"}, tolerance=1e-8)
    basis = section().basis
    oxygen = np.flatnonzero(batio3.symbols == "O")
    c = np.concatenate(
        [reference.coefficients(a, basis, k, oxygen)[0] for a in structures for k in np.flatnonzero(a.symbols == "Ti")]
    )
    u = np.linalg.svd(c, full_matrices=False)[2][0]
    u *= np.sign(u[np.argmax(abs(u))])
    expected = reference.mean(batio3, basis, u, np.flatnonzero(batio3.symbols == "Ti"), oxygen)[:3]
    np.testing.assert_allclose(cv.compute(Frame.from_ase(batio3)).values, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"centres": "Sr"}, "no atom of species"),
        ({"centres": [40]}, "0 .. 39"),
        ({"per_centre": [0]}, "atom 0 is not one of the 8 centres"),
        ({"groups": {"a": []}}, "has no centre"),
        ({"groups": {"a": [1, 1]}}, "twice"),
        ({"neighbours": [0]}, "has no neighbour within 3 "),
        ({"per_centre": [1], "groups": {"atom1": [1]}}, "two outputs are called 'atom1_x'"),
    ],
)
def test_configuration_that_does_not_fit_the_structure(batio3, changes, message):
    with pytest.raises(InputError, match=message):
        variable(batio3, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"centres": "Tx"}, "no element 'Tx'"),
        ({"weights": (1.0,)}, "n_max = 4 numbers, got 1"),
        ({"basis": BASIS | {"l_max": 2}}, "l_max must be 1"),
        ({"outputs": ["X"]}, "outputs"),
        ({"outputs": []}, "nothing to compute"),
        ({"axes": {"a": (0, 0, 0)}}, "no direction"),
        ({"name": "a.b"}, "pattern"),
    ],
)
def test_configuration_that_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        section(**changes)


def test_same_name_twice(batio3):
    with pytest.raises(InputError, match="two collective variables are called 'p'"):
        build_variables([section(), section()], Frame.from_ase(batio3))


def test_frame_that_does_not_fit(batio3):
    cv = variable(batio3)
    with pytest.raises(CVError, match="39 atoms, expected 40"):
        cv.compute(Frame.from_ase(batio3[:39]))
    frame = Frame.from_ase(batio3)
    frame.positions[1] = np.nan
    with pytest.raises(CVError, match="finite"):
        cv.compute(frame)


def test_a_contraction_in_place_of_weights(batio3, tmp_path):
    """From structures or a file it is the principal component of before; mixed, each species has its own weights."""
    structures = [batio3.copy() for _ in range(4)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.1, seed=seed)
    path = tmp_path / "set.extxyz"
    write(path, structures)
    frame = Frame.from_ase(batio3)
    before = variable(batio3, weights={"first_principal_component_of": path}).compute(frame)
    of_structures = {"structures": path, "q_max": 2}
    here = variable(batio3, weights=None, contraction=of_structures).compute(frame)
    np.testing.assert_allclose(here.values[:3], before.values[:3], atol=1e-9)
    around = {"neighbours": ["O", "Ba"], "outputs": ["x", "y", "z", "density"], "weights": None}
    with pytest.raises(InputError, match="its neighbours are O, Ba, so that the contraction must be mixed"):
        variable(batio3, contraction=of_structures, **around)
    mixed = of_structures | {"mixed": True}
    species = (8, 56)
    covariance = Covariance.of(
        section().basis, map(Frame.from_ase, structures), species, centres=Selection(species=(22,)), tolerance=1e-8
    )
    made = covariance.contraction(mixed=True, q_max=2)
    contraction_file.save(made, tmp_path / "basis.npz")
    again = variable(batio3, contraction=mixed, **around).compute(frame)
    of_file = variable(batio3, contraction={"file": tmp_path / "basis.npz"}, **around)
    found = of_file.compute(frame)
    np.testing.assert_allclose(found.values, again.values, atol=1e-12)
    atoms = [np.flatnonzero(batio3.numbers == s) for s in (22, *species)]
    wanted = np.zeros(4)
    for around_centres, s in zip(atoms[1:], species, strict=True):
        wanted[:3] += reference.mean(batio3, section().basis, made.matrices[s][1, 0], atoms[0], around_centres)[:3]
        wanted[3] += reference.mean(batio3, section().basis, made.matrices[s][0, 0], atoms[0], around_centres)[3]
    np.testing.assert_allclose(found.values, wanted, atol=1e-6)
    gradients, strain = central_differences(of_file.copy().compute, batio3)
    np.testing.assert_allclose(dense(found, 40), gradients, atol=1e-6)
    np.testing.assert_allclose(found.strain, strain, atol=1e-6)
