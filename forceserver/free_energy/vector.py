"""Free energies of a polar vector in a cubic crystal: of its length, and of the vector itself.

Both are per volume of the space of vectors: F(s) = -kT ln p(s) with the density p in three dimensions. That of the
length is its average over the sphere, F(|s|) = -kT ln [p(|s|) / 4 pi |s|^2]: without the factor the length would have a
minimum away from zero even where the vector is free. The 48 operations of the cube map every configuration of a crystal
that is cubic on average to one that is as likely, so each row of the trajectory counts 48 times, once at each image.
"""

from dataclasses import dataclass, replace
from itertools import permutations, product

import numpy as np
from scipy.ndimage import map_coordinates

from ..bias.grid import Axis
from ..frame import Array
from .colvar import Colvar
from .estimate import Estimate, errors_of_free_energy
from .reweighting import reweight

CUBE = np.array(
    [
        np.eye(3)[list(order)] * np.array(signs)[:, None]
        for order in permutations(range(3))
        for signs in product((1, -1), repeat=3)
    ]
)
"""The operations of the cube, (48, 3, 3)."""


@dataclass(frozen=True)
class Vectors:
    """A trajectory of a vector. times: (n,) ps. vectors: (n, 3). log_weights: (n,). kt: in the unit of the results."""

    times: Array
    vectors: Array
    log_weights: Array
    kt: float

    def part(self, number: int, parts: int) -> "Vectors":
        """One of `parts` parts of equal length."""
        rows = np.array_split(np.arange(len(self.times)), parts)[number]
        return replace(self, times=self.times[rows], vectors=self.vectors[rows], log_weights=self.log_weights[rows])


def of_length(data: Vectors, longest: float, bins: int, blocks: int) -> Estimate:
    """F of the length, from 0 to `longest`, its minimum at zero; with standard errors."""
    lengths = np.linalg.norm(data.vectors, axis=1)
    table = Colvar(None, ["time", "s"], {}, np.column_stack([data.times, lengths]))
    estimate = reweight(table, ["s"], [Axis(0.0, longest, bins)], data.log_weights, data.kt, blocks)
    edges = np.linspace(0.0, longest, bins + 1)
    per_volume = estimate.surface.values + data.kt * np.log(np.diff(edges**3))
    surface = replace(estimate.surface, values=per_volume - per_volume.min(), errors=errors_of_free_energy(estimate))
    return replace(estimate, surface=surface)


def of_short_ones(estimate: Estimate, radius: float) -> tuple[float, float]:
    """F of vectors shorter than `radius`, on the scale of `of_length`, and its standard error; inf without any."""
    nodes = estimate.surface.nodes[0]
    spacing = nodes[1] - nodes[0]
    inside = nodes < radius
    lowest = int(np.argmin(estimate.surface.values))
    volume = np.diff(np.append(nodes - spacing / 2, nodes[-1] + spacing / 2) ** 3)
    p = estimate.history[-1]
    if not p[inside].any():
        return np.inf, np.inf
    ratio = p[inside].sum() / volume[inside].sum() / (p[lowest] / volume[lowest])
    error = estimate.kt * estimate.error(estimate.samples[:, inside].sum(axis=1)) / p[inside].sum()
    return float(-estimate.kt * np.log(ratio)), float(error)


def of_vector(data: Vectors, longest: float, bins: int, blocks: int, smoothing: float) -> Estimate:
    """F of the vector, symmetrised; components from -longest to longest, its minimum at zero; with standard errors.

    smoothing: every image counts as a Gaussian of this width, in intervals of the grid.
    """
    images = np.einsum("oij,nj->noi", CUBE, data.vectors).reshape(-1, 3)
    table = Colvar(None, ["time", *"xyz"], {}, np.column_stack([np.repeat(data.times, len(CUBE)), images]))
    axes = [Axis(-longest, longest, bins)] * 3
    estimate = reweight(table, list("xyz"), axes, np.repeat(data.log_weights, len(CUBE)), data.kt, blocks, smoothing)
    return replace(estimate, surface=replace(estimate.surface, errors=errors_of_free_energy(estimate)))


def on_diagonal_plane(estimate: Estimate, across: Array, up: Array) -> Array:
    """F (len(across), len(up)) at the vectors (a, a, u sqrt 2) / sqrt 2: the plane of [001], [111] and [110].

    nan where nothing was seen.
    """
    a, u = np.meshgrid(across / np.sqrt(2), up, indexing="ij")
    nodes = estimate.surface.nodes[0]
    places = (np.stack([a, a, u]) - nodes[0]) / (nodes[1] - nodes[0])
    with np.errstate(divide="ignore"):
        p = map_coordinates(np.exp(-estimate.surface.values / estimate.kt), places, order=1)
        return np.where(p > 0, -estimate.kt * np.log(np.maximum(p, 1e-300)), np.nan)


@dataclass(frozen=True)
class Direction:
    """The lowest free energy of vectors along a direction: where, how much, and its standard error."""

    name: str
    length: float
    free_energy: float
    error: float


def along(estimate: Estimate, direction: tuple[int, int, int]) -> tuple[Array, Array]:
    """Lengths and F of vectors along a direction of components 0 or 1, at nodes of a grid of odd size."""
    surface = estimate.surface
    middle = len(surface.nodes[0]) // 2
    steps = np.arange(middle + 1)
    index = tuple(middle + steps * component for component in direction)
    return surface.nodes[0][middle:] * np.linalg.norm(direction), surface.values[index]


def lowest(estimate: Estimate, direction: tuple[int, int, int], reference: tuple[int, int, int]) -> Direction:
    """The minimum along a direction, above that along another one."""
    middle = len(estimate.surface.nodes[0]) // 2
    nodes = []
    for way in (direction, reference):
        nodes.append(tuple(middle + int(np.argmin(along(estimate, way)[1])) * np.array(way)))
    difference, error = estimate.difference(nodes[1], nodes[0])
    length = float(np.linalg.norm(estimate.surface.point(nodes[0])))
    return Direction(f"[{''.join(map(str, direction))}]", length, difference, error)


@dataclass(frozen=True)
class Agreement:
    """How well two halves of a run agree: rms difference, the standard error that is expected of it, points."""

    difference: float
    expected: float
    points: int

    @property
    def within(self) -> bool:
        """Whether they differ by less than two standard errors."""
        return self.points > 0 and self.difference < 2 * self.expected


def agreement(first: Estimate, second: Estimate, depth: float) -> Agreement:
    """Compares two estimates of one curve where both know their error and are below `depth`; a constant is free."""
    a, b = first.surface, second.surface
    if a.errors is None or b.errors is None:
        return Agreement(np.nan, np.nan, 0)
    variance = a.errors**2 + b.errors**2
    known = np.isfinite(variance) & (a.values < depth) & (b.values < depth)
    if not known.any():
        return Agreement(np.nan, np.nan, 0)
    difference = a.values[known] - b.values[known]
    difference -= np.average(difference, weights=1 / variance[known])
    return Agreement(float(np.sqrt(np.mean(difference**2))), float(np.sqrt(variance[known].mean())), int(known.sum()))
