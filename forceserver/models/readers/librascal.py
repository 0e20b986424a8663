"""Sparse kernel models written by librascal (`dump_obj` of a `KRR`), read as `GapModel`.

librascal's numbers (https://github.com/lab-cosmo/librascal) differ from ours in form:

- coefficients are ours divided by 4 (pi / sigma^2)^(3/4), which matters if features are not normalised;
- a feature has no factor (-1)^l. For two neighbours of the same species, both orders of the radial functions are kept;
  if features were selected (`coefficient_subselection`), one that was chosen in one order only has multiplicity 1;
- kernels are (p . q)^zeta; weights include the prior variance, and are in the order of the sparse points.

Optimised radial functions (`optimization.RadialDimReduction`) are a mixing for every species and l.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...frame import Array
from ...npy_files import read_array
from ..kernel import GapModel, SoapHypers, SoapTerm


def load(path: Path) -> GapModel:
    """Reads a file; `InputError` if it is not such a model, or if it uses something unsupported, which is named."""
    try:
        krr = _object(json.loads(Path(path).read_text()), "KRR")
        kernel = _object(krr["kernel"], "Kernel")
        points = _object(krr["X_train"], "SparsePoints", "data")["sparse_points"]
        hypers = _object(kernel["representation"], "SphericalInvariants")
        _must_be(kernel, {"name": "GAP", "kernel_type": "Sparse", "target_type": "Structure"})
        _must_be(krr["units"], {"energy": "eV", "length": "AA"})
        values, features, multiplicity = _features(points, hypers)
        term = _term(hypers, int(kernel["zeta"]), values, features, multiplicity, _array(krr["weights"], path))
        energies = {int(s): float(e) for s, e in (krr["self_contributions"] or {}).items()}
        species = _species(points)
        model = GapModel(
            species=species,
            energies={s: energies.get(s, 0.0) for s in species},
            soap=(term,),
            summary={"made_by": "librascal", "description": str(krr.get("description", ""))},
        )
        model.check()
    except Exception as error:  # JSON can hold anything in any place
        raise InputError(f"model {path}: is not a librascal model that can be read: {_words(error)}") from error
    return model


def _words(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def _object(content: Any, name: str, part: str = "init_params") -> dict[str, Any]:
    """Arguments or data of a serialised object."""
    if not isinstance(content, dict) or content.get("class_name") != name:
        raise ValueError(f"a {name} is expected in it")
    return content[part]


def _must_be(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        if given[key] != value:
            raise ValueError(f"{key} = {given[key]!r}; only {value!r} can be read")


def _array(stored: Any, path: Path) -> Array:
    """An array: a small one is stored as ["npy", values], a large one as the name of a file."""
    if isinstance(stored, str):
        return read_array(Path(path).parent / Path(stored).name).astype(np.float64).ravel()
    return np.array(stored[1], dtype=np.float64).ravel()


def _species(points: Mapping[str, Any]) -> tuple[int, ...]:
    """The species of centres and neighbours; 0 stands for features of all species in a selection."""
    found = {int(s) for s in points["center_species"]} | {int(s) for pair in points["keys"] for s in pair}
    return tuple(sorted(found - {0}))


def _term(
    hypers: Mapping[str, Any],
    zeta: int,
    values: Mapping[int, Array],
    features: NDArray[np.int32],
    multiplicity: NDArray[np.int32],
    weights: Array,
) -> SoapTerm:
    sigma = float(hypers["gaussian_sigma_constant"])
    normalise = bool(hypers["normalize"])
    same_order = (-1.0) ** features[:, 4] * np.sqrt(np.where(features[:, 0] == features[:, 2], multiplicity, 1))
    unit = 1.0 if normalise else (4 * (np.pi / sigma**2) ** 0.75) ** -2
    sizes = [len(q) for q in values.values()]
    if len(weights) != sum(sizes):
        raise ValueError(f"it has {len(weights)} weights for {sum(sizes)} sparse points")
    split = np.split(weights, np.cumsum(sizes)[:-1])
    mixing = _mixing(hypers)
    n_max = int(hypers["max_radial"]) if mixing is None else next(iter(mixing.values())).shape[2]
    return SoapTerm(
        hypers=_hypers(hypers, sigma, n_max, zeta, normalise),
        features=features,
        points={s: np.ascontiguousarray(q * same_order * unit) for s, q in values.items()},
        weights=dict(zip(values, split, strict=True)),
        multiplicity=multiplicity,
        mixing=mixing,
    )


def _hypers(hypers: Mapping[str, Any], sigma: float, n_max: int, zeta: int, normalise: bool) -> SoapHypers:
    _must_be(hypers, {"soap_type": "PowerSpectrum", "radial_basis": "GTO", "gaussian_sigma_type": "Constant"})
    scaling = None
    if hypers["cutoff_function_type"] == "RadialScaling":
        given = hypers["cutoff_function_parameters"]
        scaling = {"rate": given["rate"], "scale_angstrom": given["scale"], "exponent": given["exponent"]}
    else:
        _must_be(hypers, {"cutoff_function_type": "ShiftedCosine"})
    return SoapHypers.model_validate(
        {
            "basis": {
                "kind": "gto",
                "n_max": n_max,
                "l_max": int(hypers["max_angular"]),
                "cutoff": {
                    "cutoff_angstrom": hypers["interaction_cutoff"],
                    "width_angstrom": hypers["cutoff_smooth_width"],
                },
                "density": {"kind": "gaussian", "sigma_angstrom": sigma},
                "scaling": scaling,
            },
            "zeta": zeta,
            "normalise": normalise,
        }
    )


def _mixing(hypers: Mapping[str, Any]) -> dict[int, Array] | None:
    """(l_max + 1, n_max, all radial functions) for each species."""
    reduction = (hypers.get("optimization") or {}).get("RadialDimReduction")
    if reduction is None:
        return None
    return {int(s): np.array(matrices, dtype=np.float64) for s, matrices in reduction["projection_matrices"].items()}


def _features(
    points: Mapping[str, Any], hypers: Mapping[str, Any]
) -> tuple[dict[int, Array], NDArray[np.int32], NDArray[np.int32]]:
    """Values (M, F) of the sparse points of each species, in librascal's conventions; the features (F, 5), as in
    `PowerSpectrumBasis`; and their multiplicities (F,)."""
    species = _species(points)
    columns = _selected(hypers, species) or _all(hypers, points["keys"], species)
    found: dict[tuple, list[int]] = {}  # feature -> its columns, two if both orders are there
    for number, (a, n1, b, n2, l) in enumerate(columns):
        if a > b:
            raise ValueError("coefficient_subselection: has a pair of species that is not in ascending order")
        found.setdefault((a, min(n1, n2), b, max(n1, n2), l) if a == b else (a, n1, b, n2, l), []).append(number)
    features = np.array(list(found), dtype=np.int32)
    across = features[:, 0] != features[:, 2]
    multiplicity = np.where(across, 2, [len(numbers) for numbers in found.values()]).astype(np.int32)
    first = [numbers[0] for numbers in found.values()]
    counters, blocks, size = dict(points["counters"]), dict(points["values"]), points["inner_size"]
    values = {}
    for centre, indices in points["indices"]:
        rows = np.zeros((counters[centre], len(columns)))
        stored = {tuple(key): block for key, block in blocks[centre]}
        for key, where in indices:
            first_column = points["keys"].index(key) * size
            rows[where, first_column : first_column + size] = np.reshape(stored[tuple(key)], (len(where), size))
        values[int(centre)] = rows[:, first]
    return values, features, multiplicity


def _all(hypers: Mapping[str, Any], keys: Sequence[Sequence[int]], species: Sequence[int]) -> list[tuple[int, ...]]:
    """Block, n, block', n', l of every column."""
    n_max, l_max = int(hypers["max_radial"]), int(hypers["max_angular"])
    return [
        (species.index(a), n1, species.index(b), n2, l)
        for a, b in keys
        for n1 in range(n_max)
        for n2 in range(n_max)
        for l in range(l_max + 1)
    ]


def _selected(hypers: Mapping[str, Any], species: Sequence[int]) -> list[tuple[int, ...]] | None:
    """The same for selected features; None if all features were kept."""
    selection = hypers.get("coefficient_subselection")
    if selection is None:
        return None
    a, n1, b, n2, l = (selection[name] for name in ("a", "n1", "b", "n2", "l"))
    return [(species.index(s), n, species.index(t), m, k) for s, n, t, m, k in zip(a, n1, b, n2, l, strict=True)]
