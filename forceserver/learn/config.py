"""What `forceserver learn` reads."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ..fit.config import DataConfig, ModelConfig
from ..potentials import PotentialConfig
from ..sections import InputFile, OutputPath, Section, read_toml, validated

Kelvin = Annotated[float, Field(gt=0)]


class SimulationsConfig(Section):
    """One of [[simulations]]: dynamics as `init` sets them up, or inputs of one's own.

    structure: where it begins, the last one of a file. ensemble, pressure_GPa, timestep_fs, beads, steps: as the
        options of `init`. temperatures_K: one simulation for each.
    config: instead of these, a configuration that `launch` runs; its [potential] is replaced by the model of the round.
    files: what it needs beside its input and its structure.
    name: of its folder; default that of the file.
    resume: whether it goes on, in the next round, where a structure has stopped it; else it begins anew in each.
    tries: how often in a row it may be stopped at one place before it begins anew.
    """

    structure: InputFile | None = None
    ensemble: Literal["nve", "nvt", "npt"] = "nvt"
    temperatures_K: tuple[Kelvin, ...] = (300.0,)
    pressure_GPa: float = 0.0
    timestep_fs: float | None = Field(default=None, gt=0)
    beads: int = Field(default=1, ge=1)
    steps: int = Field(default=10_000, ge=10)
    config: InputFile | None = None
    files: tuple[InputFile, ...] = ()
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][\w.+-]*$")
    resume: bool = True
    tries: int = Field(default=3, ge=2)

    @model_validator(mode="after")
    def _one_of_two(self) -> "SimulationsConfig":
        if (self.structure is None) == (self.config is None):
            raise ValueError("give structure, where dynamics begin, or config, inputs of your own")
        if not self.temperatures_K:
            raise ValueError("temperatures_K: give at least one temperature")
        given = self.model_fields_set - {"config", "files", "name", "resume", "tries"}
        if self.config is not None and given:
            raise ValueError(f"config: its input says all; remove {', '.join(sorted(given))}")
        if self.config is None and self.files:
            raise ValueError("files: belong to inputs of your own (config)")
        return self


class UncertaintyConfig(Section):
    """Section [uncertainty]: when a simulation is stopped.

    force_ev_per_angstrom: the standard deviation of the force on an atom at which it is. None: from the errors of
        structures that were left out, see `threshold`.
    check_every: steps from one look at it to the next; members cost eight times the forces.
    """

    force_ev_per_angstrom: float | None = Field(default=None, gt=0)
    check_every: int = Field(default=5, ge=1)


class SelectionConfig(Section):
    """Section [selection]: what the reference computes after each round.

    per_round: structures at most of which the model is uncertain or which are far from all others.
    control: structures drawn at random from the simulations, whose errors tell what the model is worth. None: one of
        each simulation.
    records: structures of each simulation among which is chosen.
    duplicate_distance: the distance of power spectra (of length one) within which two environments are one.
    """

    per_round: int = Field(default=8, ge=1)
    control: int | None = Field(default=None, ge=1)
    records: int = Field(default=50, ge=2)
    duplicate_distance: float = Field(default=0.01, ge=0)


class TargetConfig(Section):
    """Section [target]: the root-mean-square error of a force component in what simulations meet at random."""

    force_ev_per_angstrom: float = Field(gt=0)


class BudgetConfig(Section):
    """Section [budget]: what is not exceeded.

    references: calculations, failed ones too. rounds: of simulations. patience: rounds without a smaller error or
    longer simulations, after which the target is given up.
    """

    references: int = Field(default=200, ge=1)
    rounds: int = Field(default=20, ge=1)
    patience: int = Field(default=5, ge=1)


class LearnConfig(Section):
    """On-the-fly learning.

    output: the model (.npz). folder: for everything else. data: as for `fit`; structures without labels are computed
    by the reference first. fit: the model, as for `fit`. reference: any potential. at_once: simulations side by side;
    None: one for two cores. seed: of random choices and velocities.
    """

    output: OutputPath
    folder: OutputPath = Field(default=Path("learn"), validate_default=True)
    data: DataConfig
    fit: ModelConfig = ModelConfig()
    simulations: list[SimulationsConfig] = Field(min_length=1)
    uncertainty: UncertaintyConfig = UncertaintyConfig()
    selection: SelectionConfig = SelectionConfig()
    reference: PotentialConfig
    target: TargetConfig | None = None
    budget: BudgetConfig = BudgetConfig()
    at_once: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    @field_validator("output")
    @classmethod
    def _is_npz(cls, path: Path) -> Path:
        if path.suffix != ".npz":
            raise ValueError("the name of a model ends in .npz")
        return path

    @field_validator("fit")
    @classmethod
    def _is_linear(cls, fit: ModelConfig) -> ModelConfig:
        if fit.embedding is not None:
            raise ValueError("embedding: a nonlinear model has no members, so it does not know what it does not know")
        return fit


def load(path: Path) -> LearnConfig:
    """Reads and validates a configuration; `InputError` names every problem in it."""
    path = Path(path)
    return validated(LearnConfig, read_toml(path), str(path), path.absolute().parent, written=True)
