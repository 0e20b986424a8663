"""What i-PI accepts and few mean: one function for each of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..elements import find_element
from .input import FEMTOSECOND, all_in

DALTON = 1822.888486  # electron masses
KELVIN = 3.1668115634556e-6  # Hartree

ISOTOPES = (0.4, 3.5)
"""Masses relative to that of the element that are isotopes (tritium: 3), or hydrogen made heavier on purpose."""

ROUNDED = 1e-3
"""Eigenvalues of the matrices of a GLE, relative to the largest, that three printed digits can make negative."""

AT_ANOTHER = 0.01
"""By how much the temperature in <C> of a GLE may differ."""

ABSURD_KELVIN = 1e7
"""No <C>, times the number of beads or not, is as hot as this."""

HYDROGEN_DALTON, HYDROGEN_FEMTOSECONDS = 1.5, 3.0
"""Masses of hydrogen that is not made heavier, and the longest time step at which its bonds (9 to 11 fs) are stable."""

MOVES_THE_CELL = ("npt", "nst", "scnpt")
"""Beginnings of the modes of <dynamics> with a barostat."""


def doubts(simulation: Any) -> Iterator[str]:
    """Everything that is doubtful in a simulation of i-PI, which has been bound."""
    for examine in (
        _constant_enthalpy,
        _without_effect,
        _masses,
        _twice,
        _scaled,
        _levels,
        _beads_in_vain,
        _immobile,
        _fixed_in_a_moving_cell,
        _cold,
        _too_slow_for_hydrogen,
        _at_rest,
        _heating,
        _at_another_temperature,
        _exchanges,
        _same_files,
    ):
        yield from examine(simulation)


def dynamics(simulation: Any) -> Iterator[tuple[Any, Any, str]]:
    """Every <dynamics>: its system, i-PI's object, its mode."""
    for system in simulation.syslist:
        for motion in all_in(system.motion):
            if mode := getattr(motion, "enstype", None):
                yield system, motion, mode


def without_thermostat(simulation: Any) -> Iterator[str]:
    """The mode of every <dynamics> that has no <thermostat>."""
    from ipi.engine.thermostats import Thermostat

    for _, motion, mode in dynamics(simulation):
        if type(motion.thermostat) is Thermostat:
            yield mode


def _constant_enthalpy(simulation: Any) -> Iterator[str]:
    for mode in without_thermostat(simulation):
        if mode in ("npt", "nst"):
            yield f"<dynamics mode='{mode}'> has no <thermostat>: the enthalpy is constant, not the temperature"


def _without_effect(simulation: Any) -> Iterator[str]:
    """Parts of <dynamics> that its ensemble does not use."""
    idle = {"nve": ("thermostat", "barostat"), "nvt": ("barostat",), "nvt-cc": ("barostat",)}
    for system, motion, mode in dynamics(simulation):
        for part in idle.get(mode, ()):
            if type(getattr(motion, part)).__name__.lower() != part:  # i-PI's base classes do nothing
                yield f"<dynamics mode='{mode}'> has a <{part}>, which has no effect there"
        if mode in idle and np.isfinite(system.ensemble.pext):
            yield f"<ensemble> has a <pressure>, which has no effect: <dynamics mode='{mode}'> keeps the volume"


def _masses(simulation: Any) -> Iterator[str]:
    """The first atom of each system whose mass is none of its element."""
    from ase.data import atomic_masses

    for system in simulation.syslist:
        for atom, (label, mass) in enumerate(zip(system.beads.names, system.beads.m / DALTON, strict=True)):
            number = find_element(str(label))
            if number and not ISOTOPES[0] < mass / atomic_masses[number] < ISOTOPES[1]:
                usual = f"{atomic_masses[number]:.4g}"
                yield f"atom {atom} ({label}) has a mass of {mass:.3g} u, usual is {usual}: is units='dalton' missing?"
                break


def _twice(simulation: Any) -> Iterator[str]:
    """Force fields of the potential that are in the bias, too."""
    for system in simulation.syslist:
        weights = [*system.ensemble.bweights, *[1.0] * len(system.ensemble.bcomp)]
        biases = {part.ffield for part, weight in zip(system.ensemble.bcomp, weights, strict=False) if weight}
        for name in sorted(biases & {part.ffield for part in system.fcomp if part.weight}):
            yield f"the force field '{name}' is in <forces> and in <bias>: its forces act twice"


def _scaled(simulation: Any) -> Iterator[str]:
    """The weight of a force that acts alone."""
    for system in simulation.syslist:
        acting = [part for part in system.fcomp if part.weight]
        if len(acting) == 1 and acting[0].weight != 1:
            weight = f"{float(acting[0].weight):g}"
            yield f"the only <force> has a weight of {weight}: energies and forces are multiplied by it"


def _immobile(simulation: Any) -> Iterator[str]:
    for system in simulation.syslist:
        if len(set(map(int, system.motion.fixatoms_dof))) == 3 * system.beads.natoms:
            yield "<motion> fixes every atom: nothing will move"
    for system, _, mode in dynamics(simulation):
        if mode == "nvt-cc" and system.beads.nbeads == 1:
            yield "<dynamics mode='nvt-cc'> fixes the centroid, and there is one bead: nothing will move"


def _levels(simulation: Any) -> Iterator[str]:
    """Force fields of several time steps that do not count once in all (the expensive one) or never (the cheap one).

    One that is taken off a contracted ring polymer and put onto the whole one is in two <force>.
    """
    for system in simulation.syslist:
        totals: dict[str, float] = {}
        stepped = {part.ffield for part in system.fcomp if not np.array_equal(part.mts_weights, [1])}
        for part in system.fcomp:
            totals[part.ffield] = totals.get(part.ffield, 0) + float(np.sum(part.mts_weights))
        for name, total in totals.items():
            if name in stepped and not np.isclose(total, (0, 1)).any():
                yield (
                    f"<mts_weights> of the force field '{name}' add up to {total:g}: its energy and forces are "
                    "multiplied by it; usual is 1, or 0 for one that is only used in between"
                )


def _beads_in_vain(simulation: Any) -> Iterator[str]:
    for system in simulation.syslist:
        for part in (*system.fcomp, *system.ensemble.bcomp):
            if part.nbeads > (beads := system.beads.nbeads):
                has = f"{beads} bead{'s' if beads > 1 else ''}"
                yield (
                    f"<force forcefield='{part.ffield}' nbeads='{part.nbeads}'> has no effect, since the system has "
                    f"{has}: <initialize nbeads='{part.nbeads}'> makes a ring polymer of as many"
                )


def _fixed_in_a_moving_cell(simulation: Any) -> Iterator[str]:
    for _, motion, mode in dynamics(simulation):
        if mode.startswith(MOVES_THE_CELL) and len(motion.fixatoms_dof):
            yield f"<dynamics mode='{mode}'> moves the atoms that <motion> fixes, too: they are scaled with the cell"


def _cold(simulation: Any) -> Iterator[str]:
    for system, _, mode in dynamics(simulation):
        if not mode.endswith("nve") and float(system.ensemble.temp) == 0:
            yield "the temperature is 0 K: the thermostat only takes energy away, until nothing moves"


def _too_slow_for_hydrogen(simulation: Any) -> Iterator[str]:
    for system, motion, _ in dynamics(simulation):
        shortest = float(motion.dt) / FEMTOSECOND / max(np.prod(motion.nmts), 1)
        light = [atom for atom, mass in enumerate(system.beads.m / DALTON) if mass < HYDROGEN_DALTON]
        moving = [atom for atom in light if 3 * atom not in motion.fixatoms_dof]
        if moving and shortest > HYDROGEN_FEMTOSECONDS and type(motion).__name__ == "Dynamics":
            yield (
                f"the time step is {shortest:.3g} fs, and atom {moving[0]} has the mass of hydrogen, whose bonds "
                "vibrate within 9 to 11 fs: usual is 0.5 fs"
            )


def _at_rest(simulation: Any) -> Iterator[str]:
    for system, _, mode in dynamics(simulation):
        if mode == "nve" and not np.any(system.beads.p):
            yield "<dynamics mode='nve'> starts at rest: <velocities mode='thermal'> in <initialize> warms it"


def _heating(simulation: Any) -> Iterator[str]:
    """Matrices of a GLE that excite what they should damp, by more than the digits they are printed with."""
    for _, motion, _ in dynamics(simulation):
        matrices = np.asarray(getattr(motion.thermostat, "A", np.eye(1)))
        if matrices.ndim < 2 or matrices.shape[-1] != matrices.shape[-2]:
            continue
        rates = np.linalg.eigvals(matrices).real
        if rates.min(initial=0) < -ROUNDED * abs(rates).max(initial=0):
            yield f"<A> of the thermostat has an eigenvalue with the real part {rates.min():.3g}: it heats without end"


def _at_another_temperature(simulation: Any) -> Iterator[str]:
    """A GLE that acts as at another temperature: <C> is the identity times it, of PIGLET that of the centroid."""
    for _, motion, _ in dynamics(simulation):
        if type(motion.thermostat).__name__ not in ("ThermoGLE", "ThermoNMGLE"):
            continue
        covariance, expected = np.asarray(motion.thermostat.C), float(motion.thermostat.temp)
        covariance = covariance[0] if covariance.ndim > 2 else covariance
        if covariance.ndim < 2 or not 0 < covariance.shape[0] == covariance.shape[1]:
            continue
        found = float(covariance[0, 0])
        same = np.allclose(covariance, found * np.eye(len(covariance)), rtol=0, atol=ROUNDED * abs(found))
        if (same and not np.isclose(found, expected, rtol=AT_ANOTHER)) or found > ABSURD_KELVIN * KELVIN:
            yield (
                f"<C> of the thermostat is that of {found / KELVIN:.4g} K; temperature times beads is "
                f"{expected / KELVIN:.4g} K: was it made for another temperature, or is units='kelvin' missing?"
            )


def _exchanges(simulation: Any) -> Iterator[str]:
    """Replica exchange in which nothing will be exchanged."""
    for move in all_in(simulation.smotion):
        if type(move).__name__ != "ReplicaExchange":
            continue
        if len(simulation.syslist) < 2:
            yield "<smotion mode='remd'> has one system: there is nothing to exchange"
        elif len({_exchanged(system.ensemble) for system in simulation.syslist}) < 2:
            yield (
                "<smotion mode='remd'> exchanges systems of the same temperature, pressure and weights, which changes "
                "nothing: give each its own <temperature>"
            )
        if not move.stride > 0:
            yield f"<smotion mode='remd'> has a <stride> of {move.stride:g}: nothing is exchanged"


def _exchanged(ensemble: Any) -> str:
    parts = (ensemble.temp, ensemble.pext, ensemble.stressext, ensemble.bweights, ensemble.hweights)
    return " ".join(str(np.asarray(part).tolist()) for part in parts)


def _same_files(simulation: Any) -> Iterator[str]:
    """Systems whose outputs have the same names: i-PI renames the files of each when it opens those of the next."""
    prefixes = [system.prefix for system in simulation.syslist]
    for prefix in sorted({prefix for prefix in prefixes if prefixes.count(prefix) > 1}):
        which = f"the prefix '{prefix}'" if prefix else "no prefix"
        yield (
            f"{prefixes.count(prefix)} systems have {which}, so all write to the same files: "
            "<system prefix='...'> gives each its own"
        )
