"""Collective variables: values, sparse gradients and strain derivatives for one configuration."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import CVError, InputError
from ..frame import Array, Frame
from ..representation.neighbours import NeighbourList, Selection
from ..representation.spline import SplineTable
from .config import CVConfig, selection
from .outputs import OUTPUTS, Output, combine, projection
from .sums import Family, density_sums
from .weights import contraction


@dataclass(slots=True)
class CVResult:
    """The outputs of one variable for one configuration.

    values: (d,).
    active: (n,) int32, ascending, the atoms on which the values depend; what they count in, `CollectiveVariable` says.
    gradients: (d, n, 3), derivatives with respect to their positions, 1/Angstrom times the unit of the value.
    strain: (d, 3, 3), derivatives with respect to a strain that multiplies positions and cell, r -> r (1 + strain).
    """

    values: Array
    active: NDArray[np.int32]
    gradients: Array
    strain: Array


class CollectiveVariable:
    """A variable of the configuration for systems with the species of `template`.

    name, outputs: names of the variable and of its d outputs.
    atoms: (a,) int32, the atoms that may matter, ascending, counted from 0; `total_atoms` in all.

    Keeps a neighbour list between calls, so it serves one trajectory at a time: a thread, walker or replica takes its
    own `copy`.

    Raises `InputError` if the configuration does not fit the template: an index or species that is not there, a
    centre without any neighbour.
    """

    def __init__(self, config: CVConfig, template: Frame) -> None:
        self.name = config.name
        self.total_atoms = len(template)
        self._template_species = template.species
        self._skin = config.skin_angstrom
        centres = self._resolve(selection(config.centres), "centres")
        neighbours = self._resolve(selection(config.neighbours), "neighbours")
        reductions, self._outputs = self._plan(config, centres)
        self.outputs = tuple(output.name for output in self._outputs)
        used = np.unique(np.concatenate([members for groups, _ in reductions for members in groups]))
        self._families = [_family(groups, mean, used) for groups, mean in reductions]
        self.atoms = np.union1d(used, neighbours).astype(np.int32)
        self._centres = tuple(np.searchsorted(self.atoms, used).tolist())
        self._neighbours = tuple(np.searchsorted(self.atoms, neighbours).tolist())

        vector, scalar = contraction(config)
        self._table = SplineTable.build(config.basis, config.tolerance).contract([scalar[None], vector[None]])
        self._list: NeighbourList | None = None
        self._check_neighbours(template, used)

    def copy(self) -> "CollectiveVariable":
        """The same variable with a neighbour list of its own."""
        other = copy.copy(self)
        other._list = None
        return other

    def compute(self, frame: Frame) -> CVResult:
        """The outputs for a frame; `active` counts in the atoms of the frame.

        Raises `CVError` if the frame has another number of atoms, or a value is not finite.
        """
        if len(frame) != self.total_atoms:
            raise CVError(f"collective variable {self.name}: {len(frame)} atoms, expected {self.total_atoms}")
        result = self.compute_atoms(frame.positions[self.atoms], frame.cell, frame.pbc)
        result.active = self.atoms[result.active]
        return result

    def compute_atoms(self, positions: Array, cell: Array, pbc: NDArray[np.bool_]) -> CVResult:
        """The outputs, given the positions (a, 3) of `atoms` alone; `active` counts in `atoms`.

        Raises `CVError` if the cell is singular or a value is not finite.
        """
        try:
            neighbour_list = self._updated_list(positions, cell, pbc)
        except ValueError as error:
            raise CVError(f"collective variable {self.name}: {error}") from error
        reduced, gradient, strain = density_sums(neighbour_list, self._table, self._families)
        values, jacobian = combine(self._outputs, reduced)
        if not np.isfinite(values).all():
            raise CVError(f"collective variable {self.name} is not finite: {dict(zip(self.outputs, values.tolist()))}")
        flat = jacobian.reshape(len(values), -1)
        gradients = (flat @ gradient.reshape(flat.shape[1], -1)).reshape(len(values), -1, 3)
        active = np.flatnonzero(gradients.any(axis=(0, 2))).astype(np.int32)
        if len(active) < gradients.shape[1]:
            gradients = np.ascontiguousarray(gradients[:, active])
        sites = neighbour_list.site_atom[active]
        return CVResult(values, sites, gradients, np.tensordot(jacobian, strain, axes=2))

    def _updated_list(self, positions: Array, cell: Array, pbc: NDArray[np.bool_]) -> NeighbourList:
        if self._list is None or not np.array_equal(self._list.pbc, pbc):
            self._list = NeighbourList(
                self._template_species[self.atoms],
                self._table.cutoff,
                pbc=pbc,
                skin=self._skin,
                centres=Selection(indices=self._centres),
                neighbours=Selection(indices=self._neighbours),
            )
        self._list.update(positions, cell)
        return self._list

    def _resolve(self, chosen: Selection, key: str) -> NDArray[np.int32]:
        try:
            return np.sort(chosen.resolve(self._template_species, key))
        except ValueError as error:
            raise InputError(f"collective variable {self.name}: {error}") from error

    def _plan(self, config: CVConfig, centres: NDArray[np.int32]) -> tuple[list[tuple[list, bool]], list[Output]]:
        """The reductions, each a list of groups of centres and whether means are taken, and the outputs of all groups."""
        reductions, outputs = [], []
        if config.outputs or config.axes:
            groups = {f"{name}_": members for name, members in config.groups.items()} or {"": tuple(centres)}
            functions = {name: OUTPUTS[name] for name in config.outputs}
            functions |= {name: projection(axis) for name, axis in config.axes.items()}
            for group, prefix in enumerate(groups):
                outputs += [Output(prefix + name, group, function) for name, function in functions.items()]
            reductions.append((list(groups.values()), config.reduction == "mean"))
        first = len(reductions[0][0]) if reductions else 0
        for group, index in enumerate(config.per_centre, start=first):
            outputs += [Output(f"atom{index}_{name}", group, OUTPUTS[name]) for name in "xyz"]
        if config.per_centre:
            reductions.append(([(index,) for index in config.per_centre], False))
        self._check_plan(reductions, outputs, centres)
        return reductions, outputs

    def _check_plan(self, reductions: list[tuple[list, bool]], outputs: list[Output], centres: NDArray) -> None:
        for groups, _ in reductions:
            members = [member for group in groups for member in group]
            strangers = sorted(set(members) - set(centres.tolist()))
            if strangers:
                raise InputError(f"collective variable {self.name}: atom {strangers[0]} of a group is not a centre")
            if len(set(members)) < len(members):
                raise InputError(f"collective variable {self.name}: a centre is in two groups, or twice in one")
            if not all(groups):
                raise InputError(f"collective variable {self.name}: a group has no centre")
        names = [output.name for output in outputs]
        double = next((name for name in names if names.count(name) > 1), None)
        if double:
            raise InputError(f"collective variable {self.name}: two outputs are called {double!r}")

    def _check_neighbours(self, template: Frame, used: NDArray) -> None:
        try:
            neighbour_list = self._updated_list(template.positions[self.atoms], template.cell, template.pbc)
        except ValueError as error:
            raise InputError(f"collective variable {self.name}: {error}") from error
        distance = np.linalg.norm(neighbour_list.vectors(), axis=1)
        centre = np.repeat(np.arange(len(used)), np.diff(neighbour_list.first))
        count = np.bincount(centre[distance < self._table.cutoff], minlength=len(used))
        if not count.all():
            raise InputError(
                f"collective variable {self.name}: centre {used[np.argmin(count)]} has no neighbour within "
                f"{self._table.cutoff:g} Angstrom in the structure file; choose a larger cutoff or other neighbours"
            )


def _family(groups: list[Sequence[int]], mean: bool, centres: NDArray) -> Family:
    """The groups of atoms as numbers and weights of the (ascending) centres."""
    number, weight = np.zeros(len(centres), dtype=np.int32), np.zeros(len(centres))
    for group, members in enumerate(groups):
        places = np.searchsorted(centres, members)
        number[places] = group
        weight[places] = 1.0 / len(members) if mean else 1.0
    return Family(len(groups), number, weight)


def build_variables(configs: Sequence[CVConfig], template: Frame) -> dict[str, CollectiveVariable]:
    """All variables of a configuration by name; `InputError` if a name is used twice."""
    names = [config.name for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two collective variables are called {name!r}")
    return {config.name: CollectiveVariable(config, template) for config in configs}
