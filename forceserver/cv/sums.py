"""Sums over pairs: the reduced l = 1 and l = 0 density with its derivatives.

For a pair with vector r (from centre to neighbour) and contracted radial functions F_0, F_1 the contribution to
(x, y, z, density) is (h(r) r, Y_00 F_0(r)), with h = sqrt(3 / 4 pi) F_1(r) / r and Y_00 = sqrt(1 / 4 pi). A centre's
coefficient depends on the neighbour with plus, on the centre with minus the derivative with respect to r.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..frame import Array
from ..representation.neighbours import NeighbourList
from ..representation.spline import SplineTable

Y0 = np.sqrt(1 / (4 * np.pi))
Y1 = np.sqrt(3 / (4 * np.pi))


@dataclass(frozen=True)
class Family:
    """A reduction of the centres of a neighbour list into groups; each centre is in at most one.

    n_groups: how many groups.
    group: (n_centres,) int32, the group of each centre.
    weight: (n_centres,), the weight of each centre in its group; zero for one that is in none.
    """

    n_groups: int
    group: NDArray[np.int32]
    weight: Array


def density_sums(
    neighbour_list: NeighbourList, table: SplineTable, families: Sequence[Family]
) -> tuple[Array, Array, Array]:
    """Values (G, 4), derivatives (G, 4, n_sites, 3) and strain derivatives (G, 4, 3, 3) of the groups of all families.

    table: contracted to one function for l = 0 and one for l = 1.
    """
    vectors = neighbour_list.vectors()
    distance = np.linalg.norm(vectors, axis=1)
    inside = distance < table.cutoff
    centre = np.repeat(np.arange(len(neighbour_list.centres)), np.diff(neighbour_list.first))[inside]
    site = neighbour_list.pair_site[inside]
    vectors, distance = vectors[inside], distance[inside, None]
    value, slope = table.evaluate(distance[:, 0])
    unit = vectors / distance
    h = Y1 * value[:, 1:] / distance
    contribution = np.concatenate([h * vectors, Y0 * value[:, :1]], axis=1)
    derivative = np.empty((len(vectors), 4, 3))
    derivative[:, :3] = h[:, :, None] * np.eye(3) + ((Y1 * slope[:, 1:] - h) * unit)[:, :, None] * unit[:, None]
    derivative[:, 3] = Y0 * slope[:, :1] * unit

    n_sites = len(neighbour_list.site_atom)
    own = Y0 * table.at_zero[0] * np.isin(neighbour_list.centres, neighbour_list.neighbours)
    reduced, gradient, strain = [], [], []
    for family in families:
        for group in range(family.n_groups):
            weight = np.where(family.group == group, family.weight, 0.0)
            pair_weight = weight[centre]
            weighted = pair_weight[:, None, None] * derivative
            reduced.append(pair_weight @ contribution)
            reduced[-1][3] += weight @ own
            sums = np.zeros((n_sites, 4, 3))
            np.add.at(sums, site, weighted)
            np.subtract.at(sums, neighbour_list.centre_site[centre], weighted)
            gradient.append(sums.transpose(1, 0, 2))
            strain.append(np.einsum("pi,paj->aij", vectors, weighted))
    return np.array(reduced), np.array(gradient), np.array(strain)
