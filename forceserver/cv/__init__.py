"""Collective variables: what is averaged, contracted and combined; values, partial gradients, strain derivatives."""

from .base import VariableConfig
from .config import CVConfig, variable_section
from .variable import CollectiveVariable, CVResult, build_variables

__all__ = ["CVConfig", "CVResult", "CollectiveVariable", "VariableConfig", "build_variables", "variable_section"]
