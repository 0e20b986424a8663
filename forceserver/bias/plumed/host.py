"""PLUMED, hosted: the user's plumed.dat acts on configurations through the PLUMED kernel.

Every output of every collective variable is offered as EXTRACV NAME=variable_output. PLUMED computes the bias and the
generalised force on each of them; contracted with the gradients and strain derivatives of the variables, these become
forces on atoms and a virial. PLUMED's own variables act on atoms directly.

The clock ticks once per new configuration: for each, PLUMED calculates and then updates (adds hills, prints). A
configuration that is requested twice in a row gets the same answer. The lengths of PLUMED's files are recorded after
every step (files.py). A start cuts off the excess, which is the update of an unanswered step; so does a configuration
that is repeated after a restart, or is from some steps ago, once PLUMED is back at the step before it.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from ...cv import Variable
from ...errors import BiasError, ForceServerError, InputError
from ...frame import Frame, Result
from ...potentials.base import Potential
from ...turns import in_turn
from ..journal import Arrival, Journal, RecentSteps, fingerprint_of
from ..outputs import Output, add_forces, offered, values_of
from .actions import check_actions, forgotten
from .config import PlumedConfig
from .files import FIELDS, PlumedFiles, files_written, warnings_in
from .input import Action, keyword, read_actions
from .kernel import one_line
from .session import Session, extra_cv_force_unit, start_session
from .written_files import make_folders, rewritten_files, written_files

log = logging.getLogger(__name__)


class PlumedBias(Potential):
    """The bias of a plumed.dat as a potential.

    Raises `InputError` if there is no kernel, PLUMED refuses its input (its own message is passed on), or an EXTRACV
    has a name that no variable offers.
    """

    def __init__(
        self, config: PlumedConfig, variables: Mapping[str, Variable], template: Frame, kernel: str | None
    ) -> None:
        actions = read_actions(config.plumed_dat)
        has_charges = any(config.charges_e.values())
        check_actions(actions, config.plumed_dat, has_charges, is_periodic=bool(template.pbc.any()))
        if lost := forgotten(actions):
            log.warning("after a restart, PLUMED starts afresh what none of its files holds: %s", ", ".join(lost))
        self._outputs = _extra_cvs(actions, variables, config.plumed_dat)
        self._variables = {name: variable.copy() for name, variable in variables.items()}
        self._offered = offered(variables)
        self._species = template.species
        self._force_unit = extra_cv_force_unit(actions, kernel)
        self._masses = atomic_masses[template.species] if template.masses is None else template.masses
        charges = {atomic_numbers[symbol]: charge for symbol, charge in config.charges_e.items()}
        self._charges = np.array([charges.get(number, 0.0) for number in template.species.tolist()])
        self._config, self._kernel = config, kernel
        make_folders(actions)
        is_new, before = not config.state_file.exists(), files_written()
        steps = RecentSteps(config.state_file, FIELDS, f"{len(template)} atoms")
        self._files = PlumedFiles(steps, config.state_file.parent, rewritten_files(actions))
        is_shared = any(keyword(action, "WALKERS_N") for action in actions)
        self._journal = Journal(steps, files=[self._files], is_shared=is_shared)
        self._last: tuple[Frame, Result] | None = None
        self._plumed: Session | None = None
        try:
            self._files.lock(map(Path, written_files(actions)))
            self._start()
        except InputError:
            written = files_written() - before
            self.close()
            if is_new:
                config.state_file.unlink()
                for file in written:
                    if file.exists() and file.stat().st_size == 0:
                        file.unlink()
            raise

    @in_turn
    def compute_one(self, frame: Frame) -> Result:
        """The bias, its forces and virial; extras: every output of every variable, and `bias_eV`.

        Raises `BiasError` with PLUMED's message if it cannot compute the frame, `CVError` if a variable cannot.
        """
        self._journal.check_process()
        if self._last and _same(self._last[0], frame):
            return self._last[1]
        frame = replace(frame, positions=frame.positions.copy(), cell=frame.cell.copy())
        journal, fingerprint = self._journal, fingerprint_of(frame)
        arrival = journal.begin(fingerprint)
        has_gone_back = arrival is Arrival.BACK or (arrival is Arrival.SAME and journal.take_back())
        plumed = self._start() if has_gone_back or self._plumed is None else self._plumed
        step = journal.step + 1
        try:
            if self._is_restarted:
                self._repeat_last_step(plumed, frame)
            result = self._calculate(plumed, frame, step)
            plumed.cmd("update")
            if not self._has_told_warnings:
                self._tell_warnings()
        except ForceServerError:
            raise
        except Exception as error:  # of various types, depending on what was thrown inside PLUMED
            self._stop()
            raise BiasError(f"PLUMED at step {step}: {one_line(error)}") from error
        journal.commit(fingerprint)
        self._last = frame, result
        return result

    def begin_connection(self) -> None:
        self._journal.begin_connection()

    def close(self) -> None:
        self._stop()
        self._journal.close()

    def _start(self) -> Session:
        """Starts PLUMED at the step of the clock, with its files as they were then."""
        self._stop()
        config = self._config
        self._journal.replay()
        if config.log_file.exists():  # PLUMED would keep a copy of each, and refuse to start after the 100th
            config.log_file.replace(config.log_file.with_name(f"{config.log_file.name}.old"))
        self._is_restarted, self._has_told_warnings = self._journal.step >= 0, False
        before = files_written()
        self._plumed = plumed = start_session(self._kernel, len(self._species), config, self._is_restarted)
        before |= {config.log_file.absolute()}
        self._fill(plumed, config.plumed_dat)
        written = files_written() - before
        self._files.add(written, config.plumed_dat)
        self._files.lock(written)
        return plumed

    def _tell_warnings(self) -> None:
        """Says what PLUMED warns of in its log, which it flushes with the first update."""
        self._has_told_warnings = True
        for warning in warnings_in(self._config.log_file):
            log.warning("PLUMED: %s", warning)

    def _empty_files(self) -> str:
        """A hint about a failed restart: OPES cannot be restarted before its first kernel."""
        if not (self._is_restarted and (empty := self._files.empty())):
            return ""
        return (
            f"; {', '.join(empty)} is empty: if PLUMED cannot restart from that, there is no bias yet that could be "
            f"lost, so move {self._config.state_file} away to start afresh"
        )

    def _repeat_last_step(self, plumed: Session, frame: Frame) -> None:
        """Runs a step without effects: METAD and its relatives add no hill in the first step after a start."""
        with self._files.unchanged():
            self._calculate(plumed, frame, self._journal.step)
            plumed.cmd("update")
        self._is_restarted = False

    def _stop(self) -> None:
        if self._plumed is not None:
            self._plumed.finalize()
            self._plumed = self._last = None

    def _calculate(self, plumed: Session, frame: Frame, step: int) -> Result:
        box = np.where(frame.pbc[:, None], frame.cell, 0.0)
        forces, virial, bias = np.zeros((len(frame), 3)), np.zeros((3, 3)), np.zeros(1)
        self._pointers = frame, box, forces, virial  # PLUMED keeps pointers to them until `update` is over
        plumed.cmd("setStepLongLong", np.array([step], dtype=np.longlong))
        plumed.cmd("setPositions", frame.positions)
        plumed.cmd("setMasses", self._masses)
        plumed.cmd("setCharges", self._charges)
        plumed.cmd("setBox", box)
        plumed.cmd("setForces", forces)
        plumed.cmd("setVirial", virial)
        plumed.cmd("prepareDependencies")
        computed = {name: variable.compute(frame) for name, variable in self._variables.items()}
        values = {name: np.array([computed[cv].values[row]]) for name, (cv, row) in self._outputs.items()}
        on_outputs = {name: np.zeros(1) for name in values}
        for name, value in values.items():
            plumed.cmd(f"setExtraCV {name}", value)
            plumed.cmd(f"setExtraCVForce {name}", on_outputs[name])
        plumed.cmd("shareData")
        plumed.cmd("performCalcNoUpdate")
        plumed.cmd("getBias", bias)
        total = -virial  # PLUMED's is the derivative of the energy with respect to strain
        generalised = {output: self._force_unit * float(on_outputs[name][0]) for name, output in self._outputs.items()}
        add_forces(generalised, computed, forces, total)
        if not np.isfinite(bias[0] + forces.sum() + total.sum()):
            raise BiasError(f"PLUMED at step {step}: the bias is {bias[0]} eV, or a force of it is not finite")
        extras = values_of(self._offered, computed) | {"bias_eV": float(bias[0])}
        return Result(float(bias[0]), forces, 0.5 * (total + total.T), extras)

    def _fill(self, plumed: Session, path: Path) -> None:
        """Passes the input on and checks that it needs nothing that a bias lacks."""
        needed = np.zeros(1, dtype=np.intc)
        try:
            plumed.cmd("readInputLine", f"INCLUDE FILE={{{path}}}")
            plumed.cmd("readInputLine", "FLUSH STRIDE=1")
            plumed.cmd("setStepLongLong", np.array([max(self._journal.step, 0)], dtype=np.longlong))
            plumed.cmd("prepareDependencies")
            plumed.cmd("isEnergyNeeded", needed)
        except Exception as error:
            raise InputError(f"PLUMED refuses {path}: {one_line(error)}{self._empty_files()}") from error
        if needed[0]:
            raise InputError(
                f"{path} uses ENERGY, which is unknown to a bias beside the potential; EXTRACV NAME=potential_energy "
                "is the energy of [potential] in eV"
            )


def _extra_cvs(actions: list[Action], variables: Mapping[str, Variable], path: Path) -> dict[str, Output]:
    """The EXTRACVs of plumed.dat, by name."""
    known, wanted = offered(variables), {}
    for name in (keyword(action, "NAME") for action in actions if action[0] == "EXTRACV"):
        if name is None:
            raise InputError(f"{path}: EXTRACV without NAME; there are {', '.join(known) or 'none'}")
        if name not in known:  # PLUMED 2.10 would silently take it as zero
            raise InputError(f"{path}: no variable offers EXTRACV NAME={name}; there are {', '.join(known) or 'none'}")
        wanted[name] = known[name]
    return wanted


def _same(one: Frame, other: Frame) -> bool:
    return (
        one.positions[0, 0] == other.positions[0, 0]
        and np.array_equal(one.positions, other.positions)
        and np.array_equal(one.cell, other.cell)
    )
