"""What makes a loaded transformer faster, at a cost in time or another picture: off unless chosen."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn

from ..kernels.attention_backends import prepare_compile
from ..kernels.float8_linear import Float8Linear
from .attention import KeyWeights
from .blocks import Modulation
from .transformer import Transformer

log = logging.getLogger(__name__)

FLOAT8_CARDS = (8, 9)  # and later: those that multiply float8 with factors by rows
SHAPES = 4  # that are compiled each for itself, of a kind of block


def compile_blocks(transformer: Transformer, **options: Any) -> None:
    """Have `torch.compile` make programs of the blocks, at their first calls, see `Programs`.

    Blocks that a LoRA replaces later run as they are.

    Args:
        transformer: for training too.
        options: of `torch.compile`, but for `dynamic`.
    Raises: ValueError if weights visit the device, which a compiled block cannot wait for.
    """
    blocks = _blocks(transformer)
    if any(block._forward_pre_hooks for block in blocks):  # pyright: ignore[reportPrivateUsage]
        raise ValueError(
            "blocks whose weights visit the device cannot be compiled; allow more memory, or do not compile"
        )
    prepare_compile()
    programs: dict[object, Programs] = {}
    for block in blocks:
        kind = programs.setdefault(_structure(block), Programs(options))
        # where `nn.Module.compile` puts its own, and copies and state dicts leave it out
        block._compiled_call_impl = partial(kind, ref(block))  # pyright: ignore[reportPrivateUsage]


class Programs:
    """Compiled calls of blocks that are built alike.

    The first few shapes have a program each, which is the fastest; all others share one for any shape. Torch
    counts the programs of a function and, beyond some, runs it as it is: so each here is compiled from a
    function of its own.

    Args:
        options: of `torch.compile`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._by_shape: dict[object, dict[object, Callable[..., Any]]] = {}
        self._for_any_shape: dict[object, Callable[..., Any]] = {}

    def __call__(
        self, block: ref[nn.Module], *inputs: Any, output_tokens: slice | None = None, **guidance: Any
    ) -> Any:
        start, stop = (None, None) if output_tokens is None else (output_tokens.start, output_tokens.stop)
        module = block()
        assert module is not None
        if guidance:  # by a negative prompt, for some of the steps: they run uncompiled
            chosen = {} if output_tokens is None else {"output_tokens": output_tokens}
            return module._call_impl(*inputs, **chosen, **guidance)  # pyright: ignore[reportPrivateUsage]
        kinds, shapes = zip(*(_kind_and_shape(value) for value in inputs), strict=True)
        modes = (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            module.training,
            output_tokens is None,
        )
        program = self._program((modes, kinds), (shapes, start, stop))
        return program(module, start, stop, *inputs)

    def _program(self, state: object, shape: object) -> Callable[..., Any]:
        by_shape = self._by_shape.setdefault(state, {})
        if shape in by_shape:
            return by_shape[shape]
        if len(by_shape) < SHAPES:
            by_shape[shape] = self._compiled(dynamic=False)
            return by_shape[shape]
        if state not in self._for_any_shape:
            log.info("more than %d shapes of tokens: blocks are compiled once more, for any", SHAPES)
            self._for_any_shape[state] = self._compiled(dynamic=True)
        return self._for_any_shape[state]

    def _compiled(self, dynamic: bool) -> Callable[..., Any]:
        call = FunctionType(_call.__code__.replace(), _call.__globals__)
        return torch.compile(call, dynamic=dynamic, **self._options)


def _call(block: nn.Module, start: int | None, stop: int | None, *inputs: Any) -> Any:
    """What is compiled: a block with its hooks. Torch takes numbers of any size, but not slices."""
    if start is None:
        return block._call_impl(*inputs)  # pyright: ignore[reportPrivateUsage]
    return block._call_impl(*inputs, output_tokens=slice(start, stop))  # pyright: ignore[reportPrivateUsage]


def _kind_and_shape(value: Tensor | KeyWeights | None) -> tuple[object, object]:
    if value is None:
        return None, None
    if isinstance(value, KeyWeights):
        return (KeyWeights, value.query.dtype), (value.query.shape, value.key.shape)
    return (value.dtype, value.device, value.requires_grad), value.shape


def _structure(block: nn.Module) -> object:
    """Blocks of which this is equal can share programs."""
    modules = tuple((name, type(module)) for name, module in block.named_modules())
    tensors = tuple(
        (name, tensor.shape, tensor.dtype, tensor.stride())
        for name, tensor in (*block.named_parameters(), *block.named_buffers())
    )
    hooks = tuple(block._forward_hooks)  # pyright: ignore[reportPrivateUsage]
    return modules, tensors, hooks


@torch.inference_mode(False)  # its weights are used in any mode
def multiply_in_float8(transformer: Transformer, device: torch.device | None = None) -> int:
    """Put a `Float8Linear` in the place of the blocks' linears that can be one, but for the modulation's.

    What is stored in float8 keeps its numbers; what is stored otherwise packed stays as it is.
    Args:
        device: where it computes; None is where it is.
    Returns: how many there are now.
    Raises: ValueError if the card has no float8 products, or PyTorch none for it; then nothing is changed.
    """
    device = device or transformer.device
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < FLOAT8_CARDS:
        raise ValueError(
            f"{torch.cuda.get_device_name(device)} does not multiply in float8; use a card of compute "
            "capability 8.9 or later, or weights of another form"
        )
    if device.type == "cuda":
        try_float8(device, transformer.dtype)
    count = 0
    for block in _blocks(transformer):
        beside = {
            id(inner) for part in block.modules() if isinstance(part, Modulation) for inner in part.modules()
        }
        for name, module in list(block.named_modules()):
            linear = None if id(module) in beside else Float8Linear.of(module)
            if linear is not None:
                block.set_submodule(name, linear)
                count += 1
    log.info("%d linears multiply in float8", count)
    return count


@torch.no_grad()
def try_float8(device: torch.device, dtype: torch.dtype) -> None:
    """Multiply a few rows in float8, so that what cannot be done is known before an edit begins.

    Raises: ValueError in one sentence.
    """
    linear = Float8Linear.of(nn.Linear(128, 64).to(device, dtype))
    assert linear is not None
    for rows in (1, 46, 512):
        x = torch.ones(1, rows, linear.in_features, dtype=dtype, device=device)
        try:
            finite = bool(linear.multiply_on_card(x).isfinite().all())
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
        else:
            if finite:
                continue
            reason = "its products are not finite"
        raise ValueError(
            f"float8 products with a factor for each row do not run here, on {device} with PyTorch "
            f"{torch.__version__} ({reason}): leave float8 out, or use a newer PyTorch"
        )


def _blocks(transformer: Transformer) -> list[nn.Module]:
    return [*transformer.double_blocks, *transformer.single_blocks]
