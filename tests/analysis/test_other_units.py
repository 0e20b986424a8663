"""References in other units or of other atoms are told; errors of a potential are not taken for them."""

import numpy as np
import pytest

from forceserver.analysis.other_units import doubts
from forceserver.analysis.parity import FORCE, STRESS, ParityTable
from forceserver.fit.data import Labelled
from forceserver.frame import Frame, Result

PER_ATOM = 0
BOHR, HARTREE = 0.529177210903, 27.211386245988


def table(energy=1.0, force=1.0, stress=1.0, atoms=(0.0, 0.0), noise=0.02, spread=0.05):
    """Predictions, and references that are multiples of them; copper and gold with their energies of atoms."""
    rng, found = np.random.default_rng(1), ParityTable()
    for k in range(13):
        numbers = np.array([29] * (1 + k % 3) + [79] * (2 - k % 2), np.int32)
        n = len(numbers)
        frame = Frame(np.zeros((n, 3)), 4 * np.eye(3), numbers, np.ones(3, bool))
        result = Result(rng.normal(-3.5, spread) * n, rng.normal(size=(n, 3)), 5 * rng.normal(size=(3, 3)))
        shift = atoms[0] * (numbers == 29).sum() + atoms[1] * (numbers == 79).sum()
        labels = Labelled(
            frame,
            "(none)",
            result.energy * (1 / n if energy is PER_ATOM else energy)
            + shift
            + rng.normal(0, 0.2 * spread * abs(energy)),
            force * result.forces + noise * rng.normal(size=(n, 3)) * abs(force),
            stress * result.virial,
        )
        found.compare(None, labels, result, frame)
    return found


@pytest.mark.parametrize("changed", [{}, {"force": 0.8}, {"noise": 3.0, "force": 5.0}, {"atoms": (0.05, 0.0)}])
def test_a_poor_potential_is_no_doubt(changed):
    assert doubts(table(**changed)) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"force": BOHR / HARTREE}, "force components are 0.0194 times the predictions: are they in Ha/Bohr?"),
        ({"force": 23.06}, "are they in kcal/mol/Angstrom?"),
        ({"force": BOHR}, "are they in eV/Bohr?"),
        ({"force": 1 / HARTREE}, "are they in Ha/Angstrom?"),
        ({"force": 2 * BOHR / HARTREE}, "are they in Ry/Bohr?"),
        ({"force": -1.0}, "force components are -1 times the predictions with the other sign"),
        ({"force": 3.0}, "force components are 3 times the predictions"),
        ({"stress": 160.22}, "stress components are 160 times the predictions: are they in GPa?"),
        ({"stress": -1602.2}, "are they in kbar with the other sign?"),
        ({"energy": 1 / HARTREE}, "times the predictions: are they in Ha?"),
        ({"energy": 23.06, "atoms": (-45_000.1, 10.0)}, "times the predictions: are they in kcal/mol?"),
        ({"energy": -1.0}, "times the predictions with the other sign"),
        ({"energy": PER_ATOM, "spread": 0.5}, "are they energies per atom?"),
        ({"atoms": (-45_000.1, -500_000.0)}, "by a constant for each element (other energies"),
    ],
)
def test_other_units_are_told(changed, told):
    (said,) = doubts(table(**changed))
    assert told in said


def test_without_the_constants_the_error_is_that_of_the_potential():
    (said,) = doubts(table(atoms=(-45_000.1, -500_000.0)))
    assert 1 < float(said.split("RMSE is ")[1].split()[0]) < 8  # meV/atom; 10 meV in energies of 2 to 5 atoms


def test_another_multiple_of_energies_is_an_error_of_the_potential():
    (said,) = doubts(table(energy=4.0))
    assert "by a constant for each element" in said


def test_forces_that_were_not_computed_are_told():
    found = table()
    references = found.groups["(all)"][FORCE].reference
    references[3] = np.zeros_like(references[3])
    found.groups["(all)"][FORCE].prediction[4] *= 0
    references[4] = np.zeros_like(references[4])  # as symmetry has it
    (said,) = doubts(found)
    assert said.startswith("the reference forces of 1 structures are all exactly zero, the predictions up to")


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ("yz xz xy", None),
        ("xy yz xz", "in the order xx yy zz xy yz xz: "),
        ("xy xz yz", "in the order xx yy zz xy xz yz: "),
    ],
)
def test_stresses_in_the_order_of_other_programs(order, told):
    """VASP writes xx yy zz xy yz zx, LAMMPS xx yy zz xy xz yz."""
    found = table()
    places = {"yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}
    for parity in [found.groups["(all)"][STRESS]]:
        for n, flat in enumerate(parity.prediction):
            stress = flat.reshape(3, 3) + flat.reshape(3, 3).T
            parity.prediction[n] = stress.ravel()
            read = stress.copy()
            for place, name in zip(places.values(), order.split(), strict=True):
                read[place] = read[place[::-1]] = stress[places[name]]
            parity.reference[n] = (read + 0.02 * np.diag(stress)).ravel()
    said = doubts(found)
    assert len(said) == (told is not None)
    assert told is None or told in said[0]
