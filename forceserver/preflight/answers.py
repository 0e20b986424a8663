"""Computes the configured potential, variables and bias once, for the template.

A bias is tried in an empty folder, so that its files are neither read nor written.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, described
from ..files import working_in
from .findings import ADVICE, OK, WRONG, Finding
from .trial import in_a_child, naming

if TYPE_CHECKING:
    from ..configuration import Configuration
    from ..frame import Array, Frame, Result

STRANGE_FORCE_EV_PER_ANGSTROM = 50


@dataclass
class Answers:
    """What they returned.

    batches: whether the potential computes several structures at once; None if there is no potential.
    seconds: what the potential took for the template, the first time.
    has_virial: whether the virial of the template is not exactly zero.
    extras: the names that a driver sends, by the section of its socket.
    """

    findings: list[Finding] = field(default_factory=list)
    batches: bool | None = None
    seconds: float | None = None
    has_virial: bool | None = None
    extras: dict[str, set[str]] = field(default_factory=dict)


def ask(configuration: "Configuration", template: "Frame", folder: Path) -> Answers:
    """Computes everything that is configured for the template; `folder`: where the drivers will run."""
    answers = Answers()
    steps = {"potential": _ask_potential, "variables": _ask_variables, "bias": _ask_bias}
    for what, step in steps.items():
        try:
            answers.findings.extend(step(configuration, template, folder, answers))
        except InputError as error:
            answers.findings.append(Finding(WRONG, what, str(error)))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # raised by somebody else's calculator or variable
            answers.findings.append(Finding(WRONG, what, f"it cannot compute the template: {described(error)}"))
    return answers


def _ask_potential(
    configuration: "Configuration", template: "Frame", folder: Path, answers: Answers
) -> Iterator[Finding]:
    import numpy as np

    from ..potentials import build_potential

    if configuration.potential is None:
        if configuration.socket is not None:
            yield Finding(WRONG, "potential", "section [potential] is missing: it says what computes the forces")
        return
    potential = build_potential(configuration.potential, template)
    begun = time.monotonic()
    try:
        result = potential.compute_one(template)
    finally:
        potential.close()
    answers.seconds = time.monotonic() - begun
    answers.batches = potential.computes_batches
    answers.has_virial = bool(np.any(result.virial))
    answers.extras["socket"] = set(result.extras)
    largest = _largest(result.forces)
    extras = f", extras {', '.join(sorted(result.extras))}" if result.extras else ""
    yield from _strange("potential", largest, "other units meant, or atoms too close?")
    if largest == result.energy == 0 and len(template) > 1:
        text = "energy and forces of the template are zero: do its species interact, and as far as they are apart?"
        yield Finding(ADVICE, "potential", text)
    yield Finding(OK, "potential", f"template {result.energy:.6f} eV, largest force {largest:.3g} eV/Å{extras}")


def _largest(forces: "Array") -> float:
    """The length of the largest of forces (n, 3)."""
    import numpy as np

    return float(np.linalg.norm(forces, axis=1).max(initial=0))


def _strange(what: str, largest: float, hint: str) -> Iterator[Finding]:
    if largest > STRANGE_FORCE_EV_PER_ANGSTROM:
        yield Finding(ADVICE, what, f"the largest force on the template is {largest:.3g} eV/Å: {hint}")


def _ask_variables(
    configuration: "Configuration", template: "Frame", folder: Path, answers: Answers
) -> Iterator[Finding]:
    from ..cv import build_variables

    for name, variable in build_variables(configuration.cv, template).items():
        result = variable.compute(template)
        values = ", ".join(
            f"{name}_{output} {value:.4g}" for output, value in zip(variable.outputs, result.values, strict=True)
        )
        yield Finding(OK, "variables", f"template {values}")
        if not (result.values.any() or result.gradients.any()):
            text = f"{name} is zero and depends on no atom of the template: nothing is within its cutoff (in Å)?"
            yield Finding(ADVICE, "variables", text)


def _ask_bias(configuration: "Configuration", template: "Frame", folder: Path, answers: Answers) -> Iterator[Finding]:
    from ..bias.choice import chosen
    from ..bias.kept_settings import compared, with_values
    from ..bias.plumed.config import PlumedConfig
    from ..cv import build_variables

    if configuration.bias is None:
        return
    section = chosen(configuration.bias)
    section.check_files()
    with working_in(folder):
        variables = build_variables(configuration.cv, template)
        settings = with_values(section.settings(), section.names(), variables, template)
        for change in compared(section.kept_in, bool(section.begun()), settings):
            yield Finding(ADVICE, "bias", f"the bias goes on with other settings: {change}")
    with tempfile.TemporaryDirectory() as scratch:
        trial = (section, configuration, template, folder, Path(scratch))
        result = in_a_child(try_bias, *trial) if isinstance(section, PlumedConfig) else try_bias(*trial)
    answers.extras["bias_socket"] = set(result.extras)
    largest = _largest(result.forces)
    yield from _strange("bias", largest, "is a wall or restraint far from the template, or in another unit?")
    said = f"template {result.energy:.6f} eV, largest force {largest:.3g} eV/Å"
    yield Finding(OK, "bias", f"{section.engine}, {said}, extras {', '.join(sorted(result.extras))}")


def try_bias(section: Any, configuration: "Configuration", template: "Frame", folder: Path, scratch: Path) -> "Result":
    """Computes the bias of the template in the folder `scratch`."""
    from ..bias.choice import build_bias
    from ..bias.plumed.config import PlumedConfig
    from ..bias.plumed.elsewhere import bring
    from ..bias.plumed.input import read_actions
    from ..bias.plumed.written_files import check_made_folders
    from ..cv import build_variables
    from ..potentials import build_potential

    potential = partial(build_potential, configuration.potential, template) if configuration.potential else None
    tried, names = _redirected(section, scratch), {}
    if isinstance(section, PlumedConfig):
        check_made_folders(read_actions(section.plumed_dat, folder), folder)
        there = bring(section.plumed_dat, folder, scratch)
        tried, names = tried.model_copy(update={"plumed_dat": there}), {there: section.plumed_dat}
    with working_in(scratch), naming(names):
        variables = build_variables(configuration.cv, template)
        bias = build_bias(tried, variables, template, potential)
        with contextlib.closing(bias):
            return bias.compute_one(template)


def _redirected(section: Any, scratch: Path) -> Any:
    """The section with all its outputs in another folder."""
    import pydantic

    changed: dict[str, Any] = {}
    for name, value in section:
        if isinstance(value, pydantic.BaseModel):
            changed[name] = _redirected(value, scratch)
        elif isinstance(value, Path) and name != "plumed_dat":
            changed[name] = scratch / value.name
    return section.model_copy(update=changed)
