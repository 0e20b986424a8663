"""Linear functions of the power spectrum: their values, their file, and how they are fitted."""

import numpy as np
import pytest
from ase.build import bulk
from variable_kinds import BASIS, weights_file

from forceserver.cv import CollectiveVariable, variable_section
from forceserver.cv.fitting import fit_variable
from forceserver.cv.linear_functions import LinearFunctions
from forceserver.errors import InputError
from forceserver.representation.invariants import PowerSpectrum
from forceserver.representation.neighbours import NeighbourList, Selection


@pytest.fixture(scope="module")
def phases():
    """Rattled copper in three lattices and at several volumes, labelled."""
    found = []
    for seed in range(4):
        for name, a in (("fcc", 3.6), ("bcc", 2.87), ("hcp", 2.55)):
            atoms = bulk("Cu", name, a=a * (1 + 0.01 * seed)).repeat(2)
            atoms.rattle(0.05, seed=seed)
            atoms.info |= {"phase": name, "volume": atoms.get_volume() / len(atoms)}
            atoms.arrays["height"] = atoms.positions[:, 2] * 0 + seed
            found.append(atoms)
    return found


def section(folder, **changes):
    keys = {"kind": "power_spectrum", "name": "p", "centres": "Cu", "neighbours": "Cu", "basis": BASIS}
    return variable_section(keys | {"weights": folder / "w.npz"} | changes)


def spectra(functions, atoms, centres=(29,)):
    species = Selection(species=centres)
    around = Selection(species=tuple(set(functions.species) & set(atoms.numbers.tolist())))
    basis = functions.power_spectrum()
    pairs = NeighbourList(atoms.numbers, basis.expansion.cutoff, centres=species, neighbours=around)
    pairs.update(atoms.positions, atoms.cell.array)
    return PowerSpectrum(basis, pairs).values()


@pytest.mark.parametrize("normalise", [True, False])
def test_value_is_the_function_of_the_power_spectrum(batio3, normalise):
    path = weights_file("ti_o.npz", species=(8, 22), normalise=normalise)
    functions = LinearFunctions.load(path)
    keys = {"kind": "power_spectrum", "centres": "Ti", "neighbours": ["O", "Ti"], "basis": BASIS}
    keys |= {"normalise": normalise, "weights": path, "per_centre": [6], "outputs": ["down", "up"]}
    cv = CollectiveVariable(batio3, **keys)
    assert cv.outputs == ("down", "up", "atom6_down", "atom6_up")
    p = spectra(functions, batio3, (22,))
    each = (p @ functions.weights.T + functions.offsets)[:, ::-1]
    expected = np.concatenate([each.mean(axis=0), each[1]])
    np.testing.assert_allclose(cv.compute(batio3).values, expected, atol=1e-12)
    total = CollectiveVariable(batio3, **keys, reduction="sum").compute(batio3).values
    np.testing.assert_allclose(total, np.concatenate([each.sum(axis=0), each[1]]), atol=1e-11)


def test_principal_components_are_those_of_scikit_learn(phases, tmp_path):
    from sklearn.decomposition import PCA

    config = section(tmp_path)
    functions = fit_variable(config, phases, "pca", components=3)
    p = np.concatenate([spectra(functions, atoms) for atoms in phases])
    expected = PCA(3).fit_transform(p)
    found = p @ functions.weights.T + functions.offsets
    np.testing.assert_allclose(abs(found), abs(expected), atol=1e-10)
    functions.save(config.weights)
    values = CollectiveVariable(phases[0], **dict(config)).compute(phases[0]).values
    np.testing.assert_allclose(values, found[:8].mean(axis=0), atol=1e-10)


def test_discriminants_tell_phases_apart(phases, tmp_path):
    """The means of the environments of each structure are nearest to those of its class; left-out ones are, too."""
    config = section(tmp_path)
    functions = fit_variable(config, phases, "lda", label="phase")
    assert functions.names == ("ld1", "ld2")
    assert functions.summary["classes"] == ["bcc", "fcc", "hcp"]
    assert functions.summary["accuracy"] > 0.95
    functions.save(config.weights)
    means = np.array(functions.summary["means"])
    for atoms in phases:
        values = CollectiveVariable(atoms, **dict(config)).compute(atoms).values
        nearest = np.linalg.norm(means - values, axis=1).argmin()
        assert functions.summary["classes"][nearest] == atoms.info["phase"]
    of_one = fit_variable(config, phases, "lda", label="phase", components=1)
    np.testing.assert_allclose(of_one.weights, functions.weights[:1])


@pytest.mark.parametrize("label", ["volume", "height"])
def test_ridge_predicts_a_label(phases, tmp_path, label):
    """Of structures, and of atoms."""
    functions = fit_variable(section(tmp_path, normalise=False), phases, "ridge", label=label)
    assert functions.names == (label,)
    assert functions.summary["samples"] == (12 if label == "volume" else sum(map(len, phases)))
    truth = [atoms.info["volume"] if label == "volume" else atoms.arrays["height"].mean() for atoms in phases]
    predicted = [(spectra(functions, a) @ functions.weights[0]).mean() + functions.offsets[0] for a in phases]
    spread = functions.summary["standard_deviation"]
    assert np.abs(np.subtract(predicted, truth)).max() < 0.2 * spread
    assert functions.summary["rmse_left_out"] < 0.5 * spread


def test_contracted_functions_are_kept_in_the_file(batio3, tmp_path):
    structures = [batio3.copy() for _ in range(3)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.1, seed=seed)
    contraction = {"mixed": True, "q_max": 2}
    around = {"centres": "Ti", "neighbours": ["O", "Ba"]}
    config = section(tmp_path, contraction=contraction, **around)
    functions = fit_variable(config, structures, "pca")
    assert functions.weights.shape == (2, 5 * 3)
    functions.save(config.weights)
    values = CollectiveVariable(batio3, **dict(config)).compute(batio3).values
    again = LinearFunctions.load(config.weights)
    expected = spectra(again, batio3, (22,)).mean(axis=0) @ again.weights.T + again.offsets
    np.testing.assert_allclose(values, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "method", "options", "message"),
    [
        ({}, "lda", {}, "lda: needs the name of a label"),
        ({}, "pca", {"label": "phase"}, "pca: has no labels"),
        ({}, "lda", {"label": "colour"}, r"structure 0 has no label 'colour'; there are height, phase, volume"),
        ({}, "lda", {"label": "positions"}, r"has shape \(8, 3\), must be one number or word"),
        ({}, "ridge", {"label": "phase"}, "'fcc' somewhere, must be a number; lda takes words"),
        ({}, "lda", {"label": "phase", "components": 3}, "components = 3: must be 1 to 2"),
        ({}, "pca", {"components": 0}, "components = 0: must be 1 to"),
        ({"neighbours": ["Cu", "Ni"]}, "pca", {}, "no structure has neighbours Ni"),
        ({"centres": "Ni"}, "pca", {}, "structure 0: centres: no atom of species"),
    ],
)
def test_fits_that_cannot_be(phases, tmp_path, changes, method, options, message):
    with pytest.raises(InputError, match=message):
        fit_variable(section(tmp_path, **changes), phases, method, **options)


def test_labels_that_teach_nothing(phases, tmp_path):
    with pytest.raises(InputError, match="lda: all labels are 'fcc'"):
        fit_variable(section(tmp_path), phases[:1], "lda", label="phase")
    with pytest.raises(InputError, match="3 samples are too few"):
        fit_variable(section(tmp_path), phases[:3], "ridge", label="volume")
    for atoms in (equal := [a.copy() for a in phases]):
        atoms.info["volume"] = 3.0
    with pytest.raises(InputError, match="'volume' is 3 everywhere"):
        fit_variable(section(tmp_path), equal, "ridge", label="volume")
    del equal[5].info["phase"]
    with pytest.raises(InputError, match="structure 5 has no label 'phase'"):
        fit_variable(section(tmp_path), equal, "lda", label="phase")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"basis": BASIS | {"n_max": 4}}, "were made for another basis"),
        ({"normalise": False}, "were made for normalised features, but normalise = False"),
        ({"neighbours": ["O", "Ba"]}, "know no neighbours Ba, only O, Ti"),
        ({"outputs": ["sideways"]}, "have no 'sideways', only up, down"),
        ({"weights": "nowhere.npz"}, "there is no file .*nowhere.npz; `forceserver cv fit` makes it"),
        ({"outputs": []}, "nothing to compute"),
    ],
)
def test_weights_that_do_not_fit(batio3, changes, message):
    keys = {"kind": "power_spectrum", "centres": "Ti", "neighbours": "O", "basis": BASIS}
    with pytest.raises(InputError, match=message):
        CollectiveVariable(batio3, **(keys | {"weights": weights_file("w.npz")} | changes))


def test_a_file_that_is_damaged_or_of_another_kind(batio3, tmp_path):
    path = tmp_path / "w.npz"
    keys = {"kind": "power_spectrum", "centres": "Ti", "neighbours": "O", "basis": BASIS, "weights": path}
    good = weights_file("w.npz").read_bytes()
    for content, message in (
        (b"hello", "it is damaged"),
        (good[:-40], "it is damaged"),
        (good.replace(b"linear variable", b"nonlinear thing"), "checksum|damaged|not a forceserver linear variable"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            CollectiveVariable(batio3, **keys)
    with np.load(weights_file("w.npz")) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | {"weights": arrays["weights"][:, 1:]}))
    with pytest.raises(InputError, match="checksum is wrong"):
        CollectiveVariable(batio3, **keys)
    functions = LinearFunctions.load(weights_file("w.npz"))
    with pytest.raises(ValueError, match=r"weights: must be finite, of shape \(2, 105\)"):
        LinearFunctions(functions.basis, (8, 22), functions.names, functions.weights[:, 1:], functions.offsets)
