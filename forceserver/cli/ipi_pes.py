"""`forceserver ipi-pes`: the PES file through which i-PI uses the potential without a socket."""

import typer


def ipi_pes() -> None:
    """Print the path of the PES file for i-PI's <ffdirect> and i-pi-driver-py.

    In i-PI's input: <ffdirect name='forces'> <pes> custom </pes> <pes_path> PATH </pes_path>
    <parameters> {config: forceserver.toml} </parameters> </ffdirect>.

    With i-PI's own driver: i-pi-driver-py -u -a ADDRESS -m custom -P $(forceserver ipi-pes) -o config=forceserver.toml
    """
    from pathlib import Path

    typer.echo(Path(__file__).parents[1] / "ipi" / "pes.py")
