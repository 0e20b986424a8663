"""Which structures are looked at beyond the data, and what they are called."""

import numpy as np
import pytest

from forceserver.fit import data, limits
from forceserver.frame import Frame


def labelled(number, atoms, group=data.UNNAMED):
    positions = 3.0 * np.arange(3 * atoms, dtype=float).reshape(atoms, 3)
    frame = Frame(positions, np.eye(3), np.full(atoms, 14, np.int32), np.zeros(3, bool))
    return data.Labelled(frame, group, 0.0, None, None, number=number)


@pytest.mark.parametrize(
    ("sizes", "groups", "chosen"),
    [
        ([8, 2, 4, 3, 9, 5, 7, 6], "aaaaaaaa", [1, 2, 3, 5, 6, 7]),  # the small ones
        ([8, 2, 4, 1, 9, 5, 7, 6], "aaaaabbc", [1, 2, 3, 5, 6, 7]),  # of every group
        ([400, 301], "aa", [1]),  # one of the large
        ([400, 300], "aa", [1]),
    ],
)
def test_representatives(sizes, groups, chosen):
    train = [labelled(n, size, group) for n, (size, group) in enumerate(zip(sizes, groups, strict=True))]
    assert limits.representatives(train) == chosen


def test_structures_are_called_by_their_place_in_the_file():
    assert labelled(7, 1).name == "structure 7"
    assert labelled(7, 1, "slab").name == "structure 7 (slab)"


def test_a_limit_prints_as_a_sentence():
    assert str(limits.Limit("dimer Si-Si", "-3 eV", hole=True)) == "dimer Si-Si: -3 eV (hole)"


def test_pairs_of_species_without_data_are_holes():
    """A model of pure metals says of their alloy what the repulsion says."""
    (hole,) = limits._unseen([13, 29], {(13, 13): 2.5, (29, 29): 2.4})
    assert str(hole) == "neighbours Al-Cu: in no training structure (hole)"
    assert limits._unseen([13], {(13, 13): 2.5}) == []
