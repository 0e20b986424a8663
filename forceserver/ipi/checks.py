"""What a driver may not let pass from a server, said as `ProtocolError` so that a reader finds the culprit.

What it may not let pass from a potential is in results.py.
"""

import numpy as np
from numpy.typing import NDArray

from ..errors import ProtocolError
from ..frame import Array, any_singular


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
