"""The tables that the pair style reads: the arrays of the kernels, stored in the file of the model.

Splines, couplings and lists of products follow from the hyper-parameters of a model. They are computed here, by the
same code as for Python, so the plugin need not contain the formulas behind them. They are stored in the model's file,
so there is only one file, and a model that is fitted again cannot be used with the tables of its predecessor.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import _ext
from ..errors import InputError
from ..models.ace import AceModel
from ..models.base import Model
from ..models.kernel import GapModel, SoapTerm
from ..potentials.model import pair_potential
from ..potentials.model_files import load_model
from ..representation.expansion import ExpansionBasis
from ..representation.invariant_products import InvariantProducts
from ..representation.products import ProductGraph

LAYOUT = 1
"""Version of the names and shapes of the tables; the plugin reads only this version."""

PRODUCTS = ("source", "kinds", "kind_first", "couplings", "first", "terms", "dots", "groups", "group_first")

Arrays = dict[str, NDArray]


def export(model: Path, output: Path) -> None:
    """Writes the model in the file `model` with its tables to `output`, which may be the same file.

    Raises:
        InputError: the file cannot be read or is damaged, or the pair style does not support this kind of model.
    """
    loaded = load_model(model)
    loaded.save(output, tables=tables(loaded))


def tables(model: Model) -> Arrays:
    """The tables by name, without the prefix that they have in a file.

    layout (1,): LAYOUT. species, energies (S,). Of term k: `k/basis/...`, and either `k/spectrum/...`, `k/pull/...` and
    `k/sums/...` (kernel models; the sparse points are in the model) or `k/products/...`, and for the centres of the
    term `k/weights/...` and `k/embedding/...` (cluster expansions). `pairs/...`: the splines of pair potentials. Shapes
    are those of the kernels, see cython_ext.
    """
    found: Arrays = {
        "layout": _integers(LAYOUT),
        "species": _integers(*model.species),
        "energies": np.array([model.energies[species] for species in model.species]),
    }
    for number, term in enumerate(_terms(model)):
        found |= {f"{number}/{name}": array for name, array in term.items()}
    if model.pairs:
        found |= {f"pairs/{name}": array for name, array in pair_potential(model, model.pairs).tables().items()}
    return found


def _terms(model: Model) -> list[Arrays]:
    if isinstance(model, GapModel):
        return [_kernel_term(model, term) for term in model.soap]
    if isinstance(model, AceModel):
        graph = ProductGraph(model.functions)
        expansions = model.expansions(graph)
        return [_ace_term(model, graph, expansion, centres) for centres, expansion in expansions.items()]
    raise InputError(f"the pair style for LAMMPS does not support a {model.FORMAT}")


def _kernel_term(model: GapModel, term: SoapTerm) -> Arrays:
    spectrum = term.power_spectrum(model.species)
    found = _basis(spectrum.expansion)
    for name, terms in (("spectrum", spectrum.terms), ("pull", spectrum.derivative_terms)):
        found |= {f"{name}/{part}": array for part, array in zip(("terms", "feature", "weight"), terms, strict=True)}
    found["hypers"] = _integers(len(spectrum), spectrum.normalise, term.hypers.zeta)
    kernel = _ext.kernel("sparse_kernel")
    for species, points in term.points.items():
        mean, along, total, sums = kernel.about_the_mean(points, term.weights[species], term.hypers.zeta)
        parts = {"mean": mean, "along": along, "total": np.array([total]), "sums": sums}
        found |= {f"sums/{species}/{name}": np.ascontiguousarray(array) for name, array in parts.items()}
    return found


def _ace_term(model: AceModel, graph: ProductGraph, expansion: ExpansionBasis, centres: tuple[int, ...]) -> Arrays:
    products = InvariantProducts(graph, expansion)
    found = _basis(expansion)
    found |= {f"products/{name}": array for name, array in zip(PRODUCTS, products.layout, strict=True)}
    terms = found.pop("products/terms")
    found["products/places"] = np.stack([terms["p"], terms["q"]], axis=1)
    found["products/factors"] = np.ascontiguousarray(terms["c"])
    found["products/components"] = _integers(graph.n_components)
    for species in centres:
        weights = np.atleast_2d(model.weights[species])
        found[f"weights/{species}"] = np.stack([products.prepared(row) for row in weights])
    if model.embedding is not None:
        found["embedding/shape"] = _integers(*model.embedding.shape)
        for species in centres:
            theta = model.embedding.parameters(model.parameters[species])
            found[f"embedding/{species}"] = np.array(theta, dtype=np.float64)
    return found


def _basis(expansion: ExpansionBasis) -> Arrays:
    if expansion.centre_in_all_blocks and expansion.n_blocks > 1:
        raise InputError("the pair style for LAMMPS does not support centre_in_all_blocks = true")
    own = expansion.own if expansion.centre_contribution and 0 in expansion.counts else expansion.own[:, :0]
    return {
        "basis/layout": expansion.layout,
        "basis/sizes": _integers(expansion.size, expansion.n_blocks),
        "basis/grid": np.array(expansion.grid),
        "basis/nodes": expansion.nodes,
        "basis/table_of": expansion.table_of,
        "basis/block_of": expansion.block_of,
        "basis/own": own,
    }


def _integers(*numbers: int) -> NDArray[np.int32]:
    return np.array(numbers, dtype=np.int32)
