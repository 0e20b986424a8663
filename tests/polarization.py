"""The variable of the tests of variables and biases: O around Ti, l = 1, two radial functions; as text and as read."""

from forceserver.sections import tomllib

TOML = """
[structure]
file = "batio3.extxyz"

[[cv]]
name = "polarization"
centres = "Ti"
neighbours = "O"
weights = [0.7, 0.3]

[cv.basis]
kind = "gto"
n_max = 2
l_max = 1
cutoff = { cutoff_angstrom = 3.0, width_angstrom = 0.5 }
density = { kind = "gaussian", sigma_angstrom = 0.4 }
"""

TOML_P = TOML.replace('"polarization"', '"p"')
"""The same under a shorter name."""

POLARIZATION = tomllib.loads(TOML)["cv"][0]
