"""PLUMED, hosted: the user's plumed.dat acts on configurations through the PLUMED kernel.

Every output of every collective variable is offered as EXTRACV NAME=variable_output. PLUMED computes the bias and says
with which force it pulls at each of them; contracted with the gradients and strain derivatives of the variables, these
become forces on atoms and a virial. PLUMED's own variables act on atoms directly.

The clock ticks once per new configuration: for each, PLUMED calculates and then updates (adds hills, prints). What is
asked for twice in a row gets the answer that it got before. After every step it is noted how long PLUMED's files are
(history.py). A start cuts off what is longer, the update of a step that was not answered; so does a configuration that
comes again after a restart, or of some steps ago, after PLUMED has been taken back to the step before it.
"""

import contextlib
import fcntl
import json
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

from ...cv import CollectiveVariable
from ...errors import BiasError, ForceServerError, InputError
from ...frame import Frame, Result
from ...potentials.base import Potential
from ..history import History, marks_of, undo
from ..outputs import Output, offered, pull_atoms, values_of
from .config import PlumedConfig
from .input import (
    check_actions,
    forgotten,
    keyword,
    make_folders,
    read_actions,
    rewritten_files,
)
from .kernel import text_of
from .session import extra_cv_force_unit, start_session

log = logging.getLogger(__name__)

MOST_FILES = 32
"""Files of PLUMED whose sizes are noted."""


class PlumedBias(Potential):
    """The bias of a plumed.dat as a potential.

    Raises `InputError` if there is no kernel, PLUMED refuses its input (its own message is passed on), or an EXTRACV
    has a name that no variable offers.
    """

    def __init__(
        self, section: PlumedConfig, variables: Mapping[str, CollectiveVariable], template: Frame, kernel: str | None
    ) -> None:
        actions = read_actions(section.plumed_dat)
        has_charges = any(section.charges_e.values())
        check_actions(actions, section.plumed_dat, has_charges, is_periodic=bool(template.pbc.any()))
        if lost := forgotten(actions):
            log.warning("PLUMED begins anew after a restart what no file of it holds: %s", ", ".join(lost))
        self._outputs = _extra_cvs(actions, variables, section.plumed_dat)
        self._variables = {name: variable.copy() for name, variable in variables.items()}
        self._offered = offered(variables)
        self._species = template.species
        self._force_unit = extra_cv_force_unit(actions, kernel)
        self._masses = atomic_masses[template.species] if template.masses is None else template.masses
        charges = {atomic_numbers[symbol]: charge for symbol, charge in section.charges_e.items()}
        self._charges = np.array([charges.get(number, 0.0) for number in template.species.tolist()])
        self._section, self._kernel = section, kernel
        self._is_shared = any(keyword(action, "WALKERS_N") for action in actions)
        self._rewritten = rewritten_files(actions)
        make_folders(actions)
        is_new, before = not section.state_file.exists(), _files_written()
        self._history = History(section.state_file, [("sizes", "i8", (MOST_FILES,))], f"{len(template)} atoms")
        self._last: tuple[Frame, Result] | None = None
        self._plumed = None
        self._files: list[Path] = []
        try:
            self._start()
        except InputError:
            written = _files_written() - before
            self.close()
            if is_new:
                section.state_file.unlink()
                for file in written:
                    if file.exists() and file.stat().st_size == 0:
                        file.unlink()
            raise

    def compute_one(self, frame: Frame) -> Result:
        """The bias, its forces and virial; extras: every output of every variable, and `bias_eV`.

        Raises `BiasError` with PLUMED's message if it cannot compute the frame, `CVError` if a variable cannot.
        """
        if self._last and _same(self._last[0], frame):
            return self._last[1]
        frame = replace(frame, positions=frame.positions.copy(), cell=frame.cell.copy())
        history, marks = self._history, marks_of(frame)
        again = history.recognise(marks)
        if again is not None and again < history.step and self._is_shared:
            log.warning("the engine went back to step %d; the hills since then remain, other walkers have them", again)
            history.begin_run()
        elif self._plumed is None or (again is not None and history.begin_return_before(again)):
            self._start()
        step = history.step + 1
        try:
            if self._is_restarted:
                self._repeat_last_step(frame)
            result = self._calculate(frame, step)
            self._plumed.cmd("update")
        except ForceServerError:
            raise
        except Exception as error:  # of many types, depending on what was thrown inside PLUMED
            self._stop()
            raise BiasError(f"PLUMED at step {step}: {text_of(error)}") from error
        history.tick(step, marks, sizes=self._sizes())
        self._last = frame, result
        return result

    def begin_connection(self) -> None:
        self._history.begin_connection()

    def close(self) -> None:
        self._stop()
        self._history.close()

    def _start(self) -> None:
        """Starts PLUMED where the history ends, or where it is to go back to, with its files as they were then."""
        self._stop()
        history, section = self._history, self._section
        step = history.step if history.returning is None else history.returning
        for place, name in enumerate(json.loads(history.note or "[]")):
            file = section.state_file.parent / name
            if file.resolve() in self._rewritten:
                continue
            if step >= 0:
                _cut(file, int(history.record(step)["sizes"][place]))
            elif file.exists():  # of a start without a step: PLUMED would keep a copy of it, and refuse after the 100th
                undo(file, 0)
                file.unlink()
        if section.log_file.exists():  # PLUMED would keep a copy of each, and refuse to start after the 100th
            section.log_file.replace(section.log_file.with_name(f"{section.log_file.name}.old"))
        if history.returning is not None:
            history.end_return()
        self._is_restarted = history.step >= 0
        before = _files_written()
        self._plumed = start_session(self._kernel, len(self._species), section, self._is_restarted)
        before |= {section.log_file.absolute()}
        self._fill(self._plumed, section.plumed_dat)
        self._note_files(_files_written() - before - self._rewritten)

    def _empty_files(self) -> str:
        """What may have been missing in a restart: OPES cannot be started again before its first kernel."""
        folder = self._section.state_file.parent
        names = [name for name in json.loads(self._history.note or "[]") if (folder / name).exists()]
        empty = [name for name in names if (folder / name).stat().st_size == 0]
        if not (self._is_restarted and empty):
            return ""
        return (
            f"; {', '.join(empty)} is empty: if PLUMED cannot restart from that, there is no bias yet that could be "
            f"lost, so move {self._section.state_file} away to begin anew"
        )

    def _repeat_last_step(self, frame: Frame) -> None:
        """METAD and its relatives add no hill in the first step after a start: this is one that leaves nothing."""
        sizes = self._sizes()
        self._calculate(frame, self._history.step)
        self._plumed.cmd("update")
        for file, before, after in zip(self._files, sizes, self._sizes(), strict=False):
            if 0 <= before < after:
                os.truncate(file, before)
        self._is_restarted = False

    def _stop(self) -> None:
        if self._plumed is not None:
            self._plumed.finalize()
            self._plumed = self._last = None

    def _note_files(self, files: set[Path]) -> None:
        """Keeps the names of PLUMED's files in the history, in the order of their sizes in its records."""
        folder = self._section.state_file.absolute().parent
        names = json.loads(self._history.note or "[]")
        names += sorted({os.path.relpath(file, folder) for file in files} - set(names))
        if len(names) > MOST_FILES:
            raise InputError(f"{self._section.plumed_dat} writes more than {MOST_FILES} files: {', '.join(names)}")
        self._history.note = json.dumps(names)
        self._files = [folder / name for name in names]

    def _sizes(self) -> NDArray[np.int64]:
        """How long PLUMED's files are; -1 where there is none."""
        sizes = np.full(MOST_FILES, -1)
        for place, file in enumerate(self._files):
            with contextlib.suppress(FileNotFoundError):
                sizes[place] = os.stat(file).st_size
        return sizes

    def _calculate(self, frame: Frame, step: int) -> Result:
        plumed = self._plumed
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
        pulls = {name: np.zeros(1) for name in values}
        for name, value in values.items():
            plumed.cmd(f"setExtraCV {name}", value)
            plumed.cmd(f"setExtraCVForce {name}", pulls[name])
        plumed.cmd("shareData")
        plumed.cmd("performCalcNoUpdate")
        plumed.cmd("getBias", bias)
        total = -virial  # PLUMED's is the derivative of the energy with respect to strain
        of_outputs = {output: self._force_unit * float(pulls[name][0]) for name, output in self._outputs.items()}
        pull_atoms(of_outputs, computed, forces, total)
        if not np.isfinite(bias[0] + forces.sum() + total.sum()):
            raise BiasError(f"PLUMED at step {step}: the bias is {bias[0]} eV, or a force of it is not finite")
        extras = values_of(self._offered, computed) | {"bias_eV": float(bias[0])}
        return Result(float(bias[0]), forces, 0.5 * (total + total.T), extras)

    def _fill(self, plumed, path: Path) -> None:
        """Passes the input and checks that it needs nothing that a bias does not have."""
        needed = np.zeros(1, dtype=np.intc)
        try:
            plumed.cmd("readInputLine", f"INCLUDE FILE={{{path}}}")
            plumed.cmd("readInputLine", "FLUSH STRIDE=1")
            plumed.cmd("setStepLongLong", np.array([max(self._history.step, 0)], dtype=np.longlong))
            plumed.cmd("prepareDependencies")
            plumed.cmd("isEnergyNeeded", needed)
        except Exception as error:
            raise InputError(f"PLUMED refuses {path}: {text_of(error)}{self._empty_files()}") from error
        if needed[0]:
            raise InputError(f"{path} uses ENERGY, which a bias does not know: it acts beside the potential")


def _extra_cvs(actions, variables: Mapping[str, CollectiveVariable], path: Path) -> dict[str, Output]:
    """What plumed.dat takes as EXTRACV, by name."""
    known = offered(variables)
    wanted = [keyword(action, "NAME") for action in actions if action[0] == "EXTRACV"]
    for name in wanted:
        if name is None:
            raise InputError(f"{path}: EXTRACV without NAME; there are {', '.join(known) or 'none'}")
        if name not in known:  # PLUMED 2.10 would silently take it to be zero
            raise InputError(f"{path}: no variable offers EXTRACV NAME={name}; there are {', '.join(known) or 'none'}")
    return {name: known[name] for name in wanted}


def _same(one: Frame, other: Frame) -> bool:
    return (
        one.positions[0, 0] == other.positions[0, 0]
        and np.array_equal(one.positions, other.positions)
        and np.array_equal(one.cell, other.cell)
    )


def _files_written() -> set[Path]:
    """The regular files that this process has open for writing."""
    found = set()
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            file = int(name)
            if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY and stat.S_ISREG(os.fstat(file).st_mode):
                if hasattr(fcntl, "F_GETPATH"):  # macOS
                    path = fcntl.fcntl(file, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0").decode()
                else:
                    path = os.readlink(f"/dev/fd/{name}")
                found.add(Path(path))
    return found


def _cut(file: Path, size: int) -> None:
    """Brings a file back to the size that it had; `InputError` if it is shorter, or gone."""
    if size < 0:
        return
    found = file.stat().st_size if file.exists() else 0
    if found < size:
        raise InputError(
            f"{file} had {size} bytes after the last step and has {found} now; bring it back, or remove the state file "
            "to start a new bias"
        )
    if found > size:
        undo(file, size)
