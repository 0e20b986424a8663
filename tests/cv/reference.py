"""The collective variable from its definition: all pairs by brute force, radial functions not splined, in numpy."""

import itertools

import numpy as np

Y0 = np.sqrt(1 / (4 * np.pi))
Y1 = np.sqrt(3 / (4 * np.pi))


def coefficients(atoms, basis, centre, neighbours):
    """c_n1m (3, n_max) in the order x, y, z, and c_n00 (n_max,), of one centre."""
    cutoff = basis.cutoff.cutoff_angstrom
    reach = [int(np.ceil(cutoff / height)) if p else 0 for height, p in zip(_heights(atoms), atoms.pbc, strict=True)]
    images = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach)))) @ atoms.cell.array
    vector, scalar = np.zeros((3, basis.n_max)), np.zeros(basis.n_max)
    for neighbour in neighbours:
        r = atoms.positions[neighbour] - atoms.positions[centre] + images
        distance = np.linalg.norm(r, axis=1)
        inside = distance < cutoff
        radial, _ = basis.evaluate(distance[inside])
        scalar += Y0 * radial[:, 0].sum(axis=0)
        away = distance[inside] > 0
        unit = r[inside][away] / distance[inside][away, None]
        vector += Y1 * unit.T @ radial[away, 1]
    return vector, scalar


def mean(atoms, basis, weights, centres, neighbours):
    """(x, y, z, density): the mean over the centres, contracted with `weights`."""
    each = [coefficients(atoms, basis, centre, neighbours) for centre in centres]
    return np.append(np.mean([v @ weights for v, _ in each], axis=0), np.mean([s @ weights for _, s in each]))


def _heights(atoms):
    return 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0) if atoms.cell.rank == 3 else np.ones(3)
