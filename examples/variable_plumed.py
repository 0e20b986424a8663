# %% [markdown]
# # A variable in PLUMED
#
# A forceserver collective variable, first in Python and then in PLUMED, which biases it in a simulation with
# i-PI. This needs PLUMED: `conda install -c conda-forge plumed py-plumed`, or `PLUMED_KERNEL` with the path of
# `libplumedKernel.so`.

# %%
import os
import subprocess
from pathlib import Path

import ase.io
import numpy as np

import forceserver as fs

STEPS = int(os.environ.get("STEPS", "2000"))
titanate = Path(__file__).parents[1] / "workflows" / "batio3"
folder = Path("variable_plumed")
folder.mkdir()
atoms = ase.io.read(titanate / "demo" / "cold" / "start.extxyz")

# %% [markdown]
# The variable is the l = 1 part of the density of oxygen around titanium, averaged over titanium: a vector that is
# zero if each titanium is at the centre of its cage. The weight converts it to a shift in Angstrom.

# %%
basis = {
    "n_max": 1,
    "l_max": 1,
    "cutoff": {"cutoff_angstrom": 3.0, "width_angstrom": 0.5},
    "density": {"kind": "gaussian", "sigma_angstrom": 0.5},
}
variable = fs.CollectiveVariable(atoms, name="shift", centres="Ti", neighbours="O", basis=basis, weights=[-2.42])
print("centred", variable.compute(atoms).values)

moved = atoms.copy()
moved.positions[moved.symbols == "Ti", 2] += 0.1
result = variable.compute(moved)
print("titanium 0.1 Å along z", result.values)

gradient = np.zeros((len(atoms), 3))  # of the component z, for all atoms
gradient[result.active] = result.gradients[variable.outputs.index("z")]
print("per titanium", gradient[moved.symbols == "Ti", 2].mean(), "of", 1 / np.sum(moved.symbols == "Ti"))

# %% [markdown]
# The same variable in a configuration. PLUMED runs inside forceserver, sees the centroid of the beads, and gets each
# output of the variable as an `EXTRACV`. PLUMED's own variables and biases can be used alongside.

# %%
(folder / "plumed.dat").write_text("""
UNITS ENERGY=eV LENGTH=A TIME=ps
z: EXTRACV NAME=shift_z
pull: RESTRAINT ARG=z AT=0.1 KAPPA=50
PRINT ARG=z,pull.bias STRIDE=5 FILE=COLVAR
""")
(folder / "forceserver.toml").write_text(f"""
[structure]
file = "{titanate}/demo/cold/start.extxyz"

[potential]
kind = "gap"
model = "{titanate}/potential/batio3.npz"

[[cv]]
name = "shift"
centres = "Ti"
neighbours = "O"
weights = [-2.42]

[cv.basis]
n_max = 1
l_max = 1
cutoff = {{ cutoff_angstrom = 3.0, width_angstrom = 0.5 }}
density = {{ kind = "gaussian", sigma_angstrom = 0.5 }}

[bias]
engine = "plumed"
plumed_dat = "plumed.dat"
time_step_fs = 2
temperature_K = 50

[socket]
mode = "unix"
prefix = "./"
address = "force"

[bias_socket]
mode = "unix"
prefix = "./"
address = "bias"

[simulation]
input = "input.xml"
""")
text = (titanate / "demo" / "cold" / "input.xml").read_text()
text = text.replace("<total_steps>20000<", f"<total_steps>{STEPS}<")
(folder / "input.xml").write_text(text.replace(" start.extxyz ", f" {titanate}/demo/cold/start.extxyz "))

# %%
subprocess.run(["forceserver", "launch", "forceserver.toml"], cwd=folder, check=True)

# %% [markdown]
# PLUMED has pulled the titanium atoms along z.

# %%
time, z, energy = np.loadtxt(folder / "COLVAR").T
print(f"z from {z[0]:.3f} to {z[-1]:.3f} Å in {time[-1]:.2f} ps")
assert z[-1] > z[0]
