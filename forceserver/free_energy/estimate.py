"""A free energy with what is needed to judge it: how it evolved in time, and independent estimates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..frame import Array
from .surface import Surface, index_of

NOT_CONVERGED = "Not converged: the run is too short against what it remembers for error bars (--blocks N forces them)"


@dataclass(frozen=True)
class Rows:
    """What a histogram counts: values (n,) by variable, weights (n,), part (n,) the number of the part of each."""

    values: dict[str, Array]
    weights: Array
    part: NDArray[np.int64]


@dataclass(frozen=True)
class Phase:
    """The probability of a region: samples (k,) from the parts of the data, history (n,) as in `Estimate`."""

    population: float
    samples: Array
    history: Array


@dataclass(frozen=True)
class Estimate:
    """surface: the result. kt: in its unit.

    samples, weights: (k, *shape) probabilities of the nodes from parts of the data, and the weights of the parts.
    independent: whether the parts are blocks of data (the error is that of their mean) or states of one bias at
    different times (the error is their spread).
    times, history: (n,) ps and (n, *shape), the probabilities from all data up to each time.
    has_errors: whether the blocks are long enough for the scatter between them to be an error. note: if not, why.
    rows: what a histogram counts inside its grid, None of other estimates.
    """

    method: str
    surface: Surface
    kt: float
    samples: NDArray[np.floating]
    weights: Array
    independent: bool
    times: Array
    history: NDArray[np.floating]
    has_errors: bool = True
    note: str = NOT_CONVERGED
    rows: Rows | None = None

    def project(self, names: Sequence[str]) -> "Estimate":
        """The estimate for fewer variables, in the given order."""
        axes = [index_of(self.surface.names, name) for name in names]
        others = tuple(k for k in range(len(self.surface.names)) if k not in axes)

        def marginal(p: NDArray[np.floating]) -> NDArray[np.floating]:
            kept = np.argsort(np.argsort(axes))
            return np.transpose(p.sum(axis=tuple(k + 1 for k in others)), [0, *(kept + 1)])

        return replace(
            self,
            surface=self.surface.project(names, self.kt),
            samples=marginal(self.samples),
            history=marginal(self.history),
        )

    def error(self, of_samples: NDArray[np.floating]) -> Array:
        """The standard error of a mean from its values (k, ...) in the samples.

        nan where there is none. Weighted blocks: sqrt(sum_b w_b (x_b - <x>)^2 / sum_b w_b / (n_eff - 1)), with
        n_eff = (sum w)^2 / sum w^2.
        """
        if not self.has_errors:
            return np.full(of_samples.shape[1:], np.nan)
        w = self.weights / self.weights.sum()
        mean = np.tensordot(w, of_samples, axes=1)
        variance = np.tensordot(w, (of_samples - mean) ** 2, axes=1)
        if self.independent:
            variance = variance / max(1 / np.sum(w**2) - 1, 1e-12)
        return np.sqrt(variance)

    def difference(self, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[float, float]:
        """F(b) - F(a) of two nodes, and its standard error (nan if there is none)."""
        if not self.has_errors:
            error = np.nan
        elif self.independent and self.surface.errors is not None:
            error = float(np.hypot(self.surface.errors[a], self.surface.errors[b])) if a != b else 0.0
        else:
            at_a, at_b = (np.moveaxis(self.samples, 0, -1)[node] for node in (a, b))
            with np.errstate(divide="ignore", invalid="ignore"):
                error = float(self.error(-self.kt * np.log(at_b / at_a)))
        return float(self.surface.values[b] - self.surface.values[a]), error if np.isfinite(error) else np.nan

    def phase(self, region: Array) -> Phase:
        """Of the share of every node in a region."""
        p = self.surface.probability(self.kt)
        return Phase(float(within(p, region)), within(self.samples, region), within(self.history, region))

    def phase_of_rows(self, inside: Array) -> Phase:
        """Of the rows that are inside (n,), wherever the grid has its nodes and however smooth its F is."""
        assert self.rows is not None
        weights, part, parts = self.rows.weights, self.rows.part, len(self.samples)
        found, everything = (np.bincount(part, w, parts) for w in (weights * inside, weights))
        history = np.cumsum(found) / np.cumsum(everything)
        return Phase(float(history[-1]), found / everything, history)

    def error_of(self, phase: Phase) -> float:
        """The standard error of its population; nan if it was never entered or never left: that is not zero."""
        return float(self.error(phase.samples)) if np.ptp(phase.samples) > 1e-12 else np.nan


def within(probability: NDArray[np.floating], region: Array) -> Array:
    """The probability of a region: of one set of nodes, or (n,) of n of them.

    Only nodes of the region count, since elsewhere there may be none (nan).
    """
    return probability[..., region > 0] @ region[region > 0]


def errors_of_free_energy(estimate: Estimate) -> Array:
    """kT times the relative error of the probability; inf where fewer than three samples are not zero."""
    p = estimate.surface.probability(estimate.kt)
    enough = np.count_nonzero(estimate.samples, axis=0) >= min(3, len(estimate.samples))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(enough & (p > 0), estimate.kt * estimate.error(estimate.samples) / p, np.inf)


def distance_to_end(estimate: Estimate, depth: float) -> Array:
    """Root mean square difference (n,) of the free energy at each time to the last one, where that is below `depth`."""
    final = estimate.surface.values - estimate.surface.values.min()
    low = final < depth
    distances = []
    for p in estimate.history:
        with np.errstate(divide="ignore"):
            f = -estimate.kt * np.log(p[low])
        seen = np.isfinite(f)
        difference = f[seen] - final[low][seen]
        distances.append(np.std(difference) if seen.any() else np.nan)
    return np.array(distances)
