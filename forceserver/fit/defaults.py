"""What a fit chooses for itself: cutoff, descriptors, sparse points, repulsion.

There are two power spectra, of which one sees near neighbours sharply and one far neighbours smoothly, since
cross-validation within training structures found two best for silicon. Their lengths are fractions of a cutoff that
holds the same number of neighbours for every density, and were chosen by cross-validation on copper, copper-gold (EMT)
and barium titanate; on silicon only lengths near these were tried.

A cluster expansion has one cutoff. Its radial functions resolve most at the distance of the nearest neighbours; orders,
degrees and prior were chosen by cross-validation on silicon and copper.
"""

import logging
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from ..elements import bond_length
from ..frame import Array, Frame
from ..models.pairs import Zbl
from ..representation.bases import AnyRadialBasis
from ..representation.contraction_file import load as load_contraction
from ..representation.pairs import pairs_within
from ..representation.polynomial import PolynomialBasis
from ..representation.products import Truncation
from .config import AceDescriptor, Descriptor, FitConfig, PairDescriptor, SoapDescriptor, radial_scaling
from .data import Labelled

log = logging.getLogger(__name__)

NEIGHBOURS = 50  # within the cutoff of the second power spectrum
CUTOFFS = (4.0, 9.0)  # Angstrom, between which it is
OF_MOLECULES = 5.0  # Angstrom, where atoms have fewer neighbours
COLUMNS = 2000  # sparse points of all species and power spectra together; the time grows with the square
FEWEST_POINTS = 150  # of a species
FEATURES = 400  # of a power spectrum; one species has fewer
NODE_BITS = 8  # of the mantissa; tables that are accurate enough have as many
SAMPLE = 30  # structures that lengths are taken from
SCALES = (  # cutoff, width of the density, scale (all in the second cutoff), exponent, zeta
    (0.75, 0.046, 0.38, 4, 2),
    (1.0, 0.092, 0.46, 4, 2),
)


def complete(config: FitConfig, train: Sequence[Labelled], species: Sequence[int], energies: Array) -> FitConfig:
    """The configuration with everything in it that it left open.

    energies: (n,), those of the training structures beyond isolated atoms and baseline, per atom, eV.
    """
    cutoff = config.cutoff_angstrom
    bases = [d.basis for d in config.descriptors if not isinstance(d, PairDescriptor)] or [None]
    if cutoff is None and None in bases:
        cutoff = cutoff_for([one.frame for one in train], config.seed)
        log.info("cutoff_angstrom = %g, from the density of the training structures", cutoff)
    descriptors: list[Descriptor] = list(config.descriptors)
    if config.model == "ace" and not any(isinstance(d, AceDescriptor) for d in descriptors):
        descriptors.append(AceDescriptor(kind="ace"))
    reach = cutoff or 0.0  # where it is not known no basis is open
    descriptors = descriptors or [power_spectrum(reach, scale, len(species)) for scale in SCALES]
    spread = max(1.0, 3 * float(np.sqrt(np.mean(energies**2)))) if len(energies) else 1.0
    completed = []
    for descriptor in descriptors:
        if isinstance(descriptor, SoapDescriptor):
            basis = descriptor.basis or _of_file(descriptor) or power_spectrum(reach, SCALES[1], len(species)).basis
            descriptor = descriptor.model_copy(update={"basis": basis, "delta_ev": descriptor.delta_ev or spread})
        if isinstance(descriptor, AceDescriptor):
            update: dict[str, Any] = {}
            if descriptor.truncation is None:
                update["truncation"] = Truncation(functions=config.functions)
                update["candidates"] = descriptor.candidates or config.candidates
            if descriptor.basis is None:
                frames, alike = [one.frame for one in train], descriptor.contraction is not None
                update["basis"] = polynomial_basis(reach, frames, config.seed, species, alike=alike)
            descriptor = descriptor.model_copy(update=update)
        completed.append(descriptor)
    return config.model_copy(update={"descriptors": completed, "cutoff_angstrom": cutoff})


def _of_file(descriptor: SoapDescriptor) -> AnyRadialBasis | None:
    """The basis that a contraction in a file was made for."""
    if descriptor.contraction is None or descriptor.contraction.file is None:
        return None
    return load_contraction(descriptor.contraction.file).basis


def most_points(config: FitConfig, n_species: int) -> int:
    """Sparse points of a species for a power spectrum that does not say how many."""
    count = sum(isinstance(descriptor, SoapDescriptor) for descriptor in config.descriptors)
    return max(COLUMNS // max(1, count) // n_species, FEWEST_POINTS)


def power_spectrum(cutoff: float, scale: tuple, n_species: int) -> SoapDescriptor:
    """One of the default descriptors."""
    of_cutoff, width, radius, exponent, zeta = scale
    far = of_cutoff == 1.0
    n_max, l_max = (9, 6) if far else (8, 7)
    if n_species > 2:
        n_max, l_max = n_max - 2, l_max - 1
    return SoapDescriptor.model_validate(
        {
            "kind": "soap",
            "zeta": zeta,
            "n_features": None if n_species == 1 else FEATURES,
            "sparse_selection": "cur",
            "basis": {
                "kind": "gto",
                "n_max": n_max,
                "l_max": l_max,
                "cutoff": {"cutoff_angstrom": round(of_cutoff * cutoff, 3), "width_angstrom": round(0.1 * cutoff, 3)},
                "density": {"kind": "gaussian", "sigma_angstrom": round(width * cutoff, 3)},
                "scaling": radial_scaling(cutoff) | {"scale_angstrom": round(radius * cutoff, 3), "exponent": exponent},
            },
        }
    )


def polynomial_basis(
    cutoff: float, frames: Sequence[Frame], seed: int, species: Sequence[int], *, alike: bool = False
) -> PolynomialBasis:
    """The radial functions of a default cluster expansion; alike: whether all pairs of species have the same."""
    core, typical = _shortest_and_typical(cutoff, frames, seed, species)
    if alike or len(species) == 1:
        core, typical = min(core.values()), min(typical.values())
    return PolynomialBasis.model_validate(
        {
            "n_max": 16,
            "l_max": 8,
            "cutoff": {"cutoff_angstrom": cutoff, "core_angstrom": core},
            "transform": {"kind": "agnesi", "r0_angstrom": typical},
        }
    )


def _shortest_and_typical(
    cutoff: float, frames: Sequence[Frame], seed: int, species: Sequence[int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The shortest distance (Angstrom) of every pair of species, and the median one of nearest neighbours."""
    from ase.data import chemical_symbols

    shortest, nearest = shortest_distances(frames, cutoff), _nearest(_sample(frames, seed), cutoff)
    core, typical = {}, {}
    for pair in combinations_with_replacement(sorted(species), 2):
        bond = float(np.median(nearest[pair])) if pair in nearest else shortest.get(pair, 0.5 * cutoff)
        name = "-".join(chemical_symbols[number] for number in pair)
        core[name], typical[name] = round(min(shortest.get(pair, bond), bond), 3), round(bond, 3)
    return core, typical


def _nearest(frames: Sequence[Frame], cutoff: float) -> dict[tuple[int, int], Array]:
    """For every pair of species the distances (Angstrom) of the nearest neighbour of either, within the cutoff."""
    found: dict[tuple[int, int], list[Array]] = {}
    for frame in frames:
        pairs = pairs_within(frame, cutoff, each_way=True)
        for species in np.unique(frame.species[pairs.j]).tolist():
            of_species = frame.species[pairs.j] == species
            nearest = np.full(len(frame), np.inf)
            np.minimum.at(nearest, pairs.i[of_species], pairs.r[of_species])
            for centre in np.unique(frame.species).tolist():
                mine = nearest[(frame.species == centre) & np.isfinite(nearest)]
                if len(mine):
                    found.setdefault((min(centre, species), max(centre, species)), []).append(mine)
    return {pair: np.concatenate(parts) for pair, parts in found.items()}


def cutoff_for(frames: Sequence[Frame], seed: int) -> float:
    """The median distance of the fiftieth neighbour, Angstrom, within limits."""
    distances = []
    for frame in _sample(frames, seed):
        i, _, r, _ = pairs_within(frame, CUTOFFS[1], each_way=True)
        order = np.lexsort([r, i])
        i, r = i[order], r[order]
        first = np.searchsorted(i, np.arange(len(frame)))
        last = first + NEIGHBOURS - 1
        inside = (last < len(i)) & (i[np.minimum(last, len(i) - 1)] == np.arange(len(frame))) if len(i) else first < 0
        distances.append(np.where(inside, r[np.minimum(last, len(r) - 1)] if len(r) else 0.0, np.inf))
    typical = float(np.median(np.concatenate(distances)))
    if not np.isfinite(typical):
        return OF_MOLECULES
    return round(float(np.clip(typical, *CUTOFFS)), 1)


def shortest_distances(frames: Sequence[Frame], reach: float = 6.0) -> dict[tuple[int, int], float]:
    """The shortest distance (Angstrom) of every pair of species that comes closer than `reach`."""
    shortest: dict[tuple[int, int], float] = {}
    for frame in frames:
        i, j, r, _ = pairs_within(frame, reach)
        low, high = np.minimum(frame.species[i], frame.species[j]), np.maximum(frame.species[i], frame.species[j])
        for pair in {(int(a), int(b)) for a, b in np.unique(np.stack([low, high], axis=1), axis=0)}:
            least = float(r[(low == pair[0]) & (high == pair[1])].min())
            shortest[pair] = min(shortest.get(pair, np.inf), least)
    return shortest


def repulsion(config: FitConfig, species: Sequence[int], shortest: Mapping[tuple[int, int], float]) -> list[Zbl]:
    """ZBL for every pair of species without a baseline; it ends where the data begin, or where bonds would be."""
    from ase.data import chemical_symbols

    if not config.repulsion:
        return []
    given = {interaction.numbers for interaction in config.baseline}
    found = []
    for pair in combinations_with_replacement(sorted(species), 2):
        if pair in given:
            continue
        bond = float(bond_length(*pair))
        end = _on_a_node(min(shortest.get(pair, bond), 1.2 * bond))
        symbols = (chemical_symbols[pair[0]], chemical_symbols[pair[1]])
        found.append(Zbl(species=symbols, cutoff_angstrom=end, smoothing_angstrom=end / 2))
    return found


def _on_a_node(r: float) -> float:
    """The largest distance up to r (Angstrom) that is, as is its half, a node of tables of pairs with `NODE_BITS`.

    Where smoothing begins and ends between two nodes, tables of strong repulsion do not become accurate enough.
    """
    mantissa, exponent = np.frexp(r**2)
    nodes = 2 ** (NODE_BITS + 1)
    return float(np.sqrt(np.ldexp(np.floor(mantissa * nodes) / nodes, exponent)))


def _sample(frames: Sequence[Frame], seed: int) -> list[Frame]:
    order = np.random.default_rng(seed).permutation(len(frames))[:SAMPLE]
    return [frames[number] for number in sorted(order.tolist())]
