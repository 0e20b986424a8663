"""Collective variables for PLUMED: the action and its server, PLUMED's own Q1, PLUMED hosted by us.

BaTiO3, every Ti with its O within 3 Angstrom, three components with all derivatives; one thread. PLUMED is called
through its Python wrapper, once per step, with atoms that move by 0.02 Angstrom between steps; the server is a separate
process. "Over PLUMED" is the time in addition to that of the same PLUMED with one DISTANCE instead of the variable.
`Q1` is PLUMED's most similar variable: the same pairs, but the mean of the norms.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from ase import Atoms

from forceserver.bias.plumed.config import PlumedConfig
from forceserver.bias.plumed.host import PlumedBias
from forceserver.bias.plumed.kernel import load_kernel
from forceserver.cli.plumed import build_action
from forceserver.configuration import read_configuration
from forceserver.cv import build_variables
from forceserver.frame import Frame

from .harness import Table, interleave

CONFIG = """
[structure]
file = "structure.extxyz"

[cv_server]
address = "{folder}/cv.sock"

[[cv]]
name = "p"
centres = "Ti"
neighbours = "O"
weights = [0.7, 0.3, -0.1, 0.1]

[cv.basis]
kind = "gto"
n_max = 4
l_max = 1
cutoff = {{ cutoff_angstrom = 3.0, width_angstrom = 0.5 }}
density = {{ kind = "gaussian", sigma_angstrom = 0.3 }}
"""

GRID = "GRID_MIN=-0.5,-0.5,-0.5 GRID_MAX=0.5,0.5,0.5 GRID_BIN=50,50,50 SIGMA=0.05,0.05,0.05 HEIGHT=1"
EXTRA = "".join(f"{c}: EXTRACV NAME=p_{c}\n" for c in "xyz")


def batio3(repeat: int) -> Atoms:
    unit = Atoms(
        "BaTiO3",
        scaled_positions=[(0, 0, 0), (0.51, 0.51, 0.52), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)],
        cell=[4.0, 4.0, 4.02],
        pbc=True,
    )
    return unit.repeat(repeat)


def moving(atoms: Atoms) -> Callable[[], Frame]:
    """Frames in turn, every one a little different from the one before and none ever the same as an earlier one.

    A bias remembers the configurations of the last steps: to come back to one is to take the bias back.
    """
    rng = np.random.default_rng(0)
    frames = [Frame.from_ase(atoms) for _ in range(16)]
    for frame in frames:
        frame.positions += rng.normal(0, 0.02, frame.positions.shape)
    number = 0

    def following() -> Frame:
        nonlocal number
        number += 1
        frame = frames[number % len(frames)]
        frame.positions += 1e-5
        return frame

    return following


def session(kernel: str | None, text: str, atoms: Atoms, folder: Path) -> Callable[[], object]:
    """A step of PLUMED with this input; eV, Angstrom."""
    import plumed

    (folder / "plumed.dat").write_text(text)
    host = plumed.Plumed(kernel=kernel)
    for key, unit in {"Energy": 96.485, "Length": 0.1, "Time": 1e-3}.items():
        host.cmd(f"setMD{key}Units", unit)
    host.cmd("setNatoms", len(atoms))
    host.cmd("setPlumedDat", str(folder / "plumed.dat"))
    host.cmd("setLogFile", str(folder / "log"))
    host.cmd("setTimestep", 1.0)
    host.cmd("setKbT", 0.025)
    host.cmd("init")
    following, step = moving(atoms), 0
    masses, forces, virial = atoms.get_masses(), np.zeros((len(atoms), 3)), np.zeros((3, 3))

    def one() -> None:
        nonlocal step
        frame = following()
        host.cmd("setStep", step)
        host.cmd("setMasses", masses)
        host.cmd("setPositions", frame.positions)
        host.cmd("setBox", frame.cell)
        host.cmd("setForces", forces)
        host.cmd("setVirial", virial)
        host.cmd("calc")
        step += 1

    return one


def serve(config: Path) -> subprocess.Popen:
    """A server process, once its CV server is open."""
    command = [sys.executable, "-m", "forceserver", "drive", str(config)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        if "the CV server is open" in line:
            return server
    raise RuntimeError("the server did not start")


def measure(repeat: int, rounds: int, folder: Path) -> dict[str, float]:
    """Medians in ms."""
    kernel, atoms = load_kernel(), batio3(repeat)
    atoms.write(folder / "structure.extxyz")
    config = folder / "forceserver.toml"
    config.write_text(CONFIG.format(folder=folder))
    template = Frame.from_ase(atoms)
    variables = build_variables(read_configuration(config).cv, template)
    action = build_action(folder / "ForceServer.so")
    titanium, oxygen = (",".join(str(k + 1) for k in np.flatnonzero(atoms.symbols == symbol)) for symbol in ("Ti", "O"))
    texts = {
        "nothing": "d: DISTANCE ATOMS=1,2\nRESTRAINT ARG=d AT=0 KAPPA=1\n",
        "action": f"LOAD FILE={action}\np: FORCESERVER ADDRESS={folder}/cv.sock CV=p\n"
        "RESTRAINT ARG=p.x,p.y,p.z AT=0,0,0 KAPPA=1,1,1\n",
        "Q1": f"q: Q1 SPECIESA={titanium} SPECIESB={oxygen} SWITCH={{CUBIC D_0=0.25 D_MAX=0.3}} MEAN\n"
        "RESTRAINT ARG=q.mean AT=0 KAPPA=1\n",
    }
    (folder / "hosted.dat").write_text(f"{EXTRA}METAD ARG=x,y,z PACE=1000000 FILE={folder}/HILLS {GRID}\n")
    hosted = PlumedConfig(
        plumed_dat=folder / "hosted.dat",
        time_step_fs=1,
        temperature_K=300,
        log_file=folder / "hosted.log",
        state_file=folder / "state",
    )
    with ExitStack() as stack:
        server = stack.enter_context(serve(config))
        stack.callback(server.terminate)
        contenders = {name: session(kernel, text, atoms, folder) for name, text in texts.items()}
        bias, following, again = PlumedBias(hosted, variables, template, kernel), moving(atoms), moving(atoms)
        variable = variables["p"].copy()
        contenders["variable"] = lambda: variable.compute(again())
        contenders["hosted"] = lambda: bias.compute_one(following())
        timings = interleave(contenders, rounds)
        bias.close()
    return {name: 1e3 * timing.median for name, timing in timings.items()}


def tables(quick: bool) -> Iterator[Table]:
    """The cost of a step over what it would cost without the variable, by number of atoms."""
    table = Table(
        "A step of PLUMED",
        ("atoms", "action over PLUMED / ms", "goal / ms", "Q1 over PLUMED / ms", "Q1 / action", "variable alone / ms",
         "hosted METAD 3-D over the variable / ms", "goal / ms"),
    )  # fmt: skip
    for repeat in (8,) if quick else (4, 8, 16):
        with tempfile.TemporaryDirectory(prefix="fsbench-") as name:
            ms = measure(repeat, 5 if quick else 15, Path(name))
        action, q1 = ms["action"] - ms["nothing"], ms["Q1"] - ms["nothing"]
        goals = (0.25, 0.1) if repeat == 8 else (None, None)
        table.rows.append(
            (5 * repeat**3, action, goals[0], q1, q1 / action, ms["variable"], ms["hosted"] - ms["variable"], goals[1])
        )
    yield table
