"""Collective variables: what is averaged, contracted and combined; values, partial gradients, strain derivatives."""

from .config import CVConfig
from .variable import CollectiveVariable, CVResult, build_variables

__all__ = ["CVConfig", "CVResult", "CollectiveVariable", "build_variables"]
