"""Which of i-PI's sockets the drivers of a configuration serve, and at which address."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..ipi.addresses import WILDCARDS
from ..ipi.input import IpiInput
from ..preflight.sockets import find_server

if TYPE_CHECKING:
    from ..configuration import Configuration


def ports_by_name(configuration: "Configuration", moved: "Configuration", simulation: IpiInput) -> dict[str, int]:
    """The ports of i-PI's sockets that this configuration serves, by name; they override those in states.

    moved: the configuration at its new ports.
    """
    pairs = ((configuration.socket, moved.socket), (configuration.bias_socket, moved.bias_socket))
    ports = {old.port: new.port for old, new in pairs if old and new and old.port and new.port}
    servers = (server for server in simulation.sockets if server.mode == "inet" and server.port in ports)
    return {server.name: ports[server.port] for server in servers}


def served(configuration: "Configuration", simulation: IpiInput) -> frozenset[str]:
    """Names of the <ffsocket> to which drivers of this configuration connect."""
    found = (find_server(socket, simulation) for socket in (configuration.socket, configuration.bias_socket))
    return frozenset(server.name for server in found if server is not None)


def drive_arguments(config: Path, configuration: "Configuration", simulation: IpiInput, port: int | None) -> list[str]:
    """Arguments for drivers on this machine: the address of *this* i-PI, whatever host is configured."""
    ports = {
        socket.port for socket in (configuration.socket, configuration.bias_socket) if socket and socket.mode == "inet"
    }
    servers = [server for server in simulation.sockets if server.mode == "inet" and server.port in ports]
    hosts = {"127.0.0.1" if server.address in WILDCARDS else server.address for server in servers}
    host = ["--host", hosts.pop()] if len(hosts) == 1 else []
    return [str(config.absolute()), *host, *(["--port", str(port)] if port else [])]
