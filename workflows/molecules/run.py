"""Cluster expansions of small molecules, of energies only: python run.py small_molecules-1000.extxyz

800 molecules are fitted, 200 predicted (shuffled with seed 0). Learning curves and errors go to results/.
"""

import sys
from pathlib import Path

import ase.io
import numpy as np

from forceserver.analysis.parity import ENERGY, TOTAL
from forceserver.files import write_json
from forceserver.fit.config import AceDescriptor, FitConfig, load
from forceserver.fit.data import Labelled
from forceserver.fit.progress import silent
from forceserver.fit.report import compare
from forceserver.fit.run import fit
from forceserver.models.base import Model

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TRAIN = 800
RADIAL = {"lengths of pairs": None, "one length": 1, "two pseudo-species": 2}
CANDIDATES = 300  # among which as many functions as in molecules.toml are chosen


def split(molecules: Path) -> None:
    """Writes train.extxyz and test.extxyz, whose energies are those of whole molecules."""
    structures = ase.io.read(molecules, ":")
    order = np.random.default_rng(0).permutation(len(structures))
    for atoms in structures:
        energy = len(atoms) * atoms.info.pop("dft_formation_energy_per_atom_in_eV")
        atoms.info = {"energy": energy}
        atoms.set_cell(None)
    for name, part in (("train", order[:TRAIN]), ("test", order[TRAIN:])):
        ase.io.write(HERE / f"{name}.extxyz", [structures[number] for number in part])


def variant(config: FitConfig, pseudo: int | None, candidates: int | None = None) -> FitConfig:
    """The configuration with lengths of pairs (None), one length (1) or so many pseudo-species."""
    (descriptor,) = config.descriptors
    change: dict = {"candidates": candidates}
    if pseudo == 1:  # as many pseudo-species as species: only the lengths become those of all pairs
        unit = np.eye(4).tolist()
        change["contraction"] = {"kind": "alchemical", "weights": dict(zip("HCNO", unit, strict=True))}
    elif pseudo is not None:
        change["contraction"] = {"kind": "alchemical", "q_max": pseudo}
    changed = type(descriptor).model_validate(descriptor.model_dump() | change)
    return config.model_copy(update={"descriptors": [changed]})


def error(model: Model, test: list[Labelled]) -> float:
    """Root-mean-square error of energies of the test molecules, meV/atom."""
    return compare(model, test, silent, "").groups[TOTAL][ENERGY].rmse() * ENERGY.scale


def curve(config: FitConfig) -> dict[int, float]:
    """Number of molecules -> error of a fit to them. Functions are chosen by all molecules, if at all: only their model
    is told then."""
    result = fit(config, silent)
    chosen = any(isinstance(one, AceDescriptor) and one.candidates for one in config.descriptors)
    models = {TRAIN: result.model} if chosen else result.by_share
    return {size: error(model, result.test) for size, model in sorted(models.items())}


def picture(curves: dict[str, dict[int, float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4.4, 3.4), layout="constrained")
    for name, errors in curves.items():
        axes.loglog(list(errors), list(errors.values()), "o-", label=name)
    sizes = list(next(iter(curves.values())))
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set(xlabel="molecules in the training set", ylabel="error of test energies (meV/atom)")
    figure.legend(loc="outside upper center", ncols=len(curves), frameon=False, fontsize="small")
    figure.savefig(RESULTS / "learning_curves.png", dpi=120)


def main(molecules: Path) -> None:
    RESULTS.mkdir(exist_ok=True)
    split(molecules)
    config, curves = load(HERE / "molecules.toml"), {}
    variants = {name: variant(config, pseudo) for name, pseudo in RADIAL.items()}
    variants |= {f"{name}, chosen": variant(config, pseudo, CANDIDATES) for name, pseudo in RADIAL.items()}
    for name, changed in variants.items():
        curves[name] = curve(changed)
        print(name, {size: round(error, 2) for size, error in curves[name].items()}, flush=True)
        write_json(RESULTS / "learning_curves.json", curves)
    picture({name: curves[name] for name in RADIAL})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
