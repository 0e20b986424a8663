"""Biases that grow: hills of metadynamics, kernels of OPES."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from ..frame import Array
from .coordinates import Coordinate
from .tables import FieldsReader, Remark


class Deposits(Protocol):
    """n deposits, one column each.

    times: (n,) ps. centres: (n, d).
    """

    @property
    def times(self) -> Array: ...

    @property
    def centres(self) -> Array: ...

    def __len__(self) -> int: ...

    def __getitem__(self: "T", which: slice) -> "T": ...


T = TypeVar("T", bound=Deposits)


class GrowingBias(Protocol[T]):
    """A bias that is the sum of its deposits.

    It is in memory. `deposit` returns the next one, `add` adds it as it was written: a journal is between the two.
    """

    name: str
    """The names of its columns in COLVAR."""
    noun: str
    """What its deposits are called (plural)."""
    coordinates: tuple[Coordinate, ...]
    pace: int
    """Steps between deposits."""
    fields: list[str]
    """The columns of a deposit in its file; the time (ps) is first."""
    constants: dict[str, str]
    """What all deposits have in common, for the header of their file."""
    remark: Remark | None
    """The same, where PLUMED's header has no place for it."""
    memory_size: int
    """Numbers that it carries from one configuration to the next besides the deposits."""
    pure_numbers: frozenset[str]
    """Columns that are not energies."""

    def reach(self, s: Array) -> None:
        """Prepares for values s (d,); `BiasError` if there is no bias at s."""

    def evaluate(self, s: Array) -> tuple[float, Array]:
        """V (eV) and dV/ds (d,) at s (d,); `BiasError` if there is no bias at s."""

    def observe(self, memory: Array, s: Array, step: int) -> Array:
        """The memory (memory_size,) after the configuration `step`, given that of the one before; nothing changes."""

    def deposit(self, s: Array, time_ps: float, memory: Array) -> Sequence[float] | None:
        """The deposit at s and t, as numbers in the order of `fields`; None: nothing yet. Nothing changes.

        memory: after this configuration.
        """

    def add(self, deposits: T) -> None:
        """Adds what was written."""

    def replay(self, runs: Sequence[T]) -> None:
        """Makes it the sum of these deposits, those of this run first, then those of other walkers."""

    def parse(self, table: FieldsReader, rows: Array) -> T:
        """The deposits in the rows (n, columns) of a file; `InputError` if the file contains something else."""

    def check(self, path: Path, deposits: T, is_own: bool) -> None:
        """`InputError` if they belong to another bias. is_own: whether this run is to continue the file."""

    def integrals(self) -> dict[str, Callable[[float], float]]:
        """Further columns of COLVAR, given V at the values; too costly for every step."""
