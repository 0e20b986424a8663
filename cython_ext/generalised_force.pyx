"""Generalised forces on variables, converted to forces on the atoms: forces_a += sum_d force_d d s_d / d r_a.

The sum is computed for the atoms on which the variables depend.
"""

from libc.stdint cimport int32_t


def add_forces(const double[::1] force, const double[:, :, ::1] gradients, const int32_t[::1] active,
               double[:, ::1] forces):
    """Adds to forces (atoms, 3). force: (d,); gradients: (d, n, 3); active: (n,), indices of atoms, without
    repetition."""
    cdef Py_ssize_t a, d
    cdef double x, y, z
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
