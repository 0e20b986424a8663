"""The driver over MPI, for i-PI's `<ffmpi>`.

One MPI job holds i-PI as rank 0 and the drivers: `mpirun -n 1 i-pi INPUT : -n N forceserver drive --mpi CONFIG`.
Each driver says HELLO with its rank and the name of the force field that it serves, then gets INIT once, and any
number of WORK, each answered with RESULT and EXTRA, until EXIT. docs/protocol.md has the layouts.

The protocol cannot hand work back: a driver that fails aborts the job, since i-PI would wait for it for ever.
"""

import logging
import time
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, PotentialError, ProtocolError
from ..frame import Frame
from ..potentials.base import Potential
from .direct import DirectDriver
from .driver import DriverConfig

if TYPE_CHECKING:
    from mpi4py import MPI

HELLO, INIT, WORK, RESULT, EXTRA, EXIT = 1, 2, 3, 4, 5, 6
SERVER = 0

SPIN_SECONDS, NAP_SECONDS = 2e-4, 2e-5
"""How long to poll without a pause, and the pause after that.

MPI's own blocking call would keep a core busy, and signals waiting, for as long as i-PI has nothing to do.
"""

SECONDS_TO_FORWARD = 0.5
"""mpiexec loses what it has not read when a job is aborted: this leaves it time to read the reason."""

log = logging.getLogger(__name__)


def serve_mpi(potential: Potential, template: Frame, driver: DriverConfig, name: str = "") -> int:
    """Serves `potential` to the `<ffmpi>` called `name` (or the only one) until EXIT; returns the number of structures.

    An error ends the whole MPI job with exit code 1. Raises `InputError` if this is not an MPI job with i-PI in it.
    """
    world = _world()
    conversation = _Conversation(world, DirectDriver(potential, template, driver), len(template), driver.max_batch)
    try:
        conversation.hello(name)
        conversation.serve()
    except (PotentialError, ProtocolError) as error:
        log.error("%s; ending the MPI job", error)
        time.sleep(SECONDS_TO_FORWARD)
        world.Abort(1)
    log.info("i-PI said EXIT after %d structures", conversation.evaluations)
    return conversation.evaluations


def _world() -> "MPI.Comm":
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise InputError(f"--mpi needs mpi4py: pip install 'forceserver[mpi]' ({error})") from error
    world = MPI.COMM_WORLD
    if world.Get_rank() == SERVER:
        raise InputError(
            "--mpi: rank 0 must be i-PI; start the job as mpirun -n 1 i-pi INPUT : -n N forceserver drive --mpi CONFIG"
        )
    return world


class _Conversation:
    """The conversation of one driver with i-PI, which is rank 0."""

    def __init__(self, world: "MPI.Comm", driver: DirectDriver, atoms: int, max_batch: int) -> None:
        self._world, self._driver, self._atoms, self._max_batch = world, driver, atoms, max_batch
        self.evaluations = 0

    def hello(self, name: str) -> None:
        """Says who we are. The splits are collective: i-PI takes part in the first, all drivers in the second."""
        rank = self._world.Get_rank()
        drivers = self._world.Split(color=1, key=rank)
        drivers.Split(color=drivers.Get_rank(), key=0)
        self._world.Send(np.array([rank, 1, rank], dtype=np.int32), dest=SERVER, tag=HELLO)
        self._world.Send(np.frombuffer(name.encode(), dtype=np.uint8), dest=SERVER, tag=HELLO)

    def serve(self) -> None:
        """Answers until EXIT."""
        while (tag := self._next_tag()) != EXIT:
            if tag == INIT:
                replica, length = self._receive(np.empty(2, dtype=np.int32), INIT)
                text = self._receive(np.empty(length, dtype=np.uint8), INIT)
                log.debug("INIT: replica %d, %r", replica, text.tobytes())
            elif tag == WORK:
                self._work()
            else:
                raise ProtocolError(f"a message with the unknown tag {tag} from i-PI")
        self._receive(np.empty(1, dtype=np.int32), EXIT)

    def _next_tag(self) -> int:
        from mpi4py import MPI

        status = MPI.Status()
        nap_from = time.monotonic() + SPIN_SECONDS
        while not self._world.Iprobe(source=SERVER, tag=MPI.ANY_TAG, status=status):
            if time.monotonic() > nap_from:
                time.sleep(NAP_SECONDS)
        return status.Get_tag()

    def _receive(self, array: np.ndarray, tag: int) -> np.ndarray:
        self._world.Recv(array, source=SERVER, tag=tag)
        return array

    def _work(self) -> None:
        """One batch: (h, h^-1, positions) of every structure in, (energy, forces, virial) and extras out."""
        atoms, batch = (int(count) for count in self._receive(np.empty(2, dtype=np.int32), WORK))
        if atoms != self._atoms:
            raise ProtocolError(f"i-PI sends {atoms} atoms, the template has {self._atoms}")
        if not 0 < batch <= self._max_batch:
            raise ProtocolError(f"i-PI sends a batch of {batch}: at most max_batch = {self._max_batch}")
        body = self._receive(np.empty((batch, 18 + 3 * atoms)), WORK)
        replies = self._driver.evaluate(body[:, :9].reshape(-1, 3, 3), body[:, 18:].reshape(-1, atoms, 3))
        self.evaluations += batch
        numbers = np.empty((batch, 3 * atoms + 10))
        for row, (energy, forces, virial, _) in zip(numbers, replies, strict=True):
            row[0], row[1:-9], row[-9:] = energy, forces.ravel(), virial.ravel()
        self._world.Send(numbers, dest=SERVER, tag=RESULT)
        texts = b"".join(np.int32(len(extras)).tobytes() + extras for *_, extras in replies)
        self._world.Send(np.frombuffer(texts, dtype=np.uint8), dest=SERVER, tag=EXTRA)
