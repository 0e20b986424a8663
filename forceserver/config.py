"""The one TOML file that drives every door, validated before anything opens.

Units are in the names of the keys. Relative paths are relative to the file. Sections are declared beside what they
configure; this file puts them together, reads the TOML and turns pydantic's findings into messages for people.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import BeforeValidator, ConfigDict, ValidationInfo

from .errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Section(pydantic.BaseModel):
    """Base of all sections: unknown keys are errors, values are frozen, numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _relative_to_config(value: Any, info: ValidationInfo) -> Any:
    folder = (info.context or {}).get("folder")
    if folder is not None and isinstance(value, str | Path):
        return Path(folder) / Path(value).expanduser()
    return value


def _must_exist(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


InputFile = Annotated[Path, BeforeValidator(_relative_to_config), pydantic.AfterValidator(_must_exist)]
"""A path that must be an existing file when the configuration is read."""

OutputPath = Annotated[Path, BeforeValidator(_relative_to_config)]
"""A path that will be written."""


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; `InputError` with line and column if it is not TOML or not readable."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error


def explain(error: pydantic.ValidationError, source: str) -> str:
    """Pydantic's findings as one line each: the key, what is wrong or allowed, the value."""
    lines = [f"{source}: {error.error_count()} problem(s)"]
    for finding in error.errors(include_url=False):
        key = ".".join(str(part) for part in finding["loc"]) or "(whole file)"
        message = finding["msg"].removeprefix("Value error, ")
        if finding["type"] == "missing":
            lines.append(f"  {key}: this key is required")
        elif finding["type"] == "extra_forbidden":
            lines.append(f"  {key}: unknown key")
        elif isinstance(finding["input"], dict):
            lines.append(f"  {key}: {message}")
        else:
            lines.append(f"  {key} = {finding['input']!r}: {message}")
    return "\n".join(lines)
