"""What the members of a model say of atoms and forces."""

import numpy as np
import pytest
from ace_models import some_ace
from ase import Atoms
from gap_models import some_model

from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.potentials.model_files import potential_of


def frame(seed):
    rng = np.random.default_rng(seed)
    cell = np.array([[6.0, 0.3, 0.1], [0.2, 6.4, 0.0], [0.0, 0.5, 5.8]])
    grid = np.stack(np.meshgrid(*[[0.0, 0.33, 0.66]] * 3), axis=-1).reshape(-1, 3)[:10]
    atoms = Atoms("Ba2Ti2O6", pbc=True, cell=cell)
    atoms.positions = (grid + rng.normal(scale=0.02, size=grid.shape)) @ cell
    return Frame.from_ase(atoms)


def with_other_pairs(model):
    """Members whose pair potentials differ, too."""
    pairs = tuple(model.pairs[: k % 2 + 1] for k in range(8))
    return type(model)(**{**vars(model), "pair_members": pairs})


@pytest.fixture(params=["kernel", "ace"])
def model(request):
    return with_other_pairs(some_model()) if request.param == "kernel" else some_ace()


def test_forces_are_those_of_the_members(model):
    frames = [frame(1), frame(2)]
    members = [potential_of(model.member(k)).compute(frames) for k in range(8)]
    found = potential_of(model, uncertainty="forces").compute(frames)
    plain = potential_of(model, uncertainty=True).compute(frames)
    for number, result in enumerate(found):
        forces = np.array([member[number].forces for member in members])
        virials = np.array([member[number].virial for member in members])
        np.testing.assert_allclose(result.extras["committee_force"], forces, atol=1e-12)
        np.testing.assert_allclose(result.extras["committee_virial"], virials, atol=1e-12)
        spread = np.sqrt((forces.std(axis=0, ddof=1) ** 2).sum(axis=1))
        assert result.extras["committee_force_uncertainty"] == pytest.approx(spread.max())
        for name in ("committee_pot", "committee_uncertainty"):
            np.testing.assert_allclose(result.extras[name], plain[number].extras[name], rtol=1e-9)
        np.testing.assert_array_equal(result.forces, plain[number].forces)


def test_atoms_have_the_spread_of_their_energies(model):
    frames = [frame(1), frame(2)]
    found = potential_of(model, uncertainty="atoms").compute(frames)
    for result, one in zip(found, frames, strict=True):
        energies = np.array([potential_of(model.member(k)).atomic_energies(one) for k in range(8)])
        np.testing.assert_allclose(result.extras["atomic_uncertainty"], energies.std(axis=0, ddof=1), atol=1e-10)


def test_a_model_without_members_has_none():
    model = some_ace(members=False)
    with pytest.raises(InputError, match="has no members"):
        potential_of(model, uncertainty="forces")
    with pytest.raises(ValueError, match="has no members"):
        model.member(0)
