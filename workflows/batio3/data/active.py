#!/usr/bin/env python3
"""Adds configurations that a first model finds uncertain in molecular dynamics, computed like the main set.

  python active.py select MODEL --round 1    # needs forceserver and ase 3.29; writes active_selected_1.extxyz
  python3 active.py run --worker 0           # needs gpaw, like generate.py; any number of workers; goes on where it
                                             # was; with --held-out the results are for tests only
  python3 generate.py merge                  # takes them in

Trajectories run in native cells from random strains of the main set. Round 1: 100 to 500 K, constant volume, and, in
half of those of 20 atoms, constant pressure with all cell vectors free. Round 2, with the model that has learned from
round 1: constant pressure at 300 to 500 K, longer, and in cells that may grow further. Of the frames the most
uncertain third at each temperature (standard deviation of the energies of the model's members) is kept, and of these,
for each cell, the ones that differ most (farthest points of the mean power spectra, from the most uncertain one on).
"""

import argparse
import hashlib
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product, repeat
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import read, write
from generate import A_LINE, CELLS, SEED, label, make_calc, perovskite, random_strain

SELECTED = "active_selected_{}.extxyz"
TRAJECTORIES = 4  # for each cell kind and temperature
HEATING, EVERY = 0.6, 0.1  # ps
TIME_STEP = 2 * units.fs


@dataclass(frozen=True)
class Round:
    """What is simulated and how many frames are chosen.

    group: of the first trajectory (those of the main set are below); temperatures in K; length in ps; flexible: in
    what cells, and which trajectories in them, the pressure is constant; lengths in Angstrom, of a primitive cell
    vector: where a trajectory ends.
    """

    group: int
    temperatures: tuple[int, ...]
    length: float
    wanted: dict[str, int]
    flexible: dict[str, tuple[int, ...]]
    lengths: tuple[float, float]


ALWAYS = tuple(range(TRAJECTORIES))
ROUNDS = {
    1: Round(
        group=1000,
        temperatures=(100, 200, 300, 400, 500),
        length=2.4,
        wanted={"X": 15, "R": 8, "XM": 14, "P": 4},
        flexible={"XM": (1, 3)},
        lengths=(3.88, 4.12),  # the grid that the calculation would choose is the same
    ),
    2: Round(
        group=2000,
        temperatures=(300, 400, 500),
        length=6.0,
        wanted={"X": 6, "R": 3, "XM": 5, "P": 3},
        flexible=dict.fromkeys(("X", "R", "XM", "P"), ALWAYS),
        lengths=(3.85, 4.30),
    ),
}


# ----------------------------------------------------------------- selection
def start(name: str, rng: np.random.Generator) -> Atoms:
    """A cell of this kind with a random strain, atoms slightly displaced."""
    supercell = np.array(CELLS[name][rng.integers(len(CELLS[name]))])
    strain, prim = random_strain(rng)
    atoms, _ = perovskite(supercell, prim)
    atoms.info = {"cell_kind": name, "strain": strain, "supercell": supercell}
    atoms.positions += rng.normal(0, 0.02, atoms.positions.shape)
    return atoms


def trajectory(
    atoms: Atoms, calculator, temperature: float, flexible: bool, plan: Round, rng: np.random.Generator
) -> list[Atoms]:
    """Frames of molecular dynamics, each with the uncertainty (meV per formula unit) in its info."""
    from ase.constraints import FixCom
    from ase.md.langevin import Langevin
    from ase.md.nose_hoover_chain import MTKNPT
    from ase.md.velocitydistribution import thermalize_momenta

    atoms.set_constraint(FixCom())
    atoms.calc = calculator
    thermalize_momenta(atoms, temperature, rng=rng)
    heating = Langevin(atoms, TIME_STEP, temperature_K=temperature, friction=0.02 / units.fs, rng=rng, fixcm=False)
    heating.run(round(HEATING * 1000 * units.fs / TIME_STEP))
    if flexible:
        atoms.set_constraint()
        sampling = MTKNPT(atoms, TIME_STEP, temperature, 0.0, tdamp=100 * units.fs, pdamp=500 * units.fs)
    else:
        sampling = Langevin(atoms, TIME_STEP, temperature_K=temperature, friction=0.01 / units.fs, rng=rng, fixcm=False)
    frames = []
    for _ in range(round(plan.length / EVERY)):
        sampling.run(round(EVERY * 1000 * units.fs / TIME_STEP))
        if not inside(atoms, plan.lengths):
            break
        uncertainty = calculator.results["committee_uncertainty"] / (len(atoms) / 5) * 1000
        frame = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
        frame.info = atoms.info | {
            "temperature": temperature,
            "ensemble": "npt" if flexible else "nvt",
            "uncertainty": float(uncertainty),
            "step": int(sampling.nsteps),
        }
        frames.append(frame)
    return frames


def inside(atoms: Atoms, limits: tuple[float, float]) -> bool:
    lengths = np.linalg.norm(np.linalg.inv(atoms.info["supercell"]) @ atoms.cell[:], axis=1)
    return limits[0] < lengths.min() and lengths.max() < limits[1]


def summary_of(frames: list[Atoms], model) -> np.ndarray:
    """(frames, features): mean power spectra of the three species side by side."""
    from forceserver.fit.selection import environments
    from forceserver.frame import Frame

    term = model.soap[0]
    basis = term.hypers.power_spectrum(model.species, term.features)
    rows = []
    for frame in frames:
        x, species = environments(basis, [Frame.from_ase(frame)], 0, len(frame))
        rows.append(np.concatenate([x[species == s].mean(axis=0) for s in model.species]))
    return np.array(rows)


def choose(frames: list[Atoms], count: int, temperatures: tuple[int, ...], model) -> list[Atoms]:
    """The farthest points among the most uncertain third at each temperature."""
    from skmatter.sample_selection import FPS

    uncertain = []
    for temperature in temperatures:
        same = sorted((f for f in frames if f.info["temperature"] == temperature), key=lambda f: -f.info["uncertainty"])
        uncertain += same[: -(-len(same) // 3)]
    first = int(np.argmax([f.info["uncertainty"] for f in uncertain]))
    x = summary_of(uncertain, model)
    return [uncertain[i] for i in FPS(initialize=first, n_to_select=count).fit(x).selected_idx_]


def candidates(name: str, path: Path, plan: Round) -> list[Atoms]:
    """Frames of all trajectories in one kind of cell."""
    from forceserver.ase_calculator import ForceServerCalculator

    calculator = ForceServerCalculator.from_model(path, uncertainty=True)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    first = plan.group + 100 * list(plan.wanted).index(name)
    found = []
    for number, (temperature, run) in enumerate(product(plan.temperatures, range(TRAJECTORIES)), start=first):
        rng = np.random.default_rng([SEED, number])
        flexible = run in plan.flexible.get(name, ())
        for index, frame in enumerate(trajectory(start(name, rng), calculator, temperature, flexible, plan, rng)):
            frame.info.update(group=number, index=index, model_sha256=checksum)
            found.append(frame)
    return found


def select(args: argparse.Namespace) -> None:
    from forceserver.models.kernel import GapModel

    plan = ROUNDS[args.round]
    with ProcessPoolExecutor() as pool:
        found = dict(zip(plan.wanted, pool.map(candidates, plan.wanted, repeat(args.model), repeat(plan)), strict=True))
    model, chosen = GapModel.load(args.model), {}
    for name, frames in found.items():
        chosen[name] = choose(frames, plan.wanted[name], plan.temperatures, model)
        values, picked = ([f.info["uncertainty"] for f in part] for part in (frames, chosen[name]))
        print(
            f"{name}: {len(picked)} of {len(values)} frames; uncertainty (meV per formula unit) median "
            f"{np.median(values):.2f}, largest {max(values):.2f}; of the chosen ones {np.median(picked):.2f}",
            flush=True,
        )
    write(SELECTED.format(args.round), in_turn(chosen), format="extxyz")


def in_turn(chosen: dict[str, list[Atoms]]) -> list[Atoms]:
    """All kinds of cells spread evenly over the queue, so that any first part of it has all."""
    places = [((place + 0.5) / len(frames), frame) for frames in chosen.values() for place, frame in enumerate(frames)]
    return [frame for _, frame in sorted(places, key=lambda entry: entry[0])]


# ----------------------------------------------------------------- DFT
def run(args: argparse.Namespace) -> None:
    os.makedirs("claims", exist_ok=True)
    os.makedirs("raw", exist_ok=True)
    out = f"raw/{'held_out' if args.held_out else 'active'}_{args.worker}.extxyz"
    done = {(a.info["group"], a.info["index"]) for path in Path("raw").glob("*.extxyz") for a in read(path, ":")}
    selected = [(number, a) for number in ROUNDS if os.path.exists(p := SELECTED.format(number)) for a in read(p, ":")]
    for number, frame in selected:
        key = (frame.info["group"], frame.info["index"])
        if time.time() > args.deadline:
            break
        if key in done:
            continue
        try:
            os.close(os.open("claims/{}-{}".format(*key), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        info = frame.info | {"config_type": "md_uncertain"}
        supercell = np.array(info["supercell"]).reshape(3, 3)
        # long cells get the grid of cells at rest, as the strained ones of the main set do
        like = frame.cell if number == 1 else A_LINE * supercell
        calculator = make_calc(supercell, like, txt=f"gpaw_active_{args.worker}.txt")
        try:
            labelled = label(frame, info, calculator)
        except Exception as error:  # a calculation that does not converge is left out
            print("FAILED", key, type(error).__name__, error, flush=True)
            continue
        write(out, labelled, format="extxyz", append=True)
        print(key, info["cell_kind"], info["temperature"], "K, cpu", labelled.info["cpu_s"], "s", flush=True)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = p.add_subparsers(dest="what", required=True)
    q = commands.add_parser("select")
    q.add_argument("model", type=Path)
    q.add_argument("--round", type=int, choices=ROUNDS, default=1)
    q = commands.add_parser("run")
    q.add_argument("--worker", type=int, default=0)
    q.add_argument("--held-out", action="store_true", help="never for training: the model is fitted already")
    q.add_argument("--deadline", type=float, default=np.inf)
    args = p.parse_args()
    sys.exit((select if args.what == "select" else run)(args))
