"""Endurance: memory and file descriptors over 100 000 evaluations.

Each client serves 10^5 evaluations of 8 atoms. Its resident memory and its open file descriptors are read from
/proc after the first two thousand, when everything is allocated, and at the end.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from .clients.stopwatch import blocks
from .clients.zoo import Address, Command, available
from .harness import Table
from .harness.compiled import programs

CLIENTS = Path(__file__).parent / "clients"
BLOCK = 1000


def resident_kib(process: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def open_files(process: int) -> int:
    """Number of file descriptors that a process has open."""
    return len(os.listdir(f"/proc/{process}/fd"))


def measure(stopwatch: Path, commands: dict[str, Command], work: Address, rounds: int) -> Iterator[list[str | int]]:
    """Client, evaluations, growth of resident memory, growth of the number of open files."""
    before = {}
    for block in blocks(stopwatch, commands, work, rounds + 3, BLOCK):  # the last turn is behind the second reading
        now = (resident_kib(block.process), open_files(block.process)) if 0 < block.round <= rounds + 1 else None
        if block.round == 1:
            before[block.client] = now
        elif block.round == rounds + 1:
            memory, files = before[block.client]
            yield [block.client, work.transport, rounds * BLOCK, memory, now[0] - memory, now[1] - files]


def tables(quick: bool) -> Iterator[Table]:
    if not Path("/proc/self/statm").exists():
        yield Table("Not measured", ["client"], note="There is no /proc on this system.")
        return
    with programs(CLIENTS / "stopwatch.c", CLIENTS / "echo.c") as (stopwatch, echo):
        commands, _ = available(echo)
        commands = {client: command for client, command in commands.items() if not client.startswith("ASE")}
        rows = []
        for transport in ("unix", "tcp", "shm"):
            rows += measure(stopwatch, commands, Address(transport, "", 8), 10 if quick else 100)
    yield Table(
        "Growth over the evaluations",
        ["client", "transport", "evaluations", "resident, KiB", "growth, KiB", "new files"],
        sorted(rows),
    )
