"""What the files of a bias themselves say of their energies and temperature: ours do, PLUMED's say little."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from ..bias.tables import read_remark
from ..errors import InputError
from ..units import PER_EV

log = logging.getLogger(__name__)

PLUMED_UNIT = "kJ/mol"


def unit_of(paths: Sequence[Path], wanted: str | None, temperature: float) -> str:
    """The energy unit of the files: what they say, or `wanted`, or PLUMED's.

    A temperature (K) other than theirs is told.

    Raises:
        InputError: a file says something else than `wanted` or than another file.
    """
    found, source = wanted, "--energy-unit says"
    for path in paths:
        remark = read_remark(path)
        if remark.energy_unit in PER_EV:
            if found not in (None, remark.energy_unit):
                raise InputError(f"{path} has energies in {remark.energy_unit}, {source} {found}")
            found, source = remark.energy_unit, f"{path} has"
        if remark.temperature and not math.isclose(remark.temperature, temperature, rel_tol=1e-3):
            log.warning(
                "%s is of a bias for %g K, --temperature is %g: populations and weights are those of %g K",
                path,
                remark.temperature,
                temperature,
                temperature,
            )
    return found or PLUMED_UNIT
