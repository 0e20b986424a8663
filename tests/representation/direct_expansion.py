"""The spherical expansion written out with numpy and scipy, without splines: what the kernels are compared with."""

import numpy as np
from scipy.special import sph_harm_y
from structures import pairs


def harmonics(l_max, u):
    """Real Y_lm without Condon-Shortley phase, (k, (l_max + 1)^2), of unit vectors."""
    theta, phi = np.arccos(np.clip(u[:, 2], -1, 1)), np.arctan2(u[:, 1], u[:, 0])
    columns = []
    for l in range(l_max + 1):
        for m in range(-l, l + 1):
            y = (-1) ** m * np.sqrt(2 if m else 1) * sph_harm_y(l, abs(m), theta, phi)
            columns.append(y.imag if m < 0 else y.real)
    return np.stack(columns, axis=1)


def expand(atoms, radial, counts, cutoff, species, centre_contribution=True):
    """{l: (n_atoms, n_species, 2 l + 1, counts[l])}; radial(r) -> (k, sum of counts)."""
    i, j, d = pairs(atoms, cutoff)
    if centre_contribution:
        own = np.arange(len(atoms))
        i, j, d = np.append(i, own), np.append(j, own), np.append(d, np.zeros((len(own), 3)), axis=0)
    r = np.linalg.norm(d, axis=1)
    y = harmonics(
        len(counts) - 1, np.divide(d, r[:, None], out=np.tile([0.0, 0, 1], (len(d), 1)), where=r[:, None] > 0)
    )
    values = radial(r)
    block = np.searchsorted(species, atoms.numbers[j])
    result, start = {}, 0
    for l, count in enumerate(counts):
        c = np.zeros((len(atoms), len(species), 2 * l + 1, count))
        terms = y[:, l * l : (l + 1) ** 2, None] * values[:, None, start : start + count]
        if l > 0:
            terms[r == 0] = 0
        np.add.at(c, (i, block), terms)
        result[l] = c
        start += count
    return result
