"""Runs clients against the stopwatch server."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .zoo import PREFIX, Address, Command


@dataclass(frozen=True)
class Block:
    """One client's turn: microseconds per evaluation (median and smallest), `None` once the client has failed."""

    client: str
    process: int
    round: int
    median: float | None
    best: float | None


def blocks(
    stopwatch: Path, commands: Mapping[str, Command], work: Address, rounds: int, evaluations: int
) -> Iterator[Block]:
    """The turns of all clients that speak this transport and batch, as they end.

    work: transport, atoms and batch; its place is not used, every client gets its own.
    """
    speakers = {client: command for client, command in commands.items() if command(work)}
    prefix = f"{PREFIX}fsbench_{os.getpid()}_{work.transport}_{work.atoms}_{work.batch}_"
    sizes = map(str, (len(speakers), work.atoms, work.batch, rounds, evaluations))
    server = subprocess.Popen([stopwatch, work.transport, prefix, *sizes], stdout=subprocess.PIPE, text=True)
    places = [server.stdout.readline().strip().removeprefix(PREFIX) for _ in speakers]
    drivers = [
        subprocess.Popen(command(Address(work.transport, place, work.atoms, work.batch)), stdout=subprocess.DEVNULL)
        for command, place in zip(speakers.values(), places, strict=True)
    ]
    try:
        names = list(speakers)
        for number, turn, *times in map(str.split, server.stdout):
            median, best = (None, None) if times == ["failed"] else map(float, times)
            yield Block(names[int(number)], drivers[int(number)].pid, int(turn), median, best)
    finally:
        for process in (server, *drivers):
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
