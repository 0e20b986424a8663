"""What the analyses of the studies share: trajectories as polarisations and cells, averages with errors, files."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from forceserver.analysis.blocks import error_of_mean
from forceserver.bias.grid import Axis
from forceserver.configuration import read_configuration
from forceserver.cv import build_variables
from forceserver.files import atomic_write
from forceserver.frame import Array, Frame
from forceserver.free_energy.colvar import Colvar, read_colvar
from forceserver.free_energy.estimate import Estimate, errors_of_free_energy
from forceserver.free_energy.reweighting import reweight
from forceserver.template_structure import read_template
from forceserver.units import BOLTZMANN_EV_PER_K, PER_EV

PHASES = ("R", "O", "T", "C")
COLOURS = {"R": "#2b5c8a", "O": "#7fa8c9", "T": "#f0b57c", "C": "#d1731f"}
CUBIC_BELOW = 0.05
"""Angstrom: what is less polarised on average over a window counts as cubic; the wells are at 0.085 to 0.145."""

BIASED = ("polarization_norm", "polarization_x", "polarization_y", "polarization_z")
"""Columns of COLVAR that |s| is made of, whichever of them a bias acts on."""


def properties(path: Path) -> dict[str, Array]:
    """The columns of a <properties> file by name, units left out."""
    names = re.findall(r"^# column\s+\d+\s+--> (\w+)", path.read_text(), flags=re.MULTILINE)
    return dict(zip(names, np.loadtxt(path, ndmin=2).T, strict=True))


@dataclass(frozen=True)
class Frames:
    """Frames of all systems of a run.

    time_ps, kelvin, system: (n,). s: (n, 3), Angstrom. cell: (n, 3, 3) of one formula unit, rows, Angstrom.
    """

    time_ps: Array
    kelvin: Array
    system: Array
    s: Array
    cell: Array

    @property
    def temperatures(self) -> list[float]:
        return sorted(set(self.kelvin.tolist()))

    def at(self, kelvin: float, skip_ps: float = 0.0) -> "Frames":
        """Those of one temperature, by time."""
        return self.where((self.kelvin == kelvin) & (self.time_ps >= skip_ps))

    def where(self, mask: Array) -> "Frames":
        chosen = np.flatnonzero(mask)
        chosen = chosen[np.argsort(self.time_ps[chosen], kind="stable")]
        return Frames(*(getattr(self, name)[chosen] for name in ("time_ps", "kelvin", "system", "s", "cell")))

    @cached_property
    def norm(self) -> Array:
        return np.linalg.norm(self.s, axis=1)


def read_frames(run: Path) -> Frames:
    """Polarisation and cell along the trajectories of a run, which have the stride of its properties.

    The variable is that of its forceserver.toml.
    """
    from ase.io import iread

    configuration = read_configuration(run / "forceserver.toml")
    template = read_template(configuration.structure)
    (variable,) = build_variables(configuration.cv, template).values()
    cells = round((len(template) / 5) ** (1 / 3))
    parts = []
    for number, path in enumerate(sorted(run.glob("*out.positions_0.extxyz"))):
        frames = list(iread(path, index=":"))
        table = properties(path.with_name(path.name.replace("positions_0.extxyz", "properties")))
        count = min(len(frames), len(table["time"]))  # of a run that is going on, one may be ahead
        s = np.array([variable.compute(Frame.from_ase(atoms)).values[:3] for atoms in frames[:count]])
        cell = np.array([atoms.cell.array for atoms in frames[:count]]) / cells
        kelvin = np.round(table["ensemble_temperature"][:count], 3)
        parts.append((table["time"][:count], kelvin, np.full(count, number), s, cell))
    return Frames(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def windows(values: Array, length: int) -> Array:
    """Means over successive windows of `length` rows; what is left over at the end is left out."""
    count = len(values) // length
    return values[: count * length].reshape(count, length, *values.shape[1:]).mean(axis=1)


def phase_of(s: Array) -> Array:
    """Which of `PHASES`, as a number, window averages (n, 3) belong to: C if short, else the nearest direction."""
    a, b, c = -np.sort(-np.abs(s), axis=1).T
    along = np.stack([(a + b + c) / 3**0.5, (a + b) / 2**0.5, a], axis=1)
    return np.where(np.linalg.norm(s, axis=1) < CUBIC_BELOW, 3, along.argmax(axis=1))


def halves(values: Array, function=np.mean) -> list[float]:
    """A function of all rows, of the first half and of the second half."""
    middle = len(values) // 2
    return [float(function(part)) for part in (values, values[:middle], values[middle:])]


def mean_and_error(values: Array, blocks: int = 10) -> list[float]:
    """The mean, and its standard error from the means of successive blocks."""
    return [float(np.mean(values)), error_of_mean(values, blocks)]


def binder(s: Array) -> float:
    """(5 - 3 <s^4> / <s^2>^2) / 2 of vectors (n, 3): 1 if their length is sharp, 0 if their components are Gaussian."""
    s2 = np.sum(s**2, axis=1)
    return float(2.5 - 1.5 * np.mean(s2**2) / np.mean(s2) ** 2)


def distribution(norm: Array, edges: Array) -> Array:
    """The histogram of |s|, normalised to one over Angstrom."""
    return np.histogram(norm, bins=edges)[0] / (len(norm) * np.diff(edges))


def read_biased(files: list[Path], skip: float, half: int | None = None) -> Colvar:
    """COLVAR of a biased run, or of its walkers, with |s| as last column.

    The share `skip` at the beginning of each file is left out; half: 0 or 1, of what remains.
    """
    tables = []
    for path in files:
        table = read_colvar([path])
        rows = table.rows[int(skip * len(table.rows)) :]
        tables.append(rows if half is None else np.array_split(rows, 2)[half])
    rows = np.concatenate(tables)
    s = rows[:, [k for k, name in enumerate(table.fields) if name in BIASED]]
    return replace(table, fields=[*table.fields, "|s|"], rows=np.c_[rows, np.linalg.norm(s, axis=1)])


def log_weights(colvar: Colvar, kelvin: float) -> Array:
    """Of the rows, by which they count without bias."""
    return sum(colvar.column(name) for name in colvar.bias_columns()) / kt_kj_mol(kelvin)


def free_energy(colvar: Colvar, kelvin: float, edges: Array, blocks: int = 10) -> Estimate:
    """F of |s| in kJ/mol by reweighting; blocks are of time, or the walkers if there are as many."""
    axis = Axis(float(edges[0]), float(edges[-1]), len(edges) - 1)
    return reweight(colvar, ["|s|"], [axis], log_weights(colvar, kelvin), kt_kj_mol(kelvin), blocks)


def kt_kj_mol(kelvin: float) -> float:
    return BOLTZMANN_EV_PER_K * kelvin * PER_EV["kJ/mol"]


def log_density(estimate: Estimate) -> tuple[Array, Array]:
    """-kT ln of the distribution of |s|, normalised to one over Angstrom, and its standard error; nan if never seen."""
    (nodes,) = estimate.surface.nodes
    p = estimate.surface.probability(estimate.kt) / (nodes[1] - nodes[0])
    f = -estimate.kt * np.log(np.where(p > 0, p, np.nan))
    return f, np.where(p > 0, errors_of_free_energy(estimate), np.nan)


def disagreement(f: Array, error: Array, halves: list[Array], depth: float = 4.0) -> float:
    """How far two halves are apart, rms where f is at most `depth` above its minimum, in standard errors.

    The error of a half is sqrt(2) times that of the whole, that of a difference twice: one is what to expect.
    """
    difference = halves[0] - halves[1]
    low = (f < np.nanmin(f) + depth) & np.isfinite(difference) & np.isfinite(error)
    return float(np.sqrt(np.mean((difference[low] / (2 * error[low])) ** 2)))


@dataclass(frozen=True)
class Profile:
    """F of |s| (kJ/mol) of a biased run, normalised, with its error and its halves.

    estimates: of the whole and of the two halves.
    """

    estimates: list[Estimate]
    f: Array
    error: Array
    halves: list[Array]

    @property
    def s(self) -> Array:
        return self.estimates[0].surface.nodes[0]

    @property
    def disagreement(self) -> float:
        return disagreement(self.f, self.error, self.halves)


def profile(files: list[Path], skip: float, kelvin: float, edges: Array) -> Profile:
    """Of COLVAR files; `skip` as in `read_biased`."""
    estimates = [free_energy(read_biased(files, skip, half), kelvin, edges) for half in (None, 0, 1)]
    f, error = log_density(estimates[0])
    return Profile(estimates, f, error, [log_density(part)[0] for part in estimates[1:]])


def checksum(run: Path) -> str:
    """The start of the SHA-256 of the model that a run was made with."""
    return hashlib.sha256(read_configuration(run / "forceserver.toml").potential.model.read_bytes()).hexdigest()[:16]


def write_results(path: Path, results: dict) -> None:
    """A JSON file with numbers of five digits; null is what is not known."""

    def rounded(value):
        if isinstance(value, dict):
            return {str(key): rounded(item) for key, item in value.items()}
        if isinstance(value, list | tuple | np.ndarray):
            return [rounded(item) for item in value]
        if isinstance(value, float | np.floating):
            return float(f"{value:.5g}") if np.isfinite(value) else None
        return value

    text = json.dumps(rounded(results), indent=1)
    text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda match: "[" + re.sub(r"\s+", " ", match[1]) + "]", text)
    with atomic_write(path) as part:
        part.write_text(text + "\n")


@contextmanager
def figure(path: Path, columns: int, width: float = 7.2, height: float = 2.8) -> Iterator[Array]:
    """A context with a row of axes; the picture is written at its end."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"font.size": 8.5, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 150}):
        picture, axes = plt.subplots(1, columns, figsize=(width, height), layout="constrained")
        yield np.atleast_1d(axes)
        picture.savefig(path)
        plt.close(picture)
