"""The conformance check of a potential, as findings."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .findings import OK, WRONG, Finding

if TYPE_CHECKING:
    from ..configuration import Configuration


def inspect_potential(configuration: "Configuration", tolerance: float, step: float | None) -> Iterator[Finding]:
    """Runs the check on the configured potential; see `check_potential`."""
    from ..potentials import build_potential
    from ..potentials.conformance import check_potential
    from ..template_structure import read_template

    template = read_template(configuration.structure)
    potential = build_potential(configuration.potential, template)
    try:
        report = check_potential(potential, template, tolerance=tolerance, step=step)
    finally:
        potential.close()
    yield Finding(OK, "potential", report.precision)
    for found in report.findings:
        error = "" if found.error is None else f", largest error {found.error:.1e}"
        text = f"{found.name}: {found.failure}" if found.failure else f"{found.name}{error}"
        yield Finding(WRONG if found.failure else OK, "potential", text)
