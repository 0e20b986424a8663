"""Numbers of neighbours."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from variable_kinds import BASIS, COSINE, RATIONAL

from forceserver.cv import CollectiveVariable
from forceserver.errors import InputError
from forceserver.representation.switching import Rational


def number(atoms, **keys):
    cv = CollectiveVariable(atoms, **({"kind": "coordination", "centres": "Cu", "neighbours": "Cu"} | keys))
    return cv.compute(atoms).values


def test_shells_of_a_crystal():
    """All of one shell, none of the next."""
    atoms = bulk("Cu", a=3.6)
    for cutoff, count in ((3.0, 12), (4.0, 18), (4.7, 42)):
        switch = {"kind": "cosine", "d0_angstrom": cutoff - 0.1, "d_max_angstrom": cutoff}
        assert number(atoms, switch=switch) == pytest.approx(count, abs=1e-12)


def test_it_is_the_sum_over_pairs(batio3):
    """All pairs by brute force; the sum and the mean, of groups and of centres."""
    cell = batio3.repeat(3)
    centre = 40 * 13
    distances = np.linalg.norm(cell.positions - cell.positions[centre + np.arange(40), None], axis=2)
    oxygen = cell.symbols == "O"
    each = Rational.model_validate(RATIONAL).evaluate(distances[:, oxygen].ravel())[0].reshape(40, -1).sum(axis=1)
    titanium = np.flatnonzero(batio3.symbols == "Ti")
    common = {"kind": "coordination", "centres": "Ti", "neighbours": "O", "switch": RATIONAL, "tolerance": 1e-10}
    cv = CollectiveVariable(batio3, **common, per_centre=[6], groups={"a": titanium[:2].tolist()}, reduction="sum")
    assert cv.outputs == ("a_number", "atom6_number")
    assert cv.compute(batio3).values == pytest.approx([each[titanium[:2]].sum(), each[6]], abs=1e-8)
    mean = CollectiveVariable(batio3, **common).compute(batio3).values
    assert mean == pytest.approx(each[titanium].mean(), abs=1e-8)


def test_of_a_basis_it_is_the_density_of_the_vector(batio3):
    basis = BASIS | {"l_max": 1}
    keys = {"centres": "Ti", "neighbours": "O", "basis": basis, "weights": [0.7, -0.3, 0.2]}
    expected = CollectiveVariable(batio3, **keys, outputs=["density"]).compute(batio3)
    found = CollectiveVariable(batio3, kind="coordination", **keys).compute(batio3)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-12)
    np.testing.assert_allclose(found.gradients, expected.gradients, atol=1e-12)
    np.testing.assert_allclose(found.strain, expected.strain, atol=1e-11)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"switch": None}, "give either switch or basis"),
        ({"basis": BASIS, "weights": (1, 0, 0)}, "give either switch or basis"),
        ({"weights": (1, 0, 0)}, "weights and contraction belong to a basis"),
        ({"switch": None, "basis": BASIS}, "give either weights or contraction"),
        ({"switch": None, "basis": BASIS, "weights": (1.0,)}, "n_max = 3 numbers, got 1"),
        ({"switch": None, "basis": BASIS, "weights": (0, 0, 0)}, "weights are all zero"),
        ({"switch": None, "basis": BASIS, "contraction": {"q_max": 1}}, "a variable has no data of its own"),
        ({"switch": COSINE | {"r0_angstrom": 1}}, "r0_angstrom"),
        ({"outputs": ()}, "nothing to compute"),
        ({"outputs": ("x",)}, "number"),
        ({"l": 2}, "unknown key"),
        ({"tolerance": 1e-12, "switch": RATIONAL | {"n": 48}}, "tolerance 1e-12 is not reached"),
        ({"kind": "coordinate"}, "kind = 'coordinate': known are vector, coordination, steinhardt"),
    ],
)
def test_what_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        number(Atoms("Cu2", positions=[(0, 0, 0), (2, 0, 0)]), **({"switch": COSINE} | changes))
