"""Does i-PI send the bias one structure a step, and do both mean the same time step and temperature?"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import InputError
from ..units import BOLTZMANN_EV_PER_K
from .findings import ADVICE, WRONG, Finding

if TYPE_CHECKING:
    from ..bias.config import MetadynamicsConfig
    from ..bias.plumed.config import PlumedConfig
    from ..bias.plumed.input import Action
    from ..configuration import Configuration
    from ..ipi.input import IpiInput, SocketServer
    from ..ipi.rehearsal import Rehearsal

TOLERANCE = 1e-3
"""Relative: more than what constants differ by, less than what anybody means."""

HIGHEST_KT = 20
"""Higher hills are hardly meant."""


def inspect_bias(
    configuration: "Configuration", server: "SocketServer | None", ipi: "IpiInput", rehearsal: "Rehearsal | None"
) -> Iterator[Finding]:
    """`server`: the <ffsocket> that [bias_socket] connects to, if there is one."""
    from ..bias.choice import chosen
    from ..bias.plumed.config import PlumedConfig
    from ..bias.plumed.input import read_actions

    if configuration.bias is None:
        return
    if configuration.bias_socket is None and not any(tag == "ffdirect" for tag, _ in ipi.other_forcefields):
        text = "[bias] has no [bias_socket]: no force field of i-PI will receive it, unless by ipi-pes"
        yield Finding(ADVICE, "bias", text)
    if server is None:
        return
    try:
        section = chosen(configuration.bias)
        actions = read_actions(section.plumed_dat) if isinstance(section, PlumedConfig) else []
    except InputError:
        return  # no kernel, or no input for it: told by whoever builds the bias
    yield from _structures(_depends_on_time(section, actions), server.forcefield, ipi)
    yield from _heights(section)
    if rehearsal is not None:
        yield from _time_and_temperature(section, server.forcefield, ipi, rehearsal)
        yield from inspect_temperatures(actions, server.forcefield, ipi, rehearsal)
        yield from _multithermal(section, server.forcefield, ipi, rehearsal)


def _depends_on_time(section: "MetadynamicsConfig | PlumedConfig", actions: "list[Action]") -> bool:
    """Whether the bias is another one after some steps. actions: of PLUMED's input."""
    from ..bias.plumed.actions import depend_on_time
    from ..bias.plumed.config import PlumedConfig

    if isinstance(section, PlumedConfig):
        return depend_on_time(actions)
    return bool(section.growing or section.moving_restraints)


def _structures(depends_on_time: bool, forcefield: str, ipi: "IpiInput") -> Iterator[Finding]:
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
    yield Finding(WRONG if depends_on_time else ADVICE, "bias", text)


def _heights(section: "MetadynamicsConfig | PlumedConfig") -> Iterator[Finding]:
    """Hills in another unit of energy: in kJ/mol, as of PLUMED, they are a hundred times as high."""
    if (hills := getattr(section, "hills", None)) is None:
        return
    if (height := hills.height_eV / (BOLTZMANN_EV_PER_K * hills.temperature_K)) > HIGHEST_KT:
        text = f"height_eV = {hills.height_eV:g} is {height:.0f} k_B T: a hill is usually as high as k_B T or less"
        yield Finding(ADVICE, "bias", f"{text}; is it in kJ/mol?")


def _multithermal(
    section: "MetadynamicsConfig | PlumedConfig", forcefield: str, ipi: "IpiInput", rehearsal: "Rehearsal"
) -> Iterator[Finding]:
    """Simulations whose temperature does not belong to the potential energy alone."""
    if getattr(section, "multithermal", None) is None:
        return
    for system, understood in zip(ipi.systems, rehearsal.systems, strict=True):
        if system.beads_of(forcefield) and (understood.moves_the_cell or understood.beads > 1):
            what = "its volume changes" if understood.moves_the_cell else f"it has {understood.beads} beads"
            text = f"multithermal is for classical nuclei at constant volume, and {understood.motion}: {what}"
            yield Finding(ADVICE, "bias", f"{text}; averages at other temperatures will be wrong")


def _time_and_temperature(
    section: "MetadynamicsConfig | PlumedConfig", forcefield: str, ipi: "IpiInput", rehearsal: "Rehearsal"
) -> Iterator[Finding]:
    """What the configuration says of the simulation, for whoever forgot to change it in both files."""
    growing = getattr(section, "growing", None) or section  # PLUMED's has its temperature itself
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


def inspect_temperatures(
    actions: "list[Action]", forcefield: str, ipi: "IpiInput", rehearsal: "Rehearsal"
) -> Iterator[Finding]:
    """TEMP of actions whose bias grows; in replica exchange, each system has biases for all temperatures."""
    from ..bias.plumed.actions import GROWING
    from ..bias.plumed.input import keyword

    systems = zip(ipi.systems, rehearsal.systems, strict=True)
    there = [k.temperature_K for system, k in systems if k.temperature_K and system.beads_of(forcefield)]
    for name, temp in [(action[0], keyword(action, "TEMP")) for action in actions if action[0] in GROWING]:
        with contextlib.suppress(ValueError):  # PLUMED will say so
            if there and temp and all(abs(float(temp) - kelvin) > TOLERANCE * kelvin for kelvin in there):
                text = f"TEMP of {name} is {temp}, and i-PI's temperature {there[0]:.4g} K"
                yield Finding(ADVICE, "bias", f"{text}: hills and weights are made for TEMP")
