"""STATE, the compressed kernels and all sums of an OPES: PLUMED goes on from it, scripts make free energies of it.

The bias itself resumes from KERNELS, which is complete: STATE is rewritten as a whole from time to time.
"""

import logging
import os
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...files import atomic_write, remove_parts
from ...frame import Array
from ..coordinates import domain_constants, shortest
from ..journal import RecentSteps
from ..journal.deposits import DepositFile
from ..tables import FieldsReader, header
from .bias import Opes
from .kernels import opes_constants
from .widths import AdaptiveWidths

log = logging.getLogger(__name__)


class StateFile:
    """Written at the steps that are multiples of `stride`, when the kernel of the step has been added (`KeptFile`).

    deposits: KERNELS. `InputError` if there is a STATE of kernels that KERNELS has not; of several walkers it is not
    known which of them it had.
    """

    def __init__(
        self, path: Path, bias: Opes, steps: RecentSteps, deposits: DepositFile, stride: int, time_step_ps: float
    ) -> None:
        self.path = path
        self._bias, self._steps, self._stride, self._time_step = bias, steps, stride, time_step_ps
        self._check(deposits)
        remove_parts(path)  # only who has the lock of the deposits writes it

    def note(self) -> dict[str, Any]:
        """Nothing; writes the state of the current step, which is complete when the next one is committed."""
        step = self._steps.step
        if step > 0 and step % self._stride == 0 and self._bias.has_kernels:
            memory = self._bias.recalled(self._steps.current["memory"], step) if self._bias.memory_size else None
            text = state_text(self._bias, step * self._time_step, memory)
            try:
                with atomic_write(self.path) as part:
                    part.write_text(text)
            except OSError as error:
                log.warning("cannot write %s: %s; KERNELS has everything, and it is tried again", self.path, error)
        return {}

    def restore(self, steps: RecentSteps) -> None:
        """If the engine went back to before it, it is set aside."""
        if not steps.is_going_back or (found := kernels_and_time(self.path)) is None:
            return
        if found[1] > (steps.step + 0.5) * self._time_step:
            os.replace(self.path, f"{self.path}.undone")
            log.info("%s is of configurations that come again: it is %s.undone now", self.path, self.path)

    def close(self) -> None:
        """Does nothing: the file is open only while it is written."""

    def _check(self, deposits: DepositFile) -> None:
        if not self.path.exists():
            return
        found = kernels_and_time(self.path)
        if found is None:
            log.warning(
                "%s is no complete STATE file (a power failure?); the bias goes on from %s, which has everything, and "
                "writes it anew",
                self.path,
                deposits.path,
            )
        elif found[0] > deposits.count and not deposits.is_shared:
            raise InputError(
                f"{self.path} is the state after {found[0]} kernels, but {deposits.path.name} has {deposits.count}; "
                "bring that file back, or move the state away to start a new bias"
            )


def kernels_and_time(path: Path) -> tuple[int, float] | None:
    """How many kernels a STATE was made of, and its time (ps); None if there is none that is complete."""
    try:
        table = FieldsReader(path)
        rows = table.read()
        if table.incomplete() or not len(rows):
            return None
        return int(table.constants["counter"]) - 1, float(rows[0, 0])
    except (InputError, KeyError, ValueError):
        return None


def state_text(bias: Opes, time_ps: float, memory: Array | None) -> str:
    """The file: a header with the sums, and the compressed kernels. memory: of the widths, if they are adaptive."""
    names = [coordinate.name for coordinate in bias.coordinates]
    constants = opes_constants(bias.parameters, "state")
    constants |= {
        "zed": shortest(bias.zed),
        "sum_weights": shortest(bias.sum_weights),
        "sum_weights2": shortest(bias.sum_weights2),
        "counter": str(bias.counter),
    }
    if memory is not None and isinstance(bias.widths, AdaptiveWidths):
        number, first, mean, squares = bias.widths.parts(bias.widths.settled(memory, bias.has_kernels))
        constants["adaptive_counter"] = str(int(number))
        for k, name in enumerate(names):
            constants[f"sigma0_{name}"] = shortest(first[k])
            constants[f"av_cv_{name}"] = shortest(mean[k])
            constants[f"av_M2_{name}"] = shortest(squares[k])
    fields = ["time", *names, *(f"sigma_{name}" for name in names), "height"]
    text = header(fields, {**constants, **domain_constants(bias.coordinates)})
    heights, centres, sigmas = bias.density.kernels()
    for height, centre, sigma in zip(heights, centres, sigmas, strict=True):
        words = [f"{time_ps:.15g}", *map(shortest, (*centre, *sigma, height))]
        text += "".join(f" {word:>23}" for word in words) + "\n"
    return text
