"""Where PLUMED is: its kernel (the library that the `plumed` Python package loads) and its program."""

import ctypes.util
import os
import shutil
import sys
from pathlib import Path

from ...errors import InputError

HOW_TO_GET_IT = (
    "install PLUMED 2.9 or newer (conda install -c conda-forge plumed py-plumed), or set PLUMED_KERNEL to the path of "
    "an existing libplumedKernel.so"
)


def find_kernel() -> str | None:
    """The PLUMED kernel: from PLUMED_KERNEL, the active conda environment, this Python's prefix, or the linker.

    Raises `InputError` if PLUMED_KERNEL is set to a file that does not exist.
    """
    given = os.environ.get("PLUMED_KERNEL")
    if given:
        if not Path(given).is_file():
            raise InputError(f"PLUMED_KERNEL={given}: there is no such file; {HOW_TO_GET_IT}")
        return given
    file = "libplumedKernel.dylib" if sys.platform == "darwin" else "libplumedKernel.so"
    for prefix in filter(None, (os.environ.get("CONDA_PREFIX"), sys.prefix)):
        kernel = Path(prefix) / "lib" / file
        if kernel.is_file():
            return str(kernel)
    return ctypes.util.find_library("plumedKernel")


def load_kernel() -> str | None:
    """A working kernel; `InputError` with the reason and the remedy if there is none."""
    kernel = find_kernel()
    try:
        import plumed
    except ImportError as error:
        raise InputError(f"the Python package plumed is missing; {HOW_TO_GET_IT}") from error
    try:
        plumed.Plumed(kernel=kernel).finalize()
    except Exception as error:  # the wrapper raises RuntimeError, and others for a library that is none
        which = f"the PLUMED kernel {kernel}" if kernel else "PLUMED's kernel"
        raise InputError(f"{which} cannot be loaded ({one_line(error)}); {HOW_TO_GET_IT}") from error
    return kernel


def one_line(error: Exception) -> str:
    """The message of an error and of what caused it, on one line: PLUMED's messages are drawings.

    What the user can change is often in the cause only: a value beyond the grid, when METAD could not be calculated.
    """
    messages: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        messages.append(" ".join(str(cause).split()))
        cause = cause.__cause__
    return ": ".join(messages)


def find_program() -> str:
    """The `plumed` program: on the PATH, or beside the kernel; `InputError` if it is in neither place."""
    program = shutil.which("plumed")
    if program is None:
        kernel = find_kernel()
        beside = Path(kernel).parent.parent / "bin" / "plumed" if kernel else None
        if beside is None or not beside.is_file():
            raise InputError(f"the program plumed is neither on the PATH nor beside the kernel; {HOW_TO_GET_IT}")
        program = str(beside)
    return program


def program_environment() -> dict[str, str]:
    """The environment for `find_program`, in which it finds its kernel even outside the linker's path."""
    environment = dict(os.environ)
    kernel = find_kernel()
    if kernel and os.path.dirname(kernel):
        variable = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
        paths = [os.path.dirname(kernel), environment.get(variable)]
        environment[variable] = os.pathsep.join(filter(None, paths))
    return environment


def link_flags() -> str:
    """Linker flags that tie a library to the kernel.

    Python hosts (i-PI, ASE) load the kernel with private symbols: a library that is not linked against it cannot be
    loaded there (unless PLUMED_LOAD_NAMESPACE=GLOBAL is set when Python starts).
    """
    kernel = find_kernel()
    folder = os.path.dirname(kernel) if kernel else ""
    where = [f"-L{folder}", f"-Wl,-rpath,{folder}"] if folder else []
    keep = [] if sys.platform == "darwin" else ["-Wl,--no-as-needed"]  # the flags stand before the objects
    return " ".join([*where, *keep, "-lplumedKernel"])
