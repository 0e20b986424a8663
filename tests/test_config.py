"""What a user reads when the configuration is wrong."""

from pathlib import Path
from typing import Annotated, Literal

import pydantic
import pytest
from pydantic import Field

from forceserver.configuration import Configuration
from forceserver.errors import InputError
from forceserver.ipi.driver import DriverConfig
from forceserver.sections import InputFile, Section, explain, read_toml, validated


class Inner(Section):
    kind: Literal["inner"]
    cutoff_angstrom: float


class Other(Section):
    kind: Literal["other"]
    depth: int


class Outer(Section):
    model: Annotated[Inner | Other, Field(discriminator="kind")]
    parts: tuple[Inner, ...] = ()
    mode: Literal["unix", "inet"] = "unix"
    file: InputFile | None = None


def problems(content: dict, **context) -> str:
    with pytest.raises(pydantic.ValidationError) as caught:
        Outer.model_validate(content, context=context)
    return explain(caught.value, "a.toml", Outer)


def from_file(model: type[Section], content: dict, folder: Path) -> Section:
    return validated(model, content, "a.toml", folder, written=True)


INNER = {"kind": "inner", "cutoff_angstrom": 3.0}


def test_unknown_key_suggests_the_nearest_of_the_section_that_was_meant():
    text = problems({"model": {**INNER, "cutof_angstrom": 1}})
    assert "cutof_angstrom: unknown key; did you mean 'cutoff_angstrom'?" in text
    text = problems({"model": INNER, "parts": [INNER, {**INNER, "knid": "x"}]})
    assert "parts.1.knid: unknown key; did you mean 'kind'?" in text


def test_unknown_key_without_a_near_one_lists_what_is_known():
    text = problems({"model": INNER, "zzz": 1})
    assert "zzz: unknown key; known are file, mode, model, parts" in text


def test_wrong_value_shows_key_value_and_what_is_allowed():
    text = problems({"model": INNER, "mode": "udp"})
    assert "mode = 'udp': Input should be 'unix' or 'inet'" in text


def test_wrong_kind_lists_the_kinds():
    text = problems({"model": {"kind": "innr"}})
    assert "'innr'" in text
    assert "model.kind = 'innr': known are inner, other; did you mean 'inner'?" in text


def test_missing_kind_lists_the_kinds():
    assert (
        problems({"model": {"depth": 3}})
        == "a.toml: 1 problem\n  model: the key kind is missing; known are inner, other"
    )


def test_missing_key_is_named():
    assert "model.cutoff_angstrom: this key is required" in problems({"model": {"kind": "inner"}})


def test_every_problem_has_its_line():
    text = problems({"model": {"kind": "other", "depth": "deep"}, "mode": 3, "colour": "red"})
    assert text.splitlines()[0] == "a.toml: 3 problems"
    assert len(text.splitlines()) == 4


def test_infinite_numbers_are_refused():
    assert "finite number" in problems({"model": {"kind": "inner", "cutoff_angstrom": float("inf")}})


def test_files_are_relative_to_the_configuration_and_must_exist(tmp_path):
    (tmp_path / "there.xyz").touch()
    outer = Outer.model_validate({"model": INNER, "file": "there.xyz"}, context={"folder": tmp_path})
    assert outer.file == tmp_path / "there.xyz"
    text = problems({"model": INNER, "file": "absent.xyz"}, folder=tmp_path)
    assert f"there is no file {tmp_path / 'absent.xyz'}" in text


def test_outputs_stay_where_they_belong_wherever_a_model_goes(tmp_path, monkeypatch):
    """A driver of `config.toml`, without its folder, wrote them where the model had gone."""
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    drivers = [
        DriverConfig.model_validate(given, context={"folder": Path("sub")}) for given in ({}, {"failed_frames": "f"})
    ]
    drivers += [DriverConfig(), DriverConfig(failed_frames=Path("f"))]
    monkeypatch.chdir("/")
    folders = [driver.failed_frames for driver in drivers]
    assert folders == [tmp_path / name for name in ("sub/failed_frames", "sub/f", "failed_frames", "f")]


def test_long_values_are_cut():
    text = problems({"model": INNER, "mode": "x" * 1000})
    assert len(text) < 300


def test_toml_errors_tell_the_place(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[socket\nmode = 1\n")
    with pytest.raises(InputError, match=r"a\.toml is not valid TOML: .*line 1"):
        read_toml(path)
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(InputError, match=r"not valid TOML.*save it as UTF-8"):
        read_toml(path)
    with pytest.raises(InputError, match="No such file"):
        read_toml(tmp_path / "absent.toml")
    with pytest.raises(InputError, match="Is a directory"):
        read_toml(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_a_byte_order_mark_is_named(tmp_path, encoding):
    path = tmp_path / "a.toml"
    path.write_bytes(("\ufeff" * (encoding == "utf-16-be") + "a = 1\n").encode(encoding))
    with pytest.raises(InputError, match="begins with a byte-order mark"):
        read_toml(path)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("x" * 5000, "File name too long"),
        ("~nobody-of-this-name/a.xyz", "there is no such home folder"),
        ("loop.xyz", "cannot be read"),
        ("a\0b", "null"),
        (".", "there is no file"),
        (["a.xyz", "b.xyz"], "should be the path of a single file"),
    ],
)
def test_names_of_files_that_cannot_be(tmp_path, file, message):
    (tmp_path / "loop.xyz").symlink_to("loop.xyz")
    with pytest.raises(InputError, match=message):
        from_file(Outer, {"model": INNER, "file": file}, tmp_path)


@pytest.mark.parametrize("value", [True, "3", "3.0", 3.5, [3], {"a": 3}])
def test_a_number_is_what_is_written_as_one(tmp_path, value):
    with pytest.raises(InputError, match=r"model\.depth"):
        from_file(Outer, {"model": {"kind": "other", "depth": value}}, tmp_path)
    from_file(Outer, {"model": {"kind": "inner", "cutoff_angstrom": 3}}, tmp_path)


VARIABLE = {
    "name": "v",
    "centres": "Al",
    "neighbours": "Al",
    "weights": [1.0],
    "basis": {
        "kind": "gto",
        "n_max": 1,
        "l_max": 1,
        "cutoff": {"cutoff_angstrom": 4.0, "width_angstrom": 0.5},
        "density": {"kind": "gaussian", "sigma_angstrom": 0.4},
    },
}
UNIX, INET = {"mode": "unix", "prefix": "/tmp/f_", "address": "a"}, {"mode": "inet", "address": "node1", "port": 31415}


@pytest.mark.parametrize(
    ("first", "second", "cv"),
    [
        (UNIX, UNIX, None),
        (UNIX, {**UNIX, "mode": "shm"}, None),
        (UNIX, {**UNIX, "prefix": "/tmp/../tmp/./f_"}, None),
        ({"prefix": "./", "address": "a"}, {"prefix": "", "address": "a"}, None),
        (INET, {**INET, "address": "127.0.0.1"}, None),  # of the same i-PI; and --host replaces both
        (UNIX, INET, "/tmp/f_a"),
        (UNIX, INET, "localhost:31415"),
    ],
)
def test_two_servers_at_one_address(tmp_path, first, second, cv):
    (tmp_path / "a.xyz").touch()
    bias = {"engine": "plumed", "plumed_dat": "a.xyz", "time_step_fs": 1.0}
    content = {"structure": {"file": "a.xyz"}, "socket": first, "bias": bias, "cv": [VARIABLE]}
    server = {"cv_server": {"address": cv}} if cv else {}
    with pytest.raises(InputError, match=r"has the address of \[.*socket\].*give each one of its own"):
        from_file(Configuration, {**content, "bias_socket": second, **server}, tmp_path)
    other = {**second, "port": 31416} if "port" in second else {**second, "address": "b"}
    from_file(Configuration, {**content, "bias_socket": other, "cv_server": {"address": "/tmp/f_c"}}, tmp_path)
