"""Changes to the inputs of a simulation: to elements of XML, keys of TOML, words of other files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..errors import InputError

Changes = Mapping[str, Any]
"""Place -> its new value.

    .xml    `/path` or `//path` of elements (their text); `/path@name` of an attribute
    .toml   `section.key`
    others  the words to replace
"""


def edit(path: Path, changes: Changes) -> None:
    """Changes a file in place; `InputError` if one of the places does not exist."""
    if path.suffix == ".xml":
        edit_xml(path, changes)
    elif path.suffix == ".toml":
        edit_toml(path, changes)
    else:
        edit_words(path, changes)


def edit_xml(path: Path, changes: Changes) -> None:
    """Sets elements or attributes of an input; comments stay."""
    tree = read_xml(path)
    for place, text in changes.items():
        where, _, attribute = place.partition("@")
        elements = [element for element in tree.iterfind("." + where) if not attribute or attribute in element.attrib]
        if not elements:
            raise InputError(f"{path}: there is no {place}")
        for element in elements:
            if attribute:
                element.set(attribute, str(text))
            else:
                element.text = f" {text} "
    tree.write(path)


def edit_toml(path: Path, changes: Changes) -> None:
    """Sets existing keys; comments and order stay."""
    import tomlkit

    document = tomlkit.parse(path.read_text())
    for place, value in changes.items():
        *sections, key = place.split(".")
        table: Any = document
        for section in sections:
            table = table.get(section, {})
        if key not in table:
            raise InputError(f"{path}: there is no {place}")
        table[key] = str(value) if isinstance(value, Path) else value
    path.write_text(tomlkit.dumps(document))


def edit_words(path: Path, changes: Changes) -> None:
    """Replaces words wherever they occur."""
    text = path.read_text()
    for old, new in changes.items():
        if old not in text:
            raise InputError(f"{path} does not contain {old!r}")
        text = text.replace(old, str(new))
    path.write_text(text)


def set_total_steps(path: Path, steps: int) -> None:
    """Sets <total_steps> of an input or of a state, which omits it if it has i-PI's default."""
    tree = read_xml(path)
    root = tree.getroot()
    element = root.find("total_steps")
    if element is None:
        element = ElementTree.Element("total_steps")
        element.tail = "\n"
        root.insert(0, element)
    element.text = str(steps)
    tree.write(path)


def read_xml(path: Path) -> Any:
    """The tree of a file, with its comments."""
    return ElementTree.parse(path, ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True)))
