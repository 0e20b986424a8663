"""Biases on every kind of variable: the energy and forces of the bias driver, embedded and with PLUMED behind it."""

import numpy as np
import pytest
from ase import Atoms
from derivatives import central_differences
from pydantic import TypeAdapter
from variable_kinds import KINDS

from forceserver.bias.choice import BiasConfig, build_bias
from forceserver.cv import build_variables, variable_section
from forceserver.frame import Frame


@pytest.fixture
def crystal():
    rng = np.random.default_rng(5)
    cell = np.array([[4.4, 0.3, 0.0], [0.2, 4.1, 0.5], [-0.4, 0.1, 4.7]])
    positions = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]) @ cell
    return Atoms("Ti2O2", positions + rng.normal(0, 0.2, (4, 3)), cell=cell, pbc=True)


def variables_of(kind, atoms):
    content = {"name": "q", "centres": ["Ti", "O"], "neighbours": ["Ti", "O"], "tolerance": 1e-9} | KINDS[kind]
    return build_variables([variable_section(content)], Frame.from_ase(atoms))


class Energy:
    """What `central_differences` asks for, of a bias that does not change."""

    def __init__(self, bias):
        self.bias = bias

    def __call__(self, frame):
        self.values = np.array([self.bias.compute_one(frame).energy])
        return self


def check(bias, atoms):
    result = bias.compute_one(Frame.from_ase(atoms))
    assert abs(result.forces).max() > 1e-3
    gradients, strain = central_differences(Energy(bias), atoms)
    np.testing.assert_allclose(result.forces, -gradients[0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(result.virial, -0.5 * (strain[0] + strain[0].T), rtol=1e-6, atol=1e-6)
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_forces_are_those_of_the_energy(kind, crystal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    variables = variables_of(kind, crystal)
    names = [f"q_{output}" for output in variables["q"].outputs]
    section = {
        "engine": "metadynamics",
        "time_step_fs": 1.0,
        "variables": [{"name": name, "hills": False} for name in names],
        "restraints": [{"variable": name, "at": 0.3, "kappa_eV": 2.0} for name in names],
    }
    bias = build_bias(TypeAdapter(BiasConfig).validate_python(section), variables, Frame.from_ase(crystal))
    result = check(bias, crystal)
    values = [result.extras[name] for name in names]
    np.testing.assert_allclose(values, variables["q"].compute(crystal).values, atol=1e-12)
    assert result.energy == pytest.approx(sum((value - 0.3) ** 2 for value in values))
    bias.close()


@pytest.mark.plumed
@pytest.mark.parametrize("kind", KINDS)
def test_plumed_behind_the_bias_driver(kind, crystal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    variables = variables_of(kind, crystal)
    names = variables["q"].outputs
    lines = [f"{name}: EXTRACV NAME=q_{name}" for name in names]
    lines += [
        f"RESTRAINT ARG={','.join(names)} AT={','.join(['0.3'] * len(names))} KAPPA={','.join(['2'] * len(names))}"
    ]
    (tmp_path / "plumed.dat").write_text("\n".join(["UNITS LENGTH=A ENERGY=eV", *lines]) + "\n")
    section = {"engine": "plumed", "plumed_dat": tmp_path / "plumed.dat", "time_step_fs": 1.0, "temperature_K": 300}
    bias = build_bias(TypeAdapter(BiasConfig).validate_python(section), variables, Frame.from_ase(crystal))
    check(bias, crystal)
    bias.close()
