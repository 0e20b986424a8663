"""Any network that torch-sim's `ModelInterface` wraps: a batch of structures is one call of the model.

torch-sim has such classes for MACE, SevenNet, Orb, MatterSim, NequIP, fairchem, metatomic and its own models. The
state that it passes to them is made once for each composition of a batch; a step replaces positions and cells. Models
that take a function for their neighbour lists (`neighbor_list_fn`) get kept lists while they run on the processor.
"""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ..errors import InputError, PotentialError
from ..frame import Array, Frame, Result
from ..representation.neighbours import complete_cell
from ..sections import Section
from .dotted import call, find_callable, parameters_of
from .graphs import Graphs
from .outputs import extras_of
from .portions import BatchedPotential
from .torch_device import Precision, dtype_of, find_device, to_device, to_numpy

log = logging.getLogger(__name__)

EXAMPLE = "torch_sim.models.mace.MaceModel"
SYSTEM_INPUTS = ("charge", "spin")
"""What some models read of a state beside its atoms: total charge and spin multiplicity, as in ASE's `info`."""
MARGIN = 100.0
"""Empty space along directions without periodicity, Angstrom: models that ignore it see no images."""


class TorchSimConfig(Section):
    """`kind = "torchsim"`: a network behind torch-sim's interface of models.

    model: dotted path of a class of models of torch-sim, or of a function that returns such a model.
    arguments: keyword arguments of the class or function.
    device: "cpu", "cuda", ...; passed to the class as its argument `device`. By default the class chooses.
    precision: passed to the class as its argument `dtype`. By default the class chooses.
    stress: source of the virial of a periodic system. "analytic": the model's stress. "zero": no virial, for
        simulations at constant volume only.
    extras: names of further outputs of the model to send, such as "dipole" or "BEC".
    """

    kind: Literal["torchsim"]
    model: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    device: str | None = None
    precision: Precision | None = None
    stress: Literal["analytic", "zero"] = "analytic"
    extras: list[str] = Field(default_factory=list)

    def build(self, template: Frame) -> "TorchSimPotential":
        """The potential; `InputError` if torch-sim, the model or the device is not there, or it has no stress."""
        _check_installed()
        factory = find_callable(self.model, "model", EXAMPLE)
        arguments = dict(self.arguments)
        if self.device is not None:
            arguments["device"] = find_device(self.device)
        if self.precision is not None:
            arguments["dtype"] = dtype_of(self.precision)
        if self.stress == "analytic" and template.pbc.any() and "compute_stress" in parameters_of(factory):
            arguments.setdefault("compute_stress", True)
        model = call(factory, arguments, f"model {self.model}")
        for name in ("forward", "device", "dtype"):
            if not hasattr(model, name):
                made = type(model).__name__
                raise InputError(f"model = {self.model!r} gives a {made}, no model of torch-sim: it has no {name!r}")
        if self.stress == "analytic" and template.pbc.any() and not _turn_on_stress(model):
            raise InputError(
                f"the model {self.model} has no stress: set compute_stress in its arguments if it can, or "
                'stress = "zero" for simulations at constant volume'
            )
        return TorchSimPotential(model, stress=self.stress, extras=self.extras)


def _check_installed() -> None:
    try:
        import torch_sim  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"kind = 'torchsim': {error}: pip install torch-sim-atomistic (with Python 3.12 or newer); MACE models run "
            "without it as kind = 'mace'"
        ) from error


def _turn_on_stress(model: Any) -> bool:
    """Whether the model computes stresses; it is told to if it does not yet."""
    if not getattr(model, "compute_stress", False):
        try:
            model.compute_stress = True
        except (NotImplementedError, AttributeError):
            return False
    return True


class TorchSimPotential(BatchedPotential):
    """A model of torch-sim as a potential.

    The virial is minus the stress times the volume; of a system without periodicity it is sum_i r_i (x) f_i. Outputs
    `energy_ensemble` (S, M), if there are any, are sent as `committee_pot` with their standard deviation as
    `committee_uncertainty`.

    Args:
        model: any object that torch-sim's `ModelInterface` describes.
        stress: source of the virial of a periodic system: "analytic", the model's, or "zero".
        extras: names of further outputs to send.
    """

    def __init__(
        self, model: Any, *, stress: Literal["analytic", "zero"] = "analytic", extras: Sequence[str] = ()
    ) -> None:
        self._model, self._stress, self._extras = model, stress, list(extras)
        self._device, self._dtype = model.device, model.dtype
        super().__init__(str(self._device))
        self._asked: set[str] = set()
        """Those of `SYSTEM_INPUTS` that the model has looked for in vain."""
        self._watches = True
        self._lists = _keep_lists(model)
        if stress == "zero":
            log.warning("virials are zero: pressures will be wrong, the volume must not change")

    def _compute(self, frames: Sequence[Frame], place: int) -> list[Result]:
        if self._lists is not None:
            self._lists.place = place
        state = self._constants_of(frames)
        cells = np.stack([_enclosing(frame) for frame in frames])
        state.positions = to_device(np.concatenate([f.positions for f in frames]), self._device, self._dtype)
        state.cell = to_device(np.ascontiguousarray(cells.transpose(0, 2, 1)), self._device, self._dtype)
        outputs = self._model(state)
        if missing := self._asked - {name for name, _ in self._inputs_of(frames)}:
            self._tell_of_defaults(", ".join(sorted(missing)))
        first = np.cumsum([0, *map(len, frames)])
        energies = self._numbers(outputs, "energy", (len(frames),))
        forces = self._numbers(outputs, "forces", (int(first[-1]), 3))
        stresses = self._stresses(outputs, frames)
        extras = extras_of(outputs, self._extras, first)
        _add_committee(extras, outputs)
        return [
            _result(frame, energies[s], forces[first[s] : first[s + 1]], cells[s], stresses[s], extras[s])
            for s, frame in enumerate(frames)
        ]

    def _inputs_of(self, frames: Sequence[Frame]) -> tuple[Any, ...]:
        """Name and values (one for each frame) of the inputs that a structure gives; 0 where only others do."""
        infos = [frame.attributes.info if frame.attributes else {} for frame in frames]
        return tuple(
            (name, tuple(float(info.get(name, 0)) for info in infos))
            for name in SYSTEM_INPUTS
            if any(name in info for info in infos)
        )

    def _tell_of_defaults(self, names: str) -> None:
        """Once: the states that follow are not watched."""
        log.warning(
            "the model %s looks for %s, which the structure does not give, so it takes its defaults: `charge=0 spin=1` "
            "in the comment line of its extended XYZ file, say, gives them",
            type(self._model).__name__,
            names,
        )
        self._watches = False
        self._asked.clear()
        self._constants.clear()

    def _stresses(self, outputs: dict[str, Any], frames: Sequence[Frame]) -> Array:
        if self._stress == "zero" or not frames[0].pbc.any():
            return np.zeros((len(frames), 3, 3))
        if outputs.get("stress") is None:
            raise PotentialError(
                f"the model {type(self._model).__name__} gave no stress for a periodic frame: set "
                'stress = "zero" for simulations at constant volume'
            )
        return self._numbers(outputs, "stress", (len(frames), 3, 3))

    def _numbers(self, outputs: dict[str, Any], name: str, shape: tuple[int, ...]) -> Array:
        """An output for all structures together; `PotentialError` if the model did not give it, or not so."""
        told = f"the model {type(self._model).__name__} gave"
        if outputs.get(name) is None:
            others = ", ".join(other for other, value in outputs.items() if value is not None)
            raise PotentialError(f"{told} no {name}, only {others}: set compute_{name} in its arguments")
        numbers = to_numpy(outputs[name])
        if numbers.shape != shape and (name == "forces" or numbers.size != math.prod(shape)):
            raise PotentialError(f"{told} {name} of shape {numbers.shape}, should be {shape} for the whole batch")
        return numbers.reshape(shape)

    def _make_constants(self, frames: Sequence[Frame]) -> Any:
        """A state of torch-sim, with positions and cells that are replaced."""
        import torch
        from torch_sim.state import SimState

        state_class = _watched(SimState, self._asked) if self._watches else SimState
        species = torch.from_numpy(np.concatenate([f.species for f in frames])).to(self._device)
        sizes = torch.tensor([len(frame) for frame in frames])
        pbc = frames[0].pbc.tolist()
        real = {"device": self._device, "dtype": self._dtype}
        given = {name: torch.tensor(values, **real) for name, values in self._inputs_of(frames)}
        return state_class(
            positions=torch.zeros(len(species), 3, **real),
            masses=torch.ones(len(species), **real),
            cell=torch.eye(3, **real).repeat(len(frames), 1, 1),
            pbc=pbc[0] if len(set(pbc)) == 1 else pbc,
            atomic_numbers=species,
            system_idx=torch.repeat_interleave(torch.arange(len(frames)), sizes).to(self._device),
            **given,
        )


def _watched(state_class: Any, asked: set[str]) -> Any:
    """A class of states that note which of `SYSTEM_INPUTS` they are asked for and do not have."""

    class WatchedState(state_class):  # type: ignore[misc]
        def __getattr__(self, name: str) -> Any:
            if name in SYSTEM_INPUTS:
                asked.add(name)
            return super().__getattr__(name)

        def has_extras(self, key: str) -> bool:
            found = bool(super().has_extras(key))
            if key in SYSTEM_INPUTS and not found:
                asked.add(key)
            return found

    return WatchedState


class KeptLists:
    """A `neighbor_list_fn` for torch-sim's models whose lists last for several steps.

    Args:
        original: the function of the model, for what is not understood here.

    Attributes:
        place: place of the first structure of the next call in the batch.
    """

    def __init__(self, original: Callable[..., Any]) -> None:
        self._original = original
        self._graphs: dict[float, Graphs] = {}
        self.place = 0

    def __call__(
        self, positions: Any, cell: Any, pbc: Any, cutoff: Any, system_idx: Any, self_interaction: bool = False
    ) -> tuple[Any, Any, Any]:
        """Pairs (2, E), structures (E,) and shifts (E, 3) as torch-sim's functions give them."""
        import torch

        periodic = np.unique(np.atleast_2d(pbc.numpy()), axis=0)
        if self_interaction or len(periodic) > 1:
            return self._original(positions, cell, pbc, cutoff, system_idx, self_interaction)
        first = np.cumsum([0, *np.bincount(system_idx.numpy(), minlength=len(cell.reshape(-1, 3, 3)))])
        graphs = self._graphs.setdefault(float(cutoff), Graphs(float(cutoff)))
        places, cells = (np.ascontiguousarray(to_numpy(each)) for each in (positions, cell.reshape(-1, 3, 3)))
        edges = graphs.edges(places, cells, periodic[0], first, self.place)
        structures = np.repeat(np.arange(len(cells)), edges.counts)
        return (
            torch.from_numpy(edges.pairs.copy()),
            torch.from_numpy(structures),
            torch.from_numpy(edges.shifts.copy()).to(positions.dtype),
        )


def _keep_lists(model: Any) -> KeptLists | None:
    """Gives the model kept lists if it takes its lists from a function of torch-sim, and runs on the processor."""
    original = getattr(model, "neighbor_list_fn", None)
    if original is None or model.device.type != "cpu" or getattr(original, "__name__", "") != "torchsim_nl":
        return None
    model.neighbor_list_fn = KeptLists(original)
    return model.neighbor_list_fn


def _enclosing(frame: Frame) -> Array:
    """The cell, with vectors along directions that are not periodic that leave empty space around the atoms."""
    if frame.pbc.all():
        return frame.cell
    cell, inverse = complete_cell(frame.cell, frame.pbc)
    extent = np.ptp(frame.positions @ inverse, axis=0)
    return np.where(frame.pbc[:, None], cell, cell * (extent + MARGIN)[:, None])


def _result(frame: Frame, energy: float, forces: Array, cell: Array, stress: Array, extras: dict[str, Any]) -> Result:
    virial = -abs(np.linalg.det(cell)) * stress if frame.pbc.any() else frame.positions.T @ forces
    return Result(float(energy), forces.copy(), (virial + virial.T) / 2, extras)


def _add_committee(extras: list[dict[str, Any]], outputs: dict[str, Any]) -> None:
    members = outputs.get("energy_ensemble")
    if members is not None:
        for extra, energies in zip(extras, to_numpy(members).reshape(len(extras), -1), strict=True):
            extra |= {"committee_pot": energies, "committee_uncertainty": float(energies.std(ddof=1))}
