"""Extras that i-PI is asked to write or to average, but that no driver sends."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .findings import WRONG, Finding

if TYPE_CHECKING:
    from ..ipi.input import IpiInput, SocketServer, System
    from ..ipi.rehearsal import Rehearsal, SystemAsUnderstood


def inspect_extras(
    ipi: "IpiInput", rehearsal: "Rehearsal", servers: "dict[str, SocketServer]", sent: dict[str, set[str]]
) -> Iterator[Finding]:
    """Examines systems whose extras all come from this configuration.

    servers: the <ffsocket> of each section of the configuration. sent: the names that the section's driver sends.
    """
    known = {server.forcefield: sent[name] for name, server in servers.items() if name in sent and not server.nested}
    for system, understood in zip(ipi.systems, rehearsal.systems, strict=True):
        yield from _dropped(system, understood)
        of_kind = {
            "extras": {part.forcefield for part in system.components if not part.bias},
            "extras_bias": {part.forcefield for part in system.components if part.bias},
        }
        for trajectory, key in understood.extras:
            fields = of_kind.get(trajectory, set())
            if fields and fields <= known.keys() and key != "raw":
                yield from _missing(f"<trajectory extra_type='{key}'> {trajectory}", key, known, fields)
        if understood.charges_of_driver and of_kind["extras"] <= known.keys():
            yield from _missing("<bec mode='driver'>", "BEC", known, of_kind["extras"])
        for forcefield, key in understood.interpolated:
            if forcefield in known:
                yield from _missing(f"<interpolate_extras> of '{forcefield}'", key, known, {forcefield})


def _dropped(system: "System", understood: "SystemAsUnderstood") -> Iterator[Finding]:
    """i-PI averages the extras it is told to over beads, and drops others if there are fewer structures than beads."""
    for trajectory, key in understood.extras:
        parts = [part for part in system.components if part.bias == (trajectory == "extras_bias")]
        kept = [
            part for part in parts if part.beads == system.beads or (part.forcefield, key) in understood.interpolated
        ]
        if parts and not kept and trajectory in ("extras", "extras_bias"):
            text = (
                f"<trajectory extra_type='{key}'> {trajectory}: i-PI drops '{key}' of '{parts[0].forcefield}', "
                f"since the force has nbeads='{parts[0].beads}' and the system {system.beads}: "
                f"<interpolate_extras>[{key}]</interpolate_extras> in <force> keeps it"
            )
            yield Finding(WRONG, "extras", text)


def _missing(who: str, key: str, known: dict[str, set[str]], fields: set[str]) -> Iterator[Finding]:
    for name in sorted(fields):
        if key not in known[name]:
            has = ", ".join(sorted(known[name])) or "none"
            yield Finding(WRONG, "extras", f"{who} wants '{key}', which '{name}' does not send; it sends {has}")
