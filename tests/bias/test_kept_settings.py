"""A bias that goes on with other settings: refused where its files would mean something else, told otherwise."""

import json
from pathlib import Path

import numpy as np
import pytest
from bias_case import section

from forceserver.bias.choice import build_bias
from forceserver.bias.config import MetadynamicsConfig
from forceserver.bias.kept_settings import (
    KeptIn,
    Settings,
    changes,
    compared,
    compared_with_walkers,
    flat,
    going_on,
    of_walker,
    with_values,
)
from forceserver.bias.plumed.changed_input import Input, why_another_bias
from forceserver.bias.plumed.input import split
from forceserver.bias.plumed.written_files import walkers
from forceserver.cv import CVResult, Variable
from forceserver.errors import InputError
from forceserver.frame import Frame


class Height(Variable):
    """The height of the second atom above the first, times a factor."""

    def __init__(self, factor=1.0):
        super().__init__("p", ["z"])
        self.factor = factor

    def compute(self, frame):
        z = self.factor * (frame.positions[1, 2] - frame.positions[0, 2])
        slope = self.factor * np.array([[[0.0, 0, -1], [0, 0, 1]]])
        return CVResult([z], [0, 1], slope, np.zeros((1, 3, 3)))


TEMPLATE = Frame(np.zeros((2, 3)), np.zeros((3, 3)), np.array([1, 1]), np.zeros(3, bool))


def frames(count):
    """The second atom rises by 0.1 Angstrom a step."""
    return [
        Frame(np.array([[0.0, 0, 0], [0, 0, 0.1 * k]]), TEMPLATE.cell, TEMPLATE.species, TEMPLATE.pbc)
        for k in range(count)
    ]


def build(folder, factor=1.0, template=TEMPLATE, **changed):
    hills = {"height_eV": 0.1, "pace_steps": 2, "temperature_K": 300, "file": folder / "HILLS"} | changed.pop(
        "hills", {}
    )
    content = {
        "time_step_fs": 0.5,
        "variables": [{"name": "p_z", "sigma": 0.2, "lower": -2, "upper": 2}],
        "hills": hills,
        "clock_file": folder / "BIAS.clock",
        "colvar_file": folder / "COLVAR",
    } | changed
    return build_bias(MetadynamicsConfig(**content), {"p": Height(factor)}, template)


@pytest.fixture
def begun(tmp_path):
    """A folder with a bias of a few hills."""
    bias = build(tmp_path)
    for frame in frames(6):
        bias.compute_one(frame)
    bias.close()
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"file_energy_unit": "eV"},
            r"file_energy_unit was 'kJ/mol', is 'eV'.*to go on all the same, remove .*settings",
        ),
        ({"time_step_fs": 0.25}, r"time_step_fs was 0\.5, is 0\.25: the times"),
        ({"factor": 1.1}, r"p_z is defined differently: for the structure file .* it was -0\.0\d+, is -0\.0\d+"),
    ],
)
def test_what_makes_another_bias_of_the_same_files_is_refused(begun, changed, message):
    before = (begun / "HILLS").read_bytes()
    with pytest.raises(InputError, match=message):
        build(begun, **changed)
    assert (begun / "HILLS").read_bytes() == before
    (begun / "BIAS.clock.settings").unlink()
    if "file_energy_unit" in changed:  # known from the file itself
        with pytest.raises(InputError, match="HILLS has energies in kJ/mol, file_energy_unit is 'eV'"):
            build(begun, **changed)
    else:
        build(begun, **changed).close()


def test_other_changes_are_told_once(begun, caplog):
    """The hills that are there act as before."""
    energies = []
    for height in (0.1, 0.2, 0.2):
        bias = build(begun, hills={"height_eV": height})
        energies.append(bias.compute_one(frames(6)[-1]).energy)
        bias.close()
    assert energies[0] > 0.05
    assert energies == [energies[0]] * 3
    assert [record.message for record in caplog.records] == [
        "the bias goes on with other settings: hills.height_eV was 0.1, is 0.2"
    ]


def test_a_new_bias_and_another_structure_file_compare_nothing(begun, caplog):
    other = Frame(np.eye(3)[:2], TEMPLATE.cell, TEMPLATE.species, TEMPLATE.pbc)
    build(begun, factor=1.1, template=other).close()
    for name in ("HILLS", "COLVAR", "BIAS.clock"):
        (begun / name).unlink()
    build(begun, factor=2.0, file_energy_unit="eV").close()
    assert not caplog.records


def test_a_variable_that_refuses_the_probe_is_not_compared(tmp_path):
    class OnlyHere(Height):
        def compute(self, frame):
            if np.abs(frame.positions[:, 0]).max() > 0:
                raise RuntimeError("atoms must be on the z axis")
            return super().compute(frame)

    settings = with_values(Settings({}), ["p_z"], {"p": OnlyHere()}, TEMPLATE)
    assert settings == Settings({})
    assert len(with_values(Settings({}), ["p_z", "potential_energy"], {"p": Height()}, TEMPLATE).values) == 1


def test_walkers_share_hills_of_one_energy_unit(tmp_path):
    walkers = {"count": 2, "directory": tmp_path, "read_stride_steps": 1}
    first = build(tmp_path, walkers=walkers | {"id": 0}, file_energy_unit="eV")
    for frame in frames(6):
        first.compute_one(frame)
    with pytest.raises(InputError, match=r"HILLS\.0 has energies in eV, file_energy_unit is 'kJ/mol'"):
        build(tmp_path, walkers=walkers | {"id": 1})
    first.close()


def test_walkers_share_hills_of_one_definition(tmp_path):
    walkers = {"count": 2, "directory": tmp_path / "shared"}
    first = build(tmp_path, walkers=walkers | {"id": 0})
    with pytest.raises(InputError, match=r"p_z is defined differently.* \(the walker of .*HILLS\.0 has the other"):
        build(tmp_path, factor=1.1, walkers=walkers | {"id": 1})
    second = build(tmp_path, walkers=walkers | {"id": 1})
    assert sorted(path.name for path in (tmp_path / "shared").glob("settings.*")) == [
        "settings.HILLS.0",
        "settings.HILLS.1",
    ]
    first.close()
    second.close()
    for file in [*(tmp_path / "shared").glob("HILLS.*"), *tmp_path.glob("BIAS.clock.*"), *tmp_path.glob("COLVAR.*")]:
        file.unlink()
    build(tmp_path, factor=1.1, walkers=walkers | {"id": 1}).close()


def test_walkers_that_start_together_are_compared_when_both_have_written(tmp_path):
    """Each looked for the settings of the other before there were any."""
    walkers = [tmp_path / f"HILLS.{k}" for k in range(2)]
    for hills in walkers:
        hills.touch()
    kept = [KeptIn(of_walker(walkers[k]), [walkers[1 - k]]) for k in range(2)]
    first, second = (Settings({}, plumed=[UNLABELLED.format(factor)]) for factor in (8, 9))
    closed = []

    def start_both():
        with going_on(kept[1], False, second) as after_an_error:
            after_an_error.callback(closed.append, "second")
            with going_on(kept[0], False, first) as after_no_error:
                after_no_error.callback(closed.append, "first")

    with pytest.raises(InputError, match=r"BIASFACTOR of METAD 1 was 8, is 9: .* \(the walker of .*HILLS\.0 has the"):
        start_both()
    assert closed == ["second"]


UNLABELLED = "METAD ARG=p SIGMA=1 HEIGHT=1 PACE=2 BIASFACTOR={} WALKERS_N=2 WALKERS_ID=1 WALKERS_DIR=hills"


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ([UNLABELLED.format(8)], [UNLABELLED.format(9)], "BIASFACTOR of METAD 1 was 8, is 9"),
        ([UNLABELLED.format(8)], ["UNITS ENERGY=eV", UNLABELLED.format(8)], "no UNITS has become 'UNITS ENERGY=eV'"),
        ([UNLABELLED.format(8)], "eV", "the energies in the hills were in kJ/mol, are in eV"),
        (["UNITS ENERGY=ev", UNLABELLED.format(8)], "eV", None),
        (["UNITS ENERGY=eV LENGTH=A", UNLABELLED.format(8)], ["UNITS LENGTH=A ENERGY=eV", UNLABELLED.format(8)], None),
        (
            [UNLABELLED.format(8)],
            [UNLABELLED.format(8).replace("SIGMA=1", "SIGMA=3 TEMP=300")],
            "TEMP of METAD 1 was not",
        ),
        (
            ["p: DISTANCE ATOMS=1,2", UNLABELLED.format(8)],
            ["p: DISTANCE ATOMS=1,3", UNLABELLED.format(8)],
            "METAD 1 acts on another variable: 'p: DISTANCE ATOMS=1,2' has become",
        ),
    ],
)
def test_walkers_of_plumed_need_inputs_that_go_together(tmp_path, one, other, message):
    """PLUMED takes the hills of another walker for its own: other units or another bias factor scaled them silently."""
    hills = tmp_path / "HILLS.0"
    hills.touch()
    before, now = (
        Settings({"file_energy_unit": of} if isinstance(of, str) else {}, plumed=[] if isinstance(of, str) else of)
        for of in (one, other)
    )
    with going_on(KeptIn(of_walker(hills)), False, before):
        pass
    kept = KeptIn(of_walker(tmp_path / "HILLS.1"), [hills])
    if message is None:
        assert compared_with_walkers(kept, now) == []
    elif message.startswith(("TEMP", "METAD")):
        (told,) = compared_with_walkers(kept, now)
        assert f"HILLS.0 has another input: {message}" in told
    else:
        with pytest.raises(InputError, match=message):
            compared_with_walkers(kept, now)


def test_which_files_are_those_of_walkers():
    actions = [split(UNLABELLED.format(8)), split(UNLABELLED.format(8) + " FILE={a b}")]
    assert [walkers([action]) for action in actions] == [
        (Path("hills/HILLS.1"), [Path("hills/HILLS.0")]),
        (Path("hills/a b.1"), [Path("hills/a b.0")]),
    ]
    assert walkers([split("METAD ARG=p WALKERS_MPI"), split("METAD WALKERS_N=two"), split("METAD WALKERS_N=1")]) == (
        Path("HILLS.0"),
        [],
    )
    assert walkers([split("METAD WALKERS_N=2 WALKERS_ID=2")]) is None


def test_walkers_of_different_temperatures_are_told(tmp_path, caplog):
    walkers = {"count": 2, "directory": tmp_path}
    first = build(tmp_path, walkers=walkers | {"id": 0})
    second = build(tmp_path, walkers=walkers | {"id": 1}, hills={"temperature_K": 600})
    for frame in frames(9):
        first.compute_one(frame)
        second.compute_one(frame)
    told = [record.message.split("/")[-1] for record in caplog.records]
    assert [text.split(":")[0] for text in told] == [
        "HILLS.0 was begun for 300 K, this bias is for 600 K",
        "HILLS.1 was begun for 600 K, this bias is for 300 K",
    ]
    first.close()
    second.close()


def test_settings_as_keys_of_the_file(tmp_path):
    keys = flat(section(tmp_path, walls=[{"variable": "p", "side": "upper", "at": 1, "kappa_eV": 2}]).model_dump())
    assert (keys["hills.height_eV"], keys["walls.0.kappa_eV"]) == (0.05, 2)
    assert not any("file" in key for key in keys if key != "file_energy_unit")
    assert flat({"a": np.inf, "b": None}) == {"a": "inf"}
    flat_target = {"bias_factor": "inf", "adaptive_sigma_stride_steps": None}
    opes = section(tmp_path, opes=flat_target, variables=[{"name": "p", "sigma": 0.1}])
    assert json.loads(json.dumps(flat(opes.settings().keys)))["opes.bias_factor"] == "inf"


def test_check_tells_it_before_anything_starts(begun):
    """`check` compares, and writes nothing."""
    config = MetadynamicsConfig(
        time_step_fs=0.5,
        variables=[{"name": "p_z", "sigma": 0.2, "lower": -2, "upper": 2}],
        hills={"height_eV": 0.3, "pace_steps": 2, "temperature_K": 300, "file": begun / "HILLS"},
        clock_file=begun / "BIAS.clock",
        file_energy_unit="eV",
    )
    before = (begun / "BIAS.clock.settings").read_bytes()
    with pytest.raises(InputError, match="file_energy_unit was 'kJ/mol'"):
        compared(config.kept_in, bool(config.begun()), config.settings())
    config = config.model_copy(update={"file_energy_unit": "kJ/mol"})
    assert compared(config.kept_in, bool(config.begun()), config.settings()) == ["hills.height_eV was 0.1, is 0.3"]
    assert (begun / "BIAS.clock.settings").read_bytes() == before


def test_a_damaged_record_is_told(tmp_path):
    (tmp_path / "clock.settings").write_text("{")
    with (
        pytest.raises(InputError, match=r"clock\.settings cannot be read: .*; remove it"),
        going_on(KeptIn(tmp_path / "clock.settings"), True, Settings({})),
    ):
        pass


INPUT = ["d: DISTANCE ATOMS=1,2", "c: COMBINE ARG=d PERIODIC=NO", "m: METAD ARG=c SIGMA=1 HEIGHT=1 PACE=2 BIASFACTOR=8"]


@pytest.mark.parametrize(
    ("line", "changed", "why"),
    [
        (2, "m: METAD ARG=c SIGMA=2 HEIGHT=3 PACE=4 BIASFACTOR=8", ""),
        (2, "m: METAD ARG=c SIGMA=1 HEIGHT=1 PACE=2 BIASFACTOR=9", "BIASFACTOR of m was 8, is 9"),
        (2, "m: METAD ARG=c SIGMA=1 HEIGHT=1 PACE=2", "BIASFACTOR of m was 8, is not given"),
        (0, "d: DISTANCE ATOMS=1,3", "m acts on another variable: 'd: DISTANCE ATOMS=1,2' has become"),
        (1, "c: COMBINE ARG=d POWERS=2 PERIODIC=NO", "m acts on another variable: 'c: COMBINE"),
        (0, "UNITS ENERGY=eV", "no UNITS has become 'UNITS ENERGY=eV'"),
    ],
)
def test_another_bias_of_the_files_of_plumed(line, changed, why):
    lines = [changed, *INPUT] if changed.startswith("UNITS") else [*INPUT[:line], changed, *INPUT[line + 1 :]]
    assert why_another_bias(Input(INPUT), Input(lines)).startswith(why)
    assert bool(why) == bool(why_another_bias(Input(INPUT), Input(lines)))


def test_changes_of_plumeds_input_are_told():
    found = changes(Settings({"time_step_fs": 1.0}, plumed=INPUT), Settings({}, plumed=[*INPUT[:2], "m: METAD ARG=d"]))
    assert found == ["time_step_fs was 1.0, is not given", f"without '{INPUT[2]}'", "with 'm: METAD ARG=d'"]


@pytest.mark.parametrize(
    "opes", ["OPES_METAD ARG=x BARRIER=20 TEMP=300", "OPES_METAD_EXPLORE ARG=x BARRIER=20 TEMP=300"]
)
def test_opes_of_plumed_keeps_its_temperature(opes):
    why = why_another_bias(Input([opes]), Input([opes.replace("300", "400")]))
    assert why.startswith("TEMP of OPES_METAD")
    assert "is 400" in why
