"""C programs of the benchmarks, compiled when they are needed into a folder that is gone afterwards."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def programs(*sources: Path, flags: Sequence[str] = ("-O2",)) -> Iterator[list[Path]]:
    """The executables of these C files, as long as the context lasts."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise SystemExit("benchmarks: no C compiler found (cc, gcc, or the environment variable CC)")
    with tempfile.TemporaryDirectory(prefix="fsbench-") as folder:
        executables = [Path(folder) / source.stem for source in sources]
        for source, executable in zip(sources, executables, strict=True):
            subprocess.run([*compiler.split(), *flags, "-o", str(executable), str(source), "-lrt", "-lm"], check=True)
        yield executables
