"""Our driver with a potential that returns zeros.

python forceserver_zero.py unix|shm PATH ATOMS        python forceserver_zero.py tcp PORT ATOMS
"""

import sys

import numpy as np

from forceserver.frame import Frame, Result
from forceserver.ipi.driver import DriverConfig, serve
from forceserver.ipi.transports import SocketConfig
from forceserver.potentials.base import Potential


class Zero(Potential):
    """Constant results: nothing is computed and nothing allocated."""

    def __init__(self, atoms: int):
        self.result = Result(0.0, np.zeros((atoms, 3)), np.zeros((3, 3)))

    def compute_one(self, frame: Frame) -> Result:
        return self.result


if __name__ == "__main__":
    transport, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    template = Frame(np.zeros((count, 3)), 20 * np.eye(3), np.ones(count, np.int32))
    if transport == "tcp":
        where = SocketConfig(mode="inet", address="127.0.0.1", port=int(address))
    else:
        where = SocketConfig(mode=transport, address=address, prefix="")
    serve(Zero(count), template, where, DriverConfig(reconnect=False))
