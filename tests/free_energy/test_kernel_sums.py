"""Free energies from KERNELS and STATE of OPES: against the bias itself, and against the potential that was sampled."""

import json
import os
from functools import partial

import numpy as np
import pytest
from langevin import KT, T, double_well, double_well_slope, sample
from typer.testing import CliRunner

from forceserver.analysis.blocks import effective_size, transient
from forceserver.bias.opes.bias import Opes
from forceserver.bias.opes.kernels import kernels_of
from forceserver.bias.opes.parameters import opes_parameters
from forceserver.bias.opes.widths import FixedWidths
from forceserver.bias.tables import FieldsReader
from forceserver.cli.app import app
from forceserver.errors import InputError
from forceserver.free_energy.kernel_sums import read_densities
from forceserver.units import PER_EV

KJ = PER_EV["kJ/mol"]
STEPS, WELL = 30_000, 0.12
"""Steps, and the barrier (eV) between the wells."""


@pytest.fixture(scope="module", params=[False, True], ids=["opes", "explore"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("opes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)  # thousands of kernels; durability is tested elsewhere
        opes = {"barrier_eV": 0.15, "pace_steps": 30, "explore": request.param, "state_file": folder / "STATE"}
        slope = partial(double_well_slope, barrier=WELL)
        sample(folder, [{"name": "x"}], slope, STEPS, seed=4, engine="opes", mobility_dt=0.1, **opes)
    return folder


def call(*words):
    return CliRunner().invoke(app, ["fes", *map(str, words), "-T", str(T)])


def table(path):
    reader = FieldsReader(path)
    rows = reader.read()
    return reader.fields, rows


def test_it_is_the_bias_without_its_factor(run):
    reader = FieldsReader(run / "KERNELS")
    kernels = kernels_of(reader, reader.read())
    explore = "EXPLORE" in reader.constants["action"]
    parameters = opes_parameters(0.15, T, 30, explore=explore)
    bias = Opes(kernels.variables, parameters, FixedWidths(kernels.sigmas[0]))
    bias.add(kernels)
    densities = read_densities([run / "KERNELS"])
    axes = densities.axes()
    surface = densities.free_energy(densities.sums[-1], axes, KT)
    gamma = parameters.bias_factor
    v = np.array([bias.evaluate(np.array([s]))[0] for s in surface.nodes[0]])
    f = -v * gamma / (gamma - 1)
    np.testing.assert_allclose(surface.values, f - f.min(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(densities.negative_bias(surface).values, (-v) - (-v).min(), rtol=0, atol=1e-10)


def test_kernels_state_and_reweighting_give_the_double_well(run, tmp_path):
    right = double_well(x := np.linspace(-3, 3, 2000), barrier=WELL)
    p = np.exp(-right / KT)
    right = p[x > 0].sum() / p.sum()
    options = ["--colvar", run / "COLVAR", "--phase", "right: x > 0", "--phase", "left: x <= 0"]
    result = call(run / "KERNELS", *options, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "Reweighted by opes.bias" in result.output
    assert "rct" not in result.output
    report = json.loads((tmp_path / "report.json").read_text())
    found = [report[name]["phases"][0]["population"] for name in ("kernels", "reweighting")]
    assert found[0] == pytest.approx(found[1], abs=0.03)
    assert abs(np.log(found[1] / right)) < 1  # a dozen independent crossings
    assert len(report["kernels"]["minima"]) == 2
    assert (tmp_path / "fes_kernels.png").stat().st_size > 1000


def test_a_state_is_what_is_left_of_its_kernels(run, tmp_path):
    state = read_densities([run / "STATE"])
    kernels = read_densities([run / "KERNELS"], stride=1)
    same = next(k for k in kernels.sums if abs(k.time - state.sums[-1].time) < 1e-9)
    axes = state.axes()
    expected = kernels.free_energy(same, axes, KT).values
    np.testing.assert_allclose(state.free_energy(state.sums[-1], axes, KT).values, expected, rtol=0, atol=1e-9)
    result = call(run / "STATE", "-o", tmp_path, "--no-picture")
    assert result.exit_code == 0, result.output
    assert "A single state has no error bars: give KERNELS" in result.output
    assert table(tmp_path / "fes_state.dat")[0] == ["x", "file.free"]


def test_states_behind_one_another_are_a_history(run, tmp_path):
    text = (run / "STATE").read_text()
    time = f"{read_densities([run / 'STATE']).sums[0].time:.15g}"
    later = text.replace(f" {time:>23} ", f" {float(time) + 1:>23.15g} ")
    (tmp_path / "STATE").write_text(text + later)
    densities = read_densities([tmp_path / "STATE"])
    assert [round(k.time - float(time), 9) for k in densities.sums] == [0, 1]
    np.testing.assert_array_equal(densities.sums[0].heights, densities.sums[1].heights)
    assert call(tmp_path / "STATE", "-o", tmp_path).exit_code == 0


def test_the_density_after_every_so_many_kernels(run, tmp_path):
    assert call(run / "KERNELS", "--stride", "400", "--negbias", "-o", tmp_path, "--no-picture").exit_code == 0
    last = table(tmp_path / "fes_kernels_2.dat")[1]
    np.testing.assert_allclose(last, table(tmp_path / "fes_kernels.dat")[1][:, :2], atol=1e-9)
    assert not (tmp_path / "fes_kernels_3.dat").exists()


def kernels_file(path, x, weights):
    constants = {"biasfactor": 5, "epsilon": 1e-3, "kernel_cutoff": 4, "compression_threshold": 1}
    lines = ["#! FIELDS time x sigma_x height logweight", "#! SET action OPES_METAD_kernels"]
    lines += [f"#! SET {key} {value}" for key, value in constants.items()]
    lines += [f"{k} {s} 0.2 {w} {np.log(w)}" for k, (s, w) in enumerate(zip(x, weights, strict=True))]
    path.write_text("\n".join([*lines, ""]))
    return path


def test_errors_of_blocks_of_kernels_are_those_of_the_sum(tmp_path):
    """They were those of the last half of a sum that changes less and less: a third."""
    rng = np.random.default_rng(2)
    found = []
    for _ in range(40):
        right = rng.random(400) < 0.4
        densities = read_densities([kernels_file(tmp_path / "KERNELS", 2.0 * right - 1, np.where(right, 0.5, 1.0))])
        estimate = densities.estimate(densities.axes(), KT)
        phase = estimate.phase((estimate.surface.nodes[0] > 0).astype(float))
        found.append((phase.population, estimate.error_of(phase)))
    populations, errors = np.array(found).T
    assert np.mean(populations) == pytest.approx(0.25, abs=0.01)
    assert np.std(populations) == pytest.approx(np.mean(errors), rel=0.3)


def test_kernels_that_remember_have_no_error_bars(tmp_path):
    x = np.repeat([-1.0, 1.0], 200)
    result = call(kernels_file(tmp_path / "KERNELS", x, np.linspace(1, 2, 400)), "-o", tmp_path / "fes", "--no-picture")
    assert result.exit_code == 0, result.output
    assert "Not converged: the run is too short against what it remembers for error bars" in result.output
    assert "±" not in result.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("SET biasfactor", "SET factor"), "the header has no valid 'biasfactor'"),
        (("SET kernel_cutoff ", "SET kernel_cutoff -"), "the header has no valid kernel_cutoff"),
        ((" 0.3 ", " nan "), "kernel at time nan is not finite"),
    ],
)
def test_bad_kernels_are_named(run, change, message, tmp_path):
    text = (run / "KERNELS").read_text()
    assert change[0] in text
    (tmp_path / "KERNELS").write_text(text.replace(*change))
    with pytest.raises(InputError, match=message):
        read_densities([tmp_path / "KERNELS"])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["KERNELS", "STATE"], "kernels of another bias"),
        (["KERNELS", "COLVAR"], "COLVAR has none: give files of one bias"),
        (["STATE", "STATE"], "is given twice"),
        (["STATE", "STATE.1"], "give one file"),
        (["STATE", "--stride", "3"], "has states, not every kernel"),
    ],
)
def test_what_does_not_go_together(run, files, message, tmp_path):
    (run / "STATE.1").write_bytes((run / "STATE").read_bytes())
    result = call(*(run / f if f.isupper() else f for f in files), "-o", tmp_path)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


def test_the_beginning_that_spoils_the_sample_is_left_out():
    rng = np.random.default_rng(3)
    series, log_weights = rng.normal(size=(4000, 1)), np.zeros(4000)
    assert transient(series, np.exp(log_weights)) == 0
    series[:400] += 5  # far from where it settles
    assert 300 < transient(series, np.exp(log_weights)) <= 600
    log_weights[:400] = 4  # and of weights that are no weights yet
    start = transient(series, np.exp(log_weights))
    assert 300 < start <= 600
    assert effective_size(series[start:], np.ones(4000 - start)) > 2000
