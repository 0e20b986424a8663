"""PACE potentials with random coefficients, small and quick to write, in the format of pacemaker (.yace, .ace).

Every function is an invariant: coefficients of products of complex harmonics are those of a chain of Clebsch-Gordan
couplings to L = 0, times random weights. As in files of pacemaker, of two products that are complex conjugates one is
there, with twice the coefficient.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from forceserver.representation.couplings import wigner_3j


def clebsch_gordan(l1: int, m1: int, l2: int, m2: int, l: int) -> float:
    """<l1 m1 l2 m2 | l m1 + m2>, for complex harmonics with Condon-Shortley phase."""
    return (-1) ** (l1 - l2 + m1 + m2) * np.sqrt(2 * l + 1) * wigner_3j(l1, l2, l, m1, m2)


def chains(ls: Sequence[int]) -> Iterator[list[int]]:
    """All degrees that the couplings of these, one after the other, can have, the last being zero."""
    found = [[ls[0]]]
    for l in ls[1:]:
        found = [[*chain, k] for chain in found for k in range(abs(chain[-1] - l), chain[-1] + l + 1)]
    return (chain for chain in found if chain[-1] == 0)


def invariant(ls: Sequence[int], rng: np.random.Generator, densities: int) -> tuple[list[int], list[float]]:
    """`ms_combs` and `ctildes` of a random invariant of channels of these degrees."""
    found: dict[tuple[int, ...], np.ndarray] = {}
    for chain in chains(ls):
        weight = rng.normal(size=densities)
        for ms in product(*(range(-l, l + 1) for l in ls)):
            if sum(ms) != 0:
                continue
            factor, m = 1.0, ms[0]
            for l, next_m, before, after in zip(ls[1:], ms[1:], chain, chain[1:], strict=False):
                if abs(m + next_m) > after:
                    factor = 0.0
                    break
                factor *= clebsch_gordan(before, m, l, next_m, after)
                m += next_m
            key = max(ms, tuple(-m for m in ms))
            found[key] = found.get(key, 0.0) + factor * weight
    terms = [(ms, c) for ms, c in sorted(found.items()) if np.abs(c).max() > 1e-12]
    return [m for ms, _ in terms for m in ms], [float(x) for _, c in terms for x in c]


def functions(
    species: Sequence[int], shapes: Sequence[Sequence[int]], n_max: int, n_base: int, densities: int, rng, scale: float
) -> Iterator[dict[str, Any]]:
    """Functions of one element: all of rank one, and one of each of these lists of l, with random channels."""
    for mu in species:
        for n in range(n_base):
            c = scale * rng.normal(size=densities) / (1 + n)
            yield _function([mu], [n + 1], [0], [0], c.tolist())
    for ls in shapes:
        mus = sorted(int(mu) for mu in rng.choice(species, len(ls)))
        ns = [int(n) for n in rng.integers(1, n_max + 1, size=len(ls))]
        ms, c = invariant(ls, rng, densities)
        if c:
            yield _function(mus, ns, list(ls), ms, [scale * x / len(ls) for x in c])


def _function(mus, ns, ls, ms, c) -> dict[str, Any]:
    count = len(ms) // len(ls)
    return {
        "rank": len(ls), "ndensity": len(c) // count, "num_ms_combs": count, "mus": mus, "ns": ns, "ls": ls,
        "ms_combs": ms, "ctildes": c,
    }  # fmt: skip


def bond(radial: str, parameter: float, n_max: int, l_max: int, n_base: int, rng, **others: Any) -> dict[str, Any]:
    """A bond with random radial functions."""
    coefficients = rng.normal(size=(n_max, l_max + 1, n_base)) / (1 + np.arange(n_base))
    return {
        "nradmax": n_max, "lmax": l_max, "nradbasemax": n_base, "radbasename": radial, "radparameters": [parameter],
        "radcoefficients": coefficients.tolist(), "prehc": 0.0, "lambdahc": 1.0, "rcut": 5.0, "dcut": 0.01,
        "rcut_in": 0.0, "dcut_in": 0.0, "inner_cutoff_type": "density", **others,
    }  # fmt: skip


def embedding(npoti: str, parameters: Sequence[float], core: float = 1e5, width: float = 250.0) -> dict[str, Any]:
    """An embedding of half as many densities as there are parameters."""
    return {
        "ndensity": len(parameters) // 2, "FS_parameters": list(parameters), "npoti": npoti, "rho_core_cutoff": core,
        "drho_core_cutoff": width,
    }  # fmt: skip


SHAPES = [[1, 1], [2, 2], [0, 0, 0], [1, 1, 2], [2, 2, 2], [0, 1, 1, 2], [1, 1, 1, 1], [1, 2, 2, 3]]


def copper() -> dict[str, Any]:
    """A potential of copper, to be altered."""
    return deepcopy(_copper())


@cache
def _copper() -> dict[str, Any]:
    """One element, ranks to six, two densities, a core repulsion that switches the rest off."""
    rng = np.random.default_rng(1)
    shapes = [*SHAPES, [3, 3], [0, 0, 0, 0, 0], [1, 1, 1, 1, 2], [1, 1, 1, 1, 1, 1]]
    core = {"prehc": 120.0, "lambdahc": 1.5, "rcut": 4.5}
    of_cu = list(functions([0], shapes, 3, 5, 2, rng, 0.2))
    return {
        "elements": ["Cu"],
        "E0": [-0.5],
        "embeddings": {0: embedding("FinnisSinclairShiftedScaled", [1.0, 1.0, -0.7, 0.5], 8.0, 6.0)},
        "bonds": {(0, 0): bond("SBessel", 5.25, 3, 3, 5, rng, **core)},
        "functions": {0: of_cu},
    }


def aluminium_nickel() -> dict[str, Any]:
    """Two elements in another order than their numbers, other radial functions and cutoffs for each pair."""
    rng = np.random.default_rng(2)
    inner = {"inner_cutoff_type": "distance", "rcut_in": 1.6, "dcut_in": 0.4, "prehc": 90.0, "lambdahc": 2.0}
    return {
        "elements": ["Ni", "Al"],
        "E0": [0.0, 0.25],
        "embeddings": {
            0: embedding("FinnisSinclair", [1.0, 1.0, -0.6, 0.5]),
            1: embedding("FinnisSinclairShiftedScaled", [1.0, 0.8]),
        },
        "bonds": {
            (0, 0): bond("ChebExpCos", 5.25, 2, 3, 4, rng, **inner),
            (0, 1): bond("ChebPow", 2.5, 2, 3, 3, rng, **(inner | {"rcut": 4.123})),
            (1, 0): bond("ChebPow", 2.0, 3, 2, 4, rng, **(inner | {"rcut": 4.7})),
            (1, 1): bond("ChebLinear", 1.0, 2, 3, 3, rng, **(inner | {"rcut_in": 0.0, "dcut_in": 0.0})),
        },
        "functions": {
            0: list(functions([0, 1], SHAPES, 2, 3, 2, rng, 0.1)),
            1: list(functions([0, 1], [[1, 1], [0, 1, 1], [1, 1, 1, 1], [2, 2]], 2, 3, 1, rng, 0.1)),
        },
    }


def water() -> dict[str, Any]:
    """Two elements that are switched over to the repulsion of Ziegler, Biersack and Littmark."""
    rng = np.random.default_rng(3)

    def of(rcut: float, rcut_in: float, dcut_in: float, n_max: int = 2) -> dict[str, Any]:
        inner = {"inner_cutoff_type": "zbl", "rcut_in": rcut_in, "dcut_in": dcut_in, "prehc": 1.0}
        return bond("ChebExpCos", 4.0, n_max, 2, 3, rng, rcut=rcut, dcut=0.5, **inner)

    return {
        "elements": ["H", "O"],
        "E0": [-1.0, -2.0],
        "embeddings": {k: embedding("FinnisSinclairShiftedScaled", [1.0, 1.0, 1.0, 0.5]) for k in (0, 1)},
        "bonds": {
            (0, 0): of(3.5, 0.9, 0.3),
            (0, 1): of(4.0, 1.1, 0.25),
            (1, 0): of(4.5, 1.1, 0.25, 3),
            (1, 1): of(4.5, 1.5, 0.5),
        },
        "functions": {k: list(functions([0, 1], SHAPES[:6], 2, 3, 2, rng, 0.1)) for k in (0, 1)},
    }


POTENTIALS = {"copper": copper, "aluminium_nickel": aluminium_nickel, "water": water}


def yace(content: dict[str, Any]) -> str:
    """The text of a .yace file."""

    def flow(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key}: {flow(part)}" for key, part in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(flow, value)) + "]"
        return str(value)

    lines = [f"elements: {flow(content['elements'])}", f"E0: {flow(content['E0'])}", "deltaSplineBins: 0.0002"]
    lines += ["embeddings:", *(f"  {key}: {flow(part)}" for key, part in content["embeddings"].items())]
    lines += ["bonds:", *(f"  {flow(list(key))}: {flow(part)}" for key, part in content["bonds"].items())]
    lines.append("functions:")
    for key, part in content["functions"].items():
        lines += [f"  {key}:", *(f"    - {flow({'mu0': key, **function})}" for function in part)]
    return "\n".join(lines) + "\n"


def ace(content: dict[str, Any]) -> str:
    """The text of an .ace file, of one element."""
    (part,), (one,), found = content["embeddings"].values(), content["bonds"].values(), content["functions"][0]
    crad = np.array(one["radcoefficients"]).transpose(2, 0, 1)
    lines = [
        "# made for a test", "", "nelements=1", f"elements: {content['elements'][0]}", "", f"lmax={one['lmax']}", "",
        f"embedding-function: {part['npoti']}",
        f"{len(part['FS_parameters'])} FS parameters:  {' '.join(map(str, part['FS_parameters']))}",
        f"core energy-cutoff parameters: {part['rho_core_cutoff']} {part['drho_core_cutoff']}",
        f"E0: {content['E0'][0]}", "", f"radbasename={one['radbasename']}", f"nradbase={one['nradbasemax']}",
        f"nradmax={one['nradmax']}", f"cutoffmax={one['rcut']}", "deltaSplineBins=0.000200",
        f"core repulsion parameters: {one['prehc']} {one['lambdahc']}", f"radparameter= {one['radparameters'][0]}",
        f"cutoff= {one['rcut']}", f"dcut= {one['dcut']}", "crad= " + "\n".join(" ".join(map(repr, row)) for row in
        crad.reshape(-1, crad.shape[2]).tolist()), "", f"rankmax={max(f['rank'] for f in found)}",
        f"ndensitymax={part['ndensity']}", "", "num_c_tilde_max=1", "num_ms_combinations_max=1",
    ]  # fmt: skip
    for title, chosen in (("_rank1", [f for f in found if f["rank"] == 1]), ("", [f for f in found if f["rank"] > 1])):
        lines.append(f"total_basis_size{title}: {len(chosen)} ")
        lines += [line for function in chosen for line in _ace_function(function)]
    return "\n".join(lines) + "\n"


def _ace_function(function: dict[str, Any]) -> list[str]:
    rank, count, densities = function["rank"], function["num_ms_combs"], function["ndensity"]
    parts = [("mu", "mus"), ("n", "ns"), ("l", "ls")]
    mu, n, l = (f"{short}=( {'  '.join(map(str, function[name]))} )" for short, name in parts)
    terms = zip(np.reshape(function["ms_combs"], (count, rank)).tolist(),
                np.reshape(function["ctildes"], (count, densities)).tolist(), strict=True)  # fmt: skip
    return [
        f"ctilde_basis_func: rank={rank} ndens={densities} mu0=0 {mu}", n, l, f"num_ms={count}",
        *(f"< {'  '.join(map(str, m))} >:  {'  '.join(map(repr, c))}" for m, c in terms),
    ]  # fmt: skip
