"""A small network of neighbour densities as an ASE calculator, in single or double precision."""

import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes
from vesin import ase_neighbor_list

CUTOFF = 5.0


class Network(Calculator):
    """Energies of atoms from smeared distances, with an offset as total energies have it.

    wrong: by what the forces are multiplied.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, dtype=torch.float32, offset=-5.0, wrong=1.0, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        layers = torch.nn.Linear(16, 32), torch.nn.SiLU(), torch.nn.Linear(32, 1)
        self.network = torch.nn.Sequential(*layers).to(dtype)
        self.dtype, self.offset, self.wrong = dtype, offset, wrong

    def calculate(self, atoms, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        i, j, shifts = ase_neighbor_list("ijS", atoms, CUTOFF)
        i, j = (torch.tensor(index.astype(np.int64)) for index in (i, j))
        positions, cell, shifts = (
            torch.tensor(array, dtype=self.dtype) for array in (atoms.positions, atoms.cell.array, shifts)
        )
        positions.requires_grad_()
        strain = torch.zeros(3, 3, dtype=self.dtype, requires_grad=True)
        deformation = torch.eye(3, dtype=self.dtype) + strain
        r = ((positions[j] - positions[i] + shifts @ cell) @ deformation).norm(dim=1)
        switch = (0.5 * (1 + torch.cos(np.pi * r / CUTOFF))) ** 2
        smeared = torch.exp(-2 * (r[:, None] - torch.linspace(1, 5, 16, dtype=self.dtype)) ** 2) * switch[:, None]
        density = torch.zeros(len(atoms), 16, dtype=self.dtype).index_add_(0, i, smeared)
        energy = (3 * self.network(density) + self.offset).sum()
        energy.backward()
        stress = strain.grad.double().numpy() / atoms.get_volume()
        self.results = {
            "energy": float(energy.detach()),
            "forces": -self.wrong * positions.grad.double().numpy(),
            "stress": ((stress + stress.T) / 2).ravel()[[0, 4, 8, 5, 2, 1]],
        }
