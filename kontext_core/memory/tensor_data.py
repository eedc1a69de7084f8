"""The one place that points parameters and buffers to other memory.

Their identity, names and shapes stay, so that modules and hooks go on with them. What was kept of their
numbers elsewhere, as in a CUDA graph, is out of date afterwards.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

SMALL_WEIGHT = 2**20  # numbers; larger products gain nothing from another order in memory, or lose


def point_to(tensor: Tensor, memory: Tensor) -> None:
    """Let a parameter or buffer have its numbers in other memory, as they are there.

    Args:
        tensor: of a model.
        memory: of its shape and dtype.
    """
    tensor.data = memory


def convert(tensor: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    """Let a parameter or buffer have what becomes of its numbers.

    Args:
        tensor: of a model.
        change: makes the new ones of the present ones.
    """
    with own_mode(tensor):
        tensor.data = change(tensor.data)


def move_to(tensors: Iterable[Tensor], device: torch.device) -> None:
    """Move parameters and buffers to a device; those that are there stay where they are."""
    for tensor in tensors:
        if tensor.device != device:
            convert(tensor, lambda data: data.to(device))


def lay_out_for_cpu(model: nn.Module) -> int:
    """Lay weights of small linears out as a CPU's products read them, inputs first: the same numbers.

    With up to some hundred tokens such a product is 1.07 to 1.45 times as fast (benchmarks.cpu_parts): no
    weight is transposed first. Shapes and names stay; only strides change, so that what saves weights has to
    make them contiguous.

    Returns: how many there are now: none in another dtype than float32, or off the CPU.
    """
    count = 0
    for module in model.modules():
        if type(module) is nn.Linear and _is_small(module.weight):
            convert(module.weight, lambda data: data.t().contiguous().t())
            count += 1
    return count


def tensors_of(module: nn.Module, without: type[nn.Module] | None = None) -> list[Tensor]:
    """List parameters and buffers of a module and of what is in it, each once.

    Args:
        module: of any kind.
        without: modules to leave out.
    """
    tensors: dict[int, Tensor] = {}
    for part in _modules(module, without):
        for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
            tensors[id(tensor)] = tensor
    return list(tensors.values())


def own_mode(tensor: Tensor) -> AbstractContextManager[object]:
    """Enter or leave inference mode, as when the tensor was made: else data cannot become its own."""
    return torch.inference_mode(tensor.is_inference())


def _is_small(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() <= SMALL_WEIGHT


def _modules(module: nn.Module, without: type[nn.Module] | None) -> list[nn.Module]:
    if without is not None and isinstance(module, without):
        return []
    return [module, *(part for child in module.children() for part in _modules(child, without))]
