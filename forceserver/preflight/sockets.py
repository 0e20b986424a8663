"""Do the sockets of the configuration match those of i-PI, and are their names free?"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .findings import ADVICE, OK, WRONG, Finding

if TYPE_CHECKING:
    from ..cv_server.server import CVServerConfig
    from ..frame import Frame
    from ..ipi.driver import DriverConfig
    from ..ipi.input import IpiInput, SocketServer
    from ..ipi.transports import SocketConfig


def _listens(server: "SocketServer") -> str:
    if server.mode == "inet":
        return f"mode='inet' at {server.address}:{server.port}"
    nested = f" (inside '{server.forcefield}', where sockets_prefix does not apply)" if server.nested else ""
    return f"mode='{server.mode}' at {server.unix_path}{nested}"


def _fits(socket: "SocketConfig", server: "SocketServer") -> bool:
    if socket.mode != server.mode:
        return False
    if server.mode == "inet":  # there the address is that of an interface, here that of a host
        return socket.port == server.port
    return os.path.normpath(socket.path) == os.path.normpath(server.unix_path)  # ./force is force


def find_server(socket: "SocketConfig | None", ipi: "IpiInput") -> "SocketServer | None":
    """The <ffsocket> that a section of the configuration connects to."""
    return next((server for server in ipi.sockets if socket is not None and _fits(socket, server)), None)


def inspect_sockets(config: Path, clients: dict[str, "SocketConfig"], ipi: "IpiInput") -> Iterator[Finding]:
    """`clients`: the sections of the configuration that connect to i-PI, by name."""
    listening = "; ".join(f"<ffsocket name='{server.name}'> {_listens(server)}" for server in ipi.sockets)
    if not clients:
        yield Finding(WRONG, "socket", f"{config} has no section [socket], but i-PI listens: {listening}")
        return
    served = []
    for section, socket in clients.items():
        server = find_server(socket, ipi)
        if server is None:
            yield Finding(
                WRONG, "socket", f"[{section}] is mode = '{socket.mode}' at {socket}, but i-PI listens: {listening}"
            )
            continue
        served.append(server)
        yield Finding(OK, "socket", f"[{section}] is <ffsocket name='{server.name}'> {_listens(server)}")
        yield from _address(server, ipi.folder)
    others = [server.name for server in ipi.sockets if server not in served]
    if others and served:
        yield Finding(ADVICE, "socket", f"other drivers must serve {', '.join(others)}; this configuration does not")


def inspect_cv_server(config: "CVServerConfig") -> Iterator[Finding]:
    """Opens the CV server of the configuration for a moment, to see that it can be."""
    from ..cv_server.server import CVServer
    from ..errors import InputError

    try:
        CVServer(config, {}).close()
    except InputError as error:
        yield Finding(WRONG, "cv_server", str(error))
    else:
        yield Finding(OK, "cv_server", f"it can be open at {config}")


def inspect_limits(driver: "DriverConfig", template: "Frame", server: "SocketServer | None") -> Iterator[Finding]:
    """Will the driver accept what i-PI sends?"""
    sizes = {"max_atoms": (len(template), "atoms of the template")}
    if server is not None:
        sizes["max_batch"] = (server.batch_size, "structures of <batch_size>")
    for name, (size, what) in sizes.items():
        if size > (limit := getattr(driver, name)):
            text = f"driver.{name} = {limit} is less than the {size} {what}: leave it out, or make it larger"
            yield Finding(WRONG, "driver", text)


def _address(server: "SocketServer", folder: Path) -> Iterator[Finding]:
    from ..ipi.addresses import address_taken, is_of_this_machine
    from ..sockets import SUN_PATH_BYTES

    path = server.unix_path
    if server.mode != "inet" and (size := len(os.fsencode(path))) > SUN_PATH_BYTES:
        yield Finding(WRONG, "socket", f"the name {path} has {size} bytes; the system takes {SUN_PATH_BYTES}")
    elif why := address_taken(server, folder):
        elsewhere = server.mode == "inet" and not is_of_this_machine(server.address)
        yield Finding(ADVICE, "socket", f"here i-PI cannot run: {why}") if elsewhere else Finding(WRONG, "socket", why)
