"""What all exported modules have in common: the labels of their outputs, and how they become a file."""

from pathlib import Path

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import AtomisticModel, ModelCapabilities, ModelMetadata, ModelOutput

from ..files import atomic_write


def numbered(name: str, count: int, device: torch.device) -> Labels:
    """Labels 0, 1, ... of one dimension."""
    return Labels([name], torch.arange(count, dtype=torch.int32, device=device).unsqueeze(1))


def one_block(block: TensorBlock) -> TensorMap:
    """An output that is not divided any further."""
    return TensorMap(Labels(["_"], torch.zeros([1, 1], dtype=torch.int32, device=block.values.device)), [block])


def save(
    module: torch.nn.Module,
    path: Path,
    outputs: dict[str, ModelOutput],
    atomic_types: list[int],
    cutoff: float,
    dtype: str,
    about: ModelMetadata,
) -> AtomisticModel:
    """Writes a metatomic model with lengths in Angstrom, for any device; returns it, too."""
    capabilities = ModelCapabilities(
        outputs=outputs,
        atomic_types=atomic_types,
        interaction_range=cutoff,
        length_unit="angstrom",
        supported_devices=["cuda", "cpu"],
        dtype=dtype,
    )
    exported = AtomisticModel(module, about, capabilities)
    with atomic_write(path) as part:
        exported.save(str(part))
    return exported
