"""What every potential must satisfy, tried out on it: `check_potential(potential, frame)` returns a readable report.

The frame is rattled and sheared first, so that no symmetry hides an error and the cell is triclinic. Derivatives are
compared with five-point central differences of the energy, along random displacements of all atoms and along the nine
strains. All frames of a check go through `compute`, and a sample of them through `compute_one`.

    report = check_potential(potential, frame)
    print(report)
    report.raise_on_failure()
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import PotentialError
from ..frame import Array, Frame, Result
from .base import Potential

AXES = "xyz"
STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))  # of the first derivative, error h^4 f^(5) / 30


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check: its name, the largest error where there is one, and what went wrong, if anything."""

    name: str
    error: float | None
    failure: str


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of `check_potential`; `str(report)` is a table for people."""

    title: str
    tolerance: float
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.failure]

    def __str__(self) -> str:
        lines = [f"{self.title}, relative tolerance {self.tolerance:g}"]
        for finding in self.findings:
            error = "" if finding.error is None else f"{finding.error:9.1e}"
            lines.append(
                f"  {'FAIL' if finding.failure else 'ok':4}  {finding.name:58} {error:9} {finding.failure}".rstrip()
            )
        return "\n".join(lines)

    def raise_on_failure(self) -> None:
        """`PotentialError` with the whole report if a check has failed."""
        if self.failures:
            raise PotentialError(str(self))


class _Broken(Exception):
    """A check has failed; the text says how, with numbers."""


def check_potential(
    potential: Potential,
    frame: Frame,
    *,
    tolerance: float = 1e-6,
    step: float = 2e-3,
    skip: Sequence[str] = (),
    rattle: float = 0.05,
    strain: float = 0.03,
    seed: int = 0,
) -> Report:
    """Tries every check of this file on `potential`, near `frame`.

    tolerance: of energies, forces and virials, relative to the largest number among them or to 1 eV (1 eV/Angstrom),
        whichever is larger. 1e-6 suits double precision; a model in single precision needs about 1e-3.
    step: of the finite differences, Angstrom for displacements; strains are a tenth of it.
    skip: names of checks, as in `CHECKS`, that do not apply; "translation" and "rotation" for an external field.
    rattle, strain: standard deviation of the displacements (Angstrom) and strains that take away the symmetry.
    """
    unknown = set(skip) - CHECKS.keys()
    if unknown:
        raise ValueError(f"no such checks: {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    random = np.random.default_rng(seed)
    distorted = _strained(frame, strain * random.standard_normal((3, 3)))
    distorted.positions += rattle * random.standard_normal(distorted.positions.shape)
    findings = []
    for name, check in CHECKS.items():
        if name in skip:
            continue
        error, failure = None, ""
        try:
            error, where = max(
                check(potential, distorted, step, random), default=(None, ""), key=lambda found: found[0]
            )
            if error is not None and not error <= tolerance:
                failure = where
        except _Broken as broken:
            failure = str(broken)
        except Exception as problem:
            failure = f"{type(problem).__name__}: {problem}"
        findings.append(Finding(check.__doc__.rstrip("."), error, failure))
        if name == "form" and failure:  # nothing else makes sense
            break
    return Report(f"{type(potential).__name__}, {len(frame)} atoms", tolerance, tuple(findings))


Errors = Iterator[tuple[float, str]]
"""Relative errors, each with the words that describe it."""


def _strained(frame: Frame, strain: Array) -> Frame:
    deformation = np.eye(3) + strain
    return _changed(frame, positions=frame.positions @ deformation, cell=frame.cell @ deformation)


def _changed(frame: Frame, **arrays: Array) -> Frame:
    """A frame that shares nothing with `frame`, with some arrays replaced."""
    parts = {name: getattr(frame, name) for name in ("positions", "cell", "species", "pbc")} | arrays
    return Frame(**{name: np.array(array, order="C") for name, array in parts.items()})


def _compare(name: str, got: Array | float, expected: Array | float, scale: float = 1.0) -> tuple[float, str]:
    """The largest error relative to max(scale, |expected|), and the words for it."""
    got, expected = np.asarray(got), np.asarray(expected)
    error = np.nan_to_num(np.abs(got - expected), nan=np.inf)
    worst = np.unravel_index(np.argmax(error), error.shape)
    index = "".join(f"[{i}]" for i in worst)
    relative = float(error[worst] / max(scale, np.abs(expected).max()))
    return relative, f"{name}{index} is {got[worst]:.10g}, should be {expected[worst]:.10g}"


def _same(result: Result, expected: Result, rotation: Array | None = None, order: Array | None = None) -> Errors:
    rotation = np.eye(3) if rotation is None else rotation
    forces = expected.forces if order is None else expected.forces[order]
    yield _compare("energy", result.energy, expected.energy)
    yield _compare("forces", result.forces, forces @ rotation)
    yield _compare("virial", result.virial, rotation.T @ expected.virial @ rotation)


def _form(potential: Potential, frame: Frame, step: float, random: np.random.Generator) -> Errors:
    """Types, shapes, finite values, extras that JSON can hold."""
    for result in (potential.compute_one(_changed(frame)), *potential.compute([_changed(frame)])):
        if not isinstance(result, Result):
            raise _Broken(f"a {type(result).__name__} instead of a Result")
        if (
            np.shape(result.energy) != ()
            or not np.isreal(result.energy)
            or np.asarray(result.energy).dtype != np.float64
        ):
            raise _Broken(f"energy is {result.energy!r}, not a double precision number")
        for name, shape in (("forces", (len(frame), 3)), ("virial", (3, 3))):
            array = getattr(result, name)
            if not isinstance(array, np.ndarray):
                raise _Broken(f"{name} is a {type(array).__name__}, not a numpy array")
            if array.shape != shape or array.dtype != np.float64 or not array.flags.c_contiguous:
                layout = "C-contiguous" if array.flags.c_contiguous else "not C-contiguous"
                raise _Broken(
                    f"{name} has shape {array.shape}, type {array.dtype} and is {layout}; "
                    f"should be {shape}, float64, C-contiguous"
                )
        if not (np.isfinite(result.energy) and np.isfinite(result.forces).all() and np.isfinite(result.virial).all()):
            raise _Broken("energy, forces or virial are not finite")
        try:
            json.dumps(result.extras, default=np.ndarray.tolist, allow_nan=False)
        except (TypeError, ValueError) as problem:
            raise _Broken(f"the extras cannot be written as JSON: {problem}") from problem
    return iter(())


def _ownership(potential: Potential, frame: Frame, step: float, random: np.random.Generator) -> Errors:
    """Results are not changed by later calls, frames are never."""
    given = _changed(frame)
    first = potential.compute_one(given)
    kept = first.energy, first.forces.copy(), first.virial.copy()
    other = _changed(frame, positions=frame.positions + 0.1 * random.standard_normal(frame.positions.shape))
    later = [potential.compute_one(other), *potential.compute([other, given])]
    for name in ("positions", "cell", "species", "pbc"):
        if not np.array_equal(getattr(given, name), getattr(frame, name)):
            raise _Broken(f"the {name} of the frame have been changed")
    for name, before in zip(("forces", "virial"), kept[1:], strict=True):
        array = getattr(first, name)
        shares = any(np.shares_memory(array, getattr(result, name)) for result in later)
        if shares or np.shares_memory(array, given.positions) or not np.array_equal(array, before):
            raise _Broken(f"the {name} of a result share memory with a later result or with the frame")
    return iter(())


def _batch(potential: Potential, frame: Frame, step: float, random: np.random.Generator) -> Errors:
    """A batch gives what the frames give one by one."""
    frames = [
        _changed(
            _strained(frame, 0.01 * random.standard_normal((3, 3))),
            positions=frame.positions + 0.05 * random.standard_normal(frame.positions.shape),
        )
        for _ in range(5)
    ]
    single = [potential.compute_one(one) for one in reversed(frames)][::-1]
    batched = potential.compute(frames)
    if len(batched) != len(frames):
        raise _Broken(f"{len(batched)} results for {len(frames)} frames")
    for result, expected in zip(batched, single, strict=True):
        yield from _same(result, expected)


def _translation(potential: Potential, frame: Frame, step: float, random: np.random.Generator) -> Errors:
    """Translation of all atoms changes nothing."""
    moved = _changed(frame, positions=frame.positions + np.array([3.1, -17.3, 5.7]))
    yield from _same(potential.compute([moved])[0], potential.compute_one(frame))


def _images(potential: Potential, frame: Frame, step: float, random: np.random.Generator) -> Errors:
    """Atoms moved by lattice vectors change nothing."""
    shifts = random.integers(-3, 4, frame.positions.shape) * frame.pbc
    moved = _changed(frame, positions=frame.positions + shifts @ frame.cell)
    yield from _same(potential.compute([moved])[0], potential.compute_one(frame))


def _lattice(potential: Potential, frame: Frame, step: float, random: np.random.Generator) -> Errors:
    """Other cell vectors of the same lattice change nothing."""
    cell = frame.cell.copy()
    for i, j in ((1, 0), (2, 1), (0, 2)):
        if frame.pbc[i] and frame.pbc[j]:
            cell[i] += cell[j]
    yield from _same(potential.compute([_changed(frame, cell=cell)])[0], potential.compute_one(frame))


def _permutation(potential: Potential, frame: Frame, step: float, random: np.random.Generator) -> Errors:
    """Atoms of one species in another order have the same forces."""
    order = np.arange(len(frame))
    for species in np.unique(frame.species):
        cycle = random.permutation(np.flatnonzero(frame.species == species))
        order[cycle] = np.roll(cycle, 1)  # no atom stays where it was
    moved = _changed(frame, positions=frame.positions[order])
    yield from _same(potential.compute([moved])[0], potential.compute_one(frame), order=order)


def _rotation(potential: Potential, frame: Frame, step: float, random: np.random.Generator) -> Errors:
    """Rotation of everything rotates forces and virial."""
    rotation, _ = np.linalg.qr(random.standard_normal((3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    turned = _changed(frame, positions=frame.positions @ rotation, cell=frame.cell @ rotation)
    yield from _same(potential.compute([turned])[0], potential.compute_one(frame), rotation=rotation)


def _slope(potential: Potential, along: Callable[[float], Frame], step: float) -> float:
    results = potential.compute([along(point * step) for point, _ in STENCIL])
    return sum(weight * result.energy for (_, weight), result in zip(STENCIL, results, strict=True)) / step


def _forces(potential: Potential, frame: Frame, step: float, random: np.random.Generator) -> Errors:
    """Forces are minus the derivative of the energy."""
    forces = potential.compute_one(frame).forces
    largest = max(1.0, np.abs(forces).max())
    for _ in range(6):
        direction = random.standard_normal(frame.positions.shape)
        direction /= np.abs(direction).max()

        def displaced(distance: float, direction: Array = direction) -> Frame:
            return _changed(frame, positions=frame.positions + distance * direction)

        slope = -_slope(potential, displaced, step)
        error, words = _compare("force along a random displacement", np.sum(forces * direction), slope, largest)
        yield error * max(largest, abs(slope)) / largest, words  # a sum over atoms may be larger than any force


def _virial(potential: Potential, frame: Frame, step: float, random: np.random.Generator) -> Errors:
    """Virial is minus the derivative with respect to strain."""
    virial = potential.compute_one(frame).virial
    largest = max(1.0, np.abs(virial).max())
    for a in range(3):
        for b in range(3):
            unit = np.zeros((3, 3))
            unit[a, b] = 1.0
            slope = -_slope(potential, lambda size, unit=unit: _strained(frame, size * unit), step / 10)
            yield _compare(f"virial {AXES[a]}{AXES[b]}", virial[a, b], slope, largest)


def _symmetry(potential: Potential, frame: Frame, step: float, random: np.random.Generator) -> Errors:
    """Virial is symmetric."""
    virial = potential.compute_one(frame).virial
    yield _compare("virial", virial, virial.T)


CHECKS: dict[str, Callable[[Potential, Frame, float, np.random.Generator], Errors]] = {
    "form": _form,
    "ownership": _ownership,
    "batch": _batch,
    "translation": _translation,
    "images": _images,
    "lattice": _lattice,
    "permutation": _permutation,
    "rotation": _rotation,
    "forces": _forces,
    "virial": _virial,
    "symmetry": _symmetry,
}
