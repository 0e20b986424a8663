"""Machine-learned forces and collective variables, served to i-PI and PLUMED."""

from importlib.metadata import version

__version__ = version("forceserver")
