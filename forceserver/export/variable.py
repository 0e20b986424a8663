"""A collective variable as a metatomic model, whose output PLUMED's METATOMIC action reads.

The model computes `feature`, one row for each system with the outputs of the variable, from positions and cell;
derivatives are left to automatic differentiation. It needs nothing of this program.
"""

# ruff: noqa: UP006, UP035, UP045
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np
import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import (
    AtomisticModel,
    ModelMetadata,
    ModelOutput,
    NeighborListOptions,
    System,
)

from ..cv.base import VariableConfig
from ..cv.power_spectrum import LinearPowerSpectrum, PowerSpectrumConfig
from ..errors import InputError
from ..representation.config import selection
from .density import _numbers, _places
from .saving import numbered, one_block, save
from .terms import Spectrum

LAST_ELEMENT = 118
"""Atoms of all elements may be there; most are neither centres nor neighbours."""


class ExportedVariable(torch.nn.Module):
    """Linear functions of the mean (or sum) of the power spectra of all atoms of some species."""

    place: torch.Tensor
    is_centre: torch.Tensor
    is_neighbour: torch.Tensor
    weights: torch.Tensor
    offsets: torch.Tensor

    def __init__(self, kind: LinearPowerSpectrum, centres: tuple[int, ...], neighbours: tuple[int, ...]) -> None:
        super().__init__()
        species = tuple(sorted({*centres, *neighbours}))
        self.spectrum = Spectrum(kind.basis, species)
        self.cutoff = float(kind.basis.expansion.cutoff)
        self.mean = kind.mean
        place = np.full(LAST_ELEMENT + 1, -1)
        place[list(species)] = np.arange(len(species))
        self.register_buffer("place", _places(place))
        self.register_buffer("is_centre", torch.tensor([z in centres for z in range(LAST_ELEMENT + 1)]))
        self.register_buffer("is_neighbour", torch.tensor([z in neighbours for z in range(LAST_ELEMENT + 1)]))
        self.register_buffer("weights", _numbers(kind.weights.T))
        self.register_buffer("offsets", _numbers(kind.offsets))

    @torch.jit.export
    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        return [NeighborListOptions(cutoff=self.cutoff, full_list=True, strict=True)]

    def values_of(self, system: System) -> torch.Tensor:
        """The outputs (d,) for one system."""
        block = system.get_neighbor_list(self.requested_neighbor_lists()[0])
        types = system.types.to(torch.long)
        first = block.samples.column("first_atom").to(torch.long)
        second = block.samples.column("second_atom").to(torch.long)
        chosen = torch.nonzero(self.is_centre[types])[:, 0]
        row = torch.zeros_like(types).index_put((chosen,), torch.arange(len(chosen), device=types.device))
        counts = torch.nonzero(self.is_centre[types[first]] & self.is_neighbour[types[second]])[:, 0]
        features = self.spectrum(
            block.values.squeeze(2)[counts],
            row[first[counts]],
            self.place[types[second[counts]]],
            self.place[types[chosen]],
        )
        values = features @ self.weights + self.offsets
        return values.mean(dim=0) if self.mean else values.sum(dim=0)

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels] = None,
    ) -> Dict[str, TensorMap]:
        if selected_atoms is not None:
            raise ValueError("this variable is one of all atoms: it has no selected atoms")
        rows: List[torch.Tensor] = []
        for system in systems:
            rows.append(self.values_of(system))
        values = torch.stack(rows)
        device = values.device
        samples, columns = numbered("system", len(systems), device), numbered("feature", values.shape[1], device)
        block = TensorBlock(values, samples, [], columns)
        results: Dict[str, TensorMap] = {}
        for name, _ in outputs.items():
            results[name] = one_block(block)
        return results


def export_variable(section: VariableConfig, path: Path) -> AtomisticModel:
    """Writes a variable as a metatomic model (.pt, double precision); returns it, too.

    Args:
        section: a [[cv]] of kind "power_spectrum" whose centres and neighbours are chosen by species.
        path: the file.

    Returns:
        The model, with the output "feature" of each system: a column for each output of the variable.

    Raises:
        InputError: another kind, or what cannot be exported: groups, centres by index.
    """
    module = ExportedVariable(*_taken_apart(section)).to(torch.float64).eval()
    outputs = {"feature": ModelOutput(sample_kind="system")}
    about = ModelMetadata(name=section.name, description="a collective variable, exported by forceserver")
    return save(module, path, outputs, list(range(1, LAST_ELEMENT + 1)), module.cutoff, "float64", about)


def _taken_apart(section: VariableConfig) -> tuple[LinearPowerSpectrum, tuple[int, ...], tuple[int, ...]]:
    """The variable, and the species of its centres and neighbours."""
    told = f"export: collective variable {section.name}"
    if not isinstance(section, PowerSpectrumConfig):
        raise InputError(f'{told}: its kind is "{section.kind}", only "power_spectrum" can be exported')
    if section.groups or section.per_centre:
        raise InputError(f"{told}: groups and per_centre cannot be exported; one [[cv]] without them can")
    centres, neighbours = selection(section.centres).species, selection(section.neighbours).species
    if centres is None or neighbours is None:
        raise InputError(f"{told}: only centres and neighbours that are chosen by species can be exported, not indices")
    kind = section.build(sorted(set(centres)), sorted(set(neighbours)))
    return kind, centres, neighbours
