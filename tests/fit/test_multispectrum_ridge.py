"""Linear models of multispectra: fit, file, forces, and what is refused."""

from functools import cache

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from typer.testing import CliRunner

from forceserver.cli.app import app
from forceserver.errors import InputError
from forceserver.fit.multispectrum_ridge import fit_ridge
from forceserver.frame import Frame
from forceserver.models.multispectrum import MultispectrumModel
from forceserver.potentials import conformance
from forceserver.potentials.model_files import load_potential
from forceserver.potentials.multispectrum import MultispectrumPotential
from forceserver.representation.config import ExpansionConfig

E_0 = {1: -13.6, 6: -1030.0, 8: -2040.0}


def section(**keys) -> ExpansionConfig:
    basis = {
        "kind": "gto",
        "n_max": 5,
        "l_max": 2,
        "cutoff": {"cutoff_angstrom": 3.5, "width_angstrom": 1.0},
        "density": {"kind": "gaussian", "sigma_angstrom": 0.4},
    }
    defaults = {
        "contraction": {"mixed": True, "q_max": 4},
        "multispectrum": {"nu": 3, "n_components": 8, "n_invariants": 30, "num_expand": 80},
    }
    return ExpansionConfig.model_validate({"basis": basis, "tolerance": 1e-6} | defaults | keys)


@cache
def molecules():
    names = ("H2O", "CH3OH", "C2H6", "CH4", "H2CO", "CH3CHO")
    made = [molecule(name) for name in names for _ in range(10)]
    for seed, atoms in enumerate(made):
        atoms.rattle(0.12, seed=seed)
    return made


def energy(atoms: Atoms) -> float:
    """Atoms and springs of three bodies: products of distances to two neighbours of each atom."""
    total = sum(E_0[z] for z in atoms.numbers)
    d = atoms.get_all_distances()
    near = np.where(np.eye(len(atoms)), 0.0, np.exp(-(d**2)))
    return total + 2 * near.sum() + float((near.sum(axis=1) ** 2).sum())


@cache
def fitted(mixed=True, per_centre=False):
    keys = {"contraction": {"mixed": mixed, "q_max": 4 if mixed else 2}}
    numbers = {"n_components": 6, "n_invariants": 12} if per_centre else {"n_components": 8, "n_invariants": 30}
    keys["multispectrum"] = {"nu": 3, "num_expand": 80, "per_centre_species": per_centre} | numbers
    return fit_ridge(section(**keys), molecules()[::2], [energy(a) for a in molecules()[::2]])


@pytest.mark.parametrize("mixed", [True, False])
def test_predicts_what_it_has_not_seen(mixed):
    potential = MultispectrumPotential(fitted(mixed))
    rest = molecules()[1::2]
    errors = [(potential.compute_one(Frame.of(atoms)).energy - energy(atoms)) / len(atoms) for atoms in rest]
    spread = np.std([(energy(a) - sum(E_0[z] for z in a.numbers)) / len(a) for a in rest])
    assert np.sqrt(np.mean(np.square(errors))) < (0.1 if mixed else 0.15) * spread
    summary = fitted(mixed).summary
    assert summary["training_rmse_ev_per_atom"] < 0.05 * spread
    assert summary["alpha"] > 0


@pytest.mark.parametrize(("mixed", "per_centre"), [(True, False), (False, True)])
def test_file_and_forces(mixed, per_centre, tmp_path):
    """The file has all that is needed; forces and virial are derivatives."""
    model = fitted(mixed, per_centre)
    model.save(tmp_path / "m.npz")
    frame = Frame.of(molecules()[11])
    frame.cell[:] = np.diag([9.0, 8.0, 8.5])
    frame.pbc = np.ones(3, dtype=bool)
    loaded = load_potential(tmp_path / "m.npz")
    mine, theirs = MultispectrumPotential(model).compute_one(frame), loaded.compute_one(frame)
    assert mine.energy == pytest.approx(theirs.energy, abs=1e-9)
    np.testing.assert_allclose(mine.forces, theirs.forces, atol=1e-9)
    conformance.check_potential(loaded, frame)


def test_info(tmp_path):
    fitted().save(tmp_path / "m.npz")
    said = CliRunner().invoke(app, ["info", str(tmp_path / "m.npz")]).stdout
    assert "multispectrum model (energies in eV" in said
    assert "64 invariants: 4 of order 1, 30 of order 2, 30 of order 3" in said
    assert "cutoff 3.5 (width 1), contracted, mixed" in said


def test_damaged_files(tmp_path):
    path = tmp_path / "m.npz"
    good = fitted()

    def refused(message, **changes):
        values = {
            name: getattr(good, name) for name in ("species", "energies", "density", "mixing", "levels", "weights")
        }
        MultispectrumModel(**(values | changes)).save(path)
        with pytest.raises(InputError, match=message):
            MultispectrumModel.load(path)

    part = good.levels[0][0][next(iter(good.levels[0][0]))]
    wrong = part.pairs.copy()
    wrong[0, 4] = 99
    level = dict(good.levels[0][0]) | {part.target: type(part)(part.target, wrong, part.matrix, part.variances)}
    refused("order 2, l = 0: l = 0 .parity 1. and l = 0 cannot be coupled", levels={0: (level, good.levels[0][1])})
    fewer = {s: w[:-1] for s, w in good.weights.items()}
    refused(r"weights: must be one per feature .\[64\]. for each species, are \[63\]", weights=fewer)


@pytest.mark.parametrize(
    ("keys", "energies", "message"),
    [
        ({"multispectrum": None}, 12, "has no multispectrum"),
        ({"centres": ("C",)}, 12, "all atoms are centres and neighbours"),
        ({}, 11, "energies must be 12 finite numbers"),
    ],
)
def test_refused(keys, energies, message):
    with pytest.raises(InputError, match=message):
        fit_ridge(section(**keys), molecules()[:12], np.zeros(energies))
