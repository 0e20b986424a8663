"""A cluster expansion with random weights, small and quick to make."""

import numpy as np

from forceserver.models.ace import AceHypers, AceModel
from forceserver.models.pairs import Zbl
from forceserver.representation.products import Truncation, truncate

LENGTHS = {"O-O": 2.6, "O-Ti": 1.9, "O-Ba": 2.7, "Ti-Ti": 3.5, "Ti-Ba": 3.0, "Ba-Ba": 3.6}


def some_ace(species=(8, 22, 56), functions=150, order=4, seed=0, members=True, by_pair=False, mixed=False):
    """Random weights that fall with the order, a repulsion, all species.

    by_pair: radial functions of every pair. mixed: of all neighbours together, contracted, fewer of higher l.
    """
    rng = np.random.default_rng(seed)
    rule = Truncation(functions=functions, order=order, n_max=(8,), l_max=(0, 4, 4, 4))
    mixing, counts = None, (5, 5, 4, 3, 2)
    if mixed:
        mixing = {s: rng.normal(size=(5, 5, 8)) for s in species}
        for matrices in mixing.values():
            for l, count in enumerate(counts):
                matrices[l, count:] = 0.0
    table = truncate(rule, 1, counts) if mixed else truncate(rule, len(species))
    ends = {"cutoff_angstrom": 4.0, "inner_angstrom": 0.8, "inner_exponent": 2}
    basis = {"n_max": 8, "l_max": 4, "cutoff": ends, "transform": {"kind": "agnesi", "r0_angstrom": 2.0}}
    if by_pair:
        basis["cutoff"] = {"cutoff_angstrom": 4.0, "core_angstrom": {name: 0.7 * r for name, r in LENGTHS.items()}}
        basis["transform"]["r0_angstrom"] = LENGTHS
    hypers = AceHypers.model_validate({"basis": {"kind": "polynomial", **basis}})
    scale = 0.1 / (1.0 + (table[:, 1:-1:3] + table[:, 2:-1:3]).sum(axis=1).clip(0)) ** 2
    weights = {s: scale * rng.normal(size=functions) for s in species}
    spread = {s: w[:, None] * (1 + 0.1 * rng.normal(size=(functions, 8))) for s, w in weights.items()}
    pairs = (Zbl(species=("Ti", "O"), cutoff_angstrom=1.6, smoothing_angstrom=0.8),) if 22 in species else ()
    return AceModel(
        species,
        {s: -1.0 - s for s in species},
        hypers,
        table,
        weights,
        spread if members else None,
        pairs,
        (pairs,) * 8 if members else None,
        {"note": "x"},
        mixing=mixing,
        sum_species=mixed,
    )
