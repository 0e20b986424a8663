"""What the suites share: interleaved timing, tables, the machine, small compiled helpers."""

from .rounds import Timing, interleave
from .table import Table

__all__ = ["Table", "Timing", "interleave"]
