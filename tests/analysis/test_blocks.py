"""How long rows remember, and the blocks that follow from it."""

import numpy as np
import pytest

from forceserver.analysis.blocks import error_of_mean, number_of_blocks, statistical_inefficiency


def remembering(memory: float, rows: int, seed: int = 0) -> np.ndarray:
    """A Gaussian series whose correlation falls by exp(-1 / memory) a row."""
    rng = np.random.default_rng(seed)
    keep = np.exp(-1 / memory)
    noise = rng.normal(size=rows) * np.sqrt(1 - keep**2)
    series = np.empty(rows)
    series[0] = rng.normal()
    for n in range(1, rows):
        series[n] = keep * series[n - 1] + noise[n]
    return series


@pytest.mark.parametrize("memory", [0.1, 3.0, 30.0])
def test_the_inefficiency_is_that_of_an_exponential_memory(memory):
    exact = (1 + np.exp(-1 / memory)) / (1 - np.exp(-1 / memory))
    found = np.mean([statistical_inefficiency(remembering(memory, 20_000, seed)) for seed in range(4)])
    assert found == pytest.approx(exact, rel=0.15)


def test_errors_from_found_blocks_are_those_of_the_mean():
    """Ten fixed blocks were two times too small on rows that remember for long."""
    means, errors = [], []
    for seed in range(60):
        series = remembering(20.0, 6_000, seed)
        blocks = number_of_blocks(series[:, None])
        assert 5 <= blocks <= 50
        means.append(series.mean())
        errors.append(error_of_mean(series, blocks))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.3)


def test_a_run_that_never_forgets_has_no_blocks():
    step = np.concatenate([np.full(500, -1.0), np.full(500, 1.0)])
    assert number_of_blocks(step[:, None]) == 0
    assert number_of_blocks(np.stack([np.random.default_rng(1).normal(size=1000), step], axis=1)) == 0


def test_what_does_not_move_has_no_memory():
    assert statistical_inefficiency(np.ones(100)) == 1
