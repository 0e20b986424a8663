"""A small model of silicon, fitted once, and the configuration that it comes from."""

from pathlib import Path

import pytest

from forceserver.fit.config import FitConfig

DATA = Path(__file__).parents[1] / "data" / "silicon.extxyz"


@pytest.fixture
def content(tmp_path):
    """A configuration as a dictionary: 30 sparse points, a two-body part and a ZBL core."""
    basis = {
        "kind": "gto",
        "n_max": 5,
        "l_max": 3,
        "cutoff": {"cutoff_angstrom": 4.5, "width_angstrom": 1.0},
        "density": {"kind": "gaussian", "sigma_angstrom": 0.5},
    }
    return {
        "output": str(tmp_path / "si.npz"),
        "data": {"train": str(DATA)},
        "descriptors": [
            {"kind": "soap", "basis": basis, "zeta": 3, "n_sparse": 30, "delta_ev": 1.0},
            {"kind": "pair", "cutoff_angstrom": 4.0, "smoothing_angstrom": 1.0, "n_sparse": 8},
        ],
        "baseline": [{"form": "zbl", "species": ["Si", "Si"], "cutoff_angstrom": 1.8, "smoothing_angstrom": 0.8}],
        "sigma": {"default": {"energy_ev": 0.003, "force_ev_per_angstrom": 0.1}, "Surface": {"energy_ev": 0.001}},
    }


@pytest.fixture
def config(content):
    return FitConfig.model_validate(content)
