"""Which functions of an expansion are kept, out of more than there are to be.

The weights minimise |X u - y|^2 + |u|^2 in u = S w, all labels weighted by their expected errors. Without function k
the minimum is higher by u_k^2 / (H^-1)_kk, H = X^T X + 1 (Hassibi and Stork, Adv. Neural Inf. Process. Syst. 5, 164
(1993)). The functions whose absence costs least are removed, a part at a time, and the others are fitted again.

Cross-validation with functions that all structures have chosen is too optimistic: what is left out of a fit took part
in the choice (Ambroise and McLachlan, Proc. Natl. Acad. Sci. 99, 6562 (2002)). So the choice is repeated without each
group of structures, and the errors of the group are compared with those of a fit to the same structures with the
functions that all have chosen.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, cho_factor, cho_solve, lapack

from ..frame import Array
from ..models.base import MEMBERS
from .accumulation import Taking, add
from .ace_rows import AceRows
from .calibration import FEWEST, factor_of
from .columns import Columns
from .config import AceDescriptor
from .preparation import Problem
from .progress import Progress
from .regression import BATCH, QUANTITIES

KEPT = 0.7  # of the functions in each round


class NormalEquations:
    """(X | y)^T (X | y), (n + 1, n + 1), of rows as they come; takes the place of a `regression.Factor`.

    Normal equations square the condition number, which with a prior of unit weight does not matter for a choice.
    """

    def __init__(self, scale: Array) -> None:
        self._scale = np.append(scale, 1.0)
        self._total = np.zeros((len(self._scale), len(self._scale)), order="F")
        self._waiting: list[Array] = []

    def add(self, rows: Array, targets: Array) -> None:
        """Adds weighted rows (m, n), whose columns are divided by the scale, and targets (m,)."""
        self._waiting.append(np.column_stack([rows, targets]) / self._scale)
        if sum(map(len, self._waiting)) >= BATCH:
            self._take_in()

    def _take_in(self) -> None:
        if self._waiting:
            rows = np.asfortranarray(np.concatenate(self._waiting))
            self._total = blas.dsyrk(1.0, rows, beta=1.0, c=self._total, trans=1, overwrite_c=1)
            self._waiting = []

    def total(self) -> Array:
        """The upper triangle."""
        self._take_in()
        return self._total


class EnergyRows:
    """Rows of energies, (rows | labels) as `NormalEquations` scales them, which also take them in."""

    def __init__(self, equations: NormalEquations, scale: Array) -> None:
        self._equations, self._scale = equations, np.append(scale, 1.0)
        self._rows = [np.zeros((0, len(self._scale)))]

    def add(self, rows: Array, targets: Array) -> None:
        """Adds weighted rows (m, n) and targets (m,)."""
        self._equations.add(rows, targets)
        self._rows.append(np.column_stack([rows, targets]) / self._scale)

    def all(self) -> Array:
        """(m, n + 1)."""
        return np.concatenate(self._rows)


@dataclass(frozen=True, eq=False)
class Choice:
    """columns: of the functions that are kept.

    optimism: the factor by which errors of structures that took no part in the choice are larger.
    """

    columns: Columns
    optimism: float = 1.0


def with_chosen_functions(
    columns: Columns, problem: Problem, groups: Sequence[Sequence[int]], folder: Path, progress: Progress
) -> Choice:
    """Columns of the functions that the training structures need most, if there are more candidates than functions.

    Args:
        columns: Those of a descriptor; of an expansion those of all candidates.
        problem: The structures, and what is left of their labels.
        groups: The places of the structures of each group.
        folder: Where the normal equations of the groups are kept meanwhile; half a gigabyte for 3600 candidates.
        progress: Shows how many structures are done.

    Returns:
        The same columns, or some of them; every species has the same functions.

    Raises:
        InputError: Two atoms of a structure are in one place.
    """
    if not isinstance(columns, AceRows):
        return Choice(columns)
    config, functions = problem.config, len(columns.functions)
    (count,) = [d.truncation.functions for d in config.descriptors if isinstance(d, AceDescriptor) and d.truncation]
    if count == functions:
        return Choice(columns)
    with_members = len(groups) == MEMBERS and config.embedding is None
    parts = Parts(folder if with_members else None)
    total = parts.take_in(_by_group(columns, problem, groups, progress))
    kept = eliminate(total, functions, count)
    return Choice(columns.only(kept), optimism_of(total, parts, functions, kept) if with_members else 1.0)


def _by_group(
    columns: AceRows, problem: Problem, groups: Sequence[Sequence[int]], progress: Progress
) -> Iterator[tuple[Array, Array]]:
    """Normal equations and rows of energies of each group."""
    scale = np.diag(columns.regulariser())
    shown = iter(progress([number for group in groups for number in group], "candidates", len(problem.rest)))
    for group in groups:
        equations = NormalEquations(scale)
        energies = EnergyRows(equations, scale)
        taking: dict[str, Taking] = {**dict.fromkeys(QUANTITIES, equations), "energy": energies}
        for _ in group:
            add(taking, [columns], problem.rest[next(shown)], problem.config)
        yield equations.total(), energies.all()
    next(shown, None)


class Parts:
    """Normal equations and rows of energies of groups; the equations are in files, or not kept without a folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._energies: list[Array] = []

    def take_in(self, parts: Iterable[tuple[Array, Array]]) -> Array:
        """Keeps them. Returns the normal equations of all together."""
        total: Array = np.zeros(())
        for k, (equations, energies) in enumerate(parts):
            total = total + equations
            self._energies.append(energies)
            if self._folder is not None:
                np.save(self._path(k), lapack.dtrttp(equations)[0])
        return total

    def _path(self, group: int) -> Path:
        assert self._folder is not None, "what is not kept is not asked for"
        return self._folder / f"candidates_{group}.npy"

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        for k, energies in enumerate(self._energies):
            yield lapack.dtpttr(energies.shape[1], np.load(self._path(k)))[0], energies


def optimism_of(total: Array, groups: Iterable[tuple[Array, Array]], functions: int, kept: NDArray[np.int64]) -> float:
    """By how much larger energies' errors of structures are that took no part in the choice.

    All are errors of groups that are left out of the fit, in standard deviations that the fit expects.

    Args:
        total: The upper triangle of (X | y)^T (X | y), (n + 1, n + 1), of all groups.
        groups: The same of each group, and the rows (m, n + 1) of its energies.
        functions: How many functions there are, see `eliminate`.
        kept: The places of those chosen by all groups.

    Returns:
        The factor, at least 1; 1 with too few energies.
    """
    unseen: list[Array] = []
    seen: list[Array] = []
    for equations, energies in groups:
        rest = total - equations
        for errors, places in ((unseen, eliminate(rest, functions, len(kept))), (seen, kept)):
            errors.append(_deviations(rest, energies, _columns(places, functions, len(total))))
    if sum(map(len, seen)) < FEWEST:
        return 1.0
    return max(1.0, factor_of(np.concatenate(unseen)) / factor_of(np.concatenate(seen)))


def _deviations(total: Array, rows: Array, columns: NDArray[np.int64]) -> Array:
    """Errors of rows with the weights of these columns, in standard deviations of the rows by the normal equations."""
    factor, u = _solved(total, columns)
    x = rows[:, columns]
    variances = np.einsum("ij,ji->i", x, cho_solve(factor, x.T))
    told = variances > 0
    deviations: Array = np.abs(x @ u - rows[:, -1])[told] / np.sqrt(variances[told])
    return deviations


def eliminate(total: Array, functions: int, count: int) -> NDArray[np.int64]:
    """The places (count,) of the functions whose absence costs most.

    Args:
        total: The upper triangle of (X | y)^T (X | y), (n + 1, n + 1); n is a multiple of the number of functions.
        functions: How many functions there are; column k + functions * s is function k for species s.
        count: How many of them are kept.

    Returns:
        Their places, ascending.
    """
    kept = np.arange(functions)
    while len(kept) > count:
        costs = _costs(total, _columns(kept, functions, len(total)))
        cost = costs.reshape(-1, len(kept)).sum(axis=0)
        most = np.argsort(-cost, kind="stable")[: max(count, int(KEPT * len(kept)))]
        kept = np.sort(kept[most])
    return kept


def _columns(places: NDArray[np.int64], functions: int, width: int) -> NDArray[np.int64]:
    """The columns of functions for all species, of `width` - 1 columns."""
    columns: NDArray[np.int64] = (places + functions * np.arange((width - 1) // functions)[:, None]).ravel()
    return columns


def _costs(total: Array, columns: NDArray[np.int64]) -> Array:
    """By how much the minimum rises without each of these columns."""
    factor, u = _solved(total, columns)
    inverse, info = lapack.dpotri(factor[0], overwrite_c=1)
    assert info == 0, "the Cholesky factor has no zero on its diagonal"
    costs: Array = u**2 / np.diag(inverse)
    return costs


def _solved(total: Array, columns: NDArray[np.int64]) -> tuple[tuple[Array, bool], Array]:
    """The Cholesky factor of H, and u, of these columns alone."""
    matrix = np.asfortranarray(total[np.ix_(columns, columns)])
    matrix[np.diag_indices(len(matrix))] += 1.0
    factor = cho_factor(matrix, overwrite_a=True, check_finite=False)
    return factor, cho_solve(factor, total[columns, -1])
