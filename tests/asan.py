"""Runs pytest on an installation with the address sanitiser: `python tests/asan.py SITE [pytest arguments]`.

`make asan` does it: the sanitiser is loaded before the interpreter (LD_PRELOAD), and SITE must win over an editable
installation.
"""

import sys
from pathlib import Path

import pytest

site = Path(sys.argv[1]).resolve()
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__]
sys.path.insert(0, str(site))

import forceserver  # noqa: E402

if not Path(forceserver.__file__).is_relative_to(site):
    sys.exit(f"{forceserver.__file__} is not the sanitised package in {site}")
maps = Path("/proc/self/maps").read_text()
if "libasan" not in maps:
    sys.exit("the address sanitiser is not loaded")
sys.exit(pytest.main(["-p", "no:cacheprovider", *sys.argv[2:]]))
