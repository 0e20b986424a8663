"""What a driver may not let pass, in either direction, said so that a reader finds the culprit.

`ProtocolError` for what a server sends, `PotentialError` for what a potential returns.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import PotentialError, ProtocolError
from ..frame import Array, Result, any_singular


def check_positions(positions: Array) -> None:
    """Positions (structures, atoms, 3), Angstrom, must be finite."""
    bad = np.argwhere(~np.isfinite(positions))
    if len(bad):
        structure, atom, axis = bad[0]
        value = positions[structure, atom, axis]
        raise ProtocolError(f"the server sent {value} as coordinate {'xyz'[axis]} of atom {atom}")


def check_cells(cells: Array, pbc: NDArray[np.bool_]) -> None:
    """Cells (structures, 3, 3), Angstrom, vectors as rows, must be finite and span the periodic directions."""
    if not np.isfinite(cells).all():
        raise ProtocolError(f"the server sent a cell that is not finite: {cells.tolist()} Angstrom")
    if any_singular(cells, pbc):
        raise ProtocolError(f"the server sent a singular cell for a periodic potential: {cells.tolist()} Angstrom")


def check_count(results: Sequence[Result], structures: int) -> None:
    """There must be a result for each structure."""
    if len(results) != structures:
        raise PotentialError(f"the potential returned {len(results)} results for {structures} structures")


def check_results(results: Sequence[Result], atoms: int) -> None:
    """Results must have the shapes of `atoms` atoms and be finite."""
    for result in results:
        shapes = np.shape(result.forces), np.shape(result.virial)
        if shapes != ((atoms, 3), (3, 3)):
            raise PotentialError(
                f"the potential returned forces of shape {shapes[0]} and a virial of shape {shapes[1]} for {atoms} "
                "atoms"
            )
        for what in ("energy", "forces", "virial"):
            numbers = np.asarray(getattr(result, what), float)
            bad = np.argwhere(~np.isfinite(numbers))
            if len(bad):
                at = tuple(bad[0].tolist())
                raise PotentialError(f"the potential returned {what}{list(at) if at else ''} = {numbers[at]}")
