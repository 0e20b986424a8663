"""Draws the figures of docs/metadynamics.md: `python docs/figures/metadynamics.py` (a minute).

Overdamped Langevin dynamics of two variables, V = 0.2 (x^2 - 1)^2 + 0.03 x + 0.4 (y - x/2)^2 eV at 300 K, both biased.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from forceserver.bias.config import MetadynamicsConfig
from forceserver.units import BOLTZMANN_EV_PER_K

HERE = Path(__file__).parent
STEPS, MOBILITY_DT = 300_000, 0.05


def slope(s):
    x, y = s
    return np.array([0.8 * x * (x * x - 1) + 0.03 - 0.4 * (y - x / 2), 0.8 * (y - x / 2)])


def simulate(folder: Path) -> None:
    variables = [{"name": name, "sigma": 0.15, "lower": -3, "upper": 3} for name in ("x", "y")]
    hills = {"height_eV": 0.02, "pace_steps": 100, "temperature_K": 300, "bias_factor": 10, "file": folder / "HILLS"}
    bias = MetadynamicsConfig(
        engine="metadynamics",
        time_step_fs=1.0,
        variables=variables,
        hills=hills,
        clock_file=folder / "BIAS.clock",
        colvar_file=folder / "COLVAR",
        colvar_stride_steps=10,
    ).build()
    spread = np.sqrt(2 * 300 * BOLTZMANN_EV_PER_K * MOBILITY_DT)
    kicks = np.random.default_rng(1).normal(scale=spread, size=(STEPS, 2))
    s = np.array([-1.0, -0.5])
    for kick in kicks:
        bias.advance(s)
        s = s - MOBILITY_DT * (slope(s) + bias.compute(s)[1]) + kick
    bias.close()


def main() -> None:
    os.fsync = lambda file: None  # three thousand hills of a figure need not outlive a power failure
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder)
        command = [
            sys.executable,
            "-m",
            "forceserver",
            "fes",
            "HILLS",
            "--colvar",
            "COLVAR",
            "-T",
            "300",
            "--skip",
            "20",
        ]
        subprocess.run(command, cwd=folder, check=True)
        shutil.copy(folder / "fes" / "fes_reweighting.png", HERE / "fes_map.png")
        shutil.copy(folder / "fes" / "convergence.png", HERE / "fes_convergence.png")
        subprocess.run([*command, "--project", "x"], cwd=folder, check=True)
        shutil.copy(folder / "fes" / "fes_reweighting.png", HERE / "fes_curve.png")


main()
