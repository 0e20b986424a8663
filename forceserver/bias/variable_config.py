"""`[[bias.variables]]` of the configuration: the variables of every kind of bias, and their ranges."""

import math
from typing import Annotated

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from ..sections import Section
from .coordinates import Coordinate, parse_number
from .grid import Axis

MOST_BINS = 10**9
"""More intervals along one variable must be a mistake."""

Number = Annotated[float, BeforeValidator(lambda value: parse_number(value) if isinstance(value, str) else value)]
"""A number, or text such as "-pi"."""


class BiasVariableConfig(Section):
    """A collective variable by the name of its output. Everything here is in the units of the variable.

    hills: whether hills, or kernels, act on it; otherwise it may have walls and restraints, and is written to COLVAR.
    domain: ends of the period. sigma: width of the hills, or of the first kernel. sigma_min: least width of kernels.
    lower, upper: the range of the grid (the domain, if there is one). bins: intervals of the grid, by default sigma/5.
    """

    name: str = Field(pattern=r"^[^\s#]+$")
    hills: bool = True
    domain: tuple[Number, Number] | None = None
    sigma: PositiveFloat | None = None
    sigma_min: PositiveFloat | None = None
    lower: Number | None = None
    upper: Number | None = None
    bins: int | None = Field(default=None, ge=1, le=MOST_BINS)

    @model_validator(mode="after")
    def _ordered(self) -> "BiasVariableConfig":
        if self.domain and self.domain[0] >= self.domain[1]:
            raise ValueError(
                f"the domain of {self.name} must be ascending, not from {self.domain[0]} to {self.domain[1]}"
            )
        if self.domain and (self.lower is not None or self.upper is not None):
            raise ValueError(f"{self.name} is periodic: its grid is its domain; leave out lower and upper")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(f"lower of {self.name} must be below upper")
        return self

    def coordinate(self) -> Coordinate:
        return Coordinate(self.name, self.domain)

    @property
    def range(self) -> tuple[float, float] | None:
        """The ends of the grid; None if not given."""
        if self.domain or self.lower is None or self.upper is None:
            return self.domain
        return self.lower, self.upper

    def axis(self) -> Axis:
        """The nodes of the grid along this variable, which has hills."""
        if not (self.range and self.sigma):
            raise ValueError(f'the grid needs lower and upper of {self.name} (or grid = "none")')
        (lower, upper), sigma = self.range, self.sigma
        spacings = (upper - lower) / (0.2 * sigma) - 1e-9  # whole numbers stay, up to round-off
        return Axis(lower, upper, self.bins or max(math.ceil(min(spacings, MOST_BINS)), 2))
