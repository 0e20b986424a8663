"""PACE potentials in the files of ICAMS's programs (`.yace`, and the older `.ace`), read as `PaceModel`.

Such a file contains functions sum_m c_m A_(mu1 n1 l1 m1) A_(mu2 n2 l2 m2) ... of complex coefficients A, whose real
part is used. The c_m for each combination of m result from generalised Clebsch-Gordan coefficients (Lysogorskiy et al.,
npj Comput. Mater. 7, 97 (2021)). Because these polynomials are invariant under rotations, they are, for given channels,
linear combinations of the coupled products of `representation.products`. The weights solve a small linear system: two
such polynomials are equal if they agree at more random points than there are functions.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from numpy.typing import NDArray

from ...errors import InputError
from ...frame import Array
from ...representation.couplings import complex_from_real, n_invariants
from ...representation.expansion import L_MAX
from ...representation.products import Channel, coupled_values, independent
from ...sections import explain
from ..pace import HIGHEST_ORDER, PaceEmbedding, PaceModel
from ..pace_radial import PaceBond

EXACT = 1e-8  # largest relative deviation of an invariant polynomial from the coupled products
MOST = 2000  # couplings of the channels of one function, at most
NOTHING = 1e-13  # weights below this fraction of the largest one for the same channels are zero


@dataclass(frozen=True)
class Function:
    """One function of a file: species and n (from 0) and l of its channels, m (M, order), and c (M, P)."""

    species: tuple[int, ...]
    n: tuple[int, ...]
    l: tuple[int, ...]
    m: NDArray[np.int64]
    c: Array


@dataclass(frozen=True)
class Content:
    """The content of a file; species are numbered as in the file."""

    elements: Sequence[str]
    energies: Sequence[float]
    embeddings: Mapping[int, Mapping[str, Any]]
    bonds: Mapping[tuple[int, int], Mapping[str, Any]]
    radial: Mapping[tuple[int, int], Array]
    functions: Mapping[int, Sequence[Function]]


def load(path: Path) -> PaceModel:
    """Reads a file; `InputError` if it is not such a potential, or if it uses something unsupported, which is named."""
    path = Path(path)
    try:
        text = path.read_text()
        model = _model(_text(text) if path.suffix == ".ace" else _yaml(text))
        model.check()
    except pydantic.ValidationError as error:
        raise InputError(f"potential {path}: {explain(error, 'it', PaceModel.HEADER)}") from error
    except InputError as error:
        raise InputError(f"potential {path}: {error}") from error
    except Exception as error:  # YAML can hold anything in any place
        raise InputError(f"potential {path}: is not a PACE potential that can be read: {_words(error)}") from error
    return model


def _words(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error).replace("\n", " ")


def _model(content: Content) -> PaceModel:
    from ase.data import atomic_numbers

    numbers = [_number(symbol, atomic_numbers) for symbol in content.elements]
    species = tuple(sorted(numbers))
    if len(set(species)) < len(species):
        raise ValueError(f"elements: {' '.join(content.elements)} are not different")
    bonds = {}
    for a, first in enumerate(numbers):
        for b, second in enumerate(numbers):
            if (a, b) not in content.bonds:
                raise ValueError(f"bonds: there is none of {content.elements[a]} with {content.elements[b]}")
            bonds[first, second] = PaceBond(centre=first, neighbour=second, **content.bonds[a, b])
    embeddings = {z: PaceEmbedding(**_of(content.embeddings, k, "embeddings", content)) for k, z in enumerate(numbers)}
    place = [species.index(number) for number in numbers]
    firsts, functions, weights = {}, {}, {}
    for k, z in enumerate(numbers):
        mine, densities = content.functions.get(k, ()), len(embeddings[z].prefactors)
        for function in mine:
            _check(function, content, k, densities)
        for b, neighbour in enumerate(numbers):
            firsts[z, neighbour] = _first_order(mine, b, bonds[z, neighbour].n_base, densities)
        functions[z], weights[z] = coupled([f for f in mine if len(f.l) > 1], place, densities)
    return PaceModel(
        species=species,
        energies={z: float(energy) for z, energy in zip(numbers, content.energies, strict=True)},
        bonds=bonds,
        embeddings=embeddings,
        radial={(numbers[a], numbers[b]): array for (a, b), array in content.radial.items()},
        first=firsts,
        functions=functions,
        weights=weights,
        summary={"made_by": "pacemaker", "functions": sum(map(len, content.functions.values()))},
    )


def _number(symbol: str, known: Mapping[str, int]) -> int:
    if symbol not in known or symbol == "X":
        raise ValueError(f"elements: {symbol!r} is not a chemical element")
    return known[symbol]


def _of(parts: Mapping[int, Any], number: int, name: str, content: Content) -> Any:
    if number not in parts:
        raise ValueError(f"{name}: there is none of {content.elements[number]}")
    return parts[number]


def _check(function: Function, content: Content, centre: int, densities: int) -> None:
    order = len(function.l)
    name = f"function n = {[n + 1 for n in function.n]}, l = {list(function.l)} of {content.elements[centre]}"
    if order > HIGHEST_ORDER:
        raise ValueError(f"{name}: has rank {order}, ranks up to {HIGHEST_ORDER} are read")
    if max(function.l) > L_MAX:
        raise ValueError(f"{name}: l up to {L_MAX} are read")
    if n_invariants(function.l, range(order)) > MOST:
        raise ValueError(f"{name}: there are too many couplings of these l (more than {MOST})")
    if not (len(function.species) == len(function.n) == order and function.m.shape[1] == order):
        raise ValueError(f"{name}: mus, ns, ls and ms_combs do not fit each other")
    if function.c.shape != (len(function.m), densities):
        raise ValueError(f"{name}: {function.c.size} ctildes for {len(function.m)} ms_combs and {densities} densities")
    if not np.isfinite(function.c).all():
        raise ValueError(f"{name}: a coefficient is not a finite number")
    if (np.abs(function.m) > np.array(function.l)).any():
        raise ValueError(f"{name}: ms_combs has an m that is larger than its l")
    for species, n, l in zip(function.species, function.n, function.l, strict=True):
        if not 0 <= species < len(content.elements):
            raise ValueError(f"{name}: names element {species} (counted from 0) of {len(content.elements)}")
        known = content.radial[centre, species].shape
        if order == 1 and (l != 0 or not 0 <= n < known[2]):
            raise ValueError(f"{name}: there are {known[2]} base functions of l = 0 for functions of rank 1")
        if order > 1 and not (0 <= n < known[0] and l < known[1]):
            raise ValueError(f"{name}: there are {known[0]} radial functions of l up to {known[1] - 1}")


def _first_order(functions: Iterable[Function], neighbour: int, n_base: int, densities: int) -> Array:
    """The weights v_pk (P, K) of the functions of order one."""
    found = np.zeros((densities, n_base))
    for function in functions:
        if len(function.l) == 1 and function.species[0] == neighbour:
            found[:, function.n[0]] += function.c.sum(axis=0)
    return found


def coupled(functions: Iterable[Function], place: Sequence[int], densities: int) -> tuple[NDArray[np.int32], Array]:
    """Rows of `products` (M, columns) and weights (P, M) that give the same sums of polynomials.

    place: block of each species of the file. `ValueError` if a function is not invariant under rotations.
    """
    values: dict[tuple[Channel, ...], Array] = {}
    for function in functions:
        channels = [Channel(place[s], n, l) for s, n, l in zip(function.species, function.n, function.l, strict=True)]
        order = sorted(range(len(channels)), key=lambda k: (channels[k].l, channels[k].n, channels[k].block))
        key = tuple(channels[k] for k in order)
        degrees, names = _pattern(key)
        m = np.ascontiguousarray(function.m[:, order])
        added = _monomials(degrees, names, m.tobytes()) @ function.c
        values[key] = values[key] + added if key in values else added
    highest = max(4, max(map(len, values), default=4))
    rows, weights = [], []
    for channels_of, value in sorted(values.items(), key=lambda item: (len(item[0]), item[0])):
        for inner, weight in _weights(channels_of, value):
            rows.append(_row(channels_of, inner, highest))
            weights.append(weight)
    return (
        np.array(rows, dtype=np.int32).reshape(-1, 4 * highest - 3),
        np.array(weights, dtype=np.float64).reshape(-1, densities).T.copy(),
    )


def _pattern(channels: Sequence[Channel]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    names = {channel: number for number, channel in enumerate(dict.fromkeys(channels))}
    return tuple(c.l for c in channels), tuple(names[c] for c in channels)


def _row(channels: Sequence[Channel], inner: Sequence[int], highest: int) -> list[int]:
    from ...representation.products import halves

    parts = np.full(3 * highest, -1)
    parts[: 3 * len(channels)] = np.ravel(channels)
    rest = np.full(highest - 3, -1)
    first, second = (max(half - 2, 0) for half in halves(len(channels)))
    rest[:first] = inner[:first]
    cut = max(halves(highest)[0] - 2, 0)
    rest[cut : cut + second] = inner[first : first + second]
    rest[-1] = inner[-1]
    return [*parts.tolist(), *rest.tolist()]


def _weights(channels: Sequence[Channel], value: Array) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Inner degrees and weights (P,) of the coupled products that reproduce these values (samples, P)."""
    degrees, names = _pattern(channels)
    inner, design = _design(degrees, names)
    weights = np.linalg.lstsq(design, value, rcond=None)[0] if inner else np.zeros((0, value.shape[1]))
    worst = np.abs(design @ weights - value).max(initial=0.0)
    scale = np.abs(value).max(initial=0.0)
    if worst > EXACT * max(scale, 1e-300) and scale > 1e-14:
        told = ", ".join(f"n = {c.n + 1}, l = {c.l}" for c in channels)
        raise ValueError(f"function of channels {told}: rotations or inversion change it (by {worst / scale:.1e})")
    largest = np.abs(weights).max(initial=0.0)
    for degrees_of, weight in zip(inner, weights, strict=True):
        if np.abs(weight).max() > NOTHING * largest:
            yield degrees_of, weight


@lru_cache(maxsize=4096)
def _samples(degrees: tuple[int, ...], names: tuple[int, ...]) -> dict[int, Array]:
    """Components (samples, 2 l + 1) of every channel at random points."""
    count = len(independent(degrees, names)) + 12
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=(count, 2 * l + 1)) for name, l in zip(names, degrees, strict=True)}


@lru_cache(maxsize=4096)
def _design(degrees: tuple[int, ...], names: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], ...], Array]:
    """Inner degrees, and the values (samples, functions) of the coupled products, with their norms."""
    inner, vectors = independent(degrees, names), _samples(degrees, names)
    columns = [coupled_values([vectors[name] for name in names], one) / np.sqrt(2 * one[-1] + 1) for one in inner]
    return inner, np.column_stack(columns) if columns else np.zeros((12, 0))


@lru_cache(maxsize=4096)
def _monomials(degrees: tuple[int, ...], names: tuple[int, ...], packed: bytes) -> Array:
    """Real parts (samples, M) of the products of complex components with these m (M, order)."""
    m = np.frombuffer(packed, dtype=np.int64).reshape(-1, len(degrees))
    product: Any = 1.0
    for l, name, column in zip(degrees, names, m.T, strict=True):
        components = _samples(degrees, names)[name] @ complex_from_real(l).conj()
        product = product * components[:, column + l]
    return np.sqrt(4 * np.pi) ** len(degrees) * np.ascontiguousarray(product.real)


def _yaml(text: str) -> Content:
    content = _parsed(text)
    if "species" in content and "bonds" not in content:
        raise InputError("is a B basis of pacemaker; `pace_yaml2yace` (of python-ace) makes a .yace of it")
    if "emb_spec" in content or "radial_basis" in content:
        raise InputError("is a GRACE/FS potential; PACE potentials (.yace) are read only")
    elements = content["elements"]
    bonds, radial = {}, {}
    for key, bond in content["bonds"].items():
        pair = _pair(key)
        bonds[pair], radial[pair] = _bond(bond, float(content["deltaSplineBins"]))
    return Content(
        elements=elements,
        energies=[float(energy) for energy in content["E0"]],
        embeddings={int(key): _embedding(part) for key, part in content["embeddings"].items()},
        bonds=bonds,
        radial=radial,
        functions={int(key): [_function(f, int(key)) for f in part] for key, part in content["functions"].items()},
    )


def _parsed(text: str) -> dict[Any, Any]:
    """The content of a YAML file with all scalars as text and sequences as keys."""
    try:
        import yaml
    except ImportError as error:
        raise InputError("reading a .yace file needs PyYAML: pip install pyyaml") from error
    base: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

    class Loader(base):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            values = [self.construct_object(value, deep=True) for _, value in node.value]
            return {tuple(k) if isinstance(k, list) else k: v for k, v in zip(keys, values, strict=True)}

    Loader.add_constructor(base.DEFAULT_MAPPING_TAG, lambda loader, node: loader.construct_mapping(node))
    try:
        content = yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"it is not complete, or no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError("it is no mapping of sections")
    return content


def _pair(key: Any) -> tuple[int, int]:
    first, second = key
    return int(first), int(second)


def _bond(bond: Mapping[str, Any], bin_width: float) -> tuple[dict[str, Any], Array]:
    radial = bond["radbasename"]
    coefficients = np.array(bond["radcoefficients"], dtype=np.float64)
    shape = int(bond["nradmax"]), int(bond["lmax"]) + 1, int(bond["nradbasemax"])
    if coefficients.size == 0:
        coefficients = coefficients.reshape(shape)
    if coefficients.shape != shape:
        raise ValueError(f"radcoefficients: have the shape {coefficients.shape}, must have {shape}")
    return {
        "radial": _known(radial),
        "n_base": shape[2],
        "parameter": float(bond["radparameters"][0]),
        "cutoff_angstrom": float(bond["rcut"]),
        "smoothing_angstrom": float(bond["dcut"]),
        "inner": _inner(bond.get("inner_cutoff_type", "density")),
        "inner_angstrom": float(bond.get("rcut_in", 0)),
        "inner_smoothing_angstrom": float(bond.get("dcut_in", 0)),
        "bin_angstrom": bin_width,
        "core_ev_angstrom": float(bond["prehc"]),
        "core_per_angstrom2": float(bond["lambdahc"]),
    }, coefficients


def _known(name: str) -> str:
    known = ("ChebExpCos", "ChebPow", "ChebLinear", "SBessel")
    if name == "TEST_SBessel":
        return "SBessel"
    if name not in known:
        raise InputError(f"radial functions {name!r} are not known; those that are read are {', '.join(known)}")
    return name


def _inner(name: str) -> str:
    known = ("density", "distance", "zbl")
    if name not in known:
        raise InputError(f"inner_cutoff_type {name!r} is not known; those that are read are {', '.join(known)}")
    return name


def _embedding(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part["npoti"]
    if kind not in ("FinnisSinclair", "FinnisSinclairShiftedScaled"):
        raise InputError(f"embedding {kind!r} is not known; FinnisSinclair and FinnisSinclairShiftedScaled are read")
    parameters = [float(x) for x in part["FS_parameters"]]
    count = int(part["ndensity"])
    if len(parameters) < 2 * count:
        raise ValueError(f"embeddings: {len(parameters)} FS_parameters for {count} densities, must be twice as many")
    return {
        "kind": kind,
        "prefactors": tuple(parameters[0 : 2 * count : 2]),
        "exponents": tuple(parameters[1 : 2 * count : 2]),
        "core_cutoff_ev": float(part["rho_core_cutoff"]),
        "core_width_ev": float(part["drho_core_cutoff"]),
    }


def _function(part: Mapping[str, Any], centre: int) -> Function:
    rank, count, densities = (int(part[name]) for name in ("rank", "num_ms_combs", "ndensity"))
    if int(part["mu0"]) != centre:
        raise ValueError(f"functions: one of element {part['mu0']} is among those of element {centre}")
    return Function(
        species=tuple(map(int, part["mus"])),
        n=tuple(int(n) - 1 for n in part["ns"]),
        l=tuple(map(int, part["ls"])),
        m=np.array(part["ms_combs"], dtype=np.int64).reshape(count, rank),
        c=np.array(part["ctildes"], dtype=np.float64).reshape(count, densities),
    )


def _text(text: str) -> Content:
    """The content of an .ace file, which has a single species."""
    head, *blocks = text.split("ctilde_basis_func:")
    found = re.findall(r"^\s*(?:\d+ )?([A-Za-z][\w\- ]*?)\s*[=:](.*?)(?=^\s*(?:\d+ )?[A-Za-z][\w\- ]*?\s*[=:]|\Z)",
                       head, flags=re.MULTILINE | re.DOTALL)  # fmt: skip
    values = {name: value.split() for name, value in found}

    def numbers(name: str) -> list[float]:
        return [float(value) for value in values[name]]

    if int(values["nelements"][0]) != 1:
        raise InputError(
            f"has {values['nelements'][0]} elements; .ace files of one element are read. Give the .yace of this "
            "potential, the newer format, which is read for several"
        )
    l_max, n_base, n_max = (int(values[name][0]) for name in ("lmax", "nradbase", "nradmax"))
    parameters = [float(x) for x in values["FS parameters"]]
    kind = values.get("embedding-function", ["FinnisSinclair"])[0]
    if "embedding-function" not in values and set(parameters[1::2]) != {1.0}:
        raise InputError("has an embedding without its name (embedding-function)")
    core, repulsion = numbers("core energy-cutoff parameters"), numbers("core repulsion parameters")
    crad = np.array(numbers("crad")).reshape(n_base, n_max, l_max + 1).transpose(1, 2, 0)
    radial = _known(values["radbasename"][0])
    bond = {
        "radial": radial,
        "n_base": n_base,
        "parameter": numbers("radparameter")[0],
        "cutoff_angstrom": numbers("cutoff")[0],
        "smoothing_angstrom": numbers("dcut")[0],
        "bin_angstrom": numbers("deltaSplineBins")[0],
        "core_ev_angstrom": repulsion[0],
        "core_per_angstrom2": repulsion[1],
    }
    densities = int(re.findall(r"ndensitymax=\s*(\d+)", text)[0])
    embedding = {
        "npoti": kind,
        "ndensity": densities,
        "FS_parameters": parameters,
        "rho_core_cutoff": core[0],
        "drho_core_cutoff": core[1],
    }
    return Content(
        elements=values["elements"][:1],
        energies=[float(values.get("E0", ["0"])[0])],
        embeddings={0: _embedding(embedding)},
        bonds={(0, 0): bond},
        radial={(0, 0): np.ascontiguousarray(crad)},
        functions={0: [_text_function(block, densities) for block in blocks]},
    )


def _text_function(block: str, densities: int) -> Function:
    def part(name: str) -> tuple[int, ...]:
        return tuple(map(int, re.findall(rf"\b{name}=\(([^)]*)\)", block)[0].split()))

    terms = re.findall(r"<([^>]*)>:([^<]*?)(?=<|total|$)", block.split("num_ms", 1)[1], flags=re.DOTALL)
    return Function(
        species=part("mu"),
        n=tuple(n - 1 for n in part("n")),
        l=part("l"),
        m=np.array([list(map(int, m.split())) for m, _ in terms], dtype=np.int64),
        c=np.array([list(map(float, c.split()[:densities])) for _, c in terms]),
    )
