"""The command line: one file per command, heavy imports inside the commands."""

from .app import main

__all__ = ["main"]
