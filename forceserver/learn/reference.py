"""The calculations of the reference, each on disk before the next: one after the other, or one for each client."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FAILURES, InputError, PotentialError, described
from ..files import write_json
from ..fit.labels import Labels
from ..fit.progress import Progress
from ..frame import Frame, Result
from ..launch.display import tell
from ..potentials import PotentialConfig
from ..potentials.base import Potential
from ..results import check_count, check_results
from . import rounds
from .rounds import Round
from .start import with_labels

if TYPE_CHECKING:
    from ase import Atoms

IN_A_ROW = 3
"""Failures after which it is the reference that is wrong, not a structure."""


class Reference:
    """A reference, made anew for each composition: a DFT code behind a socket knows only its own."""

    def __init__(self, config: PotentialConfig) -> None:
        self._config = config
        self._made: Potential | None = None
        self._for: bytes | None = None

    @property
    def at_once(self) -> int:
        """How many structures it computes side by side: the clients of a socket, which know one composition only."""
        return int(getattr(self._config, "clients", 1))

    def compute(self, structures: Sequence["Atoms"]) -> list[Result]:
        """Results of structures of one composition; any exception of the potential, `PotentialError` for infinities."""
        frames = [Frame.from_ase(atoms) for atoms in structures]
        results = self.made_for(frames[0]).compute(frames)
        check_count(results, len(frames))
        check_results(results, len(frames[0]))
        return results

    def made_for(self, frame: Frame) -> Potential:
        """The potential for structures of these species; `InputError` if it cannot be made."""
        key = frame.species.tobytes() + frame.pbc.tobytes()
        if self._made is None or key != self._for:
            self.close()
            self._made, self._for = self._config.build(frame), key
        return self._made

    def close(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            made.close()


def label(one: Round, earlier: Sequence[Round], config: PotentialConfig, progress: Progress) -> None:
    """Computes what is selected and not yet done. A structure that fails is set aside.

    Raises:
        PotentialError: `IN_A_ROW` calculations in a row have failed; the next call tries those of this round again.
        InputError: the reference cannot be made.
    """
    selected = rounds.read(one.selected)
    left = [k for k in range(len(selected)) if not (one.result(k).exists() or one.failure(k).exists())]
    if not left:
        return
    tell(f"round {one.number}: {len(left)} calculations of the reference")
    one.references.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Reference(config)) as reference:
        batches = [left[k : k + reference.at_once] for k in range(0, len(left), reference.at_once)]
        for some in progress(batches, f"round {one.number}: reference", len(batches)):
            _compute(one, {k: selected[k] for k in some}, reference)
            _stop_if_hopeless([*earlier, one])


def _compute(one: Round, structures: Mapping[int, "Atoms"], reference: Reference) -> None:
    try:
        results = reference.compute(list(structures.values()))
    except InputError:  # no structure is to blame
        raise
    except FAILURES as error:  # ASE's calculators raise anything
        reference.close()  # what has failed may be in any state
        if len(structures) > 1:  # which of them it was is not known
            for index, atoms in structures.items():
                _compute(one, {index: atoms}, reference)
            return
        (index,) = structures
        write_json(one.failure(index), {"structure": index, "error": described(error, PotentialError)})
        return
    for (index, atoms), result in zip(structures.items(), results, strict=True):
        virial = result.virial if result.virial.any() else None  # a program without stresses sends zeros
        labels = Labels(result.energy, result.forces, virial)
        rounds.write(one.result(index), [with_labels(atoms, labels)])


def _stop_if_hopeless(all_rounds: Sequence[Round]) -> None:
    streak: list[Path] = []
    for path in _outcomes(all_rounds):
        streak = [*streak, path] if path.suffix == ".json" else []
    if len(streak) < IN_A_ROW:
        return
    error: Any = rounds.read_json(streak[-1])["error"]
    for path in streak:
        if path.parent == all_rounds[-1].references:
            path.unlink()
    raise PotentialError(
        f"the reference has failed {len(streak)} times in a row, the last time with: {error}; nothing is lost, the "
        "same command tries these structures again"
    )


def _outcomes(all_rounds: Sequence[Round]) -> Iterator[Path]:
    """Results and failures in their order."""
    for one in all_rounds:
        yield from sorted(one.references.glob("[0-9]*"), key=lambda path: path.name)
