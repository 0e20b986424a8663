"""The force door: what one evaluation costs on top of the potential.

A server in C (`clients/stopwatch.c`) sends what i-PI sends with its messages consolidated and takes the time from
POSDATA to the answer to STATUS; the clients have a potential that costs nothing. All clients are connected at once and
take turns, block by block. Numbers are microseconds per evaluation: the median over rounds of each block's median, and
in brackets the smallest. A batch is eight structures in one message. The echoes send the positions back as forces,
unchecked and unconverted: system calls, context switches and copies that no client can avoid.
"""

import os
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .clients.zoo import PREFIX, Address, Command, available
from .harness import Table
from .harness.compiled import programs

SOURCES = Path(__file__).parent / "clients"
ATOMS = (8, 64, 512, 4096, 32768)
ROUNDS = 11


def evaluations(atoms: int, batch: int) -> int:
    """Length of a block: about 10 to 50 ms."""
    return max(30, min(1000, 400_000 // (atoms * batch)))


def measure(
    stopwatch: Path, commands: dict[str, Command], transport: str, atoms: int, batch: int, rounds: int
) -> dict[str, str | None]:
    """The cell of each client: "median (minimum)", "failed", or None where it does not speak this."""
    name = f"fsbench_{os.getpid()}_{transport}_{atoms}_{batch}_"
    probe = Address(transport, "0", atoms, batch)
    speakers = {client: command for client, command in commands.items() if command(probe)}
    server = subprocess.Popen(
        [
            stopwatch,
            transport,
            PREFIX + name,
            *map(str, (len(speakers), atoms, batch, rounds, evaluations(atoms, batch))),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    places = [server.stdout.readline().strip().removeprefix(PREFIX) for _ in speakers]
    drivers = [
        subprocess.Popen(command(Address(transport, place, atoms, batch)), stdout=subprocess.DEVNULL)
        for command, place in zip(speakers.values(), places, strict=True)
    ]
    lines = [line.split() for line in server.stdout]
    for driver in drivers:
        try:
            driver.wait(timeout=10)
        except subprocess.TimeoutExpired:
            driver.kill()
    cells: dict[str, str | None] = dict.fromkeys(commands)
    for number, client in enumerate(speakers):
        blocks = [line[2:] for line in lines if line[0] == str(number)]
        if not blocks or ["failed"] in blocks:
            cells[client] = "failed"
        else:
            median = statistics.median(float(block[0]) for block in blocks)
            cells[client] = f"{median:.1f} ({min(float(block[1]) for block in blocks):.1f})"
    return cells


def tables(quick: bool) -> Iterator[Table]:
    with programs(SOURCES / "stopwatch.c", SOURCES / "echo.c") as (stopwatch, echo):
        commands, missing = available(echo)
        note = f"Left out: {', '.join(missing)}." if missing else ""
        for transport in ("unix", "tcp", "shm"):
            for batch in (1, 8):
                sizes = ATOMS[::2] if quick else ATOMS
                columns = [
                    measure(stopwatch, commands, transport, atoms, batch, 3 if quick else ROUNDS) for atoms in sizes
                ]
                rows = [[client, *(column[client] for column in columns)] for client in commands]
                structures = "single structures" if batch == 1 else f"batches of {batch}"
                yield Table(
                    title=f"{transport}, {structures}, microseconds per message",
                    columns=["client", *(f"{atoms} atoms" for atoms in sizes)],
                    rows=[row for row in rows if any(row[1:])],
                    note=note,
                )
