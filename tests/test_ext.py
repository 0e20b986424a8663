"""The choice of the compiled kernels."""

import os
import subprocess
import sys

import pytest

from forceserver import _ext


def run_with_isa(isa: str) -> subprocess.CompletedProcess:
    code = "from forceserver import _ext; print(_ext.isa)"
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "FORCESERVER_ISA": isa}, capture_output=True, text=True
    )


@pytest.mark.skipif(_ext.isa == "baseline", reason="one build only on this processor")
def test_environment_variable_forces_a_build():
    run = run_with_isa("x86_64_v2")
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "x86_64_v2"


def test_unknown_build_is_refused_with_the_allowed_ones():
    run = run_with_isa("x86_64_v9")
    assert run.returncode != 0
    assert "x86_64_v9" in run.stderr
    assert _ext.isa in run.stderr


def test_thread_count_can_be_set(threads):
    threads(1)
    assert _ext.cpu.max_threads() == 1
    with pytest.raises(ValueError, match="at least 1"):
        threads(0)
