"""ASE calculators whose network is evaluated in batches here, and what to write for those where another kind can.

An ASE calculator computes one structure at a time. Of MACE's, the network is known and runs as `kind = "mace"` does.
"""

import sys
from typing import Any

from .base import Potential

KINDS = {
    "fairchem": 'kind = "torchsim", model = "torch_sim.models.fairchem.FairChemModel"',
    "mace": 'kind = "mace" (or "torchsim", model = "torch_sim.models.mace.MaceModel")',
    "mattersim": 'kind = "torchsim", model = "torch_sim.models.mattersim.MatterSimModel"',
    "metatomic": 'kind = "metatomic"',
    "metatomic_ase": 'kind = "metatomic"',
    "nequip": 'kind = "torchsim", model = "torch_sim.models.nequip_framework.NequIPFrameworkModel"',
    "orb_models": 'kind = "torchsim", model = "torch_sim.models.orb.OrbModel"',
    "sevenn": 'kind = "torchsim", model = "torch_sim.models.sevennet.SevenNetModel"',
}
"""The kind that evaluates the networks of a package in batches, by the package that the calculator comes from."""


def batched(calculator: Any) -> Potential | None:
    """The calculator's network as a potential for batches with the same results, or None if that is not known.

    Calculators that were compiled, pad their graphs, convert units, or have subclassed methods are left as they are.
    """
    mace = sys.modules.get("mace.calculators")
    if mace is None or type(calculator) is not getattr(mace, "MACECalculator", None):
        return None
    from ..errors import InputError
    from .mace import MacePotential

    ordinary = {
        "model_type": "MACE", "energy_units_to_eV": 1.0, "length_units_to_A": 1.0, "use_compile": False,
        "pad_num_atoms": 0, "pad_num_edges": 0, "compute_atomic_stresses": False,
    }  # fmt: skip
    if any(getattr(calculator, name, value) != value for name, value in ordinary.items()):
        return None
    try:
        return MacePotential(calculator.models, head=getattr(calculator, "head", None))
    except InputError:  # a model with other inputs
        return None


def how_to_batch(calculator: Any) -> str:
    """What to write in the configuration so that the beads of a batch become one call of the network."""
    package = type(calculator).__module__.partition(".")[0]
    return KINDS.get(package, 'kind = "torchsim" if torch-sim has a model for it, see docs/howto/own_network.md')
