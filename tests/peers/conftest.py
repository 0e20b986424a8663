"""Fixtures of the tests with real peers."""

import os

import pytest


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch):
    """Durability is tested elsewhere; a thousand hills or kernels would take seconds."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def frames(batio3):
    frames = [batio3.copy() for _ in range(5)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=k)
        atoms.set_cell(atoms.cell.array * (1 + 0.01 * k), scale_atoms=True)
    return frames


@pytest.fixture
def crystal(batio3):
    """BaTiO3 as i-PI wants cells: upper triangular h."""
    batio3.set_cell(batio3.cell.standard_form()[0], scale_atoms=True)
    return batio3
