"""Objects that keep neighbour lists or a workspace between calls, shared by threads, copied and pickled.

ASE computes the images of a band in threads (`NEB(parallel=True)`), and scripts map structures over pools of threads
or processes. Threads take turns with one object; a copy is made anew from the arguments.
"""

import functools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, cast

from .errors import PotentialError

Method = TypeVar("Method", bound=Callable[..., Any])


class Turn:
    """A lock that does not keep its owner from being copied or pickled; the copy has another one."""

    def __init__(self) -> None:
        self.lock: Any = threading.RLock()
        _turns.add(self)

    def __reduce__(self) -> tuple[type["Turn"], tuple[()]]:
        return Turn, ()

    def in_child(self) -> None:
        """In a forked child: nobody will release a lock of another thread, or finish what it was computing."""
        if self.lock.acquire(blocking=False):
            self.lock.release()
        else:
            self.lock = _Abandoned()


class _Abandoned:
    """In place of the lock of an object that another thread was using when this process was forked."""

    def __enter__(self) -> NoReturn:
        raise PotentialError(
            "this process was forked while another thread computed with the same potential or variable, which was left "
            "half way; make a new one here, or fork before the threads begin"
        )

    def __exit__(self, *_: object) -> None:
        """Never reached."""

    def acquire(self, blocking: bool) -> bool:
        """Nor do its own children get a turn."""
        return False


_turns: "weakref.WeakSet[Turn]" = weakref.WeakSet()


def _in_child() -> None:
    for turn in list(_turns):
        turn.in_child()


os.register_at_fork(after_in_child=_in_child)


def in_turn(method: Method) -> Method:
    """A method that waits until no other thread is in such a method of the same object."""

    @functools.wraps(method)
    def taking_turns(self: object, *args: Any, **keys: Any) -> Any:
        kept = self.__dict__
        with (kept.get("_turn") or kept.setdefault("_turn", Turn())).lock:
            return method(self, *args, **keys)

    return cast(Method, taking_turns)


class Remade:
    """An object whose copies and pickles are made from its arguments: a workspace of C cannot be copied."""

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **keys: Any) -> Any:
        made = super().__new__(cls)
        made._arguments = tuple(map(_as_it_is, args)), {name: _as_it_is(value) for name, value in keys.items()}
        return made

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        args, keys = self._arguments
        return functools.partial(type(self), **keys), args


def _as_it_is(argument: Any) -> Any:
    """An argument; of `Atoms` a copy: these move, and may have a calculator that uses the object."""
    return argument.copy() if hasattr(argument, "calc") else argument
