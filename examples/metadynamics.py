# %% [markdown]
# # Metadynamics and a free energy
#
# Barium titanate is ferroelectric: titanium leaves the centre of its oxygen cage. How much free energy does it cost
# to move it back? The collective variable is the mean shift, and the bias is metadynamics on the square of its length.
# Both come from forceserver; PLUMED is not needed.

# %%
import json
import os
import subprocess
from pathlib import Path

STEPS = int(os.environ.get("STEPS", "20000"))
PACE = 25 if STEPS >= 1000 else 2
titanate = Path(__file__).parents[1] / "workflows" / "batio3"
folder = Path("metadynamics")
folder.mkdir()

# %% [markdown]
# The configuration: the potential, the variable, the bias, and two sockets, one for each role towards i-PI.

# %%
config = f"""
[structure]
file = "{titanate}/demo/cold/start.extxyz"

[potential]
kind = "gap"
model = "{titanate}/potential/batio3.npz"

[[cv]]
name = "polarization"                    # the mean shift of Ti against its O cage, in Angstrom: the weight makes it so
centres = "Ti"
neighbours = "O"
weights = [-2.42]
outputs = ["norm2"]

[cv.basis]
n_max = 1
l_max = 1
cutoff = {{ cutoff_angstrom = 3.0, width_angstrom = 0.5 }}
density = {{ kind = "gaussian", sigma_angstrom = 0.5 }}

[bias]
engine = "metadynamics"
time_step_fs = 2
file_energy_unit = "eV"
colvar_stride_steps = 5
variables = [{{ name = "polarization_norm2", sigma = 0.002, lower = 0, upper = 0.12 }}]

[bias.hills]
height_eV = 0.003
pace_steps = {PACE}
temperature_K = 50
bias_factor = 8

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
"""
(folder / "forceserver.toml").write_text(config)

# %% [markdown]
# i-PI's input is that of the demo: two `<ffsocket>`, the second of which serves the bias.

# %%
text = (titanate / "demo" / "cold" / "input.xml").read_text()
text = text.replace("<total_steps>20000<", f"<total_steps>{STEPS}<")
(folder / "input.xml").write_text(text.replace(" start.extxyz ", f" {titanate}/demo/cold/start.extxyz "))


def forceserver(*arguments):
    subprocess.run(["forceserver", *map(str, arguments)], cwd=folder, check=True)


forceserver("check", "forceserver.toml")
forceserver("launch", "forceserver.toml")

# %% [markdown]
# HILLS and COLVAR are in PLUMED's formats. `fes` computes the free energy from them, by summing the hills and by
# reweighting, with error bars if the run is long enough. The pictures are in the folder `fes`.

# %%
forceserver("fes", "HILLS", "--colvar", "COLVAR", "--energy-unit", "eV", "--temperature", 50)
report = json.loads((folder / "fes" / "report.json").read_text())
for way, found in report.items():
    print(way, "minima at", [round(minimum["position"]["polarization_norm2"], 4) for minimum in found["minima"]], "Å²")
