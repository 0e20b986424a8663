"""Collective variables: what is averaged, contracted and combined; values, partial gradients, strain derivatives."""

from .base import VariableConfig
from .config import CVConfig, variable_section
from .interface import CVResult, Variable
from .variable import CollectiveVariable, build_variables

__all__ = [
    "CVConfig",
    "CVResult",
    "CollectiveVariable",
    "Variable",
    "VariableConfig",
    "build_variables",
    "variable_section",
]
