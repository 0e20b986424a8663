"""What every socket of the program needs, whoever is on the other side."""

import os
import socket
import stat
from enum import Enum
from pathlib import Path

from .errors import InputError

SUN_PATH_BYTES = 107
"""The longest path of a unix socket on Linux; macOS takes 103."""

GONE_SECONDS = 120
"""A TCP peer that has not acknowledged anything for this long is gone."""


class UnixName(Enum):
    """What is at the path of a unix socket."""

    FREE = "nothing"
    LIVE = "a socket that a process of this machine has open"
    DEAD = "a socket that no process of this machine has open"
    OTHER = "a file that is not a socket"
    HIDDEN = "something that this user may not access"
    NOWHERE = "not in a folder in which this user may create it"


def unix_name(path: Path) -> UnixName:
    """What is at the path of a unix socket.

    Knocks with a datagram socket: the kernel says "wrong type" if a process has the stream socket open, and "refused"
    if none has. The process itself notices neither.
    """
    try:
        mode = os.stat(path).st_mode
    except PermissionError:
        return UnixName.HIDDEN
    except OSError:
        return UnixName.FREE if os.access(path.parent, os.W_OK | os.X_OK) else UnixName.NOWHERE
    if not stat.S_ISSOCK(mode):
        return UnixName.OTHER
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(min(str(path), os.path.relpath(path), key=len))  # names have at most 107 characters
        except ConnectionRefusedError:
            return UnixName.DEAD
        except PermissionError:
            return UnixName.HIDDEN
        except OSError:  # EPROTOTYPE, or unknown
            pass
    return UnixName.LIVE


def remove_dead(path: Path, key: str) -> None:
    """Removes the socket at `path` that a program which was killed has left; nothing if there is none.

    key: of the configuration, for the `InputError` if no socket can be made there.
    """
    found = unix_name(path)
    if found is UnixName.OTHER:
        raise InputError(f"{key}: {path} exists and is not a socket")
    if found is UnixName.NOWHERE:
        raise InputError(f"{key}: there is no folder {path.parent} in which this user may make a socket")
    if found is UnixName.LIVE:
        raise InputError(f"{key}: another server listens at {path}")
    if found is UnixName.DEAD:
        try:
            path.unlink(missing_ok=True)
        except PermissionError as error:
            raise InputError(f"{key}: {path} is a socket that another user has left") from error


def prepare_tcp(sock: socket.socket) -> None:
    """No delay of small messages, and a bound on how long a vanished peer goes unnoticed."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # A peer that vanishes while we compute is noticed when the answer is not acknowledged: after 15 minutes by default.
    for option, value in (("TCP_USER_TIMEOUT", 1000 * GONE_SECONDS), ("TCP_RXT_CONNDROPTIME", GONE_SECONDS)):
        if hasattr(socket, option):  # on Linux; on macOS
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    idle, interval = GONE_SECONDS // 2, GONE_SECONDS // 8
    # TCP_KEEPALIVE is what macOS calls TCP_KEEPIDLE
    options = ("TCP_KEEPIDLE", idle), ("TCP_KEEPALIVE", idle), ("TCP_KEEPINTVL", interval), ("TCP_KEEPCNT", 4)
    for option, value in options:
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
