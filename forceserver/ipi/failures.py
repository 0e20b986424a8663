"""What happens to a failed evaluation: a message with number and replica, and its structures saved for inspection."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import PotentialError, described
from ..files import atomic_write
from ..frame import Frame


def failed_evaluation(frames: Sequence[Frame], error: BaseException, folder: Path) -> PotentialError:
    """Saves the frames in `folder`; returns an error that says which they are, what went wrong and where they are."""
    first = frames[0]
    replica = f"replica {first.replica if first.replica >= 0 else 'unknown'}"
    where = f"structure {first.number} of this driver ({replica}{f', batch of {len(frames)}' * (len(frames) > 1)})"
    what = described(error, PotentialError)
    if isinstance(error, SystemExit):
        what = f"the potential called sys.exit({error.code!r})"
    try:
        saved = f"is saved as {save_frames(folder, frames, what)}"
    except OSError as problem:
        saved = f"could not be saved in {folder}: {problem.strerror}"
    return PotentialError(f"evaluation failed for {where}: {what}; the structure {saved}")


def save_frames(folder: Path, frames: Sequence[Frame], error: str) -> Path:
    """Writes frames as one extended XYZ file into `folder`, complete or not at all; returns its path."""
    import ase.io

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"failed-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{frames[0].number}.xyz"
    images = []
    for frame in frames:
        atoms = frame.to_ase()
        atoms.info.update(
            replica=frame.replica, number=frame.number, error=" ".join(error.split())
        )  # a line of the file
        images.append(atoms)
    with atomic_write(path) as part:
        ase.io.write(part, images, format="extxyz")
    return path
