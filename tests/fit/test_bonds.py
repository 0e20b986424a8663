"""Labels and positions in other units throughout are told; right ones of molecules, metals and salts are not."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write
from ase.units import Bohr, Hartree, kcal, mol

from forceserver.fit import run
from forceserver.fit.bonds import unlike_lengths, unlike_stiffness
from forceserver.fit.config import FitConfig
from forceserver.fit.data import Labelled
from forceserver.fit.defaults import shortest_distances
from forceserver.frame import Frame, Result
from forceserver.models.pairs import screened_coulomb
from forceserver.potentials.ase import AsePotential
from forceserver.potentials.base import Potential


class Scaled(Potential):
    """A potential in another unit."""

    def __init__(self, potential, factor):
        self.potential, self.factor = potential, factor

    def compute_one(self, frame):
        result = self.potential.compute_one(frame)
        return Result(*(self.factor * value for value in (result.energy, result.forces, result.virial)))


def labelled(atoms, potential):
    frame = Frame.from_ase(atoms)
    return Labelled(frame, "a", 0.0, potential.compute_one(frame).forces, None)


def structures():
    """Copper, platinum, an alloy, ethanol."""
    alloy = bulk("Cu", cubic=True, a=3.8)
    alloy.numbers[:2] = 79
    found = [bulk("Cu", cubic=True), bulk("Pt", cubic=True), alloy, molecule("CH3CH2OH")]
    for number, atoms in enumerate(found):
        atoms.rattle(0.03, seed=number)
    return found


@pytest.mark.parametrize("atoms", structures(), ids=lambda atoms: str(atoms.symbols))
@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (1.0, None),
        (mol / kcal, "bonds are stiffer than bonds can be"),
        (1 / Hartree, "bonds are softer than bonds can be"),
        (Bohr / Hartree, "in Hartree or Rydberg"),
    ],
)
def test_units_of_all_labels(atoms, factor, told):
    potential = Scaled(AsePotential(EMT()), factor)
    said = unlike_stiffness(potential, [labelled(atoms, potential)])
    assert (said is None) if told is None else (told in said)


def test_energies_alone_single_atoms_and_bad_fits_say_nothing_of_curvatures():
    soft = Scaled(AsePotential(EMT()), 1 / Hartree)
    one = labelled(structures()[0], soft)
    assert unlike_stiffness(soft, [one]) is not None
    assert unlike_stiffness(soft, [replace(one, forces=None)]) is None
    assert unlike_stiffness(soft, [replace(one, forces=Hartree * one.forces)]) is None
    assert unlike_stiffness(soft, [labelled(bulk("Cu"), soft)]) is None


def test_forces_in_rydberg_per_bohr_beside_energies_in_rydberg():
    """A fit to both has forces 1.9 times as large as their labels."""
    soft = Scaled(AsePotential(EMT()), 2 / Hartree)
    one = labelled(structures()[0], soft)
    assert "in Hartree or Rydberg" in unlike_stiffness(soft, [replace(one, forces=Bohr * one.forces)])


def test_curvatures_of_the_wrong_sign_are_not_determined():
    """One dimer and an isolated atom, say: a fit knows a force, and nothing of how it changes."""
    concave = Scaled(AsePotential(EMT()), -1.0)
    assert unlike_stiffness(concave, [labelled(structures()[0], concave)]) is None


@pytest.mark.parametrize("atoms", structures(), ids=lambda atoms: str(atoms.symbols))
def test_positions_in_bohr(atoms):
    assert unlike_lengths(shortest_distances([Frame.from_ase(atoms)])) is None
    atoms.set_cell(atoms.cell / Bohr)
    atoms.positions /= Bohr
    assert "are positions and cells in Bohr?" in unlike_lengths(shortest_distances([Frame.from_ase(atoms)]))


def test_atoms_that_bind_to_nothing_are_far_apart():
    assert unlike_lengths(shortest_distances([Frame.from_ase(bulk("Ar", a=5.3))])) is None
    assert unlike_lengths({}) is None


def test_the_curvature_of_the_repulsion_is_its_second_derivative():
    r = np.array([1.5, 2.5])
    _, slope, curvature = screened_coulomb([6, 29], [8, 29], r)
    ahead, behind = (screened_coulomb([6, 29], [8, 29], r + h)[1] for h in (1e-5, -1e-5))
    np.testing.assert_allclose(curvature, (ahead - behind) / 2e-5, rtol=1e-7)
    np.testing.assert_allclose(slope[1], screened_coulomb(29, 29, r)[1][1])


@pytest.mark.parametrize(("factor", "told"), [(1.0, False), (mol / kcal, True)])
def test_a_fit_tells(content, tmp_path, caplog, factor, told):
    """Energies and forces without a word of their unit: nothing but the physics of bonds contradicts them."""
    found = []
    for number in range(8):
        atoms = bulk("Cu", cubic=True, a=3.5 + 0.03 * number)
        atoms.rattle(0.1, seed=number)
        atoms.calc = EMT()
        atoms.info["REF_energy"] = factor * atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = factor * atoms.get_forces()
        atoms.calc = None
        found.append(atoms)
    write(tmp_path / "cu.extxyz", found)
    soap = content["descriptors"][0] | {"n_sparse": 20}
    sigma = {"default": {"energy_ev": 0.003 * factor, "force_ev_per_angstrom": 0.1 * factor}}
    content |= {"data": {"train": str(tmp_path / "cu.extxyz")}, "baseline": [], "sigma": sigma, "descriptors": [soap]}
    with caplog.at_level(logging.WARNING):
        run.fit(FitConfig.model_validate(content))
    assert ("cu.extxyz: bonds are stiffer than bonds can be: Cu-Cu" in caplog.text) == told
