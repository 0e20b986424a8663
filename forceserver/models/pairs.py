"""Energies of pairs of atoms as functions of their distance, as data: analytic forms, and fitted kernels."""

import math
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from ..frame import Array
from ..representation.cutoff import ShiftedCosine
from ..sections import Element, Section

if TYPE_CHECKING:
    from scipy.interpolate import BSpline, CubicSpline

TABLE_START = 2.0**-3.5  # Angstrom; where tables of analytic forms begin
KNOTS_PER_LENGTH = 24  # for a spline that replaces Gaussian kernels


class PairInteraction(Section):
    """Base of all forms.

    species: chemical symbols of the two atoms of the pair.
    cutoff_angstrom: distance beyond which the energy is zero.
    """

    species: tuple[Element, Element]
    cutoff_angstrom: float = Field(gt=0.1)

    @property
    def numbers(self) -> tuple[int, int]:
        """The atomic numbers of the pair, the smaller one first."""
        from ase.data import atomic_numbers

        first, second = sorted(atomic_numbers[symbol] for symbol in self.species)
        return first, second

    @property
    def closest(self) -> float:
        """The smallest distance for which there is a value, Angstrom."""
        return TABLE_START

    @property
    def breaks(self) -> tuple[float, ...]:
        """Distances (Angstrom) at which forces are less smooth, and where tables may be less accurate."""
        return ()

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        """Energies (eV) and derivatives (eV/Angstrom) at the distances `r` >= closest, Angstrom."""
        raise NotImplementedError


class SmoothedPair(PairInteraction):
    """An interaction that is switched off inside the cutoff.

    smoothing_angstrom: width of the region inside the cutoff in which the energy is multiplied by
        1 - 10 x^3 + 15 x^4 - 6 x^5, x from 0 to 1: two continuous derivatives (Mei, Davenport and Fernando, PRB 43,
        4653 (1991)).
    """

    smoothing_angstrom: float = Field(gt=0)

    @model_validator(mode="after")
    def _smoothing_fits(self) -> "SmoothedPair":
        if self.smoothing_angstrom > self.cutoff_angstrom:
            raise ValueError(f"smoothing_angstrom must not exceed cutoff_angstrom = {self.cutoff_angstrom:g}")
        return self

    def bare(self, r: Array) -> tuple[Array, Array]:
        """Energy and derivative before the smoothing."""
        raise NotImplementedError

    def switch_at(self, r: Array) -> tuple[Array, Array]:
        """The factor of the energy, and its derivative (1/Angstrom)."""
        return smooth_step(r, self.cutoff_angstrom, self.smoothing_angstrom)

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        r = np.asarray(r, dtype=np.float64)
        switch, slope = self.switch_at(r)
        energy, derivative = self.bare(np.minimum(r, self.cutoff_angstrom))
        return energy * switch, derivative * switch + energy * slope


def smooth_step(r: Array, cutoff: float, smoothing: float) -> tuple[Array, Array]:
    """The function that interactions are multiplied by, and its derivative (1/Angstrom), at the distances `r`."""
    x = np.clip(1 - (cutoff - r) / smoothing, 0.0, 1.0)
    return 1 - x**3 * (10 - x * (15 - 6 * x)), -30 * (x * (1 - x)) ** 2 / smoothing


class LennardJones(SmoothedPair):
    """`form = "lennard_jones"`: 4 epsilon ((sigma/r)^12 - (sigma/r)^6)."""

    form: Literal["lennard_jones"] = "lennard_jones"
    epsilon_ev: float
    sigma_angstrom: float = Field(gt=0)

    def bare(self, r: Array) -> tuple[Array, Array]:
        power = (self.sigma_angstrom / r) ** 6
        return 4 * self.epsilon_ev * power * (power - 1), -24 * self.epsilon_ev / r * power * (2 * power - 1)


class Zbl(SmoothedPair):
    """`form = "zbl"`: the screened Coulomb repulsion of two nuclei, valid at short distances.

    Ziegler, Biersack and Littmark, The Stopping and Range of Ions in Matter (1985): the universal screening function.
    """

    form: Literal["zbl"] = "zbl"

    def bare(self, r: Array) -> tuple[Array, Array]:
        import ase.units

        value, slope, _ = screened_coulomb(*self.numbers, r)
        coulomb = ase.units.Hartree * ase.units.Bohr
        return coulomb * value, coulomb * slope


def screened_coulomb(z1: ArrayLike, z2: ArrayLike, r: Array) -> tuple[Array, Array, Array]:
    """z1 z2 / r times the universal screening function, and two derivatives; z1 and z2 may be those of each pair."""
    z1, z2 = np.asarray(z1, dtype=np.float64), np.asarray(z2, dtype=np.float64)
    length = 0.46850 / (z1**0.23 + z2**0.23)
    weights = np.array([0.18175, 0.50986, 0.28022, 0.02817])[:, None]
    rates = np.array([3.19980, 0.94229, 0.40290, 0.20162])[:, None] / length
    terms = weights * np.exp(-rates * r)
    screening, slope, curvature = terms.sum(axis=0), -(rates * terms).sum(axis=0), (rates**2 * terms).sum(axis=0)
    bare = z1 * z2 / r
    return bare * screening, bare * (slope - screening / r), bare * (curvature - 2 * slope / r + 2 * screening / r**2)


class SplinedPair(SmoothedPair):
    """`form = "spline"`: a spline of degree five through energies at equal distances from `closest` to the cutoff.

    Fitted two-body kernels are stored in this form: the weights of their Gaussians are large and cancel, which leaves
    rounding errors that the narrow intervals of a table would amplify.

    switch: "cosine" for half a cosine period (`representation.cutoff.ShiftedCosine`) instead of the polynomial.
    """

    form: Literal["spline"] = "spline"
    energies_ev: tuple[float, ...] = Field(min_length=6)
    switch: Literal["polynomial", "cosine"] = "polynomial"

    @cached_property
    def _spline(self) -> "BSpline":
        from scipy.interpolate import make_interp_spline

        return make_interp_spline(knots(self.cutoff_angstrom, len(self.energies_ev)), self.energies_ev, k=5)

    def bare(self, r: Array) -> tuple[Array, Array]:
        return self._spline(r), self._spline(r, nu=1)

    @property
    def breaks(self) -> tuple[float, ...]:
        ends = (self.cutoff_angstrom - self.smoothing_angstrom, self.cutoff_angstrom)
        return ends if self.switch == "cosine" else ()

    def switch_at(self, r: Array) -> tuple[Array, Array]:
        if self.switch == "polynomial":
            return super().switch_at(r)
        cosine = ShiftedCosine(cutoff_angstrom=self.cutoff_angstrom, width_angstrom=self.smoothing_angstrom)
        return cosine.evaluate(r)


class CubicPair(PairInteraction):
    """`form = "cubic_spline"`: a cubic spline through points, linear before the first and zero from the last one on.

    distances_angstrom, energies_ev: the points; the last is at the cutoff, where the energy is zero.
    slope_ev_per_angstrom: derivative at and before the first point. At the last point it is zero.
    """

    form: Literal["cubic_spline"] = "cubic_spline"
    distances_angstrom: tuple[float, ...] = Field(min_length=3)
    energies_ev: tuple[float, ...]
    slope_ev_per_angstrom: float = 0.0

    @model_validator(mode="after")
    def _is_a_table(self) -> "CubicPair":
        r = np.array(self.distances_angstrom)
        if len(self.energies_ev) != len(r):
            raise ValueError(f"{len(self.energies_ev)} energies_ev for {len(r)} distances_angstrom")
        if (np.diff(r) <= 0).any() or r[0] < 0 or r[-1] != self.cutoff_angstrom:
            raise ValueError("distances_angstrom must increase from zero or above to cutoff_angstrom")
        if self.energies_ev[-1] != 0:
            raise ValueError(f"energies_ev: the last must be zero, as beyond the cutoff, is {self.energies_ev[-1]:g}")
        return self

    @cached_property
    def _spline(self) -> "CubicSpline":
        from scipy.interpolate import CubicSpline

        ends = ((1, self.slope_ev_per_angstrom), (1, 0.0))
        return CubicSpline(self.distances_angstrom, self.energies_ev, bc_type=ends)

    @property
    def breaks(self) -> tuple[float, ...]:
        return self.distances_angstrom

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        first, last = self.distances_angstrom[0], self.cutoff_angstrom
        inside = np.clip(r, first, last)
        before = np.minimum(np.asarray(r, dtype=np.float64) - first, 0.0)
        return self._spline(inside) + before * self.slope_ev_per_angstrom, self._spline(inside, nu=1)


def knots(cutoff: float, count: int) -> Array:
    """The distances of a `SplinedPair`, (count,), Angstrom."""
    return np.linspace(TABLE_START, cutoff, count)


class GaussianPair(SmoothedPair):
    """`form = "gaussians"`: sum_t w_t exp(-(r - r_t)^2 / 2 s^2), a fitted two-body kernel model.

    Files up to version 2 contain this form; newer ones contain the result of `splined`.
    """

    form: Literal["gaussians"] = "gaussians"
    length_angstrom: float = Field(gt=0)
    distances_angstrom: tuple[float, ...]
    weights_ev: tuple[float, ...]

    @model_validator(mode="after")
    def _belong_together(self) -> "GaussianPair":
        if len(self.weights_ev) != len(self.distances_angstrom):
            raise ValueError(f"{len(self.weights_ev)} weights_ev for {len(self.distances_angstrom)} distances_angstrom")
        return self

    def bare(self, r: Array) -> tuple[Array, Array]:
        value, slope = gaussians(r, np.array(self.distances_angstrom), self.length_angstrom)
        return value @ self.weights_ev, slope @ self.weights_ev

    def splined(self) -> SplinedPair:
        """The same function without weights that cancel."""
        count = 8 + math.ceil(KNOTS_PER_LENGTH * self.cutoff_angstrom / self.length_angstrom)
        energies = self.bare(knots(self.cutoff_angstrom, count))[0]
        return SplinedPair(
            species=self.species,
            cutoff_angstrom=self.cutoff_angstrom,
            smoothing_angstrom=self.smoothing_angstrom,
            energies_ev=tuple(energies.tolist()),
        )


def gaussians(r: Array, centres: Array, length: float) -> tuple[Array, Array]:
    """exp(-(r - r_t)^2 / 2 s^2) and derivatives with respect to r, each (k, t)."""
    x = (np.asarray(r)[:, None] - centres) / length
    value = np.exp(-0.5 * x**2)
    return value, -x / length * value


ModelInteraction = Annotated[LennardJones | Zbl | GaussianPair | SplinedPair | CubicPair, Field(discriminator="form")]
