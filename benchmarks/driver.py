"""The driver: what one evaluation costs on top of the potential.

A server in C (`clients/stopwatch.c`) sends what i-PI sends with its messages consolidated, and measures the time from
POSDATA to the answer to STATUS; the clients have a potential that costs nothing. All clients are connected at once and
take turns, block by block. Numbers are microseconds per evaluation: the median over rounds of each block's median, in
brackets the smallest, and the ratio of the median to that of the echo in C. A batch is eight structures in one message.
The echoes send the positions back as forces, without checks or conversion, which leaves only the system calls, context
switches and copies that no client can avoid. For batches over unix and TCP, i-PI's Fortran driver only has a mode that
answers with zeros from one buffer (`batch-dummy`): it neither converts nor checks anything, and is an echo, too.
"""

import statistics
from collections.abc import Iterator
from pathlib import Path

from .clients.stopwatch import Block, blocks
from .clients.zoo import Address, Command, available, cells
from .harness import Table
from .harness.compiled import programs

SOURCES = Path(__file__).parent / "clients"
ATOMS = (8, 64, 512, 4096, 32768)
ROUNDS = 15


def evaluations(work: Address) -> int:
    """Length of a block: tens of milliseconds at least, or a busy moment of the machine would be a whole block."""
    return max(100, min(1000, 2_000_000 // (work.atoms * work.batch)))


def measure(stopwatch: Path, commands: dict[str, Command], work: Address, rounds: int) -> dict[str, str]:
    """The cell of each client that speaks this."""
    turns: dict[str, list[Block]] = {}
    for block in blocks(stopwatch, commands, work, rounds, evaluations(work)):
        turns.setdefault(block.client, []).append(block)
    measured = {}
    for client, own in turns.items():
        failed = any(block.median is None for block in own)
        medians, bests = [block.median for block in own], [block.best for block in own]
        measured[client] = None if failed else (statistics.median(medians), min(bests))
    return cells(measured, digits=1)


def tables(quick: bool) -> Iterator[Table]:
    with programs(SOURCES / "stopwatch.c", SOURCES / "echo.c") as (stopwatch, echo):
        commands, missing = available(echo)
        note = f"Left out: {', '.join(missing)}." if missing else ""
        for transport in ("unix", "tcp", "shm"):
            for batch in (1, 8):
                sizes = ATOMS[::2] if quick else ATOMS
                columns = [
                    measure(stopwatch, commands, Address(transport, "", atoms, batch), 3 if quick else ROUNDS)
                    for atoms in sizes
                ]
                rows = [[client, *(column.get(client) for column in columns)] for client in commands]
                structures = "single structures" if batch == 1 else f"batches of {batch}"
                yield Table(
                    title=f"{transport}, {structures}, microseconds per message",
                    columns=["client", *(f"{atoms} atoms" for atoms in sizes)],
                    rows=[row for row in rows if any(row[1:])],
                    note=note,
                )
