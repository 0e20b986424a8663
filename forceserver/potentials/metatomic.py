"""Exported metatomic models, evaluated by metatomic-torch; a batch of frames is one call of the model.

Forces and virials are derivatives of the energy by automatic differentiation: positions and cell are multiplied with a
strain that is the identity, so that one backward pass gives both. The neighbour lists that the model requests come from
vesin and are kept, with a skin, for each position in the batch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError, PotentialError, text_of
from ..frame import Array, Frame, Result
from ..sections import InputFile, OutputPath, Section
from ..turns import in_turn
from .base import SKIN, Potential


class MetatomicConfig(Section):
    """`kind = "metatomic"`: a model exported with `AtomisticModel.save`.

    model: the file.
    extensions: folder of the compiled TorchScript extensions of the model, if it has any.
    device: "cpu", "cuda", ...; by default the first that both the model supports and the machine has.
    variant: which of several energies of the model, by default its default.
    uncertainty: send the model's own estimate of its error, see `MetatomicPotential`.
    check_consistency: let metatomic check all inputs and outputs of the model; slow.
    """

    kind: Literal["metatomic"]
    model: InputFile
    extensions: OutputPath | None = None
    device: str | None = None
    variant: str | None = None
    uncertainty: bool = True
    check_consistency: bool = False

    def build(self, template: Frame) -> "MetatomicPotential":
        """The potential; `InputError` if the model cannot be read or does not know a species of the template."""
        potential = MetatomicPotential(
            self.model,
            extensions=self.extensions,
            device=self.device,
            variant=self.variant,
            uncertainty=self.uncertainty,
            check_consistency=self.check_consistency,
        )
        unknown = sorted(set(template.species.tolist()) - potential.species)
        if unknown:
            from ase.data import chemical_symbols

            names, known = (
                ", ".join(chemical_symbols[number] for number in numbers)
                for numbers in (unknown, sorted(potential.species))
            )
            raise InputError(f"the model {self.model} does not know the species {names}; it knows {known}")
        return potential


class MetatomicPotential(Potential):
    """A metatomic model as a potential; the arguments are those of `MetatomicConfig`.

    Extras, where the model has such outputs: `committee_pot` (M,) and their standard deviation `committee_uncertainty`
    from energy_ensemble; `energy_uncertainty`, or if it is known for each atom only `atomic_energy_uncertainty`, the
    largest, from energy_uncertainty. All in eV.

    `InputError` if torch or metatomic are not installed, if the file is no such model, needs inputs that no server of
    forces sends, or has no energy.
    """

    def __init__(
        self,
        path: Path,
        *,
        extensions: Path | None = None,
        device: str | None = None,
        variant: str | None = None,
        uncertainty: bool = True,
        check_consistency: bool = False,
    ) -> None:
        try:
            import metatomic.torch as mta
            import torch
        except ImportError as error:
            raise InputError(f"kind = 'metatomic': {error}: pip install 'forceserver[metatomic]'") from error
        if extensions is not None and not extensions.is_dir():
            raise InputError(f"extensions = {str(extensions)!r}: there is no such folder")
        try:
            model = mta.load_atomistic_model(path, extensions_directory=extensions)
            capabilities = model.capabilities()
            self._device = torch.device(mta.pick_device(capabilities.supported_devices, device))
            self._energy = mta.pick_output("energy", capabilities.outputs, variant)
        except (RuntimeError, ValueError, OSError) as error:
            raise InputError(f"cannot use the metatomic model {path}: {text_of(error)}") from error
        if inputs := list(model.requested_inputs(use_new_names=True)):
            raise InputError(f"the model {path} needs {', '.join(inputs)} as input, which no server sends")
        self._dtype = {"float32": torch.float32, "float64": torch.float64}[capabilities.dtype]
        self._model = model.to(device=self._device)
        self._check = check_consistency
        self.species = set(capabilities.atomic_types)

        def request(kind: str) -> Any:
            return mta.ModelOutput(unit="eV", sample_kind=kind, explicit_gradients=[])

        outputs = {self._energy: request("system")}
        self._ensemble = self._sibling("energy_ensemble", capabilities.outputs) if uncertainty else None
        self._uncertainty = self._sibling("energy_uncertainty", capabilities.outputs) if uncertainty else None
        if self._ensemble:
            outputs[self._ensemble] = request("system")
        if self._uncertainty:
            outputs[self._uncertainty] = request(capabilities.outputs[self._uncertainty].sample_kind)
        self._options = mta.ModelEvaluationOptions(length_unit="angstrom", outputs=outputs)
        self._lists: list[list] = []

    def compute_one(self, frame: Frame) -> Result:
        return self.compute([frame])[0]

    @in_turn
    def compute(self, frames: Sequence[Frame]) -> list[Result]:
        import torch

        unknown = set(frames[0].species.tolist()) - self.species
        if unknown:
            raise PotentialError(f"the model does not know the atomic numbers {sorted(unknown)}")
        leaves, systems = zip(
            *(
                self._system(frame, lists)
                for frame, lists in zip(frames, self._neighbour_lists(len(frames)), strict=True)
            ),
            strict=True,
        )
        outputs = self._model(list(systems), self._options, check_consistency=self._check)
        energies = outputs[self._energy].block().values[:, 0]
        energies.sum().backward()
        with torch.no_grad():
            extras = self._extras(outputs, len(frames))
        return [
            _result(energy, positions, strain, extra)
            for energy, (positions, strain), extra in zip(_numpy(energies), leaves, extras, strict=True)
        ]

    def _sibling(self, name: str, outputs: dict[str, Any]) -> str | None:
        """The output `name` that belongs to the energy: of the same variant."""
        key = self._energy.replace("energy", name, 1)
        return key if key in outputs else None

    def _neighbour_lists(self, count: int) -> list[list]:
        from vesin.metatomic import NeighborList

        while len(self._lists) < count:  # one set for each position in the batch, usually the same bead each time
            self._lists.append(
                [NeighborList(options, "angstrom", skin=SKIN) for options in self._model.requested_neighbor_lists()]
            )
        return self._lists[:count]

    def _system(self, frame: Frame, lists: list) -> tuple[tuple[Any, Any], Any]:
        """The leaves of the automatic differentiation, positions and strain, and the system that is made of them."""
        import torch
        from metatomic.torch import System

        kind: dict[str, Any] = {"dtype": self._dtype, "device": self._device}
        positions = torch.tensor(frame.positions, **kind, requires_grad=True)
        strain = torch.eye(3, **kind, requires_grad=True)
        cell = torch.tensor(frame.cell * frame.pbc[:, None], **kind)  # metatomic expects zero where not periodic
        species = torch.tensor(frame.species, dtype=torch.int32, device=self._device)
        system = System(species, positions @ strain, cell @ strain, torch.tensor(frame.pbc, device=self._device))
        for neighbours in lists:
            neighbours.add_neighbor_list(system)
        return (positions, strain), system

    def _extras(self, outputs: dict[str, Any], count: int) -> list[dict[str, Any]]:
        extras: list[dict[str, Any]] = [{} for _ in range(count)]
        if self._ensemble:
            for extra, members in zip(extras, _numpy(outputs[self._ensemble].block().values), strict=True):
                extra["committee_pot"] = members
                extra["committee_uncertainty"] = float(members.std(ddof=1))
        if self._uncertainty:
            block = outputs[self._uncertainty].block()
            values, of_frame = _numpy(block.values[:, 0]), block.samples.column("system").cpu().numpy()
            name = "atomic_energy_uncertainty" if "atom" in block.samples.names else "energy_uncertainty"
            for index, extra in enumerate(extras):
                extra[name] = float(values[of_frame == index].max())
        return extras


def _numpy(tensor: Any) -> Array:
    return tensor.detach().cpu().double().numpy()


def _result(energy: float, positions: Any, strain: Any, extras: dict[str, Any]) -> Result:
    virial = -_numpy(strain.grad)
    return Result(float(energy), -_numpy(positions.grad), (virial + virial.T) / 2, extras)
