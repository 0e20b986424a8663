"""Threads that share a potential or a variable, and copies of these."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.mep import NEB
from gap_models import some_model

import forceserver as fs
from forceserver.models.pairs import GaussianPair
from forceserver.potentials.pair import PairPotential

SWITCH = {"kind": "cubic", "d0_angstrom": 2.3, "d_max_angstrom": 4.0}
PAIR = GaussianPair(
    species=("Ti", "Ti"),
    cutoff_angstrom=4.0,
    smoothing_angstrom=1.0,
    length_angstrom=0.5,
    distances_angstrom=(2.5, 3.0),
    weights_ev=(0.7, -0.4),
)
POTENTIALS = {
    "kernel model": lambda: fs.GapPotential(some_model(members=False)),
    "pairs": lambda: PairPotential([PAIR]),
    "ase": lambda: fs.AsePotential(EMT()),
}


def images(symbol, count=8):
    start = bulk(symbol, "fcc", a=4.1, cubic=True) * (2, 2, 1)
    return [fs.Frame.of(moved(start, k)) for k in range(count)]


def moved(atoms, seed):
    other = atoms.copy()
    other.rattle(0.1, seed=seed)
    return other


@pytest.mark.parametrize("kind", POTENTIALS)
def test_threads_share_a_potential(kind):
    """They overwrote one another's neighbour lists: an energy was that of another structure, or of none."""
    potential = POTENTIALS[kind]()
    frames = images("Al" if kind == "ase" else "Ti")
    alone = [potential.compute_checked(frame) for frame in frames]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(potential.compute_checked, frames * 3))
    for result, expected in zip(together, alone * 3, strict=True):
        assert result.energy == pytest.approx(expected.energy, abs=1e-9)
        np.testing.assert_allclose(result.forces, expected.forces, atol=1e-9)


def test_images_of_a_band_share_a_potential():
    potential = fs.GapPotential(some_model(members=False))

    def energies(parallel):
        band = [frame.to_ase() for frame in images("Ti", 7)]
        for image in band:
            image.calc = fs.ForceServerCalculator(potential)
        neb = NEB(band, parallel=parallel, method="aseneb")
        neb.get_forces()
        return neb.energies

    np.testing.assert_allclose(energies(True), energies(False), atol=1e-9)


def test_threads_share_a_variable():
    """This ended the interpreter."""
    frames = images("Cu")
    variable = fs.CollectiveVariable(
        frames[0], kind="coordination", centres="Cu", neighbours="Cu", switch=SWITCH, groups={"a": [0, 1], "b": [5]}
    )
    alone = [variable.compute(frame).values for frame in frames]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(variable.compute, frames * 20))
    for result, expected in zip(together, alone * 20, strict=True):
        np.testing.assert_allclose(result.values, expected, atol=1e-12)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))])
def test_copies_and_pickles(copied):
    frame = images("Ti")[0]
    atoms = frame.to_ase()
    atoms.calc = fs.ForceServerCalculator(fs.GapPotential(some_model(), uncertainty=True))
    expected = atoms.get_potential_energy()
    again = copied(atoms.calc)
    assert again.get_potential_energy(moved(atoms, 3)) != expected
    assert again.get_potential_energy(atoms) == expected
    assert "committee_uncertainty" in again.results
    variable = fs.CollectiveVariable(frame, kind="coordination", centres=[0, 1], neighbours="Ti", switch=SWITCH)
    assert copied(variable).compute(frame).values == variable.compute(frame).values


class Bonds(fs.CollectiveVariable):
    """Arguments of its own, which a copy needs."""

    def __init__(self, atoms, element):
        super().__init__(atoms, kind="coordination", centres=element, neighbours=element, switch=SWITCH)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))])
def test_a_variable_of_another_class_is_copied_with_its_arguments(copied, tmp_path):
    """It was passed those of its base (a TypeError). That its structure has a bias by now does not matter."""
    atoms = images("Ti")[0].to_ase()
    variable = Bonds(atoms, "Ti")
    expected = variable.compute(atoms).values
    settings = {"height_eV": 0.1, "pace_steps": 1, "temperature_K": 300, "time_step_fs": 1, "folder": tmp_path}
    with fs.Metadynamics(variable, {"cv_number": {"sigma": 0.1}}, grid="none", **settings) as bias:
        atoms.calc = fs.ForceServerCalculator(bias)
        assert copied(variable).compute(atoms).values == expected


def test_a_bias_is_not_copied(tmp_path):
    atoms = molecule("H2O")
    variable = fs.CollectiveVariable(atoms, name="n", kind="coordination", centres="O", neighbours="H", switch=SWITCH)
    settings = {"height_eV": 0.1, "pace_steps": 1, "temperature_K": 300, "time_step_fs": 1, "folder": tmp_path}
    with fs.Metadynamics(variable, {"n_number": {"sigma": 0.1}}, grid="none", **settings) as bias:
        atoms.calc = fs.ForceServerCalculator(bias)
        with pytest.raises(fs.BiasError, match="cannot be copied or pickled: make it where it is used"):
            copy.deepcopy(atoms)
