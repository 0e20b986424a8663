"""Several simulations that belong together, each in a folder of its own; the same call starts and resumes them."""

from .run import run
from .simulation import Inputs, Simulation

__all__ = ["Inputs", "Simulation", "run"]
