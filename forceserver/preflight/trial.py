"""Trials of PLUMED, which may die, print, or hang, and whose errors name the files of the trial."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import ForceServerError, InputError

PLUMED_SECONDS = 60
"""How long PLUMED may take."""


@contextlib.contextmanager
def naming(names: dict[Path, Path]) -> Iterator[None]:
    """Lets errors name the files of the user, not those that were tried in their place."""
    try:
        yield
    except Exception as error:
        text = str(error)
        for tried, file in names.items():
            text = text.replace(str(tried), str(file))
        raise InputError(text) from error


def in_a_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a process of its own, which may die; its errors are raised here."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        if not receiver.poll(PLUMED_SECONDS):
            raise InputError(f"PLUMED has not answered within {PLUMED_SECONDS} s")
        result = receiver.recv()
    except EOFError as error:
        process.join()
        raise InputError(f"PLUMED died on its input (exit code {process.exitcode})") from error
    finally:
        process.kill()
        process.join()
    if isinstance(result, Exception):
        raise result
    return result


def _send_result(sender: Any, function: Callable[..., Any], arguments: tuple) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # PLUMED prints
    try:
        sender.send(function(*arguments))
    except Exception as error:
        sender.send(error if isinstance(error, ForceServerError) else InputError(f"{type(error).__name__}: {error}"))
