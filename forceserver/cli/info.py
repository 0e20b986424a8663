"""`forceserver info`: what is in a model file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..models.ace import AceModel
    from ..models.kernel import GapModel, SoapTerm
    from ..models.multispectrum import MultispectrumModel
    from ..models.pace import PaceModel


def info(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model of `fit` or another program.", show_default=False)
    ],
) -> None:
    """Print the contents of a model file: species, descriptors, sparse points, and how it was trained."""
    from ..potentials.model_files import load_model

    print("\n".join(describe_model(load_model(model))))


def describe_model(model: Any) -> list[str]:
    """A description of the model, line by line."""
    from ase.data import chemical_symbols

    from ..models.ace import AceModel
    from ..models.multispectrum import MultispectrumModel
    from ..models.pace import PaceModel

    kind = model.FORMAT.removeprefix("forceserver ")
    lines = [f"{kind} (energies in eV, lengths in Angstrom)", "species"]
    known = model.summary.get("isolated_atoms_known", model.species)  # models of other programs say nothing of it
    for s in model.species:
        what = "isolated atom" if s in known else "e_0, fitted (that of no isolated atom)"
        lines.append(f"  {chemical_symbols[s]:3} {what} {model.energies[s]:.6f}")
    if isinstance(model, PaceModel):
        lines += _pace(model)
    elif isinstance(model, MultispectrumModel):
        lines += _multispectrum(model)
    else:
        lines += _expansion(model) if isinstance(model, AceModel) else _power_spectra(model)
    for pair in model.pairs:
        lines.append(f"pair {'-'.join(pair.species)}: {pair.form}, cutoff {pair.cutoff_angstrom:g}")
    lines.append(uncertainty(model))
    lines.append("training")
    for key, value in model.summary.items():
        if key not in ("descriptors", "cross_validation", "uncertainty", "training"):
            lines.append(f"  {key}: {value if isinstance(value, str) else json.dumps(value)}")
    return lines


def _power_spectra(model: "GapModel") -> list[str]:
    from ase.data import chemical_symbols

    lines = []
    for term in model.soap:
        basis, hypers = term.hypers.basis, term.hypers
        points = ", ".join(f"{chemical_symbols[s]} {len(q)}" for s, q in term.points.items())
        features = next(iter(term.points.values())).shape[1]
        lines += [
            f"{'power spectrum' if term.levels is None else 'multispectrum'}: basis {basis.kind}, n_max {basis.n_max}, "
            f"l_max {basis.l_max}{_contracted(term)}, "
            f"cutoff {basis.cutoff.cutoff_angstrom:g} (width {basis.cutoff.width_angstrom:g})",
            f"  density {json.dumps(basis.density.model_dump())}, scaling "
            + ("none" if basis.scaling is None else json.dumps(basis.scaling.model_dump())),
            f"  {features} features{', normalised' if hypers.normalise else ''}; zeta {hypers.zeta}; "
            f"sparse points: {points}",
        ]
    return lines


def _contracted(term: "SoapTerm") -> str:
    if term.mixing is None:
        return ""
    from ..representation.contraction import functions

    return f", contracted to {max(functions(term.mixing))}{', mixed' if term.sum_species else ''}"


def _multispectrum(model: "MultispectrumModel") -> list[str]:
    features, basis = model.multispectrum(), model.density.basis
    counts = ", ".join(f"{(features.order_of == nu).sum()} of order {nu}" for nu in range(1, features.nu + 1))
    mixed = ", mixed" if model.density.sum_species else ""
    return [
        f"multispectrum: basis {basis.kind}, n_max {basis.n_max}, l_max {basis.l_max}, "
        f"cutoff {basis.cutoff.cutoff_angstrom:g} (width {basis.cutoff.width_angstrom:g})"
        f"{', contracted' + mixed if model.mixing else ''}",
        f"  {len(features)} invariants: {counts}",
    ]


def _expansion(model: "AceModel") -> list[str]:
    from ..representation.products import ProductGraph

    basis, graph = model.hypers.basis, ProductGraph(model.functions)
    orders = ", ".join(f"{(graph.order_of == k).sum()} of order {k}" for k in sorted(set(graph.order_of.tolist())))
    ends = basis.cutoff
    embedding = "linear" if model.embedding is None else f"embedding {json.dumps(model.embedding.model_dump())}"
    inner = f", from {ends.inner_angstrom:g}" if ends.inner_exponent else ""
    return [
        f"basis {basis.kind} ({basis.polynomials}), transform {json.dumps(basis.transform.model_dump())}, "
        f"cutoff {ends.cutoff_angstrom:g}{inner}",
        f"  {len(graph)} functions for each species: {orders}; {embedding}",
        f"  radial functions for l = 0, 1, ...: {', '.join(map(str, graph.counts))}",
    ]


def _pace(model: "PaceModel") -> list[str]:
    from ase.data import chemical_symbols

    from ..representation.products import ProductGraph

    lines = []
    for species, embedding in model.embeddings.items():
        graph = ProductGraph(model.functions[species])
        orders = ", ".join(f"{(graph.order_of == k).sum()} of order {k}" for k in sorted(set(graph.order_of.tolist())))
        powers = " + ".join(
            f"{b:g} f(rho; {m:g})" for b, m in zip(embedding.prefactors, embedding.exponents, strict=True)
        )
        lines.append(f"{chemical_symbols[species]}: {embedding.kind}, {powers}")
        lines.append(f"  {len(graph)} functions of order two and higher{': ' if orders else ''}{orders}")
    for (centre, neighbour), bond in model.bonds.items():
        core = f"{bond.inner} repulsion" if bond.has_core else "no repulsion"
        lines.append(
            f"{chemical_symbols[centre]}-{chemical_symbols[neighbour]}: {bond.radial}, {bond.n_base} base functions, "
            f"n_max {len(model.radial[centre, neighbour])}, cutoff {bond.cutoff_angstrom:g}, {core}"
        )
    return lines


def uncertainty(model) -> str:
    """Whether there is one, and how it was calibrated, in one line."""
    if not model.has_members:
        return "uncertainty: none"
    found = model.summary.get("uncertainty")
    told = ("factor", "structures", "within_1_sigma", "within_2_sigma")
    if not isinstance(found, dict) or not all(isinstance(found.get(key), int | float) for key in told):
        return "uncertainty: eight members, not calibrated (errors may be several times larger)"
    one, two = (f"{100 * found[f'within_{width}_sigma']:.0f} %" for width in (1, 2))
    return (
        f"uncertainty: eight members, spread {found['factor']:.2f} times, so that the errors of {found['structures']} "
        f"structures left out are within one ({one}) and two ({two}) standard deviations"
    )
