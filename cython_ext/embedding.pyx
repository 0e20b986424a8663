"""Functions of several properties of an atom, and their gradients; models/embedding.py defines them."""

from libc.stdint cimport int64_t

cdef extern from "embedding.h" nogil:
    const int FS_FINNIS_SINCLAIR
    const int FS_POWERS
    const int FS_NETWORK
    ctypedef struct Embedding:
        int kind, n_properties, width
        const double* theta
    double fs_embed(const Embedding*, const double*, double*)

KINDS = {"finnis_sinclair": FS_FINNIS_SINCLAIR, "powers": FS_POWERS, "network": FS_NETWORK}


def evaluate(int kind, int width, const double[::1] theta, const double[:, ::1] phi, double[::1] values,
             double[:, ::1] slopes):
    """Writes F of the properties phi (n, P) to values (n,), and dF/dphi to slopes (n, P). width: neurons of a
    network."""
    cdef Embedding embedding
    cdef int64_t i
    embedding.kind = kind
    embedding.n_properties = phi.shape[1]
    embedding.width = width
    embedding.theta = &theta[0]
    with nogil:
        for i in range(phi.shape[0]):
            values[i] = fs_embed(&embedding, &phi[i, 0], &slopes[i, 0])
