"""Compares the model of this folder with the calculations that it stands for: `python validate.py [--model FILE]`.

Writes results/validation.json, phases.extxyz, wells.png and phonons.png: errors by group of structures, double wells,
relaxed phases, phonons. The functions are used by the tests, too.
"""

import argparse
import hashlib
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from forceserver.ase_calculator import ForceServerCalculator
from forceserver.files import atomic_write, write_json
from forceserver.fit import data as labelled_data
from forceserver.fit import report
from forceserver.fit.config import DataConfig
from forceserver.models.kernel import GapModel

HERE = Path(__file__).parent
MODEL = HERE / "batio3.npz"
REFERENCE = HERE / "results" / "phases_pbesol.extxyz"
DATA = HERE.parent / "data"
DIRECTIONS = {"001": (0, 0, 1), "011": (0, 1, 1), "111": (1, 1, 1)}
PHASES = {"cubic": (0, 0, 0), "tetragonal": (0, 0, 1), "orthorhombic": (0, 1, 1), "rhombohedral": (1, 1, 1)}
POINTS = {"G": (0, 0, 0), "X": (0.5, 0, 0), "M": (0.5, 0.5, 0), "R": (0.5, 0.5, 0.5)}
PATH = "GXMGRX"  # of the picture
CELLS = 6  # of the supercell of phonons, in each direction: half of it is longer than twice the cutoff
PER_CM = 8065.543937  # of an eV

sys.path.insert(0, str(DATA))
from generate import perovskite, soft_mode  # noqa: E402


def structures() -> list[Atoms]:
    return read(DATA / "train.extxyz", ":") + read(DATA / "test.extxyz", ":")


def unit_cell(a: float, displacement: np.ndarray = np.zeros(3)) -> Atoms:
    """Five atoms; the local mode is displaced by `displacement` (Angstrom)."""
    atoms, _ = perovskite(np.eye(3, dtype=int), a * np.eye(3))
    atoms.positions += soft_mode(displacement)
    return atoms


# ----------------------------------------------------------------- errors
def errors(model: GapModel) -> dict[str, dict]:
    """RMSE by set and group, from both files."""
    sets = {}
    for name in ("train", "test"):
        path = DATA / f"{name}.extxyz"
        sets[name] = labelled_data.read(path, DataConfig(train=path))
    return {name: report.errors(report.compare(model, data)) for name, data in sets.items()}


# ----------------------------------------------------------------- double wells
def wells(calculator: ForceServerCalculator) -> dict[str, dict]:
    """Energies (meV per formula unit) along three directions at a fixed cubic cell, model and reference."""
    labelled = structures()
    cubic = next(a for a in labelled if a.info.get("scan_a") == 3.99)
    zero_reference, zero = cubic.get_potential_energy(), energy(cubic, calculator)
    found = {}
    for name, direction in DIRECTIONS.items():
        unit = np.array(direction) / np.linalg.norm(direction)
        line = sorted(
            (a for a in labelled if a.info["config_type"] == f"line_{name}"), key=lambda a: a.info["scan_amplitude"]
        )
        amplitudes = np.array([0.0] + [a.info["scan_amplitude"] for a in line])
        reference = 1e3 * np.array([0.0] + [a.get_potential_energy() - zero_reference for a in line])
        fine = np.linspace(0, 0.28, 141)
        curve = 1e3 * np.array([energy(unit_cell(3.99, s * unit), calculator) - zero for s in fine])
        found[name] = {
            "depth": float(curve.min()),
            "amplitude": float(fine[curve.argmin()]),
            **dict(zip(("reference_depth", "reference_amplitude"), minimum(amplitudes, reference), strict=True)),
            "points": {"amplitude": amplitudes.tolist(), "reference": reference.tolist()},
            "curve": {"amplitude": fine.tolist(), "model": curve.tolist()},
        }
    return found


def minimum(amplitudes: np.ndarray, energies: np.ndarray) -> tuple[float, float]:
    """Depth and amplitude of the well: least squares of an even polynomial of sixth order up to 0.22 Angstrom."""
    inside = amplitudes <= 0.221
    powers = amplitudes[inside, None] ** np.array([2, 4, 6])
    coefficients = np.linalg.lstsq(powers, energies[inside], rcond=None)[0]
    fine = np.linspace(0, 0.22, 441)
    curve = fine[:, None] ** np.array([2, 4, 6]) @ coefficients
    return float(curve.min()), float(fine[curve.argmin()])


def energy(atoms: Atoms, calculator: ForceServerCalculator) -> float:
    return calculator.get_potential_energy(atoms.copy())


# ----------------------------------------------------------------- phases
def relax(direction: tuple[int, int, int], calculator: ForceServerCalculator) -> Atoms:
    """The phase polarised along this direction: atoms and cell at rest. Its symmetry is that of the start."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import LBFGS

    length = np.linalg.norm(direction) or 1.0
    atoms = unit_cell(3.99, 0.12 * np.array(direction) / length)
    atoms.calc = calculator
    if not LBFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-4, steps=1000):
        raise RuntimeError(f"the phase along {direction} does not come to rest")
    return atoms


def phases(calculator: ForceServerCalculator) -> dict[str, Atoms]:
    """The phases at rest, with energy, forces and stress of the model."""
    found = {}
    for name, direction in PHASES.items():
        atoms = relax(direction, calculator)
        found[name] = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
        found[name].info = {"phase": name, "cell_kind": "P"}
        results = {key: atoms.calc.results[key] for key in ("energy", "forces", "stress")}
        found[name].calc = SinglePointCalculator(found[name], **results)
    return found


def describe(found: dict[str, Atoms], reference: dict[str, Atoms]) -> dict[str, dict]:
    """Pseudo-cubic cells (Angstrom, degrees), energies below the cubic phase (meV per formula unit).

    Where `reference` holds calculations of these very structures (see `reference_phases.py`), also their energies and
    how far they are from rest: the largest force (eV/Angstrom) and stress (GPa).
    """
    table = {}
    for name, atoms in found.items():
        table[name] = {
            "lengths": atoms.cell.lengths().round(5).tolist(),
            "angles": atoms.cell.angles().round(4).tolist(),
            "volume": round(float(atoms.get_volume()), 4),
            "below_cubic": below_cubic(found, name),
        }
        if all(phase in reference and same_structure(reference[phase], found[phase]) for phase in ("cubic", name)):
            table[name] |= {
                "below_cubic_pbesol": below_cubic(reference, name),
                "largest_force_pbesol": round(float(abs(reference[name].get_forces()).max()), 4),
                "largest_stress_pbesol": round(float(abs(reference[name].get_stress()).max() / units.GPa), 3),
            }
    return table


def below_cubic(phases: dict[str, Atoms], name: str) -> float:
    return round(1e3 * (phases["cubic"].get_potential_energy() - phases[name].get_potential_energy()), 3)


def same_structure(a: Atoms, b: Atoms) -> bool:
    return np.allclose(a.positions, b.positions, atol=1e-3) and np.allclose(a.cell, b.cell, atol=1e-3)


# ----------------------------------------------------------------- phonons
def phonons(atoms: Atoms, calculator: ForceServerCalculator, q: np.ndarray) -> np.ndarray:
    """Wave numbers (n, 15) in 1/cm, imaginary ones negative, for q (n, 3); no splitting of LO and TO."""
    from ase.phonons import Phonons

    atoms = atoms.copy()
    with tempfile.TemporaryDirectory() as folder:
        calculation = Phonons(atoms, calculator, supercell=(CELLS,) * 3, delta=0.01, name=f"{folder}/phonon")
        calculation.run()
        calculation.read(acoustic=True, symmetrize=5)
    return PER_CM * calculation.band_structure(np.asarray(q, dtype=float), verbose=False)


def mesh() -> np.ndarray:
    """All q that fit into the supercell."""
    axis = np.arange(CELLS) / CELLS
    return np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)


# ----------------------------------------------------------------- heat
def thermal_run(calculator: ForceServerCalculator, temperature: float, picoseconds: float, seed: int = 1) -> Atoms:
    """A 2x2x2 cell after molecular dynamics at this temperature (K) and no pressure, all cell vectors free.

    Ends early when a cell vector leaves 3.8 to 4.3 Angstrom of a primitive cell.
    """
    from ase.md.langevin import Langevin
    from ase.md.nose_hoover_chain import MTKNPT

    rng, step = np.random.default_rng(seed), 2 * units.fs
    atoms = unit_cell(4.01).repeat(2)
    atoms.calc = calculator
    heating = Langevin(atoms, step, temperature_K=temperature, friction=0.02 / units.fs, rng=rng, fixcm=False)
    heating.run(250)
    atoms.set_momenta(atoms.get_momenta() - atoms.get_momenta().mean(axis=0))
    sampling = MTKNPT(atoms, step, temperature, 0.0, tdamp=100 * units.fs, pdamp=1000 * units.fs)
    for _ in range(round(picoseconds * 50)):
        sampling.run(10)
        lengths = atoms.cell.lengths() / 2
        if lengths.min() < 3.8 or lengths.max() > 4.3:
            break
    return atoms


# ----------------------------------------------------------------- pictures
def plot_wells(path: Path, found: dict[str, dict]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for colour, (name, well) in zip(("C0", "C1", "C2"), found.items(), strict=True):
        axes.plot(well["curve"]["amplitude"], well["curve"]["model"], color=colour, label=f"[{name}]")
        axes.plot(well["points"]["amplitude"], well["points"]["reference"], "o", color=colour)
    axes.set(xlim=(0, 0.24), ylim=(-18, 25), xlabel="amplitude of the local mode (Å)", ylabel="energy (meV / f.u.)")
    axes.axhline(0, color="0.8", zorder=0)
    axes.legend(title="line: model, points: PBEsol")
    with atomic_write(path) as part:
        figure.savefig(part, dpi=150, format="png")


def plot_phonons(path: Path, cubic: Atoms, rhombohedral: Atoms, calculator: ForceServerCalculator) -> None:
    from matplotlib.figure import Figure

    steps = 24
    corners = [np.array(POINTS[point]) for point in PATH]
    q = np.concatenate([a + (b - a) * np.linspace(0, 1, steps)[:, None] for a, b in pairwise(corners)])
    x = np.concatenate([k + np.linspace(0, 1, steps) for k in range(len(PATH) - 1)])
    figure = Figure(figsize=(8.2, 3.8), layout="constrained")
    for axes, atoms, title in zip(
        figure.subplots(1, 2, sharey=True), (cubic, rhombohedral), ("cubic", "rhombohedral"), strict=True
    ):
        axes.plot(x, phonons(atoms, calculator, q), color="C0", lw=1)
        axes.set_xticks(range(len(PATH)), ["Γ" if point == "G" else point for point in PATH])
        axes.axhline(0, color="0.6", lw=0.8)
        axes.set(title=title, xlim=(0, len(PATH) - 1))
        axes.grid(axis="x")
    figure.axes[0].set_ylabel("wave number (1/cm), imaginary: negative")
    with atomic_write(path) as part:
        figure.savefig(part, dpi=150, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    folder = arguments.results
    folder.mkdir(exist_ok=True)
    model = GapModel.load(arguments.model)
    calculator = ForceServerCalculator.from_model(arguments.model)
    found = {"model_sha256": hashlib.sha256(arguments.model.read_bytes()).hexdigest(), "errors": errors(model)}
    for name, group in found["errors"]["test"].items():
        print(f"test, {name:15s}", ", ".join(f"{quantity} {value:.3g}" for quantity, value in group.items()))
    found["wells"] = wells(calculator)
    for name, well in found["wells"].items():
        print(
            f"[{name}] {well['depth']:.2f} meV at {well['amplitude']:.3f} A; reference {well['reference_depth']:.2f} "
            f"at {well['reference_amplitude']:.3f}"
        )
    plot_wells(folder / "wells.png", found["wells"])
    at_rest = phases(calculator)
    with atomic_write(folder / "phases.extxyz") as part:
        write(part, list(at_rest.values()), format="extxyz")
    found["phases"] = describe(
        at_rest, {a.info["phase"]: a for a in read(REFERENCE, ":")} if REFERENCE.exists() else {}
    )
    for name, phase in found["phases"].items():
        print(f"{name:13s} {phase}")
    cubic, rhombohedral = at_rest["cubic"], at_rest["rhombohedral"]
    points = phonons(cubic, calculator, np.array(list(POINTS.values())))
    found["phonons"] = {
        "cubic": {point: row.round(2).tolist() for point, row in zip(POINTS, points, strict=True)},
        "rhombohedral_lowest": round(float(phonons(rhombohedral, calculator, mesh()[1:]).min()), 2),
        "rhombohedral_gamma": phonons(rhombohedral, calculator, np.zeros((1, 3)))[0].round(2).tolist(),
    }
    for point, row in found["phonons"]["cubic"].items():
        print(f"cubic, {point}: {row}")
    print(f"rhombohedral, Gamma: {found['phonons']['rhombohedral_gamma']}")
    print(f"rhombohedral, lowest of the others on the mesh: {found['phonons']['rhombohedral_lowest']}")
    hot = thermal_run(calculator, 500, 20)
    found["cell_after_20_ps_at_500_K"] = (hot.cell.array / 2).round(3).tolist()
    print(f"a 2x2x2 cell after 20 ps at 500 K and no pressure, halved: {hot.cell.cellpar()[:3] / 2}")
    plot_phonons(folder / "phonons.png", cubic, rhombohedral, calculator)
    write_json(folder / "validation.json", found)


if __name__ == "__main__":
    main()
