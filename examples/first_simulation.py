# %% [markdown]
# # First simulation
#
# Copper at 300 K in i-PI, with forces from an ASE calculator. You need a structure and a model; `forceserver init`
# writes the rest. Run this script with `python examples/first_simulation.py`, or cell by cell in an editor that
# supports `# %%`.

# %%
import os
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk

STEPS = int(os.environ.get("STEPS", "2000"))
folder = Path("first_simulation")
folder.mkdir()

# %% [markdown]
# The structure may be any file that ASE reads. EMT stands in for a model here. Any ASE calculator is given by the path
# of its class; a model file by its name, such as `model.npz`, `model.pt` or `mace.model`.

# %%
(bulk("Cu", cubic=True) * (2, 2, 2)).write(folder / "start.cif")


def forceserver(*arguments):
    subprocess.run(["forceserver", *map(str, arguments)], cwd=folder, check=True)


forceserver("init", "start.cif", "ase.calculators.emt.EMT", "--temperature", 300, "--steps", STEPS)

# %% [markdown]
# The folder now has i-PI's input, `input.xml`, and forceserver's configuration, `config.toml`. Both are meant to be
# edited. `check` finds errors in either file and mismatches between them.

# %%
print((folder / "config.toml").read_text())
forceserver("check", "config.toml")

# %% [markdown]
# `launch` starts i-PI and the driver that computes its forces, and ends when i-PI has done all steps. After any
# interruption, `forceserver launch config.toml --restart` resumes.

# %%
forceserver("launch", "config.toml")

# %% [markdown]
# i-PI has written a table of properties; its header names the columns.

# %%
names = [line.split()[4] for line in (folder / "out.properties").read_text().splitlines() if line.startswith("# col")]
columns = dict(zip([name.partition("{")[0] for name in names], np.loadtxt(folder / "out.properties").T, strict=True))
time, temperature = columns["time"], columns["temperature"]
print(f"{len(time)} rows, to {time[-1]:.2f} ps; mean temperature {temperature.mean():.0f} K")
print(f"the conserved quantity moves by {np.ptp(columns['conserved']) * 1e3 / 32:.3f} meV per atom")

figure, axes = plt.subplots()
axes.plot(time, temperature)
axes.set(xlabel="time / ps", ylabel="temperature / K")
figure.savefig(folder / "temperature.png")
