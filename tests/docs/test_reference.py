"""The pages say what the program has."""

import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import typer

import forceserver
from forceserver.cli.app import app
from forceserver.configuration import Configuration
from forceserver.fit.config import FitConfig
from forceserver.learn.config import LearnConfig
from forceserver.sections import Section

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="not in the repository")


@pytest.mark.parametrize("section", ["structure", "socket", "driver", "simulation"])
def test_every_key_is_described(section):
    page = (DOCS / "configuration.md").read_text()
    annotation = Configuration.model_fields[section].annotation
    model = next(part for part in getattr(annotation, "__args__", (annotation,)) if hasattr(part, "model_fields"))
    text = page.partition(f"## [{section}]")[2].partition("\n## ")[0]
    said = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, flags=re.MULTILINE))
    assert said == {key: _default(field) for key, field in model.model_fields.items()}


def _default(field) -> str:
    if field.is_required():
        return "required"
    value = str(field.default).lower() if isinstance(field.default, bool) else field.default
    return "none" if value is None else f"`{value}`"


def test_every_section_is_named():
    page = (DOCS / "configuration.md").read_text()
    missing = [name for name in Configuration.model_fields if f"[{name}]" not in page]
    assert not missing


def test_every_public_name_is_in_the_reference():
    page = (DOCS / "api.md").read_text()
    assert sorted(re.findall(r"^::: forceserver\.(\w+)$", page, re.MULTILINE)) == sorted(forceserver.__all__)


def test_the_layout_has_every_file_and_folder_of_the_package():
    page = (DOCS / "architecture.md").read_text().partition("## Layout")[2].partition("\n## ")[0]
    package = DOCS.parent / "forceserver"
    names = {path.name + "/" * path.is_dir() for path in package.iterdir() if path.is_dir() or path.suffix == ".py"}
    missing = names - set(re.findall(r"\w+(?:\.py|/)", page)) - {"__init__.py", "__main__.py", "__pycache__/"}
    assert not missing


def test_every_command_is_listed():
    page = (DOCS / "commands" / "README.md").read_text()
    names = [command.callback.__name__.replace("_", "-") for command in app.registered_commands]
    names += [group.name for group in app.registered_groups]
    missing = [name for name in names if f"`forceserver {name}`" not in page]
    assert not missing


def test_links_lead_somewhere():
    root = DOCS.parent
    for page in (*DOCS.rglob("*.md"), *(root / "workflows").rglob("*.md"), *root.glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page}: {link}"


def _models(annotation, found: dict[str, type[Section]] | None = None) -> dict[str, type[Section]]:
    """All sections that can stand in a configuration, however deep; potentials contain potentials."""
    found = {} if found is None else found
    for argument in get_args(annotation):
        _models(argument, found)
    if isinstance(annotation, type) and issubclass(annotation, Section) and annotation.__name__ not in found:
        found[annotation.__name__] = annotation
        for field in annotation.model_fields.values():
            _models(field.annotation, found)
    return found


PENDING = ("forces_key", "virial_key", "stress_key")
MODELS = _models(Configuration) | _models(FitConfig) | _models(LearnConfig)


@pytest.mark.parametrize("model", MODELS)
def test_every_key_stands_in_a_page(model):
    """In a table, in an example or in the text."""
    text = "\n".join(page.read_text() for page in DOCS.rglob("*.md"))
    missing = [
        key for key in MODELS[model].model_fields if not re.search(rf"(`|\.|^|\s|\[){key}(`|\s*=|\]|\.)", text, re.M)
    ]
    assert not [key for key in missing if key not in PENDING]


def _words(annotation) -> set[str]:
    """The values of a key that are words among which to choose."""
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        return {word for word in inner if isinstance(word, str)}
    return set().union(*map(_words, inner))


@pytest.mark.parametrize("model", MODELS)
def test_every_choice_stands_in_a_page(model):
    text = "\n".join(page.read_text() for page in (*DOCS.rglob("*.md"), DOCS.parent / "README.md"))
    words = set().union(*(_words(field.annotation) for field in MODELS[model].model_fields.values()))
    assert not [word for word in words if not re.search(rf"\b{re.escape(word)}\b", text)]


def _missing(page: str, *commands) -> list[str]:
    """The options of these commands of which the page has no name."""
    options = [
        parameter for command in commands for parameter in command.params if parameter.param_type_name == "option"
    ]
    names = [[*option.opts, *option.secondary_opts] for option in options]
    return [each[0] for each in names if not any(re.search(rf"(?<![\w-]){name}\b", page) for name in each)]


PROGRAM = typer.main.get_command(app)


@pytest.mark.parametrize("name", PROGRAM.commands)
def test_every_option_stands_in_the_page_of_its_command(name):
    page = (DOCS / "commands" / f"{name}.md").read_text()
    command = PROGRAM.commands[name]
    missing = _missing(page, *getattr(command, "commands", {"": command}).values())
    assert not [option for option in missing if option != "--verbose"], "--verbose is in the page of all commands"


def test_every_option_of_all_commands_stands_in_their_page():
    page = (DOCS / "commands" / "README.md").read_text()
    assert not _missing(page, PROGRAM)
    assert "`-v`, `--verbose`" in page
