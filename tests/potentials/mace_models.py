"""Networks of MACE's that nobody has trained: the same code and cost as trained ones, with any forces."""

import mace.calculators  # noqa: F401 - first: lets e3nn read its constants with this torch
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from e3nn import o3
from mace.modules import EnergyDipolesMACE, ScaleShiftMACE, interaction_classes


def mace_model(species=(1, 6, 8), hidden="8x0e", cutoff=5.0, seed=0, heads=("Default",)):
    """A `ScaleShiftMACE` in double precision with random weights."""
    scale = {"atomic_inter_scale": np.full(len(heads), 20.0), "atomic_inter_shift": np.zeros(len(heads))}
    energies = np.tile(-np.array(species, dtype=float), (len(heads), 1))
    return _made(ScaleShiftMACE, species, hidden, cutoff, seed, energies, heads=list(heads), **scale)


def dipole_model(cls=EnergyDipolesMACE, energies=(-1.0, -6.0, -8.0)):
    """A model of H, C and O with dipoles, in double precision with random weights."""
    return _made(cls, (1, 6, 8), "8x0e + 8x1o", 5.0, 0, None if energies is None else np.array(energies))


def _made(cls, species, hidden, cutoff, seed, energies, **more):
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return cls(
            r_max=cutoff,
            num_bessel=8,
            num_polynomial_cutoff=6,
            max_ell=2,
            interaction_cls=interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=interaction_classes["RealAgnosticInteractionBlock"],
            num_interactions=2,
            num_elements=len(species),
            hidden_irreps=o3.Irreps(hidden),
            MLP_irreps=o3.Irreps("16x0e"),
            gate=torch.nn.functional.silu,
            atomic_energies=energies,
            avg_num_neighbors=12.0,
            atomic_numbers=list(species),
            correlation=2,
            **more,
        ).eval()
    finally:
        torch.set_default_dtype(before)


def structures() -> list[Atoms]:
    """Periodic and rattled, of several sizes: a triclinic cell, atoms outside it, a cell smaller than the cutoff."""
    triclinic = bulk("C", cubic=True, a=5.5)
    triclinic.set_cell(triclinic.cell @ [[1, 0.2, 0], [0, 1.1, -0.3], [0.1, 0, 0.9]], scale_atoms=True)
    small = bulk("C", cubic=False, a=5.5)
    boxed = molecule("CH3CH2OH", cell=[7, 8, 9], pbc=True)
    boxed.positions += [20, -30, 5]
    found = [triclinic, small, boxed]
    for seed, atoms in enumerate(found):
        atoms.rattle(0.1, seed=seed)
    return found


def cluster() -> Atoms:
    """A molecule without a cell."""
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=3)
    return atoms
