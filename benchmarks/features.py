"""Contraction, reconstruction errors and Clebsch-Gordan products beside featomic and scikit-matter by hand.

*Principal components* of the radial functions of all species together (24 cells of barium titanate with 40 atoms, n_max
6, l_max 3, 4 kept): second moments of featomic's coefficients and their eigenvectors by numpy. *GFRE* of one power
spectrum from another (96 molecules, n_max 2 and 1, l_max 1): featomic's spectra, then scikit-matter, which computes the
error here, too. *Products* of the density to order 3 (48 molecules, n_max 1, l_max 2, all irreps): featomic's
`DensityCorrelations`, and ours as components that keep everything; below, our invariants with 20 components of order 2,
which featomic has not.

Times include everything from structures to results, but for our splines of spectra and products, our components and
featomic's calculators, which are made once; both have splines of 1e-8. Processor time, the smallest of the rounds, one
thread. Differences are those with accurate radial functions (splines of 1e-12, featomic's analytic ones): of
eigenvalues relative to the largest of each l, of the GFRE, of scalar products between centres relative to the largest
of each irrep. Every structure costs ours 0.4 ms of Python, which is most of the time of molecules.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from ase import Atoms
from ase.build import molecule
from numpy.typing import NDArray

from forceserver import _ext
from forceserver.analysis import features as measures
from forceserver.frame import Array, Frame
from forceserver.representation.contraction import ALL, Covariance
from forceserver.representation.expansion import ExpansionBasis
from forceserver.representation.gto import GtoBasis
from forceserver.representation.invariants import PowerSpectrum, PowerSpectrumBasis
from forceserver.representation.multispectrum import Irrep, Multispectrum
from forceserver.representation.multispectrum_config import MultispectrumConfig
from forceserver.representation.multispectrum_fit import all_coefficients, fit
from forceserver.representation.neighbours import NeighbourList
from forceserver.representation.spline import SplineTable

from .harness import Table, interleave

CUTOFF, WIDTH = 3.5, 0.5
TITANATE, ORGANIC = (8, 22, 56), (1, 6, 8)
NAMES = ("CH3OH", "H2CO", "CH3CHO", "CH3OCH3", "HCOOH", "C2H4")
FAST, ACCURATE = 1e-8, 1e-12
EVERYTHING = MultispectrumConfig(nu=3, equivariants=(0, 1, 2), residual_variance=1e-14, num_expand=None)
TRUNCATED = MultispectrumConfig(nu=3, n_components=20)


def titanates(number: int) -> list[Atoms]:
    """Cells of 40 atoms, which are displaced."""
    scaled = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    cell = Atoms("BaTiO3", cell=[4.0] * 3, pbc=True, scaled_positions=scaled)
    return displaced(cell * (2, 2, 2) for _ in range(number))


def molecules(number: int) -> list[Atoms]:
    """Molecules of hydrogen, carbon and oxygen, whose atoms are displaced."""
    return displaced(molecule(NAMES[k % len(NAMES)]) for k in range(number))


def displaced(structures: Iterator[Atoms]) -> list[Atoms]:
    found = list(structures)
    for seed, atoms in enumerate(found):
        atoms.rattle(0.1, seed=seed)
    return found


def basis(n_max: int, l_max: int, sigma: float) -> GtoBasis:
    return GtoBasis(
        n_max=n_max,
        l_max=l_max,
        cutoff={"cutoff_angstrom": CUTOFF, "width_angstrom": WIDTH},
        density={"kind": "gaussian", "sigma_angstrom": sigma},
    )


@cache
def expansion(n_max: int, l_max: int, sigma: float, tolerance: float) -> ExpansionBasis:
    return ExpansionBasis(dict.fromkeys(ORGANIC, SplineTable.build(basis(n_max, l_max, sigma), tolerance)))


@cache
def calculator(name: str, n_max: int, l_max: int, sigma: float, tolerance: float):
    """The same by featomic, with analytic radial functions if they are to be accurate."""
    import featomic

    return getattr(featomic, name)(
        cutoff={"radius": CUTOFF, "smoothing": {"type": "ShiftedCosine", "width": WIDTH}},
        density={"type": "Gaussian", "width": sigma},
        basis={
            "type": "TensorProduct",
            "max_angular": l_max,
            "radial": {"type": "Gto", "max_radial": n_max - 1},
            "spline_accuracy": None if tolerance == ACCURATE else tolerance,
        },
    )


def components(structures: list[Atoms], tolerance: float) -> Array:
    """Eigenvalues (4, 4), of each l."""
    moments = Covariance.of(basis(6, 3, 0.4), map(Frame.of, structures), TITANATE, tolerance=tolerance)
    return moments.contraction(mixed=True, q_max=4).eigenvalues[ALL][:, :4]


def components_by_hand(structures: list[Atoms], tolerance: float) -> Array:
    blocks = calculator("SphericalExpansion", 6, 3, 0.4, tolerance).compute(structures)
    blocks = blocks.keys_to_samples("center_type").keys_to_properties("neighbor_type")
    found = []
    for l in range(4):
        c = blocks.block({"o3_lambda": l, "o3_sigma": 1}).values
        moments = np.einsum("imp,imq->pq", c, c, optimize=True) / len(c)
        found.append(np.linalg.eigvalsh(moments)[:-5:-1])
    return np.array(found)


def error(structures: list[Atoms], tolerance: float) -> float:
    """GFRE of the smaller spectrum from the larger one."""
    x, y = (spectra(structures, expansion(n, 1, sigma, tolerance)) for n, sigma in ((2, 0.5), (1, 0.3)))
    return measures.reconstruction(measures.compact(x), measures.compact(y), split(len(x)))[0]


def spectra(structures: list[Atoms], of: ExpansionBasis) -> Array:
    found, features = [], PowerSpectrumBasis(of)
    for atoms in structures:
        neighbours = NeighbourList(atoms.numbers, CUTOFF, skin=0.0, pbc=atoms.pbc)
        frame = Frame.of(atoms)
        neighbours.update(frame.positions, frame.cell)
        found.append(PowerSpectrum(features, neighbours).values().copy())
    return np.concatenate(found)


def error_by_hand(structures: list[Atoms], tolerance: float) -> float:
    from skmatter.metrics import global_reconstruction_error

    x, y = (spectra_by_hand(structures, n, sigma, tolerance) for n, sigma in ((2, 0.5), (1, 0.3)))
    rows = split(len(x))
    return float(global_reconstruction_error(x, y, train_idx=rows.train, test_idx=rows.test))


def spectra_by_hand(structures: list[Atoms], n_max: int, sigma: float, tolerance: float) -> Array:
    blocks = calculator("SoapPowerSpectrum", n_max, 1, sigma, tolerance).compute(structures)
    block = blocks.keys_to_samples("center_type").keys_to_properties(["neighbor_1_type", "neighbor_2_type"]).block()
    a, b, n, m = (block.properties[name] for name in ("neighbor_1_type", "neighbor_2_type", "n_1", "n_2"))
    same = a == b  # featomic has these twice, with n and n' exchanged
    values = (block.values * np.where(same & (n != m), np.sqrt(2), 1.0))[:, ~same | (n <= m)]
    return values[np.lexsort((block.samples["atom"], block.samples["system"]))]


def split(number: int) -> measures.Split:
    return measures.Split(np.arange(0, number, 2), np.arange(1, number, 2), "environment", 0)


@cache
def multispectrum(config: MultispectrumConfig, tolerance: float) -> Multispectrum:
    """Components, from displaced molecules of the same kinds."""
    coefficients, species, _ = centres(molecules(180), tolerance)
    return fit(expansion(1, 2, 0.4, tolerance), coefficients, species, config)


def centres(structures: list[Atoms], tolerance: float) -> tuple[Array, NDArray[np.int32], NDArray[np.int32]]:
    return all_coefficients(expansion(1, 2, 0.4, tolerance), [Frame.of(atoms) for atoms in structures])


def products(structures: list[Atoms], tolerance: float) -> dict[Irrep, Array]:
    """Those of order 3, (centres, 2 lambda + 1, functions)."""
    coefficients, species, _ = centres(structures, tolerance)
    every = multispectrum(EVERYTHING, tolerance).equivariants(coefficients, species)
    return {irrep: values for (nu, irrep), values in every.items() if nu == 3}


def products_by_hand(structures: list[Atoms], tolerance: float) -> dict[Irrep, list[Array]]:
    from featomic.clebsch_gordan import DensityCorrelations

    density = calculator("SphericalExpansion", 1, 2, 0.4, tolerance).compute(structures)
    density = density.keys_to_samples("center_type").keys_to_properties("neighbor_type")
    correlations = DensityCorrelations(n_correlations=2, max_angular=4, skip_redundant=False)
    order = None
    found = defaultdict(list)
    for key, block in correlations.compute(density, angular_cutoff=2, selected_keys=None).items():
        order = np.lexsort((block.samples["atom"], block.samples["system"])) if order is None else order
        found[Irrep(int(key["o3_lambda"]), int(key["o3_sigma"]))].append(block.values[order])
    return found


def invariants(structures: list[Atoms], tolerance: float) -> Array:
    """Up to order 3, of few components."""
    coefficients, species, _ = centres(structures, tolerance)
    return multispectrum(TRUNCATED, tolerance).values(coefficients, species)


def largest(ours: Array, theirs: Array) -> float:
    """The largest difference relative to the largest number of each row."""
    return float((abs(ours - theirs).max(axis=-1) / abs(theirs).max(axis=-1)).max())


def of_products(ours: dict[Irrep, Array], theirs: dict[Irrep, list[Array]]) -> float:
    """That of scalar products between centres, which do not depend on how functions are combined."""

    def products_of(parts: list[Array]) -> Array:
        return sum(np.einsum("imk,jnk->ijmn", x, x, optimize=True) for x in parts).ravel()

    return max(largest(products_of([ours[irrep]]), products_of(parts)) for irrep, parts in theirs.items())


CASES: dict[str, tuple[Callable, Callable, Callable, Callable, int, int]] = {
    "principal components": (components, components_by_hand, largest, titanates, 24, 2),
    "GFRE": (error, error_by_hand, lambda a, b: abs(a - b), molecules, 96, 24),
    "products": (products, products_by_hand, of_products, molecules, 48, 12),
}
"""By name: ours, theirs, the difference, the structures, their number for times and for the difference."""


def tables(quick: bool) -> Iterator[Table]:
    """Times and differences."""
    _ext.cpu.set_threads(1)
    table = Table(
        "Contraction and measures", ("case", "forceserver / ms", "by hand / ms", "by hand / forceserver", "difference")
    )
    calls: dict[tuple[str, str], Callable[[], object]] = {}
    for name, (ours, theirs, _, structures, number, _) in CASES.items():
        some = structures(number)
        for program, function in (("ours", ours), ("theirs", theirs)):
            calls[name, program] = lambda function=function, some=some: function(some, FAST)
    small = molecules(CASES["products"][4])
    calls["invariants, 20 components", "ours"] = lambda: invariants(small, FAST)
    best = {
        key: 1e3 * timing.best for key, timing in interleave(calls, 3 if quick else 7, clock=time.process_time).items()
    }
    for name, (ours, theirs, difference, structures, _, number) in CASES.items():
        some = structures(number)
        found = difference(ours(some, ACCURATE), theirs(some, ACCURATE))
        mine, peers = best[name, "ours"], best[name, "theirs"]
        table.rows.append((name, mine, peers, peers / mine, found))
    table.rows.append(("invariants, 20 components", best["invariants, 20 components", "ours"], None, None, None))
    yield table
