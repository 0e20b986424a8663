"""Overdamped Langevin dynamics of a few variables under a known potential and the embedded bias."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from forceserver.bias.config import MetadynamicsConfig
from forceserver.units import BOLTZMANN_EV_PER_K

T = 300.0
KT = BOLTZMANN_EV_PER_K * T


def double_well(x, barrier=0.2, tilt=0.03):
    """A double well with minima near -1 and 1, the right one `2 tilt` higher; eV."""
    return barrier * (x**2 - 1) ** 2 + tilt * x


def double_well_slope(x, barrier=0.2, tilt=0.03):
    return 4 * barrier * x * (x**2 - 1) + tilt


def slope_2d(s):
    """Of double_well(x) + 0.4 (y - 0.5 x)^2."""
    x, y = s
    return np.array([double_well_slope(x) - 0.4 * (y - 0.5 * x), 0.8 * (y - 0.5 * x)])


def energy_2d(x, y):
    return double_well(x) + 0.4 * (y - 0.5 * x) ** 2


def sample(
    folder: Path,
    variables: list[dict],
    slope: Callable,
    steps: int,
    seed: int = 1,
    mobility_dt: float = 0.01,
    engine: str = "metadynamics",
    **keys,
) -> None:
    """Runs and leaves HILLS or KERNELS, and COLVAR (every 10th step), in the folder. keys: of the hills or the OPES."""
    table, file = {"metadynamics": ("hills", "HILLS"), "opes": ("opes", "KERNELS")}[engine]
    section = MetadynamicsConfig(
        engine=engine,
        time_step_fs=1.0,
        variables=variables,
        clock_file=folder / "BIAS.clock",
        colvar_file=folder / "COLVAR",
        colvar_stride_steps=10,
        **{table: {"temperature_K": T, "file": folder / file, **keys}},
    )
    bias = section.build()
    noise = np.random.default_rng(seed).normal(scale=np.sqrt(2 * KT * mobility_dt), size=(steps, len(variables)))
    s = np.full(len(variables), -0.9)
    for kick in noise:
        bias.advance(s)
        s = s - mobility_dt * (slope(s) + bias.compute(s)[1]) + kick
    bias.close()
