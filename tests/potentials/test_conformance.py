"""The conformance check: it passes what is right, and finds everything that is deliberately wrong."""

import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from forceserver.errors import InputError, PotentialError
from forceserver.frame import Frame, Result
from forceserver.models.kernel import GapModel
from forceserver.potentials.ase import AsePotential
from forceserver.potentials.base import Potential
from forceserver.potentials.conformance import CHECKS, check_potential
from forceserver.potentials.gap import GapPotential
from forceserver.potentials.sum import SumPotential


@pytest.fixture
def frame():
    return Frame.from_ase(bulk("Al", cubic=True))


def lennard_jones():
    return AsePotential(LennardJones(sigma=2.5, epsilon=0.3, rc=5.5, ro=4.0, smooth=True))


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_lennard_jones_passes(frame, pbc):
    frame.pbc = np.array(pbc)
    if not any(pbc):
        frame.cell = np.zeros((3, 3))
    report = check_potential(lennard_jones(), frame)
    report.raise_on_failure()
    assert [finding.failure for finding in report.findings] == [""] * len(CHECKS)


def test_mixtures_and_sums_pass():
    """EMT switches off at 1e-4 of its strength, which leaves steps in the energy."""
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.numbers[[1, 5, 6]] = 79
    potential = SumPotential([(0.7, AsePotential(EMT())), (2.0, lennard_jones())])
    check_potential(potential, Frame.from_ase(atoms), tolerance=2e-5).raise_on_failure()
    water = molecule("H2O", cell=np.eye(3) * 10)
    check_potential(AsePotential(EMT()), Frame.from_ase(water)).raise_on_failure()


def test_a_sharp_cutoff_is_found(frame):
    sharp = AsePotential(LennardJones(sigma=2.5, epsilon=1.0, rc=5.0))
    assert check_potential(sharp, frame).failures


class Broken(Potential):
    """Lennard-Jones with a fault."""

    def __init__(self, **fault):
        self.inner = lennard_jones()
        self.fault = fault

    def compute_one(self, frame):
        fault = self.fault
        if "frame" in fault:
            frame = fault["frame"](frame)
        result = self.inner.compute_one(frame)
        return fault["result"](result, frame) if "result" in fault else result

    def compute(self, frames):
        results = super().compute(frames)
        return self.fault["results"](results) if "results" in self.fault else results


def with_(**changes):
    """A fault: attributes of the result, each computed from the right result and the frame."""

    def change(result, frame):
        for name, new in changes.items():
            setattr(result, name, new(result, frame))
        return result

    return {"result": change}


def cell_as_columns(frame):
    return Frame(frame.positions, np.ascontiguousarray(frame.cell.T), frame.species, frame.pbc)


def wrapped_once(frame):
    """Forgets that atoms may be further than one cell away."""
    inverse = np.linalg.inv(frame.cell)
    folded = frame.positions @ inverse
    return Frame(np.where(np.abs(folded) > 1.6, 1.1, folded) @ frame.cell, frame.cell, frame.species, frame.pbc)


class Reused(Potential):
    """One array for the forces of all calls."""

    def __init__(self):
        self.inner = lennard_jones()
        self.forces = None

    def compute_one(self, frame):
        result = self.inner.compute_one(frame)
        if self.forces is None:
            self.forces = result.forces
        self.forces[:] = result.forces
        result.forces = self.forces
        return result


class Wrapping(Potential):
    """Moves the atoms of the frame that it is given."""

    def compute_one(self, frame):
        frame.positions -= frame.positions[0]
        return lennard_jones().compute_one(frame)


def first_atom_in_a_field(result, frame):
    result.energy += 0.1 * frame.positions[0, 0] ** 2
    result.forces[0, 0] -= 0.2 * frame.positions[0, 0]
    result.virial[0, 0] -= 0.2 * frame.positions[0, 0] ** 2
    return result


FAULTS = [
    ("form", Broken(**with_(forces=lambda result, frame: result.forces.astype(np.float32)))),
    ("form", Broken(**with_(forces=lambda result, frame: result.forces.ravel()))),
    ("form", Broken(**with_(forces=lambda result, frame: np.asfortranarray(result.forces)))),
    ("form", Broken(**with_(forces=lambda result, frame: result.forces.tolist()))),
    ("form", Broken(**with_(virial=lambda result, frame: result.virial[0]))),
    ("form", Broken(**with_(virial=lambda result, frame: result.virial * np.nan))),
    ("form", Broken(**with_(energy=lambda result, frame: np.float32(result.energy)))),
    ("form", Broken(**with_(energy=lambda result, frame: np.array([result.energy])))),
    ("form", Broken(**with_(extras=lambda result, frame: {"model": object()}))),
    ("form", Broken(**with_(extras=lambda result, frame: {"error": float("nan")}))),
    ("form", Broken(result=lambda result, frame: (result.energy, result.forces, result.virial))),
    ("ownership", Reused()),
    ("ownership", Wrapping()),
    ("batch", Broken(results=lambda results: results[::-1])),
    ("batch", Broken(results=lambda results: results[:1] * len(results))),
    ("batch", Broken(results=lambda results: results[: max(1, len(results) - 1)])),
    ("translation", Broken(result=first_atom_in_a_field)),
    ("images", Broken(frame=wrapped_once)),
    ("lattice", Broken(frame=cell_as_columns)),
    (
        "permutation",
        Broken(**with_(forces=lambda result, frame: result.forces * np.linspace(1, 2, len(frame))[:, None])),
    ),
    ("rotation", Broken(**with_(forces=lambda result, frame: result.forces * [1, 2, 1]))),
    ("forces", Broken(**with_(forces=lambda result, frame: -result.forces))),
    ("forces", Broken(**with_(forces=lambda result, frame: result.forces * (1 + 1e-5)))),
    ("virial", Broken(**with_(virial=lambda result, frame: -result.virial))),
    ("virial", Broken(**with_(virial=lambda result, frame: result.virial / np.abs(np.linalg.det(frame.cell))))),
    ("virial", Broken(**with_(virial=lambda result, frame: np.zeros((3, 3))))),
    ("virial", Broken(**with_(virial=lambda result, frame: frame.positions.T @ result.forces))),
    ("virial", Broken(frame=cell_as_columns)),
    ("virial", Broken(**with_(virial=lambda result, frame: result.virial[::-1, ::-1].copy()))),
    ("symmetry", Broken(**with_(virial=lambda result, frame: np.triu(result.virial)))),
]


@pytest.mark.parametrize(("check", "potential"), FAULTS)
def test_every_fault_is_found(frame, check, potential):
    report = check_potential(potential, frame)
    expected = CHECKS[check].__doc__.rstrip(".")
    failed = [finding.name for finding in report.failures]
    assert expected in failed, report
    with pytest.raises(PotentialError, match=re.escape(expected)):
        report.raise_on_failure()


def test_failures_come_with_numbers(frame):
    potential = Broken(**with_(virial=lambda result, frame: -result.virial))
    text = str(check_potential(potential, frame))
    line = next(line for line in text.splitlines() if "FAIL" in line)
    assert re.search(r"virial [xyz]{2} is -?\d+\.\d+, should be -?\d+\.\d+", line)


def test_exceptions_are_findings(frame):
    def fail(result, frame):
        raise RuntimeError("no such luck")

    (finding,) = check_potential(Broken(result=fail), frame).findings
    assert finding.failure == "RuntimeError: no such luck"


def test_checks_can_be_skipped(frame):
    report = check_potential(Broken(result=first_atom_in_a_field), frame, skip=["translation", "images", "rotation"])
    assert len(report.findings) == len(CHECKS) - 3
    with pytest.raises(InputError, match=r"skip = \[.rotations.\] should be a list of names, out of form"):
        check_potential(lennard_jones(), frame, skip=["rotations"])


def test_result_is_what_the_interface_says(frame):
    assert isinstance(lennard_jones().compute_one(frame), Result)


@pytest.mark.parametrize("offset", [-5.0, -500.0])
@pytest.mark.parametrize("seed", range(3))
def test_single_precision_is_not_an_error(frame, offset, seed):
    """A network, whose energy of -2000 eV changes in steps of 1e-4 eV; by default settings."""
    network = pytest.importorskip("network")
    report = check_potential(AsePotential(network.Network(offset=offset, seed=seed)), frame, seed=seed)
    report.raise_on_failure()
    assert re.search(r"single precision, noise \de-0[4-7] eV", str(report))
    assert report.step > 2e-3


def test_wrong_forces_are_found_in_single_precision(frame):
    network = pytest.importorskip("network")
    report = check_potential(AsePotential(network.Network(offset=0.0, wrong=1.1)), frame)
    assert CHECKS["forces"].__doc__.rstrip(".") in [finding.name for finding in report.failures], report


def test_the_same_network_in_double_precision(frame):
    network = pytest.importorskip("network")
    report = check_potential(AsePotential(network.Network(network.torch.float64)), frame)
    report.raise_on_failure()
    assert "double precision" in str(report)
    assert max(finding.error or 0 for finding in report.findings) < 1e-9


def test_more_noise_than_single_precision(frame):
    random = np.random.default_rng(0)
    noisy = Broken(**with_(energy=lambda result, frame: result.energy + 1e-3 * random.standard_normal()))
    failed = {finding.name: finding.failure for finding in check_potential(noisy, frame).failures}
    assert "more than single precision explains" in failed[CHECKS["noise"].__doc__.rstrip(".")]


def test_a_step_may_be_given(frame):
    assert check_potential(lennard_jones(), frame, step=1e-2).step == 1e-2
    assert CHECKS["forces"].__doc__.rstrip(".") in [
        finding.name for finding in check_potential(lennard_jones(), frame, step=0.1).failures
    ]


@pytest.mark.parametrize("precision", ["double", "single"])
def test_the_shipped_model(precision):
    """Its weights are up to 3e6 eV; the noise of the energy of 40 atoms is that of its last digit."""
    folder = Path(__file__).parents[2] / "workflows" / "batio3"
    potential = GapPotential(GapModel.load(folder / "potential" / "batio3.npz"), precision=precision)
    start = Frame.from_ase(ase.io.read(folder / "demo" / "cold" / "start.extxyz"))
    for seed in range(2):
        report = check_potential(potential, start, seed=seed)
        report.raise_on_failure()
        assert report.noise.energy < 1e-11
        assert f"{precision} precision" in str(report)
        assert report.noise.forces < (1e-7 if precision == "double" else 1e-5)
