"""`forceserver plumed`: the PLUMED action, as a source file and as a library."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ForceServerError
from ..files import atomic_write

app = typer.Typer(no_args_is_help=True, help="The FORCESERVER action, for PLUMED in any engine.")

ACTION = Path(__file__).parent.parent / "plumed" / "ForceServer.cpp"


@app.command()
def path() -> None:
    """Print the path of ForceServer.cpp, the source of the action.

    PLUMED compiles a .cpp file only if it is in the folder in which PLUMED runs, so copy or link it there:
    ln -s "$(forceserver plumed path)" . and write LOAD FILE=ForceServer.cpp
    """
    typer.echo(ACTION)


@app.command()
def build(
    output: Annotated[Path, typer.Option("-o", "--output", help="The library to write.", dir_okay=False)] = Path(
        "ForceServer.so"
    ),
) -> None:
    """Compile the action with the installed PLUMED and print the path of the library, for LOAD FILE=...

    The library works with the PLUMED version that it was built against.
    """
    typer.echo(build_action(output))


def build_action(output: Path) -> Path:
    """Compiles the action with `plumed mklib`; returns the absolute path of the library.

    Raises `ForceServerError` with the compiler's message, `InputError` if there is no PLUMED.
    """
    from ..bias.plumed.kernel import find_program, link_flags, program_environment

    output = output.absolute()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ACTION, folder)
        run = subprocess.run(
            [find_program(), "--no-mpi", "mklib", ACTION.name],
            cwd=folder,
            env=program_environment() | {"PLUMED_MKLIB_LDFLAGS": link_flags()},
            capture_output=True,
            text=True,
        )
        built = next(Path(folder).glob("ForceServer.[sd]*"), None)  # .so, or .dylib on macOS
        if run.returncode != 0 or built is None:
            raise ForceServerError(f"plumed mklib cannot compile {ACTION}:\n{run.stdout}{run.stderr}")
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(output) as part:
            shutil.copy(built, part)
    return output
