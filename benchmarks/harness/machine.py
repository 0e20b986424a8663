"""The machine in a line, without its name."""

import os
import platform
from pathlib import Path

import numpy

from forceserver import _ext


def cpu_model() -> str:
    """The processor as the kernel names it, e.g. "AMD EPYC"."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe() -> str:
    """Processor, cores, kernels in use, versions, and how busy the machine is at this moment."""
    return (
        f"{cpu_model()}, {os.cpu_count()} cores, kernels {_ext.isa}; {platform.system()}, "
        f"Python {platform.python_version()}, numpy {numpy.__version__}; load average {os.getloadavg()[0]:.1f}"
    )
