"""What i-PI accepts and dies of later, waits over for ever, or silently ignores: one function for each of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..elements import find_element
from .doubts import dynamics, without_thermostat
from .input import FEMTOSECOND, all_in

EXCHANGING = {"AlchemyMC": "alchemy", "AtomSwap": "atomswap"}
"""i-PI's motions that exchange atoms of two labels, and their tags."""


def problems(simulation: Any) -> Iterator[str]:
    """Everything that is wrong in a simulation of i-PI, which has been bound."""
    for examine in (
        _fixed_atoms,
        _idle_parts,
        _without_time,
        _exchanges,
        _without_stride,
        _without_shift,
    ):
        yield from examine(simulation)


def _fixed_atoms(simulation: Any) -> Iterator[str]:
    for system in simulation.syslist:
        fixed, atoms = system.motion.fixatoms_dof, system.beads.natoms
        if len(fixed) and not 0 <= min(fixed) <= max(fixed) < 3 * atoms:
            wrong = max(fixed) if max(fixed) >= 3 * atoms else min(fixed)
            yield f"<motion> fixes atom {wrong // 3}; there are atoms 0 to {atoms - 1}"


def _idle_parts(simulation: Any) -> Iterator[str]:
    """What i-PI accepts and silently ignores."""
    for mode in without_thermostat(simulation):
        if mode.startswith("nvt"):
            yield f"<dynamics mode='{mode}'> has no <thermostat>: the temperature is free"
    biased = {part.ffield for system in simulation.syslist for part in system.ensemble.bcomp}
    for move in all_in(simulation.smotion):
        for name in getattr(move, "metaff", ()):
            if name not in biased:
                yield f"<metaff> names '{name}', which is in no <bias>: it will get no hills"


def _without_time(simulation: Any) -> Iterator[str]:
    """Time steps, numbers of them and time constants with which nothing moves, or everything backwards."""
    for _, motion, _ in dynamics(simulation):
        if not float(motion.dt) > 0:
            yield f"<dynamics> has a <timestep> of {float(motion.dt) / FEMTOSECOND:g} fs: it must be positive"
        if np.min(motion.nmts) < 1:
            yield f"<nmts> of <dynamics> is {list(map(int, motion.nmts))}: every level needs one step at least"
        tau = getattr(motion.barostat, "tau", None)
        if tau is not None and not float(tau) > 0:
            yield f"the <barostat> has a <tau> of {float(tau) / FEMTOSECOND:g} fs: it must be positive"


def _exchanges(simulation: Any) -> Iterator[str]:
    """Exchanges for which i-PI seeks a partner for ever, and those that should change forces and cannot."""
    for system in simulation.syslist:
        for motion in all_in(system.motion):
            if not (tag := EXCHANGING.get(type(motion).__name__)):
                continue
            there = sorted({str(system.beads.names[atom]) for atom in motion.AXlist(motion.names)})
            elements = {find_element(label) for label in there} - {None}
            if len(there) < 2:
                has = f"only {there[0]}" if there else "none"
                yield (
                    f"<{tag}> exchanges atoms of {', '.join(motion.names)}, of which the system has "
                    f"{has}: <names> needs two labels of its atoms"
                )
            elif tag == "alchemy" and len(elements) > 1:
                yield (
                    f"<alchemy> exchanges the labels and masses of {', '.join(there)}, but drivers hear of no labels, "
                    "so the forces stay: it is for isotopes of one element, <atomswap> for different ones"
                )


def _without_stride(simulation: Any) -> Iterator[str]:
    from ipi.engine.outputs import CheckpointOutput

    for output in simulation.outtemplate:
        if isinstance(output, CheckpointOutput) and output.stride < 1:
            yield f"<checkpoint filename='{output.filename}'> has a stride of {output.stride}: it must be positive"
    if simulation.safe_stride < 1:
        yield f"<simulation safe_stride='{simulation.safe_stride}'>: it must be positive"


def _without_shift(simulation: Any) -> Iterator[str]:
    """Finite differences over no distance, of which i-PI dies when all of them are done."""
    for system in simulation.syslist:
        for motion in all_in(system.motion):
            if (shift := getattr(motion, "deltax", None)) is not None and not float(shift) > 0:
                yield f"<vibrations> has a <pos_shift> of {float(shift):g} bohr: it must be positive"
