"""(s): what the tolerance of the splines does to predictions, beside the errors of the model itself."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from ase.io import read
from common import HERE, RESULTS

from forceserver.frame import Frame
from forceserver.models.kernel import GapModel, SoapTerm
from forceserver.potentials.gap import GapPotential
from forceserver.potentials.model_files import load_model
from forceserver.representation.invariants import PowerSpectrum
from forceserver.representation.neighbours import NeighbourList
from forceserver.representation.spline import SplineTable

BATIO3 = HERE.parent / "batio3"
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
REFERENCE = 1e-11


def predictions(every: int) -> dict:
    """Root mean square differences of energies, forces and features to those of the finest splines."""
    model = load_model(BATIO3 / "potential" / "batio3.npz")
    structures = read(BATIO3 / "data" / "test.extxyz", f"::{every}")
    frames = [Frame.from_ase(atoms) for atoms in structures]
    exact = _computed(model, frames, REFERENCE)
    rows = []
    for tolerance in TOLERANCES:
        found = _computed(model, frames, tolerance)
        energy, force, feature = (_rms(a - b) for a, b in zip(found[:3], exact[:3], strict=True))
        rows.append(
            {
                "tolerance": tolerance,
                "intervals": found[3],
                "energy_ev_per_atom": energy,
                "force_ev_per_angstrom": force,
                "feature": feature,
            }
        )
    energies = np.array([atoms.get_potential_energy() / len(atoms) for atoms in structures])
    forces = np.concatenate([atoms.get_forces() for atoms in structures])
    errors = {
        "energy_ev_per_atom": _rms(exact[0] - energies),
        "force_ev_per_angstrom": _rms(exact[1] - forces),
    }
    found = {"structures": len(frames), "reference_tolerance": REFERENCE, "errors_of_the_model": errors, "rows": rows}
    _draw(found)
    return found


def _computed(model: GapModel, frames: list[Frame], tolerance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Energies of atoms on average (n,), forces (N, 3), features (N, F), and the number of intervals."""
    hypers = [term.hypers.model_copy(update={"spline_tolerance": tolerance}) for term in model.soap]
    terms = tuple(replace(term, hypers=own) for term, own in zip(model.soap, hypers, strict=True))
    potential = GapPotential(replace(model, soap=terms))
    results, features = [], []
    for frame in frames:
        results.append(potential.compute_one(frame))
        features.append(_features(terms[0], model.species, frame))
    energies = np.array([result.energy / len(frame) for result, frame in zip(results, frames, strict=True)])
    intervals = SplineTable.build(hypers[0].basis, tolerance).n_intervals
    return energies, np.concatenate([result.forces for result in results]), np.concatenate(features), intervals


def _features(term: SoapTerm, species: tuple[int, ...], frame: Frame) -> np.ndarray:
    basis = term.power_spectrum(species)
    neighbours = NeighbourList(frame.species, basis.expansion.cutoff, pbc=frame.pbc)
    neighbours.update(frame.positions, frame.cell)
    return PowerSpectrum(basis, neighbours).values().copy()


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


def _draw(found: dict) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 2.6), layout="constrained")
    tolerances = [row["tolerance"] for row in found["rows"]]
    names = {"energy_ev_per_atom": "energy (eV/atom)", "force_ev_per_angstrom": "forces (eV/Å)"}
    for axis, (key, label) in zip(axes, names.items(), strict=True):
        axis.loglog(tolerances, [row[key] for row in found["rows"]], ".-", ms=4, label="error of the splines")
        axis.axhline(found["errors_of_the_model"][key], color="k", lw=0.8, ls="--", label="error of the model")
        axis.set(xlabel="tolerance of the splines", ylabel=f"rms error, {label}")
        axis.legend()
    figure.savefig(RESULTS / "spline_accuracy.png", dpi=110)
