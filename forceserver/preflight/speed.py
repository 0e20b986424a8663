"""What costs time: waiting, messages, batches that do not come out even, drivers that hang."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .findings import ADVICE, WRONG, Finding

if TYPE_CHECKING:
    from ..ipi.driver import DriverConfig
    from ..ipi.input import IpiInput, SocketServer

DEFAULT_LATENCY_SECONDS = 1e-4
DEFAULT_LATENCY_MICROSECONDS = 64
"""What i-PI's default <latency> costs on every step (docs/benchmarks.md)."""

LARGE_ATOMS = 4096
"""Atoms from which on positions and forces cost more than the messages around them."""


def inspect_speed(
    server: "SocketServer", ipi: "IpiInput", drivers: int, batches: bool | None, seconds: float | None
) -> Iterator[Finding]:
    """Advice for an <ffsocket> with this many drivers.

    batches: whether the potential computes several structures at once. seconds: what the template took. None: not
    known.
    """
    beads = sum(system.beads_of(server.forcefield) for system in ipi.systems)
    atoms = max((len(system.species) for system in ipi.systems), default=0)
    yield from _latency(server)
    if ipi.threading and len(ipi.systems) == 1:
        text = "one system: threading='False' in <simulation> avoids handing every step to a thread"
        yield Finding(ADVICE, "speed", text)
    yield from _timeout(server, drivers, seconds)
    if not server.consolidated:
        yield Finding(ADVICE, "speed", "<consolidate_messages> is off: one more round trip per structure")
        if server.batch_size > 1:
            yield Finding(WRONG, "batches", "<batch_size> needs <consolidate_messages> True")
    yield from _batches(server, beads, drivers, batches)
    if atoms >= LARGE_ATOMS and server.mode == "unix":
        yield Finding(ADVICE, "speed", f"{atoms} atoms: mode='shm' saves the copies through the socket")
    if server.mode == "inet" and server.address in ("localhost", "127.0.0.1"):
        yield Finding(ADVICE, "speed", "mode='inet' on one machine: mode='unix' is faster")


def _latency(server: "SocketServer") -> Iterator[Finding]:
    if server.latency_seconds > DEFAULT_LATENCY_SECONDS:
        consequence = "i-PI looks for forces that often only; use <latency>0</latency>"
    else:
        consequence = f"<latency>0</latency> saves about {DEFAULT_LATENCY_MICROSECONDS} µs a step"
    if server.latency_seconds > 0:
        yield Finding(ADVICE, "speed", f"<latency> is {server.latency_seconds:g} s: {consequence}")


def _timeout(server: "SocketServer", drivers: int, seconds: float | None) -> Iterator[Finding]:
    """Drivers that i-PI would take for lost, or wait for."""
    if seconds and 0 < server.timeout_seconds < seconds:
        text = (
            f"<timeout> is {server.timeout_seconds:g} s, and the potential took {seconds:.2g} s for the template: "
            "i-PI takes a driver for lost that is still computing"
        )
        yield Finding(ADVICE, "drivers", text)
    if drivers > 1 and server.timeout_seconds <= 0:
        text = (
            "no <timeout>: i-PI waits for ever for a driver that hangs, or whose node has vanished; "
            "<timeout>600</timeout> gives what is not answered within 600 s to another driver"
        )
        yield Finding(ADVICE, "drivers", text)


def inspect_deadline(driver: "DriverConfig", seconds: float | None) -> Iterator[Finding]:
    """Drivers that `launch` would end, one after the other, while they compute."""
    limit = driver.evaluation_deadline_seconds
    if seconds and limit is not None and limit < seconds:
        text = (
            f"driver.evaluation_deadline_seconds is {limit:g} s, and the potential took {seconds:.2g} s for the "
            "template: launch would replace drivers that are still computing"
        )
        yield Finding(ADVICE, "drivers", text)


def _batches(server: "SocketServer", beads: int, drivers: int, batches: bool | None) -> Iterator[Finding]:
    """How the structures of a step are dealt out."""
    share = -(-beads // max(drivers, 1))
    gain = "; it computes them one by one, so that only messages are saved" if batches is False else ""
    if server.batch_size > beads > 0:
        text = f"<batch_size> {server.batch_size} is more than the {beads} structures of a step: the rest is repeated"
        yield Finding(ADVICE, "batches", text)
    elif beads > drivers and server.batch_size < share:
        yield Finding(
            ADVICE,
            "batches",
            f"{beads} structures a step, {drivers} driver(s), batches of {server.batch_size}: "
            f"<batch_size>{share}</batch_size> gives each driver its share at once{gain}",
        )
    elif beads and beads % server.batch_size:
        text = f"{beads} structures a step are no multiple of <batch_size> {server.batch_size}: the last is padded"
        yield Finding(ADVICE, "batches", text)
    if drivers > 1 and beads and (idle := drivers - -(-beads // server.batch_size)) > 0:
        yield Finding(ADVICE, "drivers", f"{idle} of {drivers} drivers will have nothing to do")
