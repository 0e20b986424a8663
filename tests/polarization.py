"""The variable of the tests of doors and biases: O around Ti, l = 1, two radial functions."""

POLARIZATION = {
    "name": "polarization",
    "centres": "Ti",
    "neighbours": "O",
    "basis": {
        "kind": "gto",
        "n_max": 2,
        "l_max": 1,
        "cutoff": {"cutoff_angstrom": 3.0, "width_angstrom": 0.5},
        "density": {"kind": "gaussian", "sigma_angstrom": 0.4},
    },
    "weights": [0.7, 0.3],
}
