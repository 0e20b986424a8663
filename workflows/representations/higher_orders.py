"""(d): what truncations leave out of multispectra, against the rule that retained fractions multiply."""

from functools import cache
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase.io import read
from common import RESULTS, section
from scipy.spatial.transform import Rotation

from forceserver.frame import Frame
from forceserver.representation.couplings import real_clebsch_gordan
from forceserver.representation.expansion import ExpansionBasis
from forceserver.representation.multispectrum import INVARIANT
from forceserver.representation.multispectrum_config import MultispectrumConfig
from forceserver.representation.multispectrum_fit import all_coefficients, fit

SHAPE = (8, 3, 4.0, 0.4, 1.0)
CHANNELS = (4, 8, 12, 16, 20, 24, 28)
SMALL = (4, 2, 4.0, 0.4, 1.0)
FEW = 4  # channels of the second part
COMPONENTS = (3, 5, 8, 12, 20)


def residual_variance(every: int, molecules: Path) -> dict:
    """Of the invariants of order 1 to 4: fewer channels of the density, then fewer components of each order."""
    structures = read(molecules, f"::{every}")
    found = {"structures": len(structures), "density": density_truncated(structures)}
    found |= {"contracted": contracted(structures)}
    _draw(found)
    return found


def density_truncated(structures: list) -> dict:
    """Channels -> retained fraction of the density, and what is left of every order, by integrals and by two rules.

    The rule of powers of what is retained of order 1 (l = 0), and of the whole density with all l."""
    whole = _coefficients(structures, SHAPE, None)
    full = lengths(*whole)
    found = {}
    for q in CHANNELS:
        expansion, c = _coefficients(structures, SHAPE, q)
        kept = lengths(expansion, c)
        retained = squares(expansion, c) / squares(*whole)
        of_invariants = kept[1] / full[1]
        found[q] = {
            "retained": retained,
            "measured": [1 - kept[nu] / full[nu] for nu in range(1, 5)],
            "rule": [1 - of_invariants**nu for nu in range(1, 5)],
            "rule, whole density": [1 - retained**nu for nu in range(1, 5)],
        }
    return found


def contracted(structures: list) -> dict:
    """Components -> what is left of orders 2 to 4 by rule, and by the lengths of the invariants that are kept."""
    expansion, c = _coefficients(structures, SMALL, FEW)
    species = np.ones(len(c), dtype=np.int32)
    total = lengths(expansion, c)
    found = {}
    for k in COMPONENTS:
        config = MultispectrumConfig(nu=4, n_components=k, num_expand=None, l_max=4)
        spectrum = fit(expansion, c, species, config)
        x = spectrum.values(c, species)
        measured, rule, before = [], [], 1.0
        for nu, level in enumerate(spectrum.levels[0], 2):
            kept = (x[:, spectrum.order_of == nu] ** 2).sum(axis=1).mean()
            measured.append(1 - kept / total[nu])
            of_invariants = fraction([level[INVARIANT]])
            rule.append(1 - before * of_invariants)
            before *= fraction(level.values())
        found[k] = {"measured": measured, "rule": rule}
    return found


def fraction(parts) -> float:
    """Of the variance that is kept."""
    parts = list(parts)
    return sum(p.variances[: p.matrix.shape[1]].sum() for p in parts) / sum(p.variances.sum() for p in parts)


def _coefficients(structures: list, shape: tuple, channels: int | None) -> tuple[ExpansionBasis, np.ndarray]:
    keys = {} if channels is None else {"contraction": {"mixed": True, "q_max": channels}}
    expansion = section(*shape, **keys).expansion_basis(structures)
    return expansion, all_coefficients(expansion, [Frame.of(atoms) for atoms in structures])[0].copy()


def squares(expansion: ExpansionBasis, c: np.ndarray) -> float:
    """Mean over centres of sum_nlm c^2."""
    return sum((part**2).sum() for part in expansion.split(c).values()) / len(c)


def lengths(expansion: ExpansionBasis, c: np.ndarray) -> dict[int, float]:
    """Mean squared length of all invariants of order nu: the mean of overlaps with turned copies, to the power nu."""
    grams = {l: np.einsum("iamq,ianq->imn", part, part) for l, part in expansion.split(c).items()}
    number = 4 * max(grams) + 1
    nodes, weights = np.polynomial.legendre.leggauss(number)
    angles = 2 * np.pi * np.arange(number) / number
    total = dict.fromkeys(range(1, 5), 0.0)
    flat = np.concatenate([gram.reshape(len(c), -1) for gram in grams.values()], axis=1)
    for cos, weight in zip(nodes, weights, strict=True):
        turns = [turned(a, np.arccos(cos), b, max(grams)) for a, b in product(angles, angles)]
        for sign in (1, -1):
            matrix = np.stack([np.concatenate([sign**l * t[l].ravel() for l in grams]) for t in turns])
            overlap = flat @ matrix.T
            for nu in total:
                total[nu] += float(weight / 4 / number**2 * (overlap**nu).sum(axis=1).mean())
    return total


@cache
def turned(a: float, b: float, c: float, l_max: int) -> list[np.ndarray]:
    """Rotation matrices of real harmonics, m = -l .. l (y, z, x for l = 1)."""
    order = [1, 2, 0]
    matrix = Rotation.from_euler("zyz", [a, b, c]).as_matrix()
    found = [np.ones((1, 1)), matrix[np.ix_(order, order)]]
    for l in range(2, l_max + 1):
        coupling = real_clebsch_gordan(l - 1, 1, l)
        found.append(np.einsum("abc,ad,be,def->cf", coupling, found[-1], found[1], coupling, optimize=True))
    return found


def _draw(found: dict) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.6, 2.7), layout="constrained")
    for axis, curves, first in ((left, found["density"], 1), (right, found["contracted"], 2)):
        x = list(curves)
        for k in range(len(curves[x[0]]["rule"])):
            axis.semilogy(x, [curves[q]["measured"][k] for q in x], ".-", color=f"C{k}", label=f"ν = {first + k}")
            axis.semilogy(x, [curves[q]["rule"][k] for q in x], ":", color=f"C{k}")
        axis.set(ylabel="residual variance of invariants")
        axis.legend(title="dotted: rule")
    left.set(xlabel="channels of the density", title="density truncated")
    right.set(xlabel="components of each λ, parity and order", title="orders contracted")
    figure.savefig(RESULTS / "multispectra.png", dpi=110)
