"""Exports a fitted model as a metatomic model: one TorchScript file, which does not need this program.

Outputs: `energy`, per system or per atom; `feature`, per atom; for a model with members also `energy_ensemble` and
`energy_uncertainty`, their standard deviation. The engine obtains forces and stress by differentiation.
"""

# ruff: noqa: UP006, UP035, UP045
from pathlib import Path
from typing import Dict, List, Literal, Optional

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

from ..errors import InputError
from ..models.ace import AceModel
from ..models.base import Model
from ..models.kernel import GapModel
from ..representation.products import ProductGraph
from .density import _numbers, _places
from .pairs import PairSum
from .saving import numbered, one_block, save
from .terms import AceTerm, KernelTerm

DTYPES = {"float64": torch.float64, "float32": torch.float32}


class ExportedModel(torch.nn.Module):
    """The module that metatomic calls: systems with neighbour lists in, energies out."""

    place: torch.Tensor
    base: torch.Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        members = model.has_members
        terms: List[torch.nn.Module]
        if isinstance(model, GapModel):
            terms = [KernelTerm(term, model.species, members) for term in model.soap]
        elif isinstance(model, AceModel):
            expansions = model.expansions(ProductGraph(model.functions))
            terms = [AceTerm(model, expansion, centres, members) for centres, expansion in expansions.items()]
        else:
            raise InputError(f"export: a {model.FORMAT} cannot be exported yet; kernel models and ACE can")
        self.terms = torch.nn.ModuleList(terms)
        self.cutoff = max([model.reach, *(pair.cutoff_angstrom for pair in model.pairs)])
        self.n_out = 1
        pairs = [PairSum(model.pairs, model.species)]
        if members and model.pair_members is not None:
            pairs += [PairSum(interactions, model.species) for interactions in model.pair_members]
            self.n_out += len(model.pair_members)
        self.pairs = torch.nn.ModuleList(pairs)
        place = np.full(max(model.species) + 1, -1)
        place[list(model.species)] = np.arange(len(model.species))
        self.register_buffer("place", _places(place))
        self.register_buffer("base", _numbers(np.array([model.energies[s] for s in model.species])))

    @torch.jit.export
    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        return [NeighborListOptions(cutoff=self.cutoff, full_list=True, strict=True)]

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels] = None,
    ) -> Dict[str, TensorMap]:
        vectors: List[torch.Tensor] = []
        centres: List[torch.Tensor] = []
        others: List[torch.Tensor] = []
        types: List[torch.Tensor] = []
        samples: List[torch.Tensor] = []
        begin: List[int] = []
        total = 0
        for index, system in enumerate(systems):
            block = system.get_neighbor_list(self.requested_neighbor_lists()[0])
            vectors.append(block.values.squeeze(2))
            centres.append(block.samples.column("first_atom").to(torch.long) + total)
            others.append(block.samples.column("second_atom").to(torch.long) + total)
            types.append(system.types.to(torch.long))
            atoms = torch.arange(len(system), device=system.positions.device)
            samples.append(torch.stack([torch.full_like(atoms, index), atoms], dim=1))
            begin.append(total)
            total += len(system)
        species = self.place[torch.cat(types)]
        centre, sample = torch.cat(centres), torch.cat(samples)
        kind = species[torch.cat(others)]
        vector = torch.cat(vectors)

        energies = self.base[species].unsqueeze(1).repeat(1, self.n_out)
        features: List[torch.Tensor] = []
        for term in self.terms:
            of_term, feature = term(vector, centre, kind, species)
            energies = energies + of_term
            features.append(feature)
        distances = torch.sqrt((vector**2).sum(dim=1))
        pairs: List[torch.Tensor] = []
        for pair in self.pairs:
            pairs.append(pair(distances, centre, species[centre], kind, total))
        energies = energies + torch.stack(pairs, dim=1)

        if selected_atoms is not None:
            first = torch.tensor(begin, device=vector.device)
            chosen = selected_atoms.column("system").to(torch.long)
            rows = first[chosen] + selected_atoms.column("atom").to(torch.long)
            energies, sample = energies[rows], sample[rows]
            features = [feature[rows] for feature in features]
        results: Dict[str, TensorMap] = {}
        for name, output in outputs.items():
            results[name] = self.block(name, output.sample_kind == "atom", energies, features, sample, len(systems))
        return results

    def block(
        self,
        name: str,
        per_atom: bool,
        energies: torch.Tensor,
        features: List[torch.Tensor],
        sample: torch.Tensor,
        systems: int,
    ) -> TensorMap:
        """Makes one output from the energies and features of the atoms."""
        device = energies.device
        values, word = energies[:, :1], "energy"
        if name.startswith("feature"):
            values, word = torch.cat(features, dim=1), "feature"
        elif name.startswith("energy_ensemble") or name.startswith("energy_uncertainty"):
            values = energies[:, 1:]
        labels = Labels(["system", "atom"], sample.to(torch.int32))
        if not per_atom:
            sums = torch.zeros([systems, values.shape[1]], dtype=values.dtype, device=device)
            values = sums.index_add(0, sample[:, 0], values)
            labels = numbered("system", systems, device)
        if name.startswith("energy_uncertainty"):
            values = values.std(dim=1, keepdim=True)
        return one_block(TensorBlock(values, labels, [], numbered(word, values.shape[1], device)))


def export_model(
    model: Model, path: Path, dtype: Literal["float64", "float32"] = "float64", name: str = ""
) -> AtomisticModel:
    """Writes a metatomic model (.pt) that is equivalent to a fitted one, and returns it.

    dtype: precision of all numbers. Raises `InputError` for a kind of model that cannot be exported.
    """
    module = ExportedModel(model).to(DTYPES[dtype]).eval()
    outputs = {"feature": ModelOutput(sample_kind="atom")}
    for energy in ["energy", *(["energy_ensemble", "energy_uncertainty"] if model.has_members else [])]:
        outputs[energy] = ModelOutput(unit="eV", sample_kind="atom")
    about = ModelMetadata(name=name, description=f"{model.FORMAT}, exported by forceserver")
    return save(module, path, outputs, list(model.species), module.cutoff, dtype, about)
