"""Does i-PI send the atoms and the cell of the template?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..elements import find_element
from .findings import ADVICE, OK, WRONG, Finding

if TYPE_CHECKING:
    from ase import Atoms

    from ..frame import Frame
    from ..ipi.input import SocketServer, System

OVERLAP_ANGSTROM = 0.55
"""No two nuclei are closer: the bond of H2 has 0.74."""

OTHER_ANGLES = 5.0
"""Degrees by which no cell differs that is only strained a little."""
OTHER_SCALE = 0.01
"""By which the ratio of the sizes of two structures may differ from that of bohr and Å, if it is meant."""

TURNED = 0.01
"""Difference of cell vectors, relative to the longest, from which on they point elsewhere."""


def describe_template(template: "Frame") -> str:
    """Its size, formula and periodicity."""
    from ase.formula import Formula

    symbols = "".join(_symbols(template))
    periodic = "".join("abc"[i] for i in range(3) if template.pbc[i]) or "no direction"
    return f"{len(template)} atoms, {Formula(symbols).format('hill')}, periodic along {periodic}"


def _symbols(template: "Frame") -> list[str]:
    from ase.data import chemical_symbols

    return [chemical_symbols[number] for number in template.species]


def _species(template: "Frame", labels: list[str]) -> Iterator[Finding]:
    """Compares i-PI's labels with the template, by element: to a potential, an isotope is its element.

    A label that stands for no element (E, L, X) may be anything to the potential.
    """
    symbols = _symbols(template)
    elements = [find_element(label) for label in labels]
    if len(labels) != len(symbols):
        yield Finding(WRONG, "atoms", f"i-PI sends {len(labels)} atoms, the template has {len(symbols)}")
        return
    here = template.species.tolist()
    different = [i for i in range(len(here)) if elements[i] and elements[i] != here[i]]
    if different:
        first = different[0]
        same = sorted(number or 0 for number in elements) == sorted(here)
        hint = "same atoms in another order: write the template from i-PI's structure" if same else "other species"
        yield Finding(WRONG, "species", f"atom {first} is {labels[first]} in i-PI, {symbols[first]} here; {hint}")
        return
    yield Finding(OK, "atoms", f"{len(symbols)} atoms, same species in the same order")
    others = {f"{label} is {symbol}" for label, symbol in zip(labels, symbols, strict=True) if label != symbol}
    if others:
        text = "to the potential; masses are i-PI's"
        unknown = not all(elements)
        yield Finding(ADVICE if unknown else OK, "labels", f"{', '.join(sorted(others))} {text}")


def inspect_structure(template: "Frame", system: "System", server: "SocketServer | None") -> Iterator[Finding]:
    """`server`: the <ffsocket> that sends all or some of the atoms."""
    expected = list(system.species)
    if server is not None and server.active is not None:
        expected = [expected[i] for i in server.active if i < len(expected)]
    yield from _species(template, expected)
    if server is not None and server.pbc and not template.pbc.all():
        text = "<ffsocket pbc='True'> folds atoms into the cell, but the template is not periodic in all directions"
        yield Finding(WRONG, "cell", f"{text}: molecules that cross the edge would be torn apart; set pbc='False'")
    yield from _cell(template, system)
    yield from _axes(template, system)
    yield from _scale(template, system)
    yield from _overlap(system)


def _scale(template: "Frame", system: "System") -> Iterator[Finding]:
    """Finds positions in the wrong unit of length, whatever the cell is."""
    from ase.units import Bohr

    if len(template) != len(system.positions):
        return
    here, there = (np.linalg.norm(x - x.mean(axis=0)) for x in (template.positions, system.positions))
    for factor in (Bohr, 1 / Bohr):
        if abs(there - factor * here) < OTHER_SCALE * there:
            text = f"the atoms of i-PI's structure are {factor:.3g} times as far apart as those of the template"
            hint = "Å taken for bohr, or bohr for Å? (units='angstrom' of <file>)"
            yield Finding(ADVICE, "distances", f"{text}: {hint}")


def _cell(template: "Frame", system: "System") -> Iterator[Finding]:
    """Finds cells in the wrong unit; a cell that replaces the file's may have any size."""
    volume = abs(np.linalg.det(system.cell))
    if not template.pbc.all():
        return
    if not volume > 0:
        yield Finding(WRONG, "cell", "the template is periodic, i-PI's structure has no cell")
        return
    ratio = volume / abs(np.linalg.det(template.cell))
    text = f"{ratio:.3g} times the volume of the template's"
    if 0.5 < ratio < 2:
        yield Finding(OK, "cell", f"{volume:.6g} Å³ in i-PI, {text}")
    elif not system.cell_of_file:
        yield Finding(ADVICE, "cell", f"the <cell> of i-PI's input is {volume:.6g} Å³, {text}, and replaces it")
    else:
        verdict = ADVICE if 0.1 < ratio < 10 else WRONG
        yield Finding(verdict, "cell", f"i-PI's cell has {text}: check cell_units and units")


def _axes(template: "Frame", system: "System") -> Iterator[Finding]:
    """Finds cells of other angles, and structures that i-PI turns, as it does if a is not along x and b in xy."""
    from ase.geometry import cell_to_cellpar

    if not (template.pbc.all() and np.linalg.det(system.cell) and np.linalg.det(template.cell)):
        return
    here, there = cell_to_cellpar(template.cell), cell_to_cellpar(system.cell)
    if abs(here - there)[3:].max() > OTHER_ANGLES:
        angles = [" ".join(f"{angle:.4g}" for angle in cell[3:]) for cell in (there, here)]
        text = f"the angles are {angles[0]} in i-PI, {angles[1]} in the template"
        yield Finding(ADVICE, "cell", f"{text}: does a <cell mode='manual'> have its vectors as columns?")
    elif np.allclose(here, there, rtol=1e-3) and abs(template.cell - system.cell).max() > TURNED * here[:3].max():
        text = "i-PI turns the structure (a along x, b in the plane xy)"
        yield Finding(
            ADVICE, "axes", f"{text}: x, y and z of variables and outputs are not those of the template's file"
        )


def inspect_fixed(atoms: "Atoms", fixed: frozenset[int]) -> Iterator[Finding]:
    """Finds atoms that the template's file fixes, with constraints of ASE, and i-PI moves.

    fixed: degrees of freedom that i-PI does not move.
    """
    from ..constraints import fixed_by

    moving = sorted({number // 3 for number in fixed_by(atoms) - fixed})
    if moving:
        listed = ", ".join(map(str, moving[:20])) + (", ..." if len(moving) > 20 else "")
        text = f"the template's file fixes {len(moving)} atom(s) that i-PI moves"
        yield Finding(ADVICE, "fixed", f"{text}: <fixatoms> [{listed}] </fixatoms> in <motion> fixes them")


def _overlap(system: "System") -> Iterator[Finding]:
    """Finds atoms on top of each other: usually positions or a cell in the wrong unit."""
    from ase import Atoms
    from ase.neighborlist import neighbor_list

    periodic = abs(np.linalg.det(system.cell)) > 0
    atoms = Atoms(
        positions=system.positions,
        cell=system.cell if periodic else None,
        pbc=periodic,
        numbers=[0] * len(system.species),
    )
    i, j, distances = neighbor_list("ijd", atoms, OVERLAP_ANGSTROM)
    if len(distances):
        closest = np.argmin(distances)
        text = f"atoms {i[closest]} and {j[closest]} are {distances[closest]:.3g} Å apart in i-PI's structure"
        yield Finding(ADVICE, "distances", f"{text}: check units, cell_units and <cell>")
