"""MACE models without an ASE calculator in between: a batch of structures is one call of the model.

The ASE calculator of MACE makes a graph and a data loader for every structure; here the graph is kept (`Graphs`), the
species are encoded once, and positions, cells and pairs are all that a step passes to the model.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ..errors import InputError, PotentialError, text_of
from ..frame import Frame, Result
from ..sections import InputFile, Section
from .committee import mean_of
from .graphs import Graphs
from .outputs import extras_of
from .portions import BatchedPotential
from .torch_device import Precision, dtype_of, find_device, to_device, to_numpy

log = logging.getLogger(__name__)

CLASSES = ("MACE", "ScaleShiftMACE", "EnergyDipolesMACE")
"""Models whose inputs are those made here."""


class MaceConfig(Section):
    """`kind = "mace"`: a model of MACE, or several of them as a committee.

    model: file that MACE's training wrote, or a list of them: the mean, with the spread of a committee.
    device: "cpu", "cuda", ...; by default the first GPU, or else the processor.
    precision: of the whole model; by default that of the file.
    head: which of the heads of a model that has several; by default its only one, or the one called "default".
    extras: names of further outputs of the model to send, such as "dipole".
    """

    kind: Literal["mace"]
    model: InputFile | list[InputFile]
    device: str | None = None
    precision: Precision | None = None
    head: str | None = None
    extras: list[str] = Field(default_factory=list)

    def build(self, template: Frame) -> "MacePotential":
        """The potential; `InputError` if a model cannot be read or does not know a species of the template."""
        _check_installed()
        paths = self.model if isinstance(self.model, list) else [self.model]
        device = find_device(self.device)
        potential = MacePotential(
            [read_model(path, device) for path in paths], precision=self.precision, head=self.head, extras=self.extras
        )
        try:
            potential.check_species(template)
        except PotentialError as error:
            raise InputError(f"model = {', '.join(map(repr, map(str, paths)))}: {error}") from error
        return potential


def _check_installed() -> None:
    try:
        import mace.calculators  # noqa: F401 - lets its models be unpickled, too
    except ImportError as error:
        raise InputError(f"kind = 'mace': {error}: pip install 'forceserver[mace]'") from error


def read_model(path: Path, device: Any) -> Any:
    """The model in a file of MACE, on a device. Such a file is a pickle: reading it runs what it contains.

    `InputError` if it is no such file.
    """
    import torch

    try:
        model = torch.load(path, map_location=device, weights_only=False)
    except Exception as error:  # whatever unpickling does
        told = text_of(error).partition("\n")[0]
        raise InputError(f"cannot read the MACE model {path}: {type(error).__name__}: {told}") from error
    if not isinstance(model, torch.nn.Module) or not hasattr(model, "r_max"):
        raise InputError(f"{path} holds a {type(model).__name__}, not a MACE model")
    return model.to(device)


class MacePotential(BatchedPotential):
    """One MACE model, or the committee of several that have the same cutoff, species and heads.

    Args:
        models: the models, on one device.
        precision: to which they are converted; by default they stay as they are.
        head: name of the head; by default the only one, or the one called "default".
        extras: names of further outputs to send. A committee sends its members' energies, forces and virials instead.

    Raises:
        InputError: a class of model that needs other inputs, models that differ, an unknown head.
    """

    def __init__(
        self,
        models: Sequence[Any],
        *,
        precision: Precision | None = None,
        head: str | None = None,
        extras: Sequence[str] = (),
    ) -> None:
        self._models = [model.eval() if precision is None else model.eval().to(dtype_of(precision)) for model in models]
        first = self._models[0]
        self._numbers = np.array([int(z) for z in first.atomic_numbers])
        for model in self._models:
            _check_class(model)
            if not _alike(model, first):
                raise InputError("the MACE models of a committee must have the same cutoff, species, heads and type")
            model.requires_grad_(False)
        parameter = next(first.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        super().__init__(str(self._device))
        self._head = _head_index(list(getattr(first, "heads", None) or ["Default"]), head)
        self._extras = list(extras)
        self._graphs = Graphs(float(first.r_max))

    def check_species(self, frame: Frame) -> None:
        """`PotentialError` if the model does not know one of the species."""
        from ase.data import chemical_symbols

        unknown = sorted(set(frame.species.tolist()) - set(self._numbers.tolist()))
        if unknown:
            names, known = (", ".join(chemical_symbols[z] for z in each) for each in (unknown, self._numbers))
            raise PotentialError(f"the model does not know the species {names}; it knows {known}")

    def _compute(self, frames: Sequence[Frame], place: int) -> list[Result]:
        constants = self._constants_of(frames)
        first = constants["ptr"].cpu().numpy()
        variables = self._variables(frames, first, place)
        by_member = []
        for model in self._models:
            outputs = model(constants | variables, compute_virials=True)
            variables["positions"] = variables["positions"].detach()
            by_member.append(self._results(outputs, first))
        return by_member[0] if len(by_member) == 1 else [mean_of(members) for members in zip(*by_member, strict=True)]

    def _make_constants(self, frames: Sequence[Frame]) -> dict[str, Any]:
        """Encoded species, and which atom belongs to which structure."""
        import torch

        for frame in frames:
            self.check_species(frame)
        sizes = torch.tensor([len(frame) for frame in frames])
        types = np.searchsorted(self._numbers, np.concatenate([frame.species for frame in frames]))
        encoded = torch.nn.functional.one_hot(torch.from_numpy(types), len(self._numbers))
        made = {
            "node_attrs": encoded.to(self._dtype),
            "batch": torch.repeat_interleave(torch.arange(len(frames)), sizes),
            "ptr": torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)]),
            "head": torch.full((len(frames),), self._head),
            "charges": torch.zeros(len(types), dtype=self._dtype),
        }
        return {name: tensor.to(self._device) for name, tensor in made.items()}

    def _variables(self, frames: Sequence[Frame], first: Any, place: int) -> dict[str, Any]:
        positions = np.concatenate([frame.positions for frame in frames])
        cells = np.stack([frame.cell for frame in frames])
        edges = self._graphs.edges(positions, cells, frames[0].pbc, first, place)
        return {
            "positions": to_device(positions, self._device, self._dtype),
            "cell": to_device((cells * frames[0].pbc[:, None]).reshape(-1, 3), self._device, self._dtype),
            "edge_index": to_device(edges.pairs, self._device),
            "unit_shifts": to_device(edges.shifts, self._device, self._dtype),
        }

    def _results(self, outputs: dict[str, Any], first: Any) -> list[Result]:
        energies, forces, virials = (to_numpy(outputs[name]) for name in ("energy", "forces", "virials"))
        virials = (virials + virials.transpose(0, 2, 1)) / 2
        extras = extras_of(outputs, self._extras, first)
        return [
            Result(float(energies[s]), forces[first[s] : first[s + 1]].copy(), virials[s].copy(), extras[s])
            for s in range(len(energies))
        ]


def _check_class(model: Any) -> None:
    name = type(model).__name__
    if name not in CLASSES or hasattr(model, "joint_embedding"):
        raise InputError(
            f"a model {name} needs inputs that kind = 'mace' does not make: run it as kind = 'torchsim', model = "
            "'torch_sim.models.mace.MaceModel', or as kind = 'ase', calculator = 'mace.calculators.MACECalculator'"
        )


def _alike(one: Any, other: Any) -> bool:
    def traits(model: Any) -> tuple:
        parameter = next(model.parameters())
        species = [int(z) for z in model.atomic_numbers]
        return float(model.r_max), species, list(getattr(model, "heads", None) or ()), parameter.dtype, parameter.device

    return traits(one) == traits(other)


def _head_index(heads: list[str], head: str | None) -> int:
    if head is None:
        default = [name for name in heads if name.lower() == "default"]
        head = heads[0] if len(heads) == 1 else default[0] if default else None
    if head not in heads:
        wanted = "needs head = one of" if head is None else f"has no head {head!r}; it has"
        raise InputError(f"the MACE model {wanted} {', '.join(heads)}")
    return heads.index(head)
