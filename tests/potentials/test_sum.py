"""Sums of potentials, and the nesting of potentials in the configuration."""

import numpy as np
import pytest
from ase.build import bulk
from pydantic import TypeAdapter, ValidationError

from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.potentials import PotentialConfig, build_potential

EMT = {"kind": "ase", "calculator": "ase.calculators.emt.EMT"}
LJ = {"kind": "ase", "calculator": "ase.calculators.lj.LennardJones", "arguments": {"sigma": 2.6, "rc": 5.0}}


def parse(section):
    return TypeAdapter(PotentialConfig).validate_python(section)


@pytest.fixture
def frames():
    atoms = bulk("Al", cubic=True)
    frames = []
    for seed in range(3):
        atoms.rattle(0.1, seed=seed)
        frames.append(Frame.from_ase(atoms))
    return frames


def test_sum_is_linear(frames):
    parts = [build_potential(parse(section), frames[0]) for section in (EMT, LJ)]
    inner = {"kind": "sum", "terms": [{"potential": LJ}]}
    whole = build_potential(
        parse({"kind": "sum", "terms": [{"weight": 0.3, "potential": EMT}, {"weight": -2, "potential": inner}]}),
        frames[0],
    )
    for result, emt, lj in zip(whole.compute(frames), *(part.compute(frames) for part in parts), strict=True):
        assert result.energy == pytest.approx(0.3 * emt.energy - 2 * lj.energy, rel=1e-14)
        np.testing.assert_allclose(result.forces, 0.3 * emt.forces - 2 * lj.forces, atol=1e-13)
        np.testing.assert_allclose(result.virial, 0.3 * emt.virial - 2 * lj.virial, atol=1e-13)


def test_sum_of_one_does_not_alias_its_term(frames):
    potential = build_potential(parse({"kind": "sum", "terms": [{"potential": EMT}]}), frames[0])
    first = potential.compute_one(frames[0])
    before = first.forces.copy()
    potential.compute_one(frames[1])
    np.testing.assert_array_equal(first.forces, before)


def test_errors_of_a_term_come_through(frames):
    wrong = {**EMT, "calculator": "ase.calculators.emt.EMD"}
    with pytest.raises(InputError, match="EMD"):
        build_potential(parse({"kind": "sum", "terms": [{"potential": wrong}]}), frames[0])


def test_extras_that_clash(frames):
    lj = {**LJ, "extras": ["energies"]}
    with pytest.raises(InputError, match="same extras: energies"):
        build_potential(parse({"kind": "sum", "terms": [{"potential": lj}, {"potential": lj}]}), frames[0])


@pytest.mark.parametrize(
    "section",
    [
        {"kind": "sum", "terms": []},
        {"kind": "sum", "terms": [{"potential": {"kind": "nonsense"}}]},
        {"kind": "sum", "terms": [{"weight": float("nan"), "potential": EMT}]},
        {"kind": "sum", "terms": [{"wieght": 1.0, "potential": EMT}]},
        {**EMT, "stres": "zero"},
    ],
)
def test_wrong_sections_are_refused(section):
    with pytest.raises(ValidationError):
        parse(section)
