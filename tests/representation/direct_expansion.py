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


def harmonic_gradients(l_max, d):
    """Derivatives of Y_lm(d / |d|) with respect to d, (k, 3, (l_max + 1)^2), of vectors that are not along z."""
    r = np.linalg.norm(d, axis=1)
    theta, phi = np.arccos(d[:, 2] / r), np.arctan2(d[:, 1], d[:, 0])
    along_theta = np.stack([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), -np.sin(theta)], axis=1)
    along_phi = np.stack([-np.sin(phi), np.cos(phi), np.zeros_like(phi)], axis=1) / np.sin(theta)[:, None]
    columns = []
    for l in range(l_max + 1):
        for m in range(-l, l + 1):
            slopes = (-1) ** m * np.sqrt(2 if m else 1) * sph_harm_y(l, abs(m), theta, phi, diff_n=1)[1]
            slopes = slopes.imag if m < 0 else slopes.real
            columns.append((slopes[:, :1] * along_theta + slopes[:, 1:] * along_phi) / r[:, None])
    return np.stack(columns, axis=2)


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


def expand_gradients(atoms, radial, counts, cutoff, species):
    """{l: (n_atoms, 3, n_atoms, n_species, 2 l + 1, counts[l])}, [k, x, i] = d c_i / d r_k,x, and the same for strain,
    {l: (3, 3, n_atoms, ...)}; radial(r) -> values and derivatives, each (k, sum of counts)."""
    i, j, d = pairs(atoms, cutoff)
    r = np.linalg.norm(d, axis=1)
    u = d / r[:, None]
    y, slopes = harmonics(len(counts) - 1, u), harmonic_gradients(len(counts) - 1, d)
    values, derivatives = radial(r)
    block = np.searchsorted(species, atoms.numbers[j])
    by_position, by_strain, start = {}, {}, 0
    for l, count in enumerate(counts):
        lm, n = slice(l * l, (l + 1) ** 2), slice(start, start + count)
        pair = np.einsum("pm,pn,px->pxmn", y[:, lm], derivatives[:, n], u)
        pair += np.einsum("pxm,pn->pxmn", slopes[:, :, lm], values[:, n])
        shape = len(atoms), len(species), 2 * l + 1, count
        by_position[l], by_strain[l] = np.zeros((len(atoms), 3, *shape)), np.zeros((3, 3, *shape))
        for x in range(3):
            np.add.at(by_position[l], (j, x, i, block), pair[:, x])
            np.add.at(by_position[l], (i, x, i, block), -pair[:, x])
            for a in range(3):
                np.add.at(by_strain[l], (a, x, i, block), d[:, a, None, None] * pair[:, x])
        start += count
    return by_position, by_strain
