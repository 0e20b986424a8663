"""Energies, forces, virials and stresses of structures, under whatever name a file has for them.

The one reader of labels, for `fit`, `evaluate` and the workflows. A label is looked for under the name that was given,
or else under the usual ones: those of `USUAL`, in any case and after any of `PREFIXES` (REF_energy, dft_force, ...).
Two that differ are not chosen between, and a quantity has one name in all structures.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..frame import Array
from ..structures import read_structures
from .unconverged import unconverged

if TYPE_CHECKING:
    from ase import Atoms

log = logging.getLogger(__name__)

USUAL = {
    "energy": ("energy", "free_energy", "total_energy", "potential_energy", "totenergy"),
    "forces": ("forces", "force"),
    "virial": ("virial", "virials"),
    "stress": ("stress",),
}
PREFIXES = ("", "ref_", "dft_", "qm_", "reference_", "true_", "target_", "vasp_", "cp2k_")
PLURAL = {"energy": "energies", "forces": "forces", "virial": "virials", "stress": "stresses"}
GROUP = "config_type"
NOT_READ = "none"
"""Given as the name of a label that is there and is not to be read."""

WEIGHT = "config_{}_weight"
"""MACE's name of the weight of a quantity, in the plural; zero where a structure has no such label."""
_NOT_USED = re.compile(r"(weight|sigma|(?<!move_)mask)s?$", re.IGNORECASE)
_OTHER_UNITS = re.compile(
    r"(?<![a-z])(hartree|ha|bohr|rydberg|ry|kcal|kj|mev|gpa|kbar|nm|atomic|au|a\.u\.)(?![a-z])"
    r"|(/|per)[ _]*atom(?![a-z])",
    re.IGNORECASE,
)

SAME = 1e-5
"""eV and eV/Angstrom by which labels of two names may differ: the digits of a file."""
SAME_VIRIAL = 1e-3
"""The same for a virial (eV) and a stress times the volume, and relative to the largest component."""
TENSORS = {"virial": 1e-3, "stress": 1e-5}
"""What is symmetric, up to this (eV, eV/Angstrom^3); forces of three atoms have the same shape and are not."""
ASYMMETRIC = 0.01
"""The same relative to the largest component."""
DRIFT, SHARE_OF_DRIFT = 0.05, 0.01
"""eV/Angstrom, and of all forces without signs: what forces may add up to that no constraint has changed."""

ENTHALPY = (
    "there is a pressure beside the energy, as in AIRSS's .res files, whose energy is the enthalpy: subtract pressure "
    "times volume (1 GPa Angstrom^3 = 0.0062415 eV), unless that was done"
)


@dataclass(frozen=True)
class LabelKeys:
    """Names of labels; None for the usual ones. option: how the user gives them, "--{}-key" for example."""

    energy: str | None = None
    forces: str | None = None
    virial: str | None = None
    stress: str | None = None
    group: str | None = None
    option: str = "{}_key"

    def reads(self, quantity: str, name: str) -> bool:
        """Whether what has this name is a label of a quantity."""
        key = getattr(self, quantity)
        return name == key if key else _is_usual(name, quantity)


@dataclass(frozen=True, eq=False)
class Labels:
    """Energy (eV), forces (N, 3) in eV/Angstrom and virial (3, 3) in eV, -dE/dstrain, of a structure, or None."""

    energy: float | None = None
    forces: Array | None = None
    virial: Array | None = None
    group: str | None = None


@dataclass
class LabelReader:
    """Reads the labels of one structure after the other and keeps account of what was found, and under which name."""

    keys: LabelKeys = LabelKeys()
    _names: dict[str, set[str]] = field(default_factory=dict)
    """For each quantity the names that it has in all structures so far."""
    _found: Counter[str] = field(default_factory=Counter)
    _seen: set[str] = field(default_factory=set)
    _not_used: set[str] = field(default_factory=set)
    _doubtful: Counter[str] = field(default_factory=Counter)
    _structures: int = 0

    def read(self, atoms: "Atoms", where: str) -> Labels:
        """The labels of a structure.

        Raises `InputError`, which begins with `where`, for a label that is not finite numbers of the right shape, for
        two usual names whose values differ, for one name with two values, for another name than in the structures
        before, for a virial that differs from the stress, for a stress without a volume whose name was given, and for
        labels in other units by the word of the file. A quantity whose weight is zero by MACE's name
        (`config_energy_weight`, ...) has no label.
        """
        places = _places(atoms)
        _refuse_other_units(places, where)
        self._refuse_two_of_one_name(atoms, where)
        self._not_used |= {name for name, value in places.items() if _NOT_USED.search(name) and not _is_one(value)}
        self._structures += 1
        self._seen |= places.keys()
        energy = self._take("energy", places, (), where)
        forces = self._take("forces", places, (len(atoms), 3), where)
        virial = self._virial(atoms, places, where)
        self._doubtful.update(_doubts(forces, virial))
        if energy is not None and "times_found" in places and places.get("pressure", 0):
            self._doubtful[ENTHALPY] += 1
        group = places.get(self.keys.group or GROUP)
        return Labels(None if energy is None else float(energy), forces, virial, None if group is None else str(group))

    @staticmethod
    def names_of(atoms: "Atoms") -> str:
        """Every name that a label could have, for a message."""
        return _list(_places(atoms))

    def check_given(self, path: Path) -> None:
        """`InputError` if a name that was given occurs in no structure of a file, which is read as far as needed."""
        given = {getattr(self.keys, quantity): quantity for quantity in (*USUAL, "group")}
        missing, seen = given.keys() - {None, NOT_READ}, set[str]()
        for atoms in read_structures(path):
            if missing <= seen:
                return
            seen |= _places(atoms).keys()
        for name in missing - seen:
            raise InputError(
                f"{path}: no structure has {name!r} ({self._option(given[name])}); there are {_list(seen)}"
            )

    def finish(self, path: Path) -> None:
        """Says what was found in a file, and begins to count anew."""
        found, seen = self._found, self._seen
        parts = [f"{found[quantity]} {PLURAL[quantity]}{self._called(quantity)}" for quantity in USUAL]
        others = f"; there are {_list(seen)}" if not (found["energy"] or found["forces"]) else ""
        log.info("%s: %d structures with %s%s", path, self._structures, ", ".join(parts), others)
        for quantity, other in (("forces", "energy"), ("energy", "forces")):
            if found[other] and not found[quantity] and getattr(self.keys, quantity) != NOT_READ:
                log.warning("%s: there are no %s among the labels %s", path, PLURAL[quantity], _list(seen))
        if self._not_used:
            log.warning("%s: %s: not used; labels of one quantity count alike", path, _list(self._not_used))
        if (steps := unconverged(path)) and any(found.values()):
            log.warning("%s: %d electronic steps did not converge: leave those structures out", path, steps)
        for doubt, structures in self._doubtful.items():
            log.warning("%s: in %d structures %s", path, structures, doubt)
        self._found, self._seen, self._not_used, self._structures = Counter(), set(), set(), 0
        self._doubtful = Counter()

    def _refuse_two_of_one_name(self, atoms: "Atoms", where: str) -> None:
        """A calculator's result, a column and `info` may have one name, and `_places` holds one of them."""
        for name, values in _repeated(atoms).items():
            for quantity in USUAL:
                if self.keys.reads(quantity, name) and not _agree(*values):
                    raise InputError(
                        f"{where} has two labels called {name!r} that differ, such as one of a calculator and one in "
                        "`info`: give one of them another name"
                    )

    def _called(self, quantity: str) -> str:
        names = sorted(self._names.get(quantity, ()))
        return f" ({' = '.join(names)})" if names and self._found[quantity] else ""

    def _option(self, quantity: str) -> str:
        return self.keys.option.format(quantity)

    def _virial(self, atoms: "Atoms", places: Mapping[str, Any], where: str) -> Array | None:
        """From the virial, else from the stress; they must agree unless one of them was named."""
        virial_named, stress_named = (key not in (None, NOT_READ) for key in (self.keys.virial, self.keys.stress))
        has_volume = atoms.cell.rank == 3
        virial = stress = None
        if virial_named or not stress_named:
            virial = self._take("virial", places, (3, 3), where)
        if stress_named or (has_volume and not virial_named):
            stress = self._take("stress", places, (3, 3), where)
        if stress is None:
            return virial
        if not has_volume:
            raise InputError(f"{where} has a stress but no volume")
        from_stress = -stress * atoms.get_volume()
        if virial is None:
            return from_stress
        allowed = SAME_VIRIAL * (1 + abs(virial).max())
        if not virial_named and not stress_named and abs(virial - from_stress).max() > allowed:
            raise InputError(
                f"{where} has a virial and a stress that differ: -stress * volume is {_short(from_stress)}, the virial "
                f"{_short(virial)} eV; say which is right with {self._option('virial')} or {self._option('stress')}"
            )
        return virial

    def _take(self, quantity: str, places: Mapping[str, Any], shape: tuple[int, ...], where: str) -> Array | None:
        if getattr(self.keys, quantity) == NOT_READ or _has_no_weight(quantity, places):
            return None
        names = [name for name in places if self.keys.reads(quantity, name)]
        read = partial(_tensor, rounding=TENSORS[quantity]) if quantity in TENSORS else _numbers
        values = {name: read(places[name], shape, f"{where}: the label {name!r}") for name in names}
        if not values:
            return None
        if quantity == "energy":
            _refuse_per_atom(values, where)
            _refuse_cp2k(values, places, where)
        first, *others = values
        for other in others:
            if not np.allclose(values[first], values[other], rtol=0, atol=SAME):
                what = ", ".join(f"{name!r} {_short(values[name])}" for name in (first, other))
                hint = "; forces are those of the free energy" if "free_energy" in (first, other) else ""
                raise InputError(
                    f"{where} has two labels for its {quantity} that differ: {what}; say which is meant with "
                    f"{self._option(quantity)}{hint}"
                )
        self._same_as_before(quantity, set(values), where)
        self._found[quantity] += 1
        return values[first]

    def _same_as_before(self, quantity: str, names: set[str], where: str) -> None:
        before = self._names.get(quantity, names)
        self._names[quantity] = before & names
        if not before & names:
            raise InputError(
                f"{where} has its {quantity} as {' and '.join(sorted(names))}, structures before it have "
                f"{' and '.join(sorted(before))}; say which is meant with {self._option(quantity)}"
            )


def _is_usual(name: str, quantity: str) -> bool:
    name = name.lower()
    return any(name.removeprefix(prefix) in USUAL[quantity] for prefix in PREFIXES if name.startswith(prefix))


def _refuse_per_atom(names: Iterable[str], where: str) -> None:
    for name in names:
        if "peratom" in name.lower().replace("_", "").replace("-", ""):
            raise InputError(
                f"{where}: the label {name!r} is called an energy per atom; energies are those of all atoms, in eV: "
                "multiply it by the number of atoms, and give it another name"
            )


def _refuse_cp2k(names: Iterable[str], places: Mapping[str, Any], where: str) -> None:
    """CP2K's trajectories have ` i = 0, time = 0.000, E = -17.16` as their comments."""
    if "E" in names and {"i", "time"} <= places.keys():
        raise InputError(
            f"{where}: E beside i and time is an energy of CP2K, in Hartree: convert it to eV (27.2114), and give it "
            "another name"
        )


def _has_no_weight(quantity: str, places: Mapping[str, Any]) -> bool:
    names = {PLURAL[quantity], quantity, f"{quantity}s"}
    weights = [places[WEIGHT.format(name)] for name in names if WEIGHT.format(name) in places]
    return any(np.size(weight) == 1 and float(weight) == 0 for weight in (*weights, places.get("config_weight", 1)))


def _is_one(value: Any) -> bool:
    """Whether a weight changes nothing; one that is zero is seen to by `_has_no_weight`."""
    array = np.asarray(value)
    return array.dtype.kind in "fiub" and bool((array == 1).all() or (array.ndim == 0 and array == 0))


def _doubts(forces: Array | None, virial: Array | None) -> Iterator[str]:
    """What the labels of a structure say that no potential can: forces that a constraint has zeroed, a stress that is
    only there to fill the place."""
    if forces is None or not forces.any():
        return
    net, zeros = abs(forces.sum(axis=0)), (forces == 0).any(axis=0)
    if (zeros & (net > DRIFT + SHARE_OF_DRIFT * abs(forces).sum(axis=0))).any():
        yield (
            "some forces are exactly zero and the others do not add up to zero: if those are of fixed atoms, give the "
            "forces without constraints (in ASE get_forces(apply_constraint=False)); a model would learn the zeros"
        )
    if virial is not None and not virial.any():
        yield (
            "the stress or virial is exactly zero and the forces are not: if it was not computed, remove it or ignore "
            "it (none as its name); a model would learn the zeros"
        )


def _refuse_other_units(places: Mapping[str, Any], where: str) -> None:
    for name, value in places.items():
        if "unit" in name.lower() and isinstance(value, str) and _OTHER_UNITS.search(value):
            raise InputError(
                f"{where} says {name} = {value}: labels are in eV and Angstrom; convert them, and change its words"
            )


def _sources(atoms: "Atoms") -> tuple[Mapping[str, Any], ...]:
    """What ASE's readers turn into results of a calculator, the columns, and the info."""
    results = atoms.calc.results if atoms.calc is not None else {}
    columns = {name: array for name, array in atoms.arrays.items() if name not in ("numbers", "positions")}
    return results, columns, atoms.info


def _places(atoms: "Atoms") -> dict[str, Any]:
    """Every label by name."""
    return {name: value for source in _sources(atoms) for name, value in source.items()}


def _repeated(atoms: "Atoms") -> dict[str, list[Any]]:
    """The values of names that occur more than once."""
    found: dict[str, list[Any]] = {}
    for source in _sources(atoms):
        for name, value in source.items():
            found.setdefault(name, []).append(value)
    return {name: values for name, values in found.items() if len(values) > 1}


def _agree(first: Any, *others: Any) -> bool:
    """Whether labels are the same numbers; a tensor may have six or nine. What is no numbers is seen to later."""
    try:
        one, *rest = (np.ravel(_full(np.array(value, dtype=np.float64))) for value in (first, *others))
    except (TypeError, ValueError):
        return True
    return all(other.size == one.size and np.allclose(other, one, rtol=0, atol=SAME) for other in rest)


def _full(array: Array) -> Array:
    """A symmetric matrix where there are six numbers in Voigt's order; anything else as it is."""
    from ase.stress import voigt_6_to_full_3x3_stress

    return voigt_6_to_full_3x3_stress(array.ravel()) if array.size == 6 else array


def _tensor(value: Any, shape: tuple[int, ...], what: str, rounding: float) -> Array:
    """A finite symmetric matrix, also from six numbers in Voigt's order."""
    if np.size(value) == 6:
        return _full(_numbers(np.ravel(value), (6,), what))
    tensor = _numbers(value, shape, what)
    if abs(tensor - tensor.T).max() > rounding + ASYMMETRIC * abs(tensor).max():
        rows = "; ".join(" ".join(f"{x:.6g}" for x in row) for row in tensor)
        raise InputError(
            f"{what} is not symmetric: [{rows}]; give all nine components, or six in the order xx yy zz yz xz xy"
        )
    return 0.5 * (tensor + tensor.T)


def _numbers(value: Any, shape: tuple[int, ...], what: str) -> Array:
    """A finite array of this shape; the numbers may also stand in one row."""
    try:
        if isinstance(value, bool):  # what ASE makes of a name without a value
            raise TypeError(value)
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} is not numbers: {error}") from error
    if array.size != int(np.prod(shape)) or (array.ndim > 1 and array.shape != shape):
        raise InputError(f"{what} has the shape {array.shape}, must be {shape or 'one number'}")
    if not np.isfinite(array).all():
        raise InputError(f"{what} is not finite")
    return array.reshape(shape)


def _short(array: Array) -> str:
    if array.ndim == 0:
        return f"{float(array):.10g}"
    return f"[{', '.join(f'{x:.6g}' for x in array.ravel()[:3])}, ...]"


def _list(seen: Iterable[str]) -> str:
    return ", ".join(sorted(seen)) or "no labels"
