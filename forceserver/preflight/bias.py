"""Does i-PI send the bias one structure a step, and do both mean the same time step and temperature?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import InputError
from .findings import ADVICE, WRONG, Finding

if TYPE_CHECKING:
    from ..bias.config import MetadynamicsConfig
    from ..bias.plumed.config import PlumedConfig
    from ..configuration import Configuration
    from ..ipi.input import IpiInput, SocketServer
    from ..ipi.rehearsal import Rehearsal

TOLERANCE = 1e-3
"""Relative: more than what constants differ by, less than what anybody means."""


def inspect_bias(
    configuration: "Configuration", server: "SocketServer | None", ipi: "IpiInput", rehearsal: "Rehearsal | None"
) -> Iterator[Finding]:
    """`server`: the <ffsocket> that [bias_socket] connects to, if there is one."""
    from ..bias.choice import chosen

    if configuration.bias is None:
        return
    if configuration.bias_socket is None and not any(tag == "ffdirect" for tag, _ in ipi.other_forcefields):
        text = "[bias] has no [bias_socket]: no force field of i-PI will receive it, unless by ipi-pes"
        yield Finding(ADVICE, "bias", text)
    if server is None:
        return
    try:
        section = chosen(configuration.bias)
        yield from _structures(section, server.forcefield, ipi)
    except InputError:
        return  # no kernel, or no input for it: told by whoever builds the bias
    if rehearsal is not None:
        yield from _time_and_temperature(section, server.forcefield, ipi, rehearsal)


def _structures(section: "MetadynamicsConfig | PlumedConfig", forcefield: str, ipi: "IpiInput") -> Iterator[Finding]:
    """Every structure that a bias has not seen is its next step, of whichever bead or system it is."""
    by_system = [beads for system in ipi.systems if (beads := system.beads_of(forcefield))]
    if (total := sum(by_system)) < 2:
        return
    if len(by_system) > 1:
        whose = f"of {len(by_system)} systems"
        remedy = (
            "give every system a bias of its own, with a socket, a configuration and a folder (walkers share hills)"
        )
    else:
        whose = "of beads"
        remedy = f"<force forcefield='{forcefield}' nbeads='1'/> biases the centroid"
    text = f"'{forcefield}' gets {total} structures a step, {whose}, and each is a step of the bias: {remedy}"
    yield Finding(WRONG if _depends_on_time(section) else ADVICE, "bias", text)


def _depends_on_time(section: "MetadynamicsConfig | PlumedConfig") -> bool:
    from ..bias.plumed.config import PlumedConfig
    from ..bias.plumed.input import depend_on_time, read_actions

    if isinstance(section, PlumedConfig):
        return depend_on_time(read_actions(section.plumed_dat))
    return bool(section.hills or section.opes or section.moving_restraints)


def _time_and_temperature(
    section: "MetadynamicsConfig | PlumedConfig", forcefield: str, ipi: "IpiInput", rehearsal: "Rehearsal"
) -> Iterator[Finding]:
    """What the configuration says of the simulation, for whoever forgot to change it in both files."""
    growing = getattr(section, "hills", None) or getattr(section, "opes", None) or section
    temperature = getattr(growing, "temperature_K", None)
    for system, understood in zip(ipi.systems, rehearsal.systems, strict=True):
        if not system.beads_of(forcefield):
            continue
        pairs = {
            "time_step_fs": (section.time_step_fs, understood.timestep_fs, "fs", "times in files are those of [bias]"),
            "temperature_K": (temperature, understood.temperature_K, "K", "hills and weights are made for [bias]"),
        }
        for key, (here, there, unit, what) in pairs.items():
            if here and there and abs(here - there) > TOLERANCE * there:
                text = f"{key} is {here:g}, and i-PI's is {there:.4g} {unit}: {what}"
                yield Finding(ADVICE, "bias", text)
