"""Silicon with defects, a surface and its melt: is what `forceserver learn` selects worth more than random structures?

touch rare_{start,crystal,vacancy,interstitial,surface}.extxyz
python rare.py start        crystals to begin with, where the simulations begin, held-out frames of each kind
python rare.py learn        what `forceserver learn rare.toml` does, with three seeds
python rare.py anew         the same, but stopped simulations begin anew in each round
python rare.py undirected   the same, but structures at random of all that the simulations have recorded
python rare.py random       models of random frames of these simulations with the reference itself
python rare.py report       rare.json, rare.png
"""

import itertools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import ase.io
import numpy as np
from ase.build import bulk, diamond100
from study import dynamics, errors_of, labelled, model_of

from forceserver.files import write_json
from forceserver.frame import Frame
from forceserver.learn import loop
from forceserver.learn.config import LearnConfig, load
from forceserver.learn.inputs import RECORD
from forceserver.learn.rounds import Round
from forceserver.learn.selection import candidates
from forceserver.potentials import build_potential

HERE = Path(__file__).parent
TEST = HERE / "rare_test.extxyz"
RUNS = [("crystal", kelvin) for kelvin in (300, 800, 1200, 4000)]
RUNS += [(name, 1000) for name in ("vacancy", "interstitial", "surface")]
SEEDS = (0, 1, 2)
SIZES = (8, 16, 32, 48)
STEP_FS = 2.0


def structures() -> dict[str, ase.Atoms]:
    """Where the simulations begin."""
    crystal = bulk("Si", "diamond", a=5.431, cubic=True) * (2, 2, 1)
    vacancy, interstitial = crystal.copy(), crystal.copy()
    del vacancy[0]
    interstitial.append(ase.Atom("Si", crystal.positions[0] + 5.431 / 2))  # tetrahedral
    surface = diamond100("Si", (2, 2, 8), a=5.431, vacuum=6.0)
    surface.pbc, surface.info = True, {}
    return {"crystal": crystal, "vacancy": vacancy, "interstitial": interstitial, "surface": surface}


def start() -> None:
    """Strained crystals with displaced atoms, the beginnings, and frames of molecular dynamics with the reference."""
    random, begin = np.random.default_rng(0), []
    for seed in range(16):
        atoms = structures()["crystal"]
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.01 * random.standard_normal((3, 3))), scale_atoms=True)
        atoms.rattle(0.02 + 0.03 * random.random(), seed=seed)
        begin.append(atoms)
    ase.io.write(HERE / "rare_start.extxyz", begin)
    for name, atoms in structures().items():
        atoms.write(HERE / f"rare_{name}.extxyz")
    ase.io.write(TEST, frames(load(HERE / "rare.toml"), number=8, every=25, skip=200, seed=0))


def frames(config: LearnConfig, number: int, every: int, skip: int, seed: int) -> list[ase.Atoms]:
    """Labelled frames of every simulation, with the reference itself; `config_type` tells of which."""
    found = []
    for name, kelvin in RUNS:
        atoms = structures()[name]
        reference = build_potential(config.reference, Frame.from_ase(atoms))
        kind = "melt" if kelvin == 4000 else f"{name}, {kelvin} K"
        found += dynamics(atoms, reference, kelvin, kind, number, every, skip, seed, STEP_FS)
    return found


def learned(config: LearnConfig) -> None:
    """The runs, each in a folder of its own; each goes on where it was."""
    for seed in SEEDS:
        folder = config.folder / str(seed)
        folder.mkdir(parents=True, exist_ok=True)
        print(seed, loop.learn(config.model_copy(update={"seed": seed, "folder": folder})))


def begun_anew(config: LearnConfig) -> None:
    """The same loop, whose simulations begin anew in each round."""
    simulations = [one.model_copy(update={"resume": False}) for one in config.simulations]
    learned(config.model_copy(update={"simulations": simulations, "folder": config.folder.with_name("rare_anew")}))


def undirected(config: LearnConfig) -> None:
    """The same loop, in which the reference computes structures at random of all that the simulations have recorded."""
    with mock.patch.object(loop, "choose", drawn):
        learned(config.model_copy(update={"folder": config.folder.with_name("rare_undirected")}))


def drawn(one: Round, train: list[ase.Atoms], config: LearnConfig, most: int, **_: bool) -> list[ase.Atoms]:
    """As many as are selected otherwise."""
    records = candidates(one, config, RECORD)
    number = min(config.selection.per_round + (config.selection.control or 0), most, len(records))
    order = np.random.default_rng([config.seed, one.number]).permutation(len(records))
    return [records[k].chosen("control") for k in order[:number]]


def at_random(config: LearnConfig) -> None:
    """Models of the start and of frames drawn from all simulations alike: of a picosecond each, from its beginning.

    Each seed has simulations of its own.
    """
    reference = build_potential(config.reference, Frame.from_ase(structures()["crystal"]))
    begin = [labelled(atoms, reference) for atoms in ase.io.read(config.data.train, ":")]
    found: dict[str, list[dict[str, float]]] = {}
    (HERE / "random").mkdir(exist_ok=True)
    for seed in SEEDS:
        pool = frames(config, number=40, every=12, skip=0, seed=1 + seed)
        for size in SIZES:
            chosen = np.random.default_rng([size, 0, seed]).choice(len(pool), size, replace=False)
            train = HERE / "random" / "train.extxyz"
            ase.io.write(train, [*begin, *(pool[k] for k in chosen)])
            found.setdefault(str(size), []).append(errors_of(model_of(config, train), TEST))
            write_json(HERE / "random" / "rare.json", found)


def history(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """Calculations beyond the start, and the errors of the model of these."""
    records = json.loads((folder / "history.json").read_text())
    models = [(r["references"] - 16, folder / f"round-{r['round']:03d}" / "model.npz") for r in records]
    return [(number, errors_of(model, TEST)) for number, model in models if model.exists()]


def report(config: LearnConfig) -> None:
    """Numbers and a picture of all, and a table of means over seeds."""
    folders = {name: [config.folder.with_name(name) / str(seed) for seed in SEEDS] for name in LOOPS}
    runs = {name: [history(one) for one in each if (one / "history.json").exists()] for name, each in folders.items()}
    random = json.loads((HERE / "random" / "rare.json").read_text())
    write_json(HERE / "rare.json", {**runs, "random": random})
    tell(runs, random)
    draw(runs, {int(size): draws for size, draws in random.items()})


def tell(runs: Mapping[str, list[list[tuple[int, dict]]]], random: Mapping[str, list[dict[str, float]]]) -> None:
    """Means over seeds or draws, and the smallest and the largest."""
    by_name = {LOOPS[name]: itertools.chain.from_iterable(each) for name, each in runs.items()}
    by_name["random frames"] = ((int(size), errors) for size, draws in random.items() for errors in draws)
    for name, points in by_name.items():
        known = list(points)
        for title, of in MEASURES.items():
            for number in sorted({number for number, _ in known}):
                values = [of(errors) for count, errors in known if count == number]
                print(f"{name}, {title}, {number}: {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")


def draw(runs: Mapping[str, list[list[tuple[int, dict]]]], random: Mapping[int, list[dict[str, float]]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.8), layout="constrained")
    for axes, (title, of) in zip(figure.subplots(1, 2, sharey=True), MEASURES.items(), strict=True):
        for color, (name, each) in enumerate(runs.items()):
            for number, run in enumerate(each):
                numbers, errors = zip(*run, strict=True)
                label = None if number else LOOPS[name]
                axes.semilogy(numbers, [of(one) for one in errors], "o-", ms=4, color=f"C{color}", label=label)
        mean = [np.mean([of(each) for each in draws]) for draws in random.values()]
        axes.semilogy(list(random), mean, "ks--", label="frames of the reference itself")
        for size, draws in random.items():
            axes.semilogy([size] * len(draws), [of(each) for each in draws], "k.")
        axes.set(xlabel="reference calculations beyond the first 16", title=title)
    figure.axes[0].set_ylabel("RMSE of forces (eV/Å)")
    figure.axes[0].legend()
    figure.savefig(HERE / "rare.png", dpi=150)


LOOPS = {"rare": "learn", "rare_anew": "simulations begin anew", "rare_undirected": "structures at random"}
MEASURES = {
    "worst kind": lambda errors: max(errors.values()),
    "mean over kinds": lambda errors: float(np.mean(list(errors.values()))),
}

if __name__ == "__main__":
    commands = {"learn": learned, "anew": begun_anew, "undirected": undirected, "random": at_random, "report": report}
    start() if sys.argv[1] == "start" else commands[sys.argv[1]](load(HERE / "rare.toml"))
