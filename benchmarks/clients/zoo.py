"""The clients that are compared, and how each one is started."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
LIMIT = "C echo"
"""The client that nobody can undercut; times of the others are also given relative to it."""
PREFIX = "/tmp/ipi_"
"""Where i-PI and all its clients look for unix sockets."""


@dataclass(frozen=True)
class Address:
    """Where a server listens, and what it will send.

    transport: "unix", "tcp" or "shm"; place: a port, or the part of the socket's path behind PREFIX.
    """

    transport: str
    place: str
    atoms: int
    batch: int = 1

    @property
    def path_or_port(self) -> str:
        return self.place if self.transport == "tcp" else PREFIX + self.place


Command = Callable[[Address], list[str] | None]
"""The command line that connects to an address, or None where the client does not speak that transport or batches."""


def c_echo(executable: Path) -> Command:
    return lambda at: [str(executable), at.transport, at.path_or_port]


def python_echo(at: Address) -> list[str]:
    return [sys.executable, str(FOLDER / "echo.py"), at.transport, at.path_or_port]


def fortran_driver(executable: str) -> Command:
    def command(at: Address) -> list[str]:
        potential = "batch-dummy" if at.batch > 1 and at.transport != "shm" else "gas"
        where = ["-a", "localhost", "-p", at.place] if at.transport == "tcp" else ["-u", "-a", at.place]
        return [executable, *where, "-m", potential, *(["--shm"] if at.transport == "shm" else [])]

    return command


def ipi_python_driver(executable: str) -> Command:
    def command(at: Address) -> list[str]:
        where = {"tcp": ["-a", "localhost", "-p", at.place], "unix": ["-u", "-a", at.place]}
        return [executable, *where.get(at.transport, ["--shm", "-a", at.place]), "-m", "dummy"]

    return command


def ase_client(at: Address) -> list[str] | None:
    if at.transport == "shm" or at.batch > 1:
        return None
    return [sys.executable, str(FOLDER / "ase_zero.py"), at.transport, at.place, str(at.atoms)]


def forceserver_client(at: Address) -> list[str]:
    return [
        sys.executable, str(FOLDER / "forceserver_zero.py"), at.transport, at.path_or_port, str(at.atoms)
    ]  # fmt: skip


def available(echo: Path) -> tuple[dict[str, Command], list[str]]:
    """The clients by name, ours first, the limit last, and what is missing.

    The Fortran driver is i-PI's `drivers/f90/driver.x`, built by the user: the environment variable
    IPI_FORTRAN_DRIVER, or `i-pi-driver` on the PATH.
    """
    found: dict[str, Command] = {"forceserver": forceserver_client}
    missing = []
    fortran = os.environ.get("IPI_FORTRAN_DRIVER") or shutil.which("i-pi-driver")
    if fortran:
        found["i-PI Fortran driver"] = fortran_driver(fortran)
    else:
        missing.append("i-PI's Fortran driver (build it from i-PI's sources, set IPI_FORTRAN_DRIVER to driver.x)")
    python = shutil.which("i-pi-driver-py", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if python:
        found["i-PI Python driver"] = ipi_python_driver(python)
    else:
        missing.append("i-pi-driver-py")
    found |= {"ASE SocketClient": ase_client, "Python echo": python_echo, LIMIT: c_echo(echo)}
    return found, missing


def cells(measured: dict[str, tuple[float, float] | None], digits: int) -> dict[str, str]:
    """Median and best time of each client as "median (best) ×ratio of the medians to LIMIT"; None is "failed"."""
    limit = measured.get(LIMIT)

    def cell(median: float, best: float) -> str:
        ratio = f" ×{median / limit[0]:.2f}" if limit else ""
        return f"{median:.{digits}f} ({best:.{digits}f}){ratio}"

    return {client: cell(*times) if times else "failed" for client, times in measured.items()}
