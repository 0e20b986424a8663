"""What all kinds of variables have in common: keys, groups of centres, and the interface that a kind implements.

A kind is three things in one file. Its *section* (`VariableConfig`) holds its keys and is checked before a structure is
known. For a structure it builds a *kind* (`Kind`), which names the outputs and holds what never changes: splines,
weights, references. The kind makes a *part* (`Part`) for every group of centres and every trajectory, which keeps the
neighbour lists and computes outputs, gradients and strain derivatives. `CollectiveVariable` chooses the groups and
combines the parts; it knows nothing else about a kind.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, field_validator

from ..frame import Array
from ..representation.config import AtomChoice, selection
from ..representation.neighbours import NeighbourList, Selection
from ..sections import Distinct, Section

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]


class VariableConfig(Section, ABC):
    """Section [[cv]], the keys of every kind: which atoms, how they are grouped, and how accurate the splines are.

    PLUMED knows each output as `LABEL.output` of the FORCESERVER action and as EXTRACV NAME=name_output. Atom indices
    count from 0.
    """

    kind: str
    name: Name
    centres: AtomChoice = Field(description="species (one or several), or indices")
    neighbours: AtomChoice = Field(description="species (one or several), or indices")
    groups: dict[Name, tuple[int, ...]] = Field(
        default={}, description="centres that are reduced separately; outputs are then called GROUP_output"
    )
    per_centre: Annotated[tuple[int, ...], Distinct] = Field(
        default=(), description="further outputs atomI_output: of centre I alone"
    )
    skin_angstrom: float = Field(default=0.5, ge=0, description="skin of the neighbour list; does not affect results")
    tolerance: float = Field(default=1e-8, ge=1e-12, le=0.1, description="largest error of the splines")

    @field_validator("centres", "neighbours")
    @classmethod
    def _known(cls, atoms: AtomChoice) -> AtomChoice:
        selection(atoms)
        return atoms

    @abstractmethod
    def build(self, centres: Sequence[int], neighbours: Sequence[int]) -> "Kind":
        """The kind for centres and neighbours of these species (atomic numbers, ascending, each once).

        `InputError`: a file or the structures that it needs are insufficient or do not fit.
        """


class Kind(ABC):
    """A variable apart from the trajectory.

    outputs: names for every group of centres; may be empty. centre_outputs: names for a centre alone.
    needs_neighbours: whether a centre without neighbours in the structure file is a mistake.
    sees_all_centres: whether a group also depends on the centres that are not in it.
    """

    outputs: tuple[str, ...]
    centre_outputs: tuple[str, ...]
    needs_neighbours: bool = False
    sees_all_centres: bool = False

    @abstractmethod
    def part(self, group: "Group") -> "Part":
        """The outputs of a group, or of one centre if it is `alone`."""


@dataclass(frozen=True, eq=False)
class Group:
    """Centres that are reduced together, and the structure around them.

    species: (a,) int32, of all atoms that are passed to `Part.compute`. centres, neighbours: indices into them.
    all_centres: those of all groups, if the kind sees them. alone: whether the group is a centre by itself, whose
    outputs are `Kind.centre_outputs`.
    """

    species: NDArray[np.int32]
    centres: NDArray[np.intp]
    neighbours: NDArray[np.intp]
    all_centres: NDArray[np.intp]
    alone: bool
    skin: float
    pbc: NDArray[np.bool_]

    def neighbour_list(
        self, cutoff: float, *, centres: NDArray | None = None, neighbours: NDArray | None = None
    ) -> NeighbourList:
        """The neighbours of its centres within a cutoff (Angstrom), or of other atoms, or among others."""
        centres = self.centres if centres is None else centres
        neighbours = self.neighbours if neighbours is None else neighbours
        return NeighbourList(
            self.species,
            cutoff,
            pbc=self.pbc,
            skin=self.skin,
            centres=Selection(indices=tuple(centres.tolist())),
            neighbours=Selection(indices=tuple(neighbours.tolist())),
        )


class Part(ABC):
    """The outputs of one group of centres; keeps neighbour lists between calls.

    list: the neighbours of the centres.
    """

    list: NeighbourList

    @property
    def builds(self) -> tuple[int, ...]:
        """How often each of its neighbour lists has been built."""
        return (self.list.n_builds,)

    @abstractmethod
    def atoms(self) -> NDArray[np.int32]:
        """The n atoms on which the outputs may depend until a list is rebuilt, ascending, as in `Group.species`."""

    @abstractmethod
    def compute(self, positions: Array, cell: Array) -> tuple[Array, Array, Array]:
        """Values (d,), gradients (d, n, 3) with respect to `atoms`, and to a strain (d, 3, 3).

        `ValueError`: what `NeighbourList.update` raises, and two atoms in one place.
        """


class ActiveSites:
    """The sites of a neighbour list that are centres or listed neighbours: all others have no gradient."""

    def __init__(self, neighbours: NeighbourList) -> None:
        self._list = neighbours
        self._build = -1
        self._sites = np.zeros(0, dtype=np.intp)

    def sites(self) -> NDArray[np.intp]:
        """Their places in `site_atom`, ascending."""
        if self._build != self._list.n_builds:
            active = np.zeros(len(self._list.site_atom), dtype=bool)
            active[self._list.centre_site] = True
            active[self._list.pair_site] = True
            self._sites = np.flatnonzero(active)
            self._build = self._list.n_builds
        return self._sites

    def atoms(self) -> NDArray[np.int32]:
        """Their atoms, ascending."""
        return self._list.site_atom[self.sites()]
