"""Generalised forces on variables, converted to forces on the atoms: forces_a += sum_d force_d d s_d / d r_a.

The sum is computed for the atoms on which the variables depend.
"""

from libc.stdint cimport int32_t


def add_forces(const double[::1] force, const double[:, :, ::1] gradients, const int32_t[::1] active,
               double[:, ::1] forces):
    """Adds to forces (atoms, 3). force: (d,); gradients: (d, n, 3); active: (n,), indices of atoms, without
    repetition.

    Raises `IndexError`, before anything is added, for an index of no atom and for shapes that do not fit together.
    """
    cdef Py_ssize_t a, d, n = active.shape[0], atoms = forces.shape[0]
    cdef double x, y, z
    if gradients.shape[0] != force.shape[0] or gradients.shape[1] != n or gradients.shape[2] != 3:
        raise IndexError(f"gradients of shape {tuple(gradients.shape)[:3]} should be ({force.shape[0]}, {n}, 3)")
    if forces.shape[1] != 3:
        raise IndexError(f"forces have {forces.shape[1]} columns, not 3")
    for a in range(n):
        if not 0 <= active[a] < atoms:
            raise IndexError(f"atom {active[a]} is active, and forces have {atoms} rows")
    with nogil:
        for a in range(active.shape[0]):
            x = y = z = 0.0
            for d in range(force.shape[0]):
                x += force[d] * gradients[d, a, 0]
                y += force[d] * gradients[d, a, 1]
                z += force[d] * gradients[d, a, 2]
            forces[active[a], 0] += x
            forces[active[a], 1] += y
            forces[active[a], 2] += z
