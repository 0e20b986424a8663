"""Changes the TCP ports in an input or state of i-PI, so that one option suffices instead of edits in several files."""

from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from ..files import atomic_write
from .input import IpiInput, read_ipi_input

DERIVED = "launch-input.xml"
"""Name of the changed copy, beside the input."""


def at_ports(simulation: IpiInput, ports: Mapping[str, int]) -> IpiInput:
    """The simulation with the named sockets at these ports: itself, or a changed copy in the file `DERIVED`.

    Raises `InputError` if an input that is not XML would have to be changed.
    """
    servers = [server for server in simulation.sockets if server.mode == "inet" and server.name in ports]
    if all(server.port == ports[server.name] for server in servers):
        return simulation
    path = simulation.folder / DERIVED
    _write_copy(simulation.path, path, {server.name: ports[server.name] for server in servers})
    return read_ipi_input(path)


def _write_copy(source: Path, target: Path, ports: Mapping[str, int]) -> None:
    from xml.etree import ElementTree

    if source.suffix == ".json":
        raise InputError(f"{source}: ports can be changed in XML only; put {ports} there yourself")
    tree = ElementTree.parse(source)
    for part in tree.iter("ffsocket"):
        name = part.get("name", "").strip()
        if name in ports:
            port = part.find("port")
            if port is None:
                port = ElementTree.SubElement(part, "port")
            port.text = str(ports[name])
    with atomic_write(target) as new:
        tree.write(new)
