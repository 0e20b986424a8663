"""The device and the precision of a network, by the names that a configuration has for them."""

from typing import Any, Literal

from ..errors import InputError, text_of

Precision = Literal["double", "single"]


def find_device(name: str | None) -> Any:
    """The `torch.device` called `name`; by default the first GPU, or else the processor.

    `InputError` if torch does not know the name, or the machine has no such device.
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
        count = torch.cuda.device_count()
        there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(count))])
        reason = text_of(error).partition("\n")[0]
        raise InputError(
            f"device = {name!r} is not there: {reason} (torch {torch.__version__} finds {there})"
        ) from error
    return device


def dtype_of(precision: Precision) -> Any:
    """The `torch.dtype` of a precision."""
    import torch

    return {"double": torch.float64, "single": torch.float32}[precision]


def to_device(array: Any, device: Any, dtype: Any = None) -> Any:
    """A numpy array as a tensor; to a GPU by way of pinned memory, without waiting for the transfer.

    On the processor the tensor shares the memory of the array unless its type changes.
    """
    import torch

    tensor = torch.from_numpy(array)
    if dtype is not None:
        tensor = tensor.to(dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def to_numpy(tensor: Any) -> Any:
    """A tensor as a float64 numpy array of its own."""
    return tensor.detach().cpu().double().numpy()
