"""Pair potentials in torch; the energy of a pair is shared equally by its two atoms."""

# ruff: noqa: UP006, UP035
from typing import List, Sequence, Tuple

import ase.units
import numpy as np
import torch

from ..models.pairs import CubicPair, GaussianPair, LennardJones, PairInteraction, SmoothedPair, SplinedPair, Zbl
from .density import _numbers


class PairEnergy(torch.nn.Module):
    """Energy of pairs of two given species; the forms are those of `models.pairs`.

    places: indices of the two species in the model, the smaller one first.
    """

    knots: torch.Tensor
    coefficients: torch.Tensor

    def __init__(self, interaction: PairInteraction, places: Tuple[int, int]) -> None:
        super().__init__()
        self.lower, self.upper = places
        self.cutoff, self.smoothing, self.switch = interaction.cutoff_angstrom, 1.0, "none"
        if isinstance(interaction, SmoothedPair):
            self.smoothing, self.switch = interaction.smoothing_angstrom, getattr(interaction, "switch", "polynomial")
        self.form, self.a, self.b = "", 0.0, 0.0
        knots, coefficients = np.zeros(2), np.zeros((1, 2))
        if isinstance(interaction, LennardJones):
            self.form, self.a, self.b = "lj", interaction.epsilon_ev, interaction.sigma_angstrom
        elif isinstance(interaction, Zbl):
            z1, z2 = interaction.numbers
            self.form, self.a = "zbl", z1 * z2 * ase.units.Hartree * ase.units.Bohr
            self.b = 0.46850 / (z1**0.23 + z2**0.23)
        elif isinstance(interaction, SplinedPair):
            from scipy.interpolate import PPoly

            self.form = "spline"
            pieces = PPoly.from_spline(interaction._spline)
            used = np.flatnonzero(np.diff(pieces.x) > 0)
            knots, coefficients = np.append(pieces.x[used], pieces.x[-1]), pieces.c[:, used]
        elif isinstance(interaction, CubicPair):
            self.form, first, slope = "spline", interaction.distances_angstrom[0], interaction.slope_ev_per_angstrom
            straight = [[0.0], [0.0], [slope], [interaction.energies_ev[0] - slope]]  # starting 1 Angstrom before it
            knots = np.append(first - 1.0, interaction._spline.x)
            coefficients = np.hstack([straight, interaction._spline.c])
        elif isinstance(interaction, GaussianPair):
            self.form, self.b = "gaussians", interaction.length_angstrom
            knots, coefficients = np.array(interaction.distances_angstrom), np.array([interaction.weights_ev])
        else:
            raise NotImplementedError(f"export: pairs of the form {type(interaction).__name__} are not known")
        self.register_buffer("knots", _numbers(knots))
        self.register_buffer("coefficients", _numbers(coefficients))

    def bare(self, r: torch.Tensor) -> torch.Tensor:
        """The energy (eV) before the smoothing."""
        if self.form == "lj":
            power = (self.b / r) ** 6
            return 4.0 * self.a * power * (power - 1.0)
        if self.form == "zbl":
            x = r / self.b
            screening = 0.18175 * torch.exp(-3.19980 * x) + 0.50986 * torch.exp(-0.94229 * x)
            screening = screening + 0.28022 * torch.exp(-0.40290 * x) + 0.02817 * torch.exp(-0.20162 * x)
            return self.a * screening / r
        if self.form == "gaussians":
            return torch.exp(-0.5 * ((r.unsqueeze(1) - self.knots) / self.b) ** 2) @ self.coefficients[0]
        piece = torch.clamp(torch.searchsorted(self.knots, r.detach(), right=True) - 1, 0, len(self.knots) - 2)
        t = r - self.knots[piece]
        value = torch.zeros_like(r)
        for k in range(self.coefficients.shape[0]):
            value = value * t + self.coefficients[k][piece]
        return value

    def forward(
        self, r: torch.Tensor, centre: torch.Tensor, first: torch.Tensor, second: torch.Tensor, atoms: int
    ) -> torch.Tensor:
        """Energies (atoms,) in eV. Each pair must be listed in both directions; first, second: species of its atoms."""
        mine = (torch.minimum(first, second) == self.lower) & (torch.maximum(first, second) == self.upper)
        near = torch.nonzero(mine & (r < self.cutoff))[:, 0]
        d = r[near]
        x = torch.clamp(1.0 - (self.cutoff - d) / self.smoothing, 0.0, 1.0)
        energy = 0.5 * self.bare(d)
        if self.switch == "polynomial":
            energy = energy * (1.0 - x**3 * (10.0 - x * (15.0 - 6.0 * x)))
        elif self.switch == "cosine":
            energy = energy * torch.cos(0.5 * 3.141592653589793 * x) ** 2
        return torch.zeros([atoms], dtype=r.dtype, device=r.device).index_add(0, centre[near], energy)


class PairSum(torch.nn.Module):
    """All pair potentials of a model, or of one of its members."""

    def __init__(self, interactions: Sequence[PairInteraction], species: Tuple[int, ...]) -> None:
        super().__init__()
        parts: List[PairEnergy] = []
        for interaction in interactions:
            first, second = interaction.numbers
            if first in species and second in species:
                parts.append(PairEnergy(interaction, (species.index(first), species.index(second))))
        self.parts = torch.nn.ModuleList(parts)

    def forward(
        self, r: torch.Tensor, centre: torch.Tensor, first: torch.Tensor, second: torch.Tensor, atoms: int
    ) -> torch.Tensor:
        energies = torch.zeros([atoms], dtype=r.dtype, device=r.device)
        for part in self.parts:
            energies = energies + part(r, centre, first, second, atoms)
        return energies
