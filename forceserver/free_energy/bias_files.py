"""A free energy from the files of a bias: HILLS of metadynamics, KERNELS or STATE of OPES; their headers say which."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ..bias.coordinates import Coordinate
from ..bias.grid import REACH, Axis
from ..bias.hills import read_hills
from ..errors import InputError
from ..files import check_distinct
from ..frame import Array
from .colvar import Colvar
from .estimate import Estimate
from .kernel_sums import is_of_opes, read_densities
from .summing import merge_hills, negative_bias, reweighting_factors, sum_hills, sum_hills_axes, sums_at_stride
from .surface import Surface
from .weights import check_bias_of_hills

log = logging.getLogger(__name__)

Regrid = Callable[[list[Axis], Sequence[Coordinate]], list[Axis]]
"""Turns the axes that the data suggest into those that the user wants."""


class BiasSum(Protocol):
    """name: of the files that are written. estimate: of the free energy."""

    name: str
    variables: tuple[Coordinate, ...]
    estimate: Estimate

    def at_stride(self, stride: int) -> Iterator[Surface]:
        """The free energies after every `stride` hills or kernels, and after all of them."""

    def negative_bias(self, surface: Surface) -> Surface:
        """Minus the acting bias, instead of the free energy that it represents."""

    def reweighting_factors(self, colvar: Colvar, columns: Sequence[str] | None) -> Array | None:
        """c(t) (n,) at the rows of COLVAR, if their weights still have to be divided by exp(c(t) / kT); else None.

        columns: the bias in COLVAR, one of which must be that of these hills (this is checked); None: no check.
        """


class SummedHills:
    """The hills of a run or of its walkers; `InputError` if they do not belong together."""

    name = "hills"

    def __init__(self, paths: Sequence[Path], regrid: Regrid, kt: float) -> None:
        self._hills, self._kt = merge_hills([read_hills(path) for path in paths]), kt
        self.variables = self._hills.variables
        self._axes = regrid(sum_hills_axes(self._hills), self.variables)
        self._check_reach()
        self._tell_of_coarse_axes()
        self.estimate = sum_hills(self._hills, self._axes, kt)

    def _check_reach(self) -> None:
        """`InputError` if no hill reaches the grid."""
        hills, reached = self._hills, np.ones(len(self._hills), dtype=bool)
        for k, (axis, variable) in enumerate(zip(self._axes, self.variables, strict=True)):
            if not variable.domain:
                beyond = np.maximum(axis.lower - hills.centres[:, k], hills.centres[:, k] - axis.upper)
                reached &= beyond < REACH * hills.sigmas[:, k]
        if not reached.any():
            ranges = ", ".join(
                f"{variable.name} from {centres.min():g} to {centres.max():g}"
                for variable, centres in zip(self.variables, hills.centres.T, strict=True)
            )
            raise InputError(f"no hill reaches the grid; there are hills for {ranges}: change --lower and --upper")

    def _tell_of_coarse_axes(self) -> None:
        for axis, variable, sigma in zip(self._axes, self.variables, self._hills.sigmas.min(axis=0), strict=True):
            spacing = (axis.upper - axis.lower) / axis.bins
            if spacing > sigma / 2:
                log.warning(
                    "the grid of %s has a node every %.3g, its narrowest hill a width of %.3g: minima, barriers and "
                    "populations need a node every half width (--bins)",
                    variable.name,
                    spacing,
                    sigma,
                )

    def at_stride(self, stride: int) -> Iterator[Surface]:
        return sums_at_stride(self._hills, self._axes, stride)

    def negative_bias(self, surface: Surface) -> Surface:
        return negative_bias(surface, self._hills)

    def reweighting_factors(self, colvar: Colvar, columns: Sequence[str] | None) -> Array | None:
        if columns is not None:
            check_bias_of_hills(colvar, columns, self._hills)
        return reweighting_factors(self._hills, self._axes, self._kt, colvar.rows[:, 0], colvar.runs)


class SummedKernels:
    """The kernels of OPES, possibly of several walkers; rows are reweighted by the bias alone, there is no c(t)."""

    def __init__(self, paths: Sequence[Path], regrid: Regrid, kt: float) -> None:
        self._paths, self._kt = paths, kt
        self._densities = read_densities(paths)
        self.name, self.variables = self._densities.source, self._densities.variables
        self._axes = regrid(self._densities.axes(), self.variables)
        self.estimate = self._densities.estimate(self._axes, kt)

    def at_stride(self, stride: int) -> Iterator[Surface]:
        if self.name == "state":
            raise InputError(f"--stride {stride}: {self._paths[0]} has states, not every kernel; give KERNELS")
        densities = read_densities(self._paths, stride)
        return (densities.free_energy(kernels, self._axes, self._kt) for kernels in densities.sums)

    def negative_bias(self, surface: Surface) -> Surface:
        return self._densities.negative_bias(surface)

    def reweighting_factors(self, colvar: Colvar, columns: Sequence[str] | None) -> Array | None:
        return None


def sum_bias_files(paths: Sequence[Path], regrid: Regrid, kt: float) -> BiasSum:
    """The free energy that these files represent, in the unit of kT, which is that of the files.

    Raises `InputError` if a file does not exist, or if files of OPES are mixed with others.
    """
    for path in paths:
        if not path.is_file():
            raise InputError(f"there is no file {path}")
    check_distinct(paths)
    of_opes = [path for path in paths if is_of_opes(path)]
    if of_opes and len(of_opes) < len(paths):
        other = next(path for path in paths if path not in of_opes)
        raise InputError(f"{of_opes[0]} has kernels of OPES, {other} has none: give files of one bias")
    return SummedKernels(paths, regrid, kt) if of_opes else SummedHills(paths, regrid, kt)
