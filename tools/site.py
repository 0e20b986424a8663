"""Hooks of mkdocs: the site is made of pages that lie all over the repository, where GitHub shows them.

Every page has its path in the repository, so that links are the same on GitHub and on the site. Python scripts of
`examples/`, with cells in the percent format, become pages.
"""

import logging
import os
import re
from pathlib import Path

from mkdocs.structure.files import File, Files

LOG = logging.getLogger("mkdocs.hooks.site")
ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/**/*.md", "workflows/**/*.md"]
EXAMPLES = "examples/*.py"
ASSETS = ["docs/site/*"]
LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)#\s]+)")
FENCE = re.compile(r"^( *```+[\w-]+)( .*)?$", re.MULTILINE)
TITLE = re.compile(r' title="[^"]+"')


def on_files(files: Files, config) -> Files:
    """All pages, and what they link to, with its path in the repository."""
    pages = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    pages += sorted(ROOT.glob(EXAMPLES))
    linked = {target for page in pages for target in targets(page) if target.is_file()}
    others = {path for pattern in ASSETS for path in ROOT.glob(pattern)} | linked
    theme = [file for file in files if file.src_dir != str(Path(config.docs_dir))]
    return Files([*theme, *(made(path, config) for path in [*pages, *sorted(others - set(pages))])])


def targets(page: Path) -> list[Path]:
    return [(page.parent / link).resolve() for link in LINK.findall(page.read_text())]


def made(path: Path, config) -> File:
    """A file of the site. What lies in docs/ is at the top there."""
    name = str(path.relative_to(ROOT))
    if path.match(EXAMPLES):
        return File.generated(config, name.removesuffix(".py") + ".md", content=markdown_of(path.read_text()))
    file = File(name, str(ROOT), config.site_dir, config.use_directory_urls)
    file.dest_uri = file.dest_uri.removeprefix("docs/")
    return file


def markdown_of(script: str) -> str:
    """A script in the percent format as a page: comments of `# %% [markdown]` are text, all else is code."""
    parts = []
    for cell in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        first, _, rest = cell.partition("\n")
        if "[markdown]" in first:
            parts.append(re.sub(r"^# ?", "", rest, flags=re.MULTILINE).strip())
        else:
            parts.append(f"```python\n{rest.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def on_page_markdown(markdown: str, page, config, files: Files) -> str:
    """Words behind the language of a block are for tests; links to folders lead to their pages."""
    folder = ROOT / Path(page.file.src_uri).parent

    def page_of(link: re.Match) -> str:
        target = (folder / link[1]).resolve()
        if target.is_dir():
            target = next(place for place in (target, *target.parents) if (place / "README.md").is_file()) / "README.md"
        elif target.match(str(ROOT / EXAMPLES)):
            target = target.with_suffix(".md")
        return os.path.relpath(target, folder)

    def without_words(fence: re.Match) -> str:
        title = TITLE.search(fence[2] or "")
        return fence[1] + (title[0] if title else "")

    return LINK.sub(page_of, FENCE.sub(without_words, markdown))


def on_page_content(html: str, page, config, files: Files) -> str:
    """Warns of what is a list, table or formula on GitHub and not here; a strict build ends with that."""
    text = re.sub(r'<(pre|code)\b.*?</\1>|<span class="arithmatex">.*?</span>', "", html, flags=re.DOTALL)
    for paragraph in re.findall(r"<p>(.*?)</p>", text, re.DOTALL):
        if re.search(r"^\s*([-*] |\d+\. |\|)|```|\$", paragraph, re.MULTILINE):
            LOG.warning("%s: this stayed text: %s", page.file.src_uri, paragraph[:200])
    return html
