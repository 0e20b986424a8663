"""Sparse kernel models: evaluation and training beside QUIP.

SOAP with n 8, l 6, cutoff 5 A (width 0.5 A), sigma 0.5 A, zeta 4, sparse points by CUR: 500 for copper (every third
training structure of `workflows/copper`, 88), 1000 for silicon (the 214 of `workflows/silicon`). Training: sigma 0.001
eV and 0.1 eV/A, with errors on the test structures of the same folder; CPU time and memory of the process as reported
by the operating system. Evaluation: energy, forces and virial of 500 atoms that move 0.001 A between calls; "stages"
are the parts of one call. QUIP comes from `pip install quippy-ase f90wrap`; it uses `OMP_NUM_THREADS` threads, which
should be 1. "QUIP's potential" is the one that `gap_fit` has made, read by forceserver.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forceserver import _ext
from forceserver.fit.config import FitConfig, load
from forceserver.frame import Frame
from forceserver.models.kernel import GapModel
from forceserver.potentials.gap import GapPotential
from forceserver.potentials.model import ModelPotential
from forceserver.potentials.model_files import load_potential

from .harness import Table, interleave

WORKFLOWS = Path(__file__).parents[1] / "workflows"


@dataclass(frozen=True)
class Material:
    """What is fitted. structures: which of the training structures; points: sparse points; cells: what is evaluated."""

    name: str
    folder: str
    symbol: str
    structures: str
    points: int
    cells: int

    def file(self, part: str) -> Path:
        return WORKFLOWS / self.folder / f"{self.symbol}_{part}.extxyz"


COPPER = Material("copper", "copper", "Cu", "::3", 500, 5)
SILICON = Material("silicon", "silicon", "Si", ":", 1000, 4)
SOAP = (
    "soap n_max=8 l_max=6 cutoff=5.0 cutoff_transition_width=0.5 atom_sigma=0.5 zeta=4 n_sparse={points} "
    "sparse_method=cur_points covariance_type=dot_product delta=3 add_species=T"
)
WANTED = ["energy", "forces", "stress"]


def crystal(symbol: str, cells: int):
    """A rattled crystal of cells^3 cubic cells."""
    from ase.build import bulk

    atoms = bulk(symbol, cubic=True).repeat(cells)
    atoms.rattle(0.05, seed=1)
    return atoms


def silicon(cells: int):
    """A rattled crystal of 8 cells^3 atoms."""
    return crystal("Si", cells)


def structures(folder: Path, material: Material, quick: bool) -> Path:
    """The training structures; every sixth if quick."""
    import ase.io

    path = folder / "train.extxyz"
    ase.io.write(path, ase.io.read(material.file("training"), "::6" if quick else material.structures))
    return path


def configuration(folder: Path, material: Material, train: Path) -> FitConfig:
    """That of the workflow, elsewhere."""
    content = load(WORKFLOWS / "silicon" / "gap_fit.toml").model_dump(mode="json")
    content["output"], content["report"] = str(folder / "model.npz"), None
    content["data"] |= {"train": str(train), "test": str(material.file("test"))}
    content["descriptors"][0]["n_sparse"] = material.points
    return FitConfig.model_validate(content)


def run(command: list[str], folder: Path) -> tuple[float, float]:
    """CPU seconds and largest memory (GB) of a process with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"benchmarks: {command[0]} failed with exit code {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024**2


def fit_ours(folder: Path, material: Material, train: Path) -> tuple[float, float]:
    """Training in a process of its own."""
    (folder / "fit.json").write_text(configuration(folder, material, train).model_dump_json())
    code = (
        "from forceserver.fit.config import FitConfig; from forceserver.fit.run import fit; "
        "fit(FitConfig.model_validate_json(open('fit.json').read()))"
    )
    return run([sys.executable, "-c", code], folder)


def fit_quip(folder: Path, material: Material, train: Path) -> tuple[float, float]:
    """The same by gap_fit."""
    import quippy

    program = str(Path(quippy.__file__).parent / "gap_fit")
    return run(
        [
            program, f"atoms_filename={train}", f"gap={{{SOAP.format(points=material.points)}}}",
            "default_sigma={0.001 0.1 0 0}",
            "e0_method=average", "energy_parameter_name=energy", "force_parameter_name=forces",
            "config_type_parameter_name=config_type", "sparse_jitter=1e-10", "do_copy_at_file=F",
            "gp_file=gp.xml",
        ],
        folder,
    )  # fmt: skip


def calculators(folder: Path) -> dict:
    """The fitted models, ready."""
    made = {"forceserver": GapPotential(GapModel.load(folder / "model.npz"))}
    if (folder / "gp.xml").exists():
        from quippy.potential import Potential

        made["QUIP"] = Potential(param_filename=str(folder / "gp.xml"))
    return made


def errors(material: Material, predict) -> tuple[float, float]:
    """RMSE on the test structures: meV/atom, eV/A."""
    import ase.io

    energies, forces = [], []
    for atoms in ase.io.read(material.file("test"), ":"):
        energy, force = predict(atoms)
        energies.append((energy - atoms.get_potential_energy()) / len(atoms))
        forces.append((force - atoms.get_forces()).ravel())
    return 1e3 * float(np.sqrt(np.mean(np.square(energies)))), float(np.sqrt(np.mean(np.concatenate(forces) ** 2)))


def of_quip(potential):
    def predict(atoms):
        atoms = atoms.copy()
        atoms.calc = potential
        return atoms.get_potential_energy(), atoms.get_forces()

    return predict


def of_ours(potential: ModelPotential):
    def predict(atoms):
        result = potential.compute_one(Frame.from_ase(atoms))
        return result.energy, result.forces

    return predict


def training(folder: Path, material: Material, quick: bool) -> Table:
    """CPU time, memory, errors."""
    train = structures(folder, material, quick)
    used = {"forceserver": fit_ours(folder, material, train)}
    note = ""
    try:
        import quippy  # noqa: F401 - whether it is there

        used["QUIP"] = fit_quip(folder, material, train)
    except ImportError:
        note = "Left out: QUIP (pip install quippy-ase f90wrap)."
    columns = ("", "CPU / s", "memory / GB", "test energies / meV/atom", "test forces / eV/A")
    title = f"Training, {material.name}, {material.points} sparse points{' (every sixth structure)' * quick}"
    table = Table(title, columns, note=note)
    made = calculators(folder)
    for name, (seconds, memory) in used.items():
        predict = of_quip(made[name]) if name == "QUIP" else of_ours(made[name])
        table.rows.append((name, seconds, memory, *errors(material, predict)))
    return table


def moving(compute, atoms):
    """Calls `compute` with positions that are new each time."""
    rng = np.random.default_rng(0)

    def call():
        atoms.positions += 0.001 * rng.normal(size=atoms.positions.shape)
        compute(atoms)

    return call


def evaluation(folder: Path, material: Material, quick: bool) -> Table:
    """Microseconds per atom."""
    made, atoms = calculators(folder), crystal(material.symbol, material.cells)

    def ours(threads: int, precision: str = "double"):
        _ext.cpu.set_threads(threads)  # work space is made for as many
        potential = GapPotential(GapModel.load(folder / "model.npz"), precision=precision)

        def compute(atoms):
            _ext.cpu.set_threads(threads)
            potential.compute_one(Frame.from_ase(atoms))

        return moving(compute, atoms.copy())

    contenders = {
        "forceserver, 1 thread": ours(1),
        "forceserver, single precision, 1 thread": ours(1, "single"),
        "forceserver, 2 threads": ours(2),
    }
    if "QUIP" in made:
        contenders["forceserver, QUIP's potential, 1 thread"] = read_from_quip(folder, atoms.copy())
        contenders["QUIP, 1 thread"] = moving(lambda moved: made["QUIP"].calculate(moved, WANTED), atoms.copy())
    timings = interleave(contenders, rounds=3 if quick else 9)
    title = f"Energy, forces and virial of {len(atoms)} atoms of {material.name}, microseconds per atom"
    table = Table(title, ("", "median", "best", "times faster"))
    slowest = timings.get("QUIP, 1 thread")
    for name, timing in timings.items():
        faster = slowest.median / timing.median if slowest else None
        table.rows.append((name, 1e6 * timing.median / len(atoms), 1e6 * timing.best / len(atoms), faster))
    return table


def read_from_quip(folder: Path, atoms):
    """Our evaluation of what `gap_fit` has made, on one thread."""
    _ext.cpu.set_threads(1)
    potential = load_potential(folder / "gp.xml")

    def compute(atoms):
        _ext.cpu.set_threads(1)
        potential.compute_one(Frame.from_ase(atoms))

    return moving(compute, atoms)


def agreement(folder: Path) -> Table:
    """How far our results are from QUIP's, for its potential."""
    import ase.io

    ours, theirs = of_ours(load_potential(folder / "gp.xml")), of_quip(calculators(folder)["QUIP"])
    energies, forces = [], []
    for atoms in ase.io.read(SILICON.file("test"), ":"):
        (energy, force), (other, expected) = ours(atoms), theirs(atoms)
        energies.append(abs(energy - other) / len(atoms))
        forces.append(np.abs(force - expected).max())
    columns = ("", "largest", "median")
    table = Table("QUIP's potential here and in QUIP: differences on the test structures", columns)
    for name, found in (("energy, eV/atom", energies), ("force, eV/A", forces)):
        table.rows.append((name, float(np.max(found)), float(np.median(found))))
    return table


def stages(folder: Path, quick: bool) -> Table:
    """The parts of one call."""
    potential, frame = GapPotential(GapModel.load(folder / "model.npz")), Frame.from_ase(silicon(4))
    potential.compute_one(frame)
    (term,) = potential._slots[0].terms
    ((species, kernel),) = potential._terms[0].kernels.items()
    part, spectrum, gradient = term.parts[species], term.describer, term.gradient
    features = spectrum.values()
    timings = interleave(
        {
            "neighbours (kept)": lambda: spectrum.expansion.neighbours.update(frame.positions, frame.cell),
            "expansion": spectrum.expansion.values,
            "expansion and power spectrum": spectrum.values,
            "kernel": lambda: kernel.evaluate(features[part], term.energies[part], gradient[part], term.members[part]),
            "expansion, backwards": lambda: spectrum.expansion.vjp(spectrum._gradient),
            "power spectrum and expansion, backwards": lambda: spectrum.vjp(gradient),
            "all": lambda: potential.compute_one(frame),
        },
        rounds=3 if quick else 9,
    )
    whole = timings["all"].best
    table = Table("Stages, one thread", ("", "microseconds per atom", "share"))
    for name, timing in timings.items():
        table.rows.append((name, 1e6 * timing.best / 512, f"{timing.best / whole:.0%}"))
    return table


def tables(quick: bool) -> Iterator[Table]:
    """Training, evaluation, stages."""
    threads = _ext.cpu.max_threads()
    with tempfile.TemporaryDirectory(prefix="fsgap-") as name:
        folder = Path(name)
        try:
            for material in (COPPER, SILICON):  # the stages are those of the last one
                yield training(folder, material, quick)
                yield evaluation(folder, material, quick)
            if (folder / "gp.xml").exists():
                yield agreement(folder)
            _ext.cpu.set_threads(1)
            yield stages(folder, quick)
        finally:
            _ext.cpu.set_threads(threads)
