"""Models from Python: their options, and structures that they do not know."""

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from gap_models import some_model

import forceserver as fs

ALUMINIUM = bulk("Al", cubic=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "al.npz"
    some_model((13,)).save(path)
    return path


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"uncertain": True}, "options of a GapPotential: uncertain: unknown argument; did you mean 'uncertainty'"),
        ({"uncertainty": "all"}, "uncertainty = 'all' should be True, False"),
        ({"precision": "half"}, "precision = 'half' should be"),
        ({"skin": -1}, "skin = -1 should be a length"),
    ],
)
def test_a_wrong_option_of_a_model_is_named(model, options, told):
    with pytest.raises(fs.InputError, match=told):
        fs.ForceServerCalculator.from_model(model, **options)


def test_a_model_computes_atoms_and_refuses_what_it_does_not_know(model):
    potential = fs.load_potential(model)
    assert potential.compute_one(ALUMINIUM).energy == potential.compute_one(fs.Frame.of(ALUMINIUM)).energy
    assert fs.AsePotential(EMT()).compute_one(ALUMINIUM).energy == pytest.approx(EMT().get_potential_energy(ALUMINIUM))
    with pytest.raises(fs.InputError, match=r"al\.npz cannot compute the template: .*is Cu; the model knows Al only"):
        fs.load_potential(model, bulk("Cu"))
    with pytest.raises(fs.InputError, match="3 is not the path of a model file"):
        fs.ForceServerCalculator.from_model(3)
