"""What drivers read when they start. If it is edited during a run, drivers that are started later give other forces."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

if TYPE_CHECKING:
    from ..configuration import Configuration


class Sources:
    """The configuration and the files that it names (structure, models, variables), as they are now."""

    def __init__(self, config: Path, configuration: "Configuration") -> None:
        parts = (configuration.structure, configuration.potential, configuration.cv)
        self._seen = {path: _identity(path) for path in (config.absolute(), *_files(parts))}

    def changed(self) -> list[Path]:
        """Those that are not what they were when they were looked at last."""
        now = {path: _identity(path) for path in self._seen}
        changed = [path for path in now if now[path] != self._seen[path]]
        self._seen = now
        return changed


def _files(value: Any) -> Iterator[Path]:
    if isinstance(value, Path) and value.is_file():
        yield value
    elif isinstance(value, pydantic.BaseModel):
        yield from _files(dict(value))
    elif isinstance(value, Mapping):
        yield from _files([part for name, part in value.items() if not name.endswith("_to")])  # save_to, record_to grow
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _files(part)


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
