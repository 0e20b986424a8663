"""What a bias is that grows: hills of metadynamics, kernels of OPES."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from ..frame import Array
from .coordinates import Coordinate
from .tables import FieldsReader


class Deposits(Protocol):
    """n of the things that it is the sum of, a column each.

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
    """A bias that is the sum of what it leaves behind at its configurations.

    It is in memory. `deposit` says what comes next, `add` takes what was written of it: a journal is between the two.
    """

    name: str
    """Of its columns in COLVAR."""
    noun: str
    """What its deposits are called, in the plural."""
    coordinates: tuple[Coordinate, ...]
    pace: int
    """Steps between deposits."""
    fields: list[str]
    """What a deposit is written as: names of numbers, the time (ps) first."""
    constants: dict[str, str]
    """What is the same for all deposits, for the header of their file."""
    memory_size: int
    """Numbers that it carries from one configuration to the next besides the deposits."""
    pure_numbers: frozenset[str]
    """Columns that are no energies."""

    def evaluate(self, s: Array) -> tuple[float, Array]:
        """V (eV) and dV/ds (d,) at s (d,); `BiasError` if there is no bias at s."""

    def observe(self, memory: Array, s: Array, step: int) -> Array:
        """The memory (memory_size,) after the configuration `step`, given that of the one before; nothing changes."""

    def deposit(self, s: Array, time_ps: float, memory: Array) -> Sequence[float] | None:
        """What is left behind at s and t, as `fields`; None: nothing yet. Nothing changes.

        memory: after this configuration.
        """

    def add(self, deposits: T) -> None:
        """Adds what was written."""

    def replay(self, runs: Sequence[T]) -> None:
        """It is the sum of these deposits, those of this run first and of the other walkers behind."""

    def parse(self, table: FieldsReader, rows: Array) -> T:
        """The deposits that rows (n, columns) of a file are; `InputError` if it is a file of something else."""

    def check(self, path: Path, deposits: T, is_own: bool) -> None:
        """`InputError` if they belong to another bias. is_own: whether this run is to continue the file."""

    def integrals(self) -> dict[str, Callable[[float], float]]:
        """Further columns of COLVAR, of V at the values; too costly for every step."""
