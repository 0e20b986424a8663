"""Assembles the commands; turns errors meant for users into a message and an exit code."""

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from ..errors import ForceServerError
from ..files import OF_THE_DISK
from ..streams import keep_standard_streams
from .basis import basis
from .check import check
from .compare import compare
from .convert import convert
from .cv import app as cv
from .demo import demo
from .describe import describe
from .drive import drive
from .evaluate import evaluate
from .export import export
from .fes import fes
from .fit import fit
from .info import info
from .init import init
from .ipi_pes import ipi_pes
from .lammps import app as lammps
from .launch import launch
from .learn import learn
from .plumed import app as plumed

app = typer.Typer(
    name="forceserver",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # [sections] of the configuration are not markup
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__, _ext

        typer.echo(f"forceserver {__version__} ({_ext.isa}, {_ext.cpu.max_threads()} threads)")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Serves machine-learned forces, collective variables and biases to i-PI and PLUMED."""


# What the list of commands says of each: a line of 80 columns has room for 64 characters.
_SUMMARIES: dict[Callable[..., None], str] = {
    init: "Write configuration and i-PI input for a structure and a model.",
    check: "Find what does not fit, before anything starts.",
    launch: "Run a simulation: i-PI and its drivers, to the end.",
    drive: "Serve forces, variables and a bias to i-PI, ASE or PLUMED.",
    evaluate: "Compute energies and forces of structures, and their errors.",
    describe: "Write the representation of structures, and variables.",
    basis: "Contract a radial basis to the functions that are needed.",
    compare: "Compare two representations, before a model is trained.",
    demo: "Run a complete study: the free energy of BaTiO3.",
    fes: "Compute free energies from HILLS, KERNELS and COLVAR.",
    fit: "Train a potential: a kernel model or a cluster expansion.",
    learn: "Learn on the fly: simulate, compute what is uncertain, fit.",
    info: "Print the contents of a model file.",
    convert: "Write a model of another program as one npz file.",
    export: "Write a model or a variable as TorchScript (metatomic).",
    ipi_pes: "Print the path of the PES file for i-PI's <ffdirect>.",
}
for _command, _summary in _SUMMARIES.items():
    app.command(short_help=_summary)(_command)
app.add_typer(cv, name="cv")
app.add_typer(plumed, name="plumed")
app.add_typer(lammps, name="lammps")


def main() -> None:
    """Entry point of the `forceserver` program."""
    keep_standard_streams()
    # OpenMP's threads spin at the end of a loop. Next to i-PI, which needs cores itself, they wait for one another:
    # on a busy machine, passive waiting took 64 atoms of silicon from 6 to 310 steps per second. It must be set before
    # OpenMP is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        os.getcwd()
    except FileNotFoundError:
        print("forceserver: the working directory has been removed; change to one that exists", file=sys.stderr)
        sys.exit(2)
    try:
        app()
    except ForceServerError as error:
        keep_standard_streams()  # the model may have closed them
        print(f"forceserver: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.filename is None and error.errno not in OF_THE_DISK:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"forceserver: {where}{error.strerror}", file=sys.stderr)
        sys.exit(1)
