"""The compiled kernels, in the build that suits this processor best.

`FORCESERVER_ISA` (x86_64_v2, x86_64_v3, x86_64_v4; baseline on other processors) forces one.
"""

import importlib
import os
from types import ModuleType

cpu = importlib.import_module(f"{__name__}.cpu")

LEVELS = ("x86_64_v2", "x86_64_v3", "x86_64_v4")


def _choose_isa() -> str:
    level = cpu.x86_64_level()
    usable = LEVELS[: max(level - 1, 0)] if level else ("baseline",)
    forced = os.environ.get("FORCESERVER_ISA")
    if forced:
        if forced not in usable:
            raise ImportError(f"FORCESERVER_ISA={forced!r}: this processor runs {', '.join(usable) or 'none of them'}")
        return forced
    if not usable:
        raise ImportError("forceserver needs a processor with at least the x86-64-v2 instructions (2009 and later)")
    return usable[-1]


isa = _choose_isa()


def kernel(name: str) -> ModuleType:
    """The kernel module `name` (a file of cython_ext/), built for this processor."""
    return importlib.import_module(f"{__name__}.{isa}.{name}")
