"""Runs PLUMED's OPES_METAD and OPES_METAD_EXPLORE on given CV values.

python tests/peers/plumed_opes.py        regenerates tests/peers/data/opes_*.npz (needs the PLUMED kernel)
"""

import tempfile
from pathlib import Path

import numpy as np
from plumed_metad import DATA, KT, Case, run

from forceserver.bias.config import MetadynamicsConfig
from forceserver.units import BOLTZMANN_EV_PER_K

PRINT = "PRINT ARG=o.bias,o.rct,o.zed,o.neff,o.nker FILE={folder}/COLVAR FMT=%.16g"
STORED = 10
"""Steps between those whose bias is stored."""
FILES = "FILE={folder}/KERNELS STATE_WFILE={folder}/STATE STATE_WSTRIDE=500"


def case(names: str, periodic: str, action: str, keywords: str, seed: int, steps: int = 2001) -> Case:
    variables = tuple(names)
    line = f"o: {action} ARG={','.join(variables)} {keywords} {FILES}"
    return Case(variables, tuple(periodic), (line, PRINT), steps, seed)


CASES = {
    "opes_1d": case("a", "", "OPES_METAD", "PACE=5 BARRIER=0.3", 11),
    "opes_2d": case("ab", "b", "OPES_METAD", "PACE=4 BARRIER=0.4 BIASFACTOR=8 SIGMA=0.15,0.2 SIGMA_MIN=0.05,0.08", 12),
    "opes_3d": case("abc", "c", "OPES_METAD", "PACE=2 BARRIER=0.5 ADAPTIVE_SIGMA_STRIDE=60 SIGMA_MIN=0.1,0.1,0.1", 13),
    "opes_flat": case(
        "ab",
        "",
        "OPES_METAD",
        "PACE=3 BARRIER=0.3 BIASFACTOR=inf SIGMA=0.2,0.2 FIXED_SIGMA EPSILON=1e-5 KERNEL_CUTOFF=5 "
        "COMPRESSION_THRESHOLD=0.7",
        14,
    ),
    "opes_explore": case("ab", "b", "OPES_METAD_EXPLORE", "PACE=4 BARRIER=0.3", 15),
    "opes_explore_fixed": case("a", "a", "OPES_METAD_EXPLORE", "PACE=2 BARRIER=0.3 BIASFACTOR=5 SIGMA=0.1", 16),
}

EMBEDDED = {
    "opes_1d": {"pace_steps": 5, "barrier_eV": 0.3},
    "opes_2d": {
        "pace_steps": 4,
        "barrier_eV": 0.4,
        "bias_factor": 8,
        "sigma": [0.15, 0.2],
        "sigma_min": [0.05, 0.08],
    },
    "opes_3d": {
        "pace_steps": 2,
        "barrier_eV": 0.5,
        "adaptive_sigma_stride_steps": 60,
        "sigma_min": [0.1, 0.1, 0.1],
    },
    "opes_flat": {
        "pace_steps": 3,
        "barrier_eV": 0.3,
        "bias_factor": "inf",
        "sigma": [0.2, 0.2],
        "fixed_sigma": True,
        "epsilon": 1e-5,
        "kernel_cutoff": 5,
        "compression_threshold": 0.7,
    },
    "opes_explore": {"pace_steps": 4, "barrier_eV": 0.3, "explore": True},
    "opes_explore_fixed": {
        "pace_steps": 2,
        "barrier_eV": 0.3,
        "bias_factor": 5,
        "sigma": [0.1],
        "explore": True,
    },
}


THEIR_KELVIN = KT / 0.0083144621
"""The temperature of PLUMED, whose unit of energy is kJ/mol here, with its Boltzmann constant."""
MULTITHERMAL = Case(
    ("a",),
    (),
    (
        f"e: ECV_MULTITHERMAL ARG=a TEMP_MAX={2 * THEIR_KELVIN!r} TEMP_STEPS=6",
        "o: OPES_EXPANDED ARG=e.a PACE=4 OBSERVATION_STEPS=20 PRINT_STRIDE=1 FILE={folder}/DELTAFS FMT=%.17g",
    ),
    2001,
    21,
)
"""The values are energies from -60 to 60 kT."""


def multithermal(folder: Path) -> MetadynamicsConfig:
    """The same of the embedded engine."""
    kelvin = KT / BOLTZMANN_EV_PER_K
    table = {"temperature_K": kelvin, "highest_K": 2 * kelvin, "temperatures": 6, "pace_steps": 4, "observations": 20}
    return MetadynamicsConfig(
        engine="opes",
        time_step_fs=1.0,
        variables=[{"name": "potential_energy"}],
        multithermal=table | {"file": folder / "DELTAFS"},
        clock_file=folder / "BIAS.clock",
        colvar_file=None,
    )


def multithermal_output(folder: Path) -> dict[str, np.ndarray]:
    """Bias (steps,), gradient (steps, 1), and DELTAFS as text."""
    return run(MULTITHERMAL, folder) | {"DELTAFS": np.array((folder / "DELTAFS").read_text())}


def section(name: str, folder: Path) -> MetadynamicsConfig:
    """The same of the embedded engine."""
    case, opes = CASES[name], dict(EMBEDDED[name])
    variables = [{"name": v, **({"domain": ["-pi", "pi"]} if v in case.periodic else {})} for v in case.names]
    for key in "sigma", "sigma_min":
        for variable, number in zip(variables, opes.pop(key, [None] * len(variables)), strict=True):
            variable[key] = number
    files = {"file": folder / "KERNELS", "state_file": folder / "STATE", "state_stride_steps": 500}
    return MetadynamicsConfig(
        engine="opes",
        time_step_fs=1.0,
        variables=variables,
        opes={"temperature_K": KT / BOLTZMANN_EV_PER_K, **files, **opes},
        clock_file=folder / "BIAS.clock",
        colvar_file=folder / "COLVAR",
        file_energy_unit="eV",
    )


def output(name: str, folder: Path) -> dict[str, np.ndarray]:
    """Bias (steps,), gradient (steps, d), and the files as text."""
    found = run(CASES[name], folder)
    return found | {file: np.array((folder / file).read_text()) for file in ("KERNELS", "STATE", "COLVAR")}


def main() -> None:
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            found = output(name, Path(folder))
        found |= {key: found[key][::STORED] for key in ("bias", "gradient")}
        del found["COLVAR"], found["STATE"]
        np.savez_compressed(DATA / f"{name}.npz", **found)
    with tempfile.TemporaryDirectory() as folder:
        found = multithermal_output(Path(folder))
    found |= {key: found[key][::STORED] for key in ("bias", "gradient")}
    np.savez_compressed(DATA / "opes_multithermal.npz", **found)


if __name__ == "__main__":
    main()


def followed(bias, trajectory):
    """Biases and gradients of an embedded bias along a trajectory."""
    found = []
    for s in trajectory:
        bias.advance(s)
        found.append(bias.compute(s))
    return np.array([energy for energy, _ in found]), np.array([gradient for _, gradient in found])
