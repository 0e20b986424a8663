"""The `[bias]` section of the configuration for the embedded bias, and the bias that it describes."""

import contextlib
import logging
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ..errors import InputError
from ..sections import OutputPath, Section
from ..units import EnergyUnit
from .coordinates import Coordinate, domain_constants
from .engine import BiasEngine
from .grid import HillGrid, HillSum, why_too_large
from .journal import Journal, RecentSteps, last_step
from .journal.colvar import ColvarFile
from .journal.deposits import DepositFile, check_none_removed
from .journal.disk import check_file, make_folder, why_no_folder
from .kept_settings import KeptIn, Settings, beside, flat, of_walker
from .metadynamics import GrowingHills
from .opes.bias import Opes
from .opes.config import MultithermalConfig, OpesConfig
from .opes.multithermal import Multithermal
from .opes.state import StateFile
from .restraints import MovingRestraint, Restraint, Wall
from .tables import FieldsReader, Remark
from .total import TotalBias
from .variable_config import BiasVariableConfig, Number

log = logging.getLogger(__name__)

FIXED = {
    "file_energy_unit": "the energies in the files of the bias are in the unit of before",
    "time_step_fs": "the times in the files of the bias are those of before",
}
"""Keys of [bias] that must not change when a bias goes on, and why; others are in the headers of its files."""


class HillsConfig(Section):
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


class WallConfig(Section):
    """V = kappa ((s - at + offset) / epsilon)^exponent beyond an upper wall; mirrored for a lower one."""

    variable: str
    side: Literal["upper", "lower"]
    at: Number
    kappa_eV: PositiveFloat
    exponent: float = Field(default=2.0, ge=1)
    epsilon: PositiveFloat = 1.0
    offset: float = 0.0


class RestraintConfig(Section):
    """V = kappa (s - at)^2 / 2 + slope (s - at); kappa in eV per CV unit squared, slope in eV per CV unit."""

    variable: str
    at: Number
    kappa_eV: float = Field(default=0.0, ge=0)
    slope_eV: float = 0.0

    @model_validator(mode="after")
    def _acts(self) -> "RestraintConfig":
        if not (self.kappa_eV or self.slope_eV):
            raise ValueError(f"the restraint of {self.variable} does nothing: give kappa_eV or slope_eV")
        return self


class MovingRestraintConfig(Section):
    """V = kappa (s - at)^2 / 2, `at` and kappa (eV per CV unit squared) given at `steps`, linear in between."""

    variable: str
    steps: tuple[NonNegativeInt, ...] = Field(min_length=1)
    at: tuple[Number, ...]
    kappa_eV: tuple[float, ...]
    side: Literal["both", "above", "below"] = "both"

    @model_validator(mode="after")
    def _same_length(self) -> "MovingRestraintConfig":
        if not len(self.steps) == len(self.at) == len(self.kappa_eV):
            raise ValueError(
                f"steps, at and kappa_eV need one value each per step, got {len(self.steps)}, {len(self.at)} and "
                f"{len(self.kappa_eV)}"
            )
        if any(a >= b for a, b in pairwise(self.steps)):
            raise ValueError("steps must increase")
        return self


class WalkersConfig(Section):
    """Runs that share their bias: run `id` of `count` writes `directory`/HILLS.id and reads the files of the others.

    With OPES the files are KERNELS.id.
    """

    id: NonNegativeInt
    count: PositiveInt
    directory: OutputPath
    read_stride_steps: PositiveInt = 1

    @field_validator("directory")
    @classmethod
    def _is_no_file(cls, directory: Path) -> Path:
        if wrong := why_no_folder(directory):
            raise ValueError(f"{wrong}; name a folder (a missing one is created)")
        return directory

    @model_validator(mode="after")
    def _in_range(self) -> "WalkersConfig":
        if self.id >= self.count:
            raise ValueError(
                f"walkers are numbered from 0 to count - 1 = {self.count - 1}, there is no walker {self.id}"
            )
        return self


class MetadynamicsConfig(Section):
    """`[bias] engine = "metadynamics"`, or "opes": kernels, or the free energies of temperatures, instead of hills.

    time_step_fs: time step of the simulation, for the time column (ps) of the files. file_energy_unit: of HILLS and
    COLVAR; kJ/mol is PLUMED's. clock_file: keeps the number of the current step between runs.
    """

    engine: Literal["metadynamics", "opes"] = "metadynamics"
    time_step_fs: PositiveFloat
    variables: tuple[BiasVariableConfig, ...] = Field(min_length=1)
    hills: HillsConfig | None = None
    opes: OpesConfig | None = None
    multithermal: MultithermalConfig | None = None
    walls: tuple[WallConfig, ...] = ()
    restraints: tuple[RestraintConfig, ...] = ()
    moving_restraints: tuple[MovingRestraintConfig, ...] = ()
    walkers: WalkersConfig | None = None
    file_energy_unit: EnergyUnit = "kJ/mol"
    clock_file: OutputPath = Field(default=Path("BIAS.clock"), validate_default=True)
    colvar_file: OutputPath | None = Field(default=Path("COLVAR"), validate_default=True)
    colvar_stride_steps: PositiveInt = 1

    @model_validator(mode="after")
    def _complete(self) -> "MetadynamicsConfig":
        names = [variable.name for variable in self.variables]
        if len(set(names)) < len(names):
            raise ValueError(f"variables need different names, got {', '.join(names)}")
        parts: tuple[WallConfig | RestraintConfig | MovingRestraintConfig, ...]
        parts = (*self.walls, *self.restraints, *self.moving_restraints)
        for part in parts:
            if part.variable not in names:
                raise ValueError(f"there is no variable {part.variable}; the bias has {', '.join(names)}")
        if (self.engine == "opes") != bool(self.opes or self.multithermal):
            raise ValueError('engine = "opes" goes with the table opes or multithermal: give both, or neither')
        if sum(section is not None for section in (self.hills, self.opes, self.multithermal)) > 1:
            raise ValueError("a bias has one of hills, opes and multithermal; leave the others out")
        if self.opes:
            self._check_opes(self.opes)
        if self.multithermal:
            self.multithermal.check(self._biased, self.walkers is not None)
        if not (self.growing or self.walls or self.restraints or self.moving_restraints):
            raise ValueError("nothing acts: give hills, walls, restraints or moving_restraints")
        if self.walkers and not self.growing:
            raise ValueError("walkers share hills or kernels: give hills, or opes")
        if self.hills:
            self._check_hills(self.hills)
        self._check_files()
        return self

    def _check_files(self) -> None:
        """`ValueError` if two of the files that are written are one."""
        keys: dict[Path, str] = {}
        for key, file in (
            ("clock_file", self._own(self.clock_file)),
            ("colvar_file", self.colvar_file and self._own(self.colvar_file)),
            ("file of the hills or kernels", self.growing and self._hills_files[0]),
            ("state_file", self.opes and self.opes.state_file),
        ):
            if file and (other := keys.setdefault(file.resolve(), key)) != key:
                raise ValueError(f"{other} and {key} are both {file.name}; give each a name of its own")

    def _check_opes(self, opes: OpesConfig) -> None:
        """`ValueError` if something else is incompatible with it."""
        if self.walkers and not all(variable.sigma for variable in self._biased):
            raise ValueError("walkers cannot measure widths together: give sigma of each variable that has kernels")
        opes.check(self._biased)

    def _check_hills(self, hills: HillsConfig) -> None:
        """`ValueError` if the variables do not suit these hills."""
        biased = self._biased
        if not 1 <= len(biased) <= 3:
            raise ValueError(
                f"hills are put on one to three variables, not on {len(biased)}; say hills = false of others"
            )
        for variable in biased:
            if variable.sigma is None:
                raise ValueError(f"hills need a width: give sigma of {variable.name}")
            if variable.sigma_min:
                raise ValueError(f"hills do not shrink: leave out sigma_min of {variable.name}")
            if variable.range and variable.sigma > (span := variable.range[1] - variable.range[0]) / 2:
                raise ValueError(
                    f"sigma of {variable.name}, {variable.sigma:g}, is more than half of its range, {span:g}: such "
                    "hills lift all of it alike; give a smaller one"
                )
        if hills.grid == "none":
            return
        axes = [variable.axis() for variable in biased]
        for variable, axis in zip(biased, axes, strict=True):
            spacing = (axis.upper - axis.lower) / axis.bins
            if variable.bins and variable.sigma and spacing > variable.sigma:
                raise ValueError(
                    f"bins of {variable.name}: nodes {spacing:.3g} apart cannot represent hills of width "
                    f"{variable.sigma:g}; give more, or leave it out (intervals of sigma/5)"
                )
        if wrong := why_too_large([axis.bins + 1 for axis in axes]):
            bins = " x ".join(f"{axis.bins} ({variable.name})" for axis, variable in zip(axes, biased, strict=True))
            raise ValueError(
                f'the grid has {bins} intervals: {wrong}; give fewer bins (left out: sigma/5 each), or grid = "none"'
            )

    @property
    def _biased(self) -> list[BiasVariableConfig]:
        """The variables that have hills."""
        return [variable for variable in self.variables if variable.hills]

    @property
    def growing(self) -> HillsConfig | OpesConfig | MultithermalConfig | None:
        """What grows as the simulation goes on."""
        return self.hills or self.opes or self.multithermal

    def _own(self, file: Path) -> Path:
        """The name of a file that every walker has of its own."""
        return file.with_name(f"{file.name}.{self.walkers.id}") if self.walkers else file

    @property
    def _hills_files(self) -> tuple[Path, list[Path]]:
        """HILLS or KERNELS of this run, and those of the other walkers."""
        file = self.growing.file if self.growing else Path()
        if self.walkers is None:
            return file, []
        files = [self.walkers.directory / f"{file.name}.{k}" for k in range(self.walkers.count)]
        return files.pop(self.walkers.id), files

    @property
    def clock(self) -> Path:
        """The file of its last steps."""
        return self._own(self.clock_file)

    @property
    def kept_in(self) -> KeptIn:
        """Where its settings are kept: beside the clock; those of walkers are in the folder that they share."""
        if self.walkers is None:
            return KeptIn(beside(self.clock))
        own, others = self._hills_files
        return KeptIn(of_walker(own), others)

    def names(self) -> list[str]:
        """The outputs on which the bias acts, or that it writes to COLVAR."""
        return [variable.name for variable in self.variables]

    def settings(self) -> Settings:
        """What is compared when the bias goes on."""
        content = self.model_dump()
        content["variables"] = {variable.name: variable.model_dump(exclude={"name"}) for variable in self.variables}
        return Settings(flat(content), dict(FIXED))

    def check_files(self) -> None:
        """`InputError` if a file cannot be written where the configuration wants it."""
        if self.hills and not self.walkers:
            check_file(self.hills.file, "hills.file")
        if self.opes and not self.walkers:
            check_file(self.opes.file, "opes.file")
        if self.multithermal:
            check_file(self.multithermal.file, "multithermal.file")
        if self.opes and self.opes.state_file:
            check_file(self._own(self.opes.state_file), "opes.state_file")
        check_file(self.clock, "clock_file")
        if self.colvar_file:
            check_file(self._own(self.colvar_file), "colvar_file")

    def begun(self) -> str:
        """What the bias would go on from ("is at step 7 ..."); empty if it has had no more than one configuration."""
        clock, (file, _) = self.clock, self._hills_files
        found = []
        if self.growing and file.exists() and (count := len(FieldsReader(file).read())):
            noun = "hill" if self.hills else "kernel" if self.opes else "estimate"
            found.append(f"has {count} {noun}{'s' * (count != 1)} in {file}")
        if (step := last_step(clock)) > 0:
            found.append(f"is at step {step} in {clock}")
        return " and ".join(found)

    def check_start(self, values: dict[str, float]) -> None:
        """`InputError` if a variable starts off the grid: the bias would fail at the first step."""
        if self.hills is None or self.hills.grid != "fixed":
            return
        for v in self._biased:
            if v.range and not v.domain and not v.range[0] <= values[v.name] <= v.range[1]:
                raise InputError(
                    f"bias: {v.name} = {values[v.name]:g} in the structure file is off the grid, [{v.range[0]:g}, "
                    f'{v.range[1]:g}]; change lower and upper, or let the grid grow (grid = "grow" of the hills)'
                )

    def build(self) -> BiasEngine:
        """The bias, with its files open and their content read."""
        time_step_ps = self.time_step_fs / 1000
        total = self.total()
        journal = self._journal(total, time_step_ps)
        try:
            return BiasEngine(
                total,
                journal,
                time_step_ps,
                self.colvar_stride_steps,
                self.file_energy_unit,
                self.walkers.read_stride_steps if self.walkers else 1,
            )
        except BaseException:
            journal.close()
            raise

    def total(self) -> TotalBias:
        """The bias as a function of variables and time, without any file."""
        coordinates = {variable.name: variable.coordinate() for variable in self.variables}
        biased = [coordinates[v.name] for v in self._biased]
        growing: GrowingHills | Opes | Multithermal | None = None
        if self.hills:
            growing = self._metadynamics(self.hills, biased)
        elif self.opes:
            growing = self.opes.build(self._biased, biased)
        elif self.multithermal:
            growing = self.multithermal.build(biased[0])
        return TotalBias(
            list(coordinates.values()),
            growing,
            [
                Wall(coordinates[w.variable], w.side, w.at, w.kappa_eV, w.exponent, w.epsilon, w.offset)
                for w in self.walls
            ],
            [Restraint(coordinates[r.variable], r.at, r.kappa_eV, r.slope_eV) for r in self.restraints],
            [
                MovingRestraint(coordinates[m.variable], m.steps, m.at, m.kappa_eV, m.side)
                for m in self.moving_restraints
            ],
        )

    def _metadynamics(self, hills: HillsConfig, coordinates: list[Coordinate]) -> GrowingHills:
        if hills.grid == "none":
            total: HillSum | HillGrid = HillSum(coordinates)
            if self.colvar_file:
                log.info(
                    'grid = "none": %s has no columns metad.rct and metad.rbias: the reweighting factor c(t) is an '
                    'integral over the grid; `forceserver fes` computes it from HILLS, or choose grid = "grow"',
                    self._own(self.colvar_file).name,  # `check` builds the bias in a folder that it removes
                )
        else:
            total = HillGrid(coordinates, [v.axis() for v in self._biased], grow=hills.grid == "grow")
        return GrowingHills(
            total,
            coordinates,
            [v.sigma for v in self._biased if v.sigma],
            hills.height_eV,
            hills.pace_steps,
            hills.temperature_K,
            hills.bias_factor,
            self.file_energy_unit,
            hills.rct_stride_hills,
        )

    def _journal(self, total: TotalBias, time_step_ps: float) -> Journal:
        d, moving = len(self.variables), len(self.moving_restraints)
        fields = [("values", "f8", (d,)), ("hills", "i8"), ("work", "f8", (moving,))]
        clock = self.clock
        with contextlib.ExitStack() as stack:
            hills = colvar = state = None
            if (growing := total.growing) and growing.memory_size:
                fields.append(("memory", "f8", (growing.memory_size,)))
            if growing:
                if self.walkers:
                    make_folder(self.walkers.directory, "walkers.directory")
                file, others = self._hills_files
                if clock.exists() and not file.exists():
                    with contextlib.closing(RecentSteps(clock, fields)) as before:
                        check_none_removed(file, before, growing.noun)
                hills = DepositFile(file, growing, time_step_ps, total.biased.tolist(), others)
                stack.callback(hills.close)
            steps = RecentSteps(clock, fields)
            stack.callback(steps.close)
            if self.opes and self.opes.state_file and hills and isinstance(growing, Opes):
                stride = self.opes.state_stride
                state = StateFile(self._own(self.opes.state_file), growing, steps, hills, stride, time_step_ps)
            if self.colvar_file:
                columns = ["time", *total.names, *total.terms]
                remark = Remark(self.file_energy_unit, self.growing.temperature_K) if self.growing else None
                constants = domain_constants(total.coordinates)
                colvar = ColvarFile(self._own(self.colvar_file), columns, constants, time_step_ps, remark)
            stack.pop_all()
        return Journal(steps, hills, colvar, [state] if state else [])
