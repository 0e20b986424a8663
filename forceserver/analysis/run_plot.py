"""A picture of a run of i-PI: temperature and energies over time, from its properties file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.units import kB

from ..errors import InputError
from ..files import atomic_write

NEEDED = ("time", "temperature", "potential", "conserved")


@dataclass(frozen=True)
class Summary:
    """Averages over the second half of a run, when it has forgotten its start."""

    picoseconds: float
    temperature_kelvin: float
    temperature_error_kelvin: float
    """Standard error of the mean, from five blocks."""
    drift_mev_per_atom_ps: float
    """Slope of the conserved quantity."""


def plot_run(properties: Path, picture: Path, atoms: int, kelvin: float, title: str) -> Summary:
    """Draws temperature, potential and conserved energy into `picture` (PNG), and sums them up.

    properties: i-PI's file with the columns time{picosecond}, temperature{kelvin}, potential{electronvolt},
        conserved{electronvolt} among others. kelvin: the temperature of the ensemble.
    """
    from ipi import read_output
    from matplotlib.figure import Figure

    columns, _ = read_output(str(properties))
    if missing := [name for name in NEEDED if name not in columns]:
        raise InputError(f"{properties}: no column {', '.join(missing)}; a picture needs {', '.join(NEEDED)}")
    time, temperature, potential, conserved = (np.atleast_1d(columns[name]) for name in NEEDED)
    summary = _sum_up(time, temperature, 1e3 * conserved / atoms)

    figure = Figure(figsize=(7.0, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(time, temperature, linewidth=0.8)
    # canonical fluctuations of the kinetic temperature of 3 N degrees of freedom
    width = kelvin * np.sqrt(2 / (3 * atoms))
    above.axhspan(kelvin - width, kelvin + width, color="0.9", zorder=0)
    above.axhline(kelvin, color="0.5", linewidth=0.8)
    above.set(ylabel="temperature (K)", title=title)
    start = potential[0]
    below.plot(time, 1e3 * (potential - start) / atoms, linewidth=0.8, label="potential energy")
    below.plot(time, 1e3 * (conserved - start) / atoms, linewidth=1.2, label="conserved quantity")
    below.axhline(1.5e3 * kB * kelvin, color="0.5", linewidth=0.8, linestyle="--", label=r"$\frac{3}{2} k_B T$")
    below.set(xlabel="time (ps)", ylabel="energy from the start\n(meV per atom)")
    below.legend(fontsize="small")
    with atomic_write(picture) as part:
        figure.savefig(part, dpi=150)
    return summary


def _sum_up(time: np.ndarray, temperature: np.ndarray, conserved: np.ndarray) -> Summary:
    half = len(time) // 2
    blocks = [block.mean() for block in np.array_split(temperature[half:], min(5, max(len(time) - half, 1)))]
    slope = np.polyfit(time[half:], conserved[half:], 1)[0] if len(time) - half > 1 else 0.0
    return Summary(
        picoseconds=float(time[-1]),
        temperature_kelvin=float(np.mean(temperature[half:])),
        temperature_error_kelvin=float(np.std(blocks, ddof=1) / np.sqrt(len(blocks))) if len(blocks) > 1 else 0.0,
        drift_mev_per_atom_ps=float(slope),
    )
