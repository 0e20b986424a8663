#!/usr/bin/env python3
"""Print the version of the package, whose one source is the git tag `vX.Y.Z`; meson.build asks for it.

X.Y.Z on the tag; X.Y.(Z+1).devN+gHASH at N commits after it; 0.1.devN+gHASH in a clone without tags; in a source
distribution what its PKG-INFO says; 0+unknown in a copy that has neither.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def version(root: Path) -> str:
    if (root / ".git").exists():  # git would look in folders above, which may be another project's
        return from_git(root) or "0+unknown"
    if (root / "PKG-INFO").exists():
        return re.search(r"^Version: (.+)$", (root / "PKG-INFO").read_text(), re.MULTILINE)[1]
    return "0+unknown"


def from_git(root: Path) -> "str | None":
    """None where git cannot be asked, or there is no commit."""
    described = git(root, "describe", "--tags", "--long", "--match", "v[0-9]*.[0-9]*.[0-9]*")
    if described:
        tag, commits, commit = described.rsplit("-", 2)
        major, minor, patch = tag[1:].split(".")
        return tag[1:] if commits == "0" else f"{major}.{minor}.{int(patch) + 1}.dev{commits}+{commit}"
    commit = git(root, "rev-parse", "--short", "HEAD")
    return commit and f"0.1.dev{git(root, 'rev-list', '--count', 'HEAD')}+g{commit}"


def git(root: Path, *arguments: str) -> "str | None":
    """What git prints, or None. Containers that build wheels own none of the files that they are given."""
    command = ["git", "-C", str(root), "-c", f"safe.directory={root}", *arguments]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


if __name__ == "__main__":
    print(version(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT))
