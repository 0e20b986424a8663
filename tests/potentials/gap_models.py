"""A model of random weights, small and quick to make."""

import numpy as np

from forceserver.models.kernel import GapModel, SoapHypers, SoapTerm
from forceserver.models.pairs import GaussianPair, Zbl


def some_model(species=(8, 22, 56), zeta=2, seed=0, members=True):
    """Random weights: two power spectra, pair potentials, all species."""
    rng = np.random.default_rng(seed)
    terms = []
    for cutoff, n_max in ((3.1, 3), (4.2, 4)):
        hypers = SoapHypers.model_validate(
            {
                "basis": {
                    "kind": "gto",
                    "n_max": n_max,
                    "l_max": 2,
                    "cutoff": {"cutoff_angstrom": cutoff, "width_angstrom": 1.0},
                    "density": {"kind": "gaussian", "sigma_angstrom": 0.5},
                },
                "zeta": zeta,
                "spline_tolerance": 1e-8,
            }
        )
        basis = hypers.power_spectrum(species)
        points, weights, spread = {}, {}, {}
        for k, s in enumerate(species):
            q = rng.normal(size=(70 + k, len(basis)))
            points[s] = q / np.linalg.norm(q, axis=1, keepdims=True)
            weights[s] = rng.normal(size=len(q))
            spread[s] = weights[s][:, None] + 0.1 * rng.normal(size=(len(q), 8))
        terms.append(SoapTerm(hypers, basis.features, points, weights, spread if members else None))
    pair = {"species": ("Ti", "O"), "cutoff_angstrom": 3.0, "smoothing_angstrom": 1.0, "length_angstrom": 0.5}
    gaussian = GaussianPair(**pair, distances_angstrom=(1.5, 2.0), weights_ev=(0.7, -0.4))
    zbl = Zbl(species=("Ba", "O"), cutoff_angstrom=2.5, smoothing_angstrom=1.0)
    pairs = (gaussian, zbl) if species == (8, 22, 56) else ()
    return GapModel(
        species,
        {s: -1.0 - s for s in species},
        tuple(terms),
        pairs,
        (pairs,) * 8 if members else None,
        {"note": "x", "uncertainty": {"factor": 2.0, "structures": 9, "within_1_sigma": 0.7, "within_2_sigma": 0.9}},
    )
