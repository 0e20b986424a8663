"""COLVAR files: their rows in the order in which they came, and which of their columns are a bias."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..bias.coordinates import Coordinate, coordinate_of
from ..bias.tables import FieldsReader
from ..errors import InputError
from ..files import check_distinct
from ..frame import Array
from .segments import elapsed, in_order_of_time, segments
from .surface import index_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Colvar:
    """fields: names of the columns. rows: (n, number of fields). constants: of the header.

    runs: (n,) the number of the run that a row belongs to, from 0; None: all are of one.
    """

    path: Path | None
    fields: list[str]
    constants: dict[str, str]
    rows: Array
    runs: NDArray[np.int64] | None = None

    def column(self, name: str) -> Array:
        """A column (n,); `InputError` if a number of it is not finite."""
        values = self.rows[:, index_of(self.fields, name)]
        if not np.all(np.isfinite(values)):
            k = int(np.argmin(np.isfinite(values)))
            raise InputError(f"{self.path}: {name} is {values[k]} at time {self.rows[k, 0]:g}; take such rows out")
        return values

    def variable(self, name: str) -> Coordinate:
        return coordinate_of(name, self.constants, self.path or Path("COLVAR"))

    def bias_columns(self) -> list[str]:
        """Every `label.rbias`, and every `label.bias` of other labels."""
        shifted = [field for field in self.fields if field.endswith(".rbias")]
        labels = {field.removesuffix(".rbias") for field in shifted}
        return shifted + [f for f in self.fields if f.endswith(".bias") and f.removesuffix(".bias") not in labels]

    def shift_columns(self, biases: Sequence[str]) -> list[str]:
        """The columns of c(t) that are to be taken from these biases: `label.rct` of METAD.

        Not of OPES, whose bias hardly changes and whose `rct` is of another kind: it prints `label.zed`, `label.neff`
        and `label.nker`, too.
        """
        labels = [name.removesuffix(".bias") for name in biases if name.endswith(".bias")]
        return [f"{label}.rct" for label in labels if f"{label}.rct" in self.fields and not self._is_opes(label)]

    def moving(self, biases: Sequence[str]) -> list[str]:
        """The biases that print their work: a moving restraint has no equilibrium weights."""
        return [name for name in biases if name.endswith(".bias") and f"{name.removesuffix('bias')}work" in self.fields]

    def _is_opes(self, label: str) -> bool:
        return any(f"{label}.{name}" in self.fields for name in ("zed", "neff", "nker"))


def read_colvar(paths: Sequence[Path], skip_ps: float = 0.0, growing: bool = False) -> Colvar:
    """The rows of COLVAR files (of several walkers) in the order in which they came.

    skip_ps: what is left out at the beginning of each file; runs that follow each other in it count as one time.
    growing: whether somebody is still writing them, so that an incomplete last line is no news.
    """
    check_distinct(paths)
    tables = []
    for path in paths:
        reader = FieldsReader(path)
        rows = reader.read()
        if not reader.fields:
            raise InputError(f"{path} is empty")
        if not growing:
            reader.tell_of_incomplete()
        tables.append(_checked(Colvar(path, reader.fields, reader.constants, rows)))
        if reader.fields != tables[0].fields:
            raise InputError(f"{path} has other columns than {paths[0]}")
    of_files = [table.rows[:, 0] for table in tables if len(table.rows)]
    order = in_order_of_time(of_files) if of_files else np.empty(0, np.int64)
    if of_files:
        clock = np.concatenate([elapsed(times) for times in of_files])
        if skip_ps > 0 and clock.min() >= skip_ps:
            log.warning("%s begins at %g ps: nothing is earlier than %g ps", paths[0], clock.min(), skip_ps)
        order = order[clock[order] >= skip_ps]
    rows = np.concatenate([table.rows for table in tables])[order]
    if len(rows) < 2:
        raise InputError(f"{paths[0]} has {len(rows)} rows after {skip_ps:g} ps; nothing can be said from these")
    runs = np.concatenate([segments(times) for times in of_files])[order]
    return Colvar(paths[0], tables[0].fields, tables[0].constants, rows, runs)


def _checked(colvar: Colvar) -> Colvar:
    """A COLVAR file whose times are known; it is told where they begin again."""
    if colvar.fields[0] != "time":
        raise InputError(f"{colvar.path}: the first column is {colvar.fields[0]}, not time; is this a COLVAR file?")
    times = colvar.column("time")
    for k in np.flatnonzero(np.diff(times) < 0):
        log.warning(
            "%s: times go back from %g to %g: a run that followed, or one that was restarted and repeats what it had "
            "done; all rows count",
            colvar.path,
            times[k],
            times[k + 1],
        )
    return colvar
