"""A collective variable as a bias sees it: a name and, if it is periodic, a domain."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..frame import Array


@dataclass(frozen=True)
class Coordinate:
    """name: as in the FIELDS of bias files. domain: (lower, upper) ends of the period, or None."""

    name: str
    domain: tuple[float, float] | None = None

    @property
    def period(self) -> float:
        """The period, 0 if there is none."""
        return self.domain[1] - self.domain[0] if self.domain else 0.0

    def difference(self, a: float, b: float) -> float:
        """The nearest image of a - b."""
        d = a - b
        return d - self.period * np.rint(d / self.period) if self.domain else d

    def wrapped(self, values: np.ndarray) -> np.ndarray:
        """The images of values (n,) inside the domain: a file may say 3.141593, which is more than pi."""
        return values - self.period * np.floor((values - self.domain[0]) / self.period) if self.domain else values


_PI = re.compile(r"([+-]?)(?:([\d.]+)\*)?pi(?:/([\d.]+))?")


def parse_number(text: str) -> float:
    """A number as PLUMED writes it into headers: 1.5, -pi, 2*pi, pi/2; `ValueError` otherwise."""
    match = _PI.fullmatch(text)
    if not match:
        return float(text)
    sign, factor, divisor = match.groups()
    return float(f"{sign}1") * float(factor or 1) * math.pi / float(divisor or 1)


def format_number(value: float) -> str:
    """The reverse: PLUMED compares the ends of a domain as text, and users write them as pi."""
    for text in ("pi", "-pi", "2*pi"):
        if value == parse_number(text):
            return text
    return shortest(value)


def shortest(number: float) -> str:
    """The shortest text that reads back to the same bits."""
    return repr(float(number)).removesuffix(".0")


def domain_constants(variables: Sequence[Coordinate]) -> dict[str, str]:
    """The domains as in the headers of bias files."""
    constants = {}
    for variable in variables:
        if variable.domain:
            constants[f"min_{variable.name}"] = format_number(variable.domain[0])
            constants[f"max_{variable.name}"] = format_number(variable.domain[1])
    return constants


def coordinate_of(name: str, constants: Mapping[str, str], path: Path) -> Coordinate:
    """A variable with the domain that the header of the file `path` gives it."""
    return Coordinate(name, ends_of(f"min_{name}", f"max_{name}", constants, path))


def ends_of(lower: str, upper: str, constants: Mapping[str, str], path: Path) -> tuple[float, float] | None:
    """The two numbers that a header calls `lower` and `upper`; None if it has neither.

    Raises `InputError` if there is only one of them, or if they are not the ends of an interval.
    """
    given = [name for name in (lower, upper) if name in constants]
    if not given:
        return None
    if len(given) == 1:
        raise InputError(f"{path}: its header has {given[0]}, but of {lower} and {upper} it needs both")
    try:
        ends = parse_number(constants[lower]), parse_number(constants[upper])
    except ValueError:
        ends = math.nan, math.nan
    if not -math.inf < ends[0] < ends[1] < math.inf:
        said = f"{lower} {constants[lower]} and {upper} {constants[upper]}"
        raise InputError(f"{path}: its header says {said}, which are not the ends of an interval")
    return ends


def without_jumps(variables: Sequence[Coordinate], values: Sequence[Array]) -> Array:
    """Series of variables, (n,) each, as columns (n, k) without jumps: a periodic one as its cosine and sine."""
    series: list[Array] = []
    for variable, s in zip(variables, values, strict=True):
        if variable.domain is None:
            series.append(s)
        else:
            angle = 2 * np.pi * s / variable.period
            series += [np.cos(angle), np.sin(angle)]
    return np.stack(series, axis=1)
