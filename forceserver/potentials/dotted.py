"""Classes and functions of other packages, named by their dotted path and called with keyword arguments."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import FAILURES, InputError, text_of


def find_callable(path: str, key: str, example: str) -> Callable[..., Any]:
    """The class or function at a dotted path, `module.name`.

    Args:
        path: the dotted path.
        key: the key of the configuration that it came from, for messages.
        example: a path as it should be, for messages.

    Returns:
        The class or function.

    Raises:
        InputError: which part of the path is wrong.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name or path.startswith("."):
        raise InputError(f"{key} = {path!r} is not a dotted path such as {example!r}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        first = module_name.partition(".")[0]
        is_here = Path(f"{first}.py").exists() or Path(first, "__init__.py").exists()
        hint = f"; it is in this folder, where Python finds it with PYTHONPATH={Path.cwd()}" if is_here else ""
        missing = getattr(error, "name", None) == first
        raise InputError(f"{key} = {path!r}: cannot import {module_name!r}: {error}{hint * missing}") from error
    except FAILURES as error:  # raised by whatever a module does when it is imported
        told = f"{type(error).__name__}: {text_of(error)}"
        raise InputError(f"{key} = {path!r}: {module_name!r} fails when it is imported: {told}") from error
    try:
        factory = getattr(module, name)
    except AttributeError as error:
        raise InputError(f"{key} = {path!r}: the module {module_name!r} has no {name!r}") from error
    if not callable(factory):
        raise InputError(f"{key} = {path!r} is a {type(factory).__name__}, neither a class nor a function")
    return factory


def parameters_of(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a class or function by name; none if it does not tell them."""
    try:
        return inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return {}


def call(factory: Callable[..., Any], arguments: Mapping[str, Any], told: str) -> Any:
    """`factory(**arguments)`; `InputError`, which calls it `told`, if that fails."""
    try:
        inspect.signature(factory).bind(**arguments)
        return factory(**arguments)
    except FAILURES as error:
        called_with = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise InputError(f"{told}({called_with}) cannot be made: {type(error).__name__}: {text_of(error)}") from error
