"""Which engine makes the bias: PLUMED, the embedded metadynamics, or whichever there is."""

import logging
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from ..config import Section
from ..cv import CollectiveVariable
from ..errors import InputError
from ..frame import Frame
from ..potentials.base import Potential
from .atomic import AtomicBias
from .config import MetadynamicsSection
from .plumed import PlumedBias, PlumedSection, load_kernel

log = logging.getLogger(__name__)


class AutoSection(Section):
    """`[bias] engine = "auto"`: PLUMED if its kernel can be loaded, otherwise the embedded engine."""

    engine: Literal["auto"]
    plumed: PlumedSection
    metadynamics: MetadynamicsSection


BiasConfig = Annotated[PlumedSection | MetadynamicsSection | AutoSection, Field(discriminator="engine")]


def build_bias(config: BiasConfig, variables: Mapping[str, CollectiveVariable], template: Frame) -> Potential:
    """The bias that a section [bias] describes, as a potential; `InputError` if that cannot be."""
    if isinstance(config, AutoSection):
        try:
            load_kernel()
            config = config.plumed
        except InputError as reason:
            log.warning("the embedded engine makes the bias: %s", reason)
            config = config.metadynamics
    if isinstance(config, PlumedSection):
        return PlumedBias(config, variables, template, load_kernel())
    return AtomicBias(config.build(), variables)
