"""The potential of a configuration as a PES file of i-PI: no socket, no second process.

`forceserver ipi-pes` prints the path of this file. i-PI's `<ffdirect>` with `<pes> custom </pes>` and its Python driver
with `-m custom -P` load it by path, outside any package (hence the absolute imports), build the class that
`__DRIVER_CLASS__` names with the `<parameters>` (or `-o`) and call it for every structure or list of structures.
"""

import threading
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from forceserver.doors.direct import DirectDoor
from forceserver.errors import ForceServerError
from forceserver.potentials import build_potential
from forceserver.settings import load, require
from forceserver.template import read_template

__DRIVER_NAME__ = "forceserver"
__DRIVER_CLASS__ = "ForceServerPES"

IpiResult = tuple[float, NDArray, NDArray, str]


class ForceServerPES:
    """What i-PI calls. Atomic units, cell vectors as columns.

    config: path of the configuration, relative to where i-PI runs. Other parameters (i-PI adds `verbosity`) are not
    for us.
    """

    def __init__(self, config: str = "forceserver.toml", **_: Any) -> None:
        settings = load(Path(config))
        require(settings.potential, "potential", Path(config), "it says what computes the forces")
        template = read_template(settings.structure)
        self._door = DirectDoor(build_potential(settings.potential, template), template, settings.driver)

    def __call__(self, cell: NDArray | list[NDArray], pos: NDArray | list[NDArray]) -> IpiResult | list[IpiResult]:
        """(energy, forces, virial, extras) for a structure, a list of them for lists of cells and positions."""
        single = not isinstance(cell, list)
        try:
            replies = self._door.evaluate([cell] if single else cell, [pos] if single else pos)
        except ForceServerError as error:
            _end_polling(error)
            raise
        results = [(energy, forces, virial, extras.decode()) for energy, forces, virial, extras in replies]
        return results[0] if single else results


def _end_polling(error: ForceServerError) -> None:
    """Ends i-PI with a message when an exception would only end its polling thread, and leave it waiting for ever."""
    if threading.current_thread().name.startswith("poll_"):
        from ipi.utils.softexit import softexit

        softexit.trigger(status="bad", message=f" @forceserver: {error}")
