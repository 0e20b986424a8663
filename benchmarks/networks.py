"""Networks in batches: the beads of a path integral through a network of MACE.

A `ScaleShiftMACE` that nobody trained (64 scalar channels, cutoff 5 Å, two layers, double precision, one thread of a
processor) for a molecule of ethanol in a box of 10 Å (9 atoms) and for silicon (64 atoms). All numbers are CPU times,
because they mean something on a busy machine, too: medians over interleaved rounds, atoms moved in each of them.

In one process: `bare` calls the network in a loop with inputs that are ready; `kind = "mace"` is a batch of ours, from
positions to results; `kind = "ase"` uses MACE's calculator for one bead after the other; `BatchedMACE` is what i-PI's
own driver `mace` computes a batch with. `beside` is what our batch takes beside the call of the network itself: in
turns with the others, whose data then fill the caches, and repeated at once (wall time, the least of 60).

Through i-PI: steps of a path integral (PILE-G, 300 K), CPU time of all processes: i-PI with our driver and
`<batch_size>` equal to the beads, or i-PI alone with its driver `mace` in `<ffdirect>`.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

from .harness import Table
from .harness.ipi_input import stepping_input

ROOT = Path(__file__).parents[1]
HOST = Path(__file__).parent / "clients" / "ipi_host.py"
BARE, OURS, ONE_BY_ONE, IPI = "bare", '`kind = "mace"`', '`kind = "ase"`, one by one', "i-PI's `BatchedMACE`"


@dataclass(frozen=True)
class Case:
    """One column."""

    atoms: int
    beads: int

    def __str__(self) -> str:
        return f"{self.beads} beads of {self.atoms} atoms"

    def structure(self) -> Atoms:
        if self.atoms == 9:
            return molecule("CH3CH2OH", cell=[10, 10, 10], pbc=True)
        return bulk("Si", cubic=True).repeat(2)


class InProcess:
    """The contenders for one case, and the time that the network itself takes in them."""

    def __init__(self, network: object, case: Case) -> None:
        from ipi.pes._mace import BatchedMACE
        from mace.calculators import MACECalculator

        from forceserver.frame import Frame
        from forceserver.potentials.ase import AsePotential
        from forceserver.potentials.mace import MacePotential

        self.frames = [Frame.from_ase(case.structure()) for _ in range(case.beads)]
        self.random = np.random.default_rng(1)
        self.network, self.ours = network, MacePotential([network])
        arguments = {"models": [network], "device": "cpu", "default_dtype": "float64"}
        self.ase, self.ipi = AsePotential(MACECalculator(**arguments)), BatchedMACE(**arguments)
        self.inside, self.begun = 0.0, 0.0
        network.register_forward_pre_hook(self.begin)
        network.register_forward_hook(self.end)

    def begin(self, *_: object) -> None:
        self.begun = time.process_time()

    def end(self, *_: object) -> None:
        self.inside += time.process_time() - self.begun

    def move(self) -> None:
        for frame in self.frames:
            frame.positions = frame.positions + self.random.normal(scale=0.003, size=frame.positions.shape)

    def round(self) -> dict[str, tuple[float, float]]:
        """CPU seconds in all and beside the network, of one batch."""
        self.move()
        constants = self.ours._constants_of(self.frames)
        ready = constants | self.ours._variables(self.frames, constants["ptr"].numpy(), 0)
        structures = [frame.to_ase() for frame in self.frames]
        return {
            BARE: self.time(lambda: self.network(ready, compute_virials=True)),
            OURS: self.time(lambda: self.ours.compute(self.frames)),
            IPI: self.time(lambda: self.ipi.compute_batched(structures)),
            ONE_BY_ONE: self.time(lambda: self.ase.compute(self.frames)),
        }

    def alone(self) -> float:
        """Seconds that our part of a batch takes if it is repeated at once: the least of 60 times."""
        constants = self.ours._constants_of(self.frames)
        first, times = constants["ptr"].numpy(), []
        outputs = self.network(constants | self.ours._variables(self.frames, first, 0), compute_virials=True)
        for _ in range(60):
            self.move()
            begin = time.perf_counter()
            self.ours._constants_of(self.frames)
            self.ours._variables(self.frames, first, 0)
            self.ours._results(outputs, first)
            times.append(time.perf_counter() - begin)
        return min(times)

    def time(self, call: Callable[[], object]) -> tuple[float, float]:
        self.inside = 0.0
        begin = time.process_time()
        call()
        spent = time.process_time() - begin
        return spent, spent - self.inside


SOCKET = """<ffsocket name='network' mode='unix' pbc='False'>
    <address>network</address> <batch_size>{beads}</batch_size>
  </ffsocket>"""
DIRECT = """<ffdirect name='network' pbc='False'>
    <batch_size>{beads}</batch_size> <pes>mace</pes> <parameters>{parameters}</parameters>
  </ffdirect>"""
CONFIG = """structure.file = "start.extxyz"
socket = {{ mode = "unix", address = "network", prefix = "./" }}
[potential]
{potential}
"""
POTENTIALS = {
    OURS: 'kind = "mace"\nmodel = "network.model"\ndevice = "cpu"',
    # asking for a further result keeps the calculator: otherwise its network would be run in batches
    ONE_BY_ONE: 'kind = "ase"\ncalculator = "mace.calculators.MACECalculator"\nextras = ["energy"]\n'
    'arguments = { model_paths = "network.model", device = "cpu", default_dtype = "float64" }',
}


class Simulation:
    """i-PI and, unless the network is inside it, a driver of ours."""

    def __init__(self, folder: Path, network: Path, case: Case, potential: str | None) -> None:
        folder.mkdir()
        (folder / "network.model").symlink_to(network)
        case.structure().write(folder / "start.extxyz")
        parameters = "{template: start.extxyz, model: network.model, device: cpu}"
        forcefield = SOCKET if potential else DIRECT.replace("{parameters}", parameters)
        text = stepping_input(
            "network",
            forcefield.replace("{beads}", str(case.beads)),
            "<file mode='ase'>start.extxyz</file>",
            case.beads,
            thermostat="pile_g",
            timestep_fs="0.25",
            attributes=" threading='False' sockets_prefix='./'",
        )
        (folder / "input.xml").write_text(text)
        start = partial(subprocess.Popen, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True)
        self.host = start([sys.executable, HOST, "input.xml"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1)
        self.processes = [self.host]
        if potential:
            (folder / "config.toml").write_text(CONFIG.format(potential=potential))
            command = [sys.executable, "-m", "forceserver", "drive", "config.toml"]
            self.processes.append(start(command, stdout=subprocess.DEVNULL))
        while self.host.stdout.readline().strip() not in ("ready", ""):
            pass
        self.turn(2)

    def turn(self, steps: int) -> float:
        """CPU seconds of one step, of both processes."""
        before = self.cpu_seconds()
        self.host.stdin.write(f"{steps}\n")
        while not (answer := self.host.stdout.readline()).strip().replace(".", "").replace("e-", "").isdigit():
            if not answer:
                raise SystemExit("benchmarks: i-PI ended, see above")
        return (self.cpu_seconds() - before) / steps

    def cpu_seconds(self) -> float:
        fields = [Path(f"/proc/{each.pid}/stat").read_text().rpartition(")")[2].split() for each in self.processes]
        return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self.host.stdin.close()
        for process in self.processes:
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()


def in_process(network: object, cases: list[Case], rounds: int) -> Iterator[Table]:
    """Milliseconds of a batch."""
    spent: dict[str, list] = {name: [] for name in (BARE, OURS, IPI, ONE_BY_ONE)}
    beside: list = []
    alone: list = []
    for case in cases:
        contenders = InProcess(network, case)
        with redirect_stdout(sys.stderr):  # BatchedMACE prints
            contenders.round()
            measured = [contenders.round() for _ in range(rounds)]
        for name, column in spent.items():
            column.append(1e3 * statistics.median(each[name][0] for each in measured))
        beside.append(1e3 * statistics.median(each[OURS][1] for each in measured))
        alone.append(1e3 * contenders.alone())
    rows: list = [[name, *column] for name, column in spent.items()]
    share = [f"{bare / ours:.2f}" for bare, ours in zip(spent[BARE], spent[OURS], strict=True)]
    rows += [["beside the network, ours", *beside], ["the same, repeated at once", *alone], ["bare / ours", *share]]
    yield Table("In one process, milliseconds of CPU time per batch", ["", *map(str, cases)], rows)


def through_ipi(network: Path, cases: list[Case], rounds: int) -> Iterator[Table]:
    """Milliseconds of a step."""
    contenders = {**POTENTIALS, "i-PI's driver `mace`, `<ffdirect>`": None}
    rows: dict[str, list] = {name: [name] for name in contenders}
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="fsnetworks-") as folder, ExitStack() as stack:
            simulations = {
                name: stack.enter_context(closing(Simulation(Path(folder) / str(n), network, case, potential)))
                for n, (name, potential) in enumerate(contenders.items())
            }
            steps = max(1, 32 // case.beads) if case.atoms == 9 else 1
            turns = [{name: each.turn(steps) for name, each in simulations.items()} for _ in range(rounds)]
        for name, row in rows.items():
            row.append(1e3 * statistics.median(turn[name] for turn in turns))
    columns = ["forces from", *map(str, cases)]
    yield Table("Through i-PI, milliseconds of CPU time per step", columns, list(rows.values()))


def tables(quick: bool) -> Iterator[Table]:
    sys.path.append(str(ROOT / "tests" / "potentials"))
    try:
        import torch
        from mace_models import mace_model
    except ImportError as error:
        yield Table("Nothing", ["network"], [], f"Left out: {error}.")
        return
    torch.set_num_threads(1)
    network = mace_model(species=(1, 6, 8, 14), hidden="64x0e")
    cases = [Case(9, 8), Case(9, 32)] if quick else [Case(9, 8), Case(9, 16), Case(9, 32), Case(64, 8), Case(64, 32)]
    rounds = 3 if quick else 7
    with tempfile.TemporaryDirectory(prefix="fsnetwork-") as folder:
        torch.save(network, Path(folder) / "network.model")
        yield from in_process(network, cases, rounds)
        yield from through_ipi(Path(folder) / "network.model", cases, rounds)
