"""ASE calculators as potentials, against ASE itself."""

import contextlib
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator
from ase.constraints import FixAtoms, Hookean
from ase.stress import voigt_6_to_full_3x3_stress
from pydantic import TypeAdapter

from forceserver.errors import InputError, PotentialError
from forceserver.frame import Frame
from forceserver.potentials import PotentialConfig, build_potential
from forceserver.potentials.ase import AsePotential
from forceserver.potentials.conformance import check_potential

HERE = __name__


class Einstein(Calculator):
    """Springs to fixed sites; counts its evaluations; no stress."""

    implemented_properties = ("energy", "forces", "dipole")

    def __init__(self, spring: float = 2.0) -> None:
        super().__init__()
        self.spring = spring
        self.evaluations = 0
        self.sites = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.evaluations += 1
        if self.sites is None:
            self.sites = atoms.positions.copy()
        displacement = atoms.positions - self.sites
        self.results = {
            "energy": 0.5 * self.spring * (displacement**2).sum(),
            "forces": -self.spring * displacement,
            "dipole": displacement.sum(axis=0),
        }


not_a_factory = 3


@pytest.fixture
def aluminium():
    atoms = bulk("Al", cubic=True).repeat(2)
    atoms.set_cell(atoms.cell.array @ [[1, 0.02, 0.0], [0.05, 1.01, 0.03], [-0.04, 0.1, 0.98]], scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def build(atoms, **section):
    config = TypeAdapter(PotentialConfig).validate_python({"kind": "ase", **section})
    return build_potential(config, Frame.from_ase(atoms))


def assert_same(result, atoms):
    np.testing.assert_allclose(result.energy, atoms.get_potential_energy(), rtol=1e-13)
    np.testing.assert_allclose(result.forces, atoms.get_forces(), atol=1e-12)
    np.testing.assert_allclose(result.virial, -atoms.get_volume() * atoms.get_stress(voigt=False), atol=1e-12)


def test_emt_is_ase_emt(aluminium):
    potential = build(aluminium, calculator="ase.calculators.emt.EMT")
    for seed in range(3):
        aluminium.rattle(0.03, seed=seed)
        result = potential.compute_one(Frame.from_ase(aluminium))
        fresh = aluminium.copy()
        fresh.calc = EMT()
        assert_same(result, fresh)


def test_arguments_reach_the_calculator(aluminium):
    arguments = {"sigma": 2.6, "epsilon": 0.3, "rc": 5.0, "smooth": True}
    potential = build(aluminium, calculator="ase.calculators.lj.LennardJones", arguments=arguments)
    aluminium.calc = LennardJones(**arguments)
    assert_same(potential.compute_one(Frame.from_ase(aluminium)), aluminium)


def test_the_calculator_lives_on(aluminium):
    """The same frame again costs nothing, a new one costs one evaluation."""
    calculator = Einstein()
    potential = AsePotential(calculator, stress="zero")
    frame = Frame.from_ase(aluminium)
    potential.compute_one(frame)
    potential.compute_one(frame)
    assert calculator.evaluations == 1
    frame.positions[0, 0] += 0.1
    result = potential.compute_one(frame)
    assert calculator.evaluations == 2
    assert result.forces[0, 0] == pytest.approx(-0.2)


def test_results_own_their_arrays(aluminium):
    potential = build(aluminium, calculator="ase.calculators.emt.EMT")
    frame = Frame.from_ase(aluminium)
    result = potential.compute_one(frame)
    before = result.forces.copy()
    frame.positions[0] += 0.2
    potential.compute_one(frame)
    np.testing.assert_array_equal(result.forces, before)


def test_frames_with_other_species(aluminium):
    """Evaluation of mixed files: the calculator follows the species of the frame."""
    potential = build(aluminium, calculator="ase.calculators.emt.EMT")
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.1, seed=3)
    result = potential.compute_one(Frame.from_ase(copper))
    copper.calc = EMT()
    assert_same(result, copper)


def test_virial_of_a_molecule_needs_no_stress():
    """Without periodicity -dE/dstrain is sum r f, whatever the calculator offers; checked by finite differences."""
    water = molecule("H2O")
    water.rattle(0.1, seed=2)
    potential = build(water, calculator="ase.calculators.emt.EMT")
    virial = potential.compute_one(Frame.from_ase(water)).virial
    step = 1e-5
    for a in range(3):
        for b in range(3):
            energies = []
            for sign in (1, -1):
                strain = np.eye(3)
                strain[a, b] += sign * step
                frame = Frame.from_ase(water)
                frame.positions = np.ascontiguousarray(frame.positions @ strain)
                energies.append(potential.compute_one(frame).energy)
            assert virial[a, b] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-7)


def test_numerical_stress_agrees_with_the_analytic_one(aluminium):
    analytic = build(aluminium, calculator="ase.calculators.emt.EMT")
    numerical = build(aluminium, calculator="ase.calculators.emt.EMT", stress="numerical")
    frame = Frame.from_ase(aluminium)
    np.testing.assert_allclose(
        numerical.compute_one(frame).virial, analytic.compute_one(frame).virial, rtol=1e-6, atol=1e-5
    )


def test_calculator_without_stress(aluminium, caplog):
    path = f"{HERE}.Einstein"
    with pytest.raises(InputError, match=r"no stress.*stress = \"zero\""):
        build(aluminium, calculator=path)
    potential = build(aluminium, calculator=path, stress="zero")
    assert "virials are zero" in caplog.text
    assert not potential.compute_one(Frame.from_ase(aluminium)).virial.any()


def test_calculator_that_announces_a_stress_and_has_none(aluminium):
    calculator = Einstein()
    calculator.implemented_properties = ("energy", "forces", "stress")
    with pytest.raises(PotentialError, match=r"Einstein gave no stress"):
        AsePotential(calculator).compute_one(Frame.from_ase(aluminium))


@pytest.mark.parametrize("stress", ["zero", "numerical"])
def test_extras(aluminium, stress):
    potential = build(aluminium, calculator=f"{HERE}.Einstein", stress=stress, extras=["dipole"])
    frame = Frame.from_ase(aluminium)
    frame.positions[0] += [0.1, 0.2, 0.3]
    np.testing.assert_allclose(potential.compute_one(frame).extras["dipole"], [0.1, 0.2, 0.3])
    with pytest.raises(InputError, match=r"no result 'charges'.*energy, forces, dipole"):
        build(aluminium, calculator=f"{HERE}.Einstein", stress="zero", extras=["charges"])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"calculator": "EMT"}, "'EMT' is not a dotted path"),
        ({"calculator": "ase.calculators.nonsense.EMT"}, "cannot import 'ase.calculators.nonsense'"),
        ({"calculator": "ase.calculators.emt.Nonsense"}, "'ase.calculators.emt' has no 'Nonsense'"),
        ({"calculator": f"{HERE}.not_a_factory"}, "is a int, neither a class nor a function"),
        (
            {"calculator": "ase.build.bulk", "arguments": {"name": "Al"}},
            "gives a Atoms, which is not an ASE calculator",
        ),
        (
            {"calculator": "forceserver.potentials.sum.SumPotential", "arguments": {"terms": []}},
            r"a Potential and not .* a function that returns ForceServerCalculator\(SumPotential\(\.\.\.\)\)",
        ),
        ({"calculator": f"{HERE}.Einstein", "arguments": {"sprong": 1}}, r"Einstein\(sprong=1\).*'sprong'"),
    ],
)
def test_wrong_sections_name_the_wrong_thing(aluminium, section, message):
    with pytest.raises(InputError, match=message):
        build(aluminium, **section)


def test_species_that_the_calculator_does_not_know():
    with pytest.raises(InputError, match=r"kind = 'ase'.*cannot compute the template.*Si"):
        build(bulk("Si"), calculator="ase.calculators.emt.EMT")


def test_atoms_on_one_place(aluminium):
    aluminium.positions[1] = aluminium.positions[0]
    with pytest.raises(InputError, match="returned, for the template, energy = "), np.errstate(all="ignore"):
        build(aluminium, calculator="ase.calculators.lj.LennardJones", arguments={"rc": 5.0})


class Moody(EMT):
    """Gives no number, or an error, the first time."""

    def __init__(self, mood):
        super().__init__()
        self.mood, self.calls = mood, 0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.calls += 1
        if self.calls == 1:
            if self.mood == "error":
                raise RuntimeError("not today")
            self.results["energy"] = self.results["free_energy"] = np.nan


@pytest.mark.parametrize("mood", ["nan", "error"])
def test_a_failure_is_not_cached(mood):
    """ASE keeps the results for the same atoms: every retry failed alike."""
    potential, frame = AsePotential(Moody(mood)), Frame.from_ase(bulk("Al", cubic=True))
    with contextlib.suppress(RuntimeError):
        assert np.isnan(potential.compute_one(frame).energy)
    again = potential.compute_one(frame)
    assert again.energy == pytest.approx(AsePotential(EMT()).compute_one(frame).energy)


class Around(Calculator):
    """Gives what another calculator gives, as corrections and wrappers do."""

    implemented_properties: ClassVar = ["energy", "forces", "stress"]

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.results = {name: self.inner.get_property(name, atoms.copy()) for name in self.implemented_properties}


@pytest.mark.parametrize(
    "around",
    [Around, lambda inner: SumCalculator([inner]), lambda inner: Around(SumCalculator([Around(inner)]))],
    ids=["wrapper", "sum", "nested"],
)
def test_a_failure_is_not_cached_by_a_calculator_within_another(around):
    """`reset` forgets what its own calculator knows; that of a sum of ASE does not exist."""
    potential, frame = AsePotential(around(Moody("nan"))), Frame.from_ase(bulk("Al", cubic=True))
    assert np.isnan(potential.compute_one(frame).energy)
    assert potential.compute_one(frame).energy == pytest.approx(AsePotential(EMT()).compute_one(frame).energy)


class Meddling(EMT):
    """Changes the atoms that it is given, before or after it has computed them."""

    def __init__(self, change, first):
        super().__init__()
        self.change, self.first = change, first

    def calculate(self, atoms=None, *args, **kwargs):
        if self.first:
            self.change(atoms)
        super().calculate(atoms, *args, **kwargs)
        if not self.first:
            self.change(atoms)


CHANGES = {
    "wrapped": (lambda atoms: atoms.wrap(), True),
    "wrapped afterwards": (lambda atoms: atoms.wrap(), False),
    "moved": (lambda atoms: atoms.translate((0.1, 0, 0)), False),
    "strained": (lambda atoms: atoms.set_cell(1.01 * atoms.cell, scale_atoms=True), False),
    "another species": (lambda atoms: atoms.set_atomic_numbers([29] * len(atoms)), False),
    "an atom more": (lambda atoms: atoms.append("Cu"), False),
    "charged": (lambda atoms: atoms.set_initial_charges(np.random.default_rng(1).normal(size=len(atoms))), False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_calculator_that_changes_its_atoms(aluminium, change):
    """ASE would take the energy and the stress of what came of it, beside the forces of the frame."""
    potential, honest = AsePotential(Meddling(*CHANGES[change])), AsePotential(EMT())
    for seed in range(3):
        aluminium.rattle(0.3, seed=seed)
        aluminium.translate((seed, 2 * seed, 0))
        frame = Frame.from_ase(aluminium)
        result, expected = potential.compute_one(frame), honest.compute_one(frame)
        tolerance = 1e-12 if change == "wrapped" else 0  # it computes other images of the atoms
        assert result.energy == pytest.approx(expected.energy, abs=tolerance, rel=0)
        np.testing.assert_allclose(result.forces, expected.forces, atol=tolerance, rtol=0)
        np.testing.assert_allclose(result.virial, expected.virial, atol=tolerance, rtol=0)


def test_numerical_stress_of_a_calculator_that_changes_its_atoms(aluminium):
    potential = AsePotential(Meddling(*CHANGES["strained"]), stress="numerical")
    with pytest.raises(PotentialError, match="changes the atoms that it gets"):
        potential.compute_one(Frame.from_ase(aluminium))


class Full(EMT):
    """EMT with a stress (3, 3) that went through a function."""

    change = staticmethod(lambda stress: stress)

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["stress"] = self.change(voigt_6_to_full_3x3_stress(self.results["stress"]))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda stress: stress, ""),
        (lambda stress: stress + np.eye(3)[[1, 0, 2]] * [[0, 1e-5, 0]], ""),  # of a model that is nearly invariant
        (np.triu, r"Full returned stress.\d, \d. = .*, but stress.\d, \d. = 0 eV/Angstrom.3: it should be symmetric"),
        (np.tril, "it should be symmetric, with both triangles filled"),
        (lambda stress: stress + 0.02 * np.eye(3, k=1) * [[0, 0, 1]], r"stress\[1, 2\] = .* but stress\[2, 1\] = "),
    ],
)
def test_a_stress_that_is_not_symmetric(aluminium, change, told):
    """Its symmetric part would be half of the shear, and no more was said."""
    calculator = Full()
    calculator.change = change
    context = pytest.raises(PotentialError, match=told) if told else contextlib.nullcontext()
    with context:
        virial = AsePotential(calculator).compute_one(Frame.from_ase(aluminium)).virial
        expected = AsePotential(EMT()).compute_one(Frame.from_ase(aluminium)).virial
        np.testing.assert_allclose(virial, expected, atol=1e-5 * aluminium.get_volume())


class Odd(EMT):
    """EMT that does something to its atoms before it computes them."""

    def __init__(self, change) -> None:
        super().__init__()
        self.change = change

    def calculate(self, atoms=None, *args, **kwargs):
        self.change(atoms)
        super().calculate(atoms, *args, **kwargs)


def sort_atoms(atoms) -> None:
    atoms.positions[:] = atoms.positions[np.argsort(atoms.positions[:, 0])]


@pytest.mark.parametrize(
    ("change", "warns"),
    [
        (lambda atoms: atoms.set_constraint(FixAtoms([0, 1, 2])), False),
        (lambda atoms: atoms.set_constraint(Hookean(0, 1, 5.0, 0.1)), False),
        (lambda atoms: atoms.translate((0.1, 0.2, 0.3)), False),
        (lambda atoms: (atoms.translate((9, 9, 9)), atoms.wrap()), False),
        (sort_atoms, True),
        (lambda atoms: atoms.set_cell(1.1 * atoms.cell.array), True),
    ],
)
def test_forces_of_what_a_calculator_makes_of_its_atoms(aluminium, caplog, change, warns):
    """ASE sets the forces on atoms to zero that a calculator has fixed; forces of sorted ones went astray."""
    frame = Frame.from_ase(aluminium)
    potential, expected = AsePotential(Odd(change)), AsePotential(EMT()).compute_one(frame)
    for _ in range(2):
        result = potential.compute_one(frame)
    assert caplog.text.count("changes the atoms that it gets") == warns
    if not warns:
        np.testing.assert_allclose(result.forces, expected.forces, atol=1e-10)
        assert result.energy == pytest.approx(expected.energy, abs=1e-10)


class Charged(Calculator):
    """As codes do it whose charge, spin and moments stand in the structure."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy = 100 * atoms.info.get("charge", 0) + atoms.get_initial_charges() @ np.arange(len(atoms))
        energy += atoms.get_initial_magnetic_moments()[0] / 8
        self.results = {"energy": energy, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}


@pytest.fixture
def charged(aluminium):
    atoms = aluminium.copy()
    atoms.set_initial_charges(np.linspace(-1, 1, len(atoms)))
    atoms.set_initial_magnetic_moments(np.arange(1, 1 + len(atoms)))
    atoms.info["charge"] = 2
    return atoms


def test_charges_moments_and_info_reach_the_calculator(charged):
    """A calculator without them computes a neutral structure without spin."""
    expected = 200 + np.linspace(-1, 1, len(charged)) @ np.arange(len(charged)) + 1 / 8
    potential = AsePotential(Charged())
    assert potential.compute_one(Frame.from_ase(charged)).energy == pytest.approx(expected, abs=1e-12)
    charged.info["charge"] = 1  # which ASE's cache does not notice
    assert potential.compute_one(Frame.from_ase(charged)).energy == pytest.approx(expected - 100, abs=1e-12)
    assert not check_potential(
        potential, Frame.from_ase(charged), skip=["permutation"]
    ).failures  # it knows atoms by number
    assert not check_potential(AsePotential(EMT()), Frame.from_ase(charged)).failures


def test_info_reaches_a_calculator_within_another(charged):
    """The energy was that of the charge before."""
    potential = AsePotential(SumCalculator([Charged()]))
    before = potential.compute_one(Frame.from_ase(charged)).energy
    charged.info["charge"] += 1
    assert potential.compute_one(Frame.from_ase(charged)).energy == pytest.approx(before + 100, abs=1e-12)


def test_a_calculator_keeps_what_it_knows_of_one_template(charged):
    template, potential = Frame.from_ase(charged), AsePotential(Einstein(), stress="zero")
    for shift in (0.0, 0.1):
        frame = replace(template, positions=template.positions + shift)
        assert potential.compute_one(frame).energy == pytest.approx(3 * shift**2 * len(template))
