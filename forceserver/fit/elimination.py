"""Which functions of an expansion are kept, out of more than there are to be.

The weights minimise |X u - y|^2 + |u|^2 in u = S w, all labels weighted by their expected errors. Without function k
the minimum is higher by u_k^2 / (H^-1)_kk, H = X^T X + 1 (Hassibi and Stork, Adv. Neural Inf. Process. Syst. 5, 164
(1993)). The functions whose absence costs least are removed, a part at a time, and the others are fitted again.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, cho_factor, cho_solve, lapack

from ..frame import Array
from .accumulation import add
from .ace_rows import AceRows
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


def with_chosen_functions(columns: Columns, problem: Problem, progress: Progress) -> Columns:
    """Columns of the functions that the training structures need most, if there are more candidates than functions.

    Args:
        columns: Those of a descriptor; of an expansion those of all candidates.
        problem: The structures, and what is left of their labels.
        progress: Shows how many structures are done.

    Returns:
        The same columns, or some of them; every species has the same functions.

    Raises:
        InputError: Two atoms of a structure are in one place.
    """
    if not isinstance(columns, AceRows):
        return columns
    descriptors = problem.config.descriptors
    (count,) = [d.truncation.functions for d in descriptors if isinstance(d, AceDescriptor) and d.truncation]
    if count == len(columns.functions):
        return columns
    equations = NormalEquations(np.diag(columns.regulariser()))
    of_all = dict.fromkeys(QUANTITIES, equations)
    for labelled in progress(problem.rest, "candidates", len(problem.rest)):
        add(of_all, [columns], labelled, problem.config)
    return columns.only(eliminate(equations.total(), len(columns.functions), count))


def eliminate(total: Array, functions: int, count: int) -> NDArray[np.int64]:
    """The places (count,) of the functions whose absence costs most.

    Args:
        total: The upper triangle of (X | y)^T (X | y), (n + 1, n + 1); n is a multiple of the number of functions.
        functions: How many functions there are; column k + functions * s is function k for species s.
        count: How many of them are kept.

    Returns:
        Their places, ascending.
    """
    species = (len(total) - 1) // functions
    kept = np.arange(functions)
    while len(kept) > count:
        columns = (kept + functions * np.arange(species)[:, None]).ravel()
        cost = _costs(total, columns).reshape(species, len(kept)).sum(axis=0)
        most = np.argsort(-cost, kind="stable")[: max(count, int(KEPT * len(kept)))]
        kept = np.sort(kept[most])
    return kept


def _costs(total: Array, columns: NDArray[np.int64]) -> Array:
    """By how much the minimum rises without each of these columns."""
    matrix = np.asfortranarray(total[np.ix_(columns, columns)])
    matrix[np.diag_indices(len(matrix))] += 1.0
    factor = cho_factor(matrix, overwrite_a=True, check_finite=False)
    u = cho_solve(factor, total[columns, -1])
    inverse, info = lapack.dpotri(factor[0], overwrite_c=1)
    assert info == 0, "the Cholesky factor has no zero on its diagonal"
    costs: Array = u**2 / np.diag(inverse)
    return costs
