"""Arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration, a TOML file.", show_default=False)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log details.")]
