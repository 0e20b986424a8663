#!/usr/bin/env python3
"""Adds configurations that a first model finds uncertain in molecular dynamics, computed like the main set.

  python active.py select MODEL          # needs forceserver and ase 3.29; writes active_selected.extxyz
  python3 active.py run --worker 0       # needs gpaw, like generate.py; any number of workers; goes on where it was;
                                         # with --held-out the results are for tests only
  python3 generate.py merge              # takes them in

Trajectories run in native cells at 100 to 500 K: constant volume with the strains of the main set, and, in half of
those of 20 atoms, constant pressure with all cell vectors free. Of their frames the most uncertain third at each
temperature (standard deviation of the energies of the model's members) is kept, and of these, for each cell, the ones
that differ most (farthest points of the mean power spectra, from the most uncertain one on).
"""

import argparse
import hashlib
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product, repeat
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import read, write
from generate import CELLS, SEED, label, make_calc, perovskite, random_strain

SELECTED = "active_selected.extxyz"
GROUP = 1000  # of the first trajectory; those of the main set are below
TEMPERATURES = (100, 200, 300, 400, 500)  # K
TRAJECTORIES = 4  # for each cell kind and temperature
HEATING, LENGTH, EVERY = 0.6, 2.4, 0.1  # ps
TIME_STEP = 2 * units.fs
WANTED = {"X": 15, "R": 8, "XM": 14, "P": 4}
LENGTHS = (3.88, 4.12)  # Angstrom, of a primitive cell vector: beyond, the grid of the calculation would change


# ----------------------------------------------------------------- selection
def start(name: str, rng: np.random.Generator) -> Atoms:
    """A cell of this kind with a random strain, atoms slightly displaced."""
    supercell = np.array(CELLS[name][rng.integers(len(CELLS[name]))])
    strain, prim = random_strain(rng)
    atoms, _ = perovskite(supercell, prim)
    atoms.info = {"cell_kind": name, "strain": strain, "supercell": supercell}
    atoms.positions += rng.normal(0, 0.02, atoms.positions.shape)
    return atoms


def trajectory(atoms: Atoms, calculator, temperature: float, flexible: bool, rng: np.random.Generator) -> list[Atoms]:
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
    for _ in range(round(LENGTH / EVERY)):
        sampling.run(round(EVERY * 1000 * units.fs / TIME_STEP))
        if not inside(atoms):
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


def inside(atoms: Atoms) -> bool:
    lengths = np.linalg.norm(np.linalg.inv(atoms.info["supercell"]) @ atoms.cell[:], axis=1)
    return LENGTHS[0] < lengths.min() and lengths.max() < LENGTHS[1]


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


def choose(frames: list[Atoms], count: int, model) -> list[Atoms]:
    """The farthest points among the most uncertain third at each temperature."""
    from skmatter.sample_selection import FPS

    uncertain = []
    for temperature in TEMPERATURES:
        same = sorted((f for f in frames if f.info["temperature"] == temperature), key=lambda f: -f.info["uncertainty"])
        uncertain += same[: -(-len(same) // 3)]
    first = int(np.argmax([f.info["uncertainty"] for f in uncertain]))
    x = summary_of(uncertain, model)
    return [uncertain[i] for i in FPS(initialize=first, n_to_select=count).fit(x).selected_idx_]


def candidates(name: str, path: Path) -> list[Atoms]:
    """Frames of all trajectories in one kind of cell."""
    from forceserver.ase import ForceServerCalculator

    calculator = ForceServerCalculator.from_model(path, uncertainty=True)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    first = GROUP + 100 * list(WANTED).index(name)
    found = []
    for number, (temperature, run) in enumerate(product(TEMPERATURES, range(TRAJECTORIES)), start=first):
        rng = np.random.default_rng([SEED, number])
        flexible = name == "XM" and run % 2 == 1
        for index, frame in enumerate(trajectory(start(name, rng), calculator, temperature, flexible, rng)):
            frame.info.update(group=number, index=index, model_sha256=checksum)
            found.append(frame)
    return found


def select(args: argparse.Namespace) -> None:
    from forceserver.potentials.gap_model import GapModel

    with ProcessPoolExecutor() as pool:
        found = dict(zip(WANTED, pool.map(candidates, WANTED, repeat(args.model)), strict=True))
    model, chosen = GapModel.load(args.model), {}
    for name, frames in found.items():
        chosen[name] = choose(frames, WANTED[name], model)
        values, picked = ([f.info["uncertainty"] for f in part] for part in (frames, chosen[name]))
        print(
            f"{name}: {len(picked)} of {len(values)} frames; uncertainty (meV per formula unit) median "
            f"{np.median(values):.2f}, largest {max(values):.2f}; of the chosen ones {np.median(picked):.2f}",
            flush=True,
        )
    write(SELECTED, in_turn(chosen), format="extxyz")


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
    for frame in read(SELECTED, ":"):
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
        calculator = make_calc(supercell, frame.cell, txt=f"gpaw_active_{args.worker}.txt")
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
    q = commands.add_parser("run")
    q.add_argument("--worker", type=int, default=0)
    q.add_argument("--held-out", action="store_true", help="never for training: the model is fitted already")
    q.add_argument("--deadline", type=float, default=np.inf)
    args = p.parse_args()
    sys.exit((select if args.what == "select" else run)(args))
