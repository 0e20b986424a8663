"""What defines an OPES, with the defaults of PLUMED."""

import math
from dataclasses import dataclass

from ...units import BOLTZMANN_EV_PER_K


@dataclass(frozen=True)
class OpesParameters:
    """barrier: eV. temperature: K. pace: steps between kernels. bias_factor: gamma; inf for a flat target.

    explore: whether the kernels estimate the sampled density (OPES_METAD_EXPLORE) instead of the unbiased one.
    epsilon: what keeps the bias finite where there is no kernel. cutoff: of the kernels; threshold: below which they
    are merged; both in units of their widths. shrinks: whether the widths decrease as the sample grows.
    """

    barrier: float
    temperature: float
    pace: int
    bias_factor: float
    explore: bool
    epsilon: float
    cutoff: float
    threshold: float = 1.0
    shrinks: bool = True

    @property
    def kt(self) -> float:
        """eV."""
        return BOLTZMANN_EV_PER_K * self.temperature

    @property
    def prefactor(self) -> float:
        """Of k_B T log(P / Z + epsilon)."""
        return prefactor(self.bias_factor, self.explore)

    @property
    def action(self) -> str:
        """PLUMED's name for it."""
        return "OPES_METAD_EXPLORE" if self.explore else "OPES_METAD"


def prefactor(bias_factor: float, explore: bool) -> float:
    """1 - 1/gamma, or gamma - 1."""
    return bias_factor - 1 if explore else 1 - 1 / bias_factor


def opes_parameters(
    barrier: float,
    temperature: float,
    pace: int,
    bias_factor: float | None = None,
    explore: bool = False,
    epsilon: float | None = None,
    cutoff: float | None = None,
    threshold: float = 1.0,
    shrinks: bool = True,
) -> OpesParameters:
    """With gamma, epsilon and the cutoff that follow from the barrier where they are None.

    `ValueError` says which of them cannot be.
    """
    kt = BOLTZMANN_EV_PER_K * temperature
    gamma = barrier / kt if bias_factor is None else bias_factor
    if gamma <= 1:
        raise ValueError(
            f"the bias factor is barrier_eV / kT = {gamma:.3g} but must be above 1: a barrier below kT = {kt:.3g} eV "
            "needs no bias; give bias_factor or a higher barrier_eV"
        )
    if explore and math.isinf(gamma):
        raise ValueError("explore samples the well-tempered distribution; bias_factor = inf is for explore = false")
    scale = prefactor(gamma, explore)
    if epsilon is None:
        epsilon = math.exp(-barrier / scale / kt)
    if not epsilon > 0:
        raise ValueError(f"barrier_eV = {barrier:g} is so high that epsilon = exp(-barrier/kT) is zero; lower it")
    if cutoff is None:
        cutoff = math.sqrt(2 * barrier / kt) if explore else math.sqrt(2 * barrier / scale / kt)
    if threshold >= cutoff:
        raise ValueError(
            f"compression_threshold = {threshold:g} must be below the cutoff of the kernels, {cutoff:.3g}; lower it"
        )
    return OpesParameters(barrier, temperature, pace, gamma, explore, epsilon, cutoff, threshold, shrinks)
