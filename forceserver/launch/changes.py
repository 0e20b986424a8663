"""What a user has changed in i-PI's input since a state was saved: i-PI reads nothing but the state now."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from ..ipi.input import IpiInput

SETTINGS = {
    "motion": "motion",
    "timestep_fs": "time step (fs)",
    "temperature_K": "temperature (K)",
    "pressure_GPa": "pressure (GPa)",
    "thermostat_fs": "tau of the thermostat (fs)",
    "barostat_fs": "tau of the barostat (fs)",
    "fixed": "fixed degrees of freedom",
}
"""What i-PI understood of a system, and what it is called."""


def changes(state: "IpiInput", simulation: "IpiInput") -> Iterator[str]:
    """Settings of the input that are others in the state."""
    if state.total_steps != simulation.total_steps:
        yield f"{state.total_steps} steps and {simulation.path.name} for {simulation.total_steps}"
    yield from _of_systems(state, simulation)
    before, now = _outputs(state), _outputs(simulation)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield f"another output {name} (columns or stride) than {simulation.path.name}"


def _outputs(ipi: "IpiInput") -> dict[str, tuple[int, tuple[str, ...]]]:
    """The stride and the columns of every file of properties and, without columns, every trajectory."""
    properties = {file.path.name: (file.stride, file.columns) for file in ipi.properties}
    return properties | {path.name: (stride, ()) for path, stride in ipi.trajectories}


def _of_systems(state: "IpiInput", simulation: "IpiInput") -> Iterator[str]:
    from ..ipi.rehearsal import rehearse

    try:
        before, now = (rehearse(ipi.path, ipi.folder).systems for ipi in (state, simulation))
    except InputError:  # `check` tells it of the state, and the input is not used
        return
    for old, new in zip(before, now, strict=False):
        for name, what in SETTINGS.items():
            was, wanted = getattr(old, name), getattr(new, name)
            if not _same(was, wanted):
                yield f"{_shown(was)} as {what}, {simulation.path.name} for {_shown(wanted)}"


def _same(was: object, wanted: object) -> bool:
    if isinstance(was, float) and isinstance(wanted, float):
        return abs(was - wanted) <= 1e-6 * max(abs(was), abs(wanted))
    return was == wanted


def _shown(value: object) -> str:
    if value and isinstance(value, frozenset):
        return str(sorted(value)) if len(value) <= 12 else f"{len(value)} of them"
    return f"{value:.5g}" if isinstance(value, float) else str(value or "none")
