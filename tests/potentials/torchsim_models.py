"""Models behind torch-sim's interface: particles in a well about the centre of the cell, with charges."""

import torch
from torch_sim.models.interface import ModelInterface

ANISOTROPY = torch.tensor([[1.0, 0.2, 0.0], [0.0, 1.0, -0.3], [0.0, 0.0, 0.8]], dtype=torch.float64)


class Wells(ModelInterface):
    """E = sum_i k |r_i|^2 / 2 without stress; atom i has the charge (-1)^i and the dipole (-1)^i A r_i.

    Periodic images are ignored, so that only clusters have these forces.
    """

    def __init__(self, k=0.5, device=None, dtype=torch.float64):
        super().__init__()
        self._device, self._dtype = device or torch.device("cpu"), dtype
        self._compute_stress, self._compute_forces = False, True
        self.k = k

    def forward(self, state):
        """Energies, forces, dipoles, charges and Born effective charges."""
        r, system = state.positions, state.system_idx
        systems = int(system.max()) + 1
        order = torch.cat([torch.arange(n) for n in torch.bincount(system)])
        charges = 1.0 - 2.0 * (order % 2).to(r.dtype)
        zeros = torch.zeros(systems, dtype=r.dtype)
        return {
            "energy": zeros.index_add(0, system, 0.5 * self.k * (r**2).sum(1)),
            "forces": -self.k * r,
            "charges": charges,
            "dipole": torch.zeros(systems, 3, dtype=r.dtype).index_add(0, system, charges[:, None] * r @ ANISOTROPY.T),
            "BEC": charges[:, None, None] * ANISOTROPY,
        }


class Members(Wells):
    """The same with three members of an ensemble."""

    def forward(self, state):
        """Energies of members beside those of `Wells`."""
        outputs = super().forward(state)
        return outputs | {"energy_ensemble": outputs["energy"][:, None] * torch.tensor([0.9, 1.0, 1.1])}


def no_model(**arguments):
    """What is no model at all."""
    return arguments


class Blind(Wells):
    """Forces of fewer atoms than there are, or none."""

    def __init__(self, rows=0, **keys):
        super().__init__(**keys)
        self.rows = rows

    def forward(self, state):
        """The outputs of `Wells`, with `rows` of the forces."""
        outputs = super().forward(state)
        return outputs | {"forces": outputs["forces"][: self.rows] if self.rows else None}


class Charged(Wells):
    """Wells that a charge shifts by 10 eV and a spin multiplicity by 1 eV, as fairchem's and Orb's models read them."""

    def forward(self, state):
        """The outputs of `Wells`, with energies shifted."""
        outputs = super().forward(state)
        charge, spin = (getattr(state, name, None) for name in ("charge", "spin"))
        shift = (0 if charge is None else 10 * charge) + (0 if spin is None else spin)
        return outputs | {"energy": outputs["energy"] + shift}
