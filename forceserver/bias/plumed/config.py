"""The section `[bias] engine = "plumed"`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat

from ...sections import Element, InputFile, OutputPath, Section
from ..journal import last_step
from ..journal.disk import check_file
from ..kept_settings import KeptIn, Settings, beside, flat, of_walker
from .changed_input import SCALE_WITH_TEMPERATURE, as_lines
from .input import keyword, read_actions, read_input
from .written_files import walkers


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

    @property
    def kept_in(self) -> KeptIn:
        """Where its settings are kept: beside the state; those of walkers are in the folder that they share."""
        if walker := walkers(read_actions(self.plumed_dat)):
            own, others = walker
            return KeptIn(of_walker(own), others)
        return KeptIn(beside(self.state_file))

    def names(self) -> list[str]:
        """The outputs on which the bias acts; `InputError` if the input cannot be read."""
        extra_cvs = (action for action in read_actions(self.plumed_dat) if action[0] == "EXTRACV")
        return [name for action in extra_cvs if (name := keyword(action, "NAME"))]

    def settings(self) -> Settings:
        """What is compared when the bias goes on."""
        fixed, opes = {}, [action for action in read_actions(self.plumed_dat) if action[0] in SCALE_WITH_TEMPERATURE]
        if not all(keyword(action, "TEMP") for action in opes):
            fixed["temperature_K"] = "what OPES has learned is in units of k_B T"
        keys = self.model_dump(include={"time_step_fs", "temperature_K", "charges_e"})
        return Settings(flat(keys), fixed, plumed=as_lines(read_input(self.plumed_dat)))

    def begun(self) -> str:
        """What the bias would go on from ("is at step 7 ..."); empty if it has had no more than one configuration."""
        step = last_step(self.state_file)
        return f"is at step {step} in {self.state_file}" if step > 0 else ""
