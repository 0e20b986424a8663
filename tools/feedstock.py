#!/usr/bin/env python3
"""Print the recipe of a release for its conda-forge feedstock.

    python tools/feedstock.py forceserver-1.2.3.tar.gz GITHUB_NAME ... > recipe.yaml

packaging/recipe.yaml, with the version and the checksum of the source distribution (as downloaded from PyPI) and the
maintainers of the feedstock filled in.
"""

import hashlib
import re
import sys
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1] / "packaging" / "recipe.yaml"


def filled(recipe: str, sdist: Path, maintainers: "list[str]") -> str:
    """The recipe for a source distribution; `ValueError` if this is none, or the recipe has not the places to fill."""
    version = re.fullmatch(r"forceserver-(.+)\.tar\.gz", sdist.name)
    if not version:
        raise ValueError(f"{sdist.name} is not the source distribution of a release, forceserver-VERSION.tar.gz")
    names = "".join(f"    - {name}\n" for name in maintainers)
    for place, text in (
        (r'(?<=^  version: )".*"$', f'"{version[1]}"'),
        (r'(?<=^  sha256: )".*"$', f'"{hashlib.sha256(sdist.read_bytes()).hexdigest()}"'),
        (r"(?<=^  recipe-maintainers:\n)(    - .+\n)+", names),
    ):
        recipe, found = re.subn(place, text, recipe, flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"packaging/recipe.yaml has {found} places for {text.strip()}")
    return recipe


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        sys.stdout.write(filled(RECIPE.read_text(), Path(sys.argv[1]), sys.argv[2:]))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
