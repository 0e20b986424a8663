"""What a model knew of structures before it learned them: errors, and whether it expected them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.coverage import SHARES, Coverage
from ..errors import PotentialError
from ..files import write_json
from ..frame import Array, Frame
from ..potentials.base import Potential
from ..potentials.model_files import load_model, potential_of
from . import rounds
from .rounds import Round

if TYPE_CHECKING:
    from ase import Atoms

CONTROL = "control"
CONTROLS = 3


def judge(one: Round, before: Round) -> None:
    """Writes what the model of the round before predicts for the structures that were labelled since, if not done."""
    if one.judged.exists():
        return
    potential = potential_of(load_model(before.model), uncertainty="forces")
    by_kind: dict[str, list[Judged]] = {}
    for atoms in one.labelled():
        try:
            found = Judged(potential, atoms)
        except PotentialError:  # atoms so close that the model has no value
            continue
        by_kind.setdefault(CONTROL if atoms.info["why"] == CONTROL else "uncertain", []).append(found)
    write_json(one.judged, {kind: summary(judged) for kind, judged in by_kind.items()})


class Judged:
    """A structure with labels, and the errors of a model: forces (N, 3) in eV/Angstrom, energy in eV per atom.

    spreads: (N, 3), standard deviations of the members.
    """

    def __init__(self, potential: Potential, atoms: "Atoms") -> None:
        result = potential.compute_one(Frame.from_ase(atoms))
        self.errors: Array = result.forces - atoms.arrays["REF_forces"]
        self.spreads: Array = np.asarray(result.extras["committee_force"]).std(axis=0, ddof=1)
        self.energy = float(result.energy - atoms.info["REF_energy"]) / len(atoms)


def summary(judged: Sequence[Judged]) -> dict[str, Any]:
    """JSON-serialisable: root-mean-square errors, the largest error of the force on an atom, and coverage.

    within_1_sigma, within_2_sigma: shares of the force components. factor: by which the uncertainties of forces were
    too small, which `fit` has calibrated for energies.
    """
    errors = np.concatenate([one.errors for one in judged])
    coverage = Coverage(errors.ravel(), np.concatenate([one.spreads for one in judged]).ravel())
    return {
        "structures": len(judged),
        "force_rmse_ev_per_angstrom": float(np.sqrt(np.mean(errors**2))),
        "largest_force_error_ev_per_angstrom": float(np.linalg.norm(errors, axis=1).max()),
        "energy_rmse_ev_per_atom": float(np.sqrt(np.mean([one.energy**2 for one in judged]))),
        "within_1_sigma": coverage.within(1.0),
        "within_2_sigma": coverage.within(2.0),
        "factor": _factor(coverage),
    }


def _factor(coverage: Coverage) -> float:
    """Between those with which one and two standard deviations have the shares that are expected of them."""
    ratios = np.abs(coverage.errors) / np.maximum(coverage.spreads, np.finfo(float).tiny)
    return float(np.sqrt(np.prod([np.quantile(ratios, share) / width for width, share in SHARES])))


def force_factor(until: Sequence[Round]) -> float:
    """By how much uncertainties of forces are too small; 1 before that is known.

    It is the geometric mean over the last `CONTROLS` rounds that met something at random, since each met a few
    structures only.
    """
    judged: list[Any] = [rounds.read_json(one.judged) or {} for one in until]
    factors = [each[CONTROL]["factor"] for each in judged if CONTROL in each][-CONTROLS:]
    return float(np.exp(np.mean(np.log(factors)))) if factors else 1.0
