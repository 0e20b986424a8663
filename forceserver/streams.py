"""The standard streams keep their numbers, whoever closes them.

The system gives a new file or connection the lowest number that is free. Where standard output has been closed, by who
started the program (`>&-`) or by a model in the middle of an evaluation, the next connection would be number 1, and
what a model prints would go to i-PI.
"""

import fcntl
import os
import sys

NAMES = ("stdin", "stdout", "stderr")
"""In the order of their numbers."""


_copies: dict[int, int] = {}
"""Of the standard streams, by number: where they led when they were looked at first."""


def keep_standard_streams() -> None:
    """Opens those that are closed: on what they were when this was called first, or else on nothing.

    It takes half a microsecond if none is closed.
    """
    for number, name in enumerate(NAMES):
        if not _is_open(number):
            _open(number)
        if number not in _copies:
            _copies[number] = os.dup(number)
        if (stream := getattr(sys, name)) is None or stream.closed:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115 - to the end


def _open(number: int) -> None:
    copy = _copies.get(number)
    if copy is not None:
        os.dup2(copy, number)
        return
    os.open(os.devnull, os.O_RDWR)  # it gets this number: those below are open
    os.set_inheritable(number, True)


def _is_open(number: int) -> bool:
    try:
        fcntl.fcntl(number, fcntl.F_GETFD)
    except OSError:
        return False
    return True
