"""How a fit reports its progress."""

from collections.abc import Callable, Iterable

Progress = Callable[[Iterable, str, int], Iterable]
"""Passes on what it iterates over, and shows a title and how many of a total are done."""


def silent(things: Iterable, title: str, total: int) -> Iterable:
    """Shows nothing."""
    return things
