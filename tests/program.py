"""The program in the process of the tests, which has imported everything already: a third of the time."""

import contextlib
import io
import logging
import os
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from forceserver.cli import main


def run_here(*arguments: object, folder: str | os.PathLike = "/") -> CompletedProcess:
    """Runs `forceserver ARGUMENTS` in a working directory."""
    logger = logging.getLogger("forceserver")
    before = logger.handlers[:], logger.level, logger.propagate
    code, out, err = 0, io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(Path(folder))
        patch.setattr(sys, "argv", ["forceserver", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    logger.handlers[:], logger.level, logger.propagate = before
    return CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
