"""Objects that keep neighbour lists or a workspace between calls, shared by threads, copied and pickled.

ASE computes the images of a band in threads (`NEB(parallel=True)`), and scripts map structures over pools of threads
or processes. Threads take turns with one object; a copy is made anew from the arguments.
"""

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


class Turn:
    """A lock that does not keep its owner from being copied or pickled; the copy has another one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def __reduce__(self) -> tuple[type["Turn"], tuple[()]]:
        return Turn, ()


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
        made._arguments = args, keys
        return made

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        args, keys = self._arguments
        return functools.partial(type(self), **keys), args
