"""Embedding functions: nonlinear functions of several linear properties of an atom, for cluster expansions.

    E_i = F(phi_1 .. phi_P; theta),    phi_p = sum_k w_pk f_k(i)

Each embedding provides F, its gradient with respect to phi and, for training, the gradient with respect to phi and the
parameters theta of a combination of both, so that forces can be trained without a matrix of second derivatives:

    S = sum_i [a_i F(phi_i) + sum_p b_ip dF/dphi_p(phi_i)]

F is phi_1 if the other properties are small, so training begins at the linear model. F(0) = 0: an atom without
neighbours has the energy e_0. cython_ext/embedding.h computes F and its gradient; this module adds what training needs.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from .. import _ext
from ..frame import Array
from ..sections import Section

_kernel = _ext.kernel("embedding")


class BaseEmbedding(Section):
    """Base of all kinds."""

    kind: str

    @property
    def n_properties(self) -> int:
        """Number P of properties."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, int, int]:
        """The kernel's number for the kind, P, and the number of neurons."""
        return _kernel.KINDS[self.kind], self.n_properties, getattr(self, "width", 0)

    def parameters(self, theta: Array) -> Array:
        """The parameters that the kernel reads: theta, or fixed ones if they are not trained."""
        return theta

    def evaluate(self, phi: Array, theta: Array) -> tuple[Array, Array]:
        """F (n,) and dF/dphi (n, P) of properties (n, P), eV."""
        kind, properties, width = self.shape
        values, slopes = np.empty(len(phi)), np.empty((len(phi), properties))
        parameters = np.ascontiguousarray(self.parameters(theta), dtype=np.float64)
        _kernel.evaluate(kind, width, parameters, np.ascontiguousarray(phi), values, slopes)
        return values, slopes


class FinnisSinclair(BaseEmbedding):
    """`kind = "finnis_sinclair"`: phi_1 + s(phi_2) with s(x) = sign(x) (sqrt(|x| + exp(-|x|)/4) - exp(-|x|)/2).

    The square root of Finnis and Sinclair, smooth at zero (Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021)).
    """

    kind: Literal["finnis_sinclair"] = "finnis_sinclair"

    @property
    def n_properties(self) -> int:
        return 2

    def start(self, rng: np.random.Generator) -> Array:
        """Parameters to begin with."""
        return np.zeros(0)

    def pull(self, phi: Array, theta: Array, a: Array, b: Array) -> tuple[Array, Array]:
        """dS/dphi (n, P) and dS/dtheta of S with a (n,) and b (n, P)."""
        slope, curvature = self.evaluate(phi, theta)[1][:, 1], root_curvature(phi[:, 1])
        return np.column_stack([a, a * slope + b[:, 1] * curvature]), np.zeros(0)


def root_curvature(x: Array) -> Array:
    """The second derivative of s(x); it is odd, and jumps at zero."""
    y = np.abs(x)
    e = np.exp(-y)
    q, dq, ddq = y + 0.25 * e, 1 - 0.25 * e, 0.25 * e
    root = np.sqrt(q)
    return np.sign(x) * (0.5 * ddq / root - 0.25 * dq**2 / (root * q) - 0.5 * e)


class Powers(BaseEmbedding):
    """`kind = "powers"`: phi_1 plus signed powers x (x^2 + e^2)^((m - 1) / 2) with exponents m, where e = 0.1 eV.

    trained: whether the exponents are trained, starting from the given values.
    """

    kind: Literal["powers"] = "powers"
    exponents: tuple[float, ...] = Field(default=(0.5,), min_length=1, max_length=8)
    trained: bool = True

    @property
    def n_properties(self) -> int:
        return 1 + len(self.exponents)

    def start(self, rng: np.random.Generator) -> Array:
        """Parameters to begin with."""
        return np.array(self.exponents) if self.trained else np.zeros(0)

    def parameters(self, theta: Array) -> Array:
        """The exponents."""
        return theta if self.trained else np.array(self.exponents)

    def pull(self, phi: Array, theta: Array, a: Array, b: Array) -> tuple[Array, Array]:
        """dS/dphi (n, P) and dS/dtheta of S with a (n,) and b (n, P)."""
        x, q, k = phi[:, 1:], phi[:, 1:] ** 2 + 0.01, 0.5 * (self.parameters(theta) - 1)
        slope = self.evaluate(phi, theta)[1][:, 1:]
        curvature = 6 * k * x * q ** (k - 1) + 4 * k * (k - 1) * x**3 * q ** (k - 2)
        in_phi = np.column_stack([a, a[:, None] * slope + b[:, 1:] * curvature])
        if not self.trained:
            return in_phi, np.zeros(0)
        by_m = a[:, None] * x * q**k * np.log(q) / 2 + b[:, 1:] * (slope * np.log(q) / 2 + x**2 * q ** (k - 1))
        return in_phi, by_m.sum(axis=0)


class Network(BaseEmbedding):
    """`kind = "network"`: phi_1 + v . (tanh(U phi + c) - tanh(c)), one dense layer of `width` neurons."""

    kind: Literal["network"] = "network"
    properties: int = Field(default=2, ge=1, le=16)
    width: int = Field(default=8, ge=1, le=128)

    @property
    def n_properties(self) -> int:
        return self.properties

    def start(self, rng: np.random.Generator) -> Array:
        """Parameters to begin with: a small outer layer, so that F is nearly phi_1."""
        p, w = self.properties, self.width
        return np.concatenate(
            [rng.normal(size=w * p) / np.sqrt(p), 0.1 * rng.normal(size=w), 0.01 * rng.normal(size=w)]
        )

    def _split(self, theta: Array) -> tuple[Array, Array, Array]:
        w, size = self.width, self.width * self.properties
        return theta[:size].reshape(w, self.properties), theta[size : size + w], theta[size + w :]

    def pull(self, phi: Array, theta: Array, a: Array, b: Array) -> tuple[Array, Array]:
        """dS/dphi (n, P) and dS/dtheta of S with a (n,) and b (n, P)."""
        u, c, v = self._split(theta)
        h = np.tanh(phi @ u.T + c)
        one, two = 1 - h**2, -2 * h * (1 - h**2)
        inner, b_in = v * one, b @ u.T
        inside = a[:, None] * inner + v * two * b_in
        in_phi = inside @ u
        in_phi[:, 0] += a
        at_zero = np.tanh(c)
        in_u = inside.T @ phi + inner.T @ b
        in_c = inside.sum(axis=0) - a.sum() * v * (1 - at_zero**2)
        in_v = (a[:, None] * (h - at_zero) + one * b_in).sum(axis=0)
        return in_phi, np.concatenate([in_u.ravel(), in_c, in_v])


Embedding = Annotated[FinnisSinclair | Powers | Network, Field(discriminator="kind")]
