"""The section `[bias] engine = "plumed"`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat

from ...sections import Element, InputFile, OutputPath, Section
from ..journal import last_step
from ..journal.disk import check_file


class PlumedConfig(Section):
    """`[bias] engine = "plumed"`. PLUMED reads and writes its files in the folder in which forceserver runs."""

    engine: Literal["plumed"] = "plumed"
    plumed_dat: InputFile = Field(description="PLUMED's input; variables are EXTRACV NAME=variable_output")
    time_step_fs: PositiveFloat = Field(description="of the simulation, for PLUMED's times")
    temperature_K: PositiveFloat | None = Field(default=None, description="what actions without TEMP take")
    charges_e: dict[Element, float] = Field(default={}, description="charges of species, for PLUMED's own variables")
    log_file: OutputPath = Path("plumed.log")
    state_file: OutputPath = Field(
        default=Path("PLUMED.state"), description="the last steps; if it exists, PLUMED restarts"
    )

    def check_files(self) -> None:
        """`InputError` if a file cannot be written where the configuration wants it."""
        check_file(self.log_file, "log_file")
        check_file(self.state_file, "state_file")

    def begun(self) -> str:
        """What the bias would go on from ("is at step 7 ..."); empty if it has had no more than one configuration."""
        step = last_step(self.state_file)
        return f"is at step {step} in {self.state_file}" if step > 0 else ""
