"""A free energy on a grid, and its file, which is that of `plumed sum_hills`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from ..bias.coordinates import Coordinate, format_number
from ..bias.tables import header
from ..errors import InputError
from ..files import atomic_write
from ..frame import Array


@dataclass(frozen=True)
class Surface:
    """F on the product of `nodes`, one array per variable (of a periodic one without the upper end).

    values: F, inf where never visited.
    errors: standard error of F, or None. gradient: dF/ds (*shape, d), or None. field: what its column is called.
    unvisited: what files and projections take for F where it is inf.
    """

    variables: tuple[Coordinate, ...]
    nodes: tuple[Array, ...]
    values: Array
    errors: Array | None = None
    gradient: Array | None = None
    field: str = "file.free"
    unvisited: float = np.inf

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(variable.name for variable in self.variables)

    def point(self, index: Sequence[int]) -> tuple[float, ...]:
        """The coordinates of a node."""
        return tuple(float(nodes[i]) for nodes, i in zip(self.nodes, index, strict=True))

    def probability(self, kt: float) -> Array:
        """The probability of every node, summing to one."""
        return np.exp(-self.values / kt - logsumexp(-self.values / kt))

    def project(self, names: Sequence[str], kt: float) -> "Surface":
        """F of fewer variables, in the given order: -kT log sum exp(-F/kT) over the others (without bin volume)."""
        axes = [index_of(self.names, name) for name in names]
        others = tuple(k for k in range(len(self.names)) if k not in axes)
        values = -kt * logsumexp(-self.filled / kt, axis=others)
        order = np.argsort(np.argsort(axes))  # the remaining axes are in ascending order
        return Surface(
            tuple(self.variables[k] for k in axes),
            tuple(self.nodes[k] for k in axes),
            np.transpose(values, order),
            field="projection",
        )

    @property
    def filled(self) -> Array:
        """F with `unvisited` in place of inf."""
        return np.where(np.isfinite(self.values), self.values, self.unvisited)

    def shifted_to_zero(self) -> "Surface":
        lowest = self.values.min()
        return replace(self, values=self.values - lowest, unvisited=self.unvisited - lowest)

    def write(self, path: Path, errors_apart: bool = False) -> None:
        """Writes the table: first variable fastest, a blank line where the last but one starts again.

        errors_apart: a grid of PLUMED has no column of errors; they go into a file of their own, `*_error`.
        """
        constants = {}
        for variable, nodes in zip(self.variables, self.nodes, strict=True):
            ends = variable.domain or [float(f"{end:.12g}") for end in (nodes[0], nodes[-1])]
            constants[f"min_{variable.name}"] = format_number(ends[0])
            constants[f"max_{variable.name}"] = format_number(ends[1])
            constants[f"nbins_{variable.name}"] = str(len(nodes))
            constants[f"periodic_{variable.name}"] = "true" if variable.domain else "false"
        columns = {self.field: self.filled}
        if self.gradient is not None:
            columns |= {f"der_{name}": self.gradient[..., k] for k, name in enumerate(self.names)}
        errors = {} if self.errors is None else {"error": self.errors}
        if errors and errors_apart:
            self._write_table(path.with_stem(f"{path.stem}_error"), constants, errors)
        else:
            columns |= errors
        self._write_table(path, constants, columns)

    def _write_table(self, path: Path, constants: dict[str, str], values: dict[str, Array]) -> None:
        fields = [*self.names, *values]
        columns = [*np.meshgrid(*self.nodes, indexing="ij"), *values.values()]
        rows = np.stack([np.transpose(column).ravel() for column in columns], axis=1)
        template = " %14.9f" * len(columns) + "\n"
        shape = self.values.shape
        block = shape[0] if len(shape) == 2 else int(np.prod(shape[:2])) if len(shape) == 3 else len(rows)
        with atomic_write(path) as part, open(part, "w") as file:
            file.write(header(fields, constants))
            for start in range(0, len(rows), block):
                file.write("\n" * (start > 0))
                file.write("".join(template % tuple(row) for row in rows[start : start + block].tolist()))


def index_of(names: Sequence[str], name: str) -> int:
    """Where a variable is; `InputError` that lists the names."""
    if name not in names:
        raise InputError(f"there is no variable {name}; there are {', '.join(names)}")
    return list(names).index(name)
