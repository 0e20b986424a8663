"""Multithermal OPES: free energies of temperatures from a bias on the potential energy, its input, its file."""

import os

import numpy as np
import pydantic
import pytest
from bias_case import multithermal

from forceserver.bias.choice import build_bias
from forceserver.bias.energy import SharedPotential
from forceserver.bias.plumed.config import PlumedConfig
from forceserver.cv import build_variables, variable_section
from forceserver.errors import InputError
from forceserver.frame import Frame, Result
from forceserver.potentials.base import Potential
from forceserver.units import BOLTZMANN_EV_PER_K

KT = BOLTZMANN_EV_PER_K * 300


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Springs(Potential):
    """Every atom on a spring to the origin; `calls` counts."""

    calls = 0

    def compute_one(self, frame):
        self.calls += 1
        r = frame.positions
        return Result(1.5 * float(np.sum(r * r)), -3 * r, -3 * r.T @ r)


@pytest.fixture
def frame():
    rng = np.random.default_rng(3)
    return Frame(rng.normal(0, 0.1, (4, 3)), np.diag([4.0, 5, 6]), np.array([14] * 4), np.array([True] * 3))


def go(bias, energies):
    found = []
    for energy in energies:
        bias.advance([energy])
        found.append((bias.compute([energy])[0], *bias.compute([energy])[1]))
    return np.array(found)


def biased_energies(bias, freedoms, steps):
    """Metropolis in E with the density of n harmonic degrees of freedom, E^(n/2 - 1) exp(-(E + V(E)) / kT)."""
    rng, energy = np.random.default_rng(1), 0.5 * freedoms * KT

    def log_density(e):
        return (freedoms / 2 - 1) * np.log(e) - (e + bias.compute([e])[0]) / KT

    for _ in range(steps):
        for _ in range(5):
            new = energy + rng.normal(0, 0.15 * freedoms * KT)
            if new > 0 and np.log(rng.uniform()) < log_density(new) - log_density(energy):
                energy = new
        bias.advance([energy])


def test_free_energies_of_oscillators(tmp_path):
    """beta F = n/2 log(beta_k / beta), and all energies of the range are visited."""
    bias = multithermal(tmp_path, highest_K=600, temperatures=4, pace_steps=1, observations=50)
    biased_energies(bias, 10, 3000)
    bias.close()
    table = np.loadtxt(tmp_path / "DELTAFS")
    kelvin = np.geomspace(300, 600, 4)
    np.testing.assert_allclose(table[-1, 2:] / KT, 5 * np.log(300 / kelvin), atol=0.35)
    energies = np.loadtxt(tmp_path / "COLVAR")[500:, 1]
    assert np.mean(energies) > 6 * KT  # 5 kT without bias, 10 kT at 600 K
    reweighted = np.exp(np.loadtxt(tmp_path / "COLVAR")[500:, 2] / KT)
    assert np.average(energies, weights=reweighted) == pytest.approx(5 * KT, rel=0.1)
    hot = reweighted * np.exp((1 - 300 / 600) * energies / KT)
    assert np.average(energies, weights=hot) == pytest.approx(10 * KT, rel=0.1)


def test_the_force_is_the_derivative_of_the_bias(tmp_path):
    bias = multithermal(tmp_path)
    go(bias, np.linspace(0.1, 0.9, 60))
    for energy in (0.0, 0.3, 1.2):
        slope = (bias.compute([energy + 1e-5])[0] - bias.compute([energy - 1e-5])[0]) / 2e-5
        assert bias.compute([energy])[1][0] == pytest.approx(slope, abs=1e-8)
        assert slope > -1  # atoms are never pushed uphill


def test_a_restart_changes_nothing(tmp_path):
    """While energies without bias are collected, and after."""
    energies = np.random.default_rng(0).uniform(0.1, 0.8, 60)
    for name in "ab":
        (tmp_path / name).mkdir()
    quiet = multithermal(tmp_path / "a")
    expected = go(quiet, energies)
    quiet.close()
    for start, stop in ((0, 9), (9, 30), (30, 60)):
        bias = multithermal(tmp_path / "b")
        np.testing.assert_array_equal(go(bias, energies[start:stop]), expected[start:stop])
        bias.close()
    for name in ("DELTAFS", "COLVAR"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert abs(expected[-1, 0]) > 0.01


def test_estimates_of_other_temperatures_are_refused(tmp_path):
    bias = multithermal(tmp_path)
    go(bias, np.linspace(0.1, 0.9, 30))
    bias.close()
    with pytest.raises(InputError, match=r"DELTAFS has DeltaF_300 .*; change the temperatures back"):
        multithermal(tmp_path, highest_K=700)
    (tmp_path / "BIAS.clock").unlink()
    file = tmp_path / "DELTAFS"
    file.write_text(file.read_text().replace("print_stride 1", "print_stride 100"))
    with pytest.raises(InputError, match=r"no DELTAFS file with every estimate \(PRINT_STRIDE=1\)"):
        multithermal(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"highest_K": 250}, "highest_K = 250 must be above the lowest temperature, 300 K"),
        ({"highest_K": 0}, "greater than 0"),
        ({"temperatures": 1}, "greater than or equal to 2"),
        ({"observations": 1}, "greater than or equal to 2"),
        ({"variables": [{"name": "p"}]}, "acts on potential_energy alone"),
        ({"variables": [{"name": "potential_energy", "sigma": 0.1}]}, "neither kernels nor a grid"),
        ({"walkers": {"id": 0, "count": 2, "directory": "."}}, "walkers share hills or kernels"),
        (
            {"hills": {"height_eV": 1, "pace_steps": 1, "temperature_K": 300}},
            "one of hills, opes and multithermal",
        ),
    ],
)
def test_input_that_cannot_be(changes, message, tmp_path):
    with pytest.raises(pydantic.ValidationError, match=message):
        multithermal(tmp_path, **changes)


def test_atoms_feel_the_forces_times_the_derivative(tmp_path, frame):
    """And two drivers of one process compute each configuration once."""
    springs = Springs()
    shared = SharedPotential(springs)
    bias = build_bias(multithermal(tmp_path, open_it=False), {}, frame, lambda: shared)
    for _ in range(30):
        frame.positions = 1.02 * frame.positions
        result, plain = bias.compute_one(frame), shared.compute_one(frame)
    assert springs.calls == 31  # and once for the structure file
    energy, (slope,) = bias.bias.compute([plain.energy])
    assert slope < -1e-3
    assert result.energy == energy
    np.testing.assert_allclose(result.forces, slope * plain.forces, rtol=1e-12)
    np.testing.assert_allclose(result.virial, slope * plain.virial, rtol=1e-12)
    assert result.extras["potential_energy"] == plain.energy
    bias.close()


@pytest.mark.plumed
def test_plumed_knows_the_energy_as_a_variable(tmp_path, frame, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = "e: EXTRACV NAME=potential_energy\nRESTRAINT ARG=e AT=0.1 KAPPA=2\n"
    (tmp_path / "plumed.dat").write_text(f"UNITS LENGTH=A ENERGY=eV\n{line}")
    section = PlumedConfig(engine="plumed", plumed_dat=tmp_path / "plumed.dat", time_step_fs=1.0, temperature_K=300)
    bias = build_bias(section, {}, frame, Springs)
    result, plain = bias.compute_one(frame), Springs().compute_one(frame)
    bias.close()
    assert result.energy == pytest.approx((plain.energy - 0.1) ** 2, rel=1e-6)  # of the units of energy
    np.testing.assert_allclose(result.forces, 2 * (plain.energy - 0.1) * plain.forces, rtol=1e-6)
    np.testing.assert_allclose(result.virial, 2 * (plain.energy - 0.1) * plain.virial, rtol=1e-6, atol=1e-12)


def test_a_bias_on_the_energy_needs_a_potential(tmp_path, frame):
    section = multithermal(tmp_path, open_it=False)
    with pytest.raises(InputError, match=r"the energy of \[potential\], which this configuration does not have"):
        build_bias(section, {}, frame)
    keys = {"kind": "coordination", "centres": "Si", "neighbours": "Si"}
    switch = {"kind": "cubic", "d_max_angstrom": 3.0}
    variables = build_variables([variable_section({"name": "potential", "switch": switch, **keys})], frame)
    with pytest.raises(InputError, match=r"no \[\[cv\]\] may be called 'potential'"):
        build_bias(section, variables, frame, Springs)
