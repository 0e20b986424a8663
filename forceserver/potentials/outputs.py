"""Further outputs of a network as extras: what belongs to each structure of a batch, in i-PI's shapes."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import PotentialError
from .torch_device import to_numpy


def extras_of(outputs: Mapping[str, Any], names: Sequence[str], first: Any) -> list[dict[str, Any]]:
    """The extras of each structure of a batch.

    Args:
        outputs: tensors of the model, with a row for each structure or a row for each atom.
        names: which of them.
        first: (S + 1,) the atoms of structure s are first[s] .. first[s + 1] - 1.

    Returns:
        For each structure a number or an array under each name. Born effective charges ("BEC"), (N, 3, 3) with the
        direction of the dipole before that of the motion, become (3 N, 3) with rows for the motion, as i-PI's driven
        dynamics reads them.

    Raises:
        PotentialError: there is no such output, or it has neither a row for each structure nor for each atom.
    """
    structures, atoms = len(first) - 1, int(first[-1])
    extras: list[dict[str, Any]] = [{} for _ in range(structures)]
    for name in names:
        tensor = outputs.get(name)
        if tensor is None:
            there = ", ".join(key for key, value in outputs.items() if value is not None)
            raise PotentialError(f"the model has no output {name!r} for the extras; it has {there}")
        values = to_numpy(tensor)
        rows = len(values) if values.ndim else 0
        if rows not in (structures, atoms):
            raise PotentialError(
                f"the output {name!r} has the shape {values.shape}: rows neither for {structures} structures nor "
                f"for {atoms} atoms"
            )
        for s, extra in enumerate(extras):
            own = values[s] if rows == structures else values[first[s] : first[s + 1]]
            if name == "BEC":
                own = own.transpose(0, 2, 1).reshape(-1, 3)
            extra[name] = own.copy() if own.ndim else float(own)
    return extras
