"""Which engine computes the bias: PLUMED, the embedded one, or whichever is available."""

import logging
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import Field

from ..cv import Variable
from ..errors import InputError
from ..frame import Frame
from ..potentials.base import Potential
from ..sections import Section
from .atomic import AtomicBias
from .config import MetadynamicsConfig
from .energy import NAME, with_energy
from .kept_settings import going_on, with_values
from .outputs import places, values_of
from .plumed.config import PlumedConfig
from .plumed.host import PlumedBias
from .plumed.kernel import load_kernel

log = logging.getLogger(__name__)


class AutoConfig(Section):
    """`[bias] engine = "auto"`: PLUMED if its kernel can be loaded, otherwise the embedded engine.

    order: the engines to choose from; the first available one is used.
    """

    engine: Literal["auto"]
    order: tuple[Literal["plumed", "metadynamics"], ...] = Field(default=("plumed", "metadynamics"), min_length=1)
    plumed: PlumedConfig
    metadynamics: MetadynamicsConfig


BiasConfig = Annotated[PlumedConfig | MetadynamicsConfig | AutoConfig, Field(discriminator="engine")]


def build_bias(
    config: BiasConfig,
    variables: Mapping[str, Variable],
    template: Frame,
    potential: Callable[[], Potential] | None = None,
) -> Potential:
    """The bias that a section [bias] describes, as a potential; `InputError` if it is impossible.

    The embedded bias opens its files only after everything, including its variables on the template, has been checked.
    potential: gives that of the system, for a bias on its energy.
    """
    config = chosen(config)
    config.check_files()
    settings = with_values(config.settings(), config.names(), variables, template)
    if acts_on_energy(config):
        variables = with_energy(variables, potential, len(template))
    with going_on(config.kept_in, bool(config.begun()), settings) as after_an_error:
        bias = _opened(config, variables, template)
        after_an_error.callback(bias.close)
    return bias


def _opened(
    config: PlumedConfig | MetadynamicsConfig, variables: Mapping[str, Variable], template: Frame
) -> PlumedBias | AtomicBias:
    """The bias, with its files open."""
    if isinstance(config, PlumedConfig):
        return PlumedBias(config, variables, template, load_kernel())
    for variable in config.variables:
        if variable.domain:
            raise InputError(
                f"bias: {variable.name} has a domain, but no output of a [[cv]] is periodic; give lower and upper"
            )
    names = config.names()
    outputs = dict(zip(names, places(names, variables), strict=True))
    config.check_start(values_of(outputs, {name: cv.copy().compute(template) for name, cv in variables.items()}))
    return AtomicBias(config.build(), variables)


def acts_on_energy(config: BiasConfig | None) -> bool:
    """Whether the bias has the potential energy among its variables."""
    if config is None:
        return False
    config = chosen(config)
    return NAME in config.names()


def chosen(config: BiasConfig) -> PlumedConfig | MetadynamicsConfig:
    """For "auto" the first available engine in its order; `InputError` if only PLUMED is in it, and unavailable."""
    if not isinstance(config, AutoConfig):
        return config
    if config.order[0] == "metadynamics":
        return config.metadynamics
    try:
        load_kernel()
    except InputError as reason:
        if "metadynamics" not in config.order:
            raise
        log.warning("the embedded engine computes the bias: %s", reason)
        return config.metadynamics
    return config.plumed
