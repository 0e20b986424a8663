"""The fit of a round: everything that is known so far."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..fit import report
from ..fit.config import DataConfig, FitConfig
from ..fit.progress import Progress
from ..fit.run import fit
from . import rounds
from .config import LearnConfig
from .rounds import Round


def train(one: Round, earlier: Sequence[Round], config: LearnConfig, progress: Progress) -> None:
    """Fits the model of a round, unless it is there; its messages go to fit.log.

    `InputError` if no model can be made.
    """
    if one.model.exists():
        return
    if not one.train.exists():
        known = [atoms for each in [*earlier, one] for atoms in each.labelled()]
        rounds.write(one.train, [*rounds.read(config.folder / "start.extxyz"), *known])
    with logged(one.folder / "fit.log"):
        result = fit(fit_config(one, config), _titled(progress, f"round {one.number}: "))
        sets = {"train": result.train} | ({"test": result.test} if result.test else {})
        tables = {name: report.compare(result.model, data, uncertainty=name == "test") for name, data in sets.items()}
        report.write(one.report, result, tables)


def fit_config(one: Round, config: LearnConfig) -> FitConfig:
    """The configuration of the fit of a round."""
    data = DataConfig(train=one.train, test=config.data.test)
    return FitConfig.of(config.fit, output=one.model, report=one.report, data=data)


def _titled(progress: Progress, prefix: str) -> Progress:
    return lambda things, title, total: progress(things, prefix + title, total)


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """What the fit has to say goes to a file: it says it again in each round."""
    logger = logging.getLogger("forceserver.fit")
    handler, before = logging.FileHandler(path), (logger.propagate, logger.level)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate, level = before
        logger.setLevel(level)
        handler.close()
