"""Structures that follow one another in time are left out together."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet

from forceserver.fit.data import Labelled
from forceserver.fit.preparation import groups_of
from forceserver.fit.trajectories import follow_in_time
from forceserver.frame import Frame

ETHANOL = molecule("CH3CH2OH")
COPPER = bulk("Cu", cubic=True)


def labelled(structures, group="(none)") -> list[Labelled]:
    return [Labelled(Frame.from_ase(atoms), group, None, None, None) for atoms in structures]


def rattled(atoms, count=40):
    copies = [atoms.copy() for _ in range(count)]
    for seed, one in enumerate(copies):
        one.rattle(0.1, seed=seed)
    return copies


def dynamics(atoms, stride, count=40):
    """Frames of molecular dynamics with a step of 2 fs, wrapped into the cell."""
    (atoms,) = rattled(atoms, 1)
    atoms.calc = EMT()
    frames = []
    run = VelocityVerlet(atoms, 2 * units.fs)
    for _ in range(count):
        run.run(stride)
        frames.append(atoms.copy())
        frames[-1].wrap()
    return frames


@pytest.mark.parametrize(
    ("structures", "expected"),
    [
        (lambda: dynamics(ETHANOL, 1), True),
        (lambda: dynamics(COPPER, 2), True),
        (lambda: dynamics(COPPER, 200, 20), False),
        (lambda: rattled(ETHANOL), False),
        (lambda: rattled(COPPER), False),
        (lambda: rattled(ETHANOL) + dynamics(ETHANOL, 1, 10), False),
        (lambda: [COPPER] * 40, False),
        (lambda: dynamics(COPPER, 2, 5), False),
    ],
)
def test_what_follows_in_time(structures, expected):
    assert follow_in_time(labelled(structures())) is expected


def test_consecutive_structures_of_each_kind_are_left_out_together():
    cold, hot = labelled(dynamics(COPPER, 2), "cold"), labelled(dynamics(COPPER, 2, 24), "hot")
    groups = groups_of(cold + hot, 0)
    assert sorted(number for group in groups for number in group) == list(range(64))
    assert groups[0] == [*range(5), *range(40, 43)]
    for group in groups:
        assert list(np.diff(group)).count(1) == len(group) - 2
