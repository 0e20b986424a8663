"""Models in contracted radial functions: they carry their contraction, and repeat what was fitted."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import write

from forceserver.analysis import parity
from forceserver.errors import InputError
from forceserver.fit import report, run
from forceserver.fit.config import FitConfig
from forceserver.fit.rows import SoapRows
from forceserver.frame import Frame
from forceserver.models.kernel import GapModel, SoapHypers
from forceserver.potentials.conformance import check_potential
from forceserver.potentials.gap import GapPotential
from forceserver.representation import contraction_file
from forceserver.representation.contraction import Covariance
from forceserver.representation.gto import GtoBasis


@pytest.fixture
def alloys(content, tmp_path):
    """Copper and gold in random places."""
    frames = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        atoms = Atoms(
            "Cu4", cell=[3.8] * 3, pbc=True, scaled_positions=[[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
        )
        atoms = atoms.repeat((2, 2, 1))
        atoms.numbers = rng.choice([29, 79], 16)
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        atoms.get_potential_energy()
        atoms.get_forces()
        frames.append(atoms)
    write(tmp_path / "alloys.extxyz", frames)
    content["data"] = {"train": str(tmp_path / "alloys.extxyz")}
    content["descriptors"] = content["descriptors"][:1]
    content["descriptors"][0]["n_sparse"] = 40
    del content["baseline"], content["sigma"]["Surface"]
    return content, [Frame.of(atoms) for atoms in frames]


@pytest.mark.parametrize("mixed", [False, True])
def test_of_two_species(alloys, mixed, threads_change_no_bit):
    content, frames = alloys
    content["descriptors"][0]["contraction"] = {"kind": "pca", "mixed": mixed, "q_max": 4}
    fit = run.fit(FitConfig.model_validate(content))
    errors = report.compare(fit.model, fit.train).groups["(all)"]
    assert errors[parity.FORCE].rmse() < 0.6 * np.std([one.forces for one in fit.train])
    (term,) = fit.model.soap
    assert term.sum_species is mixed
    assert term.mixing[29].shape == (4, 4, 5)
    assert term.features[:, 0].max() == (0 if mixed else 1)
    model = GapModel.load(FitConfig.model_validate(content).output)
    before, after = (GapPotential(m).compute_one(frames[0]) for m in (fit.model, model))
    assert before.energy == after.energy
    np.testing.assert_array_equal(before.forces, after.forces)
    check_potential(GapPotential(model), frames[0], tolerance=1e-4).raise_on_failure()

    def computed():
        result = GapPotential(model).compute_one(frames[0])
        return result.energy, result.forces, result.virial

    threads_change_no_bit(computed)


@pytest.mark.parametrize(
    ("contraction", "functions", "summed"),
    [
        ({"kind": "pcovr", "q_max": 3}, 3, False),
        ({"kind": "alchemical", "q_max": 1, "optimised": True}, 5, True),
        ({"kind": "alchemical", "weights": {"Cu": [1.0], "Au": [-0.5]}}, 5, True),
    ],
)
def test_of_other_kinds(alloys, contraction, functions, summed):
    """What learns from energies is given those of the training structures."""
    content, frames = alloys
    content["descriptors"][0]["contraction"] = contraction
    model = run.fit(FitConfig.model_validate(content)).model
    (term,) = model.soap
    assert term.sum_species is summed
    assert term.mixing[29].shape == (4, functions, 5)
    check_potential(GapPotential(model), frames[0], tolerance=1e-4).raise_on_failure()


def test_of_a_file_which_brings_the_basis(alloys, tmp_path):
    content, frames = alloys
    basis = GtoBasis.model_validate(content["descriptors"][0].pop("basis") | {"scaling": None})
    made = Covariance.of(basis, frames, (29, 79)).contraction(mixed=True, q_max=4)
    contraction_file.save(made, tmp_path / "basis.npz")
    content["descriptors"][0]["contraction"] = {"file": str(tmp_path / "basis.npz")}
    model = run.fit(FitConfig.model_validate(content)).model
    assert model.soap[0].hypers.basis == basis
    np.testing.assert_array_equal(model.soap[0].mixing[79], made.matrices[79])
    content["descriptors"][0]["basis"] = basis.model_dump() | {"n_max": 6, "scaling": False}
    with pytest.raises(InputError, match="made for the basis n_max = 5, and cannot be used with n_max = 6"):
        run.fit(FitConfig.model_validate(content))


def test_a_file_without_the_key_of_version_four(alloys, monkeypatch):
    """Files of version 3 have no sum_species."""
    content, _ = alloys
    fit = run.fit(FitConfig.model_validate(content))
    header = fit.model._header()
    header["version"] = 3
    del header["sum_species"]
    monkeypatch.setattr(GapModel, "_header", lambda self: header)
    path = FitConfig.model_validate(content).output
    fit.model.save(path)
    assert not GapModel.load(path).soap[0].sum_species


@pytest.mark.parametrize("mixed", [False, True])
def test_rows_of_forces_are_derivatives_of_those_of_energies(alloys, mixed):
    content, frames = alloys
    basis = GtoBasis.model_validate(content["descriptors"][0]["basis"] | {"scaling": None})
    made = Covariance.of(basis, frames, (29, 79)).contraction(mixed=mixed, q_max=3)
    hypers = SoapHypers(basis=basis, zeta=2)
    spectrum = hypers.power_spectrum((29, 79), mixing=made.matrices, sum_species=made.sum_species)
    points = np.random.default_rng(0).normal(size=(2, 3, len(spectrum)))
    rows = SoapRows(hypers, spectrum, dict(zip((29, 79), points, strict=True)), 1.0, contraction=made)
    h, forces = 1e-5, rows.rows(frames[0], True, False).forces
    energies = []
    for sign in (1, -1):
        moved = Frame.of(frames[0].to_ase())
        moved.positions[3, 1] += sign * h
        energies.append(rows.rows(moved, False, False).energy)
    slope = (energies[0] - energies[1]) / (2 * h)
    np.testing.assert_allclose(forces[3 * 3 + 1], -slope, atol=1e-5 * np.abs(slope).max())
