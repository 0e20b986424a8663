"""The `[bias]` section of the configuration for the embedded bias, and the bias that it describes."""

import logging
import math
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ..config import OutputPath, Section
from ..errors import InputError
from ..units import EnergyUnit
from .deposit import HillDeposit
from .grid import Axis, HillGrid, HillSum
from .metadynamics import Metadynamics
from .restraints import MovingRestraint, Restraint, Wall
from .variables import Variable, parse_number

log = logging.getLogger(__name__)

Number = Annotated[float, BeforeValidator(lambda value: parse_number(value) if isinstance(value, str) else value)]
"""A number, or text such as "-pi"."""


class VariableSection(Section):
    """A collective variable by the name of its output. Everything here is in the units of the variable.

    hills: whether hills are put on it; otherwise it may have walls and restraints, and is written to COLVAR.
    domain: ends of the period. sigma: width of the hills. lower, upper: the range of the grid (the domain, if
    there is one). bins: intervals of the grid; otherwise as many as make them sigma/5.
    """

    name: str = Field(pattern=r"^[^\s#]+$")
    hills: bool = True
    domain: tuple[Number, Number] | None = None
    sigma: PositiveFloat | None = None
    lower: Number | None = None
    upper: Number | None = None
    bins: PositiveInt | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "VariableSection":
        if self.domain and self.domain[0] >= self.domain[1]:
            raise ValueError(
                f"the domain of {self.name} must go upwards, not from {self.domain[0]} to {self.domain[1]}"
            )
        if self.domain and (self.lower is not None or self.upper is not None):
            raise ValueError(f"{self.name} is periodic: its grid is its domain; leave out lower and upper")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(f"lower of {self.name} must be below upper")
        return self

    def variable(self) -> Variable:
        return Variable(self.name, self.domain)

    def axis(self) -> Axis:
        lower, upper = self.domain or (self.lower, self.upper)
        spacings = (upper - lower) / (0.2 * self.sigma) - 1e-9  # a whole number up to round-off stays
        return Axis(lower, upper, self.bins or max(math.ceil(spacings), 2))


class HillsSection(Section):
    """Well-tempered metadynamics; plain metadynamics without `bias_factor`.

    grid: "fixed" (leaving it is an error), "grow" (it is extended), or "none" (hills are summed one by one).
    rct_stride_hills: hills between two values of the reweighting factor c(t) in COLVAR, an integral over the grid.
    """

    height_eV: PositiveFloat
    pace_steps: PositiveInt
    temperature_K: PositiveFloat
    bias_factor: float | None = Field(default=None, gt=1)
    grid: Literal["fixed", "grow", "none"] = "fixed"
    rct_stride_hills: PositiveInt = 1
    file: OutputPath = Field(default=Path("HILLS"), validate_default=True)


class WallSection(Section):
    """V = kappa ((s - at + offset) / epsilon)^exponent beyond an upper wall; mirrored for a lower one."""

    variable: str
    side: Literal["upper", "lower"]
    at: Number
    kappa_eV: PositiveFloat
    exponent: float = Field(default=2.0, ge=1)
    epsilon: PositiveFloat = 1.0
    offset: float = 0.0


class RestraintSection(Section):
    """V = kappa (s - at)^2 / 2 + slope (s - at); kappa in eV per CV unit squared, slope in eV per CV unit."""

    variable: str
    at: Number
    kappa_eV: float = Field(default=0.0, ge=0)
    slope_eV: float = 0.0


class MovingRestraintSection(Section):
    """V = kappa (s - at)^2 / 2, `at` and kappa (eV per CV unit squared) given at `steps`, linear in between."""

    variable: str
    steps: tuple[NonNegativeInt, ...] = Field(min_length=1)
    at: tuple[Number, ...]
    kappa_eV: tuple[float, ...]
    side: Literal["both", "above", "below"] = "both"

    @model_validator(mode="after")
    def _same_length(self) -> "MovingRestraintSection":
        if not len(self.steps) == len(self.at) == len(self.kappa_eV):
            raise ValueError(
                f"steps, at and kappa_eV need one value each per step, got {len(self.steps)}, {len(self.at)} and "
                f"{len(self.kappa_eV)}"
            )
        if any(a >= b for a, b in pairwise(self.steps)):
            raise ValueError("steps must increase")
        return self


class WalkersSection(Section):
    """Runs that share their hills: run `id` of `count` writes `directory`/HILLS.id and reads those of the others."""

    id: NonNegativeInt
    count: PositiveInt
    directory: OutputPath
    read_stride_steps: PositiveInt = 1

    @model_validator(mode="after")
    def _in_range(self) -> "WalkersSection":
        if self.id >= self.count:
            raise ValueError(
                f"walkers are numbered from 0 to count - 1 = {self.count - 1}, there is no walker {self.id}"
            )
        return self


class MetadynamicsSection(Section):
    """`[bias] engine = "metadynamics"`.

    time_step_fs: of the simulation, for the time column (ps) of the files. file_energy_unit: of HILLS and COLVAR;
    kJ/mol is PLUMED's. clock_file: where the number of the current step outlives the program.
    """

    engine: Literal["metadynamics"] = "metadynamics"
    time_step_fs: PositiveFloat
    variables: tuple[VariableSection, ...] = Field(min_length=1)
    hills: HillsSection | None = None
    walls: tuple[WallSection, ...] = ()
    restraints: tuple[RestraintSection, ...] = ()
    moving_restraints: tuple[MovingRestraintSection, ...] = ()
    walkers: WalkersSection | None = None
    file_energy_unit: EnergyUnit = "kJ/mol"
    clock_file: OutputPath = Field(default=Path("BIAS.clock"), validate_default=True)
    colvar_file: OutputPath | None = Field(default=Path("COLVAR"), validate_default=True)
    colvar_stride_steps: PositiveInt = 1

    @model_validator(mode="after")
    def _complete(self) -> "MetadynamicsSection":
        names = [variable.name for variable in self.variables]
        if len(set(names)) < len(names):
            raise ValueError(f"variables need different names, got {', '.join(names)}")
        for part in (*self.walls, *self.restraints, *self.moving_restraints):
            if part.variable not in names:
                raise ValueError(f"there is no variable {part.variable}; the bias has {', '.join(names)}")
        if not (self.hills or self.walls or self.restraints or self.moving_restraints):
            raise ValueError("nothing acts: give hills, walls, restraints or moving_restraints")
        if self.walkers and not self.hills:
            raise ValueError("walkers share hills: give hills")
        hilly = [variable for variable in self.variables if variable.hills]
        if self.hills and not 1 <= len(hilly) <= 3:
            raise ValueError(
                f"hills are put on one to three variables, not on {len(hilly)}; say hills = false of others"
            )
        for variable in hilly if self.hills else ():
            if variable.sigma is None:
                raise ValueError(f"hills need a width: give sigma of {variable.name}")
            if self.hills.grid != "none" and not variable.domain and None in (variable.lower, variable.upper):
                raise ValueError(f'the grid needs lower and upper of {variable.name} (or hills.grid = "none")')
        return self

    @property
    def lists_file(self) -> Path:
        """Where the variables keep the configuration of their neighbour lists (lists.py): beside the clock."""
        clock = self._own(self.clock_file)
        return clock.with_name(f"{clock.name}.lists")

    def _own(self, file: Path) -> Path:
        """The name of a file that every walker has for itself."""
        return file.with_name(f"{file.name}.{self.walkers.id}") if self.walkers else file

    def check_start(self, values: dict[str, float]) -> None:
        """`InputError` if a variable starts off the grid: the bias would fail at the first step."""
        if self.hills is None or self.hills.grid != "fixed":
            return
        for v in self.variables:
            if v.hills and v.domain is None and not v.lower <= values[v.name] <= v.upper:
                raise InputError(
                    f"bias: {v.name} = {values[v.name]:g} in the structure file is off the grid, [{v.lower:g}, "
                    f'{v.upper:g}]; change lower and upper, or let the grid grow (hills.grid = "grow")'
                )

    def build(self) -> Metadynamics:
        """The bias, with its files open and what they hold read."""
        variables = {section.name: section.variable() for section in self.variables}
        if self.walkers:
            self.walkers.directory.mkdir(parents=True, exist_ok=True)
        return Metadynamics(
            list(variables.values()),
            self.time_step_fs / 1000,
            hills=self._hills([variables[v.name] for v in self.variables if v.hills]) if self.hills else None,
            walls=[
                Wall(variables[w.variable], w.side, w.at, w.kappa_eV, w.exponent, w.epsilon, w.offset)
                for w in self.walls
            ],
            restraints=[Restraint(variables[r.variable], r.at, r.kappa_eV, r.slope_eV) for r in self.restraints],
            moving=[
                MovingRestraint(variables[m.variable], m.steps, m.at, m.kappa_eV, m.side)
                for m in self.moving_restraints
            ],
            clock_file=self._own(self.clock_file),
            colvar_file=self.colvar_file and self._own(self.colvar_file),
            colvar_stride=self.colvar_stride_steps,
            energy_unit=self.file_energy_unit,
            read_stride=self.walkers.read_stride_steps if self.walkers else 1,
        )

    def _hills(self, variables: list[Variable]) -> HillDeposit:
        section, file, others = self.hills, self.hills.file, []
        sections = [v for v in self.variables if v.hills]
        if walkers := self.walkers:
            files = [walkers.directory / f"{file.name}.{k}" for k in range(walkers.count)]
            file, others = files[walkers.id], files[: walkers.id] + files[walkers.id + 1 :]
        if section.grid == "none":
            total = HillSum(variables)
            if self.colvar_file:
                log.info(
                    'hills.grid = "none": %s has no columns metad.rct and metad.rbias: the reweighting factor c(t) is '
                    'an integral over the grid; `forceserver fes` computes it from HILLS, or choose grid = "grow"',
                    self._own(self.colvar_file),
                )
        else:
            total = HillGrid(variables, [v.axis() for v in sections], grow=section.grid == "grow")
        return HillDeposit(
            total,
            variables,
            [v.sigma for v in sections],
            section.height_eV,
            section.pace_steps,
            section.temperature_K,
            section.bias_factor,
            file,
            self.file_energy_unit,
            others,
            section.rct_stride_hills,
        )
