"""Collective variables: values, sparse gradients and strain derivatives for one configuration."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import CVError, InputError
from ..frame import Array, Frame
from ..representation.neighbours import Selection
from .config import CVConfig, selection
from .outputs import OUTPUTS, Output, combine, projection
from .sums import GroupSum
from .weights import contraction, spline_table


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
        self._groups, self._outputs = self._plan(config, centres)
        self.outputs = tuple(output.name for output in self._outputs)
        used = np.unique(np.concatenate([members for members, _ in self._groups]))
        self.atoms = np.union1d(used, neighbours).astype(np.int32)
        self._neighbours = np.searchsorted(self.atoms, neighbours)

        vector, density = contraction(config)
        nothing = np.zeros((0, config.basis.n_max))
        table = spline_table(config)
        self._vector = table.contract([nothing, vector[None]])
        self._density = table.contract([density[None], nothing]) if "density" in config.outputs else None
        self._sums: list[GroupSum] = []
        self._pbc = template.pbc
        self._check_neighbours(template)

    def copy(self) -> "CollectiveVariable":
        """The same variable with a neighbour list of its own."""
        other = copy.copy(self)
        other._sums = []
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
            parts = [part.compute(positions, cell) for part in self._sums_for(pbc)]
        except ValueError as error:
            raise CVError(f"collective variable {self.name}: {error}") from error
        d = len(self._outputs)
        values, gradients, strain = np.empty(d), np.zeros((d, len(self.atoms), 3)), np.empty((d, 3, 3))
        for number, (b, gradient, b_strain) in enumerate(parts):
            rows = [row for row, output in enumerate(self._outputs) if output.group == number]
            values[rows], jacobian = combine([self._outputs[row].function for row in rows], b)
            gradients[np.ix_(rows, self._sums[number].sites)] = np.tensordot(jacobian, gradient, axes=(1, 1))
            strain[rows] = np.tensordot(jacobian, b_strain, axes=1)
        if not np.isfinite(values).all():
            found = dict(zip(self.outputs, values.tolist(), strict=True))
            raise CVError(f"collective variable {self.name} is not finite: {found}")
        active = np.flatnonzero(gradients.any(axis=(0, 2))).astype(np.int32)
        if len(active) < len(self.atoms):
            gradients = np.ascontiguousarray(gradients[:, active])
        return CVResult(values, active, gradients, strain)

    def _sums_for(self, pbc: NDArray[np.bool_]) -> list[GroupSum]:
        """The sums over the groups, with neighbour lists for this periodicity."""
        if not self._sums or not np.array_equal(self._pbc, pbc):
            species = self._template_species[self.atoms]
            self._pbc = np.array(pbc, dtype=bool)
            self._sums = [
                GroupSum(
                    species,
                    np.searchsorted(self.atoms, members),
                    self._neighbours,
                    weight,
                    self._vector,
                    self._density,
                    self._skin,
                    self._pbc,
                )
                for members, weight in self._groups
            ]
        return self._sums

    def _resolve(self, chosen: Selection, key: str) -> NDArray[np.int32]:
        try:
            return np.sort(chosen.resolve(self._template_species, key))
        except ValueError as error:
            raise InputError(f"collective variable {self.name}: {error}") from error

    def _plan(self, config: CVConfig, centres: NDArray[np.int32]) -> tuple[list[tuple[NDArray, float]], list[Output]]:
        """The groups, each its centres and their weight, and the outputs of all groups."""
        named: dict[str, tuple[int, ...]] = {}
        if config.outputs or config.axes:
            named = {f"{name}_": members for name, members in config.groups.items()} or {"": tuple(centres.tolist())}
        functions = {name: OUTPUTS[name] for name in config.outputs}
        functions |= {name: projection(axis) for name, axis in config.axes.items()}
        single = {f"atom{index}_": (index,) for index in config.per_centre}
        self._check_members(named, centres)
        self._check_members(single, centres)

        groups, outputs = [], []
        for prefix, members in named.items():
            outputs += [Output(prefix + name, len(groups), function) for name, function in functions.items()]
            groups.append((np.sort(members), 1.0 / len(members) if config.reduction == "mean" else 1.0))
        for prefix, members in single.items():
            outputs += [Output(prefix + name, len(groups), OUTPUTS[name]) for name in "xyz"]
            groups.append((np.array(members), 1.0))
        names = [output.name for output in outputs]
        double = next((name for name in names if names.count(name) > 1), None)
        if double:
            raise InputError(f"collective variable {self.name}: two outputs are called {double!r}")
        return groups, outputs

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
        for (members, _), part in zip(self._groups, self._sums_for(template.pbc), strict=True):
            try:
                part.list.update(template.positions[self.atoms], template.cell)
            except ValueError as error:
                raise InputError(f"collective variable {self.name}: {error}") from error
            distance = np.linalg.norm(part.list.vectors(), axis=1)
            centre = np.repeat(np.arange(len(members)), np.diff(part.list.first))
            count = np.bincount(centre[distance < part.list.cutoff], minlength=len(members))
            if not count.all():
                raise InputError(
                    f"collective variable {self.name}: centre {members[np.argmin(count)]} has no neighbour within "
                    f"{part.list.cutoff:g} Angstrom in the structure file; choose a larger cutoff or other neighbours"
                )


def build_variables(configs: Sequence[CVConfig], template: Frame) -> dict[str, CollectiveVariable]:
    """All variables of a configuration by name; `InputError` if a name is used twice."""
    names = [config.name for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two collective variables are called {name!r}")
    return {config.name: CollectiveVariable(config, template) for config in configs}
