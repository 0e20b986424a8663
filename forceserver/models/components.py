"""The components of a multispectrum as arrays of a model file.

components/G/NU/L/even/pairs and .../matrix (or odd), as in `representation.multispectrum.Components`, for every group G
of centres (the atomic number of a species, or 0 for all), order NU = 2, 3, ... and irrep of degree L.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..npy_files import Claim
from ..representation.expansion import ExpansionBasis
from ..representation.multispectrum import ALL, INVARIANT, Components, Irrep, Level, Multispectrum
from ..sections import Section

PAIR_COLUMNS = 5

Levels = Mapping[int, tuple[Level, ...]]
"""As those of `Multispectrum`."""


class ComponentsHeader(Section):
    """What the header of a file says of them.

    groups: species of centres with components of their own, or 0 for all together.
    irreps: l and parity of all that orders 2, 3, ... have.
    """

    groups: tuple[int, ...] = Field(min_length=1)
    irreps: tuple[tuple[tuple[int, int], ...], ...] = Field(min_length=1, max_length=3)

    @property
    def orders(self) -> range:
        """2, 3, ..."""
        return range(2, 2 + len(self.irreps))


def header_of(levels: Levels) -> dict[str, list]:
    """The keys of `ComponentsHeader`."""
    one = next(iter(levels.values()))
    return {"groups": sorted(levels), "irreps": [[list(irrep) for irrep in level] for level in one]}


def arrays_of(levels: Levels, prefix: str = "") -> dict[str, NDArray]:
    """By their names in a file."""
    arrays: dict[str, NDArray] = {}
    for group, of_group in levels.items():
        for nu, level in enumerate(of_group, 2):
            for irrep, part in level.items():
                here = prefix + _place(group, nu, irrep)
                arrays[f"{here}/pairs"] = np.asarray(part.pairs, dtype=np.int32)
                arrays[f"{here}/matrix"] = np.ascontiguousarray(part.matrix, dtype=np.float64)
    return arrays


def levels_of(
    header: ComponentsHeader, arrays: Mapping[str, NDArray], prefix: str = ""
) -> dict[int, tuple[Level, ...]]:
    """From a file, whose names are as `expected` has them."""
    return {group: tuple(_level(header, arrays, prefix, group, nu) for nu in header.orders) for group in header.groups}


def expected(
    header: ComponentsHeader, claims: Mapping[str, Claim], species: Sequence[int], prefix: str = ""
) -> dict[str, Claim]:
    """The arrays that a header promises; numbers of pairs and components are as claimed. `ValueError`: wrong groups."""

    def size(name: str, axis: int) -> int:
        shape = claims[name].shape if name in claims else ()
        return max(1, shape[axis]) if axis < len(shape) else 1

    if set(header.groups) not in ({ALL}, set(species)):
        raise ValueError(f"groups: {header.groups} must be 0, for all centres, or the species {tuple(species)}")
    found = {}
    for group in header.groups:
        for nu in header.orders:
            for irrep in header.irreps[nu - 2]:
                here = prefix + _place(group, nu, Irrep(*irrep))
                number = size(f"{here}/pairs", 0)
                found[f"{here}/pairs"] = Claim((number, PAIR_COLUMNS), np.dtype(np.int32))
                found[f"{here}/matrix"] = Claim((number, size(f"{here}/matrix", 1)), np.dtype(np.float64))
    return found


def check(levels: Levels, expansion: ExpansionBasis, features: Sequence[int]) -> None:
    """`ValueError` unless all factors of all products exist, and couple to the declared results.

    features: how many invariants the other arrays of the model are for.
    """
    one = {Irrep(l, 1): expansion.n_blocks * n for l, n in expansion.counts.items()}
    sizes = set()
    for of_group in levels.values():
        before = one
        for nu, level in enumerate(of_group, 2):
            for target, part in level.items():
                _check_pairs(f"order {nu}, l = {target.l}", target, part.pairs, before, one)
            before = {irrep: part.matrix.shape[1] for irrep, part in level.items()}
            if INVARIANT not in before:
                raise ValueError(f"order {nu}: has no invariants")
        sizes.add(len(Multispectrum(expansion, {ALL: of_group})))
    if sorted(sizes) != sorted(set(features)):
        raise ValueError(
            f"weights: must be one per feature ({sorted(sizes)}) for each species, are {sorted(set(features))}"
        )


def _place(group: int, nu: int, irrep: Irrep) -> str:
    return f"components/{group}/{nu}/{irrep.l}/{'even' if irrep.parity > 0 else 'odd'}"


def _level(header: ComponentsHeader, arrays: Mapping[str, NDArray], prefix: str, group: int, nu: int) -> Level:
    level = {}
    for irrep in (Irrep(*pair) for pair in header.irreps[nu - 2]):
        here = prefix + _place(group, nu, irrep)
        level[irrep] = Components(irrep, arrays[f"{here}/pairs"], arrays[f"{here}/matrix"], np.zeros(0))
    return level


def _check_pairs(
    name: str, target: Irrep, pairs: NDArray[np.int32], before: Mapping[Irrep, int], one: Mapping[Irrep, int]
) -> None:
    for l1, parity, l2 in np.unique(pairs[:, [0, 1, 3]], axis=0).tolist():
        rows = pairs[(pairs[:, [0, 1, 3]] == (l1, parity, l2)).all(axis=1)]
        limits = np.array([before.get(Irrep(l1, parity), 0), one.get(Irrep(l2, 1), 0)])
        fits = abs(l1 - l2) <= target.l <= l1 + l2 and parity * (-1) ** (l1 + l2 + target.l) == target.parity
        inside = ((rows[:, [2, 4]] >= 0) & (rows[:, [2, 4]] < limits)).all()
        if not (fits and inside):
            raise ValueError(f"{name}: l = {l1} (parity {parity}) and l = {l2} cannot be coupled to this")
