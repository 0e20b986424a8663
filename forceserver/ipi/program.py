"""The program of i-PI itself."""

from importlib.metadata import files
from pathlib import Path

from ..errors import InputError


def ipi_script() -> Path:
    """The program `i-pi` that belongs to the i-PI that this interpreter imports."""
    for file in files("ipi") or ():
        path = Path(str(file.locate()))
        if file.name == "i-pi" and path.is_file():
            return path.resolve()
    raise InputError("the program i-pi of i-PI is missing; reinstall it: pip install --force-reinstall ipi")
