"""The interface of a bias.

A bias is a function V(s, t) of a few collective variables (CVs). It knows neither atoms nor sockets: a driver computes
the CVs, gives their values to the bias and spreads dV/ds over the atoms. Energies in eV, CVs in their own units.

The clock of a bias ticks with configurations, not with calls:

    bias.advance(s, marks)         once the configuration with CVs s has come in; ticks if it is a new one
    energy, gradient = bias.compute(s)    as often as wanted, no side effects

so that a configuration that is asked for twice (a reconnection, a restart of either side) adds no hill.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from ..errors import BiasError
from ..frame import Array


class Bias(ABC):
    """A time-dependent potential of `len(names)` collective variables."""

    names: tuple[str, ...]

    @abstractmethod
    def compute(self, values: ArrayLike) -> tuple[float, Array]:
        """V (eV) and dV/ds (d,) (eV per CV unit) at values (d,); `BiasError` if there is no bias at these values."""

    @abstractmethod
    def advance(self, values: ArrayLike, marks: Array | None = None) -> bool:
        """Takes in a configuration: ticks the clock, unless it is the one that is current. Says whether it was new.

        marks: of the configuration (`history.marks_of`): if the first one of a connection is an older one, the bias
        goes back to before that step. Without them a configuration is known by its CV values, and only the current one.
        When it returns, everything that later values of the bias depend on is safe on disk.
        """

    @abstractmethod
    def terms(self, values: ArrayLike) -> dict[str, float]:
        """What the bias is made of at these values, by name (eV), as far as it is cheap: for extras."""

    def begin_connection(self) -> None:  # noqa: B027 - optional
        """An engine has connected, perhaps one that was started again: its first configuration may be an old one."""

    def close(self) -> None:  # noqa: B027 - optional
        """Closes the files; called once, at the end."""


def as_values(names: tuple[str, ...], values: ArrayLike) -> Array:
    """`values` as a float64 array (d,); `BiasError` that names the first CV that is not finite."""
    s = np.ascontiguousarray(values, dtype=np.float64)
    if s.shape != (len(names),):
        raise BiasError(f"the bias has {len(names)} variable(s) ({', '.join(names)}) but got values of shape {s.shape}")
    for name, value in zip(names, s.tolist(), strict=True):
        if not np.isfinite(value):
            raise BiasError(f"collective variable {name} is {value}; look at the configuration that it comes from")
    return s
