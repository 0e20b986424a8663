"""Potentials: frames in, energies, forces and virials out.

`PotentialConfig` is the section of the configuration that describes one of any kind; `build_potential` makes it ready
for use. There is one file per potential, with its section and its class; new ones are added to the union here.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import numpy as np
from pydantic import Field

from ..errors import InputError, described
from ..frame import Frame
from ..results import problem_of, problem_of_symmetry
from .ace import AceConfig
from .ase import AseConfig
from .base import Potential
from .committee import CommitteeConfig
from .gap import GapConfig
from .lammps import LammpsConfig
from .mace import MaceConfig
from .metatomic import MetatomicConfig
from .multispectrum import MultispectrumPotentialConfig
from .pace import PaceConfig
from .pair import PairConfig
from .quip import QuipConfig
from .socket import SocketPotentialConfig
from .sum import SumConfig, TermConfig
from .torchsim import TorchSimConfig
from .trusted import TrustedConfig

PotentialConfig = Annotated[
    AceConfig
    | AseConfig
    | CommitteeConfig
    | GapConfig
    | LammpsConfig
    | MaceConfig
    | MetatomicConfig
    | MultispectrumPotentialConfig
    | PaceConfig
    | PairConfig
    | QuipConfig
    | SocketPotentialConfig
    | SumConfig
    | TorchSimConfig
    | TrustedConfig,
    Field(discriminator="kind"),
]

for _section in (CommitteeConfig, TermConfig, SumConfig, TrustedConfig):  # they contain potentials
    _section.model_rebuild(_types_namespace={"PotentialConfig": PotentialConfig, "TermConfig": TermConfig})


def build_potential(
    config: PotentialConfig | None, template: Frame, watched: AbstractContextManager | None = None
) -> Potential:
    """The potential that `config` describes, ready for frames with the species of `template`.

    It has computed `template` once: models are loaded, lists allocated, and a species that it does not know, or a
    result that is not finite, ends here as `InputError`, before anything is served. It computes it in the context
    `watched`.
    """
    if config is None:
        raise InputError("section [potential] is missing from the configuration: there are no forces to compute")
    potential = config.build(template)
    with watched or nullcontext():
        return tried(potential, template, f"the potential (kind = {config.kind!r})")


def tried(potential: Potential, template: Frame, told: str) -> Potential:
    """The potential, once it has computed the template; `InputError`, which calls it `told`, if it cannot."""
    try:
        result = potential.compute_one(template)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a calculator that calls sys.exit has failed like any other
        potential.close()
        raise InputError(f"{told} cannot compute the template: {described(error)}") from error
    if problem := problem_of(result, len(template)) or problem_of_symmetry("virial", np.asarray(result.virial)):
        potential.close()
        raise InputError(f"{told} returned, for the template, {problem}")
    return potential
