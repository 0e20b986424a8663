# %% [markdown]
# # Your own network
#
# A custom model is a class with one method: positions in; energy, forces and virial out. Here it is a small network in
# torch, untrained to keep the page short. Any other model is used in the same way.

# %%
import os
import subprocess
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase.build import bulk
from ase.neighborlist import neighbor_list

import forceserver as fs

STEPS = int(os.environ.get("STEPS", "500"))
folder = Path("own_network")
folder.mkdir()

# %% [markdown]
# Autograd gives the forces. The virial is minus the derivative with respect to a strain of positions and cell: the
# network applies a strain of zero and differentiates with respect to it.


# %%
class Network(fs.Potential):
    """Atomic energies from the distances to neighbours, smeared on a grid."""

    cutoff = 4.0

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        self.layers = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)).double()
        self.grid = torch.linspace(1.0, self.cutoff, 16, dtype=torch.float64)

    def compute_one(self, frame):
        first, second, shifts = neighbor_list("ijS", frame.to_ase(), self.cutoff)
        positions = torch.tensor(frame.positions, requires_grad=True)
        strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
        vectors = positions[second] - positions[first] + torch.tensor(shifts @ frame.cell)
        r = (vectors @ (torch.eye(3, dtype=torch.float64) + strain)).norm(dim=1)
        switch = torch.cos(0.5 * np.pi * r / self.cutoff) ** 4
        smeared = torch.exp(-4 * (r[:, None] - self.grid) ** 2) * switch[:, None]
        density = torch.zeros(len(frame), 16, dtype=torch.float64).index_add(0, torch.tensor(first), smeared)
        repulsion = torch.exp(-3 * (r - 2.0)).mul(switch).sum()
        energy = self.layers(density).sum() + repulsion
        slope, strain_slope = torch.autograd.grad(energy, (positions, strain))
        return fs.Result(energy.item(), -slope.numpy(), -0.5 * (strain_slope + strain_slope.T).numpy())


# %% [markdown]
# Is it correct? `check_potential` tests derivatives, symmetries, batches and rounding noise, and reports what is wrong.

# %%
atoms = bulk("Cu", cubic=True) * (2, 2, 2)
network = Network()
report = fs.check_potential(network, atoms)
print(report)
report.raise_on_failure()

# %% [markdown]
# Now serve it to i-PI. i-PI's input names a socket; `fs.serve` connects to it and stays until i-PI has done all steps.

# %%
ase.io.write(folder / "start.extxyz", atoms)
(folder / "input.xml").write_text(f"""
<simulation verbosity='low' threading='False' sockets_prefix='./'>
  <output prefix='out'>
    <properties stride='1' filename='properties'>
      [ step, conserved{{electronvolt}}, temperature{{kelvin}} ]
    </properties>
  </output>
  <total_steps>{STEPS}</total_steps>
  <prng><seed>1</seed></prng>
  <ffsocket name='network' mode='unix' pbc='False'><address>network</address><latency>0</latency></ffsocket>
  <system>
    <initialize nbeads='1'>
      <file mode='ase'> start.extxyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='network'/></forces>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
    <motion mode='dynamics'>
      <dynamics mode='nve'><timestep units='femtosecond'> 1 </timestep></dynamics>
    </motion>
  </system>
</simulation>
""")
with open(folder / "ipi.log", "w") as log:
    ipi = subprocess.Popen(["i-pi", "input.xml"], cwd=folder, stdout=log, stderr=log)
    outcome = fs.serve(network, atoms, "network", prefix=f"{folder}/")
    ipi.wait()
print(outcome)

# %% [markdown]
# The energy is conserved if the forces are its derivative.

# %%
step, conserved, temperature = np.loadtxt(folder / "out.properties").T
drift = np.ptp(conserved) / len(atoms)
print(f"{len(step) - 1} steps, {temperature[-1]:.0f} K, energy within {1e3 * drift:.4f} meV per atom")
assert drift < 1e-3
