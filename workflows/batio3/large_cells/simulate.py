"""Runs npt.lmp for each size and temperature, one after the other; goes on after an interruption.

python simulate.py [--ranks 2] [--steps 6700] [--runs runs] [--only 6_185]
"""

import argparse
import os
import shutil
import subprocess
from pathlib import Path

import ase.io

HERE = Path(__file__).parent
SIZES = (4, 6, 8)
KELVIN = (48, 74, 98, 130, 185, 215)
"""Two on either side of each transition of 4x4x4 cells (../npt): R-O, O-T, T-C."""
HIGHER = {8: (235, 255)}
"""More for those sizes that are not cubic at 215 K yet."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=2, help="of LAMMPS")
    parser.add_argument("--steps", type=int, default=6700, help="of each simulation, 3 fs each")
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    parser.add_argument("--only", help="one of them, as size_kelvin")
    return parser.parse_args()


def prepare(runs: Path) -> None:
    """Plugin, model with tables and structure, once for all."""
    runs.mkdir(parents=True, exist_ok=True)
    if not (runs / "forceserverplugin.so").exists():
        subprocess.run(["forceserver", "lammps", "build", "-o", runs / "forceserverplugin.so"], check=True)
    if not (runs / "batio3.npz").exists():
        model = HERE.parent / "potential" / "batio3.npz"
        subprocess.run(["forceserver", "lammps", "export", model, "-o", runs / "batio3.npz"], check=True)
    start = ase.io.read(HERE.parent / "structures" / "rhombohedral_2.extxyz")
    ase.io.write(runs / "rhombohedral_2.data", start, format="lammps-data", specorder=["Ba", "Ti", "O"], masses=True)


def newest_restart(folder: Path) -> Path | None:
    files = sorted(folder.glob("run.restart.?"), key=lambda path: path.stat().st_mtime)
    return files[-1] if files else None


def simulate(folder: Path, size: int, kelvin: int, ranks: int, steps: int) -> None:
    """One simulation to its end, from its newest restart file if there is one."""
    folder.mkdir(exist_ok=True)
    for name in ("forceserverplugin.so", "batio3.npz", "rhombohedral_2.data"):
        if not (folder / name).exists():
            (folder / name).symlink_to(Path("..") / name)
    shutil.copy(HERE / "npt.lmp", folder)
    command = ["lmp", "-in", "npt.lmp", "-log", "log.lammps", "-screen", "none"]
    command += ["-var", "half", str(size // 2), "-var", "kelvin", str(kelvin), "-var", "steps", str(steps)]
    before = newest_restart(folder)
    if before:
        command += ["-var", "begun", "1", "-var", "from", before.name]
        (folder / "log.lammps").rename(folder / f"log.{before.stat().st_mtime_ns}")
    if ranks > 1:
        command = ["mpirun", "-n", str(ranks), *command]
    subprocess.run(command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)


def temperatures(size: int) -> tuple[int, ...]:
    return KELVIN + HIGHER.get(size, ())


def main() -> None:
    wanted = arguments()
    prepare(wanted.runs)
    for size in SIZES:
        for kelvin in temperatures(size):
            name = f"{size}_{kelvin}"
            if wanted.only in (None, name) and not (wanted.runs / name / "end.restart").exists():
                print(f"{size}x{size}x{size} cells, {kelvin} K", flush=True)
                simulate(wanted.runs / name, size, kelvin, wanted.ranks, wanted.steps)


if __name__ == "__main__":
    main()
