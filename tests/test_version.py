"""The version comes from the git tag, or in a source distribution from its PKG-INFO."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "tools" / "version.py"
AUTHOR = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="not in the repository")


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *AUTHOR, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "commit", "-q", "--allow-empty", "-m", "a step")
    return git(folder, "rev-parse", "--short", "HEAD")


def version(folder: Path) -> str:
    return subprocess.run([sys.executable, SCRIPT, folder], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path) -> Path:
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    return tmp_path


def test_without_a_tag(repository):
    short = commit(repository)
    assert version(repository) == f"0.1.dev2+g{short}"


def test_on_a_tag(repository):
    git(repository, "tag", "-a", "v1.2.3", "-m", "1.2.3")
    assert version(repository) == "1.2.3"


def test_after_a_tag_other_tags_do_not_count(repository):
    git(repository, "tag", "v1.2.9")
    commit(repository)
    git(repository, "tag", "data-7")
    short = commit(repository)
    assert version(repository) == f"1.2.10.dev2+g{short}"


def test_a_source_distribution_inside_another_repository(repository):
    git(repository, "tag", "v9.9.9")
    folder = repository / "forceserver-0.3.1"
    folder.mkdir()
    (folder / "PKG-INFO").write_text("Metadata-Version: 2.4\nName: forceserver\nVersion: 0.3.1\n")
    assert version(folder) == "0.3.1"


def test_a_copy_of_the_files_alone(repository):
    git(repository, "tag", "v9.9.9")
    folder = repository / "copy"
    folder.mkdir()
    assert version(folder) == "0+unknown"


def test_a_repository_without_a_commit(tmp_path):
    git(tmp_path, "init", "-q")
    assert version(tmp_path) == "0+unknown"
