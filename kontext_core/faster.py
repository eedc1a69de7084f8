"""What makes a loaded transformer faster and takes its time first, or changes the picture: off unless chosen."""

import logging
from typing import Any

import torch
from torch import Tensor, nn

from .attention_backends import ask_cudnn
from .blocks import Modulation
from .kernels.float8 import Float8Linear
from .streaming import own_mode
from .transformer import Transformer

log = logging.getLogger(__name__)

FLOAT8_CARDS = (8, 9)  # and later: those that multiply float8 with factors by rows
SMALL_WEIGHT = 2**20  # numbers; larger products gain nothing, or lose


def compile_blocks(transformer: Transformer, **options: Any) -> None:
    """Have `torch.compile` make one program of each block, at its first call, for each shape of tokens anew.

    Blocks that a LoRA replaces later run as they are. Args: options: of `torch.compile`.
    Raises: ValueError if weights visit the device, which a compiled block cannot wait for.
    """
    blocks = _blocks(transformer)
    if any(block._forward_pre_hooks for block in blocks):  # pyright: ignore[reportPrivateUsage]
        raise ValueError(
            "blocks whose weights visit the device cannot be compiled; allow more memory, or do not compile"
        )
    ask_cudnn()
    for block in blocks:
        block.compile(dynamic=False, **options)


def lay_out_for_cpu(transformer: Transformer) -> int:
    """Let the weights of small linears lie in memory as a CPU's products read them, inputs first: the same numbers.

    With up to some hundred tokens such a product is 1.07 to 1.45 times as fast (benchmarks.cpu_parts): no weight is turned first.
    Shapes and names stay; only strides change, so that what saves weights has to make them contiguous.

    Returns: how many there are now: none in another dtype than float32, or off the CPU.
    """
    count = 0
    for module in transformer.modules():
        if type(module) is nn.Linear and _is_small(module.weight):
            with own_mode(module.weight):
                module.weight.data = module.weight.data.t().contiguous().t()
            count += 1
    return count


@torch.inference_mode(False)  # its weights are used in any mode
def multiply_in_float8(transformer: Transformer, device: torch.device | None = None) -> int:
    """Put a `Float8Linear` in the place of the blocks' linears that can be one, but for the modulation's.

    What is stored in float8 keeps its numbers; what is stored otherwise packed stays as it is.
    Args: device: where it computes; None is where it is.
    Returns: how many there are now.
    Raises: ValueError if the card has no float8 products.
    """
    device = device or transformer.device
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < FLOAT8_CARDS:
        raise ValueError(
            f"{torch.cuda.get_device_name(device)} does not multiply in float8; take a card of compute capability "
            "8.9 or later, or weights of another form"
        )
    count = 0
    for block in _blocks(transformer):
        beside = {
            id(one) for part in block.modules() if isinstance(part, Modulation) for one in part.modules()
        }
        for name, module in list(block.named_modules()):
            made = None if id(module) in beside else Float8Linear.of(module)
            if made is not None:
                block.set_submodule(name, made)
                count += 1
    log.info("%d linears multiply in float8", count)
    return count


def _is_small(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() <= SMALL_WEIGHT


def _blocks(transformer: Transformer) -> list[nn.Module]:
    return [*transformer.double_blocks, *transformer.single_blocks]
