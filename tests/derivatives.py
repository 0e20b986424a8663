"""Derivatives of variables by finite differences."""

import numpy as np

from forceserver.frame import Frame


def dense(result, n_atoms):
    gradients = np.zeros((len(result.values), n_atoms, 3))
    gradients[:, result.active] = result.gradients
    return gradients


def central_differences(compute, atoms, step=2e-5):
    """Derivatives of `compute(frame).values` with respect to positions (d, N, 3) and strain (d, 3, 3)."""
    frame = Frame.from_ase(atoms)

    def difference(change):
        values = []
        for sign in (1, -1):
            moved = Frame.from_ase(atoms)
            change(moved, sign * step)
            values.append(compute(moved).values)
        return (values[0] - values[1]) / (2 * step)

    def move(k, a):
        def change(moved, by):
            moved.positions[k, a] += by

        return change

    def strain(a, b):
        def change(moved, by):
            deformation = np.eye(3)
            deformation[a, b] += by
            moved.positions, moved.cell = moved.positions @ deformation, moved.cell @ deformation

        return change

    gradients = [[difference(move(k, a)) for a in range(3)] for k in range(len(frame))]
    strains = [[difference(strain(a, b)) for b in range(3)] for a in range(3)]
    return np.moveaxis(gradients, 2, 0), np.moveaxis(strains, 2, 0)
