"""A small metadynamics, and a small OPES, for tests: two variables, the second periodic."""

from pathlib import Path

import numpy as np

from forceserver.bias.config import MetadynamicsConfig
from forceserver.bias.engine import BiasEngine

HILLS = {"height_eV": 0.05, "pace_steps": 3, "temperature_K": 300, "bias_factor": 8}
VARIABLES = (
    {"name": "p", "sigma": 0.2, "lower": -2, "upper": 2},
    {"name": "angle", "sigma": 0.3, "domain": ["-pi", "pi"]},
)

OPES = {"barrier_eV": 0.3, "pace_steps": 3, "temperature_K": 300, "adaptive_sigma_stride_steps": 7}
FREE = ({"name": "p"}, {"name": "angle", "domain": ["-pi", "pi"]})
"""Variables whose widths are measured."""


def section(folder: Path, **changes) -> MetadynamicsConfig:
    """Of a metadynamics; of an OPES if `opes` is among the changes."""
    if "opes" in changes:
        files = {"file": folder / "KERNELS", "state_file": folder / "STATE", "state_stride_steps": 5}
        changes["opes"] = {**OPES, **files, **changes["opes"]}
        kind = {"engine": "opes", "variables": FREE}
    else:
        hills = {**HILLS, "file": folder / "HILLS", **changes.pop("hills", {})}
        kind = {"engine": "metadynamics", "variables": VARIABLES, "hills": hills}
    settings = {
        **kind,
        "time_step_fs": 0.5,
        "clock_file": folder / "BIAS.clock",
        "colvar_file": folder / "COLVAR",
        "colvar_stride_steps": 2,
        **changes,
    }
    return MetadynamicsConfig(**settings)


def open_bias(folder: Path, **changes) -> BiasEngine:
    return section(folder, **changes).build()


def trajectory(steps: int, seed: int = 1, dim: int = 2) -> np.ndarray:
    """A walk within [-1.9, 1.9] that never stands still."""
    noise = np.random.default_rng(seed).normal(scale=0.08, size=(steps, dim))
    return 1.9 * np.sin(np.cumsum(noise, axis=0))


def multithermal(folder: Path, open_it: bool = True, **changes) -> MetadynamicsConfig | BiasEngine:
    """A multithermal OPES at 300 K, or its section; changes of its table, or of the section."""
    table = {"temperature_K": 300, "highest_K": 600, "temperatures": 4, "pace_steps": 2, "observations": 6}
    table |= {key: changes.pop(key) for key in [*changes] if key in table}
    settings = {
        "engine": "opes",
        "time_step_fs": 1.0,
        "variables": [{"name": "potential_energy"}],
        "multithermal": table | {"file": folder / "DELTAFS"},
        "clock_file": folder / "BIAS.clock",
        "colvar_file": folder / "COLVAR",
        "file_energy_unit": "eV",
        **changes,
    }
    section = MetadynamicsConfig(**settings)
    return section.build() if open_it else section
