"""One simulation of a campaign: a folder with its inputs, started or resumed from wherever it is."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .. import processes
from ..errors import InputError
from ..ipi.input import read_ipi_input
from ..ipi.restart import newest_state
from ..launch.steps import StepReader
from ..locks import locked_folder
from .edits import Changes, edit, set_total_steps


class Source(Protocol):
    """Where the inputs of a simulation come from."""

    def copy_to(self, folder: Path) -> None:
        """Makes the inputs in a new folder, completely or not at all."""


@dataclass(frozen=True)
class Inputs:
    """Where the inputs come from, and how they are changed.

    files: by the names of their copies. changes: by the same names, see `edits`.
    """

    files: Mapping[str, Path]
    changes: Mapping[str, Changes] = field(default_factory=dict)

    def copy_to(self, folder: Path) -> None:
        """Makes the inputs in a new folder, completely or not at all."""
        new = folder.with_name(folder.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for name, path in self.files.items():
            shutil.copy(path, new / name)
        for name, changes in self.changes.items():
            edit(new / name, changes)
        new.rename(folder)


@dataclass
class Simulation:
    """A run of `forceserver launch` in `folder`, whose input is called input.xml, its configuration `config`.

    shared: a folder for files of all simulations of the campaign, whose names end with that of their simulation.
    """

    folder: Path
    inputs: Source
    shared: Path | None = None
    config: str = "forceserver.toml"
    step: int = field(init=False, default=0)
    total: int = field(init=False, default=0)
    process: subprocess.Popen | None = field(init=False, default=None)
    reader: StepReader | None = field(init=False, default=None)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def log(self) -> Path:
        """The output of `launch`."""
        return self.folder / "launch.log"

    def prepare(self, steps: int | None = None) -> None:
        """Copies the inputs unless they exist; sets the number of steps, also in states to resume from.

        A run that was killed before its first state starts afresh: a bias that has seen the first steps would take
        them for new ones, and count them twice.
        """
        if (self.folder / "ipi.log").exists() and self._newest_step() == 0:
            self._clear()
        if not self.folder.exists():
            self.inputs.copy_to(self.folder)
        if steps:
            for path in (self.folder / "input.xml", self.folder / "RESTART", *self.folder.glob("out.checkpoint*")):
                if path.exists():
                    set_total_steps(path, steps)
        self.step = self._newest_step()
        self.total = read_ipi_input(self.folder / "input.xml").total_steps

    def begin(self, threads: int) -> None:
        """Starts or resumes it; call `prepare` first."""
        command = [*processes.FORCESERVER, "launch", self.config, "--threads", str(threads)]
        if self.step:
            command.append("--restart")
        self.reader = StepReader(read_ipi_input(self.folder / "input.xml"), self.folder / "ipi.log")
        self.process = processes.start(command, self.folder, self.log, os.environ)

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to do; known after `prepare`."""
        return self.step >= self.total

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def code(self) -> int:
        """The exit code; 0 while it runs, or if it was not needed."""
        return (self.process.poll() or 0) if self.process else 0

    @property
    def failed(self) -> bool:
        """Whether it has ended as it should not have."""
        return bool(self.code)

    def look(self) -> None:
        """Reads its progress."""
        if self.reader is not None and (step := self.reader.read()) is not None:
            self.step = step

    def _newest_step(self) -> int:
        try:
            return newest_state(read_ipi_input(self.folder / "input.xml")).step
        except InputError:
            return 0

    def _clear(self) -> None:
        with locked_folder(self.folder):
            for path in self.shared.glob(f"*.{self.name}") if self.shared else ():
                path.unlink()
            shutil.rmtree(self.folder)
