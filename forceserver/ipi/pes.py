"""The potential or the bias of a configuration as a PES file of i-PI: no socket, no second process.

`forceserver ipi-pes` prints the path of this file. i-PI's `<ffdirect>` with `<pes> custom </pes>` and its Python driver
with `-m custom -P` load it by path, outside any package (hence the absolute imports), build the class that
`__DRIVER_CLASS__` names with the `<parameters>` (or `-o`) and call it for every structure or list of structures.
"""

import atexit
import threading
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from forceserver.bias.choice import build_bias
from forceserver.configuration import Configuration, read_configuration, require
from forceserver.cv import build_variables
from forceserver.errors import ForceServerError, InputError
from forceserver.files import working_in
from forceserver.frame import Frame
from forceserver.ipi.direct import DirectDriver
from forceserver.potentials import build_potential
from forceserver.potentials.base import Potential
from forceserver.template_structure import read_template

__DRIVER_NAME__ = "forceserver"
__DRIVER_CLASS__ = "ForceServerPES"

IpiResult = tuple[float, NDArray, NDArray, str]


class ForceServerPES:
    """What i-PI calls. Atomic units, cell vectors as columns.

    config: path of the configuration, relative to where i-PI runs. role: `force` (its potential) or `bias`. Other
    parameters (i-PI adds `verbosity`) are ignored.
    """

    def __init__(self, config: str = "forceserver.toml", role: str = "force", **_: Any) -> None:
        if role not in _BUILD:
            raise InputError(f"<parameters> of <ffdirect>: there is no role {role!r}; there are {', '.join(_BUILD)}")
        configuration = read_configuration(Path(config))
        template = read_template(configuration.structure)
        with working_in(Path.cwd()):  # i-PI reads its files there, wherever a model goes
            evaluated = _BUILD[role](configuration, Path(config), template)
        atexit.register(evaluated.close)
        self._driver = DirectDriver(evaluated, template, configuration.driver)

    def __call__(self, cell: NDArray | list[NDArray], pos: NDArray | list[NDArray]) -> IpiResult | list[IpiResult]:
        """(energy, forces, virial, extras) for a structure, a list of them for lists of cells and positions."""
        cells = cell if isinstance(cell, list) else [cell]
        positions = pos if isinstance(pos, list) else [pos]
        try:
            replies = self._driver.evaluate(cells, positions)
        except ForceServerError as error:
            _end_polling(error)
            raise
        results = [(energy, forces, virial, extras.decode()) for energy, forces, virial, extras in replies]
        return results if isinstance(cell, list) else results[0]


def _potential(configuration: Configuration, path: Path, template: Frame) -> Potential:
    section: Any = require(configuration.potential, "potential", path, "it says what computes the forces")
    return build_potential(section, template)


def _bias(configuration: Configuration, path: Path, template: Frame) -> Potential:
    section: Any = require(configuration.bias, "bias", path, "it says what the bias is")
    potential = partial(build_potential, configuration.potential, template) if configuration.potential else None
    return build_bias(section, build_variables(configuration.cv, template), template, potential)


_BUILD = {"force": _potential, "bias": _bias}


def _end_polling(error: ForceServerError) -> None:
    """Ends i-PI with a message when an exception would only end its polling thread, and leave it waiting for ever."""
    if threading.current_thread().name.startswith("poll_"):
        from ipi.utils.softexit import softexit

        softexit.trigger(status="bad", message=f" @forceserver: {error}")
