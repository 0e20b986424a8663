"""A potential as long as it can be trusted: a structure of which it is too uncertain ends the simulation.

The measure is `committee_force_uncertainty`, eV/Angstrom: the largest standard deviation of the force on an atom. The
structure is saved and `UntrustedError` raised, upon which a driver leaves and `launch` ends the simulation; nothing is
ever computed beyond it.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ..errors import InputError, UntrustedError
from ..frame import Frame, Result
from ..sections import ExtxyzOutput, Section
from ..turns import in_turn
from .base import Potential
from .committee import append_frame

if TYPE_CHECKING:
    from . import PotentialConfig

log = logging.getLogger(__name__)

MEASURE = "committee_force_uncertainty"


class TrustedConfig(Section):
    """`kind = "trusted"`: the potential in `potential`, whose extras have the uncertainty of its forces.

    force_threshold_ev_per_angstrom: the uncertainty of the force on an atom that ends the simulation.
    save_to: extxyz file to which the structure is appended that ends it.
    check_every: calls from one look at the uncertainty to the next, if the potential is cheaper without it.
    first_check: calls before the first look; 1 or more if the first structure is one that the potential has learned.
    record_to, record_every: extxyz file to which every so manieth structure is appended with its uncertainty; a
        multiple of check_every.
    """

    kind: Literal["trusted"]
    potential: "PotentialConfig"
    force_threshold_ev_per_angstrom: float = Field(gt=0)
    save_to: ExtxyzOutput
    check_every: int = Field(default=1, ge=1)
    first_check: int = Field(default=0, ge=0)
    record_to: ExtxyzOutput | None = None
    record_every: int = Field(default=100, ge=1)

    @model_validator(mode="after")
    def _records_what_it_looks_at(self) -> "TrustedConfig":
        if self.record_to is not None and self.record_every % self.check_every:
            raise ValueError(
                f"record_every = {self.record_every} must be a multiple of check_every = {self.check_every}"
            )
        return self

    def build(self, template: Frame) -> "TrustedPotential":
        """The potential; `InputError` if it gives no uncertainty of its forces, or cannot be made."""
        potential = self.potential.build(template)
        plain = None
        if self.check_every > 1 and getattr(self.potential, "uncertainty", False):
            plain = self.potential.model_copy(update={"uncertainty": False}).build(template)
        return TrustedPotential(
            potential,
            self.force_threshold_ev_per_angstrom,
            self.save_to,
            plain=plain,
            check_every=self.check_every,
            first_check=self.first_check,
            record_to=self.record_to,
            record_every=self.record_every,
            template=template,
        )


class TrustedPotential(Potential):
    """A potential and its uncertainty; the keys of `TrustedConfig` are arguments.

    plain: the same potential without an uncertainty, for the calls between two looks. template: the structure that is
    computed at every start, which is neither counted nor recorded.
    """

    def __init__(
        self,
        potential: Potential,
        threshold: float,
        save_to: Path,
        *,
        plain: Potential | None = None,
        check_every: int = 1,
        first_check: int = 0,
        record_to: Path | None = None,
        record_every: int = 100,
        template: Frame | None = None,
    ) -> None:
        self._potential, self._plain = potential, plain or potential
        self._threshold, self._save_to = threshold, save_to
        self._check_every, self._record_to, self._record_every = check_every, record_to, record_every
        self._first_check = first_check
        self._template = template
        self._calls = 0

    @in_turn
    def compute_one(self, frame: Frame) -> Result:
        """Computes one frame.

        Args:
            frame: the structure.

        Returns:
            What the potential gives.

        Raises:
            UntrustedError: its uncertainty reaches the threshold.
            InputError: the potential gives no uncertainty of forces.
        """
        return self.compute([frame])[0]

    @in_turn
    def compute(self, frames: Sequence[Frame]) -> list[Result]:
        """The frames together, errors as in `compute_one`."""
        if frames[0] is self._template:
            results = self._potential.compute(frames)
            _uncertainty(results[0])
            return results
        call, self._calls = self._calls, self._calls + 1
        if call < self._first_check or call % self._check_every:
            return self._plain.compute(frames)
        results = self._potential.compute(frames)
        for frame, result in zip(frames, results, strict=True):
            self._look(frame, result)
            if self._record_to is not None and call and call % self._record_every == 0:
                append_frame(self._record_to, frame, result)
        return results

    def close(self) -> None:
        self._potential.close()
        self._plain.close()

    def _look(self, frame: Frame, result: Result) -> None:
        uncertainty = _uncertainty(result)
        if uncertainty < self._threshold:
            return
        append_frame(self._save_to, frame, result)
        raise UntrustedError(
            f"the force on an atom is uncertain by {uncertainty:.3g} eV/Angstrom (structure {frame.number} of this "
            f"driver, replica {frame.replica}), of at most {self._threshold:.3g} (force_threshold_ev_per_angstrom): "
            f"the simulation ends here; the structure is in {self._save_to}"
        )


def _uncertainty(result: Result) -> float:
    """eV/Angstrom; `InputError` if there is none."""
    if MEASURE not in result.extras:
        raise InputError(
            'kind = "trusted": its potential gives no uncertainty of its forces: give it uncertainty = "forces" (gap, '
            "ace), or take a committee"
        )
    return float(result.extras[MEASURE])
