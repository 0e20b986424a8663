"""Collective variables: values, sparse gradients and strain derivatives for one configuration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_masses
from numpy.typing import NDArray

from ..errors import CVError, InputError
from ..frame import Array, Frame
from ..representation.config import selection
from ..representation.neighbours import Selection
from ..turns import Remade, in_turn
from .base import Group, Part, VariableConfig
from .config import variable_section
from .interface import CVResult, Variable

if TYPE_CHECKING:
    from ase import Atoms


class CollectiveVariable(Remade, Variable):
    """What is made of the neighbour density around centres: any kind of [[cv]].

        basis = {
            "n_max": 2,
            "l_max": 1,
            "cutoff": {"cutoff_angstrom": 3.0, "width_angstrom": 0.5},
            "density": {"kind": "gaussian", "sigma_angstrom": 0.4},
        }
        polarisation = CollectiveVariable(atoms, centres="Ti", neighbours="O", basis=basis, weights=[0.7, 0.3])
        result = polarisation.compute(atoms)

    It keeps a neighbour list between calls, so each object serves one trajectory: threads, walkers and replicas have
    their own `copy`, or wait for one another. The kinds and their formulas are in docs/variables.md.

    Args:
        template: ASE `Atoms` or `Frame` with the species of the structures to be computed, in their order.
        name: name of the variable.
        keys: the keys of a section [[cv]]: `kind`, `centres`, `neighbours`, and those of the kind.

    Attributes:
        name: name of the variable.
        outputs: names of its d outputs.
        atoms: (a,) int32, ascending: indices, from 0, of all atoms on which the outputs can ever depend.
        total_atoms: number of atoms in a structure.
        volume: of the template's cell, Angstrom^3; None if it is not periodic along all of its vectors.

    Raises:
        InputError: a key is wrong or does not fit the template: an index or species that does not exist, or, for the
            kinds that need one, a centre without a neighbour.
    """

    def __init__(self, template: "Frame | Atoms", *, name: str = "cv", **keys: Any) -> None:
        template = Frame.of(template)
        config = variable_section({"name": name, **keys})
        super().__init__(config.name, ())
        self.total_atoms = len(template)
        self._template_species = template.species
        self._skin = config.skin_angstrom
        centres = self._resolve(selection(config.centres), "centres")
        neighbours = self._resolve(selection(config.neighbours), "neighbours")
        around = np.unique(template.species[neighbours]).tolist()
        self._kind = config.build(np.unique(template.species[centres]).tolist(), around)
        self._groups = self._plan(config, centres)
        self.outputs = tuple(group.prefix + name for group in self._groups for name in self._names(group))
        double = next((name for name in self.outputs if self.outputs.count(name) > 1), None)
        if double:
            raise InputError(f"collective variable {self.name}: two outputs are called {double!r}")
        if not self.outputs:
            raise InputError(f"collective variable {self.name}: outputs and per_centre are empty: nothing to compute")
        used = centres if self._kind.sees_all_centres else np.concatenate([g.members for g in self._groups])
        self.atoms = np.union1d(used, neighbours).astype(np.int32)
        self._neighbours = np.searchsorted(self.atoms, neighbours)
        self._all_centres = np.searchsorted(self.atoms, np.unique(used))
        self._parts: list[Part] = []
        self._pbc = template.pbc
        self.volume = abs(float(np.linalg.det(template.cell))) if template.pbc.all() else None
        self._builds: list[int] | None = None
        if self._kind.needs_neighbours:
            self._check_neighbours(template)

    @property
    def builds(self) -> list[int]:
        """Number of times each neighbour list has been built, one count or more per group of centres."""
        return [count for part in self._parts for count in part.builds]

    @property
    def masses(self) -> Array:
        """The masses of the elements of `atoms`, (a,), u."""
        return atomic_masses[self._template_species[self.atoms]]

    def copy(self) -> "CollectiveVariable":
        """Copies the variable for use in another thread, walker or replica.

        Returns:
            The same variable with a neighbour list of its own.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, _parts=[])
        other.__dict__.pop("_turn", None)
        return other

    def compute(self, frame: "Frame | Atoms") -> CVResult:
        """Computes the outputs for one structure.

        Args:
            frame: a `Frame` or ASE `Atoms` with the species of the template.

        Returns:
            Values, gradients and strain derivatives; `active` holds indices into the structure.

        Raises:
            CVError: the structure has a different number of atoms or other species than the template, its cell is
                singular, or a value is not finite.
        """
        frame = Frame.of(frame)
        self._check_species(frame)
        result = self.compute_atoms(frame.positions.take(self.atoms, axis=0), frame.cell, frame.pbc)
        result.active = self.atoms[result.active]
        return result

    def compute_checked(self, frame: Frame) -> CVResult:
        """Computes the outputs; they are checked as they are made.

        Args:
            frame: the structure.

        Returns:
            What `compute` returns.

        Raises:
            CVError: as for `compute`.
        """
        return self.compute(frame)

    @in_turn
    def compute_atoms(self, positions: Array, cell: Array, pbc: NDArray[np.bool_]) -> CVResult:
        """Computes the outputs from the positions of the atoms that matter alone.

        Args:
            positions: (a, 3) float64, Angstrom, of the atoms in `atoms`.
            cell: (3, 3) float64, Angstrom, vectors as rows.
            pbc: (3,) bool, the periodic directions.

        Returns:
            Values, gradients and strain derivatives; `active` holds indices into `atoms`.

        Raises:
            CVError: the cell is singular, or a value is not finite.
        """
        try:
            computed = [part.compute(positions, cell) for part in self._parts_for(pbc)]
        except ValueError as error:
            raise CVError(f"collective variable {self.name}: {error}") from error
        active, places = self._active_atoms()
        if len(computed) == 1:
            values, gradients, strain = computed[0]
        else:
            values, strain = (np.concatenate([one[k] for one in computed]) for k in (0, 2))
            gradients = np.zeros((len(values), len(active), 3))
            first = 0
            for columns, (_, gradient, _) in zip(places, computed, strict=True):
                gradients[first : first + len(gradient), columns] = gradient
                first += len(gradient)
        if not np.isfinite(values).all():
            found = dict(zip(self.outputs, values.tolist(), strict=True))
            raise CVError(f"collective variable {self.name} is not finite: {found}")
        return CVResult(values, active, gradients, strain)

    def _check_species(self, frame: Frame) -> None:
        species, expected = frame.species, self._template_species
        if species is expected:  # as in a driver, whose frames share the array of the template
            return
        if len(species) != len(expected):
            raise CVError(f"collective variable {self.name}: {len(species)} atoms, expected {len(expected)}")
        if len(others := np.flatnonzero(species != expected)):
            k = others[0]
            raise CVError(
                f"collective variable {self.name}: atom {k} has atomic number {species[k]}, in the template "
                f"{expected[k]}; give the atoms in the order of the template"
            )

    def _parts_for(self, pbc: NDArray[np.bool_]) -> list[Part]:
        """The parts of the groups, with neighbour lists for this periodicity."""
        if not self._parts or not np.array_equal(self._pbc, pbc):
            species = self._template_species[self.atoms]
            self._pbc = np.array(pbc, dtype=bool)
            self._builds = None
            self._parts = [
                self._kind.part(
                    Group(
                        species,
                        np.searchsorted(self.atoms, group.members),
                        self._neighbours,
                        self._all_centres,
                        group.alone,
                        self._skin,
                        self._pbc,
                    )
                )
                for group in self._groups
            ]
        return self._parts

    def _active_atoms(self) -> tuple[NDArray[np.int32], list[NDArray[np.intp]]]:
        """The atoms that matter, and for each group the places of its own among them.

        They change only when a neighbour list is built.
        """
        builds = self.builds
        if builds != self._builds:
            atoms = [part.atoms() for part in self._parts]
            active = np.unique(np.concatenate(atoms)).astype(np.int32)
            self._active = active, [np.searchsorted(active, a) for a in atoms]
            self._builds = builds
        return self._active

    def _resolve(self, chosen: Selection, key: str) -> NDArray[np.int32]:
        try:
            return np.sort(chosen.resolve(self._template_species, key))
        except ValueError as error:
            raise InputError(f"collective variable {self.name}: {error}") from error

    def _plan(self, config: VariableConfig, centres: NDArray[np.int32]) -> list["_Members"]:
        """The groups defined by the configuration."""
        named: dict[str, tuple[int, ...]] = {}
        if self._kind.outputs:
            named = {f"{name}_": members for name, members in config.groups.items()} or {"": tuple(centres.tolist())}
        single: dict[str, tuple[int, ...]] = {f"atom{index}_": (index,) for index in config.per_centre}
        self._check_members(named, centres)
        self._check_members(single, centres)
        return [
            *(_Members(prefix, np.sort(members), False) for prefix, members in named.items()),
            *(_Members(prefix, np.array(members), True) for prefix, members in single.items()),
        ]

    def _names(self, group: "_Members") -> tuple[str, ...]:
        return self._kind.centre_outputs if group.alone else self._kind.outputs

    def _check_members(self, groups: dict[str, tuple[int, ...]], centres: NDArray) -> None:
        known = set(centres.tolist())
        for prefix, members in groups.items():
            where = f"collective variable {self.name}: group {prefix.removesuffix('_')!r}"
            strangers = sorted(set(members) - known)
            if not members:
                raise InputError(f"{where} has no centre")
            if strangers:
                raise InputError(f"{where}: atom {strangers[0]} is not one of the {len(known)} centres")
            if len(set(members)) < len(members):
                raise InputError(f"{where}: a centre is in it twice")

    def _check_neighbours(self, template: Frame) -> None:
        for group, part in zip(self._groups, self._parts_for(template.pbc), strict=True):
            try:
                part.list.update(template.positions[self.atoms], template.cell)
            except ValueError as error:
                raise InputError(f"collective variable {self.name}: {error}") from error
            distance = np.linalg.norm(part.list.vectors(), axis=1)
            count = np.bincount(part.list.pair_centre[distance < part.list.cutoff], minlength=len(group.members))
            if not count.all():
                lonely = group.members[np.argmin(count)]
                raise InputError(
                    f"collective variable {self.name}: centre {lonely} has no neighbour within {part.list.cutoff:g} "
                    "Angstrom in the structure file; choose a larger cutoff or other neighbours"
                )


@dataclass(frozen=True)
class _Members:
    """A group of centres, the prefix of its outputs, and whether it is one centre by itself."""

    prefix: str
    members: NDArray[np.intp]
    alone: bool


def build_variables(configs: Sequence[VariableConfig], template: Frame) -> dict[str, CollectiveVariable]:
    """All variables of a configuration by name, each computed once for the template as a check.

    Raises `InputError` if a name is used twice or a variable cannot be computed for the template.
    """
    names = [config.name for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two collective variables are called {name!r}")
    variables = {config.name: CollectiveVariable(template, **dict(config)) for config in configs}
    for variable in variables.values():
        try:
            variable.copy().compute(template)
        except CVError as error:
            raise InputError(f"{error} (in the structure file)") from error
    return variables
