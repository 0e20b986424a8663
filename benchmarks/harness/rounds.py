"""Interleaved timing: A B C A B C ..., so that a busy moment of a shared machine hits all contenders alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass
class Timing:
    """Seconds per call, one number a round."""

    rounds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def best(self) -> float:
        return min(self.rounds)


Clock = Callable[[], float]
"""Seconds: `time.perf_counter` of the wall, `time.process_time` of the processor (all threads of this process)."""


def seconds_per_call(call: Callable[[], object], number: int, clock: Clock = time.perf_counter) -> float:
    """Time of one call, averaged over `number` of them."""
    start = clock()
    for _ in range(number):
        call()
    return (clock() - start) / number


def interleave(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int = 7,
    block_seconds: float = 0.02,
    clock: Clock = time.perf_counter,
) -> dict[str, Timing]:
    """Times every contender once in each round; each timing repeats the call for at least `block_seconds`.

    The first call of each contender is its warm-up and tells how often to repeat it.
    """
    numbers = {}
    for name, call in contenders.items():
        call()
        numbers[name] = max(1, round(block_seconds / max(seconds_per_call(call, 1, clock), 1e-9)))
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            measured[name].append(seconds_per_call(call, numbers[name], clock))
    return {name: Timing(rounds) for name, rounds in measured.items()}
