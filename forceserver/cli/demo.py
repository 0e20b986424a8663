"""`forceserver demo`: a complete study of a few minutes, from a potential to a free energy, in a folder of its own."""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from ..files import atomic_write, write_json
from . import processes

if TYPE_CHECKING:
    import subprocess

    from .progress import StepReader

MARK = "demo.json"
"""The file in the folder of a demo that says what it is; also its lock."""

NEEDED_BYTES = 200_000_000
POLL_SECONDS = 0.2
ESTIMATE_EVERY_SECONDS = 3.0
LINE_EVERY_SECONDS = 10.0
GRACE_SECONDS = 30.0
"""For a `launch` that is told to end: it gives i-PI and drivers that hang ten each."""


class Engine(str, Enum):
    """Who makes the bias."""

    AUTO = "auto"
    PLUMED = "plumed"
    METADYNAMICS = "metadynamics"


def demo(
    name: Annotated[str, typer.Argument(help="Which one: batio3.", show_default=False)],
    folder: Annotated[
        Path, typer.Option("--folder", "-f", metavar="FOLDER", help="FOLDER/NAME holds inputs and results.")
    ] = Path("demo"),
    engine: Annotated[
        Engine, typer.Option(help="Who makes the bias; auto: PLUMED if its kernel is found, else metadynamics.")
    ] = Engine.AUTO,
    picoseconds: Annotated[
        float | None, typer.Option("--ps", min=0.5, help="Length of each simulation.  [default: 40]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Begin anew; removes the results of an earlier run.")] = False,
) -> None:
    """Run a demonstration: set up its inputs, simulate, and show the result.

    batio3: the free energy of the polarization of BaTiO3 (40 atoms) below and above its ordering temperature, by
    metadynamics in two i-PI simulations side by side, with a potential that was fitted to density functional theory.

    Interrupted or killed, it goes on with the same command. Complete results are shown again; --force replaces them.
    """
    if name != "batio3":
        raise InputError(f"there is no demo {name!r}; there is batio3")
    place = folder / name
    _check_machine(folder)
    if force:
        _remove(place)
    if not (place / MARK).exists():
        _set_up(place, _engine(engine), picoseconds)
    with _locked(place / MARK) as settings:
        if not (place / "result.json").exists():
            typer.echo(f"inputs and results: {place}; bias by {settings['engine']}")
            kelvins = settings["temperatures_K"]
            code = _simulate([Side(place, side, settings) for side in kelvins], kelvins)
            if code != 0:
                typer.echo("the same command goes on from here; --force begins anew", err=True)
                raise typer.Exit(code)
            _evaluate(place, kelvins)
        else:
            typer.echo(f"{place} is complete; --force makes it anew, --folder another one")
        typer.echo((place / "result.txt").read_text())
        typer.echo(f"picture: {place / 'batio3.png'}   text: {place / 'result.txt'}   numbers: {place / 'result.json'}")


def _check_machine(folder: Path) -> None:
    """`InputError` with the remedy if something is missing before anything is written."""
    from .supervision import ipi_script

    ipi_script()
    _workflow("batio3")
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK):
        raise InputError(f"cannot write to {existing}; choose another --folder")
    if (free := shutil.disk_usage(existing).free) < NEEDED_BYTES:
        raise InputError(
            f"{existing} has {free / 1e6:.0f} MB left, the demo wants {NEEDED_BYTES / 1e6:.0f} MB; "
            "make room, or choose another --folder"
        )


def _workflow(name: str) -> Path:
    """The folder of a study: beside the package in the repository, inside it when installed."""
    package = Path(__file__).parents[1]
    for place in (package / "workflows" / name, package.parent / "workflows" / name):
        if (place / "demo").is_dir():
            if not (place / "potential" / f"{name}.npz").is_file():
                raise InputError(
                    f"the potential {place / 'potential' / f'{name}.npz'} is missing; install forceserver again, or "
                    f"fit it: forceserver fit {place / 'potential' / 'fit.toml'}"
                )
            return place
    raise InputError(f"the files of the demo {name!r} are not installed; install forceserver again")


def _engine(wanted: Engine) -> str:
    """The engine that will be used; `InputError` if PLUMED is asked for and cannot be had."""
    if wanted is Engine.METADYNAMICS:
        return wanted.value
    from ..bias.plumed.kernel import load_kernel

    try:
        load_kernel()
    except InputError:
        if wanted is Engine.PLUMED:
            raise
        return Engine.METADYNAMICS.value
    return Engine.PLUMED.value


def _remove(place: Path) -> None:
    """Removes what a demo has made, and nothing else."""
    if not place.exists():
        return
    if not (place / MARK).is_file():
        raise InputError(f"{place} was not made by a demo, it is left alone; choose another --folder")
    with _locked(place / MARK):
        shutil.rmtree(place)


def _set_up(place: Path, engine: str, picoseconds: float | None) -> None:
    """Copies the inputs; the file that marks the folder comes last."""
    if place.exists():
        others = [path.name for path in place.iterdir() if path.name not in ("demo", "potential")]
        if not all(name.startswith(f".{Path(MARK).stem}.") for name in others):  # a mark that was not finished
            raise InputError(f"{place} holds other files; choose another --folder")
        shutil.rmtree(place)
    source = _workflow("batio3")
    (place / "potential").mkdir(parents=True)
    shutil.copy(source / "potential" / "batio3.npz", place / "potential")
    temperatures = {}
    for side in ("cold", "hot"):
        _copy_side(place, side, engine, picoseconds)
        temperatures[side] = _temperature(place / "demo" / side / "input.xml")
    content = {"demo": "batio3", "engine": engine, "picoseconds": picoseconds, "temperatures_K": temperatures}
    write_json(place / MARK, content)


def _copy_side(place: Path, side: str, engine: str, picoseconds: float | None) -> None:
    """The inputs of one simulation, with the engine and the length that were chosen."""
    target = place / "demo" / side
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(_workflow("batio3") / "demo" / side, target)
    config = target / "forceserver.toml"
    config.write_text(re.sub(r"^order = .*$", f'order = ["{engine}"]', config.read_text(), flags=re.MULTILINE))
    if picoseconds is not None:
        xml = target / "input.xml"
        content = xml.read_text()
        step = _number(r"<timestep units='femtosecond'>\s*([\d.]+)", content)
        steps = max(round(1000 * picoseconds / step), 1)
        xml.write_text(re.sub(r"<total_steps>.*?</total_steps>", f"<total_steps>{steps}</total_steps>", content))


def _temperature(xml: Path) -> float:
    return _number(r"<temperature units='kelvin'>\s*([\d.]+)", xml.read_text())


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise InputError(f"the inputs of the demo have been changed: {pattern!r} is not in them")
    return float(found[1])


@contextmanager
def _locked(mark: Path) -> Iterator[dict[str, Any]]:
    """What the mark says; one demo at a time works in a folder."""
    from ..locks import try_lock

    with open(mark) as file:
        if not try_lock(file.fileno()):
            raise InputError(f"another demo is at work in {mark.parent}; wait for it, or choose another --folder")
        try:
            yield json.load(file)
        except json.JSONDecodeError as error:
            raise InputError(f"{mark} is damaged; --force begins anew") from error


@dataclass
class Side:
    """One of the simulations: its files, what the mark says of it, its process, how far it is."""

    place: Path
    name: str
    settings: dict[str, Any]
    process: "subprocess.Popen | None" = None
    reader: "StepReader | None" = None
    step: int = 0
    estimate: str = ""
    total: int = field(init=False, default=0)

    @property
    def folder(self) -> Path:
        return (self.place / "demo" / self.name).absolute()

    @property
    def log(self) -> Path:
        return self.folder / "launch.log"

    def begin(self) -> None:
        """Starts the simulation, or goes on with it; nothing if it is complete."""
        from ..ipi.input import read_ipi_input
        from ..ipi.restart import newest_state
        from .progress import StepReader

        simulation = read_ipi_input(self.folder / "input.xml")
        self.total = simulation.total_steps
        try:
            self.step = newest_state(simulation).step
        except InputError:
            self.step = 0
        if self.step == 0 and (self.folder / "ipi.log").exists():
            # anew: a bias that has seen the first steps would take them for a new run, and count them twice
            _copy_side(self.place, self.name, self.settings["engine"], self.settings["picoseconds"])
        if self.step >= self.total:
            return
        command = [sys.executable, "-m", "forceserver", "launch", "forceserver.toml", "--threads", "1"]
        if self.step:
            command.append("--restart")
        self.process = processes.start(command, self.folder, self.log, os.environ)
        self.reader = StepReader(simulation, self.folder / "ipi.log")

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def failed(self) -> bool:
        return self.process is not None and self.process.poll() not in (None, 0)

    def look(self) -> None:
        """Reads how far it is."""
        if self.reader is not None and (step := self.reader.read()) is not None:
            self.step = step

    def estimate_again(self, kelvin: float) -> None:
        """The free energy of the centre from what there is so far."""
        from ..demos.batio3 import centre_so_far, read

        colvar = self.folder / "COLVAR"
        if not colvar.exists():
            return
        try:
            centre = centre_so_far(read(colvar, kelvin))
        except InputError:  # hardly anything there
            return
        self.estimate = "F(0) not seen yet" if centre is None else f"F(0) - F(min) = {centre:.0f} meV"


def _simulate(sides: list[Side], kelvins: dict[str, float]) -> int:
    """Runs the simulations side by side; 0 if all are complete, otherwise the exit code of the one that failed."""
    from .launch import signals_noted

    with signals_noted() as signals, Progress(sides, kelvins) as progress:
        try:
            for side in sides:
                side.begin()
            while any(side.running for side in sides) and not any(side.failed for side in sides):
                if signals:
                    return 128 + signals[0]
                progress.update()
                time.sleep(POLL_SECONDS)
            progress.update()
            failed = [side for side in sides if side.failed]  # before the others are ended
        finally:
            processes.end([side.process for side in sides if side.process], GRACE_SECONDS)
    for side in failed:
        code = side.process.returncode if side.process else 1
        how = processes.describe_end(code)
        print(f"forceserver: the simulation {side.name} failed ({how}); the end of {side.log}:", file=sys.stderr)
        print("\n".join(side.log.read_text(errors="replace").strip().splitlines()[-12:]), file=sys.stderr)
        return code if code > 0 else 1
    return 0


class Progress:
    """A bar for each simulation on a terminal, with steps per second, time left and an estimate; lines elsewhere."""

    def __init__(self, sides: list[Side], kelvins: dict[str, float]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from .progress import Rate

        self._sides, self._kelvins = sides, kelvins
        self._rates = {side.name: Rate() for side in sides}
        self._last_estimate = self._last_line = time.monotonic()
        console = Console(stderr=True)
        self._bar = None
        if console.is_terminal:
            columns = [
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[estimate]}"),
            ]
            # refreshed by hand: a thread must not run when child processes are forked
            self._bar = Progress(*columns, console=console, auto_refresh=False)
            self._tasks = {
                side.name: self._bar.add_task(f"{kelvins[side.name]:g} K", total=None, rate="", estimate="")
                for side in sides
            }

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self) -> None:
        """Shows where the simulations are."""
        now = time.monotonic()
        again = now - self._last_estimate > ESTIMATE_EVERY_SECONDS
        for side in self._sides:
            side.look()
            self._rates[side.name].add(side.step)
            if again and side.running:
                side.estimate_again(self._kelvins[side.name])
        if again:
            self._last_estimate = time.monotonic()
        if self._bar:
            for side in self._sides:
                self._bar.update(
                    self._tasks[side.name],
                    total=side.total,
                    completed=side.step,
                    rate=self._rate(side),
                    estimate=side.estimate,
                )
            self._bar.refresh()
        elif now - self._last_line > LINE_EVERY_SECONDS:
            self._last_line = now
            parts = [
                f"{self._kelvins[side.name]:g} K: step {side.step} of {side.total}, {self._rate(side)} {side.estimate}"
                for side in self._sides
            ]
            print("   ".join(parts), file=sys.stderr, flush=True)

    def _rate(self, side: Side) -> str:
        rate = self._rates[side.name]()
        return f"{rate:.0f} steps/s" if rate else ""


def _evaluate(place: Path, kelvins: dict[str, float]) -> None:
    """Text, picture and numbers; the file of numbers, which says that all is done, comes last."""
    from ..demos import batio3

    phases = [
        batio3.evaluate(side, kelvin, batio3.read(place / "demo" / side / "COLVAR", kelvin))
        for side, kelvin in kelvins.items()
    ]
    batio3.draw(phases, place / "batio3.png")
    with atomic_write(place / "result.txt") as part:
        part.write_text(batio3.text(phases))
    write_json(place / "result.json", batio3.numbers(phases))
