"""One section [[cv]] of every kind, with all that it can do, for the tests that every kind must pass."""

RATIONAL = {"kind": "rational", "r0_angstrom": 2.0, "n": 6, "d_max_angstrom": 4.5}
COSINE = {"kind": "cosine", "d0_angstrom": 2.5, "d_max_angstrom": 4.5}
BASIS = {
    "kind": "gto",
    "n_max": 3,
    "l_max": 4,
    "cutoff": {"cutoff_angstrom": 4.5, "width_angstrom": 0.5},
    "density": {"kind": "gaussian", "sigma_angstrom": 0.5},
}
STEINHARDT = ("norm_of_mean", "mean_norm", "mean_local", "mean_averaged")
WEIGHTS = (0.7, -0.3, 0.2)

KINDS = {
    "coordination of a switch": {"kind": "coordination", "switch": RATIONAL},
    "coordination of a basis": {"kind": "coordination", "basis": BASIS, "weights": WEIGHTS, "reduction": "sum"},
    "steinhardt of a switch": {
        "kind": "steinhardt",
        "l": 4,
        "switch": RATIONAL,
        "local_switch": COSINE | {"d_max_angstrom": 5.0},
        "outputs": STEINHARDT,
        "convention": "steinhardt",
    },
    "steinhardt of a basis": {
        "kind": "steinhardt",
        "l": 3,
        "basis": BASIS,
        "weights": WEIGHTS,
        "local_switch": COSINE,
        "outputs": STEINHARDT,
    },
    "steinhardt without partners": {
        "kind": "steinhardt",
        "l": 6,
        "switch": COSINE,
        "outputs": ("mean_norm", "norm_of_mean"),
    },
}
