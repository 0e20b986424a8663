"""Learns a multispectrum: chooses products and finds their principal components, order by order.

Pairs of channels are ranked by the product of their variances, and the first `num_expand` of each irrep are multiplied.
The second moments of these products over N centres, uncentred so that they are rotation-invariant, are

    C_pp' = 1/N sum_i sum_mu P^i_{p mu} P^i_{p' mu};

their eigenvectors give the channels of the next order. For order 2, exchanging the two channels of a pair gives the
same product, so it is kept once, multiplied by sqrt(2); scalar products then equal those of the whole tensor product.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..frame import Array, Frame
from ..memory import require_memory
from .contraction import coefficients_of, enough, principal
from .contraction_config import read_frames
from .expansion import ExpansionBasis
from .multispectrum import (
    ALL,
    INVARIANT,
    Components,
    Equivariants,
    Irrep,
    Level,
    Multispectrum,
    centres_at_once,
    density,
)
from .multispectrum_config import MultispectrumConfig
from .neighbours import Selection

RANK = 1e-13
"""A fraction of the variance of an irrep; components with less are rounding, or products that depend on others."""

Show = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Shows the progress of a loop over things; arguments: the things, a title, their number."""


def unseen(things: Iterable[Any], title: str, total: int) -> Iterable[Any]:
    """Shows nothing."""
    return things


def all_coefficients(
    expansion: ExpansionBasis,
    frames: Sequence[Frame],
    *,
    centres: Selection | None = None,
    neighbours: Selection | None = None,
    show: Show = unseen,
) -> tuple[Array, NDArray[np.int32], NDArray[np.int32]]:
    """Coefficients (C, n_blocks, size) of all structures, and the species (C,) and structure (C,) of each centre.

    `InputError`: too much for this machine's memory, atoms that coincide, or no centre at all.
    """
    most = sum(map(len, frames)) * 8.0 * expansion.n_blocks * expansion.size
    require_memory(most, "all density coefficients", "take fewer structures, or contract the radial functions")
    parts, species = [], []
    for number, frame in enumerate(show(frames, "expansion", len(frames))):
        values, of_centres = coefficients_of(expansion, frame, number, centres, neighbours)
        parts.append(values)
        species.append(of_centres)
    if not any(map(len, parts)):
        raise InputError("no structure contains a centre")
    structure = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
    return np.concatenate(parts), np.concatenate(species), structure


def make(
    config: MultispectrumConfig,
    expansion: ExpansionBasis,
    frames: Sequence[Frame],
    *,
    centres: Selection | None = None,
    neighbours: Selection | None = None,
    show: Show = unseen,
) -> Multispectrum:
    """The multispectrum of a configuration, learned from its structures or from those at hand; errors as for `fit`."""
    if config.structures is not None:
        frames = list(read_frames(config.structures))
    coefficients, species, _ = all_coefficients(expansion, frames, centres=centres, neighbours=neighbours, show=show)
    return fit(expansion, coefficients, species, config, show)


def fit(
    expansion: ExpansionBasis,
    coefficients: Array,
    species: NDArray[np.int32],
    config: MultispectrumConfig,
    show: Show = unseen,
) -> Multispectrum:
    """The multispectrum whose components keep most of the variance over these centres.

    coefficients: (C, n_blocks, size). species: (C,), those of the centres.
    `InputError`: too little memory, or fewer centres than components to be kept.
    """
    groups = sorted(set(species.tolist())) if config.per_centre_species else [ALL]
    ones = {s: density(expansion, coefficients if s == ALL else coefficients[species == s]) for s in groups}
    before = ones
    levels: dict[int, list[Level]] = {s: [] for s in groups}
    for nu in range(2, config.nu + 1):
        found: dict[int, dict[Irrep, Components]] = {s: {} for s in groups}
        irreps = wanted(nu, config, max(expansion.counts))
        for target in show(irreps, f"nu = {nu}", len(irreps)):
            for s, part in _components(nu, target, before, ones, config).items():
                found[s][target] = part
        for s in groups:
            levels[s].append(found[s])
        if nu < config.nu:
            before = {s: _passed_on(found[s], before[s], ones[s], config) for s in groups}
    return Multispectrum(expansion, levels)


def wanted(nu: int, config: MultispectrumConfig, l_max: int) -> list[Irrep]:
    """The irreps of order nu that the next order needs or the configuration requests."""
    if nu < config.nu:
        degrees = range((l_max if config.l_max is None else config.l_max) + 1)
        return [Irrep(l, parity) for l in degrees for parity in (1, -1)]
    asked = {Irrep(l, parity) for l in config.equivariants for parity in (1, -1)}
    return sorted(asked | {INVARIANT})


def pairs_of(
    target: Irrep, before: Mapping[Irrep, Array], one: Mapping[Irrep, Array], number: int | None, same: bool
) -> tuple[NDArray[np.int32], Array]:
    """The products of an irrep: pairs (P, 5) as in `Components`, and the square root of how often each counts, (P,).

    before, one: variances (channels,) of both factors; the `number` products with the largest are kept.
    same: whether both factors are the density, so that each pair occurs only once.
    """
    pairs, variances = [], []
    for (l1, parity), of_first in sorted(before.items()):
        for (l2, _), of_second in sorted(one.items()):
            odd = (l1 + l2 + target.l) % 2
            if not abs(l1 - l2) <= target.l <= l1 + l2 or parity * (-1) ** odd != target.parity:
                continue
            q, n = (index.ravel() for index in np.indices((len(of_first), len(of_second))))
            if same:
                kept = l1 < l2 if l1 != l2 else (q < n if odd else q <= n)
                q, n = q[np.broadcast_to(kept, q.shape)], n[np.broadcast_to(kept, n.shape)]
            pairs.append(np.stack([np.full_like(q, l1), np.full_like(q, parity), q, np.full_like(q, l2), n], axis=1))
            variances.append(of_first[q] * of_second[n])
    if not sum(map(len, pairs)):
        return np.zeros((0, 5), dtype=np.int32), np.zeros(0)
    every, importance = np.concatenate(pairs), np.concatenate(variances)
    twice = (every[:, 0] != every[:, 3]) | (every[:, 2] != every[:, 4]) if same else np.zeros(len(every), dtype=bool)
    chosen = np.sort(np.argsort(-importance * (1 + twice), kind="stable")[:number])
    return every[chosen].astype(np.int32), np.sqrt(1.0 + twice[chosen])


def _components(
    nu: int,
    target: Irrep,
    before: Mapping[int, Equivariants],
    ones: Mapping[int, Equivariants],
    config: MultispectrumConfig,
) -> dict[int, Components]:
    """The components of one irrep for every group of centres; empty if there is no product."""
    pairs, weights, spectra, vectors = {}, {}, {}, {}
    for s, one in ones.items():
        pairs[s], weights[s] = pairs_of(target, variances(before[s]), variances(one), config.num_expand, nu == 2)
        if not len(pairs[s]):
            return {}
        products = Components(target, pairs[s], np.zeros((len(pairs[s]), 0)), np.zeros(0))
        second = _second_moments(products, before[s], one) * np.outer(weights[s], weights[s])
        spectra[s], vectors[s] = principal(second)
    count = _how_many(list(spectra.values()), target, config)
    smallest = min(part.shape[1] for one in ones.values() for part in one.values())
    if count >= smallest < len(weights[min(weights)]):
        raise InputError(
            f"multispectrum: {smallest} centres {'of one species ' if config.per_centre_species else ''}"
            f"do not determine {count} components (nu = {nu}, l = {target.l}); give more structures, or keep fewer"
        )
    made = {}
    for s, u in vectors.items():
        kept = np.where((spectra[s][:count] > RANK * spectra[s].sum())[:, None], u[:count], 0.0)
        matrix = np.ascontiguousarray((kept * weights[s]).T)
        made[s] = Components(target, pairs[s], matrix, spectra[s])
    return made


def _how_many(spectra: Sequence[Array], target: Irrep, config: MultispectrumConfig) -> int:
    """Number of components to keep: no more than requested, and none that is only rounding."""
    most = config.n_components
    if target == INVARIANT and config.n_invariants is not None:
        most = config.n_invariants
    rank = max(int((values > RANK * values.sum()).sum()) for values in spectra)
    return max(1, min(rank, enough(spectra, most, config.residual_variance)))


def _passed_on(level: Level, before: Equivariants, one: Equivariants, config: MultispectrumConfig) -> Equivariants:
    """The factors of the next order: the first components of every irrep, for all centres."""
    counts = {irrep: part.matrix.shape[1] for irrep, part in level.items()}
    if config.n_components is not None:
        counts = {irrep: min(count, config.n_components) for irrep, count in counts.items()}
    centres = next(iter(one.values())).shape[1]
    floats = centres * sum((2 * irrep.l + 1) * count for irrep, count in counts.items())
    require_memory(2 * 8.0 * floats, "the equivariants of all centres", "keep fewer components, or give fewer centres")
    out = {irrep: np.empty((2 * irrep.l + 1, centres, count)) for irrep, count in counts.items()}
    for irrep, part in level.items():
        first = Components(irrep, part.pairs, part.matrix[:, : counts[irrep]], part.variances)
        for rows in blocks(first, centres):
            out[irrep][:, rows] = first.values(*({k: v[:, rows] for k, v in x.items()} for x in (before, one)))
    return out


def _second_moments(products: Components, before: Equivariants, one: Equivariants) -> Array:
    """(P, P), as above."""
    number = len(products.pairs)
    what = f"the second moments of {number} products (l = {products.target.l})"
    require_memory(4 * 8.0 * number**2, what, "make num_expand smaller")
    total, centres = np.zeros((number, number)), next(iter(one.values())).shape[1]
    for rows in blocks(products, centres):
        left, right = ({irrep: part[:, rows] for irrep, part in factor.items()} for factor in (before, one))
        parts = [c.values(left[c.left], right[c.right]) for c, _ in products.coupled]
        flat = np.concatenate(parts, axis=2).reshape(-1, number)
        total += flat.T @ flat
    return total / centres


def blocks(products: Components, centres: int) -> Iterator[slice]:
    """Ranges of centres whose products fit into the work space."""
    floats = max(c.floats for c, _ in products.coupled) + 2 * (2 * products.target.l + 1) * len(products.pairs)
    step = centres_at_once(floats)
    return (slice(start, start + step) for start in range(0, centres, step))


def variances(factor: Equivariants) -> dict[Irrep, Array]:
    """Mean squared length of every channel, (channels,)."""
    return {irrep: np.einsum("mck,mck->k", part, part) / part.shape[1] for irrep, part in factor.items()}
