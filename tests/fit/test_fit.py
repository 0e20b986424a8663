"""Whole fits of a small silicon model."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from typer.testing import CliRunner

from forceserver.analysis import parity
from forceserver.cli.app import app
from forceserver.errors import InputError
from forceserver.fit import accumulation, report, run
from forceserver.fit.config import FitConfig, load
from forceserver.frame import Frame
from forceserver.models.kernel import GapModel
from forceserver.potentials.conformance import check_potential
from forceserver.potentials.gap import GapPotential

DATA = Path(__file__).parents[1] / "data" / "silicon.extxyz"


def rmse(model, data, quantity):
    table = report.compare(model, data)
    return table.groups["(all)"][quantity].rmse()


def test_silicon(fitted):
    """The model meets its training structures, its forces are derivatives, and its file is what was fitted."""
    fit, config = fitted
    assert rmse(fit.model, fit.train, parity.ENERGY) < 5e-3
    assert rmse(fit.model, fit.train, parity.FORCE) < 0.25
    curve = [rmse(fit.by_share[size], fit.train, parity.FORCE) for size in sorted(fit.by_share)]
    assert curve[-1] < curve[0]
    model = GapModel.load(config.output)
    potential = GapPotential(model, uncertainty=True)
    check_potential(potential, Frame.from_ase(bulk("Si", cubic=True)), tolerance=1e-4).raise_on_failure()
    known, far = bulk("Si", cubic=True), bulk("Si", "bcc", a=2.6, cubic=True).repeat(2)
    spread = [potential.compute_one(Frame.from_ase(a)).extras["committee_uncertainty"] / len(a) for a in (known, far)]
    assert spread[1] > 5 * spread[0]
    assert not config.output.with_name("si.parts").exists()


def test_members_spread_about_the_model(fitted):
    """The energies of the members spread about the energy of the model."""
    fit, _ = fitted
    frame = fit.train[0].frame
    result = GapPotential(fit.model, uncertainty=True).compute_one(frame)
    assert result.extras["committee_pot"].mean() == pytest.approx(result.energy, abs=1e-6)


@pytest.mark.parametrize("how", ["fps", "cur", "random"])
def test_selections(content, how):
    content["descriptors"] = content["descriptors"][:1]
    content["descriptors"][0] |= {"sparse_selection": how, "n_features": 20}
    content["descriptors"][0]["feature_selection"] = "cur" if how == "cur" else "fps"
    fit = run.fit(FitConfig.model_validate(content))
    (term,) = fit.model.soap
    assert term.features.shape == (20, 5)
    assert term.points[14].shape == (30, 20)
    assert rmse(fit.model, fit.train, parity.FORCE) < 0.4


def test_labels_may_be_missing_and_virials_help(fitted, content, tmp_path):
    """Energies from some, forces from others, stresses from a third kind: all of them are met."""
    structures = read(DATA, ":")
    reference = GapPotential(fitted[0].model)
    labelled = []
    for number, atoms in enumerate(structures):
        result = reference.compute_one(Frame.from_ase(atoms))
        atoms.calc = None
        if number % 3 == 0:
            atoms.info["E"] = result.energy
        if number % 3 == 1:
            atoms.arrays["F"] = result.forces
        if number % 3 == 2:
            atoms.info["S"] = -result.virial / atoms.get_volume()
        labelled.append(atoms)
    write(tmp_path / "some.extxyz", labelled)
    content["data"] = {"train": str(tmp_path / "some.extxyz"), "energy_key": "E", "forces_key": "F", "stress_key": "S"}
    small = {"energy_ev": 1e-4, "force_ev_per_angstrom": 1e-3, "virial_ev": 1e-3}
    content["sigma"] = {"default": small}
    fit = run.fit(FitConfig.model_validate(content))
    for quantity, most in ((parity.ENERGY, 1e-3), (parity.FORCE, 2e-2), (parity.STRESS, 2e-4)):
        assert rmse(fit.model, fit.train, quantity) < most


def test_interrupted_fit_goes_on(fitted, config, monkeypatch):
    whole, _ = fitted
    computed, add = [], accumulation.add

    def interrupted(factors, columns, one, config):
        if len(computed) == 11:
            raise KeyboardInterrupt
        computed.append(one.number)
        add(factors, columns, one, config)

    monkeypatch.setattr(accumulation, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.fit(config)
    assert not config.output.exists()
    first = list(computed)

    def counted(factors, columns, one, config):
        computed.append(one.number)
        add(factors, columns, one, config)

    monkeypatch.setattr(accumulation, "add", counted)
    again = run.fit(config)
    assert len(computed) < len(first) + len(whole.train)
    np.testing.assert_array_equal(again.model.soap[0].weights[14], whole.model.soap[0].weights[14])


def test_cross_validation_keeps_the_best(content):
    content["cross_validation"] = {"energy_factors": [0.1, 1.0, 10.0], "force_factors": [1.0, 10.0]}
    summary = run.fit(FitConfig.model_validate(content)).model.summary
    scores = {tuple(entry["factors"].values()): entry["score"] for entry in summary["cross_validation"]}
    assert len(scores) == 6
    assert tuple(summary["sigma_factors"].values()) == min(scores, key=scores.get)


@pytest.mark.parametrize("settings", [{}, {"n_sparse": 40}, {"length_angstrom": 1.0, "n_sparse": 30}])
def test_two_body_kernels_with_weights_that_cancel(content, settings):
    """The default of 20 points, and worse ones: the model that is written is what was fitted."""
    content["descriptors"] = [{"kind": "pair", "cutoff_angstrom": 5.0, "smoothing_angstrom": 1.0} | settings]
    content["sigma"] = {"default": {"energy_ev": 0.001, "force_ev_per_angstrom": 0.02}}
    fit = run.fit(FitConfig.model_validate(content))
    frame = fit.train[0].frame
    loaded = GapPotential(GapModel.load(Path(content["output"])), uncertainty=True).compute_one(frame)
    assert loaded.energy == GapPotential(fit.model).compute_one(frame).energy
    assert rmse(fit.model, fit.train, parity.FORCE) < 1.0


def test_structures_without_some_or_any_pairs(content, alloy):
    """Pure elements, single atoms, dimers and clusters beside alloys, with every kind of columns."""
    content["data"] = {"train": str(alloy)}
    content["descriptors"][0]["n_sparse"] = 30
    content["descriptors"][1] = {"kind": "pair", "cutoff_angstrom": 5.0, "smoothing_angstrom": 1.0}
    content["baseline"][0]["species"] = ["Cu", "Cu"]
    content["sigma"] = {}
    fit = run.fit(FitConfig.model_validate(content))
    assert rmse(fit.model, fit.train, parity.FORCE) < 0.3


def test_isolated_atoms_have_their_energies_and_nuclei_repel(content, alloy):
    """With the defaults for everything: atoms of the data, and none of it fitted; no holes near the data of EMT."""
    fit = run.fit(FitConfig.model_validate({"output": content["output"], "data": {"train": str(alloy)}}))
    model = GapModel.load(Path(content["output"]))
    potential = GapPotential(model, uncertainty=True)
    for symbol in ("Cu", "Au"):
        atoms = Atoms(symbol)
        atoms.calc = EMT()
        far = Atoms(f"{symbol}2", [[0, 0, 0], [20, 0, 0]])
        for structure in (atoms, far):
            result = potential.compute_one(Frame.from_ase(structure))
            assert result.energy == pytest.approx(len(structure) * atoms.get_potential_energy(), abs=1e-8)
            assert result.extras["committee_uncertainty"] < 1e-8
    assert {pair.form for pair in model.pairs} == {"zbl"}
    found = {limit.what: limit for limit in fit.limits}
    assert not any(found[f"dimer {pair}"].hole for pair in ("Cu-Cu", "Cu-Au", "Au-Au"))
    assert not any(limit.hole for what, limit in found.items() if what.startswith("stretching"))
    assert model.summary["holes"] == [limit.what for limit in fit.limits if limit.hole]


def test_the_members_know_nothing_where_the_repulsion_acts(content, alloy):
    """A guess, of which half of them have none and half have it twice; at the distances of the data they have none."""
    run.fit(FitConfig.model_validate({"output": content["output"], "data": {"train": str(alloy)}}))
    model = GapModel.load(Path(content["output"]))
    potential = GapPotential(model, uncertainty=True)
    without = GapPotential(replace(model, pairs=(), pair_members=((),) * 8), uncertainty=True)
    assert len(model.pairs) == 3
    for zbl in model.pairs:
        for r in (1.001 * zbl.cutoff_angstrom, 0.8 * zbl.cutoff_angstrom):
            frame = Frame.from_ase(Atoms(zbl.species, [[0, 0, 0], [r, 0, 0]]))
            found, bare = potential.compute_one(frame), without.compute_one(frame)
            repulsion = float(zbl.evaluate(np.array([r]))[0][0])
            assert found.energy - bare.energy == pytest.approx(repulsion, rel=1e-6, abs=1e-8)
            differ = found.extras["committee_pot"] - bare.extras["committee_pot"]
            np.testing.assert_allclose(differ, [0, 2 * repulsion] * 4, rtol=1e-6, atol=1e-8)


def test_holes_are_told(content, alloy):
    """Without repulsion and energies of atoms there are some."""
    structures = [atoms for atoms in read(alloy, ":") if len(atoms) > 2]
    path = alloy.with_name("dense.extxyz")
    write(path, structures)
    content |= {"data": {"train": str(path)}, "baseline": [], "repulsion": False, "sigma": {}}
    content["descriptors"] = [content["descriptors"][0]]
    fit = run.fit(FitConfig.model_validate(content))
    assert fit.model.pairs == ()
    holes = " ".join(limit.what for limit in fit.limits if limit.hole)
    assert "isolated atoms of Cu, Au" in holes
    assert "dimer" in holes


def test_a_model_that_cannot_be_used_is_not_written(config, monkeypatch):
    """The parts of the fit are still there, so that nothing has to be computed twice."""

    def of_no_use(*arguments, **options):
        raise InputError("no")

    monkeypatch.setattr(run, "potential_of", of_no_use)
    with pytest.raises(InputError, match="no"):
        run.fit(config)
    assert not config.output.exists()
    assert len(list(config.output.with_name("si.parts").glob("*.npz"))) == 8


def broken(change):
    structures = read(DATA, ":")
    change(structures)
    return structures


def no_labels(structures):
    structures[3].calc = None


def nan_energy(structures):
    structures[2].calc.results["energy"] = np.nan


def coincident(structures):
    structures[4].positions[1] = structures[4].positions[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_labels, "structure 3 has no energy, forces, virial or stress; there are config_type, tag"),
        (nan_energy, "structure 2: the label 'energy' is not finite"),
        (coincident, "structure 4: atoms . and . .*apart"),
    ],
)
def test_bad_structures_are_told(content, tmp_path, change, message):
    path = tmp_path / "bad.extxyz"
    write(path, broken(change))
    content["data"]["train"] = str(path)
    with pytest.raises(InputError, match=message):
        run.fit(FitConfig.model_validate(content))
    assert not (tmp_path / "si.npz").exists()


def test_bad_choices_are_told(content, tmp_path):
    content["descriptors"][0]["n_sparse"] = 100_000
    with pytest.raises(InputError, match=r"n_sparse = 100000: there are [0-9]+ different environments of Si"):
        run.fit(FitConfig.model_validate(content))
    content["descriptors"][0] |= {"n_sparse": 30, "n_features": 1000}
    with pytest.raises(InputError, match="n_features = 1000: the descriptor has 60 features"):
        run.fit(FitConfig.model_validate(content))
    content["descriptors"][0]["n_features"] = None
    short = content | {"descriptors": [{"kind": "pair", "cutoff_angstrom": 0.4, "smoothing_angstrom": 0.1}]}
    with pytest.raises(InputError, match=r"cutoff_angstrom = 0.4: the closest atoms .* so that none has a neighbour"):
        run.fit(FitConfig.model_validate(short))
    content["sigma"]["Surfaces"] = {}
    with pytest.raises(InputError, match="no training structure is in the group Surfaces"):
        run.fit(FitConfig.model_validate(content))
    del content["sigma"]["Surfaces"]
    atoms = bulk("Ge", cubic=True)
    atoms.info["energy"] = 1.0
    write(tmp_path / "test.extxyz", [read(DATA, 0), atoms])
    content["data"]["test"] = str(tmp_path / "test.extxyz")
    with pytest.raises(InputError, match="structure 1 has Ge, which is not in the training structures"):
        run.fit(FitConfig.model_validate(content))


TOML = """
output = "model.npz"
report = "report"
[data]
train = "{data}"
test = "{data}"
[sigma.default]
energy_ev = 0.003
[[descriptors]]
kind = "soap"
zeta = 2
n_sparse = 20
[descriptors.basis]
kind = "gto"
n_max = 4
l_max = 2
cutoff = {{ cutoff_angstrom = 4.0, width_angstrom = 1.0 }}
density = {{ kind = "gaussian", sigma_angstrom = 0.5 }}
"""


def test_command_line(tmp_path):
    (tmp_path / "fit.toml").write_text(TOML.format(data=DATA))
    done = CliRunner().invoke(app, ["fit", str(tmp_path / "fit.toml")])
    assert done.exit_code == 0, done.output
    assert "root-mean-square errors" in done.output
    written = {path.name for path in (tmp_path / "report").iterdir()}
    pictures = {"parity_train.png", "parity_test.png", "learning_curve.png"}
    assert written == {"errors.json", "uncertainty.json", "limits.json"} | pictures
    assert re.search(r"uncertainty: \d+ % of \d+ energy errors are within one standard deviation", done.output)
    assert re.search(r"uncertainty: eight members, (spread [\d.]+ times|not calibrated)", done.output)
    errors = json.loads((tmp_path / "report" / "errors.json").read_text())
    assert errors["train"] == errors["test"]
    told = CliRunner().invoke(app, ["info", str(tmp_path / "model.npz")])
    assert "sparse points: Si 20" in told.output
    assert "Si  e_0, fitted (that of no isolated atom)" in told.output
    assert load(tmp_path / "fit.toml").output == tmp_path / "model.npz"


def test_configuration_is_checked(tmp_path):
    (tmp_path / "fit.toml").write_text(TOML.format(data=DATA).replace("n_sparse", "n_sparce"))
    with pytest.raises(InputError, match="did you mean 'n_sparse'"):
        load(tmp_path / "fit.toml")
