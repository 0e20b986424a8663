"""From a simulation with the embedded bias to free energies: known double wells come back within their error bars."""

import json
import os

import numpy as np
import pytest
from langevin import KT, double_well, double_well_slope, energy_2d, sample, slope_2d
from typer.testing import CliRunner

from forceserver.bias.hills import read_hills
from forceserver.cli.app import app
from forceserver.errors import InputError
from forceserver.free_energy.colvar import Colvar, read_colvar
from forceserver.free_energy.estimate import errors_of_free_energy
from forceserver.free_energy.reweighting import histogram_axes, reweight
from forceserver.free_energy.study import study
from forceserver.free_energy.summing import merge_hills, reweighting_factors, sum_hills, sum_hills_axes
from forceserver.units import PER_EV

KJ = PER_EV["kJ/mol"]
STEPS = 120_000


@pytest.fixture(scope="module")
def run_1d(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    variables = [{"name": "x", "sigma": 0.1, "lower": -2.5, "upper": 2.5}]
    _sample(folder, variables, lambda s: double_well_slope(s), height_eV=0.008, pace_steps=60)
    return folder


@pytest.fixture(scope="module")
def run_2d(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    variables = [{"name": n, "sigma": 0.15, "lower": -3, "upper": 3} for n in ("x", "y")]
    _sample(folder, variables, slope_2d, height_eV=0.02, pace_steps=60)
    return folder


def _sample(folder, variables, slope, **hills):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)  # thousands of hills; durability is tested elsewhere
        sample(folder, variables, slope, STEPS, mobility_dt=0.05, bias_factor=8, **hills)


def right_population(x, energy):
    p = np.exp(-energy / KT)
    return p[x > 0].sum() / p.sum()


def reweighted(folder, **options):
    colvar = read_colvar([folder / "COLVAR"], skip_ps=20)
    names = [field for field in colvar.fields if field in ("x", "y")]
    axes = histogram_axes(colvar, names, [50] * len(names))
    log_weights = colvar.column("metad.rbias") / (KT * KJ)
    return reweight(colvar, names, axes, log_weights, KT * KJ, blocks=10, **options)


def check_curve(x, f, errors, slack):
    """F is the double well within three of its error bars (and `slack` for what the width of a hill smears)."""
    exact = double_well(x) * KJ
    low = (exact - exact.min() < 10 * KT * KJ) & np.isfinite(errors) & np.isfinite(f)
    weights = 1 / (errors[low] ** 2 + slack**2)
    shift = np.average((f - exact)[low], weights=weights)
    deviation = np.abs(f - exact - shift)[low]
    assert low.sum() > 20
    assert np.mean(deviation < 3 * np.hypot(errors[low], slack)) > 0.97
    assert deviation.max() < 2 * KT * KJ


def test_the_sum_of_hills_recovers_the_double_well(run_1d):
    hills = merge_hills([read_hills(run_1d / "HILLS")])
    estimate = sum_hills(hills, sum_hills_axes(hills), KT * KJ)
    surface = estimate.surface
    check_curve(surface.nodes[0], surface.values, errors_of_free_energy(estimate), slack=0.3 * KT * KJ)


def test_reweighting_recovers_the_double_well(run_1d):
    estimate = reweighted(run_1d)
    check_curve(estimate.surface.nodes[0], estimate.surface.values, errors_of_free_energy(estimate), 0.1 * KT * KJ)
    x = estimate.surface.nodes[0]
    grid = np.linspace(-2.5, 2.5, 2001)
    phase = estimate.phase(x > 0)
    right, error = phase.population, estimate.error_of(phase)
    assert right == pytest.approx(right_population(grid, double_well(grid)), abs=3 * error)
    assert 0.001 < error < 0.05


def test_reweighting_in_two_dimensions_and_its_projection(run_2d):
    estimate = reweighted(run_2d, smoothing=1.0)
    projected = estimate.project(["x"])
    x = projected.surface.nodes[0]
    grid_x, grid_y = np.meshgrid(np.linspace(-2.5, 2.5, 401), np.linspace(-3, 3, 401), indexing="ij")
    exact = right_population(grid_x, energy_2d(grid_x, grid_y))
    phase = projected.phase(x > 0)
    right, error = phase.population, projected.error_of(phase)
    assert right == pytest.approx(exact, abs=3 * error)
    assert projected.surface.values.shape == (50,)
    np.testing.assert_allclose(projected.samples.sum(axis=1), 1)
    swapped = estimate.project(["y", "x"])
    np.testing.assert_allclose(swapped.surface.values, estimate.surface.values.T, atol=1e-9)
    np.testing.assert_allclose(swapped.samples, np.swapaxes(estimate.samples, 1, 2))


def test_c_of_t_from_the_hills_is_that_of_colvar(run_1d):
    hills = merge_hills([read_hills(run_1d / "HILLS")])
    colvar = read_colvar([run_1d / "COLVAR"])
    found = reweighting_factors(hills, sum_hills_axes(hills), KT * KJ, colvar.rows[:, 0], states=10**6)
    shift = found - colvar.column("metad.rct")  # the ranges of the grids differ: by a constant, once all is explored
    late = colvar.rows[:, 0] > 60
    assert np.ptp(shift[late]) < 0.1 * KT * KJ


def test_errors_of_blocks_are_those_of_the_mean():
    rng = np.random.default_rng(1)
    found = []
    for _ in range(60):
        rows = np.column_stack([np.arange(4000), rng.uniform(0, 1, 4000)])
        colvar = Colvar("COLVAR", ["time", "x"], {}, rows)
        estimate = reweight(colvar, ["x"], histogram_axes(colvar, ["x"], [10]), np.zeros(4000), 1.0, blocks=20)
        phase = estimate.phase(estimate.surface.nodes[0] < 0.3)
        found.append((phase.population, estimate.error_of(phase)))
    values, errors = np.array(found).T
    expected = np.sqrt(0.3 * 0.7 / 4000)
    assert errors.mean() == pytest.approx(expected, rel=0.15)
    assert values.std() == pytest.approx(expected, rel=0.35)


@pytest.mark.parametrize(
    ("names", "condition", "where"),
    [
        (["x", "y", "z"], "x + y + z < 1.5", lambda x, y, z: x + y + z < 1.5),
        (["z", "x"], "z < 0.001", lambda x, y, z: z < 0.001),
        (["x"], "x < 0.31", lambda x, y, z: x < 0.31),
    ],
)
def test_phases_of_a_reweighting_count_rows(names, condition, where):
    """Where a density ends with a cliff, its grid loses what it smooths: of the phase in 3-D, more than a tenth."""
    rng = np.random.default_rng(5)
    s = np.abs(rng.normal(size=(3, 4000)))
    weights, inside = 1 + s[0], where(*s)
    colvar = Colvar("COLVAR", ["time", "x", "y", "z"], {}, np.column_stack([np.arange(4000), *s]))
    axes = histogram_axes(colvar, ["x", "y", "z"], [30] * 3)
    estimate = reweight(colvar, ["x", "y", "z"], axes, np.log(weights), 1.0, blocks=10, smoothing=1).project(names)
    found = study(estimate, "kJ/mol", 1.0, [f"in: {condition}", f"out: not ({condition})", "all: x > -1"])
    phases = found.phases
    assert phases["in"].population == pytest.approx(weights[inside].sum() / weights.sum(), rel=1e-12)
    assert phases["in"].population + phases["out"].population == pytest.approx(1, rel=1e-12)
    assert phases["all"].population == 1
    assert np.isnan(estimate.error_of(phases["all"]))
    assert phases["in"].history[-1] == phases["in"].population


@pytest.mark.parametrize("dim", [1, 2])
def test_the_command_writes_data_pictures_and_a_report(run_1d, run_2d, dim, tmp_path):
    folder = (run_1d, run_2d)[dim - 1]
    files = [str(folder / "HILLS"), "--colvar", str(folder / "COLVAR"), "-o", str(tmp_path / "fes")]
    options = ["-T", "300", "--skip", "20", "--phase", "left: x < 0", "--phase", "right: x > 0"]
    result = CliRunner().invoke(app, ["fes", *files, *options])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "fes" / "report.json").read_text())
    for name in ("hills", "reweighting"):
        found = report[name]
        assert len(found["minima"]) == 2
        assert found["minima"][0]["position"]["x"] == pytest.approx(-1, abs=0.15)
        (barrier,) = found["barriers"]
        assert barrier["forward"] == pytest.approx(23, abs=2.5)
        left, right = found["phases"]
        assert left["population"] + right["population"] == pytest.approx(1, abs=1e-3)
        for kind in ("dat", "png"):
            assert (tmp_path / "fes" / f"fes_{name}.{kind}").stat().st_size > 1000
        text = (tmp_path / "fes" / f"fes_{name}.dat").read_text()
        assert text.startswith("#! FIELDS x ")
        assert "A -> B" in result.output
    assert (tmp_path / "fes" / "convergence.png").stat().st_size > 1000


def test_three_dimensions_are_drawn_as_slices(tmp_path):
    rng = np.random.default_rng(4)
    rows = np.column_stack([np.arange(6000) * 0.01, rng.choice([-1, 1], (6000, 3)) + rng.normal(0, 0.25, (6000, 3))])
    text = "#! FIELDS time a b c w.bias\n" + "".join(" ".join(f"{x:.6f}" for x in (*row, 0.0)) + "\n" for row in rows)
    (tmp_path / "COLVAR").write_text(text)
    options = ["--colvar", str(tmp_path / "COLVAR"), "--variables", "a,b,c", "-T", "300", "-o", str(tmp_path)]
    result = CliRunner().invoke(app, ["fes", *options, "--bins", "20,20,20"])
    assert result.exit_code == 0, result.output
    assert len(json.loads((tmp_path / "report.json").read_text())["reweighting"]["minima"]) == 8
    assert (tmp_path / "fes_reweighting.png").stat().st_size > 1000
    result = CliRunner().invoke(app, ["fes", *options, "--bins", "20,20,20", "--project", "c"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "fes_reweighting.dat").read_text().startswith("#! FIELDS c projection")


def test_bad_input_is_named(run_1d, tmp_path):
    hills = str(run_1d / "HILLS")
    for options, message in (
        (["fes", "-T", "300"], "give HILLS or KERNELS"),
        (["fes", str(tmp_path / "none"), "-T", "300"], "there is no file"),
        (["fes", hills, "-T", "300", "--energy-unit", "foe"], "there are kJ/mol"),
        (["fes", hills, "-T", "300", "--project", "q"], "there is no variable q; there are x"),
        (["fes", hills, "-T", "300", "--bins", "3,4"], "--bins has 2 values for 1 variables"),
        (["fes", hills, "-T", "300", "--lower", "a"], "--lower a"),
        (["fes", "--colvar", str(run_1d / "COLVAR"), "-T", "300"], "--variables"),
        (["fes", hills, "--colvar", str(run_1d / "COLVAR"), "-T", "300", "--skip", "1e9"], "0 rows"),
    ):
        result = CliRunner().invoke(app, [*options, "-o", str(tmp_path)])
        assert isinstance(result.exception, InputError), options
        assert message in str(result.exception)


def test_a_handful_of_rows_has_one_minimum_and_no_error_bars(tmp_path):
    rows = "".join(f"{n} {x} 0\n" for n, x in enumerate((0.1, 0.9, 0.2, 0.8, 0.11)))
    (tmp_path / "COLVAR").write_text("#! FIELDS time x w.bias\n" + rows)
    options = ["--colvar", str(tmp_path / "COLVAR"), "--variables", "x", "-T", "300", "--blocks", "2"]
    result = CliRunner().invoke(app, ["fes", *options, "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert len(json.loads((tmp_path / "report.json").read_text())["reweighting"]["minima"]) == 1


def test_a_barrier_that_was_crossed_once_has_no_error(tmp_path):
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(-1, 0.1, 500), np.linspace(-1, 1, 400), rng.normal(1, 0.1, 500)])
    rows = "".join(f"{n} {value:.5f} 0\n" for n, value in enumerate(x))
    (tmp_path / "COLVAR").write_text("#! FIELDS time x w.bias\n" + rows)
    options = ["--colvar", str(tmp_path / "COLVAR"), "--variables", "x", "-T", "300", "--no-picture"]
    result = CliRunner().invoke(app, ["fes", *options, "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)  # NaN is no JSON
    (barrier,) = report["reweighting"]["barriers"]
    assert barrier["forward"] > 1
    assert barrier["forward_error"] is None


def test_reweighting_takes_rbias_and_the_bias_of_what_has_none():
    fields = ["time", "x", "m.bias", "m.rbias", "m.rct", "walls.bias", "x_squared"]
    assert Colvar("COLVAR", fields, {}, np.empty((0, 7))).bias_columns() == ["m.rbias", "walls.bias"]


def _begin_again(text: str, after_ps: float) -> str:
    """A table whose clock was set back to zero: what a second run writes into the files of the first."""
    lines = []
    for line in text.splitlines(keepends=True):
        if not line.startswith("#") and float(line.split()[0]) > after_ps:
            time, rest = line.lstrip().split(" ", 1)
            line = f" {float(time) - after_ps:.9g} {rest}"
        lines.append(line)
    return "".join(lines)


def _without_columns(text: str, names: set[str]) -> str:
    fields = text.split("\n", 1)[0].split()[2:]
    kept = [k for k, name in enumerate(fields) if name not in names]
    rows = [[line.split()[k] for k in kept] for line in text.splitlines() if not line.startswith("#")]
    return "\n".join([f"#! FIELDS {' '.join(fields[k] for k in kept)}", *map(" ".join, rows)]) + "\n"


@pytest.mark.parametrize("columns", [set(), {"metad.rbias"}, {"metad.rbias", "metad.rct"}])
def test_times_that_begin_again_are_another_run_behind_the_first(run_1d, tmp_path, columns):
    """Rows were sorted by time once, which mixed the two runs: barriers were wrong by 4 of 8 kJ/mol, silently.

    With rbias, with bias - rct, and with c(t) from the hills.
    """
    reports = []
    for name, change in (("one", lambda text: text), ("two", lambda text: _begin_again(text, 60.0))):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "HILLS").write_text(change((run_1d / "HILLS").read_text()))
        (folder / "COLVAR").write_text(change(_without_columns((run_1d / "COLVAR").read_text(), columns)))
        files = [str(folder / "HILLS"), "--colvar", str(folder / "COLVAR"), "-o", str(folder / "fes")]
        result = CliRunner().invoke(app, ["fes", *files, "-T", "300", "--skip", "20", "--blocks", "8", "--no-picture"])
        assert result.exit_code == 0, result.output
        reports.append(json.loads((folder / "fes" / "report.json").read_text()))
    for method in ("hills", "reweighting"):
        for kind in ("minima", "barriers", "phases"):
            assert reports[1][method][kind] == reports[0][method][kind]


def test_runs_that_do_not_match_are_refused(run_1d, tmp_path):
    (tmp_path / "COLVAR").write_text(
        _begin_again(_without_columns((run_1d / "COLVAR").read_text(), {"metad.rbias", "metad.rct"}), 60.0)
    )
    files = [str(run_1d / "HILLS"), "--colvar", str(tmp_path / "COLVAR"), "-o", str(tmp_path)]
    result = CliRunner().invoke(app, ["fes", *files, "-T", "300"])
    assert isinstance(result.exception, InputError)
    assert "begin again 0 time(s) in HILLS and 1 time(s) in COLVAR" in str(result.exception)


@pytest.mark.parametrize(
    ("fields", "biases", "shifts"),
    [
        ("m.bias m.rbias m.rct", ["m.rbias"], []),
        ("m.bias m.rct walls.bias", ["m.bias", "walls.bias"], ["m.rct"]),
        ("opes.bias opes.rct opes.zed opes.neff opes.nker", ["opes.bias"], []),
        ("m.bias", ["m.bias"], []),
    ],
)
def test_columns_that_belong_to_the_bias_are_not_ignored(fields, biases, shifts):
    names = ["time", "x", *fields.split()]
    colvar = Colvar("COLVAR", names, {}, np.empty((0, len(names))))
    assert colvar.bias_columns() == biases
    assert colvar.shift_columns(biases) == shifts


def test_more_variables_than_a_grid_has_are_said(tmp_path):
    names = "abcd"
    fields = ["time", *names, *(f"sigma_{n}" for n in names), "height", "biasf"]
    head = f"#! FIELDS {' '.join(fields)}\n#! SET multivariate false\n#! SET kerneltype stretched-gaussian\n"
    (tmp_path / "HILLS").write_text(head + " 1 0 0 0 0 1 1 1 1 0.5 8\n")
    rows = "".join(f"{t} {t} {t} {t} {t} 0\n" for t in range(30))
    (tmp_path / "COLVAR").write_text(f"#! FIELDS time {' '.join(names)} w.bias\n" + rows)
    for options, message in (
        ([str(tmp_path / "HILLS")], r"hills of 4 variables \(a, b, c, d\): at most 3"),
        (["--colvar", str(tmp_path / "COLVAR"), "--variables", "a,b,c,d"], "at most 3 variables"),
    ):
        result = CliRunner().invoke(app, ["fes", *options, "-T", "300", "-o", str(tmp_path)])
        with pytest.raises(InputError, match=message):
            raise result.exception


def _fes(tmp_path, *options):
    return CliRunner().invoke(
        app, ["fes", *map(str, options), "-T", "300", "-o", str(tmp_path / "fes"), "--no-picture"]
    )


def _table(path, fields, columns):
    rows = "".join(" ".join(f"{x:.8g}" for x in row) + "\n" for row in np.column_stack(columns))
    path.write_text(f"#! FIELDS {fields}\n" + rows)
    return path


@pytest.mark.parametrize(
    ("fields", "messages"),
    [
        ("time x m.bias m.rct", ["--bias m.bias,m.rct", "OPES, --bias m.bias"]),
        ("time x r.bias r.work", ["r.work, as of a moving restraint", "--bias r.bias"]),
    ],
)
def test_a_bias_of_uncertain_meaning_is_asked_for(fields, messages, tmp_path):
    rng = np.random.default_rng(1)
    colvar = _table(tmp_path / "COLVAR", fields, [np.arange(200), rng.normal(size=200), *rng.random((2, 200))])
    result = _fes(tmp_path, "--colvar", colvar, "--variables", "x")
    assert isinstance(result.exception, InputError)
    assert all(message in str(result.exception) for message in messages)
    assert not (tmp_path / "fes").exists()
    name = fields.split()[2]
    result = _fes(tmp_path, "--colvar", colvar, "--variables", "x", "--bias", name)
    assert result.exit_code == 0, result.output
    assert f"Reweighted by {name}, 200 rows" in result.output


def test_rct_is_taken_off_where_it_is_named(tmp_path):
    rng = np.random.default_rng(1)
    x, shift = rng.uniform(0, 1, 4000), np.linspace(0, 9, 4000)
    colvar = _table(tmp_path / "COLVAR", "time x m.bias m.rct", [np.arange(4000), x, 2 * x + shift, shift])
    options = ["--colvar", colvar, "--variables", "x", "--bias", "m.bias,m.rct", "--phase", "right: x > 0.5"]
    result = _fes(tmp_path, *options)
    assert result.exit_code == 0, result.output
    (right,) = json.loads((tmp_path / "fes" / "report.json").read_text())["reweighting"]["phases"]
    w = np.exp(2 * x / (KT * KJ))
    assert right["population"] == pytest.approx(w[x > 0.5].sum() / w.sum(), abs=0.01)


def test_c_of_t_is_not_taken_off_a_bias_of_something_else(run_1d, tmp_path):
    """A COLVAR with the bias of a wall, but without METAD's, was reweighted by exp((wall - c(t)) / kT)."""
    text = _without_columns((run_1d / "COLVAR").read_text(), {"metad.rbias", "metad.rct"})
    (tmp_path / "right").write_text(text)
    names, rows = text.splitlines()[0].split()[2:], [line.split() for line in text.splitlines()[1:]]
    column = names.index("metad.bias")
    walls = [" ".join([*row[:column], "0", *row[column + 1 :]]) for row in rows]
    (tmp_path / "wrong").write_text("\n".join([text.splitlines()[0].replace("metad.", "walls."), *walls]) + "\n")
    result = _fes(tmp_path, run_1d / "HILLS", "--colvar", tmp_path / "right", "--blocks", "5")
    assert result.exit_code == 0, result.output
    result = _fes(tmp_path, run_1d / "HILLS", "--colvar", tmp_path / "wrong", "--blocks", "5")
    with pytest.raises(InputError, match=r"no column is the bias of the hills; at time .* walls\.bias is 0"):
        raise result.exception


def test_an_angle_that_rounding_puts_beyond_pi_is_not_left_out(tmp_path):
    """PLUMED prints six digits: 3.141593 is more than pi."""
    angles = np.resize([3.141593, -3.141593, 0.1, 1.5], 400)
    rows = "".join(f" {0.001 * n:.6f} {angle:.6f} 0\n" for n, angle in enumerate(angles))
    head = "#! FIELDS time t m.rbias\n#! SET min_t -pi\n#! SET max_t pi\n"
    (tmp_path / "COLVAR").write_text(head + rows)
    colvar = read_colvar([tmp_path / "COLVAR"])
    estimate = reweight(colvar, ["t"], histogram_axes(colvar, ["t"], [50]), np.zeros(400), KT, blocks=2)
    p = estimate.surface.probability(KT)
    np.testing.assert_allclose([p[0], p[-1]], 0.25)


def test_the_beginning_that_is_left_out_may_be_longer_than_the_first_run(run_1d, tmp_path):
    text = (run_1d / "COLVAR").read_text()
    (tmp_path / "COLVAR").write_text(_begin_again(text, 60.0))
    whole, cut = read_colvar([run_1d / "COLVAR"], 90.0), read_colvar([tmp_path / "COLVAR"], 90.0)
    assert abs(len(whole.rows) - len(cut.rows)) <= 1
    assert set(cut.runs.tolist()) == {1}


def test_the_history_of_two_runs_goes_on(run_1d, tmp_path):
    (tmp_path / "HILLS").write_text(_begin_again((run_1d / "HILLS").read_text(), 60.0))
    hills = merge_hills([read_hills(tmp_path / "HILLS")])
    times = sum_hills(hills, sum_hills_axes(hills), KT * KJ).times
    assert np.all(np.diff(times) > 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bins", "0"], "--bins 0: an axis has a whole number"),
        (["--bins", "1"], "--bins 1: an axis has a whole number of intervals, at least 2"),
        (["--bins", "2.5"], "--bins 2.5: an axis has a whole number"),
        (["--lower", "2", "--upper", "1"], "the grid of x goes from 2 to 1: it is empty"),
        (["--lower", "nan"], "the grid of x goes from nan"),
    ],
)
def test_an_empty_grid_is_named(run_1d, options, message, tmp_path):
    result = _fes(tmp_path, run_1d / "HILLS", *options)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


@pytest.mark.parametrize(("column", "name"), [(1, "x"), (2, "m.bias")])
def test_numbers_that_are_not_finite_are_named(column, name, tmp_path):
    columns = np.random.default_rng(1).random((3, 100))
    columns[0] = np.arange(100)
    columns[column, 40] = np.inf
    colvar = _table(tmp_path / "COLVAR", "time x m.bias", list(columns))
    result = _fes(tmp_path, "--colvar", colvar, "--variables", "x")
    assert isinstance(result.exception, InputError)
    assert f"{name} is inf at time 40" in str(result.exception)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_hill_without_width_or_number_is_named(run_1d, place, tmp_path):
    lines = (run_1d / "HILLS").read_text().splitlines()
    words = lines[-1].split()
    words[place] = "0" if place == 2 else "nan"
    (tmp_path / "HILLS").write_text("\n".join([*lines[:-1], " ".join(words)]) + "\n")
    result = _fes(tmp_path, tmp_path / "HILLS")
    assert isinstance(result.exception, InputError)
    assert f"the hill at time {float(words[0]):g}" in str(result.exception)


def _hills(path, bias_factors, sigma=0.1):
    columns = [np.arange(len(bias_factors)), np.linspace(-1, 1, len(bias_factors)), *np.ones((2, len(bias_factors)))]
    columns[2] *= sigma
    return _table(path, "time x sigma_x height biasf", [*columns, bias_factors])


def test_hills_of_several_bias_factors_make_no_free_energy(tmp_path):
    """Their heights are those of free energies, so a run with 10 that went on with 20 was summed to something else."""
    result = _fes(tmp_path, _hills(tmp_path / "HILLS", [10] * 5 + [20] * 5))
    assert isinstance(result.exception, InputError)
    assert "hills of the bias factors 10 and 20: their sum is no free energy" in str(result.exception)


def test_a_file_counts_once(tmp_path):
    hills = _hills(tmp_path / "HILLS", [10] * 5)
    (tmp_path / "link").symlink_to(hills)
    colvar = _table(tmp_path / "COLVAR", "time x m.bias", [np.arange(9), np.linspace(-1, 1, 9), np.zeros(9)])
    for files in ((hills, tmp_path / "link"), ("--colvar", colvar, "--colvar", colvar, "--variables", "x")):
        result = _fes(tmp_path, *files)
        assert isinstance(result.exception, InputError)
        assert "is given twice" in str(result.exception)


@pytest.mark.parametrize(("bins", "told"), [(8, True), (80, False)])
def test_a_grid_that_is_coarser_than_the_hills_is_told(tmp_path, bins, told):
    result = _fes(tmp_path, _hills(tmp_path / "HILLS", [10] * 5), "--lower", "-2", "--upper", "2", "--bins", bins)
    assert result.exit_code == 0, result.output
    told_of = "the grid of x has a node every 0.5, its narrowest hill a width of 0.1"
    assert (told_of in result.stderr.replace("\n", " ")) == told


def test_of_wells_that_are_equally_deep_one_is_a_minimum(tmp_path):
    """The last ones were taken for noise of one another, the first had no error: no minimum, and a traceback."""
    result = _fes(tmp_path, _hills(tmp_path / "HILLS", [10] * 5), "--lower", "-2", "--upper", "2", "--bins", 80)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "fes/report.json").read_text())["hills"]["minima"][0]["position"]["x"] == -1
