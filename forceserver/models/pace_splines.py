"""The radial functions of a PACE potential as splines, for the kernel of the spherical expansion."""

from collections.abc import Sequence

import numpy as np

from ..frame import Array
from ..representation.expansion import ExpansionBasis
from ..representation.spline import Functions, SplineTable
from .pace import PaceModel
from .pace_radial import PaceBond

CORE_TOLERANCE = 1e-8  # for repulsions, relative to the value at `NEAREST`
FINEST = 20_000  # most intervals between two required nodes of the functions of one bond
NEAREST = 0.25  # Angstrom; below about this distance radial functions are straight lines
ROOT = np.sqrt(4 * np.pi)


def expansion_of(
    model: PaceModel, centre: int, neighbours: Sequence[int], counts: tuple[int, ...], tolerance: float
) -> ExpansionBasis:
    """The expansion for neighbours of species that can share one grid."""
    bonds = [model.bonds[centre, neighbour] for neighbour in neighbours]
    matrices = [_mixing(model, centre, neighbour, counts) for neighbour in neighbours]

    ends = np.cumsum(counts)[:-1]

    def by_l(parts: Sequence[Array]) -> Array:
        """The functions of each neighbour as columns: l = 0 for all neighbours, then l = 1, and so on."""
        split = [np.split(part, ends, axis=1) for part in parts]
        return np.hstack([of_one[l] for l in range(len(counts)) for of_one in split])

    def functions(r: Array) -> tuple[Array, Array]:
        both = [bond.functions(r) for bond in bonds]
        return (
            by_l([value @ m.T for (value, _), m in zip(both, matrices, strict=True)]),
            by_l([slope @ m.T for (_, slope), m in zip(both, matrices, strict=True)]),
        )

    each = len(neighbours)
    table = _splined(functions, bonds[0].cutoff_angstrom, bonds[0].breaks, tuple(each * n for n in counts), tolerance)
    tables = {
        neighbour: table.contract([np.eye(each * n)[k * n : (k + 1) * n] for n in counts])
        for k, neighbour in enumerate(neighbours)
    }
    return ExpansionBasis(tables, centre_contribution=False)


def _mixing(model: PaceModel, centre: int, neighbour: int, counts: tuple[int, ...]) -> Array:
    """Radial functions as combinations of base functions, (sum of counts, n_base), by l; zero for missing ones."""
    radial, first = model.radial[centre, neighbour], ROOT * model.first[centre, neighbour]
    mixing = []
    for l, count in enumerate(counts):
        rows = radial[:count, l] if l < radial.shape[1] else radial[:0, 0]
        rows = np.concatenate([rows, first]) if l == 0 else rows
        mixing.append(np.concatenate([rows, np.zeros((count - len(rows), rows.shape[1]))]))
    return np.concatenate(mixing)


def core_of(bond: PaceBond) -> ExpansionBasis:
    """The repulsion by neighbours of one species as a coefficient."""

    def function(r: Array) -> tuple[Array, Array]:
        value, slope = bond.core(r)
        return ROOT * value[:, None], ROOT * slope[:, None]

    table = _splined(function, bond.core_reach, (), (1,), CORE_TOLERANCE)
    return ExpansionBasis({bond.neighbour: table}, centre_contribution=False)


def _splined(
    functions: Functions, cutoff: float, breaks: Sequence[float], counts: tuple[int, ...], tolerance: float
) -> SplineTable:
    """Splines whose tolerance is relative to the largest value of each function; straight lines below `NEAREST`."""
    unit = _common([place for place in breaks if place > NEAREST]) or cutoff
    nearest = _node_below(NEAREST, unit, cutoff)
    sizes = np.abs(functions(np.linspace(nearest, cutoff, 1000))[0]).max(axis=0)
    sizes[sizes == 0] = 1.0

    def scaled(r: Array) -> tuple[Array, Array]:
        value, slope = functions(np.maximum(r, nearest))
        value = value + np.minimum(r - nearest, 0)[:, None] * slope
        return value / sizes, slope / sizes

    table = SplineTable.fit(scaled, cutoff, unit, counts, tolerance)
    return table.contract([np.diag(part) for part in np.split(sizes, np.cumsum(counts)[:-1])])


def _node_below(distance: float, unit: float, cutoff: float) -> float:
    """A node of every sufficiently fine grid of `SplineTable.fit`, where nodes must be multiples of `unit`."""
    step = unit / max(1, round(8 * unit / cutoff))
    while step > distance:
        step /= 2
    return float(step * np.floor(distance / step))


def _common(breaks: Sequence[float]) -> float:
    """A distance that divides all of these; the first of them if every such distance is too small; 0 if empty."""
    if not breaks:
        return 0.0
    for parts in range(1, FINEST):
        unit = breaks[0] / parts
        if all(abs(place / unit - round(place / unit)) < 1e-9 for place in breaks):
            return unit
    return breaks[0]
