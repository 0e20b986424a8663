"""`[bias.opes]` and `[bias.multithermal]` of the configuration, and the biases that they describe."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AllowInfNan, BeforeValidator, Field, PositiveFloat, PositiveInt

from ...sections import OutputPath, Section
from ..coordinates import Coordinate
from ..energy import NAME
from ..variable_config import BiasVariableConfig
from .bias import Opes
from .multithermal import Multithermal, temperatures_between
from .parameters import OpesParameters, opes_parameters
from .widths import AdaptiveWidths, FixedWidths

BiasFactor = Annotated[
    float,
    AllowInfNan(True),
    Field(gt=1),
    BeforeValidator(lambda value: math.inf if isinstance(value, str) and value.lower() == "inf" else value),
]
"""gamma; inf for a flat target."""


class OpesConfig(Section):
    """OPES_METAD, or OPES_METAD_EXPLORE with `explore`; what is left out follows from the barrier as in PLUMED.

    The widths are `sigma` of the variables, or else they are measured over `adaptive_sigma_stride_steps`.
    """

    barrier_eV: PositiveFloat
    pace_steps: PositiveInt
    temperature_K: PositiveFloat
    explore: bool = False
    bias_factor: BiasFactor | None = None
    adaptive_sigma_stride_steps: PositiveInt | None = None
    fixed_sigma: bool = False
    compression_threshold: float = Field(default=1.0, ge=0)
    epsilon: PositiveFloat | None = None
    kernel_cutoff: PositiveFloat | None = None
    file: OutputPath = Field(default=Path("KERNELS"), validate_default=True)
    state_file: OutputPath | None = Field(default=Path("STATE"), validate_default=True)
    state_stride_steps: PositiveInt | None = None

    @property
    def parameters(self) -> OpesParameters:
        """`ValueError` if they contradict each other."""
        return opes_parameters(
            self.barrier_eV,
            self.temperature_K,
            self.pace_steps,
            self.bias_factor,
            self.explore,
            self.epsilon,
            self.kernel_cutoff,
            self.compression_threshold,
            not self.fixed_sigma,
        )

    @property
    def state_stride(self) -> int:
        """Steps between two states; of a hundred kernels if it is not given."""
        return self.state_stride_steps or 100 * self.pace_steps

    def check(self, variables: Sequence[BiasVariableConfig]) -> None:
        """`ValueError` if the variables are not made for these kernels."""
        parameters = self.parameters
        if not 1 <= len(variables) <= 3:
            raise ValueError(
                f"kernels are put on one to three variables, not on {len(variables)}; say hills = false of others"
            )
        for variable in variables:
            if variable.bins or (not variable.domain and (variable.lower, variable.upper) != (None, None)):
                raise ValueError(f"OPES has no grid: leave out lower, upper and bins of {variable.name}")
        with_sigma = [variable.name for variable in variables if variable.sigma]
        if 0 < len(with_sigma) < len(variables):
            raise ValueError(
                f"{', '.join(with_sigma)} has a sigma, others have none: give one to all variables, or to none of them "
                "to have it measured"
            )
        floors = [variable.name for variable in variables if variable.sigma_min]
        if 0 < len(floors) < len(variables):
            raise ValueError(f"{', '.join(floors)} has a sigma_min, others have none: give one to all, or to none")
        if with_sigma:
            self._check_fixed(variables, parameters)
        elif math.isinf(parameters.bias_factor):
            raise ValueError("bias_factor = inf needs kernels of given widths: give sigma of the variables")
        elif (self.adaptive_sigma_stride_steps or self.pace_steps) < self.pace_steps:
            raise ValueError(
                f"adaptive_sigma_stride_steps = {self.adaptive_sigma_stride_steps} must not be less than pace_steps = "
                f"{self.pace_steps}"
            )

    def _check_fixed(self, variables: Sequence[BiasVariableConfig], parameters: OpesParameters) -> None:
        if self.adaptive_sigma_stride_steps:
            raise ValueError("adaptive_sigma_stride_steps is for widths that are measured: leave it out, or sigma")
        for variable, sigma in zip(variables, self._sigmas(variables, parameters), strict=True):
            if variable.sigma_min and variable.sigma_min > sigma:
                raise ValueError(f"sigma_min of {variable.name} must not be above its sigma, {sigma:g}")

    def build(self, variables: Sequence[BiasVariableConfig], coordinates: Sequence[Coordinate]) -> Opes:
        """The bias in memory."""
        parameters = self.parameters
        least = [v.sigma_min for v in variables if v.sigma_min] or None
        widths: FixedWidths | AdaptiveWidths
        if sigmas := self._sigmas(variables, parameters):
            widths = FixedWidths(sigmas, least)
        else:
            stride = self.adaptive_sigma_stride_steps or 10 * self.pace_steps
            widths = AdaptiveWidths(coordinates, stride, parameters.bias_factor, self.explore, least)
        return Opes(coordinates, parameters, widths)

    def _sigmas(self, variables: Sequence[BiasVariableConfig], parameters: OpesParameters) -> list[float]:
        """Widths of the first kernel; those of the sampled density are wider than those of the unbiased one."""
        widening = math.sqrt(parameters.bias_factor) if self.explore else 1.0
        return [variable.sigma * widening for variable in variables if variable.sigma]


class MultithermalConfig(Section):
    """OPES_EXPANDED of an ECV_MULTITHERMAL: one simulation samples several temperatures, by a bias on its energy.

    temperature_K: of the simulation. temperatures: how many, from lowest_K to highest_K with a constant ratio.
    observations: how many energies without bias, pace_steps apart, make the first estimate.
    """

    temperature_K: PositiveFloat
    lowest_K: PositiveFloat | None = None
    highest_K: PositiveFloat
    temperatures: int = Field(ge=2, le=10000)
    pace_steps: PositiveInt
    observations: int = Field(default=100, ge=2)
    file: OutputPath = Field(default=Path("DELTAFS"), validate_default=True)

    @property
    def lowest(self) -> float:
        """K; by default the temperature of the simulation."""
        return self.lowest_K or self.temperature_K

    def check(self, variables: Sequence[BiasVariableConfig], has_walkers: bool) -> None:
        """`ValueError` if something else is incompatible with it."""
        if self.lowest >= self.highest_K:
            raise ValueError(f"highest_K = {self.highest_K:g} must be above the lowest temperature, {self.lowest:g} K")
        if has_walkers:
            raise ValueError("walkers share hills or kernels, not estimates of multithermal; leave out walkers")
        if [variable.name for variable in variables] != [NAME]:
            raise ValueError(f"multithermal acts on {NAME} alone: give this variable, and hills = false to all others")
        energy = variables[0]
        if energy.domain or energy.sigma or energy.sigma_min or energy.bins or energy.range:
            raise ValueError(
                f"multithermal has neither kernels nor a grid: leave out everything but the name of {NAME}"
            )

    def build(self, energy: Coordinate) -> Multithermal:
        """The bias in memory."""
        kelvin = temperatures_between(self.lowest, self.highest_K, self.temperatures)
        return Multithermal(energy, self.temperature_K, kelvin, self.pace_steps, self.observations)
