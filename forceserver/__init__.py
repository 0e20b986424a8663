"""Machine-learned forces, collective variables and biases, for i-PI, PLUMED and ASE.

The names below are the public interface (docs/python.md); they are imported when they are first used, so that
`import forceserver` costs nothing. Everything else may change without notice.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Metadynamics, check_potential, fit_potential, load_potential, serve
    from .ase_calculator import ForceServerCalculator
    from .cv import CollectiveVariable, CVResult, Variable
    from .errors import BiasError, CVError, ForceServerError, InputError, PotentialError, ProtocolError
    from .frame import Frame, Result
    from .ipi.transports import NoServer
    from .potentials.ase import AsePotential
    from .potentials.base import Potential
    from .potentials.gap import GapPotential

__version__ = version("forceserver")

_HOMES = {
    ".api": ("Metadynamics", "check_potential", "fit_potential", "load_potential", "serve"),
    ".ase_calculator": ("ForceServerCalculator",),
    ".cv": ("CVResult", "CollectiveVariable", "Variable"),
    ".errors": ("BiasError", "CVError", "ForceServerError", "InputError", "PotentialError", "ProtocolError"),
    ".frame": ("Frame", "Result"),
    ".ipi.transports": ("NoServer",),
    ".potentials.ase": ("AsePotential",),
    ".potentials.base": ("Potential",),
    ".potentials.gap": ("GapPotential",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AsePotential",
    "BiasError",
    "CVError",
    "CVResult",
    "CollectiveVariable",
    "ForceServerCalculator",
    "ForceServerError",
    "Frame",
    "GapPotential",
    "InputError",
    "Metadynamics",
    "NoServer",
    "Potential",
    "PotentialError",
    "ProtocolError",
    "Result",
    "Variable",
    "check_potential",
    "fit_potential",
    "load_potential",
    "serve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'forceserver' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
