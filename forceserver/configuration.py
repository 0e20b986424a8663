"""The one TOML file that configures the program: all its sections, put together.

Each section is declared beside what it configures. This file lies above all of them and is imported only by what a
user starts: the commands, and the PES file that i-PI loads.
"""

from pathlib import Path
from typing import TypeVar

from pydantic import Field, model_validator

from .bias.choice import BiasConfig
from .cv import CVConfig
from .cv_server.server import CVServerConfig
from .errors import InputError
from .ipi.driver import DriverConfig
from .ipi.transports import SocketConfig
from .potentials import PotentialConfig
from .representation.config import ExpansionConfig
from .sections import InputFile, Section, read_toml, validated
from .template_structure import StructureConfig

Wanted = TypeVar("Wanted")


class SimulationConfig(Section):
    """Section [simulation]: the simulation that `launch` starts and `check` reads."""

    input: InputFile = Field(description="i-PI's input file (XML); i-PI runs in the folder of this file")


class Configuration(Section):
    """Everything that a configuration file may say."""

    structure: StructureConfig
    potential: PotentialConfig | None = None
    socket: SocketConfig | None = None
    driver: DriverConfig = DriverConfig()
    simulation: SimulationConfig | None = None
    cv: tuple[CVConfig, ...] = ()
    cv_server: CVServerConfig | None = None
    bias: BiasConfig | None = None
    bias_socket: SocketConfig | None = None
    expansion: ExpansionConfig | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Configuration":
        if self.cv_server and not self.cv:
            raise ValueError("[cv_server] has nothing to serve: give at least one [[cv]]")
        if self.bias_socket and self.bias is None:
            raise ValueError("[bias_socket] has nothing to serve: give [bias]")
        self._apart()
        return self

    def _apart(self) -> None:
        """No two sections may have the same address: whoever connects would reach the wrong server."""
        seen: dict[str | int, str] = {}
        for name in ("socket", "bias_socket", "cv_server"):
            section = getattr(self, name)
            if section is None:
                continue
            if other := seen.get(section.place):
                raise ValueError(f"[{name}] has the address of [{other}], {section}: give each one of its own")
            seen[section.place] = name


def read_configuration(path: Path) -> Configuration:
    """Reads and validates a configuration; `InputError` names every problem in it, one a line.

    Relative paths in it are relative to its folder.
    """
    path = Path(path)
    return validated(Configuration, read_toml(path), str(path), path.absolute().parent, written=True)


def at_address(configuration: Configuration, host: str | None, port: int | None, path: Path) -> Configuration:
    """The configuration with i-PI on another host, or at another port ([bias_socket] has the next one).

    Raises `InputError` if no socket is of mode 'inet'; `path` is the configuration, for the message.
    """
    ports = {"socket": port, "bias_socket": port and port + 1}
    sockets = {name: getattr(configuration, name) for name in ports}
    moved = {
        name: socket.model_copy(update={"address": host or socket.address, "port": ports[name] or socket.port})
        for name, socket in sockets.items()
        if socket is not None and socket.mode == "inet"
    }
    if not moved:
        option = f"--host {host}" if host is not None else f"--port {port}"
        raise InputError(f"{option}: {path} has no [socket] of mode 'inet', the only one with a host and a port")
    return configuration.model_copy(update=moved)


def require(section: Wanted | None, name: str, path: Path, why: str) -> Wanted:
    """An optional section that a command needs; `InputError` if the configuration does not have it."""
    if section is None:
        raise InputError(f"{path}: section [{name}] is missing: {why}")
    return section
