"""The pages say what the program has."""

import re
from pathlib import Path

import pytest

from forceserver.cli.app import app
from forceserver.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="not in the repository")


@pytest.mark.parametrize("section", ["structure", "socket", "driver", "simulation"])
def test_every_key_is_described(section):
    page = (DOCS / "configuration.md").read_text()
    annotation = Settings.model_fields[section].annotation
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
    missing = [name for name in Settings.model_fields if f"[{name}]" not in page]
    assert not missing


def test_every_command_is_listed():
    page = (DOCS / "commands" / "README.md").read_text()
    names = [command.callback.__name__.replace("_", "-") for command in app.registered_commands]
    names += [group.name for group in app.registered_groups]
    missing = [name for name in names if f"`forceserver {name}`" not in page]
    assert not missing


def test_links_lead_somewhere():
    for page in (*DOCS.rglob("*.md"), *(DOCS.parent / "workflows").rglob("*.md"), DOCS.parent / "README.md"):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page}: {link}"
