"""The driver without a codec: for engines that call a function (`<ffdirect>`) or pack the numbers themselves (MPI).

Atomic units and cell vectors as columns on the outside, as in i-PI. Results pass the same checks as those sent through
a socket, and a structure that fails is saved.
"""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from ase.units import Bohr, Hartree

from ..errors import ProtocolError
from ..files import working_in
from ..forks import end_in_children_of
from ..frame import Array, Frame, Result
from ..potentials.base import Potential
from ..results import check_count, check_results
from .checks import check_cells, check_positions
from .driver import DriverConfig
from .failures import failed_evaluation
from .wire import encode_extras

log = logging.getLogger(__name__)

IpiReply = tuple[float, Array, Array, bytes]
"""Energy (hartree), forces (N, 3) (hartree/bohr), virial (3, 3) (hartree), extras (UTF-8)."""


class DirectDriver:
    """Evaluates structures in atomic units with a potential."""

    def __init__(self, potential: Potential, template: Frame, driver: DriverConfig) -> None:
        self._potential, self._template, self._driver = potential, template, driver
        self._evaluations = 0

    def evaluate(self, cells: Iterable[Array], positions: Iterable[Array]) -> list[IpiReply]:
        """Computes structures: cells (3, 3) with vectors as columns, positions (N, 3) or (3 N,), in bohr.

        Raises `PotentialError`, after saving the structures, if the potential fails or its result must not reach i-PI;
        `ProtocolError` for an invalid structure (another number of atoms, numbers that are not finite, a singular
        cell).
        """
        frames = [self._frame(cell, place) for cell, place in zip(cells, positions, strict=True)]
        try:
            results = self._compute(frames)
            check_count(results, len(frames))
            check_results(results, len(self._template))
            return [self._reply(result) for result in results]
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a calculator that calls sys.exit has failed like any other
            raise failed_evaluation(frames, error, self._driver.failed_frames) from error

    def _compute(self, frames: list[Frame]) -> list[Result]:
        process = os.getpid()
        try:
            with working_in(Path.cwd()):  # i-PI writes its files there, wherever a model goes
                return self._potential.compute(frames)
        finally:
            end_in_children_of(process)

    def _frame(self, cell: Array, positions: Array) -> Frame:
        template, size = self._template, np.size(positions)
        if size != 3 * len(template):
            raise ProtocolError(f"i-PI has {size // 3} atoms, the template has {len(template)}")
        frame = Frame(
            positions=np.asarray(positions, dtype=np.float64).reshape(-1, 3) * Bohr,
            cell=np.ascontiguousarray(np.asarray(cell, dtype=np.float64).T) * Bohr,
            species=template.species,
            pbc=template.pbc,
            number=self._evaluations,
            attributes=template.attributes,
        )
        check_positions(frame.positions[None])
        check_cells(frame.cell[None], template.pbc)
        self._evaluations += 1
        return frame

    def _reply(self, result: Result) -> IpiReply:
        forces, virial = np.asarray(result.forces, float), np.asarray(result.virial, float)
        extras = encode_extras(result.extras, self._driver.max_string_bytes) if result.extras else b""
        energy, virial = float(result.energy) / Hartree, (virial + virial.T) * (0.5 / Hartree)
        return energy, forces * (Bohr / Hartree), virial, extras
