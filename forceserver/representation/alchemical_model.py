"""Pseudo-species that are optimised together with a linear model of the power spectrum.

With |b> = sum_a u_ba |a> (`alchemical`), the energy per atom of structure s, less what its composition explains, is

    e_s = sum_{c l b n b' n'} w_{c l b n b' n'} u_ba u_b'a' P^s_{c l a n a' n'}

with weights for each species c of centres, and P^s the sum of c^i_{anlm} c^i_{a'n'lm} / sqrt(2 l + 1) over m and the
centres of species c, by the number of atoms. Minimised is the squared error of structures that ridge regression leaves
out one by one, which it gives in closed form: with X(u) the rows above, K = X X^T, an orthonormal basis B of what is
orthogonal to all compositions, and G = B (B^T K B + lambda)^-1 B^T,

    L(u) = sum_s ([G e]_s / G_ss)^2 / |e|^2,        lambda = alpha tr K / S,

by L-BFGS with the gradient in closed form; alpha is that of the smallest loss at the beginning. (Where there are more
features than structures the regression itself reproduces any energies, with any u.)

The alternative, least squares for w and for u in turn (the model is linear in one u if the other is kept), is here to
compare: it converges hundreds of times more slowly, if at all. See docs/representation.md.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.linalg import null_space

from ..frame import Array
from ..memory import require_memory
from .contraction import Covariance, coefficients_of
from .expansion import ExpansionBasis
from .neighbours import Selection
from .targets import Targets, without

Method = Literal["l-bfgs", "alternating"]

ALPHAS = np.geomspace(1e-10, 1e-1, 19)
ITERATIONS = 200
CONVERGED = 1e-6
"""Relative change of the loss, below which the iteration ends."""


@dataclass(eq=False)
class Optimised:
    """weights: u (B, A), of mean square row length 1. losses: from the start on, relative to that of no model."""

    weights: Array
    alpha: float
    losses: list[float] = field(default_factory=list)


def optimise(
    covariance: Covariance,
    targets: Targets,
    start: Array,
    *,
    method: Method = "l-bfgs",
    centres: Selection | None = None,
    neighbours: Selection | None = None,
    centre_contribution: bool = True,
    tolerance: float = 1e-8,
) -> Optimised:
    """The pseudo-species of the best linear model, from u = start (B, A) on; other arguments as for `Covariance.of`.

    `InputError`: the products do not fit into memory.
    """
    expansion = covariance.expansion(tolerance, centre_contribution=centre_contribution)
    problem = _Problem(targets, _products(expansion, targets, centres, neighbours))
    alpha = problem.strength(start)
    losses = [problem.loss(start, alpha)[0]]
    minimise = _by_gradients if method == "l-bfgs" else _in_turn
    u = minimise(problem, start, alpha, lambda loss: losses.append(loss))
    return Optimised(u * np.sqrt(len(u) / (u**2).sum()), alpha, losses)


class _Problem:
    """products: for every l, (S, C, A, n, A, n)."""

    def __init__(self, targets: Targets, products: Sequence[Array]) -> None:
        self._e = targets.energies / np.linalg.norm(targets.energies)
        self._free = null_space(targets.composition.T)  # (S, S - rank)
        self._products = products

    def rows(self, left: Array, right: Array) -> Array:
        """X (S, F) with a u for each factor."""
        parts = [np.einsum("ba,scanAm,BA->scbnBm", left, p, right, optimize=True) for p in self._products]
        return np.concatenate([part.reshape(len(self._e), -1) for part in parts], axis=1)

    def strength(self, u: Array) -> float:
        """The alpha of the smallest loss."""
        x = self.rows(u, u)
        return float(min(ALPHAS, key=lambda alpha: self._solved(x, alpha)[2]))

    def weights(self, u: Array, alpha: float) -> Array:
        """w (F,) of ridge regression."""
        x = self.rows(u, u)
        return np.asarray(self._solved(x, alpha)[1] @ x)

    def loss(self, u: Array, alpha: float) -> tuple[float, Array]:
        """L(u), and its gradient (B, A)."""
        x = self.rows(u, u)
        inverse, a, loss = self._solved(x, alpha)
        diagonal = np.diag(inverse)
        by_kernel = inverse @ ((2 * a**2 / diagonal**3)[:, None] * inverse)
        by_kernel -= np.outer(inverse @ (2 * a / diagonal**2), a)
        by_kernel = by_kernel + by_kernel.T
        of_rows = by_kernel @ x + (alpha / len(a)) * np.trace(by_kernel) * x
        gradient: Array = np.zeros(u.shape)
        for p, part in self._by_degree(of_rows, len(u)):
            gradient += np.einsum("scbnBm,scanAm,BA->ba", part, p, u, optimize=True)
            gradient += np.einsum("scbnBm,scanAm,ba->BA", part, p, u, optimize=True)
        return loss, gradient

    def _solved(self, x: Array, alpha: float) -> tuple[Array, Array, float]:
        """G (S, S), G e (S,), and the loss."""
        k = x @ x.T
        free = self._free
        reduced = free.T @ k @ free + alpha * np.trace(k) / len(k) * np.eye(free.shape[1])
        inverse = free @ np.linalg.inv(reduced) @ free.T
        a = inverse @ self._e
        return inverse, a, float(((a / np.diag(inverse)) ** 2).sum())

    def linear_rows(self, weights: Array, u: Array) -> Array:
        """Rows (S, B A) of the model as a linear function of its first u, with the second and the weights (F,) kept."""
        rows: Array = np.zeros((len(self._e), *u.shape))
        for p, w in self._by_degree(weights, len(u)):
            rows += np.einsum("cbnBm,scanAm,BA->sba", w, p, u, optimize=True)
        return rows.reshape(len(rows), -1)

    def _by_degree(self, features: Array, channels: int) -> Iterator[tuple[Array, Array]]:
        """The products of each l, and its part of an array (..., F) as (..., C, B, n, B, n)."""
        first = 0
        for p in self._products:
            _, c, _, n, _, m = p.shape
            shape = (c, channels, n, channels, m)
            part = features[..., first : (first := first + int(np.prod(shape)))]
            yield p, part.reshape(*features.shape[:-1], *shape)


def _by_gradients(problem: _Problem, start: Array, alpha: float, told: Callable[[float], None]) -> Array:
    from scipy.optimize import OptimizeResult, minimize

    def of(flat: Array) -> tuple[float, Array]:
        loss, gradient = problem.loss(flat.reshape(start.shape), alpha)
        return loss, gradient.ravel()

    def told_of(intermediate_result: OptimizeResult) -> None:  # scipy looks at this name
        told(float(intermediate_result.fun))

    found = minimize(
        of,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": ITERATIONS, "ftol": CONVERGED, "gtol": 1e-9},
        callback=told_of,
    )
    return np.reshape(found.x, start.shape)


def _in_turn(problem: _Problem, start: Array, alpha: float, told: Callable[[float], None]) -> Array:
    """Closed forms for w and u alternately; the best u."""
    best, least, u = start, problem.loss(start, alpha)[0], start
    before = least
    for _ in range(ITERATIONS):
        rows = problem.linear_rows(problem.weights(u, alpha), u)
        u = np.reshape(np.linalg.lstsq(rows, problem._e, rcond=None)[0], start.shape)
        u = u * np.sqrt(len(u) / (u**2).sum())
        loss = problem.loss(u, alpha)[0]
        told(loss)
        if loss < least:
            best, least = u, loss
        if abs(before - loss) <= CONVERGED * before:
            break
        before = loss
    return best


def _products(
    expansion: ExpansionBasis, targets: Targets, centres: Selection | None, neighbours: Selection | None
) -> list[Array]:
    """For every l (S, C, A, n, A, n), less what the composition explains."""
    count, blocks = len(targets.frames), expansion.n_blocks
    shapes = {l: (count, len(targets.species), blocks, n, blocks, n) for l, n in expansion.counts.items()}
    needed = 4 * 8.0 * sum(float(np.prod(shape)) for shape in shapes.values())
    require_memory(needed, "products of all pairs of species and radial functions", "make n_max or l_max smaller")
    out = {l: np.zeros(shape) for l, shape in shapes.items()}
    for s, (frame, number) in enumerate(zip(targets.frames, targets.numbers, strict=True)):
        coefficients, of_centres = coefficients_of(expansion, frame, number, centres, neighbours)
        for l, part in expansion.split(coefficients).items():
            for k, species in enumerate(targets.species):
                mine = part[of_centres == species] / np.sqrt(np.sqrt(2 * l + 1) * len(frame))
                rows = np.swapaxes(mine, 1, 2).reshape(-1, blocks * mine.shape[-1])
                out[l][s, k] = (rows.T @ rows).reshape(shapes[l][2:])
    return [without(targets.composition, part) for part in out.values()]
