"""The caches of an ASE calculator and of those within it: sums, corrections and wrappers hold calculators of their own.

ASE repeats the last results for the same atoms. The `reset` of a calculator that holds others forgets only its own
results, and those of ASE that only combine others, such as `SumCalculator`, have no `reset`.
"""

from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

DEPTH = 3
"""How far a calculator may be from the one that holds it: `SumCalculator` has an object with a list of them."""


def forget(calculator: Any) -> None:
    """Empties the caches of a calculator and of all within it, as far as they are ASE's or have a method `reset`."""
    for one in list(_calculators(calculator, DEPTH, set())):
        if callable(reset := getattr(one, "reset", None)):
            reset()
        elif {"atoms", "results"} <= vars(one).keys():
            one.atoms, one.results = None, {}


def _calculators(thing: Any, depth: int, seen: set[int]) -> Iterator[Any]:
    """What `thing` holds, and itself if it is a calculator; each once."""
    if id(thing) in seen or isinstance(thing, type | ModuleType):
        return
    seen.add(id(thing))
    attributes = getattr(thing, "__dict__", {})
    if attributes and callable(getattr(thing, "calculate", None)):
        yield thing
        depth = DEPTH
    elif depth == 0:
        return
    held: Iterable[Any] = (
        thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list | tuple) else ()
    )
    for value in [*held, *attributes.values()]:
        yield from _calculators(value, depth - 1, seen)
