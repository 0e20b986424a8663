"""Fits the models of this folder, runs the simulation with that of ace.toml, and prints what came out."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from forceserver.files import write_json

HERE = Path(__file__).parent


def forceserver(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "forceserver", *arguments], cwd=HERE, check=True)


def fits() -> None:
    """Fits, and keeps the errors on the test structures in errors.json."""
    kept = {}
    for name in ("ace", "ace_chosen", "ace_wide", "ace_angular", "ace_nonlinear"):
        forceserver("fit", f"{name}.toml")
        kept[name] = json.loads((HERE / "results" / name / "errors.json").read_text())["test"]["(all)"]
        print(f"{name}: {kept[name]}")
    write_json(HERE / "errors.json", kept)


def drift() -> str:
    """Of the conserved energy that i-PI has written, after the first tenth."""
    columns = np.loadtxt(HERE / "nve.out")
    time, temperature, conserved = columns[len(columns) // 10 :, [1, 2, 4]].T
    slope = 1e3 * np.polyfit(time, conserved, 1)[0] / 108
    return (
        f"NVE, {temperature.mean():.0f} K, {time[-1]:.0f} ps: drift {slope:.2e} meV/atom/ps, fluctuation "
        f"{1e3 * conserved.std() / 108:.3f} meV/atom"
    )


if __name__ == "__main__":
    fits()
    if "--fits" not in sys.argv[1:]:
        forceserver("launch", "nve.toml", "--threads", "1")
        print(drift())
