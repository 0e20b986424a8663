"""Sums over pairs that no kernel makes: what a derivative with respect to r_ij is for atoms and for a strain."""

import numpy as np

from ..frame import Array
from ..representation.neighbours import NeighbourList


def spread(neighbours: NeighbourList, vectors: Array, pair_gradient: Array) -> tuple[Array, Array]:
    """Gradient (n_sites, 3) with respect to the sites of the list, and strain derivative (3, 3).

    vectors: r_ij of all pairs (n_pairs, 3). pair_gradient: derivatives with respect to them.
    """
    centre = neighbours.centre_site[neighbours.pair_centre]
    gradient = np.empty((len(neighbours.site_atom), 3))
    for k in range(3):  # bincount: a tenth of the time of np.add.at
        towards, away = (np.bincount(at, pair_gradient[:, k], len(gradient)) for at in (neighbours.pair_site, centre))
        gradient[:, k] = towards - away
    return gradient, vectors.T @ pair_gradient
