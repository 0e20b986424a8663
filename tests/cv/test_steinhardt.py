"""Bond order against the numbers of the literature and its definition; PLUMED's in tests/peers/test_plumed_order.py."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from variable_kinds import BASIS, COSINE, RATIONAL, WEIGHTS

from forceserver.cv import CollectiveVariable
from forceserver.errors import InputError


def order(atoms, **keys):
    return CollectiveVariable(atoms, **({"kind": "steinhardt", "centres": "Cu", "neighbours": "Cu"} | keys))


CRYSTALS = {
    "fcc": (bulk("Cu", "fcc", a=1), 0.75, {4: 0.19094, 6: 0.57452, 8: 0.40391}),
    "hcp": (bulk("Cu", "hcp", a=1, c=np.sqrt(8 / 3)), 1.05, {4: 0.09722, 6: 0.48476}),
    "bcc": (bulk("Cu", "bcc", a=1), 1.05, {4: 0.03637, 6: 0.51069}),
    "sc": (bulk("Cu", "sc", a=1), 1.05, {4: 0.76376, 6: 0.35355}),
}
"""Lattices, a distance between shells, and numbers (Mickel et al., J. Chem. Phys. 138, 044501 (2013), Table I)."""


@pytest.mark.parametrize("name", CRYSTALS)
def test_perfect_crystals_have_the_numbers_of_the_literature(name):
    atoms, cutoff, numbers = CRYSTALS[name]
    switch = {"kind": "cosine", "d0_angstrom": cutoff, "d_max_angstrom": cutoff + 0.05}
    for l, expected in numbers.items():
        outputs = ["mean_norm", "norm_of_mean", "mean_local", "mean_averaged"]
        cv = order(atoms, l=l, switch=switch, convention="steinhardt", outputs=outputs)
        norm, mean, local, averaged = cv.compute(atoms).values
        assert norm == pytest.approx(expected, abs=1e-5)
        assert mean == pytest.approx(expected, abs=1e-5)
        assert local == pytest.approx(1.0, abs=1e-10)
        assert averaged == pytest.approx(norm, abs=1e-10)


def test_of_a_basis_and_l_1_it_is_the_vector(batio3):
    basis = BASIS | {"l_max": 1}
    keys = {"centres": "Ti", "neighbours": "O", "basis": basis, "weights": WEIGHTS, "per_centre": [6]}
    x, y, z, *_ = CollectiveVariable(batio3, **keys).compute(batio3).values
    single = CollectiveVariable(batio3, **keys, outputs=[]).compute(batio3).values
    found = order(batio3, **keys, l=1, outputs=["norm_of_mean"])
    assert found.outputs == ("norm_of_mean", "atom6_norm")
    expected = [np.sqrt(x**2 + y**2 + z**2), np.linalg.norm(single)]
    np.testing.assert_allclose(found.compute(batio3).values, expected, atol=1e-12)


def test_a_contraction_is_its_first_function(batio3, tmp_path):
    """Of another degree than one, mixed over species, from structures."""
    structures = [batio3.copy() for _ in range(3)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.1, seed=seed)
    write(tmp_path / "set.extxyz", structures)
    keys = {"centres": "Ti", "neighbours": ["O", "Ba"], "basis": BASIS, "l": 4}
    contraction = {"structures": tmp_path / "set.extxyz", "q_max": 1}
    with pytest.raises(InputError, match="its neighbours are O, Ba, so that the contraction must be mixed"):
        order(batio3, **keys, contraction=contraction)
    cv = order(batio3, **keys, contraction=contraction | {"mixed": True})
    assert cv.compute(batio3).values[0] > 0.01


def test_partners_are_the_centres_of_all_groups():
    """The local order of one atom does not depend on how the others are grouped, and needs all of them."""
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.rattle(0.1, seed=0)
    keys = {"l": 6, "switch": RATIONAL, "outputs": ["mean_local", "mean_averaged"]}
    whole = order(atoms, **keys, per_centre=[3]).compute(atoms).values[2:]
    group = order(atoms, **keys, groups={"a": [3]}, per_centre=[3])
    found = dict(zip(group.outputs, group.compute(atoms).values, strict=True))
    np.testing.assert_allclose([found[f"atom3_{x}"] for x in ("norm", "local", "averaged")], whole, atol=1e-13)
    assert found["a_mean_local"] == pytest.approx(whole[1], abs=1e-13)
    few = order(atoms, **keys, centres=[3, 4]).compute(atoms).values
    assert abs(few[0] - found["a_mean_local"]) > 1e-3


def test_a_single_centre_costs_what_its_surroundings_cost():
    """Vectors are computed of the partners that are near alone."""
    atoms = bulk("Cu", cubic=True).repeat(6)
    result = order(atoms, l=6, switch=COSINE, outputs=["mean_local"], groups={"one": [0]}).compute(atoms)
    near = atoms.get_all_distances(mic=True) < 4.5 + 0.5
    assert len(result.active) == np.sum(near[near[0]].any(axis=0))
    assert len(result.active) < len(atoms) / 2


LAPLACIAN = BASIS | {"kind": "laplacian", "n_max": 2, "l_max": 4, "density": {"kind": "dirac_delta"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"l": 13}, "less than or equal to 12"),
        ({"l": 0}, "greater than or equal to 1"),
        ({"switch": None, "basis": BASIS, "weights": WEIGHTS, "l": 5}, "l = 5 is larger than basis.l_max = 4"),
        (
            {"switch": None, "basis": BASIS, "weights": WEIGHTS, "outputs": ["mean_local"], "l": 4},
            "mean_local needs local_switch",
        ),
        ({"switch": None, "basis": LAPLACIAN, "weights": [1.0, 0.5], "l": 4}, "the basis has 0 functions of l = 4"),
        ({"local_switch": COSINE}, "local_switch belongs to the outputs mean_local and mean_averaged"),
        ({"outputs": ["mean"]}, "outputs"),
        ({"outputs": []}, "nothing to compute"),
        ({"centres": "Ni"}, "no atom of species"),
    ],
)
def test_what_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        order(Atoms("Cu2", positions=[(0, 0, 0), (2, 0, 0)]), **({"switch": COSINE, "l": 6} | changes))
