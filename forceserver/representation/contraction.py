"""Radial bases from data: the linear combinations of radial functions that keep most of the variance of coefficients.

With the rotation-invariant, uncentred covariance over N environments i,

    C^l_{an, a'n'} = 1/N sum_i sum_m c^i_{anlm} c^i_{a'n'lm}

the q functions of neighbour species a and degree l are the first eigenvectors U of its block C^{al}_{nn'}, or, mixed,
of the whole matrix over species and radial functions,

    c^i_{aqlm} = sum_n U^{al}_{qn} c^i_{anlm}        or        c^i_{qlm} = sum_{an} U^l_{q,an} c^i_{anlm}

where a neighbour of any species contributes to all q channels. In both cases there is one matrix for each species of
neighbours, which is folded into its splines. No other q combinations of the same primitives lose less of the variance
sum C^l_{an,an}.

Goscinski, Musil, Pozdnyakov, Nigam, Ceriotti, J. Chem. Phys. 155, 104106 (2021). More in docs/representation.md.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..elements import symbols
from ..errors import InputError
from ..frame import Array, Frame
from .expansion import ExpansionBasis, SphericalExpansion
from .neighbours import NeighbourList, Selection
from .scatter import ROUNDING
from .spline import SplineTable, splined

if TYPE_CHECKING:
    from .bases import AnyRadialBasis

log = logging.getLogger(__name__)

ALL = 0
"""Stands for all species: the key of eigenvalues of the joint covariance."""


@dataclass(frozen=True, eq=False)
class Covariance:
    """Second moments of the coefficients over environments.

    basis: the radial functions. species: those of neighbours (atomic numbers), ascending. environments: their number N.
    matrices: for each l (A, n_l, A, n_l), as above, A species and n_l radial functions.
    """

    basis: "AnyRadialBasis"
    species: tuple[int, ...]
    environments: int
    matrices: tuple[Array, ...]

    @classmethod
    def of(
        cls,
        basis: "AnyRadialBasis",
        frames: Iterable[Frame],
        species: Sequence[int],
        *,
        centres: Selection | None = None,
        neighbours: Selection | None = None,
        centre_contribution: bool = True,
        tolerance: float = 1e-8,
    ) -> "Covariance":
        """The covariance of the environments of all `frames`, in one pass.

        species: atomic numbers of neighbours. centres: atoms whose environments are used; structures without any are
        skipped. neighbours: atoms that count as neighbours, if not all atoms of `species`. tolerance: that of the
        splines. `InputError` names a structure in which two atoms coincide, or a species that is never a neighbour.
        """
        species = tuple(sorted(species))
        table = splined(basis, tolerance)
        expansion = ExpansionBasis(dict.fromkeys(species, table), centre_contribution=centre_contribution)
        sums = [np.zeros((len(species) * n,) * 2) for n in expansion.counts.values()]
        environments = 0
        for number, frame in enumerate(frames):
            coefficients, _ = coefficients_of(expansion, frame, number, centres, neighbours)
            environments += len(coefficients)
            for total, part in zip(sums, expansion.split(coefficients).values(), strict=True):
                rows = np.swapaxes(part, 1, 2).reshape(-1, len(total))
                total += rows.T @ rows
        of_degree = dict(zip(expansion.counts, sums, strict=True))  # for some l there may be no functions
        shapes = [(len(species), n, len(species), n) for n in table.counts]
        matrices = [
            of_degree.get(l, np.zeros((0, 0))).reshape(shape) / max(1, environments) for l, shape in enumerate(shapes)
        ]
        _check_species(species, matrices, table.cutoff)
        _check_degrees(matrices)
        return cls(basis, species, environments, tuple(matrices))

    def expansion(self, tolerance: float = 1e-8, *, centre_contribution: bool = True) -> ExpansionBasis:
        """The expansion in the functions of the basis, for these species."""
        tables = dict.fromkeys(self.species, splined(self.basis, tolerance))
        return ExpansionBasis(tables, centre_contribution=centre_contribution)

    def contraction(
        self, *, mixed: bool = False, q_max: int | None = None, residual_variance: float | None = None
    ) -> "Contraction":
        """The principal components: at most `q_max`, and as few as lose no more than this fraction of the variance of
        any l.

        `InputError`: neither is given, the basis has fewer functions, or there are fewer environments than functions.
        """
        if q_max is None and residual_variance is None:
            raise InputError("contraction: give q_max or residual_variance, which decide how many functions are kept")
        largest = max(m.shape[1] for m in self.matrices) * (len(self.species) if mixed else 1)
        if q_max is not None and q_max > largest:
            of = f"n_max = {self.basis.n_max}" + (f" for {len(self.species)} species" if mixed else "")
            raise InputError(f"contraction: q_max = {q_max} is larger than the number of radial functions ({of})")
        spectra, vectors = self.eigen(mixed)
        return self.keeping(spectra, vectors, q_max, residual_variance)

    def keeping(
        self,
        spectra: Mapping[int, Sequence[Array]],
        vectors: Mapping[int, Sequence[Array]],
        q_max: int | None,
        residual_variance: float | None,
    ) -> "Contraction":
        """The first of some functions, given as `eigen` gives them.

        spectra: the variances of the functions, in the order in which they are kept.
        `InputError`: there are fewer environments than functions.
        """
        q = [enough([s[l] for s in spectra.values()], q_max, residual_variance) for l in range(len(self.matrices))]
        self.require_environments(max(q))
        stacked = {s: np.zeros((len(q), max(q), self.basis.n_max)) for s in self.species}
        for s, of_species in vectors.items():
            for l, u in enumerate(of_species):
                kept = u[: q[l]]
                stacked[s][l, : len(kept), : kept.shape[1]] = kept
        return Contraction(self.basis, ALL in spectra, stacked, {s: padded(e) for s, e in spectra.items()})

    def require_environments(self, functions: int) -> None:
        """`InputError` if there are fewer environments than functions."""
        if functions > self.environments:
            raise InputError(
                f"contraction: {self.environments} environments do not determine {functions} functions; add structures"
            )

    def eigen(self, mixed: bool) -> tuple[dict[int, list[Array]], dict[int, list[Array]]]:
        """Eigenvalues, descending, and for each species and l the eigenvectors (rows), or their part for it."""
        spectra: dict[int, list[Array]] = {ALL: []} if mixed else {s: [] for s in self.species}
        vectors: dict[int, list[Array]] = {s: [] for s in self.species}
        for matrix in self.matrices:
            n = matrix.shape[1]
            if mixed:
                values, u = principal(matrix.reshape(len(self.species) * n, len(self.species) * n))
                spectra[ALL].append(values)
                for s, part in zip(self.species, np.split(u, len(self.species), axis=1), strict=True):
                    vectors[s].append(part)
                continue
            for k, s in enumerate(self.species):
                values, u = principal(matrix[k, :, k])
                spectra[s].append(values)
                vectors[s].append(u)
        return spectra, vectors


@dataclass(frozen=True, eq=False)
class Contraction:
    """Linear combinations of the radial functions of a basis, for every species of neighbours.

    sum_species: whether all species contribute to the same channels.
    matrices: species -> (l_max + 1, q, n_max); where an l has fewer functions, its last rows are zero.
    eigenvalues: species, or `ALL` -> (l_max + 1, number), the variances of all functions in the order in which they are
        kept; for principal components, the eigenvalues of the covariance, descending.
    """

    basis: "AnyRadialBasis"
    sum_species: bool
    matrices: Mapping[int, Array]
    eigenvalues: Mapping[int, Array]

    @property
    def species(self) -> tuple[int, ...]:
        """Species of neighbours, ascending."""
        return tuple(sorted(self.matrices))

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of functions of each l."""
        return functions(self.matrices)

    def expansion(self, tolerance: float = 1e-8, *, centre_contribution: bool = True) -> ExpansionBasis:
        """The expansion in the contracted functions."""
        tables = contracted(splined(self.basis, tolerance), self.matrices)
        return ExpansionBasis(tables, sum_species=self.sum_species, centre_contribution=centre_contribution)

    def fields(self) -> dict[str, Any]:
        """What models keep of it, by the names of their fields."""
        return {"mixing": self.matrices, "sum_species": self.sum_species}

    def residual(self, species: int = ALL) -> Array:
        """The fraction of the variance of each l that is lost with 0, 1, 2, ... functions: (l_max + 1, number + 1)."""
        return left_over(self.eigenvalues[species])

    def of_species(self, species: Iterable[int]) -> "Contraction":
        """The same contraction for some of its species."""
        return replace(self, matrices={s: self.matrices[s] for s in species})

    def radial(self, r: Array) -> dict[int, Array]:
        """R_ql(r) = sum_n U_qn R_nl(r) at distances `r` (k,) in Angstrom: species -> (k, l_max + 1, q)."""
        values = self.basis.functions(r)[0]
        return {s: np.einsum("kln,lqn->klq", values, self.matrices[s]) for s in self.species}

    def check(self, basis: "AnyRadialBasis", species: Iterable[int], source: str) -> None:
        """`InputError` if it was made for another basis, or not for all of these neighbour species.

        source: where it comes from.
        """
        if basis != self.basis:
            raise InputError(
                f"contraction {source} was made for the basis {_difference(self.basis, basis)}, "
                f"and cannot be used with {_difference(basis, self.basis)}; repeat `forceserver basis`"
            )
        missing = sorted(set(species) - set(self.species))
        if missing:
            raise InputError(
                f"contraction {source}: has no functions for neighbours {symbols(missing)}, only for "
                f"{symbols(self.species)}; repeat it with structures that have all of them"
            )


def functions(matrices: Mapping[int, Array]) -> tuple[int, ...]:
    """Number of functions for each l: the rows of (l_max + 1, q, n_max) up to the last nonzero one of any species."""
    used = np.any([m.any(axis=2) for m in matrices.values()], axis=0)
    return tuple(int(row.nonzero()[0].max(initial=-1)) + 1 for row in used)


def contracted(table: SplineTable, matrices: Mapping[int, Array]) -> dict[int, SplineTable]:
    """Contracts a table with `matrices` (l_max + 1, q, n_max), for every species.

    The grid is kept: in most cases its narrow intervals are needed for the cutoff function, which is common to all.
    """
    each = list(enumerate(zip(functions(matrices), table.counts, strict=True)))
    return {s: table.contract([m[l, :q, :n] for l, (q, n) in each]) for s, m in matrices.items()}


def left_over(variances: Array) -> Array:
    """The fraction of the sum of `variances` (..., n) that remains without the first 0, 1, ... n: (..., n + 1)."""
    rest = np.cumsum(np.maximum(variances, 0.0)[..., ::-1], axis=-1)[..., ::-1]
    total = np.where(rest[..., :1] > 0, rest[..., :1], 1.0)
    return np.concatenate([rest, np.zeros_like(rest[..., :1])], axis=-1) / total


def coefficients_of(
    expansion: ExpansionBasis,
    frame: Frame,
    number: int,
    centres: Selection | None = None,
    neighbours: Selection | None = None,
) -> tuple[Array, NDArray[np.int32]]:
    """Coefficients (C, n_blocks, size) of the selected centres of one structure, and their species; C may be zero.

    A structure need not contain all species of a selection. `InputError` gives the number of a structure in which atoms
    coincide.
    """
    centres = centres or Selection()
    present = set(frame.species.tolist())
    if centres.species is not None:
        centres = Selection(species=tuple(s for s in centres.species if s in present))
    seen = neighbours or Selection(species=expansion.species)
    if seen.species is not None:
        seen = Selection(species=tuple(s for s in seen.species if s in present))
    if centres.species == () or seen.species == ():
        return np.zeros((0, expansion.n_blocks, expansion.size)), np.zeros(0, dtype=np.int32)
    try:
        pairs = NeighbourList(frame.species, expansion.cutoff, pbc=frame.pbc, centres=centres, neighbours=seen)
        pairs.update(frame.positions, frame.cell)
        return SphericalExpansion(expansion, pairs).values(), frame.species[pairs.centres]
    except ValueError as error:
        raise InputError(f"structure {number}: {error}") from error


def _check_species(species: tuple[int, ...], matrices: Sequence[Array], cutoff: float) -> None:
    for k, s in enumerate(species):
        if not any(matrix[k, :, k].any() for matrix in matrices):
            raise InputError(
                f"contraction: no centre in the structures has a neighbour {symbols([s])} within {cutoff:g} Angstrom"
            )


def _check_degrees(matrices: Sequence[Array]) -> None:
    """A warning if environments have no density of some l, so that eigenvectors of its covariance are rounding."""
    variances = np.array([np.einsum("anan->", matrix) for matrix in matrices])
    absent = [str(l) for l, v in enumerate(variances) if len(matrices[l][0]) and v <= ROUNDING**2 * variances.max()]
    if absent:
        log.warning(
            "contraction: the environments have no density of l = %s (perfect crystals?), so its functions are noise; "
            "give structures whose atoms are displaced",
            ", ".join(absent),
        )


def principal(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues, descending and not negative, and eigenvectors (rows), whose largest weight is positive."""
    if len(matrix) == 0:
        return np.zeros(0), matrix
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1].T
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    return values, vectors * np.sign(largest)


def enough(spectra: Sequence[Array], q_max: int | None, residual: float | None) -> int:
    """The number of components, at most `q_max`, that lose no more than a fraction of the variance of any spectrum."""
    count = max(map(len, spectra))
    if residual is not None:
        count = max(int((left_over(spectrum) > residual).sum()) for spectrum in spectra)
    return count if q_max is None else min(count, q_max)


def padded(rows: Sequence[Array]) -> Array:
    out = np.zeros((len(rows), max(map(len, rows))))
    for line, row in zip(out, rows, strict=True):
        line[: len(row)] = row
    return out


def _difference(basis: "AnyRadialBasis", other: "AnyRadialBasis") -> str:
    """The values in which a basis differs from another."""
    mine, theirs = _flat(basis.model_dump()), _flat(other.model_dump())
    return ", ".join(f"{key} = {value}" for key, value in mine.items() if theirs.get(key, "") != value)


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
