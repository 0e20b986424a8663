"""The spherical expansion in torch, with the same splines and harmonics as the kernels, in the same layout.

Derivatives are left to automatic differentiation. TorchScript needs type annotations in the style of Python 3.8.
"""

# ruff: noqa: UP006, UP035
from math import factorial, pi, sqrt
from typing import List

import numpy as np
import torch
from numpy.typing import NDArray

from ..frame import Array
from ..representation.expansion import ExpansionBasis
from ..representation.lanes import round_to_lanes


class Harmonics(torch.nn.Module):
    """Real spherical harmonics without Condon-Shortley phase, up to a degree.

    Computed from unit vectors by recursion: Y_lm = N_lm Pi_l^m(z) Re or Im (x + i y)^|m|, where Pi_l^m are the
    associated Legendre polynomials divided by (1 - z^2)^(m / 2).
    """

    norms: torch.Tensor

    def __init__(self, l_max: int) -> None:
        super().__init__()
        self.l_max = l_max
        norms: List[float] = []
        for l in range(l_max + 1):
            for m in range(-l, l + 1):
                ratio = factorial(l - abs(m)) / factorial(l + abs(m))
                norms.append(sqrt((2 * l + 1) / (4 * pi) * ratio * (1 if m == 0 else 2)))
        self.register_buffer("norms", torch.tensor(norms, dtype=torch.float64))

    def forward(self, unit: torch.Tensor) -> torch.Tensor:
        """The harmonics (pairs, (l_max + 1)^2) of unit vectors (pairs, 3), ordered by l and m = -l .. l."""
        x, y, z = unit[:, 0], unit[:, 1], unit[:, 2]
        real: List[torch.Tensor] = [torch.ones_like(x)]
        imaginary: List[torch.Tensor] = [torch.zeros_like(x)]
        for m in range(1, self.l_max + 1):
            real.append(x * real[m - 1] - y * imaginary[m - 1])
            imaginary.append(x * imaginary[m - 1] + y * real[m - 1])
        columns: List[torch.Tensor] = [torch.ones_like(x) for _ in range((self.l_max + 1) * (self.l_max + 1))]
        for m in range(self.l_max + 1):
            below = torch.zeros_like(x)
            legendre = torch.ones_like(x)
            for k in range(1, m + 1):
                legendre = legendre * float(2 * k - 1)
            for l in range(m, self.l_max + 1):
                columns[l * l + l + m] = legendre * real[m]
                if m > 0:
                    columns[l * l + l - m] = legendre * imaginary[m]
                above = (float(2 * l + 1) * z * legendre - float(l + m) * below) / float(l + 1 - m)
                below, legendre = legendre, above
        return torch.stack(columns, dim=1) * self.norms


class Density(torch.nn.Module):
    """Coefficients (centres, blocks * size) of neighbour densities; see `ExpansionBasis` for their layout.

    species: atomic numbers of the model, ascending; the species of centres and neighbours are given as indices into it.
        Those that the basis does not have may be centres, but not neighbours.
    """

    own: torch.Tensor
    nodes: torch.Tensor
    table_of: torch.Tensor
    block_of: torch.Tensor

    def __init__(self, basis: ExpansionBasis, species: tuple[int, ...]) -> None:
        super().__init__()
        self.cutoff, _, self.inverse_step = map(float, basis.grid)
        self.n_blocks, self.size = basis.n_blocks, basis.size
        self.degrees, self.counts, self.padded, self.starts, _ = (list(map(int, row)) for row in basis.layout)
        self.harmonics = Harmonics(max(self.degrees))
        place = {s: k for k, s in enumerate(basis.species)}
        own = np.zeros((len(species), basis.n_blocks * basis.size))
        for k, s in enumerate(species):
            for block in range(basis.n_blocks if 0 in basis.counts and s in place else 0):
                start = block * basis.size + basis.offsets[0]
                own[k, start : start + round_to_lanes(basis.counts[0])] = basis.own_by_block[place[s], block]
        self.register_buffer("own", _numbers(own))
        self.register_buffer("nodes", _numbers(basis.nodes))
        self.register_buffer("table_of", _places(basis.table_of[[place.get(s, 0) for s in species]]))
        self.register_buffer("block_of", _places(basis.block_of[[place.get(s, 0) for s in species]]))

    def forward(
        self,
        vectors: torch.Tensor,
        centre: torch.Tensor,
        neighbour_species: torch.Tensor,
        centre_species: torch.Tensor,
    ) -> torch.Tensor:
        """The coefficients for vectors (pairs, 3), in Angstrom, from the centres with indices `centre` (pairs,)."""
        r = torch.sqrt((vectors**2).sum(dim=1))
        near = torch.nonzero(r < self.cutoff)[:, 0]
        r, vectors, centre = r[near], vectors[near], centre[near]
        kind = neighbour_species[near]
        x = r * self.inverse_step
        interval = torch.clamp(x.detach().to(torch.long), 0, self.nodes.shape[1] - 2)
        t = (x - interval.to(x.dtype)).unsqueeze(1)
        table = self.table_of[kind]
        left, right = self.nodes[table, interval], self.nodes[table, interval + 1]
        t2, t3 = t * t, t * t * t
        radial = (
            (2.0 * t3 - 3.0 * t2 + 1.0) * left[:, 0]
            + (t3 - 2.0 * t2 + t) * left[:, 1]
            + (3.0 * t2 - 2.0 * t3) * right[:, 0]
            + (t3 - t2) * right[:, 1]
        )
        harmonics = self.harmonics(vectors / r.unsqueeze(1))
        parts: List[torch.Tensor] = []
        for k in range(len(self.degrees)):
            l, count = self.degrees[k], self.counts[k]
            y = harmonics[:, l * l : (l + 1) * (l + 1)]
            part = y.unsqueeze(2) * radial[:, self.starts[k] : self.starts[k] + count].unsqueeze(1)
            part = torch.nn.functional.pad(part, [0, self.padded[k] - count])
            parts.append(part.reshape(len(r), (2 * l + 1) * self.padded[k]))
        n = len(centre_species)
        sums = torch.zeros([n * self.n_blocks, self.size], dtype=r.dtype, device=r.device)
        sums = sums.index_add(0, centre * self.n_blocks + self.block_of[kind], torch.cat(parts, dim=1))
        return sums.reshape(n, self.n_blocks * self.size) + self.own[centre_species]


def _numbers(array: Array) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(array), dtype=torch.float64)


def _places(array: NDArray) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(array), dtype=torch.long)
