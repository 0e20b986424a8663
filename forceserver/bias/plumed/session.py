"""A PLUMED inside this process, in this package's units (eV, Angstrom, fs)."""

from typing import Any

import numpy as np

from ...errors import InputError
from ...units import BOLTZMANN_EV_PER_K, PER_EV
from .config import PlumedConfig
from .input import Action
from .kernel import HOW_TO_GET_IT, one_line

Session = Any
"""A `plumed.Plumed`; the package `plumed` may be missing."""

OLDEST_API = 10
"""PLUMED 2.9's."""


def new_session(kernel: str | None, natoms: int, config: PlumedConfig | None = None, restart: bool = False) -> Session:
    """A PLUMED with this package's units (eV, Angstrom, fs)."""
    import plumed

    instance = plumed.Plumed(kernel=kernel)
    api = np.zeros(1, dtype=np.intc)
    instance.cmd("getApiVersion", api)
    if api[0] < OLDEST_API:
        raise InputError(f"this PLUMED is too old (API {api[0]}); 2.9 or newer is needed: {HOW_TO_GET_IT}")
    instance.cmd("setMDEngine", "forceserver")
    instance.cmd("setMDEnergyUnits", PER_EV["kJ/mol"])
    instance.cmd("setMDLengthUnits", 0.1)
    instance.cmd("setMDTimeUnits", 1e-3)
    instance.cmd("setMDChargeUnits", 1.0)
    instance.cmd("setMDMassUnits", 1.0)
    instance.cmd("setNatoms", natoms)
    instance.cmd("setTimestep", config.time_step_fs if config else 1.0)
    if config and config.temperature_K:
        instance.cmd("setKbT", BOLTZMANN_EV_PER_K * config.temperature_K)
    instance.cmd("setLogFile", str(config.log_file) if config else "/dev/null")
    if restart:
        instance.cmd("setRestart", 1)
    instance.cmd("init")
    return instance


def start_session(kernel: str | None, natoms: int, config: PlumedConfig, restart: bool) -> Session:
    """The same for the simulation; `InputError` if PLUMED does not start."""
    try:
        return new_session(kernel, natoms, config, restart)
    except Exception as error:
        raise InputError(f"PLUMED does not start: {one_line(error)}") from error


def extra_cv_force_unit(actions: list[Action], kernel: str | None) -> float:
    """The unit of PLUMED's force on an EXTRACV, in eV.

    It is the energy unit of the input (kJ/mol, or what UNITS says), whatever the energy unit of the host. This is
    measured rather than assumed, by the force of a restraint of slope one in the units of the input.
    """
    plumed = new_session(kernel, natoms=1)
    for action in actions:
        if action[0] == "UNITS":
            plumed.cmd("readInputLine", " ".join(action))
    plumed.cmd("readInputLine", "probe: EXTRACV NAME=forceserver_probe")
    plumed.cmd("readInputLine", "RESTRAINT ARG=probe AT=0 KAPPA=0 SLOPE=1")
    arrays = [np.zeros((1, 3)), np.ones(1), np.zeros((3, 3)), np.zeros((1, 3)), np.zeros((3, 3))]
    value, force, bias = np.ones(1), np.zeros(1), np.zeros(1)
    plumed.cmd("setStep", 0)
    for name, array in zip(("Positions", "Masses", "Box", "Forces", "Virial"), arrays, strict=True):
        plumed.cmd(f"set{name}", array)
    plumed.cmd("prepareDependencies")
    plumed.cmd("setExtraCV forceserver_probe", value)
    plumed.cmd("setExtraCVForce forceserver_probe", force)
    plumed.cmd("shareData")
    plumed.cmd("performCalcNoUpdate")
    plumed.cmd("getBias", bias)
    plumed.finalize()
    return -float(bias[0]) / float(force[0])
