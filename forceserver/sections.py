"""What all sections of the TOML file share: their base, types of keys, and messages about what is wrong.

Units are in the names of the keys. Relative paths are relative to the file. Sections are declared beside what they
configure and put together in configuration.py; this file reads TOML and turns pydantic's findings into messages for
people.
"""

import codecs
import difflib
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import pydantic
from pydantic import BeforeValidator, ConfigDict, ValidationInfo
from pydantic_core import to_json

from .elements import named_element
from .errors import InputError

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


def validated(
    model: type[AnySection], content: Any, source: str, folder: Path | None = None, written: bool = False
) -> AnySection:
    """The section that `content` describes; `InputError` names every problem in it, one a line.

    source: where the content comes from, for the message. folder: what relative paths in it are relative to. written:
    whether it comes straight from a file, where neither "31415" nor true is a number.
    """
    context = {"folder": folder}
    try:
        if written:  # strict, but as for JSON, where a list may become a tuple and a string a path
            return model.model_validate_json(to_json(content), strict=True, context=context)
        return model.model_validate(content, context=context)
    except pydantic.ValidationError as error:
        raise InputError(explain(error, source, model)) from error


def _relative_to_config(value: Any, info: ValidationInfo) -> Any:
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
        raise ValueError(f"{_short(str(path))} cannot be read: {error.strerror}") from error
    raise ValueError(f"there is no file {path}")


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

OutputPath = Annotated[Path, BeforeValidator(_relative_to_config)]
"""A path that will be written."""


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


def explain(error: pydantic.ValidationError, source: str, model: type[Section] | None = None) -> str:
    """Pydantic's findings, one line each: the key, the value, what is wrong and what is allowed.

    model: what was validated; with it, the nearest known key is suggested for an unknown one.
    """
    findings = [finding for finding in error.errors(include_url=False) if not _follows(finding, error)]
    lines = [f"{source}: {len(findings)} problem(s)"]
    for finding in findings:
        key = ".".join(str(part) for part in finding["loc"] if part != "[key]") or "(whole file)"
        message = finding["msg"].removeprefix("Value error, ")
        if finding["type"] == "missing":
            lines.append(f"  {key}: this key is required")
        elif finding["type"] == "extra_forbidden":
            lines.append(f"  {key}: unknown key{_suggestion(finding['loc'], model)}")
        elif isinstance(finding["input"], dict):
            lines.append(f"  {key}: {message}")
        else:
            lines.append(f"  {key} = {_short(finding['input'])}: {message}")
    return "\n".join(lines)


def _follows(finding: Any, error: pydantic.ValidationError) -> bool:
    """Whether a list is called too short only because an item in it is wrong, which has a finding of its own."""
    loc = finding["loc"]
    return finding["type"] == "too_short" and any(
        len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in error.errors(include_url=False)
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _suggestion(loc: tuple[str | int, ...], model: type[Section] | None) -> str:
    known = sorted({name for section in _sections_at(model, loc[:-1]) for name in section.model_fields})
    if not known:
        return ""
    nearest = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else f"; known are {', '.join(known)}"


def _sections_at(annotation: Any, loc: tuple[str | int, ...]) -> list[type[pydantic.BaseModel]]:
    """The sections that the path `loc` of a finding leads to (several for a union without a discriminator)."""
    sections = list(_sections_in(annotation))
    for part in loc:
        if isinstance(part, int):  # an item of a list: same sections
            continue
        tagged = [section for section in sections if part in _tags(section)]
        if tagged:  # pydantic puts the value of a discriminator into the path
            sections = tagged
            continue
        fields = [section.model_fields[part] for section in sections if part in section.model_fields]
        sections = [inner for field in fields for inner in _sections_in(field.annotation)]
    return sections


def _sections_in(annotation: Any) -> Iterator[type[pydantic.BaseModel]]:
    arguments = get_args(annotation)
    for argument in arguments:
        yield from _sections_in(argument)
    if not arguments and isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation


def _tags(section: type[pydantic.BaseModel]) -> set[Any]:
    literals = (field.annotation for field in section.model_fields.values())
    return {tag for literal in literals if get_origin(literal) is Literal for tag in get_args(literal)}
