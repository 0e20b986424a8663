"""The embedded bias: its clock, its files, its limits. Its numbers are checked against PLUMED in tests/peers."""

import re
import shutil

import numpy as np
import pytest
from bias_case import HILLS, VARIABLES, open_bias, section, trajectory

from forceserver.bias import metadynamics
from forceserver.bias.config import MetadynamicsConfig
from forceserver.bias.tables import FieldsReader
from forceserver.configuration import read_configuration
from forceserver.errors import BiasError, InputError
from forceserver.sections import tomllib
from forceserver.units import BOLTZMANN_EV_PER_K, PER_EV


def test_force_is_the_derivative_of_all_parts_together(tmp_path):
    bias = open_bias(
        tmp_path,
        walls=[{"variable": "p", "side": "upper", "at": 0.2, "kappa_eV": 2, "exponent": 4, "epsilon": 0.7}],
        restraints=[{"variable": "angle", "at": 3, "kappa_eV": 0.3, "slope_eV": 0.1}],
        moving_restraints=[{"variable": "p", "steps": [0, 100], "at": [-1, 1], "kappa_eV": [0.5, 1]}],
    )
    for s in trajectory(60):
        bias.advance(s)
    for s in trajectory(40, seed=2):
        _, gradient = bias.compute(s)
        for k in range(2):
            step = 1e-5 * np.eye(2)[k]
            slope = (bias.compute(s + step)[0] - bias.compute(s - step)[0]) / 2e-5
            assert gradient[k] == pytest.approx(slope, abs=1e-7)


def test_hills_come_every_pace_steps_and_act_from_the_next_configuration_on(tmp_path):
    bias = open_bias(tmp_path)
    for n, s in enumerate(trajectory(11)):
        bias.advance(s)
        energy, _ = bias.compute(s)
        assert (energy > 0) == (n > 3)
        assert (tmp_path / "HILLS").read_text().count("\n") - 6 == (n - 1) // 3 * (n > 1)


def test_the_same_configuration_does_not_tick(tmp_path):
    bias = open_bias(tmp_path)
    for s in trajectory(20):
        assert bias.advance(s)
        assert not bias.advance(s)
        bias.compute(s + 0.01)
    assert bias.step == 19
    assert not bias.advance(trajectory(20)[-1])
    assert bias.advance(trajectory(20)[-1], np.arange(4.0))  # another configuration with the same CVs


def test_heights_are_tempered_and_the_file_holds_minus_the_free_energy(tmp_path):
    bias = open_bias(tmp_path, hills={"pace_steps": 1})
    for n in range(4):
        bias.advance([0.1, 0.2], np.full(4, float(n)))
    heights = np.loadtxt(tmp_path / "HILLS")[:, 5]
    v, kt, gamma = 0.0, 300 * BOLTZMANN_EV_PER_K, 8
    for height in heights:
        h = 0.05 * np.exp(-v / (kt * (gamma - 1)))
        assert height == pytest.approx(h * gamma / (gamma - 1) * PER_EV["kJ/mol"], rel=1e-5)  # 1e-5: the grid
        v += h
    assert len(heights) == 2


def test_hills_have_times_without_the_rounding_of_products(tmp_path):
    bias = open_bias(tmp_path, time_step_fs=2, hills={"pace_steps": 50})
    for s in trajectory(1002):
        bias.advance(s)
    times = [line.split()[0] for line in (tmp_path / "HILLS").read_text().splitlines() if not line.startswith("#")]
    assert times == [f"{n / 10:g}" for n in range(1, 21)]  # 350 * 0.002 is 0.7000000000000001


def test_colvar_has_time_variables_and_terms_in_the_unit_of_the_file(tmp_path):
    bias = open_bias(tmp_path, restraints=[{"variable": "p", "at": 0, "kappa_eV": 1}])
    for s in trajectory(30):
        bias.advance(s)
    bias.close()
    head = (tmp_path / "COLVAR").read_text().splitlines()[0]
    assert head == "#! FIELDS time p angle metad.bias metad.rct metad.rbias restraints.bias"
    rows = np.loadtxt(tmp_path / "COLVAR")
    np.testing.assert_allclose(rows[:, 0], 0.0005 * np.arange(0, 30, 2))
    np.testing.assert_allclose(rows[:, 6], 0.5 * rows[:, 1] ** 2 * PER_EV["kJ/mol"], rtol=1e-8)
    np.testing.assert_allclose(rows[:, 5], rows[:, 3] - rows[:, 4], atol=1e-8)
    terms = bias.terms(trajectory(30)[-1])
    total = terms["metad.bias"] + terms["restraints.bias"]
    assert total == pytest.approx(bias.compute(trajectory(30)[-1])[0], abs=1e-12)


def test_without_a_grid_colvar_has_no_reweighting_factor_and_the_log_says_so(tmp_path, caplog):
    caplog.set_level("INFO")
    bias = open_bias(tmp_path, hills={"grid": "none"})
    bias.advance(trajectory(1)[0])
    bias.close()
    assert (tmp_path / "COLVAR").read_text().splitlines()[0] == "#! FIELDS time p angle metad.bias"
    assert "`forceserver fes` computes it from HILLS" in caplog.text


def test_periodic_variable_is_folded(tmp_path):
    bias = open_bias(tmp_path)
    for s in trajectory(60):
        bias.advance(s + np.array([0, 2.5]))
    assert np.all(np.abs(np.loadtxt(tmp_path / "HILLS")[:, 2]) <= np.pi)
    s = trajectory(60)[30]
    assert bias.compute(s)[0] == pytest.approx(bias.compute(s + np.array([0, 4 * np.pi]))[0], abs=1e-12)


@pytest.mark.parametrize("grid", ["fixed", "none"])
def test_grid_and_direct_sum_give_one_free_energy(tmp_path, grid):
    bias = open_bias(tmp_path, hills={"grid": grid})
    for s in trajectory(300):
        bias.advance(s)
    found = [bias.compute(s)[0] for s in trajectory(300)[::7]]
    other = tmp_path / "other"
    other.mkdir()
    reference = open_bias(other, hills={"grid": "none"})
    for s in trajectory(300):
        reference.advance(s)
    np.testing.assert_allclose(found, [reference.compute(s)[0] for s in trajectory(300)[::7]], atol=2e-4)


def test_leaving_the_grid_is_an_error_that_changes_nothing(tmp_path):
    bias = open_bias(tmp_path)
    for s in trajectory(10):
        bias.advance(s)
    before = (tmp_path / "HILLS").read_bytes(), (tmp_path / "COLVAR").read_bytes(), bias.step
    with pytest.raises(BiasError, match=r"p = 2\.1 has left the grid, \[-2, 2\]"):
        bias.advance([2.1, 0])
    with pytest.raises(BiasError, match="p = -3"):
        bias.compute([-3, 0])
    assert before == ((tmp_path / "HILLS").read_bytes(), (tmp_path / "COLVAR").read_bytes(), bias.step)


def test_a_growing_grid_holds_the_bits_of_one_that_was_large_from_the_start(tmp_path):
    walk = np.cumsum(np.full((400, 2), [0.011, 0.005]), axis=0) * [1, -1]
    changes = {"walls": [], "hills": {"grid": "grow"}}
    small, large = tmp_path / "small", tmp_path / "large"
    energies = []
    for folder, variable in ((small, {"lower": -0.4, "upper": 0.4}), (large, {"lower": -8.4, "upper": 8.4})):
        folder.mkdir()
        bins = round((variable["upper"] - variable["lower"]) / 0.04)
        variables = ({**VARIABLES[0], **variable, "bins": bins}, VARIABLES[1])
        bias = open_bias(folder, variables=variables, **changes)
        energies.append([bias.advance(s) and bias.compute(s)[0] for s in walk])
    np.testing.assert_allclose(energies[0], energies[1], atol=1e-12)
    assert np.max(energies[0]) > 0.04


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_variable_that_is_no_number_is_named(tmp_path, value):
    bias = open_bias(tmp_path)
    for call in (bias.compute, bias.advance, bias.terms):
        with pytest.raises(BiasError, match="collective variable angle is"):
            call([0.1, value])
    with pytest.raises(BiasError, match="2 variable"):
        bias.compute([0.1])


@pytest.mark.parametrize("stride", [1, 4])
def test_the_reweighting_factor_is_of_every_stride_th_hill_whatever_was_restarted(tmp_path, stride, monkeypatch):
    """c(t) is an integral over the grid, which nobody should pay for who does not read it."""
    computed = []
    integral = metadynamics.reweighting_factor
    monkeypatch.setattr(metadynamics, "reweighting_factor", lambda *args: computed.append(1) or integral(*args))
    changes = {"hills": {"rct_stride_hills": stride}, "colvar_stride_steps": 5}
    rows = {}
    for restarted in False, True:
        folder = tmp_path / str(restarted)
        folder.mkdir()
        bias = open_bias(folder, **changes)
        for n, s in enumerate(trajectory(91)):
            if restarted and n % 7 == 0:
                bias.close()
                bias = open_bias(folder, **changes)
            bias.advance(s)
            bias.terms(s)
        bias.close()
        rows[restarted] = (folder / "COLVAR").read_bytes()
        if not restarted:
            assert len(computed) <= (19 if stride == 1 else 8), "rows of COLVAR, multiples of the stride"
    assert rows[True] == rows[False]
    rct = np.loadtxt(tmp_path / "False" / "COLVAR")[:, 4]
    changes_of_rct = np.count_nonzero(np.diff(rct))
    assert changes_of_rct == (18 if stride == 1 else 7)


def test_walkers_share_their_hills(tmp_path):
    def walker(k):
        return open_bias(tmp_path, walkers={"id": k, "count": 2, "directory": tmp_path / "hills"}, colvar_file=None)

    one, two = walker(0), walker(1)
    walks = trajectory(60, seed=1), trajectory(60, seed=2)
    for a, b in zip(*walks, strict=True):
        one.advance(a)
        two.advance(b)
    one.advance([0, 0])  # reads the last hill of two
    at = [one.compute(s)[0] for s in walks[0]]
    np.testing.assert_allclose(at, [two.compute(s)[0] for s in walks[0]], atol=1e-12)
    assert (
        (tmp_path / "hills" / "HILLS.0")
        .read_text()
        .startswith("#! FIELDS time p angle sigma_p sigma_angle height biasf clock\n")
    )
    one.close()
    again = walker(0)
    np.testing.assert_allclose(at, [again.compute(s)[0] for s in walks[0]], atol=1e-12)


def test_half_written_hill_of_another_walker_waits(tmp_path):
    settings = {"walkers": {"id": 0, "count": 2, "directory": tmp_path}, "colvar_file": None}
    bias = open_bias(tmp_path, **settings)
    other = tmp_path / "other"
    other.mkdir()
    writer = open_bias(other, walkers={"id": 1, "count": 2, "directory": other}, colvar_file=None)
    for s in trajectory(5):
        writer.advance(s)
    text = (other / "HILLS.1").read_text()
    assert text.count("\n") == 7
    (tmp_path / "HILLS.1").write_text(text[:-20])
    bias.advance([0.0, 0.0])
    assert bias.compute(trajectory(5)[3])[0] == 0
    (tmp_path / "HILLS.1").write_text(text)
    bias.advance([0.1, 0.0])
    assert bias.compute(trajectory(5)[3])[0] == pytest.approx(0.05, rel=1e-4)


def _hills_of_another(folder) -> list[str]:
    """HILLS.1 of another walker, line by line: a header of six lines and four hills."""
    writer = open_bias(folder, walkers={"id": 1, "count": 2, "directory": folder}, colvar_file=None)
    for s in trajectory(14):
        writer.advance(s)
    writer.close()
    return (folder / "HILLS.1").read_text().splitlines(keepends=True)


def test_a_file_of_another_walker_that_is_gone_is_said_once(tmp_path, caplog):
    """Its writer goes on in a file that was removed, whose hills nobody reads; once it is back, the bias goes on."""
    lines = _hills_of_another(tmp_path)
    theirs = tmp_path / "HILLS.1"
    bias = open_bias(tmp_path, walkers={"id": 0, "count": 2, "directory": tmp_path}, colvar_file=None)
    bias.advance([0.0, 0.0])
    theirs.unlink()
    for s in (0.1, 0.2):
        bias.advance([s, 0.0])
    assert [record.getMessage().count("HILLS.1, which was read before, is gone") for record in caplog.records] == [1]
    theirs.write_text("".join(lines))
    bias.advance([0.3, 0.0])
    bias.close()


@pytest.mark.parametrize("wrong", ["nonsense\n", " 0.1 0.2\n", " 0.006 0.1 0.2 0.2 0.3 0.1 9 1764000000\n"])
def test_no_hill_behind_an_error_of_another_walker_is_lost(tmp_path, wrong):
    """A line that is no hill, and a hill of another bias factor: 95 hills were lost for good once."""
    (tmp_path / "other").mkdir()
    lines = _hills_of_another(tmp_path / "other")
    assert len(lines) == 10
    bias = open_bias(tmp_path, walkers={"id": 0, "count": 2, "directory": tmp_path}, colvar_file=None)
    theirs = tmp_path / "HILLS.1"
    theirs.write_text("".join(lines[:7]))
    bias.advance([0.0, 0.0])
    with open(theirs, "a") as file:
        file.writelines([lines[7], wrong, *lines[8:]])
    for _ in range(2):
        with pytest.raises(InputError, match=r"HILLS\.1"):
            bias.advance([0.1, 0.0])
    with open(theirs, "r+") as file:  # the same file, mended
        file.writelines(lines)
        file.truncate()
    bias.advance([0.1, 0.0])
    (tmp_path / "fresh").mkdir()
    shutil.copy(theirs, tmp_path / "fresh")
    expected = open_bias(tmp_path / "fresh", walkers={"id": 0, "count": 2, "directory": tmp_path / "fresh"})
    assert expected.compute([0.1, 0.0])[0] > 0.1
    for s in trajectory(14):
        assert bias.compute(s)[0] == pytest.approx(expected.compute(s)[0], abs=1e-14)


@pytest.mark.parametrize("how", ["cut", "written anew", "another file", "removed and made again"])
def test_a_file_of_another_walker_that_is_not_the_one_that_was_read_is_an_error(tmp_path, how):
    """File systems give the number of a removed file to the next one, so only what was read tells them apart."""
    (tmp_path / "other").mkdir()
    lines = _hills_of_another(tmp_path / "other")
    bias = open_bias(tmp_path, walkers={"id": 0, "count": 2, "directory": tmp_path}, colvar_file=None)
    theirs = tmp_path / "HILLS.1"
    theirs.write_text("".join(lines[:9]))
    bias.advance([0.0, 0.0])
    others = [*lines[:6], lines[7], lines[6], *lines[8:]]  # longer, and with other hills
    if how == "cut":
        theirs.write_text("".join(lines[:7]))
    elif how == "written anew":
        with open(theirs, "r+") as file:
            file.writelines(others)
    else:
        theirs.unlink() if how.startswith("removed") else theirs.rename(tmp_path / "old")
        bias.advance([0.05, 0.0])
        theirs.write_text("".join(others))
    for _ in range(2):
        with pytest.raises(InputError, match=r"HILLS\.1 was replaced, cut or changed"):
            bias.advance([0.1, 0.0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hills": {**HILLS, "bias_factor": 1.0}}, "greater than 1"),
        ({"variables": ({"name": "p", "lower": -1, "upper": 1},)}, "sigma of p"),
        ({"variables": ({"name": "p", "sigma": 0.1},)}, "lower and upper of p"),
        ({"variables": (VARIABLES[0], VARIABLES[0])}, "different names"),
        ({"walls": [{"variable": "q", "side": "upper", "at": 0, "kappa_eV": 1}]}, "no variable q"),
        ({"walkers": {"id": 2, "count": 2, "directory": "."}}, "no walker 2"),
        ({"moving_restraints": [{"variable": "p", "steps": [5, 5], "at": [0, 1], "kappa_eV": [1, 1]}]}, "increase"),
        ({"moving_restraints": [{"variable": "p", "steps": [5], "at": [0, 1], "kappa_eV": [1, 1]}]}, "one value each"),
        ({"hills": None}, "nothing acts"),
        ({"colvar_file": "X", "hills": {**HILLS, "file": "./X"}}, "colvar_file and file of the hills .* are both X"),
        ({"colvar_file": "X", "clock_file": "X"}, "clock_file and colvar_file are both X"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path, changes, message):
    settings = {**section(tmp_path).model_dump(exclude_none=True), **changes}
    with pytest.raises(ValueError, match=message):
        section(tmp_path).model_validate(settings)


def test_files_are_relative_to_the_configuration(tmp_path):
    text = """
    engine = "metadynamics"
    time_step_fs = 0.5
    variables = [{ name = "p", sigma = 0.1, lower = "-pi", upper = 2 }]
    hills = { height_eV = 0.01, pace_steps = 100, temperature_K = 300, bias_factor = 10 }
    walkers = { id = 1, count = 2, directory = "shared" }
    """
    config = MetadynamicsConfig.model_validate(tomllib.loads(text), context={"folder": tmp_path})
    bias = config.build()
    bias.advance([0.3])
    bias.close()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "BIAS.clock.1",
        "COLVAR.1",
        "shared/HILLS.1",
    }


def test_any_domain_survives_a_restart(tmp_path):
    variables = ({"name": "p", "sigma": 0.05, "domain": [-0.1, 0.1 + 0.2]},)
    for _ in range(2):
        bias = open_bias(tmp_path, variables=variables)
        for n in range(5):
            bias.advance([0.01], np.full(4, float(n)))
        bias.close()
    assert np.loadtxt(tmp_path / "HILLS", ndmin=2).shape == (2, 5)


def test_hills_of_something_else_are_refused(tmp_path):
    bias = open_bias(tmp_path)
    for s in trajectory(10):
        bias.advance(s)
    bias.close()
    renamed = ({**VARIABLES[0], "name": "q"}, VARIABLES[1])
    wider = ({**VARIABLES[0], "sigma": 0.25}, VARIABLES[1])
    aperiodic = (VARIABLES[0], {"name": "angle", "sigma": 0.3, "lower": -2, "upper": 2})
    for changes, message in (
        ({"variables": renamed}, "bias on p angle, the configuration has q angle"),
        ({"variables": wider}, r"hills of width \[0.2 0.3\], the configuration says \[0.25 0.3"),
        ({"variables": aperiodic}, "domain of angle"),
        ({"hills": {"bias_factor": 9}}, "bias factor 8, the configuration says 9"),
    ):
        with pytest.raises(InputError, match=message):
            open_bias(tmp_path, **changes)
    (tmp_path / "HILLS").write_text("1 2 3\n")
    with pytest.raises(InputError, match="line 1"):
        open_bias(tmp_path)


def test_a_variable_without_hills_is_written_and_walled(tmp_path):
    both = ({**VARIABLES[0], "hills": False}, VARIABLES[1])
    walls = [{"variable": "p", "side": "upper", "at": 0.5, "kappa_eV": 3.0}]
    (tmp_path / "one").mkdir()
    walk = trajectory(40)
    bias = open_bias(tmp_path, variables=both, walls=walls, colvar_stride_steps=1)
    single = open_bias(tmp_path / "one", variables=VARIABLES[1:])
    for s in walk:
        bias.advance(s)
        single.advance(s[1:])
    energy, gradient = bias.compute([0.7, 0.3])
    alone, slope = single.compute([0.3])
    assert energy == pytest.approx(alone + 3.0 * 0.2**2)
    assert gradient == pytest.approx([2 * 3.0 * 0.2, slope[0]])
    bias.close()
    assert (tmp_path / "HILLS").read_text() == (tmp_path / "one" / "HILLS").read_text()
    assert np.loadtxt(tmp_path / "COLVAR")[:, 1] == pytest.approx(walk[:, 0])
    again = open_bias(tmp_path, variables=both, walls=walls, colvar_stride_steps=1)
    assert again.compute([0.7, 0.3])[0] == energy


def test_hills_need_a_variable(tmp_path):
    with pytest.raises(ValueError, match="one to three variables, not on 0"):
        open_bias(tmp_path, variables=[{**variable, "hills": False} for variable in VARIABLES])


def told(tmp_path, text):
    """What is said of a configuration in which everything but [bias] is in order."""
    (tmp_path / "forceserver.toml").write_text(f'[structure]\nfile = "a.xyz"\n[bias]\n{text}')
    (tmp_path / "a.xyz").write_text("")
    with pytest.raises(InputError) as caught:
        read_configuration(tmp_path / "forceserver.toml")
    return str(caught.value).split("\n")


BIAS = """engine = "metadynamics"
time_step_fs = 1
hills = { height_eV = 0.1, pace_steps = 10, temperature_K = 300 }
"""


def test_a_width_of_zero_is_the_only_problem_that_is_told(tmp_path):
    """Of the list that holds it, it was said besides that it should have at least one item."""
    text = BIAS + 'variables = [{ name = "p", sigma = 0, lower = 0, upper = 1 }]\n'
    head, *lines = told(tmp_path, text)
    assert head.endswith(": 1 problem")
    assert lines == ["  bias.variables.0.sigma = 0: Input should be greater than 0"]
    assert "at least 1 item" in told(tmp_path, BIAS + "variables = []\n")[1]


@pytest.mark.parametrize("place", ["hills", "hills/deeper"])
def test_a_folder_of_walkers_that_is_a_file_is_refused(tmp_path, place):
    """`check` passed it, and the driver was started again and again."""
    (tmp_path / "hills").write_text("")
    text = (
        BIAS
        + f"""variables = [{{ name = "p", sigma = 1, lower = 0, upper = 1 }}]
walkers = {{ id = 0, count = 2, directory = "{place}" }}
"""
    )
    (line,) = told(tmp_path, text)[1:]
    assert "bias.walkers.directory = " in line
    assert f"{tmp_path / 'hills'} is a file; name a folder" in line


@pytest.mark.parametrize(
    ("axis", "intervals"), [("bins = 1000000", "1000000 (p) x 1000000 (q)"), ("sigma = 1e-12", "1000000000 (p)")]
)
def test_a_grid_that_no_machine_can_hold_is_refused_with_its_size(tmp_path, axis, intervals):
    axis = axis if "sigma" in axis else f"sigma = 0.1, {axis}"
    variables = ", ".join(f'{{ name = "{name}", lower = 0, upper = 1, {axis} }}' for name in "pq")
    (line,) = told(tmp_path, BIAS + f"variables = [{variables}]\n")[1:]
    assert intervals in line
    assert re.search(r"it takes [\de+.]+ GB, and this machine has [\d.]+ GB; give fewer bins", line)


def test_a_grid_that_would_outgrow_the_machine_does_not_grow(tmp_path):
    bias = open_bias(tmp_path, hills={"grid": "grow"})
    bias.advance([0.1, 0.2])
    for far in 1e12, 1e300:
        with pytest.raises(BiasError, match=r"grow to p = 1e\+\d+, angle = 0.2: it takes .* GB, and this machine has"):
            bias.compute([far, 0.2])
    assert bias.compute([0.1, 0.2])[0] == 0


@pytest.mark.parametrize(
    ("key", "place", "message"),
    [
        ("clock_file", "nowhere/clock", "there is no folder .*nowhere; make it"),
        ("clock_file", "folder", "this is a folder; name a file"),
        ("colvar_file", "nowhere/COLVAR", "there is no folder"),
        ("hills.file", "file/HILLS", "file is a file; name another file"),
    ],
)
def test_files_that_cannot_be_written_are_told_by_their_key(tmp_path, key, place, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    changes = {"hills": {"file": tmp_path / place}} if key == "hills.file" else {key: tmp_path / place}
    config = section(tmp_path, **changes)
    with pytest.raises(InputError, match=rf"bias: {key} = '.*{place}': .*{message}"):
        config.check_files()
    with pytest.raises(InputError, match=str(tmp_path / place)):
        config.build()


def test_a_run_without_files_keeps_its_bias_in_memory():
    """The bias is a function; the journal of this one is not on disk."""
    total = MetadynamicsConfig(
        time_step_fs=1,
        variables=[VARIABLES[0]],
        hills={**HILLS, "pace_steps": 1},
        restraints=[{"variable": "p", "at": 0, "kappa_eV": 1}],
    ).total()
    s = np.array([0.5])
    assert total.evaluate(s, 0)[0] == pytest.approx(0.125)
    line = total.growing.deposit(s, 1.0, np.zeros(0))
    assert total.evaluate(s, 1)[0] == pytest.approx(0.125), "a deposit acts when it is added"
    table = FieldsReader("memory")
    table.fields, table.constants = total.growing.fields, total.growing.constants
    total.growing.add(total.growing.parse(table, np.array([line])))
    assert total.evaluate(s, 2)[0] == pytest.approx(0.175, rel=1e-5)
    total.growing.replay([])
    assert total.evaluate(s, 3)[0] == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lower": -1, "upper": 1, "bins": 4}, r"nodes 0\.5 apart cannot represent hills of width 0\.2"),
        ({"lower": 0, "upper": 0.3}, r"sigma of p, 0\.2, is more than half of its range, 0\.3"),
        ({"domain": [0, 0.3], "lower": None, "upper": None}, "more than half of its range"),
    ],
)
def test_hills_that_a_grid_cannot_hold_are_refused(tmp_path, changed, message):
    """With four intervals the bias was 0.15 eV where its hills make 0.35 eV."""
    with pytest.raises(ValueError, match=message):
        section(tmp_path, variables=[VARIABLES[0] | changed])


def test_a_grid_as_coarse_as_allowed_has_the_bias_to_a_per_cent(tmp_path):
    values = 0.3 + 0.1 * np.sin(np.arange(20))[:, None]
    energies = {}
    for name, changed in {"coarse": {"bins": 10}, "exact": {}}.items():
        (tmp_path / name).mkdir()
        grid = {"grid": "fixed" if changed else "none"}
        bias = open_bias(tmp_path / name, variables=[VARIABLES[0] | {"lower": -1, "upper": 1} | changed], hills=grid)
        for s in values:
            bias.advance(s)
        energies[name] = bias.compute([0.3])[0]
    assert energies["coarse"] == pytest.approx(energies["exact"], rel=0.015)


def test_a_restraint_that_does_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the restraint of p does nothing"):
        section(tmp_path, restraints=[{"variable": "p", "at": 0}])
