"""Every public name has a docstring in Google's format, with the sections that it needs."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

import forceserver as fs


def public() -> Iterator[tuple[str, Any]]:
    """The names of `forceserver` and the methods of its classes, as far as this package defines them."""
    for name in fs.__all__:
        thing = getattr(fs, name)
        yield name, thing
        if inspect.isclass(thing):
            for key, member in vars(thing).items():
                function = getattr(member, "__func__", getattr(member, "fget", member))
                if not key.startswith("_") and inspect.isfunction(function):
                    yield f"{name}.{key}", member


PUBLIC = dict(public())


def sections(docstring: str) -> dict[str, str]:
    """The sections of a docstring by their titles."""
    parts = re.split(r"^(Args|Attributes|Returns|Raises):$", docstring, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def missing_from(docstring: str, thing: Any) -> list[str]:
    """What the docstring of a function or a class lacks."""
    found = sections(docstring)
    if isinstance(thing, property) or (inspect.isclass(thing) and issubclass(thing, Exception)):
        return []
    function = getattr(thing, "__func__", thing)
    signature = inspect.signature(function)
    said = found.get("Args", "") + found.get("Attributes", "")
    names = [name for name in signature.parameters if name not in ("self", "cls")]
    missing = [name for name in names if not re.search(rf"^    (\w+, )*{name}\b.*:", said, flags=re.MULTILINE)]
    if inspect.isclass(thing):
        return missing
    if signature.return_annotation not in (None, "None") and "Returns" not in found:
        missing.append("Returns")
    if re.search(r"^\s+raise \w+\(", inspect.getsource(function), flags=re.MULTILINE) and "Raises" not in found:
        missing.append("Raises")
    return missing


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring_that_says_everything(name):
    docstring = inspect.getdoc(PUBLIC[name])
    assert docstring, name
    assert not missing_from(docstring, PUBLIC[name])


def test_what_is_missing_is_found():
    def bare(frame, step: int) -> float:
        raise ValueError(step)

    assert missing_from("Computes.", bare) == ["frame", "step", "Returns", "Raises"]
    assert missing_from("Computes.\n\nArgs:\n    frame: a frame.\n    step: a step.", bare) == ["Returns", "Raises"]
