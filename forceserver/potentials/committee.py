"""A committee: several potentials for the same system, whose mean is served and whose spread is an uncertainty.

The extras carry what i-PI's committee tools read, `<ffcommittee>` with `parse_json` and the re-weighting script:

    committee_pot (M,)            energies of the members
    committee_force (M, N, 3)     forces of the members
    committee_virial (M, 3, 3)    virials of the members

and, with sums over the members m that are divided by M - 1,

    committee_uncertainty         sqrt(sum_m (E_m - E)^2): i-PI's own measure
    committee_force_uncertainty   the largest over the atoms i of sqrt(sum_m |F_mi - F_i|^2)

all in eV and Angstrom here. i-PI reads atomic units; the wire codec converts these names.
"""

import contextlib
import fcntl
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from ..files import append
from ..frame import Frame, Result
from ..sections import ExtxyzOutput, Section
from .base import Potential, compute_all

if TYPE_CHECKING:
    from . import PotentialConfig

log = logging.getLogger(__name__)


class CommitteeConfig(Section):
    """`kind = "committee"`: the mean of the potentials in `members`.

    send: which results of the members go into the extras: "all", or "energies" for short messages.
    energy_threshold_ev, force_threshold_ev_per_angstrom: uncertainties (see above) above which a frame is reported in
        the log and saved; none by default.
    save_to: extxyz file to which such frames are appended, at most `max_saved` of them.
    """

    kind: Literal["committee"]
    members: list["PotentialConfig"] = Field(min_length=2)
    send: Literal["all", "energies"] = "all"
    energy_threshold_ev: float | None = Field(default=None, gt=0)
    force_threshold_ev_per_angstrom: float | None = Field(default=None, gt=0)
    save_to: ExtxyzOutput | None = None
    max_saved: int = Field(default=1000, ge=1)

    @model_validator(mode="after")
    def _saves_something(self) -> "CommitteeConfig":
        if self.save_to and self.energy_threshold_ev is None and self.force_threshold_ev_per_angstrom is None:
            raise ValueError("save_to needs energy_threshold_ev or force_threshold_ev_per_angstrom")
        return self

    def build(self, template: Frame) -> "CommitteePotential":
        """The potential; the errors are those of the members."""
        return CommitteePotential(
            [member.build(template) for member in self.members],
            send=self.send,
            energy_threshold=self.energy_threshold_ev or np.inf,
            force_threshold=self.force_threshold_ev_per_angstrom or np.inf,
            save_to=self.save_to,
            max_saved=self.max_saved,
            template=template,
        )


class CommitteePotential(Potential):
    """The mean of potentials; the arguments are those of `CommitteeConfig`. The extras of the members are not sent."""

    def __init__(
        self,
        members: Sequence[Potential],
        *,
        send: Literal["all", "energies"] = "all",
        energy_threshold: float = np.inf,
        force_threshold: float = np.inf,
        save_to: Path | None = None,
        max_saved: int = 1000,
        template: Frame | None = None,
    ) -> None:
        self._members = list(members)
        self._send = send
        self._energy_threshold = energy_threshold
        self._force_threshold = force_threshold
        self._save_to = save_to
        self._left_to_save = max_saved
        self._template = template

    def compute_one(self, frame: Frame) -> Result:
        return self.compute([frame])[0]

    def compute(self, frames: Sequence[Frame]) -> list[Result]:
        results = [mean_of(results) for results in compute_all(self._members, frames)]
        for frame, result in zip(frames, results, strict=True):
            self._watch(frame, result)
            if self._send == "energies":
                del result.extras["committee_force"], result.extras["committee_virial"]
        return results

    def close(self) -> None:
        for member in self._members:
            member.close()

    def _watch(self, frame: Frame, result: Result) -> None:
        if frame is self._template:  # computed at every start, and by `check`: no structure of a simulation
            return
        energy, force = (result.extras[name] for name in ("committee_uncertainty", "committee_force_uncertainty"))
        if energy < self._energy_threshold and force < self._force_threshold:
            return
        log.warning(
            "the committee is uncertain of structure %d of this driver (replica %d): %.4g eV, at most %.4g eV/Angstrom "
            "on an atom",
            frame.number,
            frame.replica,
            energy,
            force,
        )
        if self._save_to and self._left_to_save:
            self._save(self._save_to, frame, result)

    def _save(self, path: Path, frame: Frame, result: Result) -> None:
        """A frame that cannot be saved is told; the simulation is not to end for it."""
        try:
            append_frame(path, frame, result)
        except OSError as error:
            log.error("the frame is not saved: %s: %s", path, error.strerror)
            return
        self._left_to_save -= 1
        if not self._left_to_save:
            log.warning("%s is full: no further frames are saved", path)


def mean_of(results: Sequence[Result]) -> Result:
    """Mean of the members' results for one frame, with their committee extras."""
    energies, forces, virials = (
        np.array([getattr(result, name) for result in results]) for name in ("energy", "forces", "virial")
    )
    deviation = forces - forces.mean(axis=0)
    per_atom = np.sqrt((deviation**2).sum(axis=(0, 2)) / (len(results) - 1))
    return Result(
        energy=float(energies.mean()),
        forces=forces.mean(axis=0),
        virial=virials.mean(axis=0),
        extras={
            "committee_pot": energies,
            "committee_force": forces,
            "committee_virial": virials,
            "committee_uncertainty": float(energies.std(ddof=1)),
            "committee_force_uncertainty": float(per_atom.max()),
        },
    )


def within_sum(extras: dict[str, Any], weight: float, rest: Result) -> dict[str, Any]:
    """The extras of a sum in which the result that they came with has a weight, and `rest` is all else.

    Each member of a committee becomes a member with the rest added; other extras stay as they are.
    """
    shifts: dict[str, Any] = {
        "committee_pot": rest.energy,
        "committee_force": rest.forces,
        "committee_virial": rest.virial,
    }
    scaled = {name: shift + weight * np.asarray(extras[name]) for name, shift in shifts.items() if name in extras}
    for name in ("committee_uncertainty", "committee_force_uncertainty"):
        if name in extras:
            scaled[name] = abs(weight) * extras[name]
    return {**extras, **scaled}


def append_frame(path: Path, frame: Frame, result: Result) -> None:
    """Appends a frame with its mean energy and forces and its uncertainties to an extxyz file, whole or not at all."""
    import ase.io
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = frame.to_ase()
    atoms.calc = SinglePointCalculator(atoms, energy=result.energy, forces=result.forces)
    atoms.info |= {"replica": frame.replica, "number": frame.number}
    atoms.info |= {name: result.extras[name] for name in ("committee_uncertainty", "committee_force_uncertainty")}
    text = io.StringIO()
    ase.io.write(text, atoms, format="extxyz")
    with open(path, "ab", buffering=0) as file:
        with contextlib.suppress(OSError):  # some file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)  # other drivers append to it, too
        append(file.fileno(), path, text.getvalue().encode(), durable=True)
