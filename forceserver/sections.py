"""What all sections of the TOML file share: their base, types of keys, and messages about what is wrong.

Units are in the names of the keys. Relative paths are relative to the file. Sections are declared beside what they
configure and put together in configuration.py; this file reads TOML and turns pydantic's findings into messages for
people.
"""

import codecs
import difflib
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import pydantic
from pydantic import BeforeValidator, ConfigDict, ValidationInfo
from pydantic_core import to_json

from .elements import named_element
from .errors import InputError, shortened

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BYTE_ORDER_MARKS = {"UTF-8": codecs.BOM_UTF8, "UTF-16": codecs.BOM_UTF16_LE, "UTF-16, big-endian": codecs.BOM_UTF16_BE}
"""What some editors on Windows put in front of a text."""


class Section(pydantic.BaseModel):
    """Base of all sections: unknown keys are errors, values are frozen, numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


AnySection = TypeVar("AnySection", bound=Section)


Location = tuple[int | str, ...]
"""Where in a content something is wrong: keys and places in lists."""


def key_of(place: Location) -> str:
    """What a message about a file calls a place in it."""
    return ".".join(map(str, place)) or "(whole file)"


def argument_of(place: Location) -> str:
    """What a message about the arguments of a function calls a place in them; empty for all of them together."""
    return ".".join(map(str, place))


def validated(
    model: type[AnySection],
    content: Any,
    source: str,
    folder: Path | None = None,
    *,
    written: bool = False,
    name: Callable[[Location], str] = key_of,
) -> AnySection:
    """The section that `content` describes; `InputError` names every problem in it, one a line.

    source: where the content comes from, for the message. folder: what relative paths in it are relative to. written:
    whether it comes straight from a file, where neither "31415" nor true is a number. name: what the reader of the
    message calls a place in the content.
    """
    context = {"folder": folder}
    try:
        if written:  # strict, but as for JSON, where a list may become a tuple and a string a path
            return model.model_validate_json(to_json(content), strict=True, context=context)
        return model.model_validate(content, context=context)
    except pydantic.ValidationError as error:
        raise InputError(explain(error, source, model, name)) from error


def _relative_to_config(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, list | tuple):
        raise ValueError("should be the path of a single file; files of extended XYZ can be joined with cat")
    folder = (info.context or {}).get("folder")
    if folder is None or not isinstance(value, str | Path):
        return value
    try:
        return str(Path(folder) / Path(value).expanduser())  # a string, as strict validation requires
    except RuntimeError as error:  # an unknown ~user
        raise ValueError(f"there is no such home folder ({error})") from error


def _must_exist(path: Path) -> Path:
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return path
    except FileNotFoundError:
        pass
    except OSError as error:  # a name too long, a folder without permission
        raise ValueError(f"{shortened(str(path))} cannot be read: {error.strerror}") from error
    raise ValueError(f"there is no file {path}")


def names_extxyz(path: Path) -> Path:
    """The path; `ValueError` if its name says another format, by which others would read it."""
    if path.suffix not in ("", ".xyz", ".extxyz"):
        raise ValueError(f"{path} would be extended XYZ under another name; let it end in .extxyz")
    return path


def _distinct(values: tuple) -> tuple:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} occurs twice")
    return values


def _is_element(symbol: str) -> str:
    named_element(symbol)
    return symbol


Distinct = pydantic.AfterValidator(_distinct)
"""For tuples without duplicates: `Annotated[tuple[...], Distinct]`."""

Element = Annotated[str, pydantic.AfterValidator(_is_element)]
"""A chemical symbol."""

InputFile = Annotated[Path, BeforeValidator(_relative_to_config), pydantic.AfterValidator(_must_exist)]
"""A path that must be an existing file when the configuration is read."""

OutputPath = Annotated[Path, BeforeValidator(_relative_to_config), pydantic.AfterValidator(Path.absolute)]
"""A path that will be written, absolute: a model may change the working directory before."""

ExtxyzOutput = Annotated[OutputPath, pydantic.AfterValidator(names_extxyz)]
"""A file of structures that will be written."""


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; `InputError` with line and column if it is not TOML or not readable."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror}") from error
    mark = next((name for name, mark in BYTE_ORDER_MARKS.items() if content.startswith(mark)), None)
    if mark is not None:
        raise InputError(
            f"{path} is not valid TOML: it begins with a byte-order mark ({mark}); save it as UTF-8 without one"
        )
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}; save it as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error


def check_arguments(given: Iterable[str], known: Iterable[str], caller: str) -> None:
    """`InputError`, with the nearest known argument, if a function was given an argument that it does not have."""
    for name in set(given) - set(known):
        raise InputError(f"{caller}: {name}: unknown argument{_nearest(name, sorted(known))}")


def explain(
    error: pydantic.ValidationError,
    source: str,
    model: type[Section] | None = None,
    name: Callable[[Location], str] = key_of,
) -> str:
    """Pydantic's findings, one line each: the key, the value, what is wrong and what is allowed.

    model: what was validated; with it, the nearest known key is suggested for an unknown one. name: as in `validated`.
    """
    findings = [finding for finding in error.errors(include_url=False) if not _follows(finding, error)]
    problems = dict.fromkeys(_problem(finding, model, name) for finding in findings)  # in their order, each once
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n".join([f"{source}: {count}", *(f"  {problem}" for problem in problems)])


def _problem(finding: Any, model: type[Section] | None, name: Callable[[Location], str]) -> str:
    """A finding on one line."""
    key = name(_without_tags(finding["loc"], model))
    kind = finding["type"]
    if kind == "extra_forbidden":
        return f"{key}: unknown key{_suggestion(finding['loc'], model)}"
    if kind == "union_tag_invalid":
        tag, known = finding["ctx"]["tag"], finding["ctx"]["expected_tags"].replace("'", "")
        nearest = difflib.get_close_matches(tag, known.split(", "), n=1)
        also = f"; did you mean {nearest[0]!r}?" if nearest else ""
        return f"{f'{key}.' * bool(key)}{_discriminator(finding)} = {tag!r}: known are {known}{also}"
    message = WORDS.get(kind, finding["msg"].removeprefix("Value error, "))
    if kind == "union_tag_not_found":
        message = f"the key {_discriminator(finding)} is missing{_choices(finding, model)}"
    if kind == "missing" or isinstance(finding["input"], dict):
        return f"{key}: {message}" if key else message
    return f"{key} = {shortened(finding['input'])}: {message}"


def _discriminator(finding: Any) -> str:
    return finding["ctx"]["discriminator"].strip("'")


def _choices(finding: Any, model: type[Section] | None) -> str:
    """The values that a discriminator may have, where it is missing."""
    key = _discriminator(finding)
    fields = [section.model_fields.get(key) for section in _sections_at(model, finding["loc"])]
    known = [value for field in fields if field is not None for value in get_args(field.annotation)]
    return f"; known are {', '.join(map(str, known))}" if known else ""


WORDS = {
    "missing": "this key is required",
    "tuple_type": "should be a list",
    "model_type": "should be a table, keys and values",
    "dict_type": "should be a table, keys and values",
    "path_type": "should be the path of a file",
}
"""What pydantic says in terms of Python's types, by the type of its finding."""

UNION_LABEL = re.compile(r"(bool|float|int|str)|.*\[.*\]")
"""What pydantic calls the alternatives of a union without a discriminator, and keys of dictionaries ("[key]")."""


def _follows(finding: Any, error: pydantic.ValidationError) -> bool:
    """Whether a list is called too short only because an item in it is wrong, which has a finding of its own."""
    loc = finding["loc"]
    return finding["type"] == "too_short" and any(
        len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in error.errors(include_url=False)
    )


def _suggestion(loc: tuple[str | int, ...], model: type[Section] | None) -> str:
    known = sorted({name for section in _sections_at(model, loc[:-1]) for name in section.model_fields})
    return _nearest(str(loc[-1]), known)


def _nearest(unknown: str, known: list[str]) -> str:
    if not known:
        return ""
    nearest = difflib.get_close_matches(unknown, known, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else f"; known are {', '.join(known)}"


def _without_tags(loc: Location, model: type[Section] | None) -> Location:
    """The path as it was written, without what pydantic says of unions in it."""
    within = (_sections_at(model, loc[:k]) for k in range(len(loc)))
    return tuple(
        part
        for part, sections in zip(loc, within, strict=True)
        if not UNION_LABEL.fullmatch(str(part)) and not _tagged(sections, part)
    )


def _sections_at(annotation: Any, loc: Location) -> list[type[pydantic.BaseModel]]:
    """The sections that the path `loc` of a finding leads to (several for a union)."""
    sections = list(_sections_in(annotation))
    for part in loc:
        if isinstance(part, int):  # an item of a list: same sections
            continue
        if tagged := _tagged(sections, part):
            sections = tagged
            continue
        fields = [section.model_fields[part] for section in sections if part in section.model_fields]
        sections = [inner for field in fields for inner in _sections_in(field.annotation)]
    return sections


def _tagged(sections: list[type[pydantic.BaseModel]], part: int | str) -> list[type[pydantic.BaseModel]]:
    """Those of several sections that the value of a discriminator chooses; none if `part` is something else."""
    return [section for section in sections if part in _tags(section)] if len(sections) > 1 else []


def _sections_in(annotation: Any) -> Iterator[type[pydantic.BaseModel]]:
    arguments = get_args(annotation)
    for argument in arguments:
        yield from _sections_in(argument)
    if not arguments and isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation


def _tags(section: type[pydantic.BaseModel]) -> set[Any]:
    literals = (field.annotation for field in section.model_fields.values())
    return {tag for literal in literals if get_origin(literal) is Literal for tag in get_args(literal)}
