# %% [markdown]
# # First simulation
#
# Copper at 300 K in i-PI, with forces of an ASE calculator. What you need is a structure and a model; `forceserver
# init` writes the rest. Run it with `python examples/first_simulation.py`, or cell by cell in an editor that knows
# `# %%`.

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
# The structure may be any file that ASE reads. EMT stands for a model here: the path of a class is enough for any
# calculator of ASE, and `model.npz`, `model.pt` or `mace.model` for a file.

# %%
(bulk("Cu", cubic=True) * (2, 2, 2)).write(folder / "start.cif")


def forceserver(*arguments):
    subprocess.run(["forceserver", *map(str, arguments)], cwd=folder, check=True)


forceserver("init", "start.cif", "ase.calculators.emt.EMT", "--temperature", 300, "--steps", STEPS)

# %% [markdown]
# There is now the input of i-PI, `input.xml`, and the configuration of forceserver, `config.toml`. Both are made to
# be changed. `check` looks for what does not fit, in both and between them.

# %%
print((folder / "config.toml").read_text())
forceserver("check", "config.toml")

# %% [markdown]
# `launch` starts i-PI and the driver that computes its forces, and ends when i-PI has done all steps. If anything
# interrupts it, `forceserver launch config.toml --restart` goes on.

# %%
forceserver("launch", "config.toml")

# %% [markdown]
# i-PI has written a table of properties, whose columns its header names.

# %%
names = [line.split()[4] for line in (folder / "out.properties").read_text().splitlines() if line.startswith("# col")]
columns = dict(zip([name.partition("{")[0] for name in names], np.loadtxt(folder / "out.properties").T, strict=True))
time, temperature = columns["time"], columns["temperature"]
print(f"{len(time)} rows, to {time[-1]:.2f} ps; mean temperature {temperature.mean():.0f} K")
print(f"the conserved quantity moves by {np.ptp(columns['conserved']) * 1e3 / 32:.3f} meV an atom")

figure, axes = plt.subplots()
axes.plot(time, temperature)
axes.set(xlabel="time / ps", ylabel="temperature / K")
figure.savefig(folder / "temperature.png")
