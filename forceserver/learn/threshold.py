"""The uncertainty at which simulations stop, from errors of forces that the model had not seen.

The members of a model are fits without an eighth of the structures, spread about it by a factor that is known
(`fit.regression.Solution.members`): undone, that of an eighth predicts structures that it has not seen.
"""

from typing import Any

import numpy as np

from ..files import write_json
from ..fit.preparation import groups_of
from ..fit.preparation import read as read_data
from ..frame import Array
from ..models.base import MEMBERS, Model
from ..potentials.model_files import load_model, potential_of
from . import rounds
from .config import LearnConfig
from .rounds import Round
from .training import fit_config, logged

SHARE = 0.95
"""Of the structures that were left out have no larger error on any atom."""
OF_TARGET = 10.0
"""Times the wanted error of a component: no less is asked of the most uncertain atom of a whole simulation. With four,
silicon carbide at 2000 K was stopped after ten steps again and again (workflows/learn)."""


def threshold(one: Round, config: LearnConfig) -> float:
    """eV/Angstrom: as configured, or else the larger of two values.

    One is the largest error of the force on an atom that `SHARE` of the structures stay below when they are left out;
    the other is `OF_TARGET` times the target. The default is computed once for each round.
    """
    if config.uncertainty.force_ev_per_angstrom is None and not one.threshold.exists():
        with logged(one.folder / "fit.log"):
            largest = left_out(one, config)
        found = {"left_out_ev_per_angstrom": float(np.quantile(largest, SHARE)), "structures": len(largest)}
        write_json(one.threshold, found)
    known = known_threshold(one, config)
    assert known is not None
    return known


def known_threshold(one: Round, config: LearnConfig) -> float | None:
    """The same, as far as it has been computed."""
    if config.uncertainty.force_ev_per_angstrom is not None:
        return config.uncertainty.force_ev_per_angstrom
    known: Any = rounds.read_json(one.threshold)
    if known is None:
        return None
    floor = 0.0 if config.target is None else OF_TARGET * config.target.force_ev_per_angstrom
    return max(known["left_out_ev_per_angstrom"], floor)


def left_out(one: Round, config: LearnConfig) -> Array:
    """The largest error of the force on an atom, eV/Angstrom, of each training structure when it was left out."""
    model = load_model(one.model)
    train = read_data(fit_config(one, config)).train
    whole, members = potential_of(model), [potential_of(model.member(k)) for k in range(MEMBERS)]
    share = 1 / _spread(model)
    largest = []
    for k, group in enumerate(groups_of(train, config.fit.seed)):
        for labelled in (train[number] for number in group):
            if labelled.forces is None:
                continue
            forces = whole.compute_one(labelled.frame).forces
            unseen = forces + share * (members[k].compute_one(labelled.frame).forces - forces)
            largest.append(np.linalg.norm(unseen - labelled.forces, axis=1).max())
    return np.array(largest)


def _spread(model: Model) -> float:
    """By how much the members are farther from the model than the fits without an eighth of the structures."""
    calibration = model.summary.get("uncertainty") or {}
    return float(calibration.get("factor", 1.0) * (MEMBERS - 1) / np.sqrt(MEMBERS))
