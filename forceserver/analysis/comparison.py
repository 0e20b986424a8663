"""Two representations of the same environments side by side: all measures, as data, as a table and as a picture."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..elements import symbols
from ..errors import InputError
from ..files import atomic_write
from ..frame import Array, Frame
from ..representation.describing import FeatureMap
from ..representation.multispectrum_fit import Show, unseen
from ..representation.neighbours import NeighbourList
from . import features as measures
from .jacobian import Jacobian, jacobian

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes

SIDES = ("A", "B")
WAYS = ("A -> B", "B -> A")
COLOURS = {"A": "#2b5c8a", "B": "#d1731f", "A -> B": "#2b5c8a", "B -> A": "#d1731f"}


Maps = dict[str, FeatureMap]
"""By side."""


@dataclass(frozen=True)
class Options:
    """environments: at least so many, of whole structures drawn at random. train_fraction: of the structures.

    local_points, local_tests: of LFRE, training points of each map (all, if there are fewer) and test points.
    regulariser: of the rigidity.
    jacobians: number of environments. seed: of all random choices.
    zeta: of A and B, exponents of kernels whose features are compared, but for the Jacobians; 1 for none.
    """

    environments: int = 2000
    train_fraction: float = 0.5
    local_points: int = 30
    local_tests: int = 200
    regulariser: float = 1e-6
    jacobians: int = 4
    seed: int = 0
    zeta: tuple[int, int] = (1, 1)


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """The Jacobians of one environment by both representations."""

    structure: int
    atom: int
    species: str
    sides: dict[str, Jacobian]


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that is known; what is told point by point has one number for each test environment, LFRE for some of them.

    gfre, gfrd, lfre: by way. rigidity: by side; None with a single structure.
    """

    names: dict[str, str]
    sizes: dict[str, int]
    split: measures.Split
    options: Options
    gfre: dict[str, float]
    gfrd: dict[str, float]
    lfre: dict[str, Array]
    rigidity: dict[str, Array] | None
    sensitivities: list[Sensitivity]

    def report(self) -> dict[str, Any]:
        """JSON-serialisable."""
        return {
            "features": {s: {"kind": self.names[s], "number": self.sizes[s]} for s in SIDES},
            "split": {
                "by": self.split.by,
                "seed": self.split.seed,
                "train": self.split.train.tolist(),
                "test": self.split.test.tolist(),
            },
            "options": asdict(self.options),
            "gfre": self.gfre,
            "gfrd": self.gfrd,
            "lfre": {way: _told(values) for way, values in self.lfre.items()},
            "rigidity": self.rigidity and {side: _told(values) for side, values in self.rigidity.items()},
            "jacobians": [
                {"structure": s.structure, "atom": s.atom, "species": s.species}
                | {side: _jacobian_told(of_side) for side, of_side in s.sides.items()}
                for s in self.sensitivities
            ],
        }

    def table(self) -> list[str]:
        """For people."""
        lines = [f"{side}: {self.names[side]}, {self.sizes[side]} features" for side in SIDES]
        train, test, by = len(self.split.train), len(self.split.test), self.split.by
        whole = "whole structures" if by == "structure" else "environments of one structure"
        lines += [f"{train} environments for training, {test} for testing: {whole}, seed {self.split.seed}", ""]
        rows = [("GFRE", self.gfre), ("GFRD", self.gfrd)]
        for p in measures.PERCENTILES:
            name = "LFRE, largest" if p == 100 else f"LFRE, {p} %"
            rows.append((name, {way: float(np.percentile(v, p)) for way, v in self.lfre.items()}))
        lines.append(f"{'':16s}" + "".join(f"{way:>11s}" for way in WAYS))
        lines += [f"{name:16s}" + "".join(f"{values[way]:11.3g}" for way in WAYS) for name, values in rows]
        if self.rigidity is not None:
            lines += ["", f"{'rigidity (LPR)':16s}" + "".join(f"{side:>11s}" for side in SIDES)]
            for p, name in ((0, "lowest"), (50, "50 %")):
                numbers = "".join(f"{np.percentile(self.rigidity[side], p):11.3g}" for side in SIDES)
                lines.append(f"{name:16s}{numbers}")
        return lines + self._sensitivity_lines()

    def _sensitivity_lines(self) -> list[str]:
        if not self.sensitivities:
            return []
        lines = ["", f"{'Jacobian of':16s}{'side':>6s}{'atoms':>7s}{'3n - 6':>8s}{'rank':>6s}{'noise':>10s}"]
        for s in self.sensitivities:
            name = f"{s.structure}: {s.species} {s.atom}"
            for side, j in s.sides.items():
                lines.append(f"{name:16s}{side:>6s}{j.atoms:7d}{j.most:8d}{j.rank:6d}{j.noise:10.1e}")
                name = ""
        return lines


def draw(found: Comparison, path: Path) -> None:
    """Pointwise errors and rigidities in ascending order, and singular values above their noise."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(
        {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    ):
        figure = Figure(figsize=(8.4, 2.6), layout="constrained")
        errors, rigidity, spectra = figure.subplots(1, 3)
        _ascending(errors, found.lfre, "LFRE")
        errors.set_title(", ".join(f"GFRE {way} {found.gfre[way]:.2g}" for way in WAYS).replace("->", "→"), fontsize=7)
        if found.rigidity is None:
            rigidity.set_axis_off()
        else:
            _ascending(rigidity, found.rigidity, "local prediction rigidity")
        for s in found.sensitivities:
            for side, j in s.sides.items():
                spectra.semilogy(np.arange(1, len(j.singular_values) + 1), j.singular_values, ".-", color=COLOURS[side],
                                 lw=0.7, ms=3)  # fmt: skip
                spectra.axhline(j.noise, color=COLOURS[side], lw=0.5, ls=":")
                spectra.axvline(j.most + 0.5, color="0.8", lw=0.5)
        spectra.set(xlabel="number", ylabel="singular value (1/Å)")
        spectra.set_title("dotted: noise, bars: 3n - 6", fontsize=7)
        with atomic_write(path) as part:
            figure.savefig(part, dpi=150, format=path.suffix[1:])


def _ascending(axes: "Axes", values: dict[str, Array], label: str) -> None:
    for name, of in values.items():
        shown = np.maximum(np.sort(of), 1e-16)
        axes.semilogy(np.linspace(0, 100, len(shown)), shown, color=COLOURS[name], label=name.replace("->", "→"))
    axes.set(xlabel="test environments (%)", ylabel=label)
    axes.legend()


def compare(maps: Maps, structures: Sequence["Atoms"], options: Options, show: Show = unseen) -> Comparison:
    """The comparison of two maps, "A" and "B". `InputError`: they have other centres, or too few, or no memory."""
    frames = _drawn(maps, [Frame.from_ase(atoms, number=k) for k, atoms in enumerate(structures)], options)
    x, structure, where = _features(maps, frames, show)
    for side, zeta in zip(SIDES, options.zeta, strict=True):
        x[side] = x[side] if zeta == 1 else measures.kernel_features(x[side], zeta)
    split = measures.Split.of(structure, options.seed, options.train_fraction)
    options = replace(options, local_points=min(options.local_points, len(split.train)))
    gfre: dict[str, float] = {}
    gfrd: dict[str, float] = {}
    lfre: dict[str, Array] = {}
    ways = list(zip(WAYS, (SIDES, SIDES[::-1]), strict=True))
    for way, (a, b) in show(ways, "GFRE, GFRD", len(ways)):
        gfre[way], gfrd[way] = measures.reconstruction(x[a], x[b], split)
    for way, (a, b) in ways:
        lfre[way] = measures.local_reconstruction(
            x[a], x[b], split, options.local_points, options.local_tests, show, f"LFRE, {way}"
        )
    rigidity = None
    if split.by == "structure":
        rigidity = {side: measures.rigidity(x[side], structure, split, options.regulariser) for side in SIDES}
    return Comparison(
        {side: _name(maps[side], zeta) for side, zeta in zip(SIDES, options.zeta, strict=True)},
        {side: len(maps[side]) for side in SIDES},
        split,
        options,
        gfre,
        gfrd,
        lfre,
        rigidity,
        _sensitivities(maps, where, options, show),
    )


def _drawn(maps: Maps, frames: list[Frame], options: Options) -> list[Frame]:
    """Whole structures at random, until there are enough environments; in their order."""
    order = np.random.default_rng(options.seed).permutation(len(frames))
    drawn, environments = [], 0
    for number in order.tolist():
        drawn.append(number)
        environments += len(_lists(maps, frames[number])["A"].centres)
        if environments >= options.environments:
            break
    measures.require(environments, *(len(maps[side]) for side in SIDES))
    return [frames[number] for number in sorted(drawn)]


def _lists(maps: Maps, frame: Frame) -> dict[str, NeighbourList]:
    try:
        lists = {side: maps[side].neighbours(frame) for side in SIDES}
    except ValueError as error:
        raise InputError(f"structure {frame.number}: {error}") from error
    if not np.array_equal(lists["A"].centres, lists["B"].centres):
        raise InputError(
            "compare: A and B describe other atoms, which cannot be compared; give both the same expansion.centres"
        )
    return lists


def _features(maps: Maps, frames: list[Frame], show: Show) -> tuple[dict[str, Array], Array, list[tuple[Frame, int]]]:
    """Features by side, and of each environment the number of its structure, and its frame and atom."""
    parts: dict[str, list[Array]] = {side: [] for side in SIDES}
    where: list[tuple[Frame, int]] = []
    for frame in show(frames, "features", len(frames)):
        lists = _lists(maps, frame)
        where += [(frame, int(atom)) for atom in lists["A"].centres]
        for side in SIDES:
            try:
                parts[side].append(maps[side].at(lists[side]).values().copy())
            except ValueError as error:
                raise InputError(f"structure {frame.number}: {error}") from error
    x = {side: measures.compact(np.concatenate(parts.pop(side))) for side in SIDES}
    return x, np.array([frame.number for frame, _ in where]), where


def _sensitivities(maps: Maps, where: list[tuple[Frame, int]], options: Options, show: Show) -> list[Sensitivity]:
    """Of some environments, drawn at random."""
    number = min(options.jacobians, len(where))
    chosen = np.random.default_rng(options.seed).choice(len(where), number, replace=False).tolist()
    found = []
    for k in show(sorted(chosen), "Jacobians", number):
        frame, atom = where[k]
        sides = {side: jacobian(maps[side], frame, atom, options.seed) for side in SIDES}
        found.append(Sensitivity(frame.number, atom, symbols([int(frame.species[atom])]), sides))
    return found


def _name(features: FeatureMap, zeta: int) -> str:
    return features.name if zeta == 1 else f"{features.name}, kernel of zeta = {zeta}"


def _told(values: Array) -> dict[str, Any]:
    return {"percentiles": measures.percentiles(values), "values": values.tolist()}


def _jacobian_told(found: Jacobian) -> dict[str, Any]:
    return {
        "atoms": found.atoms,
        "most": found.most,
        "rank": found.rank,
        "noise": found.noise,
        "singular_values": found.singular_values.tolist(),
    }
