"""What an input of i-PI says in vain: tags that i-PI accepts, and passes over without a word.

The inputs here must be ones that i-PI accepts.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .input import read_tags

SECTION_OF = {"minimize": "optimizer", "neb": "neb_optimizer", "string": "string_optimizer", "al-kmc": "al6xxx_kmc"}
"""Modes of <motion> and <smotion> whose section has another name."""


def repeated_tags(path: Path) -> list[tuple[str, str, int]]:
    """Tags that stand more than once where i-PI has room for one, and takes the last.

    Each is (the tag around them, tag, how often).
    """
    return [
        (node.name, tag, times)
        for part, node in _parts(path)
        for tag, times in Counter(tag for tag, _ in node.fields if tag in part.fields).items()
        if times > 1
    ]


def unused_sections(path: Path) -> list[tuple[str, str, str]]:
    """Sections of a <motion> or <smotion> that belong to another of its modes.

    Each is (motion or smotion, mode, section).
    """
    return [
        (node.name, mode, tag)
        for part, node in _parts(path)
        if node.name in ("motion", "smotion") and (mode := node.attribs.get("mode", ""))
        for tag, _ in node.fields
        if _is_section(part, tag) and tag != SECTION_OF.get(mode, mode)
    ]


def _is_section(part: type[Any], tag: str) -> bool:
    return tag in part.fields and bool(getattr(part.fields[tag][0], "fields", None))


def _parts(path: Path) -> Iterator[tuple[type[Any], Any]]:
    """Every tag that has tags in it: i-PI's class for it, and its node.

    `fields` of a class are the tags that may stand once, `dynamic` those that may recur.
    """
    from ipi.inputs.simulation import InputSimulation

    waiting: list[tuple[type[Any], Any]] = [(InputSimulation, read_tags(path))]
    while waiting:
        part, node = waiting.pop(0)
        if not hasattr(part, "fields"):
            continue
        yield part, node
        children = {**part.fields, **getattr(part, "dynamic", {})}
        waiting.extend((children[tag][0], child) for tag, child in node.fields if tag in children)
