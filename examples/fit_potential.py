# %% [markdown]
# # Fit a potential
#
# A sparse kernel model of silicon from structures with DFT energies and forces. The structures come from
# `workflows/silicon`. Any file that ASE reads will do, if it has energies and forces under one of the usual names.

# %%
import os
from pathlib import Path

import ase.io
import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk
from ase.optimize import BFGS

import forceserver as fs

SMALL = "STEPS" in os.environ  # a quick try
data = Path(__file__).parents[1] / "workflows" / "silicon"
folder = Path("fit_potential")
folder.mkdir()

# %%
train = ase.io.read(data / "Si_training.extxyz", "::40" if SMALL else "::3")
test = ase.io.read(data / "Si_test.extxyz", "::8" if SMALL else ":")
ase.io.write(folder / "train.extxyz", train)
ase.io.write(folder / "test.extxyz", test)

# %% [markdown]
# Only `output` and `data` are required; cutoff, descriptors and expected errors are otherwise derived from the data.
# Here they are given, which takes a third of the time. All of these keys can also be written in a TOML file for
# `forceserver fit`.

# %%
basis = {
    "kind": "gto",
    "n_max": 4 if SMALL else 8,
    "l_max": 3 if SMALL else 6,
    "cutoff": {"cutoff_angstrom": 5.0, "width_angstrom": 0.5},
    "density": {"kind": "gaussian", "sigma_angstrom": 0.5},
}
fit = fs.fit_potential(
    output=str(folder / "si.npz"),
    data={"train": str(folder / "train.extxyz")},
    descriptors=[{"kind": "soap", "basis": basis, "n_sparse": 60 if SMALL else 500}],
    sigma={"default": {"energy_ev": 0.003, "force_ev_per_angstrom": 0.1}},
)

# %% [markdown]
# How well does it predict structures that it has not seen?

# %%
potential = fs.load_potential(folder / "si.npz")
predicted = [potential.compute_one(fs.Frame.of(atoms)) for atoms in test]
per_atom = np.array([(p.energy - a.get_potential_energy()) / len(a) for p, a in zip(predicted, test, strict=True)])
reference = np.concatenate([atoms.get_forces().ravel() for atoms in test])
forces = np.concatenate([result.forces.ravel() for result in predicted])
print(f"energies {1e3 * np.sqrt(np.mean(per_atom**2)):.1f} meV per atom")
print(f"forces {np.sqrt(np.mean((forces - reference) ** 2)):.3f} eV/Å, of {reference.std():.3f}")
assert np.corrcoef(forces, reference)[0, 1] > 0.9

figure, axes = plt.subplots()
axes.plot(reference, forces, ".")
axes.axline((0, 0), slope=1, color="grey")
axes.set(xlabel="force, DFT / (eV/Å)", ylabel="force, model / (eV/Å)")
figure.savefig(folder / "forces.png")

# %% [markdown]
# The model in ASE: relaxing a vacancy. In a configuration it is `kind = "gap"`, `model = "si.npz"`.

# %%
atoms = bulk("Si", cubic=True) * (2, 2, 2)
del atoms[0]
atoms.calc = fs.ForceServerCalculator(potential)
before = atoms.get_potential_energy()
BFGS(atoms, logfile=None).run(fmax=0.05, steps=10 if SMALL else 100)
print(f"the vacancy gains {before - atoms.get_potential_energy():.3f} eV by relaxing")
