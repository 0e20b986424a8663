"""Energy units of bias files and analysis, and Boltzmann's constant; exact in the SI of 2019 (Hartree: CODATA 2018)."""

from typing import Literal

EnergyUnit = Literal["kJ/mol", "kcal/mol", "eV", "Ha"]

_ELEMENTARY_CHARGE = 1.602176634e-19
_KJ_PER_MOL = _ELEMENTARY_CHARGE * 6.02214076e23 / 1000

PER_EV: dict[str, float] = {
    "kJ/mol": _KJ_PER_MOL,
    "kcal/mol": _KJ_PER_MOL / 4.184,
    "eV": 1.0,
    "Ha": 1 / 27.211386245988,
}
"""How many of the unit make one eV."""

BOLTZMANN_EV_PER_K = 1.380649e-23 / _ELEMENTARY_CHARGE
