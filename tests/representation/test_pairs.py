"""Pairs of a structure that is looked at once, and the module that finds them."""

import os
import subprocess
import sys

FAKE_TORCH = "class Tensor: ...\nuint64 = int32 = float64 = None\n"
SEARCH = """
import sys
from ase.build import bulk
from forceserver.frame import Frame
from forceserver.representation.pairs import pairs_within

assert len(pairs_within(Frame.from_ase(bulk("Al", cubic=True)), 3.0).r) == 24
assert not {"torch", "vesin"} & sys.modules.keys()
from vesin._neighbors import HAS_TORCH  # as models of metatomic need it
assert HAS_TORCH
"""


def test_arrays_do_not_need_the_seconds_of_torch(tmp_path):
    (tmp_path / "torch.py").write_text(FAKE_TORCH)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SEARCH], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
