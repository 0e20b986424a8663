"""A fit from its configuration to the model file: a basis, one pass over the structures, then linear algebra."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import block_diag

from ..errors import InputError, PotentialError
from ..frame import Array, Frame
from ..models.base import MEMBERS, Model
from ..potentials.model_files import potential_of
from ..results import is_finite
from . import limits, nonlinear, parts
from .accumulation import accumulate
from .ace_rows import AceRows
from .bonds import unlike_stiffness
from .calibration import Calibration, calibrate
from .columns import Columns, columns_of, joined_rows
from .config import FitConfig
from .contradictions import contradiction
from .copies import copies, known_to_training, references
from .data import Labelled
from .elimination import with_chosen_functions
from .limits import Limit
from .making import Maker, summary_of
from .misfit import misfits
from .preparation import Problem, groups_of, prepare, read
from .progress import Progress, silent
from .regression import fit_all
from .sigmas import choose_sigmas
from .validation import Validation

log = logging.getLogger(__name__)

COMPARED = 100
"""Energies that are compared with what forces say of them, about."""


@dataclass(frozen=True, eq=False)
class Fit:
    """The result of a fit.

    by_share: number of structures -> the model fitted to this many, for a learning curve.
    limits: what the model predicts far from its data.
    """

    model: Model
    by_share: dict[int, Model]
    train: list[Labelled]
    test: list[Labelled]
    limits: list[Limit]

    def __repr__(self) -> str:  # not the arrays: a model has thousands of numbers, and a prompt shows what is returned
        from ase.data import chemical_symbols

        species = ", ".join(chemical_symbols[number] for number in self.model.species)
        holes = sum(limit.hole for limit in self.limits)
        return (
            f"Fit({species}: {len(self.train)} structures, {len(self.test)} of test, "
            f"{len(self.limits)} limits, {holes} holes)"
        )


def fit(config: FitConfig, progress: Progress = silent) -> Fit:
    """Fits the model of a configuration, tries it, and writes it to `output`.

    The factors of finished groups of structures are kept in `<output>.parts/` until the model is written, so an
    interrupted fit resumes there.

    Args:
        config: The configuration.
        progress: Shows how far the fit is.

    Returns:
        The model, the structures and the limits.

    Raises:
        InputError: No model can be made from the data or the configuration, or another fit is writing this model.
    """
    data = read(config)
    for told in [*copies(data.train), *references(data.train)]:
        log.warning("%s: %s", config.data.train, told)
    for told in known_to_training(data.train, data.test):
        log.warning("%s: %s", config.data.test, told)
    with parts.folder_for(config.output) as folder:
        return _fit(prepare(config, data), folder, progress)


def _fit(problem: Problem, folder: Path, progress: Progress) -> Fit:
    config, train = problem.config, problem.data.train
    groups = groups_of(train, config.seed)
    choices = [with_chosen_functions(one, problem, groups, folder, progress) for one in columns_of(problem, progress)]
    columns, optimism = [choice.columns for choice in choices], max(choice.optimism for choice in choices)
    factors = accumulate(columns, problem, groups, folder, progress)
    prior = block_diag(*(column.regulariser() for column in columns))
    validation = Validation(factors, prior)
    if (doubt := contradiction(validation, partial(_energies, columns, problem))) is not None:
        log.warning("%s: %s", config.data.train, doubt)
    chosen, table = choose_sigmas(config, validation, factors, progress)
    regulariser = config.solver.regulariser(factors, chosen, prior)
    two_out = None
    if len(groups) == MEMBERS and config.embedding is None:
        if regulariser is not prior:
            validation = Validation(factors, regulariser)
        two_out = validation.left_two_out(chosen)
    del validation  # it is large
    solution = fit_all(factors, chosen, regulariser)
    for told in misfits(factors, solution.weights):
        log.warning("%s: %s", config.data.train, told)
    summary = summary_of(problem, factors, chosen, table)
    make = Maker(problem, columns, summary)
    if config.embedding is not None:
        (column,) = columns
        assert isinstance(column, AceRows), "`FitConfig` refuses others"
        trained = nonlinear.train(column, problem.rest, config, factors, chosen, regulariser, solution, groups, folder)
        summary["training"] = trained.history
        model = make.embedded(column, trained)
        return _finished(model, {len(train): model}, problem)
    members = None
    if two_out is not None:
        calibration = _calibrate(columns, problem, groups, two_out, optimism, progress)
        members = solution.members(1.0 if calibration is None else calibration.factor)
        summary["uncertainty"] = None if calibration is None else calibration.summary() | {"optimism": optimism}
    linear = make.model(solution.weights, members)
    sizes = np.cumsum([len(group) for group in groups])
    by_share = {int(sizes[k - 1]): make.model(w, None) for k, w in solution.by_share.items()}
    return _finished(linear, by_share, problem)


def _finished(model: Model, by_share: dict[int, Model], problem: Problem) -> Fit:
    """Tries the model, examines its limits, and writes it."""
    train = problem.data.train
    _try(model, train[0].frame)
    potential = potential_of(model)
    if (told := unlike_stiffness(potential, train)) is not None:
        log.warning("%s: %s", problem.config.data.train, told)
    found = limits.examine(potential, train, problem.known)
    summary: Any = model.summary
    summary["holes"] = [limit.what for limit in found if limit.hole]
    model.save(problem.config.output)
    return Fit(model, by_share, train, problem.data.test, found)


def _energies(columns: Sequence[Columns], problem: Problem, weights: Array) -> tuple[Array, Array, Array]:
    """For `contradiction`: of no more structures than tell whether labels agree."""
    labelled = [one for one in problem.rest if one.energy is not None]
    some = labelled[:: max(1, len(labelled) // COMPARED)]
    species = np.array(problem.data.species)
    sigma = np.array([problem.config.sigma_of(one.group).energy_ev * np.sqrt(len(one.frame)) for one in some])
    predicted = [joined_rows(columns, one.frame, False, False).energy @ weights for one in some]
    counts = np.array([(one.frame.species[:, None] == species).sum(axis=0) for one in some])
    return np.array(predicted) / sigma, np.array([one.energy for one in some]) / sigma, counts / sigma[:, None]


def _calibrate(
    columns: Sequence[Columns],
    problem: Problem,
    groups: Sequence[Sequence[int]],
    weights: Array,
    optimism: float,
    progress: Progress,
) -> Calibration | None:
    def row(frame: Frame) -> Array:
        next(shown, None)
        return joined_rows(columns, frame, False, False).energy

    labelled = sum(one.energy is not None for one in problem.rest)
    shown = iter(progress(range(labelled), "uncertainty", labelled))
    found = calibrate(weights, groups, problem.rest, row, optimism)
    next(shown, None)
    return found


def _try(model: Model, frame: Frame) -> None:
    """`InputError` if the model cannot be built, or gives something that is not finite."""
    try:
        result = potential_of(model, uncertainty=model.has_members).compute_one(frame)
    except PotentialError as error:
        raise InputError(f"the model was not written, it cannot be used: {error}") from error
    if not is_finite(result):
        raise InputError(
            "the model was not written, it gives numbers that are not finite: raise sigma or lower n_sparse"
        )
