"""Removes from i-PI's outputs what was written after the state from which it continues.

i-PI appends to its outputs when it continues, even to what a killed run wrote after the state: those steps would be
there twice. Every file is examined before any is cut. What i-PI appends to (3.3.1): <properties>, <trajectory>, the
swaps of replica exchange, files of PLUMED under <ffplumed>; and files of planetary models and kinetic Monte Carlo,
whose entries do not tell their step.
"""

import contextlib
import itertools
import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..bias.plumed.actions import GROWING, time_unit_ps
from ..bias.plumed.input import Action, keyword, read_actions
from ..bias.plumed.written_files import written_files
from ..errors import InputError
from .input import IpiInput, PropertiesFile

STEP_IN_LINE = re.compile(rb"\bStep:\s+(\d+)\s")
"""In the comment of every frame of a trajectory: the number of steps done."""

STEP_COLUMN = re.compile(rb"# (?:column|cols\.)\s+(\d+)\S*\s+--> step\b")
"""In the header of a properties file."""

WITHOUT_STEPS = {"Planetary": "omega2", "AlKMC": "KMC_AL6XXX"}
"""Outputs, by motion of i-PI, whose entries do not tell their step."""


@dataclass(frozen=True)
class Cut:
    """Where a file should end.

    missing: a message if entries before the step are missing, with the step of the last one. is_gap: whether they are,
    for certain.
    """

    path: Path
    size: int
    missing: str = ""
    is_gap: bool = True


def cut_outputs(state: IpiInput) -> list[str]:
    """Cuts all outputs after the step of `state`; returns what the user should know about them.

    A state of step 0 has no outputs: i-PI begins new ones. Raises `InputError`, and cuts nothing, if a file is damaged
    before that step.
    """
    if state.step == 0:
        return []
    cuts = list(_cuts(state))
    for cut in cuts:
        if cut.size < cut.path.stat().st_size:
            os.truncate(cut.path, cut.size)
    gaps = [f"{cut.path} {cut.missing}" for cut in cuts if cut.missing]
    return [*gaps, *_gone(state), *_left(state), *_skipped(state)]


def gaps(state: IpiInput) -> list[str]:
    """What outputs lack before the step of `state`; `InputError` if one is damaged before it."""
    if state.step == 0:
        return []
    return [f"{cut.path} {cut.missing}" for cut in _cuts(state) if cut.missing and cut.is_gap]


def make_room_for_backups(simulation: IpiInput) -> None:
    """i-PI renames what is there, and out/run.chk to #out/run.chk#0#; it dies if there is no folder #out."""
    for folder in simulation.folders:
        name = folder.relative_to(simulation.folder) if folder.is_relative_to(simulation.folder) else folder
        (simulation.folder / f"#{name}").mkdir(parents=True, exist_ok=True)


def _cuts(state: IpiInput) -> Iterator[Cut]:
    present = [properties for properties in state.properties if properties.path.is_file()]
    reached = max(filter(None, map(_reached, present)), default=None)
    for properties in present:
        yield _cut_rows(properties, state.step, reached)
    for stem, stride in state.trajectories:
        for path in _files_of_trajectory(stem):
            size, last = _end_of_frames(path, state.step)
            yield Cut(path, size, _missing(last, stride, state.step))
    for path in filter(Path.is_file, state.swaps):  # rows give the step in progress, which is one after the steps done
        yield Cut(path, _end_of_rows(path, 0, state.step - 1)[0])
    for plumed in state.plumed:
        steps_per_time = time_unit_ps(_actions_of_plumed(plumed.input))  # i-PI's steps are 1 ps for PLUMED
        for path in _tables_of_plumed(plumed.input):
            size, steps = _end_of_rows(path, 0, plumed.step, steps_per_time)
            yield Cut(path, size, _missing_of_plumed(steps, plumed.step))


def _missing(last: int | None, stride: int, step: int) -> str:
    """A message about entries that a killed i-PI still had in memory."""
    if last is None or last >= step - step % stride:
        return ""
    lost = "what is in between was lost when i-PI ended within it, or was killed (flush='1' writes every entry at once)"
    return f"ends at step {last}, the state is at step {step}: {lost}"


def _missing_of_plumed(steps: deque[int], step: int) -> str:
    """The same for PLUMED, whose buffers hold thousands of rows; strides are inferred from the existing rows."""
    if steps and 2 * steps[-1] - (steps[0] if len(steps) == 2 else 0) > step:
        return ""
    last = f"ends at step {steps[-1]}" if steps else "is empty"
    lost = "what is in between was lost when i-PI was killed, hills too (FLUSH STRIDE=1 in its input writes every row)"
    return f"{last}, the state is at step {step}: {lost}"


def _gone(state: IpiInput) -> Iterator[str]:
    """Outputs that a user has moved, compressed or removed."""
    gone = [properties.path for properties in state.properties if not properties.path.is_file()]
    gone += [stem for stem, _ in state.trajectories if not any(_files_of_trajectory(stem))]
    for path in gone:
        yield (
            f"{path} is not there: i-PI begins a new one. If it was moved or compressed, what it has after step "
            f"{state.step} is written again"
        )


def _left(state: IpiInput) -> Iterator[str]:
    prefix = f"{state.prefix}." if state.prefix else ""
    for motion in state.motions:
        path = state.folder / f"{prefix}{WITHOUT_STEPS.get(motion, '')}"
        if motion in WITHOUT_STEPS and path.is_file():
            yield f"{path} does not record steps: what was written after step {state.step} is still in it"
    for plumed in state.plumed:
        for path in _files_of_plumed(plumed.input):
            if path.is_file() and not _is_table(path):
                yield f"{path} (PLUMED) does not record steps: what was written after step {state.step} is still in it"


def _skipped(state: IpiInput) -> Iterator[str]:
    """Hills that will be missing because PLUMED adds none in its first step."""
    for plumed in state.plumed:
        for words in _actions_of_plumed(plumed.input):
            pace = keyword(words, "PACE") or ""
            if words[0] in GROWING and pace.isdecimal() and int(pace) and (plumed.step + 1) % int(pace) == 0:
                yield (
                    f"{words[0]} of {plumed.input} will have no hill of step {plumed.step + 1}: PLUMED "
                    f"adds none in its first step (strides of <checkpoint> that are multiples of {pace} avoid this)"
                )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Complete lines and where they begin."""
    begin = 0
    with open(path, "rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield begin, line
            begin += len(line)


def _complete_size(path: Path) -> int:
    """The size without an incomplete last line."""
    return max((begin + len(line) for begin, line in _lines(path)), default=0)


def _step_column(path: Path) -> int | None:
    """Where the steps are, from 0; None without such a column."""
    header = b"".join(line for _, line in itertools.takewhile(lambda item: item[1][:1] == b"#", _lines(path)))
    found = STEP_COLUMN.search(header)
    return int(found[1]) - 1 if found else None


def _reached(properties: PropertiesFile) -> int | None:
    """A step that the simulation had not passed when the last row was written; None if rows do not give the step."""
    column = _step_column(properties.path)
    with contextlib.suppress(ValueError, IndexError, OverflowError):
        if column is not None:
            last = deque(_lines(properties.path), maxlen=1)[0][1]
            return round(float(last.split()[column])) + properties.stride
    return None


def _cut_rows(properties: PropertiesFile, step: int, reached: int | None) -> Cut:
    """By the column `step`; without one, by the number of rows if that is what the stride makes it.

    reached: a step that was not passed, if known.
    """
    path, stride = properties.path, properties.stride
    if (column := _step_column(path)) is not None:
        size, steps = _end_of_rows(path, column, step)
        return Cut(path, size, _missing(steps[-1] if steps else None, stride, step))
    rows = sum(1 for _ in _ends_of_rows(path))
    wanted, most = step // stride + 1, rows if reached is None else max(step, reached) // stride + 1
    if wanted <= rows <= most:
        return Cut(path, next(itertools.islice(_ends_of_rows(path), wanted - 1, None)))
    text = f"has {rows} rows, of which {wanted} should be of steps to {step} (stride {stride})"
    why = "it is not cut (was the stride another, or a part moved? With a column `step` it would be)"
    return Cut(path, _complete_size(path), f"{text}: {why}", is_gap=False)


def _ends_of_rows(path: Path) -> Iterator[int]:
    return (begin + len(line) for begin, line in _lines(path) if not line.startswith(b"#"))


def _end_of_rows(path: Path, column: int, step: int, steps_per_entry: float = 1) -> tuple[int, deque[int]]:
    """Where the first row after `step` begins, and the last two steps before it; the column times a factor is steps."""
    end, steps = 0, deque[int](maxlen=2)
    for begin, line in _lines(path):
        if line.strip() and not line.startswith(b"#"):
            try:
                found = round(float(line.split()[column]) * steps_per_entry)
            except (ValueError, IndexError, OverflowError) as error:
                raise _damaged(path, begin) from error
            if found > step:
                break
            steps.append(found)
        end = begin + len(line)
    return end, steps


def _damaged(path: Path, begin: int) -> InputError:
    return InputError(f"{path} is damaged at byte {begin}: it cannot be cut after that; rename it, or repair it")


def _files_of_trajectory(stem: Path) -> Iterator[Path]:
    """One file, or one for each bead."""
    name = re.compile(re.escape(stem.name) + r"(_\d+)?(\.(xyz|extxyz|pdb|bin))?")
    for path in sorted(stem.parent.iterdir()):
        if name.fullmatch(path.name) and path.is_file():
            yield path


def _end_of_frames(path: Path, step: int) -> tuple[int, int | None]:
    """Where the first frame after `step`, or an incomplete one, begins; and the last step before it."""
    read = READERS.get(path.suffix)
    if read is None:  # pdb, extras
        return _end_of_blocks(path, step)
    end, last, size = 0, None, path.stat().st_size
    with open(path, "rb") as file:
        while end < size:
            found = read(file)
            if found is None and file.tell() < size:
                raise _damaged(path, end)
            if found is None or found > step:
                break
            end, last = file.tell(), found
    return end, last


def _read_xyz_frame(file: BinaryIO) -> int | None:
    """The step of the frame that begins here; None if there is none, or it is incomplete."""
    count, comment = file.readline(), file.readline()
    found = STEP_IN_LINE.search(comment)
    if not count.strip().isdigit() or not (found or not comment.endswith(b"\n")):
        return None
    last = comment
    for _ in range(int(count)):
        last = file.readline()
    return int(found[1]) if found and last.endswith(b"\n") else None


def _read_binary_frame(file: BinaryIO) -> int | None:
    """The same for binary frames, whose title (UTF-32) has no length but ends with the second brace."""
    head = file.read(80)
    if len(head) < 80:
        return None
    file.seek(24 * int.from_bytes(head[72:], "little"), os.SEEK_CUR)
    file.seek(4 * int.from_bytes(file.read(8), "little"), os.SEEK_CUR)
    title, braces = b"", 0
    while braces < 2:
        character = file.read(4)
        if len(character) < 4:
            return None
        title += character[:1]
        braces += character[:1] == b"}"
    found = STEP_IN_LINE.search(title)
    return int(found[1]) if found else None


READERS = {".xyz": _read_xyz_frame, ".extxyz": _read_xyz_frame, ".bin": _read_binary_frame}


def _end_of_blocks(path: Path, step: int) -> tuple[int, int | None]:
    """For blocks of any length whose first line gives the step."""
    end, last = 0, None
    for begin, line in _lines(path):
        if found := STEP_IN_LINE.search(line):
            if int(found[1]) > step:
                break
            last = int(found[1])
        end = begin + len(line)
    return end, last


def _files_of_plumed(plumed_input: Path) -> Iterator[Path]:
    """The files that a PLUMED input names, and the names that PLUMED uses by default."""
    names = {"HILLS", "COLVAR", "KERNELS", *written_files(_actions_of_plumed(plumed_input))}
    yield from (plumed_input.parent / name for name in sorted(names))


def _actions_of_plumed(plumed_input: Path) -> list[Action]:
    return read_actions(plumed_input, plumed_input.parent) if plumed_input.is_file() else []


def _tables_of_plumed(plumed_input: Path) -> Iterator[Path]:
    return (path for path in _files_of_plumed(plumed_input) if path.is_file() and _is_table(path))


def _is_table(path: Path) -> bool:
    """Whether it is, or was about to become, one of PLUMED's tables in time, which counts i-PI's steps."""
    with open(path, "rb") as file:
        line = file.readline()
    return not line or line.startswith(b"#! FIELDS time ")
