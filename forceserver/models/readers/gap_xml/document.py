"""Reads the XML of a potential of `gap_fit` as numbers and strings, without interpreting them.

    <GAP_params label= gap_version=>
      <GAP_data> <e0 Z= value=/> ... </GAP_data>                                energies of atoms, eV
      <gpSparse n_coordinate= fitted=>
        <gpCoordinates ...> ... </gpCoordinates>                                one for each descriptor
      </gpSparse>
    </GAP_params>

The sparse points of a descriptor are in a text file beside the XML (`sparseX_filename`), one number per line, or in the
XML itself. The format is that of files written by `gap_fit` of quippy 0.10.3 and read by `gp_predict.F90` of
github.com/libAtoms/GAP.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from ....frame import Array

MOST = 118
"""Number of chemical elements."""
COVARIANCES = {0: "none", 1: "ard_se", 2: "dot_product", 3: "bond_real_space", 4: "pp"}


@dataclass(frozen=True)
class Coordinate:
    """A descriptor with its kernel.

    number: from 1, as in the file. descriptor: its string. covariance: one of `COVARIANCES`.
    delta, f0: the kernel is delta^2 k + f0^2 (f0 only for the squared exponential), eV. theta: its length scales.
    zeta: exponent of the dot product, or None. points (n, d), alphas (n,), cutoffs (n,): sparse points, their
    coefficients, and the cutoff function at each.
    """

    number: int
    descriptor: str
    covariance: str
    delta: float
    f0: float
    theta: Array
    zeta: float | None
    points: Array
    alphas: Array
    cutoffs: Array


@dataclass(frozen=True)
class Document:
    """A potential: its type in QUIP (`init_args`), version, energies of atoms (eV), descriptors, other XML elements.

    energy: the energy of species that are not in `energies`, eV.
    """

    init_args: str
    version: int
    energies: dict[int, float]
    energy: float
    coordinates: tuple[Coordinate, ...]
    root: Element


def read(path: Path) -> Document:
    """Reads the file and its files of sparse points; `ValueError` or `OSError` says what is missing or wrong."""
    root = _parsed(path)
    found = [root] if root.tag == "GAP_params" else root.findall(".//GAP_params")
    if len(found) != 1:
        told = f"it has {len(found)} elements GAP_params" if found else f"its root is {root.tag}, without GAP_params"
        raise ValueError(f"{told}; a file of gap_fit has one")
    params, potential = found[0], root.find(".//Potential")
    data = _only(params, "GAP_data")
    sparse = _only(params, "gpSparse")
    if sparse.get("fitted", "T") != "T":
        raise ValueError("gpSparse: fitted is not T; the fit was not completed")
    coordinates = tuple(
        _coordinate(element, order, path.parent) for order, element in enumerate(sparse.findall("gpCoordinates"), 1)
    )
    if len(coordinates) != integer(sparse, "n_coordinate"):
        raise ValueError(f"gpSparse: n_coordinate = {sparse.get('n_coordinate')}, but it has {len(coordinates)}")
    return Document(
        init_args="" if potential is None else potential.get("init_args", ""),
        version=integer(params, "gap_version", 0),
        energies={atomic_number(e, "Z"): number(e, "value") for e in data.findall("e0")},
        energy=number(data, "e0", 0.0),
        coordinates=coordinates,
        root=root,
    )


def _parsed(path: Path) -> Element:
    """The root element; the training structures, which may be most of the file, are discarded while reading."""
    root = None
    try:
        for event, element in ElementTree.iterparse(path, events=("start", "end")):
            root = element if root is None else root
            if event == "end" and element.tag == "XYZ_data":
                element.clear()
    except ElementTree.ParseError as error:
        raise ValueError(f"it is not XML: {error}") from error
    assert root is not None  # an empty file is no XML
    return root


def _coordinate(element: Element, order: int, folder: Path) -> Coordinate:
    place = f"gpCoordinates {order}"
    try:
        if element.get("sparsified", "T") != "T":
            raise ValueError("sparsified = F: a full Gaussian process; only sparse ones can be read")
        covariance = integer(element, "covariance_type")
        count, size = integer(element, "n_sparseX"), integer(element, "dimensions")
        sparse = sorted(element.findall("sparseX"), key=lambda point: integer(point, "i"))
        if [integer(point, "i") for point in sparse] != list(range(1, count + 1)):
            raise ValueError(f"n_sparseX = {count}, but it has {len(sparse)} elements sparseX")
        return Coordinate(
            number=order,
            descriptor=(element.findtext("descriptor") or "").strip(),
            covariance=COVARIANCES.get(covariance, str(covariance)),
            delta=number(element, "signal_variance"),
            f0=number(element, "signal_mean"),
            theta=_numbers("theta", element.findtext("theta") or ""),
            zeta=number(element, "zeta") if "zeta" in element.attrib else None,
            points=_points(element, sparse, count, size, folder),
            alphas=np.array([number(point, "alpha") for point in sparse]),
            cutoffs=np.array([number(point, "sparseCutoff") for point in sparse]),
        )
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _points(element: Element, sparse: list[Element], count: int, size: int, folder: Path) -> Array:
    name = element.get("sparseX_filename")
    if name is None:
        rows = [_numbers("sparseX", "".join(point.itertext())) for point in sparse]
        if any(len(row) != size for row in rows):
            raise ValueError(f"sparseX: each must have dimensions = {size} numbers")
        return np.array(rows).reshape(count, size)
    content = _beside(folder / name, element.get("sparseX_md5sum", ""))
    numbers = _numbers(name, content)
    if len(numbers) != count * size:
        raise ValueError(
            f"{name} has {len(numbers)} numbers; n_sparseX = {count} and dimensions = {size} make {count * size}"
        )
    return numbers.reshape(count, size)


def _beside(path: Path, md5: str) -> str:
    """The text of a file with sparse points; like QUIP, detects a file of another fit."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}; gap_fit writes its sparse points beside the xml: copy all of them")
    content = path.read_bytes()
    if len(md5) == 32 and hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise ValueError(f"{path.name} is not the file that was written with this xml (its MD5 sum differs)")
    return content.decode()


def _numbers(name: str, text: str) -> Array:
    try:
        numbers = np.array(text.split(), dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name}: number {int(np.argmin(np.isfinite(numbers))) + 1} is not finite")
    return numbers


def _only(parent: Element, tag: str) -> Element:
    found = parent.find(tag)
    if found is None:
        raise ValueError(f"{parent.tag} has no {tag}")
    return found


def number(element: Element, name: str, default: float | None = None) -> float:
    """An attribute as a number; `ValueError` if it is missing without a default, or not a finite number."""
    text = element.get(name)
    if text is None and default is not None:
        return default
    if text is None:
        raise ValueError(f"{element.tag} has no {name}")
    value = float(_numbers(name, text)[0]) if text.strip() else np.nan
    if not np.isfinite(value):
        raise ValueError(f"{element.tag}: {name} = {text!r} is not a number")
    return value


def integer(element: Element, name: str, default: float | None = None) -> int:
    """A whole number that is not negative; `ValueError` as for `number`."""
    value = number(element, name, default)
    if value != int(value) or value < 0:
        raise ValueError(f"{element.tag}: {name} = {value:g} is not a whole number")
    return int(value)


def atomic_number(element: Element, name: str) -> int:
    """An attribute as an atomic number; `ValueError` if there is no such element, and as for `number`."""
    value = integer(element, name)
    if not 1 <= value <= MOST:
        raise ValueError(f"{element.tag}: {name} = {value} is no atomic number")
    return value
