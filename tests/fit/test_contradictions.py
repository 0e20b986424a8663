"""Labels with another sign or in other units than the rest are told; labels that agree are not."""

from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write
from ase.stress import voigt_6_to_full_3x3_stress

from forceserver.fit import run
from forceserver.fit.config import FitConfig
from forceserver.fit.regression import Factor
from forceserver.fit.validation import Validation

DATA = Path(__file__).parents[1] / "data" / "silicon.extxyz"


def fitted(content, train, caplog):
    settings = content | {
        "data": {"train": str(train)},
        "descriptors": content["descriptors"][:1],
        "baseline": [],
        "sigma": {},
        "cross_validation": {"energy_factors": [1.0], "force_factors": [1.0]},
    }
    settings["descriptors"][0] |= {"n_sparse": None}
    run.fit(FitConfig.model_validate(settings))
    return [record.message for record in caplog.records if "says of them" in record.message]


@pytest.mark.parametrize(
    ("quantity", "factor", "told"),
    [
        ("stress", 1, None),
        ("stress", -1, "the virials are about -0.9"),
        ("stress", 160.21766, "the virials are about 1"),
        ("forces", -1, "the forces are about -1"),
        ("energy", 1000, "the labels contradict one another"),
    ],
)
def test_a_factor_is_told(content, alloy, tmp_path, caplog, quantity, factor, told):
    structures = read(alloy, ":")
    for atoms in structures:
        results = atoms.calc.results
        labels = {"energy": results["energy"], "forces": results["forces"]}
        if "stress" in results:
            labels["stress"] = voigt_6_to_full_3x3_stress(results["stress"])
        atoms.calc = None
        for name, value in labels.items():
            place = atoms.arrays if name == "forces" else atoms.info
            place[f"REF_{name}"] = value * (factor if name == quantity else 1)
    path = tmp_path / "labels.extxyz"
    write(path, structures)
    found = fitted(content, path, caplog)
    assert len(found) == (told is not None)
    assert told is None or told in found[0]


def test_labels_of_density_functional_theory_agree(content, caplog):
    assert fitted(content, DATA, caplog) == []


def factors(energies, forces):
    """Of so many labels, of which forces are those of energies with another sign and unit."""
    rng = np.random.default_rng(0)
    truth, found = rng.normal(size=5), {}
    for quantity, count, factor in (("energy", energies, 1.0), ("forces", forces, -160.0)):
        part = Factor(5)
        rows = 1e3 * rng.normal(size=(count, 5))
        part.add(rows, factor * rows @ truth)
        part.finish()
        found[quantity] = [part]
    return found


def test_the_factor_is_that_of_the_labels():
    found = Validation(factors(40, 40), np.eye(5)).beside_the_others("forces")
    assert found == pytest.approx((-160.0, -1.0), rel=1e-4)
    alone = {"forces": factors(40, 40)["forces"]}
    assert Validation(alone, np.eye(5)).beside_the_others("forces") is None


@pytest.mark.parametrize("quantity", ["energy", "forces"])
def test_a_few_labels_contradict_nothing(quantity):
    """Energy and stress of a single structure met its forces with 38 times their size."""
    assert Validation(factors(10, 40), np.eye(5)).beside_the_others(quantity) is None
