"""Steps of a real i-PI simulation with forces that cost nothing.

i-PI does its own work in every step (thermostat, propagation, 32 beads with the normal-mode transforms), which
`<ffdirect>` with a potential of zeros shows without any socket. The other rows add a client over a unix socket, one
client per simulation. Simulations take turns, a block of steps each; the others are stopped (SIGSTOP) meanwhile,
because i-PI polls its sockets even when it has nothing to do. Numbers are microseconds per step: the median over
rounds, in brackets the smallest, and the ratio of the median to that of the echo in C. `latency` is the pause of i-PI's
polling thread (default 1e-4 s).
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .clients.zoo import Address, Command, available, cells
from .harness import Table
from .harness.compiled import programs
from .harness.ipi_input import stepping_input

CLIENTS = Path(__file__).parent / "clients"
DIRECT = "`<ffdirect>`, no client"
BLOCK_SECONDS = 0.2


@dataclass(frozen=True)
class Case:
    """One column: the simulation that is stepped."""

    atoms: int
    beads: int
    batch: int
    latency: float = 1e-4

    def __str__(self) -> str:
        if self.beads == 1:
            return f"{self.atoms} atoms"
        return f"batches of {self.batch}" if self.batch > 1 else "one by one"


def write_input(folder: Path, case: Case, address: str | None) -> None:
    """The input of i-PI and its structure; without an address the potential is inside i-PI."""
    batch = f"<batch_size>{case.batch}</batch_size>" if case.batch > 1 else ""
    if address:
        forcefield = (
            f"<ffsocket name='zero' mode='unix' pbc='False'>{batch}"
            f"<address>{address}</address><latency>{case.latency}</latency></ffsocket>"
        )
    else:
        forcefield = f"<ffdirect name='zero' pbc='False'>{batch}<pes>dummy</pes></ffdirect>"
    thermostat = "langevin" if case.beads == 1 else "pile_g"
    text = stepping_input(
        "zero",
        forcefield,
        "<file mode='xyz' units='angstrom'>start.xyz</file>",
        case.beads,
        thermostat=thermostat,
        timestep_fs="1e-6",  # so short that the echoes' forces, which are the positions, move nothing
    )
    (folder / "input.xml").write_text(text)
    side = 3.0 * round(case.atoms ** (1 / 3))
    sites = 3.0 * np.stack(np.unravel_index(np.arange(case.atoms), (round(case.atoms ** (1 / 3)),) * 3), axis=1)
    lines = "".join(f"Al {x} {y} {z}\n" for x, y, z in sites)
    (folder / "start.xyz").write_text(f"{case.atoms}\n# CELL(abcABC): {side} {side} {side} 90 90 90\n{lines}")


class Simulation:
    """One i-PI and its client, stopped unless it is stepping."""

    def __init__(self, folder: Path, case: Case, command: Command | None) -> None:
        address = f"fssteps_{os.getpid()}_{folder.name}" if command else None
        write_input(folder, case, address)
        self.block = 10
        self.client = None
        self.host = subprocess.Popen(
            [sys.executable, CLIENTS / "ipi_host.py", "input.xml"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        while self.host.stdout.readline().strip() not in ("ready", ""):
            pass
        if command:
            where = Address("unix", address, case.atoms, case.batch)
            self.client = subprocess.Popen(command(where), cwd=folder, stdout=subprocess.DEVNULL)

    def turn(self) -> float:
        """Seconds per step in one block of steps. A client that died leaves i-PI waiting: that is the end."""
        self.host.send_signal(signal.SIGCONT)
        watchdog = threading.Timer(60.0, self.host.kill)
        watchdog.start()
        self.host.stdin.write(f"{self.block}\n")
        answer = self.host.stdout.readline()
        watchdog.cancel()
        if not answer:
            raise SystemExit("benchmarks: an i-PI simulation ended or stood still, see above")
        self.host.send_signal(signal.SIGSTOP)
        return float(answer) / self.block

    def warm_up(self) -> None:
        """Waits until the client is there and chooses the length of the blocks."""
        self.turn()
        self.block = max(10, round(BLOCK_SECONDS / self.turn()))

    def close(self) -> None:
        self.host.send_signal(signal.SIGCONT)
        self.host.stdin.close()
        for process in filter(None, (self.host, self.client)):
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def measure(case: Case, commands: dict[str, Command | None], rounds: int) -> dict[str, str]:
    """The cell of every client that speaks this case, in microseconds per step."""
    probe = Address("unix", "", case.atoms, case.batch)
    simulations = {}
    with tempfile.TemporaryDirectory(prefix="fssteps-") as folder, ExitStack() as stack:
        for number, (name, command) in enumerate(commands.items()):
            if command is None or command(probe):
                place = Path(folder) / str(number)
                place.mkdir()
                simulations[name] = stack.enter_context(closing(Simulation(place, case, command)))
                simulations[name].warm_up()
        times: dict[str, list[float]] = {name: [] for name in simulations}
        for _ in range(rounds):
            for name, simulation in simulations.items():
                times[name].append(1e6 * simulation.turn())
    return cells({name: (statistics.median(each), min(each)) for name, each in times.items()}, digits=0)


def tables(quick: bool) -> Iterator[Table]:
    rounds = 3 if quick else 9
    with programs(CLIENTS / "echo.c") as (echo,):
        clients, missing = available(echo)
        commands = {DIRECT: None, **clients}
        note = f"Left out: {', '.join(missing)}." if missing else ""
        nvt = [Case(8, 1, 1), Case(512, 1, 1)]
        beads = [Case(8, 32, batch) for batch in (1, 8, 32)]
        for title, cases in (
            ("NVT", nvt),
            ("NVT, latency 0", [Case(case.atoms, 1, 1, latency=0) for case in nvt]),
            ("PIMD, 8 atoms, 32 beads", beads),
        ):
            columns = [measure(case, commands, rounds) for case in cases]
            rows = [[name, *(column.get(name) for column in columns)] for name in commands]
            yield Table(f"{title}, microseconds per step", ["forces from", *map(str, cases)], rows, note)
