"""What i-PI understood of its input, and which of it cannot be intended."""

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import InputError
from .findings import ADVICE, OK, WRONG, Finding

if TYPE_CHECKING:
    from ..frame import Frame
    from ..ipi.input import IpiInput, SocketServer
    from ..ipi.rehearsal import Rehearsal, SystemAsUnderstood

LIMITS = {
    "temperature": ("K", "kelvin", 0, 1e4, 1e7),
    "initial temperature": ("K", "kelvin", 0, 1e4, 1e7),
    "time step": ("fs", "femtosecond", 0.03, 10, 100),
    "pressure": ("GPa", "gigapascal", -1e3, 1e3, math.inf),
    "tau of the thermostat": ("fs", "femtosecond", 5, 1e5, math.inf),
    "tau of the barostat": ("fs", "femtosecond", 5, 1e6, math.inf),
}
"""Unit, i-PI's name of it; below and above what it is unusual; from what it is impossible."""


FORMATTED = 9.500435e-4, -12.345678
"""Numbers of i-PI's states: 300 K in Hartree, and any other."""


def rehearse_input(ipi: "IpiInput") -> "tuple[Rehearsal | None, list[Finding]]":
    """Constructs i-PI's simulation without running it; returns it with i-PI's complaints."""
    from ..ipi.rehearsal import rehearse

    try:
        rehearsal = rehearse(ipi.path, ipi.folder)
    except InputError as error:
        return None, [Finding(WRONG, "simulation", str(error))]
    return rehearsal, [
        *(Finding(WRONG, "simulation", text) for text in rehearsal.problems),
        *(Finding(ADVICE, "dynamics", text) for text in rehearsal.doubts),
        *(finding for system in rehearsal.systems for finding in _system(system)),
    ]


def inspect_folders(ipi: "IpiInput") -> Iterator[Finding]:
    """i-PI does not create folders, and ends when it finds a file EXIT."""
    for folder in ipi.folders:
        if not folder.is_dir():
            yield Finding(WRONG, "simulation", f"there is no folder {folder} for i-PI's outputs: mkdir -p {folder}")
    if why := ipi.told_to_stop():
        yield Finding(WRONG, "simulation", why)


def inspect_forcefields(ipi: "IpiInput") -> Iterator[Finding]:
    """Duplicate names and addresses, unused force fields."""
    from ..ipi.addresses import share

    names = list(ipi.forcefields)
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Finding(WRONG, "forces", f"two force fields are called '{name}'; i-PI takes the last one")
    for one, other in itertools.combinations(ipi.sockets, 2):
        if share(one, other):
            at = one.place if one.place == other.place else f"{one.place} and {other.place}, which is the same"
            text = f"two <ffsocket> listen at {at}: give each an <address> or port of its own"
            yield Finding(WRONG, "socket", text)
    for server in ipi.sockets:
        if server.latency_seconds < 0:
            text = f"<latency> of '{server.name}' is {server.latency_seconds:g} s: i-PI would wait for ever; set 0"
            yield Finding(WRONG, "socket", text)
    used = {part.forcefield for system in ipi.systems for part in system.components}
    for name in names:
        if name not in used:
            yield Finding(ADVICE, "forces", f"no <force> and no <bias> uses the force field '{name}'")


def inspect_tags(ipi: "IpiInput") -> Iterator[Finding]:
    """Tags given twice, such as two <motion> in one <system>, and sections of other modes."""
    from ..ipi.tags import repeated_tags, unused_sections

    for around, tag, times in repeated_tags(ipi.path):
        text = f"<{around}> has {times} <{tag}>: i-PI takes the last one and ignores what the others say"
        hint = f" (for both, put them into <{tag} mode='multi'>)" if tag in ("motion", "smotion") else ""
        yield Finding(WRONG, "simulation", f"{text}{hint}")
    for around, mode, section in unused_sections(ipi.path):
        yield Finding(ADVICE, "simulation", f"<{around} mode='{mode}'> does not use its <{section}>")
    if not ipi.checkpoints:
        text = "there is no <checkpoint> in <output>: a simulation that is killed cannot be resumed"
        yield Finding(ADVICE, "simulation", text)


def inspect_float_format(ipi: "IpiInput") -> Iterator[Finding]:
    """States have the format of the outputs, in atomic units: with few decimals a restart is at another temperature."""
    try:
        kept = [float(ipi.float_format % value) for value in FORMATTED]
    except (TypeError, ValueError, OverflowError):
        yield Finding(WRONG, "simulation", f"floatformat='{ipi.float_format}' makes no number; usual is '%16.8e'")
        return
    lost = max(abs(mine / value - 1) for mine, value in zip(kept, FORMATTED, strict=True))
    if lost > 1e-5:
        text = f"floatformat='{ipi.float_format}' changes {FORMATTED[0]:g} Hartree, 300 K, into {kept[0]:g}"
        hint = "states have it, too, so what continues from them is another simulation; usual is '%16.8e'"
        yield Finding(ADVICE, "simulation", f"{text}: {hint}")


def inspect_volume(ipi: "IpiInput", rehearsal: "Rehearsal", server: "SocketServer") -> Iterator[Finding]:
    """A potential whose virial is exactly zero cannot say how the volume should change."""
    for system, understood in zip(ipi.systems, rehearsal.systems, strict=True):
        if not (understood.moves_the_cell and system.beads_of(server.forcefield)):
            continue
        alone = {part.forcefield for part in system.components} == {server.forcefield}
        possible = len(system.species) == 1  # an atom far from its images has none
        text = f"its virial is zero, but {understood.motion} changes the volume by it: the potential must give a stress"
        yield Finding(WRONG if alone and not possible else ADVICE, "potential", text)


def inspect_vacuum(template: "Frame", rehearsal: "Rehearsal") -> Iterator[Finding]:
    """Cells that change along directions in which nothing is periodic: a slab or a molecule in a box."""
    for understood in rehearsal.systems:
        open_ones = [k for k in range(3) if not template.pbc[k] and k not in understood.kept_lengths]
        if understood.moves_the_cell and open_ones:
            along = ", ".join("abc"[k] for k in open_ones)
            text = f"{understood.motion} changes the cell along {along}, where the template is not periodic"
            hint = "the potential gives no pressure there (<hfix> of a flexible barostat keeps lengths)"
            yield Finding(ADVICE, "dynamics", f"{text}: {hint}")


def _system(system: "SystemAsUnderstood") -> Iterator[Finding]:
    understood = {
        "time step": system.timestep_fs,
        "temperature": system.temperature_K,
        "initial temperature": system.kinetic_K,
        "pressure": system.pressure_GPa,
        "tau of the thermostat": system.thermostat_fs,
        "tau of the barostat": system.barostat_fs,
    }
    values = {name: value for name, value in understood.items() if value is not None}
    said = ", ".join(f"{name} {value:.4g} {LIMITS[name][0]}" for name, value in values.items())
    beads = f"{system.beads} bead{'s' if system.beads > 1 else ''}"
    yield Finding(OK, "dynamics", ", ".join(filter(None, (system.motion, beads, said))))
    for name, value in values.items():
        unit, word, low, high, absurd = LIMITS[name]
        if low <= value <= high:
            continue
        text = f"the {name} is {value:.4g} {unit} for i-PI: is units='{word}' missing, or another unit meant?"
        yield Finding(WRONG if abs(value) >= absurd else ADVICE, "dynamics", text)
    yield from _velocities(system)
    for field in system.repeated:
        text = f"two <force> of one system use the force field '{field}': its forces are added up"
        yield Finding(ADVICE, "forces", text)
    for field in system.idle:
        yield Finding(ADVICE, "forces", f"the <force> with the force field '{field}' has weight 0")


def _velocities(system: "SystemAsUnderstood") -> Iterator[Finding]:
    """Initial velocities of another temperature, beyond what so few atoms scatter by."""
    if not system.temperature_K or not system.kinetic_K:
        return
    ratio = system.kinetic_K / system.temperature_K
    if abs(ratio - 1) > 5 * math.sqrt(2 / system.degrees_of_freedom) and not 0.3 < ratio < 2:
        text = (
            f"the initial velocities are those of {system.kinetic_K:.4g} K, the temperature is "
            f"{system.temperature_K:.4g} K: are both meant?"
        )
        yield Finding(ADVICE, "dynamics", text)
