"""QUIP's `Glue` as a baseline: pair potentials given by points.

Energies between the points are those of a cubic spline with given slopes at its ends (zero by default; natural if above
1e30). Before the first point they are linear, and from the last one on they are zero (`IPModel_Glue` and `Spline` of
github.com/libAtoms/QUIP). If the electron density is zero everywhere, every atom has the embedding energy at zero
density; other densities are not supported.
"""

from xml.etree.ElementTree import Element

import numpy as np

from ....frame import Array
from ...pairs import CubicPair
from .document import atomic_number, integer, number

NATURAL = 0.99e30
NOTHING = 1e-6
"""eV: largest energy at the last point of a table that ends; it is subtracted from all points."""


def baseline(root: Element) -> tuple[tuple[CubicPair, ...], dict[int, float]]:
    """Pair potentials, and energies (eV) of atoms by atomic number; `ValueError` if something is not supported."""
    from ase.data import chemical_symbols

    found = root.findall(".//Glue_params")
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} elements Glue_params; one is needed for IP Glue")
    glue = found[0]
    species = {integer(one, "type"): atomic_number(one, "atomic_num") for one in glue.findall("per_type_data")}
    energies = {atomic_number(one, "atomic_num"): _of_atom(one) for one in glue.findall("per_type_data")}
    pairs = {}
    for one in glue.findall("per_pair_data"):
        types = [integer(one, name) for name in ("type1", "type2")]
        if not set(types) <= set(species):
            raise ValueError(f"Glue: per_pair_data of the types {types}, but there are {sorted(species)} only")
        first, second = sorted(species[kind] for kind in types)
        for table in one.findall("potential_pair"):
            pairs[first, second] = _pair((chemical_symbols[first], chemical_symbols[second]), table)
    return tuple(pairs.values()), energies


def _of_atom(one: Element) -> float:
    """The embedding energy of an atom."""
    for density in one.findall("density"):
        if np.any(_points(density, "a", "rho")[1]) or number(density, "density_y1", 0.0):
            raise ValueError("Glue: an electron density (an embedded-atom potential), which cannot be computed")
    for table in one.findall("potential_density"):
        rho, energy = _points(table, "rho", "E")
        if np.ptp(energy) or rho[0] > 0:
            raise ValueError("Glue: an embedding energy that is not constant, which cannot be computed")
        return float(energy[0])
    return 0.0


def _pair(symbols: tuple[str, str], table: Element) -> CubicPair:
    from scipy.interpolate import CubicSpline

    r, energy = _points(table, "r", "E")
    slopes = [number(table, name, 0.0) for name in ("y1", "yn")]
    ends = tuple((2, 0.0) if slope > NATURAL else (1, slope) for slope in slopes)
    spline = CubicSpline(r, energy, bc_type=ends)
    last, slope = float(energy[-1]), float(spline(r[-1], nu=1))
    if max(abs(last), abs(slope)) > NOTHING:
        raise ValueError(
            f"Glue: the pair potential of {'-'.join(symbols)} ends at {r[-1]:g} Angstrom with {last:g} eV and a slope "
            f"of {slope:g} eV/Angstrom; it must go to zero"
        )
    return CubicPair(
        species=symbols,
        cutoff_angstrom=float(r[-1]),
        distances_angstrom=tuple(r.tolist()),
        energies_ev=tuple((energy - last).tolist()),
        slope_ev_per_angstrom=float(spline(r[0], nu=1)),
    )


def _points(table: Element, x: str, y: str) -> tuple[Array, Array]:
    found = np.array([[number(point, name) for name in (x, y)] for point in table.findall("point")]).reshape(-1, 2)
    if len(found) != integer(table, "num_points") or len(found) < 2:
        raise ValueError(f"{table.tag}: num_points = {table.get('num_points')}, but it has {len(found)} points")
    found = found[np.argsort(found[:, 0], kind="stable")]
    if (np.diff(found[:, 0]) <= 0).any():
        raise ValueError(f"{table.tag}: two points with the same {x}")
    return found[:, 0], found[:, 1]
