"""What a bias has been made with: kept beside its clock, and compared when it goes on.

HILLS, KERNELS and COLVAR hold numbers, but not what they are numbers of: another energy unit, time step or definition
of a variable makes another bias of the same hills. Such changes are refused. Changes that only concern what comes from
now on are told.
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..cv import Variable
from ..errors import InputError, shortened
from ..files import write_json
from ..frame import Frame
from .journal import fingerprint_of
from .journal.fingerprint import CLOSE
from .outputs import offered, values_of
from .plumed.changed_input import (
    Input,
    changed_lines,
    other_variables_or_temperatures,
    why_another_bias,
    why_other_numbers,
)

log = logging.getLogger(__name__)

RELATIVE, ABSOLUTE = 1e-5, 1e-7
"""How far apart the values of one variable may be: further than its tolerance allows, less than any setting changes."""

DISPLACEMENT = 0.05
"""Angstrom: variables are compared on a displaced structure, since in a symmetric one many of them are zero."""


@dataclass(frozen=True)
class Settings:
    """keys: of [bias], by their names. fixed: those that must not change, and what depends on them. values: of the
    outputs that the bias acts on, in a probe of the template structure with this fingerprint. plumed: the actions of
    PLUMED's input.
    """

    keys: Mapping[str, Any]
    fixed: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    probe: Sequence[float] = ()
    plumed: Sequence[str] = ()


def with_values(
    settings: Settings, names: Sequence[str], variables: Mapping[str, Variable], template: Frame
) -> Settings:
    """The same with the values of those of the named outputs that the variables offer.

    Without any if a variable does not compute the probe: one of the user's own may refuse it.
    """
    outputs = {name: output for name, output in offered(variables).items() if name in names}
    needed = {cv: variables[cv].copy() for cv in {cv for cv, _ in outputs.values()}}
    probe = _probe(template)
    try:
        found = values_of(outputs, {name: variable.compute_checked(probe) for name, variable in needed.items()})
    except Exception as error:
        log.debug("definitions of variables will not be compared: %s", error)
        return settings
    return replace(settings, values=found, probe=fingerprint_of(probe).tolist())


@dataclass(frozen=True)
class KeptIn:
    """path: the file of a bias with its settings. walkers: the hills of those that share it, `of_walker` has theirs."""

    path: Path
    walkers: Sequence[Path] = ()


def beside(file: Path) -> Path:
    """Where the settings are kept that belong to a file."""
    return file.with_name(f"{file.name}.settings")


def of_walker(hills: Path) -> Path:
    """Where the settings of a walker are kept: in the folder that all share, where HILLS.* does not match them."""
    return hills.with_name(f"settings.{hills.name}")


@contextmanager
def going_on(kept: KeptIn, has_begun: bool, settings: Settings) -> Iterator[ExitStack]:
    """Compares what a bias has been made with, if it has begun; on leaving, keeps what it is made with.

    Yields what is called after an error. Raises `InputError` for a change of what must not change, and for what is not
    as in other walkers: on leaving, too, since walkers are started together.
    """
    for change in compared(kept, has_begun, settings):
        log.warning("the bias goes on with other settings: %s", change)
    with ExitStack() as after_an_error:
        yield after_an_error
        try:
            write_json(kept.path, {key: value for key, value in asdict(settings).items() if key != "fixed"})
        except OSError as error:
            log.warning("%s cannot be written (%s): changed settings will not be noticed", kept.path, error.strerror)
        for difference in compared_with_walkers(kept, settings):
            log.warning("%s", difference)
        after_an_error.pop_all()


def compared(kept: KeptIn, has_begun: bool, settings: Settings) -> list[str]:
    """What differs from what the bias has been made with, as text; nothing is written.

    Raises `InputError` as `going_on`.
    """
    compared_with_walkers(kept, settings)
    if not (has_begun and kept.path.exists()):
        return []
    before = _read(kept.path)
    if why := why_not_the_same(before, settings):
        raise InputError(
            f"bias: {why}; change it back, or move the files of the bias away to start a new one (to go on all the "
            f"same, remove {kept.path})"
        )
    return changes(before, settings)


def compared_with_walkers(kept: KeptIn, settings: Settings) -> list[str]:
    """What differs from the other walkers and may be meant, as text.

    `InputError` for what makes another bias of the same hills.
    """
    found = []
    for hills in kept.walkers:
        if hills.exists() and (place := of_walker(hills)).exists():
            other = _read(place)
            if why := _why_not_together(other, settings):
                raise InputError(
                    f"bias: {why} (the walker of {hills} has the other): all walkers need the same; remove the hills "
                    "of walkers that are no longer there"
                )
            differences = other_variables_or_temperatures(Input(other.plumed), Input(settings.plumed))
            were, now = (one.keys.get("temperature_K") for one in (other, settings))
            if were and now and were != now:
                differences.append(f"temperature_K was {were:g}, is {now:g}")
            found += [f"the walker of {hills} has another input: {text}" for text in differences]
    return found


def _why_not_together(other: Settings, now: Settings) -> str:
    """What makes another bias of hills that two walkers share, one of which may be PLUMED; empty if nothing does."""
    units = [str(one.keys.get("file_energy_unit") or Input(one.plumed).energy_unit) for one in (other, now)]
    if bool(other.plumed) != bool(now.plumed) and units[0].lower() != units[1].lower():
        return f"the energies in the hills were in {units[0]}, are in {units[1]}"
    return why_other_numbers(Input(other.plumed), Input(now.plumed)) or _other_definition(other, now)


def why_not_the_same(before: Settings, now: Settings) -> str:
    """What has changed so that the files of the bias mean something else; empty if nothing has."""
    for key, what in now.fixed.items():
        if key in before.keys and before.keys[key] != now.keys.get(key):
            return f"{key} was {_told(before.keys, key)}, is {_told(now.keys, key)}: {what}"
    return why_another_bias(Input(before.plumed), Input(now.plumed)) or _other_definition(before, now)


def _other_definition(before: Settings, now: Settings) -> str:
    """Which variable has another value in the probe; empty if none has, or the structure files are not the same."""
    if not before.probe or not now.probe or not np.allclose(before.probe, now.probe, rtol=0, atol=CLOSE):
        return ""
    for name, value in now.values.items():
        old = before.values.get(name, value)
        if not math.isclose(old, value, rel_tol=RELATIVE, abs_tol=ABSOLUTE):
            return (
                f"{name} is defined differently: for the structure file (with displaced atoms) it was {old:.6g}, is "
                f"{value:.6g}"
            )
    return ""


def changes(before: Settings, now: Settings) -> list[str]:
    """What differs, as text."""
    old, new = before.keys, now.keys
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    found = [f"{key} was {_told(old, key)}, is {_told(new, key)}" for key in keys]
    return found + changed_lines(Input(before.plumed), Input(now.plumed))


def flat(content: Any, place: str = "") -> dict[str, Any]:
    """The numbers and words of nested tables, by keys such as `hills.height_eV`; names of files are left out."""
    if isinstance(content, Mapping):
        items = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, Sequence) and not isinstance(content, str):
        items = [(str(number), value) for number, value in enumerate(content)]
    else:
        return {} if content is None or isinstance(content, Path) else {place: _in_json(content)}
    found: dict[str, Any] = {}
    for key, value in items:
        found |= flat(value, f"{place}.{key}" if place else key)
    return found


def _in_json(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _told(content: Mapping[str, Any], key: str) -> str:
    return shortened(content[key]) if key in content else "not given"


def _probe(template: Frame) -> Frame:
    displacements = DISPLACEMENT * np.sin(1.0 + np.arange(template.positions.size)).reshape(-1, 3)
    return replace(template, positions=template.positions + displacements)


def _read(path: Path) -> Settings:
    try:
        content = json.loads(path.read_text())
        return Settings(**content)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error}; remove it") from error
