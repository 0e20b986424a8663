"""Is an address of i-PI free, in use, or left behind? Looks without disturbing whoever listens there.

A probe must not connect: i-PI takes every connection for a driver, and one that vanishes can end it.
"""

import contextlib
import errno
import os
import socket
from pathlib import Path

from ..files import owner_of
from ..sockets import UnixName, unix_name
from .input import IpiInput, SocketServer

WILDCARDS = ("", "0.0.0.0")
"""Addresses that stand for all interfaces of a machine."""


def address_taken(server: SocketServer, folder: Path) -> str | None:
    """Why i-PI, started in `folder` on this machine, cannot listen there; None if it can."""
    if server.mode == "inet":
        return _port_taken(server.address, server.port)
    return _name_taken(folder / server.unix_path)


def _port_taken(address: str, port: int) -> str | None:
    """Binds as i-PI does, and closes at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OverflowError:
            return f"there is no port {port}: choose one from 1024 to 65535"
        except socket.gaierror as error:
            return f"the host {address!r} cannot be found ({error.strerror}): give an address of this machine"
        except PermissionError:
            return f"only root may listen at port {port}: choose one from 1024 to 65535"
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return (
                    f"port {port} is in use at {address or 'this machine'}, perhaps by another simulation: a port "
                    f"belongs to one simulation, choose another (free now: {free_port(address)})"
                )
            if error.errno == errno.EADDRNOTAVAIL:
                return f"{address} is not an address of this machine; 0.0.0.0 stands for all of its addresses"
            return f"cannot listen at {address}:{port}: {error.strerror}"
    return None


def share(one: SocketServer, other: SocketServer) -> bool:
    """Whether i-PI cannot listen at both: one name, or one port of the same interface or of all."""
    if "inet" in (one.mode, other.mode):
        if one.mode != other.mode or one.port != other.port:
            return False
        interfaces = {_number(one.address), _number(other.address)}
        return len(interfaces) == 1 or not interfaces.isdisjoint(WILDCARDS)
    return os.path.normpath(one.unix_path) == os.path.normpath(other.unix_path)


def _number(address: str) -> str:
    """The IP address of a host: localhost and 127.0.0.1 are one."""
    try:
        return socket.gethostbyname(address)
    except (OSError, UnicodeError):  # told elsewhere
        return address


def free_port(address: str = "") -> int:
    """A port that is free at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def is_of_this_machine(address: str) -> bool:
    """Whether a server on this machine could listen at an address (a name or a number)."""
    try:
        free_port(address)
    except OSError:
        return False
    return True


def _name_taken(path: Path) -> str | None:
    found = unix_name(path)
    if found is UnixName.FREE:
        return None
    if found is UnixName.NOWHERE:
        return f"{path}: there is no folder {path.parent} in which this user may create it: choose another prefix"
    owner = owner_of(path)
    remedy = {
        UnixName.LIVE: "another i-PI listens there: choose another <address>",
        UnixName.DEAD: "a killed i-PI left it behind: remove it, unless an i-PI on another machine is using it",
        UnixName.HIDDEN: "choose another <address> or prefix",
        UnixName.OTHER: "choose another <address>, or remove it",
    }[found]
    if owner:
        remedy = f"choose another <address> or prefix; if no simulation of {owner} uses it, {owner} can remove it"
    return f"{path} exists already ({found.value}{f', of the user {owner}' if owner else ''}): {remedy}"


def clients_at(server: SocketServer) -> int | None:
    """How many clients i-PI, on this machine, has accepted there; None on systems that do not show it as Linux does."""
    is_tcp = server.mode == "inet"
    try:
        lines = Path("/proc/net/tcp" if is_tcp else "/proc/net/unix").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    if is_tcp:
        port = f":{server.port:04X}"
        return sum(row[1].endswith(port) and row[3] == "01" for row in map(str.split, lines))
    rows = (line.split(maxsplit=7) for line in lines)  # a path may contain spaces
    return sum(row[5] == "03" and row[7:] == [server.unix_path] for row in rows)


def remove_dead_sockets(state: IpiInput) -> None:
    """Removes the sockets of a simulation that no process of this machine has open.

    Only for callers who know that i-PI ran on this machine: on another one that shares the file system, sockets in use
    look dead, too.
    """
    for server in state.sockets:
        path = state.folder / server.unix_path
        if server.mode != "inet" and unix_name(path) is UnixName.DEAD:
            with contextlib.suppress(FileNotFoundError, PermissionError):  # of another user
                path.unlink()
