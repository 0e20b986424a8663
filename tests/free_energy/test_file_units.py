"""`forceserver fes` on files that are not what they should be: told or refused, never a wrong number without a word."""

import gzip

import numpy as np
import pytest
from typer.testing import CliRunner

from forceserver.bias.hills import read_hills
from forceserver.bias.tables import FieldsReader
from forceserver.cli.app import app
from forceserver.errors import InputError
from forceserver.free_energy.colvar import read_colvar
from forceserver.free_energy.file_units import unit_of

HEAD = "#! FIELDS time s sigma_s height biasf\n#! SET multivariate false\n#! SET kerneltype stretched-gaussian\n"
IN_EV = "# energies in eV, temperature 300 K\n"


def hills(remark="", height=0.012):
    centres = np.random.default_rng(1).normal(0, 0.3, 40)
    return HEAD + remark + "".join(f"{k + 1} {s:.4f} 0.1 {height} 10\n" for k, s in enumerate(centres))


def colvar(bias=1.0, fields="time s b.bias", count=400):
    s = np.sin(np.arange(count))
    return f"#! FIELDS {fields}\n" + "".join(f"{k} {x:.5f} {bias * (1 - x * x):.5f}\n" for k, x in enumerate(s))


@pytest.fixture
def fes(tmp_path, monkeypatch):
    """A function that runs the command on files, by name and content; returns what it prints, or raises."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, temperature="300", **files):
        for name, content in files.items():
            (tmp_path / name).write_text(content)
        result = CliRunner().invoke(app, ["fes", *arguments, "-T", temperature, "--no-picture"])
        if isinstance(result.exception, InputError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_the_unit_of_a_file_is_what_it_says(fes):
    assert "sum of hills (eV, kT = 0.02585)" in fes("H", H=hills(IN_EV))
    assert "(kJ/mol, kT = 2.494)" in fes("H", H=hills())
    assert "(Ha," in fes("H", "--energy-unit", "Ha", H=hills())
    with pytest.raises(InputError, match="H has energies in eV, --energy-unit says kJ/mol"):
        fes("H", "--energy-unit", "kJ/mol", H=hills(IN_EV))
    with pytest.raises(InputError, match="C has energies in kcal/mol, H has eV"):
        fes("H", "--colvar", "C", H=hills(IN_EV), C="#! FIELDS time s\n# energies in kcal/mol, temperature 300 K\n")


def test_another_temperature_is_told(tmp_path, caplog):
    (tmp_path / "H").write_text(hills(IN_EV))
    (tmp_path / "K").write_text("#! FIELDS time s sigma_s height logweight\n#! SET temperature 300\n")
    assert unit_of([tmp_path / "H", tmp_path / "K"], None, 300.1) == "eV"
    assert not caplog.records
    unit_of([tmp_path / "H", tmp_path / "K"], None, 600)
    assert [record.message.split("/")[-1][:22] for record in caplog.records] == [
        "H is of a bias for 300",
        "K is of a bias for 300",
    ]


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (colvar(fields="s time b.bias"), (), "the first column is s, not time"),
        (colvar().replace("\n7 ", "\nnan ", 1), (), "time is nan"),
        (colvar().replace("\n7 ", "\n7 nan 0\n#", 1), (), "s is nan at time 7"),
        ("#! FIELDS time s b.bias\n" + "".join(f"{k} 0.3 1\n" for k in range(9)), (), r"s is 0\.3 in all rows"),
        (colvar(), ("--variables", "s,s"), "name different columns"),
        (colvar(), ("--variables", "time"), "not the time"),
        (colvar(), ("--bins", "10000000000000"), "the grid has 10000000000000 intervals: it takes"),
        (colvar(), ("--smooth", "nan"), "--smooth nan: give a number of zero or more"),
        (colvar(), ("--depth=-1",), "--depth -1: give"),
        (colvar(), ("--skip=-5",), "--skip -5: give"),
    ],
)
def test_what_makes_no_free_energy_is_refused(fes, content, arguments, message):
    chosen = () if "--variables" in arguments else ("--variables", "s")
    with pytest.raises(InputError, match=message):
        fes("--colvar", "C", *chosen, *arguments, C=content)


@pytest.mark.parametrize(
    ("content", "temperature", "told"),
    [
        (colvar() + "400 0.1", "300", "the incomplete last line '400 0.1' is left out"),
        (colvar(count=200) + colvar(), "300", "times go back from 199 to 0"),
        (colvar(bias=1000), "300", "the bias spans 401 kT: is it in --energy-unit"),
        (colvar(bias=20), "2.494", "the bias spans 964 kT"),
        ("\ufeff" + colvar(), "300", "400 rows"),
    ],
)
def test_what_is_strange_is_told(fes, content, temperature, told):
    assert told in fes("--colvar", "C", "--variables", "s", "--skip", "0", temperature=temperature, C=content)


@pytest.mark.parametrize("line", ["3 nan 0.1 1 10", "3 0.1 0.1 inf 10", "3 0.1 0 1 10", "3 0.1 -0.1 1 10"])
def test_hills_that_are_no_numbers_are_refused(fes, line):
    with pytest.raises(InputError, match="H: the hill at time 3 has a number that is not finite, or no width"):
        fes("H", H=hills() + line + "\n")


def test_a_compressed_file_is_named(fes, tmp_path):
    (tmp_path / "HILLS.gz").write_bytes(gzip.compress(hills().encode()))
    with pytest.raises(InputError, match=r"HILLS\.gz is compressed: unpack it"):
        fes("HILLS.gz")


def test_a_grid_that_no_hill_reaches_is_refused(fes):
    with pytest.raises(InputError, match=r"no hill reaches the grid; there are hills for s from -0\.\d+ to 0\.\d+: ch"):
        fes("H", "--lower", "5", "--upper", "6", H=hills())
    kernels = KERNELS.format(" logweight", "kernels") + "1 0.1 0.1 1.0 0.0\n"
    with pytest.raises(InputError, match="by kernels is constant for s from 5 to 6: nothing reaches this range"):
        fes("K", "--lower", "5", "--upper", "6", K=kernels)


KERNELS = (
    "#! FIELDS time s sigma_s height{}\n#! SET action OPES_METAD_{}\n#! SET biasfactor 10\n#! SET epsilon 1e-4\n"
    "#! SET kernel_cutoff 4.3\n#! SET compression_threshold 1\n"
)


def test_an_incomplete_state_is_refused_and_an_incomplete_kernel_told(fes):
    """A state without its last kernels is the free energy of nothing."""
    rows = "".join(f"1 {s} 0.1 1.0\n" for s in (0.1, 0.4, 0.9))
    assert "written to" in fes("S", S=KERNELS.format("", "state") + rows)
    with pytest.raises(InputError, match="S is incomplete: it ends within a line"):
        fes("S", S=KERNELS.format("", "state") + rows[:-3])
    kernels = KERNELS.format(" logweight", "kernels") + "1 0.1 0.1 1.0 0.0\n"
    assert "the incomplete last line '2 0.4' is left out" in fes("K", K=kernels + "2 0.4")


def test_a_single_kernel_has_a_free_energy(fes):
    """Around its centre, which is 0 to within a node of the grid."""
    found = fes("K", K=KERNELS.format(" logweight", "kernels") + "1 0.0 0.1 1.0 0.0\n")
    assert "s = " in found
    assert abs(float(found.split("s = ")[1].split()[0])) < 0.01


ROW = "1 0.5 0.1 1.0 10\n"


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("", HEAD.replace("stretched-", ""), "line 7: kerneltype changes from stretched-gaussian to gaussian"),
        ("#! SET min_s -2\n#! SET max_s 2\n", "#! SET min_s -3\n", "line 7: min_s changes from -2 to -3"),
        ("#! SET lower_int 0\n", "#! SET lower_int -1\n", "line 6: lower_int changes from 0 to -1"),
        (IN_EV, "# energies in kJ/mol, temperature 300 K\n", "energies are in kJ/mol from here, before in eV"),
        ("#! SET min_s -pi\n", "#! SET min_s -3.14159265358979\n", None),
        ("#! SET zed 1\n", "#! SET zed 2\n", None),
        (IN_EV, IN_EV, None),
    ],
)
def test_a_header_that_changes_within_a_file_is_refused(tmp_path, first, second, message):
    """As after a restart with another PLUMED or domain: the last header was taken for all rows."""
    (tmp_path / "H").write_text(f"{HEAD}{first}{ROW}{second}{ROW}")
    table = FieldsReader(tmp_path / "H")
    if message is None:
        assert table.read().shape == (2, 5)
    else:
        with pytest.raises(InputError, match=message):
            table.read()
        assert table.offset == 0


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("min_s -2", "has min_s, but of min_s and max_s it needs both"),
        ("max_s 2", "has max_s, but of min_s"),
        ("min_s a\n#! SET max_s 2", "says min_s a and max_s 2, which are not the ends"),
        ("min_s pi\n#! SET max_s -pi", "are not the ends of an interval"),
        ("lower_int -1", "has lower_int, but"),
        ("lower_int nan\n#! SET upper_int 1", "are not the ends of an interval"),
    ],
)
def test_half_a_domain_or_interval_in_a_header_is_refused(tmp_path, header, message):
    (tmp_path / "H").write_text(f"{HEAD}#! SET {header}\n{ROW}")
    with pytest.raises(InputError, match=message):
        read_hills(tmp_path / "H")


def test_a_skip_that_leaves_nothing_out_is_told(tmp_path, caplog):
    """COLVAR of a restart goes on with the time of the run before it."""
    (tmp_path / "C").write_text("#! FIELDS time s\n" + "".join(f"{1000 + i} {i}\n" for i in range(4)))
    assert len(read_colvar([tmp_path / "C"], 100).rows) == 4
    assert "C begins at 1000 ps: nothing is earlier than 100 ps" in caplog.text
    assert len(read_colvar([tmp_path / "C"], 1002).rows) == 2
    assert len(caplog.records) == 1
