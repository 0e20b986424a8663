"""Radial functions of PACE potentials, and their interaction at short distances.

A bond (centre, neighbour) has base functions g_k(r), k = 1 .. K, and radial functions R_nl = sum_k c_nlk g_k. With
x(r) below, Chebyshev polynomials T_k and the cosine step s(t) = (1 + cos(pi t)) / 2,

    ChebExpCos  x = 1 - 2 (exp(-p r/r_c) - exp(-p)) / (1 - exp(-p)),  g_1 = s(r/r_c), g_k = (1 - T_(k-1)(x))/2 s(r/r_c);
                multiplied by s((r - r_c + d)/d) in the last d before the cutoff
    ChebPow     x = 1 - 2 (1 - r/r_c)^p,                              g_k = (1 - T_k(x))/2
    ChebLinear  x = 1 - r/r_c,                                        g_k = (1 - T_k(x))/2
    SBessel     orthogonalised sums of two sinc functions with two zeros at r_c (Kocer, Mason and Erturk,
                J. Chem. Phys. 150, 154102 (2019))

(Drautz, Phys. Rev. B 99, 014104 (2019); Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021); Bochkarev et al., Phys.
Rev. Materials 6, 013804 (2022).) At short distances, one of these applies:

    density   a core repulsion e = q exp(-w r^2)/r s(r/r_c) is added, and if its sum over the neighbours of an atom is
              too large, the energy of the environment is switched off
    distance  the same, but only within an inner cutoff, where all g_k are switched off
    zbl       the repulsion of Ziegler, Biersack and Littmark replaces the energy of an atom when its nearest neighbour
              comes close
"""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from ..frame import Array
from ..sections import Section
from .pairs import screened_coulomb

COULOMB = 14.399645351950543  # eV Angstrom, of a "zbl" repulsion
NEGLIGIBLE = 50.0  # exponent from which on a core repulsion is zero


def inner_step(x: Array, end: float, width: float) -> tuple[Array, Array]:
    """A step from one (below end - width) to zero (above end) with two continuous derivatives, and its derivative."""
    if width <= 0:
        return np.where(x < end, 1.0, 0.0), np.zeros_like(x)
    t = np.clip(1 - 2 * (1 + (x - end) / width), -1.0, 1.0)
    value = 0.5 + 3.75 * (t / 4 - t**3 / 6 + t**5 / 20)
    return value, -7.5 / width * (1 - t**2) ** 2 / 4


class PaceBond(Section):
    """The interaction of a centre with a neighbour; energies in eV, lengths in Angstrom.

    radial: the base functions, n_base of them. parameter: p. smoothing_angstrom: d.
    inner: the kind of interaction at short distances, see above; inner_angstrom, inner_smoothing_angstrom: where its
        switch ends, and the width of the switch.
    bin_angstrom: functions without two continuous derivatives at the cutoff (ChebLinear, ChebPow with p < 2) go to zero
        within this distance of it, along the cubics with which pacemaker's tables end.
    core_ev_angstrom: q, or the factor of the repulsion "zbl". core_per_angstrom2: w.
    """

    centre: int = Field(ge=1, le=118)
    neighbour: int = Field(ge=1, le=118)
    radial: Literal["ChebExpCos", "ChebPow", "ChebLinear", "SBessel"]
    n_base: int = Field(ge=1, le=256)
    parameter: float = 0.0
    cutoff_angstrom: float = Field(gt=0)
    smoothing_angstrom: float = Field(default=0.0, ge=0)
    inner: Literal["density", "distance", "zbl"] = "density"
    inner_angstrom: float = Field(default=0.0, ge=0)
    inner_smoothing_angstrom: float = Field(default=0.0, ge=0)
    bin_angstrom: float = Field(default=0.001, gt=0)
    core_ev_angstrom: float = 0.0
    core_per_angstrom2: float = 1.0

    @model_validator(mode="after")
    def _functions_are_continuous(self) -> "PaceBond":
        jumps = self.inner_angstrom > self.inner_smoothing_angstrom if self.inner == "density" else False
        jumps |= self.inner == "distance" and self.inner_angstrom > 0 and self.inner_smoothing_angstrom == 0
        jumps |= self.inner == "zbl" and (self.inner_smoothing_angstrom == 0 or self.smoothing_angstrom == 0)
        if jumps:
            raise ValueError(
                f"inner cutoff {self.inner_angstrom:g} of width {self.inner_smoothing_angstrom:g} of the kind "
                f"{self.inner!r}: functions jump there"
            )
        if (self.radial == "ChebPow" and self.parameter <= 0) or (self.radial == "ChebExpCos" and self.parameter == 0):
            raise ValueError(f"there are no functions {self.radial} of the parameter {self.parameter:g}")
        if self.smoothing_angstrom > self.cutoff_angstrom:
            raise ValueError(f"dcut = {self.smoothing_angstrom:g} is larger than rcut = {self.cutoff_angstrom:g}")
        return self

    @property
    def breaks(self) -> tuple[float, ...]:
        """Distances (Angstrom) inside the cutoff at which second or third derivatives jump."""
        places = []
        if self.radial == "ChebExpCos" and self.smoothing_angstrom:
            places = [self.cutoff_angstrom - self.smoothing_angstrom]
        if self._ends_abruptly:
            places = [self.cutoff_angstrom - self._last_bin]
        if self.inner == "distance" and self.inner_angstrom > 0:
            places += [self.inner_angstrom - self.inner_smoothing_angstrom, self.inner_angstrom]
        return tuple(place for place in places if 0 < place < self.cutoff_angstrom)

    def functions(self, r: Array) -> tuple[Array, Array]:
        """g_k(r) and their derivatives, each (n, n_base)."""
        inside = np.minimum(r, self.cutoff_angstrom)
        make = {"ChebExpCos": _cheb_exp_cos, "ChebPow": _cheb_pow, "ChebLinear": _cheb_linear, "SBessel": _bessel}
        value, slope = make[self.radial](inside, self)
        if self._ends_abruptly:
            self._end(r, value, slope, *make[self.radial](np.array([self.cutoff_angstrom - self._last_bin]), self))
        if self.inner == "distance":
            step, by_r = inner_step(r, self.inner_angstrom, self.inner_smoothing_angstrom)
            value, slope = value * (1 - step)[:, None], slope * (1 - step)[:, None] - value * by_r[:, None]
        outside = r >= self.cutoff_angstrom
        value[outside], slope[outside] = 0.0, 0.0
        return value, slope

    @property
    def _ends_abruptly(self) -> bool:
        return self.radial == "ChebLinear" or (self.radial == "ChebPow" and self.parameter < 2)

    @property
    def _last_bin(self) -> float:
        return self.cutoff_angstrom / max(1, int(self.cutoff_angstrom / self.bin_angstrom))

    def _end(self, r: Array, value: Array, slope: Array, last: Array, last_slope: Array) -> None:
        """Replaces values and derivatives in the last bin by those of the cubics that end at the cutoff."""
        width = self._last_bin
        inside = r > self.cutoff_angstrom - width
        t = ((r[inside] - self.cutoff_angstrom) / width + 1)[:, None]
        value[inside] = last * (1 - t) ** 2 * (1 + 2 * t) + width * last_slope * t * (1 - t) ** 2
        slope[inside] = -6 * last / width * t * (1 - t) + last_slope * (1 - t) * (1 - 3 * t)

    @property
    def has_core(self) -> bool:
        """Whether there is a repulsion."""
        return self.core_ev_angstrom != 0 and not (self.inner == "distance" and self.inner_angstrom == 0)

    @property
    def core_reach(self) -> float:
        """Distance (Angstrom) at which the repulsion ends."""
        if self.inner == "zbl":
            return self.cutoff_angstrom
        end = float(np.sqrt(NEGLIGIBLE / max(abs(self.core_per_angstrom2), 1e-12)))
        return min(end, self.cutoff_angstrom, self.inner_angstrom if self.inner == "distance" else np.inf)

    def core(self, r: Array) -> tuple[Array, Array]:
        """The repulsion of an atom by a neighbour at r > 0, eV, and its derivative."""
        value, slope = self._zbl(r) if self.inner == "zbl" else self._core(r)
        outside = r >= self.core_reach
        value[outside], slope[outside] = 0.0, 0.0
        return value, slope

    def _core(self, r: Array) -> tuple[Array, Array]:
        w, q = abs(self.core_per_angstrom2), abs(self.core_ev_angstrom)
        bare = q * np.exp(-w * r**2) / r
        slope = -bare * (2 * w * r**2 + 1) / r
        step, by_r = _cosine_step(r / self.cutoff_angstrom)
        value, slope = bare * step, slope * step + bare * by_r / self.cutoff_angstrom
        if self.inner == "distance":
            step, by_r = inner_step(r, self.inner_angstrom, self.inner_smoothing_angstrom)
            value, slope = value * step, slope * step + value * by_r
        return value, slope

    def _zbl(self, r: Array) -> tuple[Array, Array]:
        """Half of the energy of the pair, shifted to end with two continuous derivatives, as in LAMMPS's `zbl`."""
        end, width = self.cutoff_angstrom, self.smoothing_angstrom
        energy, slope, _ = screened_coulomb(self.centre, self.neighbour, r)
        e, de, dde = (float(f[0]) for f in screened_coulomb(self.centre, self.neighbour, np.array([end])))
        a, b = (-3 * de + width * dde) / width**2, (2 * de - width * dde) / width**3
        t = np.maximum(r - (end - width), 0)
        energy = energy + a / 3 * t**3 + b / 4 * t**4 - e + width * de / 2 - width**2 * dde / 12
        slope = slope + a * t**2 + b * t**3
        step, by_r = inner_step(r, end, width)
        half = 0.5 * COULOMB * self.core_ev_angstrom
        return half * energy * step, half * (slope * step + energy * by_r)


def _cosine_step(t: Array) -> tuple[Array, Array]:
    return 0.5 * (1 + np.cos(np.pi * t)), -0.5 * np.pi * np.sin(np.pi * t)


def _chebyshev(x: Array, count: int) -> tuple[Array, Array]:
    """T_0 .. T_(count - 1) and derivatives, each (n, count)."""
    value, slope = np.ones((len(x), max(count, 2))), np.zeros((len(x), max(count, 2)))
    value[:, 1], slope[:, 1] = x, 1.0
    for k in range(2, count):
        value[:, k] = 2 * x * value[:, k - 1] - value[:, k - 2]
        slope[:, k] = 2 * value[:, k - 1] + 2 * x * slope[:, k - 1] - slope[:, k - 2]
    return value[:, :count], slope[:, :count]


def _cheb_exp_cos(r: Array, bond: PaceBond) -> tuple[Array, Array]:
    p, end, width = bond.parameter, bond.cutoff_angstrom, bond.smoothing_angstrom
    y, last = np.exp(-p * r / end), np.exp(-p)
    t, dt = _chebyshev(1 - 2 * (y - last) / (1 - last), bond.n_base)
    value, slope = 0.5 - 0.5 * t, -0.5 * dt * (2 * p / end * y / (1 - last))[:, None]
    value[:, 0], slope[:, 0] = 1.0, 0.0
    envelope, by_r = _cosine_step(r / end)
    by_r = by_r / end
    if width > 0:
        step, by_t = _cosine_step(np.maximum(r - end + width, 0) / width)
        envelope, by_r = envelope * step, by_r * step + envelope * by_t / width
    return value * envelope[:, None], slope * envelope[:, None] + value * by_r[:, None]


def _one_minus_chebyshev(x: Array, by_r: Array, count: int) -> tuple[Array, Array]:
    t, dt = _chebyshev(x, count + 1)
    return 0.5 - 0.5 * t[:, 1:], -0.5 * dt[:, 1:] * by_r[:, None]


def _cheb_pow(r: Array, bond: PaceBond) -> tuple[Array, Array]:
    p, y = bond.parameter, np.maximum(1 - r / bond.cutoff_angstrom, 1e-30)
    by_r = 2 * p / bond.cutoff_angstrom * y ** (p - 1)
    return _one_minus_chebyshev(1 - 2 * y**p, by_r, bond.n_base)


def _cheb_linear(r: Array, bond: PaceBond) -> tuple[Array, Array]:
    x = 1 - r / bond.cutoff_angstrom
    return _one_minus_chebyshev(x, np.full_like(r, -1 / bond.cutoff_angstrom), bond.n_base)


def _bessel(r: Array, bond: PaceBond) -> tuple[Array, Array]:
    end = bond.cutoff_angstrom
    values: list[Array] = []
    slopes: list[Array] = []
    before = 1.0
    for n in range(bond.n_base):
        factor = (-1) ** n * np.sqrt(2) * np.pi / end**1.5 * (n + 1) * (n + 2) / np.hypot(n + 1, n + 2)
        terms = [_sinc((n + k) * np.pi / end, r) for k in (1, 2)]
        value, slope = (factor * sum(part) for part in zip(*terms, strict=True))
        e = n**2 * (n + 2) ** 2 / (4 * (n + 1) ** 4 + 1)
        d = 1 - e / before
        if n:
            value, slope = (
                (own + np.sqrt(e / before) * last[-1]) / np.sqrt(d) for own, last in ((value, values), (slope, slopes))
            )
        values.append(value)
        slopes.append(slope)
        before = d
    return np.column_stack(values), np.column_stack(slopes)


def _sinc(k: float, r: Array) -> tuple[Array, Array]:
    """sin(k r)/(k r) and its derivative by r."""
    from scipy.special import spherical_jn

    return spherical_jn(0, k * r), -k * spherical_jn(1, k * r)
