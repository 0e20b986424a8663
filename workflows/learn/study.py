"""Silicon carbide from 20 structures, by `forceserver learn` and by frames drawn at random.

touch start.extxyz test.extxyz sic.extxyz
python study.py start       the 20 structures, the crystal, and held-out frames of molecular dynamics
forceserver learn learn.toml
python study.py random      models of random frames of whole simulations at these temperatures
python study.py report      results.json, results.png
"""

import json
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import ase.io
import numpy as np
from ase import units
from ase.build import bulk
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from forceserver.ase_calculator import ForceServerCalculator
from forceserver.fit.config import DataConfig, FitConfig
from forceserver.fit.labels import Labels
from forceserver.fit.run import fit
from forceserver.frame import Frame
from forceserver.learn.config import LearnConfig, load
from forceserver.learn.start import stripped, with_labels
from forceserver.potentials import build_potential
from forceserver.potentials.base import Potential
from forceserver.potentials.model_files import load_model, potential_of

HERE = Path(__file__).parent
LATTICE = 4.36  # Angstrom
KELVIN = (300, 1000, 2000)
SIZES, REPEATS = (4, 8, 16, 32, 64), 2


def crystal() -> ase.Atoms:
    return bulk("SiC", "zincblende", a=LATTICE, cubic=True) * (2, 2, 1)


def start(config: LearnConfig) -> None:
    """Hardly strained and displaced crystals, and frames of molecular dynamics with the reference itself."""
    random = np.random.default_rng(0)
    structures = []
    for seed in range(20):
        atoms = crystal()
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.005 * random.standard_normal((3, 3))), scale_atoms=True)
        atoms.rattle(0.01 + 0.01 * random.random(), seed=seed)
        structures.append(atoms)
    ase.io.write(HERE / "start.extxyz", structures)
    crystal().write(HERE / "sic.extxyz")
    reference = build_potential(config.reference, Frame.from_ase(crystal()))
    ase.io.write(HERE / "test.extxyz", dynamics_of_crystal(reference, frames=10, every=50, seed=0))


def dynamics_of_crystal(reference: Potential, frames: int, every: int, seed: int) -> list[ase.Atoms]:
    runs = (dynamics(crystal(), reference, kelvin, f"{kelvin} K", frames, every, 200, seed) for kelvin in KELVIN)
    return list(chain.from_iterable(runs))


def dynamics(
    atoms: ase.Atoms,
    reference: Potential,
    kelvin: float,
    kind: str,
    frames: int,
    every: int,
    skip: int,
    seed: int,
    step_fs: float = 1.0,
) -> Iterator[ase.Atoms]:
    """Frames at constant temperature, `every` so many steps after the first `skip`, with labels and `config_type`."""
    random = np.random.default_rng([int(kelvin), seed])
    atoms.calc = ForceServerCalculator(reference)
    MaxwellBoltzmannDistribution(atoms, temperature_K=kelvin, rng=random)
    run = Langevin(atoms, step_fs * units.fs, temperature_K=kelvin, friction=0.02 / units.fs, rng=random, fixcm=False)
    run.run(skip)
    for _ in range(frames):
        run.run(every)
        yield labelled(stripped(atoms, kind), reference)


def labelled(atoms: ase.Atoms, reference: Potential) -> ase.Atoms:
    result = reference.compute_one(Frame.from_ase(atoms))
    return with_labels(atoms, Labels(result.energy, result.forces, result.virial))


def at_random(config: LearnConfig) -> None:
    """Models of the start and of random frames of whole simulations with the reference itself."""
    reference = build_potential(config.reference, Frame.from_ase(crystal()))
    frames = dynamics_of_crystal(reference, frames=30, every=25, seed=1)
    begin = ase.io.read(config.folder / "round-000" / "train.extxyz", ":")
    found: dict[str, list[float]] = {}
    (HERE / "random").mkdir(exist_ok=True)
    for size in SIZES:
        for repeat in range(REPEATS):
            drawn = np.random.default_rng([size, repeat]).choice(len(frames), size, replace=False)
            ase.io.write(HERE / "random" / "train.extxyz", [*begin, *(frames[k] for k in drawn)])
            found.setdefault(str(size), []).append(worst(model_of(config, HERE / "random" / "train.extxyz")))
            (HERE / "random.json").write_text(json.dumps(found) + "\n")


def model_of(config: LearnConfig, train: Path) -> Path:
    path = train.with_suffix(".npz")
    fit(FitConfig.of(config.fit, output=path, data=DataConfig(train=train)))
    return path


def errors_of(model: Path, test: Path) -> dict[str, float]:
    """Root-mean-square errors of the force components of the held-out frames of each kind, eV/Angstrom."""
    potential = potential_of(load_model(model))
    squares: dict[str, list[float]] = {}
    for atoms in ase.io.read(test, ":"):
        errors = potential.compute_one(Frame.from_ase(atoms)).forces - atoms.arrays["REF_forces"]
        squares.setdefault(atoms.info["config_type"], []).append(float(np.mean(errors**2)))
    return {kind: float(np.sqrt(np.mean(group))) for kind, group in squares.items()}


def worst(model: Path) -> float:
    """The error at the temperature at which it is largest."""
    return max(errors_of(model, HERE / "test.extxyz").values())


def report(config: LearnConfig) -> None:
    """Numbers and a picture of both."""
    from matplotlib.figure import Figure

    learned = [
        (record["references"] - 20, worst(config.folder / f"round-{record['round']:03d}" / "model.npz"))
        for record in json.loads((config.folder / "history.json").read_text())
    ]
    random = {int(size): values for size, values in json.loads((HERE / "random.json").read_text()).items()}
    (HERE / "results.json").write_text(json.dumps({"learned": learned, "random": random}, indent=1) + "\n")
    axes = (figure := Figure(figsize=(5, 3.8), layout="constrained")).subplots()
    axes.semilogy(*zip(*learned, strict=True), "o-", label="forceserver learn")
    mean = [float(np.mean(values)) for values in random.values()]
    axes.semilogy([0, *random], [learned[0][1], *mean], "s--", label="random frames")
    for size, values in random.items():
        axes.semilogy([size] * len(values), values, ".", color="C1")
    axes.axhline(0.1, color="grey", linewidth=1)
    axes.set(xlabel="reference calculations beyond the first 20", ylabel="RMSE of forces, worst temperature (eV/Å)")
    axes.legend()
    figure.savefig(HERE / "results.png", dpi=150)


if __name__ == "__main__":
    {"start": start, "random": at_random, "report": report}[sys.argv[1]](load(HERE / "learn.toml"))
