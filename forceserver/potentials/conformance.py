"""What every potential must satisfy: `check_potential(potential, frame)` tests it and returns a readable report.

The frame is rattled and sheared first, so that no symmetry hides an error and the cell is triclinic. Derivatives are
compared with five-point central differences of the energy, along random displacements of all atoms and along the nine
strains. All frames of a check go through `compute`, and a sample of them through `compute_one`.

The rounding noise of the potential is measured first. It determines the step of the differences (a network in single
precision needs a hundred times that of double precision), and the smallest error that can be detected.

    report = check_potential(potential, frame)
    print(report)
    report.raise_on_failure()
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FAILURES, InputError, described
from ..frame import Array, Frame, Result
from ..results import check_count, problem_of
from .base import Potential
from .conformance_report import CheckResult, Noise, Report

AXES = "xyz"
BATCH = 4
STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))  # of the first derivative, error h^4 f^(5) / 30
SPREAD = float(np.linalg.norm([weight for _, weight in STENCIL]))  # noise of a derivative times step / noise
SIGMAS = 10  # standard deviations of noise that are not an error
LARGEST_NOISE = 1e-5  # relative; what single precision does to a sum of many terms
SUSPICIOUS = 1e-7  # relative error of a derivative from which on it is taken again with a finer step
LARGEST_JUMP = 1e-4  # eV in 0.02 Angstrom


class _Broken(Exception):
    """A check has failed; the message says how, with numbers."""


class _Examined(Potential):
    """The potential under test, none of whose results may have a wrong shape or be infinite or NaN."""

    def __init__(self, potential: Potential) -> None:
        self.potential = potential

    def compute_one(self, frame: Frame) -> Result:
        return self._examined([self.potential.compute_one(frame)], frame)[0]

    def compute(self, frames: Sequence[Frame]) -> list[Result]:
        return self._examined(self.potential.compute(frames), frames[0])

    def _examined(self, results: list[Result], frame: Frame) -> list[Result]:
        for result in results:
            if problem := problem_of(result, len(frame)):
                raise _Broken(f"the potential returned {problem}")
        return results


def check_potential(
    potential: Potential,
    frame: Frame,
    *,
    tolerance: float = 1e-6,
    step: float | None = None,
    skip: Sequence[str] = (),
    rattle: float = 0.05,
    strain: float = 0.03,
    seed: int = 0,
) -> Report:
    """Runs every check of this file on `potential`, near `frame`.

    tolerance: of energies, forces and virials, relative to the largest among them or to 1 eV (1 eV/Angstrom),
        whichever is larger. Ten standard deviations of the rounding noise replace it if they are more.
    step: of the finite differences, Angstrom for displacements; strains are a tenth of it. By default from the noise.
    skip: names of checks, as in `CHECKS`, that do not apply; "translation" and "rotation" for an external field,
        "permutation" for something that knows atoms by their indices.
    rattle, strain: standard deviation of the displacements (Angstrom) and strains that break the symmetry.

    Raises `InputError` for an unknown check, and a tolerance or step that is not positive.
    """
    if isinstance(skip, str) or (set(skip) - CHECKS.keys()):
        raise InputError(f"check_potential: skip = {skip!r} should be a list of names, out of {', '.join(CHECKS)}")
    for name, number in (("tolerance", tolerance), ("step", 1.0 if step is None else step)):
        if not (isinstance(number, float | int) and number > 0):
            raise InputError(f"check_potential: {name} = {number!r} should be a positive number")
    random = np.random.default_rng(seed)
    distorted = _strained(frame, strain * random.standard_normal((3, 3)))
    distorted.positions += rattle * random.standard_normal(distorted.positions.shape)
    examined = _Examined(potential)
    findings: list[CheckResult] = []
    noise = None
    for name, check in CHECKS.items():
        if name in skip:
            continue
        error, failure = None, ""
        try:
            if name == "noise":
                noise = measure_noise(examined, distorted, random)
            known = noise or Noise()
            trial = Trial(examined, distorted, known, step or known.step, random)
            error, limit, where = max(
                (_judged(found, tolerance) for found in check(trial)),
                default=(None, 0.0, ""),
                key=lambda found: found[0] / found[1],
            )
            if error is not None and not error <= limit:
                failure = where
        except _Broken as broken:
            failure = str(broken)
        except FAILURES as problem:
            failure = described(problem)
        findings.append(CheckResult((check.__doc__ or name).rstrip("."), error, failure))
        if name == "form" and failure:  # nothing else makes sense
            break
    title = f"{type(potential).__name__}, {len(frame)} atoms"
    return Report(title, tolerance, noise, step or (noise or Noise()).step, tuple(findings))


def measure_noise(potential: Potential, frame: Frame, random: np.random.Generator) -> Noise:
    """The residuals of energies, forces and virials of sixteen frames along a random displacement, after a fit by a
    polynomial of fifth order.

    They lie within 1e-4 Angstrom, or ten, a hundred or a thousand times as much while some of the energies are equal:
    an energy of -2000 eV in single precision changes in steps of 1e-4 eV.
    """
    direction, points, order = _direction(frame, random), 16, 6
    places = np.sort(random.uniform(-1, 1, points))
    smooth, _ = np.linalg.qr(np.vander(places, order))
    for width in (1e-4, 1e-3, 1e-2, 1e-1):
        frames = [_changed(frame, positions=frame.positions + width * place * direction) for place in places]
        results = _in_batches(potential, frames)
        energies = np.array([result.energy for result in results])
        if len(np.unique(energies)) == points:
            break

    def deviation(values: Array) -> float:
        values = values.reshape(points, -1) - values.reshape(points, -1).mean(axis=0)
        rest = values - smooth @ (smooth.T @ values)
        return float(np.sqrt((rest**2).mean() * points / (points - order)))

    forces, virials = (np.array([getattr(result, name) for result in results]) for name in ("forces", "virial"))
    return Noise(
        deviation(energies),
        deviation(forces),
        deviation(virials),
        energy_scale=max(1.0, np.abs(energies).max()),
        force_scale=max(1.0, np.abs(forces).max()),
    )


def _in_batches(potential: Potential, frames: Sequence[Frame]) -> list[Result]:
    return [result for k in range(0, len(frames), BATCH) for result in potential.compute(frames[k : k + BATCH])]


def _direction(frame: Frame, random: np.random.Generator) -> Array:
    direction = random.standard_normal(frame.positions.shape)
    return direction / np.abs(direction).max()


@dataclass(frozen=True, slots=True)
class Trial:
    """What a check works with."""

    potential: Potential
    frame: Frame
    noise: Noise
    step: float
    random: np.random.Generator


@dataclass(frozen=True, slots=True)
class Error:
    """A relative error, the part of it that noise explains, and a description."""

    size: float
    noise: float
    words: str


Errors = Iterator[Error]


def _judged(error: Error, tolerance: float) -> tuple[float, float, str]:
    """Size, limit and description."""
    limit = max(tolerance, SIGMAS * error.noise)
    return error.size, limit, error.words


def _strained(frame: Frame, strain: Array) -> Frame:
    deformation = np.eye(3) + strain
    return _changed(frame, positions=frame.positions @ deformation, cell=frame.cell @ deformation)


def _changed(frame: Frame, **arrays: NDArray) -> Frame:
    """A frame that shares nothing with `frame`, with some arrays replaced."""
    parts: dict[str, Any] = {name: getattr(frame, name) for name in ("positions", "cell", "species", "pbc")} | arrays
    copies: dict[str, Any] = {name: np.array(array, order="C") for name, array in parts.items()}
    return Frame(**copies, attributes=frame.attributes)


def _compare(name: str, got: Array | float, expected: Array | float, noise: float = 0.0, scale: float = 1.0) -> Error:
    """The largest error relative to max(scale, |expected|); noise: the standard deviation of the difference."""
    got, expected = np.asarray(got), np.asarray(expected)
    error = np.nan_to_num(np.abs(got - expected), nan=np.inf)
    worst = np.unravel_index(np.argmax(error), error.shape)
    index = "".join(f"[{i}]" for i in worst)
    scale = float(max(scale, np.abs(expected).max()))
    words = f"{name}{index} is {got[worst]:.10g}, should be {expected[worst]:.10g}"
    return Error(float(error[worst]) / scale, noise / scale, words)


def _same(
    noise: Noise, result: Result, expected: Result, rotation: Array | None = None, order: Array | None = None
) -> Errors:
    rotation = np.eye(3) if rotation is None else rotation
    forces = expected.forces if order is None else expected.forces[order]
    yield _compare("energy", result.energy, expected.energy, noise.energy)
    yield _compare("forces", result.forces, forces @ rotation, noise.forces)
    yield _compare("virial", result.virial, rotation.T @ expected.virial @ rotation, noise.virial)


def _form(trial: Trial) -> Errors:
    """Types, shapes, finite values, extras that JSON can represent."""
    potential, frame = trial.potential, trial.frame
    one, several = potential.compute_one(_changed(frame)), potential.compute([_changed(frame)])
    check_count(several, 1)
    for result in (one, *several):
        if np.asarray(result.energy).dtype != np.float64:
            raise _Broken(f"energy is {result.energy!r}, not a double precision number: float(energy)")
        for name in ("forces", "virial"):
            array = getattr(result, name)
            if not isinstance(array, np.ndarray):
                raise _Broken(f"{name} is a {type(array).__name__}, not a numpy array: np.array({name}, float)")
            if array.dtype != np.float64 or not array.flags.c_contiguous:
                layout = "C-contiguous" if array.flags.c_contiguous else "not C-contiguous"
                raise _Broken(
                    f"{name} is {array.dtype} and {layout}, should be float64 and C-contiguous: "
                    f'np.array({name}, float, order="C")'
                )
        try:
            json.dumps(result.extras, default=np.ndarray.tolist, allow_nan=False)
        except (TypeError, ValueError) as problem:
            raise _Broken(f"the extras cannot be written as JSON: {problem}") from problem
    return iter(())


def _ownership(trial: Trial) -> Errors:
    """Later calls do not change results, and no call changes frames."""
    potential, frame, random = trial.potential, trial.frame, trial.random
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


def _batch(trial: Trial) -> Errors:
    """A batch gives the same results as its frames one by one."""
    potential, frame, random = trial.potential, trial.frame, trial.random
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
        yield from _same(trial.noise, result, expected)


def _translation(trial: Trial) -> Errors:
    """Translation of all atoms changes nothing."""
    moved = _changed(trial.frame, positions=trial.frame.positions + np.array([3.1, -17.3, 5.7]))
    yield from _unchanged(trial, moved)


def _images(trial: Trial) -> Errors:
    """Atoms moved by lattice vectors change nothing."""
    frame = trial.frame
    shifts = trial.random.integers(-3, 4, frame.positions.shape) * frame.pbc
    yield from _unchanged(trial, _changed(frame, positions=frame.positions + shifts @ frame.cell))


def _lattice(trial: Trial) -> Errors:
    """Other cell vectors of the same lattice change nothing."""
    frame, cell = trial.frame, trial.frame.cell.copy()
    for i, j in ((1, 0), (2, 1), (0, 2)):
        if frame.pbc[i] and frame.pbc[j]:
            cell[i] += cell[j]
    yield from _unchanged(trial, _changed(frame, cell=cell))


def _permutation(trial: Trial) -> Errors:
    """Atoms of one species in another order have the same forces."""
    frame, order = trial.frame, np.arange(len(trial.frame))
    for species in np.unique(frame.species):
        cycle = trial.random.permutation(np.flatnonzero(frame.species == species))
        order[cycle] = np.roll(cycle, 1)  # no atom stays where it was
    other = _changed(frame, positions=frame.positions[order])
    if frame.attributes is not None:  # the charge of an atom goes where the atom goes
        arrays = {name: array[order] for name, array in frame.attributes.arrays.items()}
        other.attributes = replace(frame.attributes, arrays=arrays)
    yield from _unchanged(trial, other, order=order)


def _rotation(trial: Trial) -> Errors:
    """Rotation of everything rotates forces and virial."""
    frame = trial.frame
    rotation, _ = np.linalg.qr(trial.random.standard_normal((3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    turned = _changed(frame, positions=frame.positions @ rotation, cell=frame.cell @ rotation)
    yield from _unchanged(trial, turned, rotation=rotation)


def _unchanged(trial: Trial, moved: Frame, **symmetry: NDArray) -> Errors:
    """Far from the origin, positions in single precision are rounded off more."""
    result, expected = trial.potential.compute([moved])[0], trial.potential.compute_one(trial.frame)
    far, near = (max(np.abs(one.positions).max(), np.abs(one.cell).max()) for one in (moved, trial.frame))
    return _same(trial.noise.times(max(1.0, far / max(near, 1e-3))), result, expected, **symmetry)


def _slope(potential: Potential, along: Callable[[float], Frame], step: float) -> float:
    results = potential.compute([along(point * step) for point, _ in STENCIL])
    return sum(weight * result.energy for (_, weight), result in zip(STENCIL, results, strict=True)) / step


def _smooth(compared: Callable[[float], Error], step: float) -> Error:
    """The error of a derivative, with a tenth of the step if there may be a kink of the forces within it.

    Cutoff functions have them. What they do to a difference is proportional to the step; a wrong force stays wrong.
    """
    found = compared(step)
    if found.size <= max(SUSPICIOUS, SIGMAS * found.noise):
        return found
    finer = compared(step / 10)
    return min(found, finer, key=lambda error: error.size / max(SUSPICIOUS, SIGMAS * error.noise))


def _noise(trial: Trial) -> Errors:
    """Rounding noise is that of double or single precision."""
    noise = trial.noise
    words = f"the energy has a noise of {noise.energy:.1e} eV, more than single precision explains"
    yield Error(noise.energy / noise.energy_scale, LARGEST_NOISE / SIGMAS, words)


def _forces(trial: Trial) -> Errors:
    """Forces are minus the derivative of the energy."""
    forces = trial.potential.compute_one(trial.frame).forces
    for _ in range(6):
        yield _force_along(trial, forces, _direction(trial.frame, trial.random))


def _force_along(trial: Trial, forces: Array, direction: Array) -> Error:
    largest = max(1.0, np.abs(forces).max())

    def displaced(distance: float) -> Frame:
        return _changed(trial.frame, positions=trial.frame.positions + distance * direction)

    def compared(step: float) -> Error:
        slope = -_slope(trial.potential, displaced, step)
        noise = float(np.hypot(SPREAD * trial.noise.energy / step, trial.noise.forces * np.linalg.norm(direction)))
        found = _compare("force along a random displacement", np.sum(forces * direction), slope, noise, largest)
        share = max(largest, abs(slope)) / largest  # a sum over atoms may be larger than any force
        return Error(found.size * share, found.noise * share, found.words)

    return _smooth(compared, trial.step)


def _jumps(trial: Trial) -> Errors:
    """Energy and forces have no jumps, the work is right."""
    direction, start, points = _direction(trial.frame, trial.random), 0.0, 21
    # First 0.2 Angstrom, in which some pairs cross a cutoff, then the worst tenth of them, and a tenth of that. A jump
    # of the forces becomes smaller as the width does, one of their slope, which many potentials have, as its square.
    for width in (1e-2, 1e-3, 1e-4):
        noise = max(np.sqrt(2) * trial.noise.energy, LARGEST_JUMP * width / 1e-2 / SIGMAS)
        places = start + width * np.arange(points)
        frames = [_changed(trial.frame, positions=trial.frame.positions + x * direction) for x in places]
        results = _in_batches(trial.potential, frames)
        energies = np.array([result.energy for result in results])
        forces = np.array([np.sum(result.forces * direction) for result in results])
        work = width / 3 * (forces[:-2:2] + 4 * forces[1::2] + forces[2::2])  # Simpson's rule
        change = energies[2::2] - energies[:-2:2]
        found = _compare("energy difference", change, -work, noise)
        start = places[2 * np.abs(change + work).argmax()]
        if found.size <= SIGMAS * found.noise:
            break
    yield found


def _virial(trial: Trial) -> Errors:
    """Virial is minus the derivative with respect to strain."""
    virial = trial.potential.compute_one(trial.frame).virial
    for a in range(3):
        for b in range(3):
            yield _virial_of(trial, virial, a, b)


def _virial_of(trial: Trial, virial: Array, a: int, b: int) -> Error:
    """Of one component of the strain."""
    unit = np.zeros((3, 3))
    unit[a, b] = 1.0
    largest = max(1.0, np.abs(virial).max())

    def strained(size: float) -> Frame:
        return _strained(trial.frame, size * unit)

    def compared(step: float) -> Error:
        slope = -_slope(trial.potential, strained, step)
        noise = float(np.hypot(SPREAD * trial.noise.energy / step, trial.noise.virial))
        return _compare(f"virial {AXES[a]}{AXES[b]}", virial[a, b], slope, noise, largest)

    return _smooth(compared, trial.step / 10)


def _symmetry(trial: Trial) -> Errors:
    """Virial is symmetric."""
    virial = trial.potential.compute_one(trial.frame).virial
    yield _compare("virial", virial, virial.T, trial.noise.virial)


CHECKS: dict[str, Callable[[Trial], Errors]] = {
    "form": _form,
    "noise": _noise,
    "ownership": _ownership,
    "batch": _batch,
    "translation": _translation,
    "images": _images,
    "lattice": _lattice,
    "permutation": _permutation,
    "rotation": _rotation,
    "forces": _forces,
    "jumps": _jumps,
    "virial": _virial,
    "symmetry": _symmetry,
}
