"""Kernel models of multispectra: rows of forces, models, their files, and where they cannot be used."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import write
from typer.testing import CliRunner

from forceserver.cli.app import app
from forceserver.errors import InputError
from forceserver.fit import run
from forceserver.fit.config import FitConfig
from forceserver.fit.multispectrum_rows import MultispectrumRows, scaled_multispectrum
from forceserver.frame import Frame
from forceserver.lammps.tables import tables
from forceserver.models.kernel import GapModel, SoapHypers
from forceserver.potentials.conformance import check_potential
from forceserver.potentials.gap import GapPotential
from forceserver.representation.contraction import Covariance
from forceserver.representation.multispectrum_config import MultispectrumConfig
from forceserver.representation.multispectrum_fit import unseen

MULTISPECTRUM = {"nu": 3, "n_components": 4, "n_invariants": 10, "num_expand": 40}


@pytest.fixture
def alloys(content, tmp_path):
    """Copper and gold in random places, described by three contracted functions of both."""
    frames = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        positions = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
        atoms = Atoms(rng.choice([29, 79], 4), cell=[3.8] * 3, pbc=True, scaled_positions=positions)
        atoms.rattle(0.15, rng=rng)
        atoms.calc = EMT()
        atoms.get_potential_energy()
        atoms.get_forces()
        frames.append(atoms)
    write(tmp_path / "alloys.extxyz", frames)
    content["data"] = {"train": str(tmp_path / "alloys.extxyz")}
    descriptor = content["descriptors"][0]
    descriptor |= {"n_sparse": 8, "contraction": {"mixed": True, "q_max": 3}, "multispectrum": dict(MULTISPECTRUM)}
    descriptor["basis"] |= {"n_max": 4, "l_max": 2}
    content["descriptors"] = [descriptor]
    del content["baseline"], content["sigma"]["Surface"]
    return content, [Frame.of(atoms) for atoms in frames]


@pytest.mark.parametrize("per_species", [False, True])
def test_model_and_its_file(alloys, per_species):
    content, frames = alloys
    content["descriptors"][0]["multispectrum"]["per_centre_species"] = per_species
    config = FitConfig.model_validate(content)
    model = run.fit(config).model
    again = GapModel.load(config.output)
    before, after = (GapPotential(m).compute_one(frames[0]) for m in (model, again))
    assert before.energy == after.energy
    np.testing.assert_array_equal(before.forces, after.forces)
    np.testing.assert_array_equal(before.virial, after.virial)
    check_potential(GapPotential(again), frames[0], tolerance=1e-4).raise_on_failure()
    said = CliRunner().invoke(app, ["info", str(config.output)]).output
    assert "multispectrum: basis gto, n_max 4, l_max 2, contracted to 3, mixed, cutoff 4.5" in said
    assert "23 features, normalised; zeta 3; sparse points: Cu 8, Au 8" in said
    with pytest.raises(InputError, match="has a multispectrum, and only power spectra can be used here"):
        tables(again)


def test_every_order_counts_the_same(alloys):
    content, frames = alloys
    model = run.fit(FitConfig.model_validate(content)).model
    basis = model.soap[0].describer(model.species).raw()
    from forceserver.fit.selection import environments

    x, _ = environments(basis, frames, 0, 10**6)
    orders = basis.multispectrum.order_of
    lengths = [np.square(x[:, orders == nu]).sum(axis=1).mean() for nu in (1, 2, 3)]
    np.testing.assert_allclose(lengths, 1.0)


@pytest.mark.parametrize("normalise", [False, True])
def test_rows_are_derivatives(alloys, normalise):
    """Of forces and virials, those of energies."""
    content, frames = alloys
    hypers = SoapHypers.model_validate({"basis": content["descriptors"][0]["basis"] | {"scaling": None}, "zeta": 2})
    hypers = hypers.model_copy(update={"normalise": normalise})
    made = Covariance.of(hypers.basis, frames, (29, 79)).contraction(mixed=True, q_max=3)
    expansion = hypers.expansion((29, 79), made.matrices, True)
    config = MultispectrumConfig.model_validate(MULTISPECTRUM)
    basis = scaled_multispectrum(config, expansion, frames, normalise, unseen)
    points = np.random.default_rng(0).normal(size=(2, 3, len(basis)))
    rows = MultispectrumRows(hypers, basis, dict(zip((29, 79), points, strict=True)), 1.0, contraction=made)
    found, h = rows.rows(frames[0], True, True), 1e-5

    def slope(change):
        energies = []
        for sign in (1, -1):
            moved = Frame.of(frames[0].to_ase())
            change(moved, sign * h)
            energies.append(rows.rows(moved, False, False).energy)
        return (energies[0] - energies[1]) / (2 * h)

    def move(frame, step):
        frame.positions[3, 1] += step

    def strain(frame, step):
        deformation = np.eye(3)
        deformation[0, 1] = deformation[1, 0] = step / 2
        frame.positions[:] = frame.positions @ deformation
        frame.cell[:] = frame.cell @ deformation

    scale = np.abs(found.forces).max()
    np.testing.assert_allclose(found.forces[3 * 3 + 1], -slope(move), atol=1e-6 * scale)
    np.testing.assert_allclose(found.virial[1], -slope(strain), atol=1e-5 * np.abs(found.virial).max())


def test_damaged_components(alloys, tmp_path):
    content, _ = alloys
    config = FitConfig.model_validate(content)
    model = run.fit(config).model
    level = model.soap[0].levels[0][1]
    part = next(iter(level.values()))
    part.pairs[0, 4] = 99
    model.save(config.output)
    with pytest.raises(InputError, match=r"order 3, l = 0: l = \d .* cannot be coupled to this"):
        GapModel.load(config.output)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"n_features": 20}, "n_features selects from a power spectrum; a multispectrum has n_invariants"),
        ({"multispectrum": MULTISPECTRUM | {"equivariants": [1]}}, "a kernel compares invariants only"),
        ({"multispectrum": {"nu": 3}}, "n_components or residual_variance is missing"),
    ],
)
def test_refused(alloys, keys, message):
    content, _ = alloys
    content["descriptors"][0] |= keys
    with pytest.raises(ValueError, match=message):
        FitConfig.model_validate(content)
