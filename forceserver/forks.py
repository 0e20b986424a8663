"""What forked children must not keep: connections and locks of this process.

A potential may fork (multiprocessing, os.fork). A child has copies of all descriptors, and if its parent is killed it
keeps the connection open, so that i-PI waits for ever for an answer, and keeps the locks of files, so that the next
driver is refused. Newly executed programs are no danger: Python closes its descriptors then.

Nor may a child come back from the potential that forked it, by an exception, `sys.exit` or a forgotten `os._exit`: it
would go on as a second driver, in the place of its parent.
"""

import contextlib
import os
import socket
import sys
import traceback
import weakref

_sockets: "weakref.WeakSet[socket.socket]" = weakref.WeakSet()
_descriptors: set[int] = set()


def close_in_children(kept: "socket.socket | int") -> None:
    """Closes a socket, or a descriptor (until `no_longer`), in every child that is forked from now on."""
    if isinstance(kept, int):
        _descriptors.add(kept)
    else:
        _sockets.add(kept)


def no_longer(descriptor: int) -> None:
    """To be called before closing a descriptor: its number may become that of another file."""
    _descriptors.discard(descriptor)


def end_in_children_of(parent: int) -> None:
    """Ends this process if it is not `parent`; to be called where code of users returns or raises (in a `finally`).

    The exit code is that of `sys.exit`, 1 for other exceptions, which are printed, and 0 without one.
    """
    if os.getpid() == parent:
        return
    error = sys.exc_info()[1]
    if error is None or isinstance(error, SystemExit):
        code = getattr(error, "code", 0)
        os._exit(code if isinstance(code, int) else code is not None)
    with contextlib.suppress(Exception):
        traceback.print_exception(error)
        sys.stderr.flush()
    os._exit(1)


def _close_all() -> None:
    for sock in list(_sockets):
        with contextlib.suppress(OSError):
            sock.close()
    for descriptor in _descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _sockets.clear()
    _descriptors.clear()


os.register_at_fork(after_in_child=_close_all)
