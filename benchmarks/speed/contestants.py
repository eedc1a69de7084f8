"""Who runs: our modes, diffusers' and ComfyUI's, one line each in `MODES` and `PEERS`."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from kontext_core.kernels.float8_linear import Float8Linear
from kontext_core.kernels.options import use_compute_options
from kontext_core.memory.block_streaming import StreamedTransformer
from kontext_core.memory.tensor_data import lay_out_for_cpu
from kontext_core.model.optimise import compile_blocks
from kontext_core.model.transformer import Transformer
from kontext_core.model_spec import ComputeOptions
from kontext_core.sampling.cuda_graph import velocity as one_step
from kontext_core.sampling.step_cache import METHODS

from .comfyui import ComfyFlux, UnavailableError, comfyui
from .models import Question, same_weights, their_transformer

Scope = Callable[[], AbstractContextManager[Any]]
Step = Callable[[], Tensor]


@dataclass(frozen=True)
class Contestant:
    """A way to compute the same step.

    Args:
        exact: whether it is to give what plain PyTorch gives, up to rounding.
        make: its model, from ours; it may hold the same memory. Raises: UnavailableError.
        scope: what its steps run within.
        denoise: options of the loop, for ways that are not within one step.
        slow: left out of a short run, because it compiles for minutes.
    """

    exact: bool
    make: Callable[[Transformer], Any]
    scope: Scope = nullcontext
    denoise: Mapping[str, Any] = field(default_factory=dict)
    slow: bool = False


def compiled_blocks(model: Transformer) -> Transformer:
    _needs_cuda(model, "compiled blocks pay on CUDA only (benchmarks/training_notes.md)")
    return _with_compiled_blocks(same_weights(model))


def float8(model: Transformer) -> Transformer:
    """Every linear of the blocks that can be."""
    other = same_weights(model)
    for block in (*other.double_blocks, *other.single_blocks):
        for name, linear in list(block.named_modules()):
            packed = Float8Linear.of(linear) if "mod" not in name else None
            if packed is not None:
                parent, _, last = name.rpartition(".")
                setattr(block.get_submodule(parent), last, packed)
    return other


def our_float8(model: Transformer) -> Transformer:
    _needs_float8(model)
    return float8(model)


def our_compiled_float8(model: Transformer) -> Transformer:
    _needs_float8(model)
    return _with_compiled_blocks(float8(model))


def cudnn() -> AbstractContextManager[Any]:
    return sdpa_kernel(
        [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH], set_priority=True
    )


def theirs(model: Transformer) -> Any:
    """diffusers' own."""
    if find_spec("diffusers") is None:
        raise UnavailableError("diffusers is not installed")
    return their_transformer(model)


def their_cudnn(model: Transformer) -> Any:
    _needs_cuda(model, "cuDNN is for CUDA only")
    return theirs(model)


def their_compiled_blocks(model: Transformer) -> Any:
    _needs_cuda(model, "compiled blocks pay on CUDA only (benchmarks/training_notes.md)")
    network = theirs(model)
    network.compile_repeated_blocks(fullgraph=True, dynamic=False)
    return network


def their_compiled_whole(model: Transformer) -> Any:
    _needs_cuda(model, "compiling pays on CUDA only (benchmarks/training_notes.md)")
    network = theirs(model)
    network.fuse_qkv_projections()
    network.compile(mode="max-autotune-no-cudagraphs", fullgraph=True, dynamic=False)
    return network


def their_float8(model: Transformer) -> Any:
    """torchao's float8 with a factor for each row, blocks compiled."""
    _needs_float8(model)
    if find_spec("torchao") is None:
        raise UnavailableError("torchao is not installed")
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

    network = theirs(model)
    quantize_(
        network,
        Float8DynamicActivationFloat8WeightConfig(granularity=PerRow()),
        filter_fn=lambda module, name: (
            isinstance(module, nn.Linear) and "blocks" in name and "norm" not in name
        ),
    )
    network.compile_repeated_blocks(fullgraph=True, dynamic=False)
    return network


def comfyui_compiled(model: Transformer) -> ComfyFlux:
    """Block by block, as its users compile it."""
    _needs_cuda(model, "compiled blocks pay on CUDA only (benchmarks/training_notes.md)")
    network = comfyui(model)
    for block in (*network.network.double_blocks, *network.network.single_blocks):
        block.compile(dynamic=False)
    return network


def as_loaded(model: Transformer) -> Transformer:
    """As `Pipeline.load` leaves it: on a CPU small weights lie inputs first, in memory of their own."""
    if model.device.type != "cpu":
        return model
    other = same_weights(model)
    lay_out_for_cpu(other)
    return other


def _same(model: Transformer) -> Transformer:
    return model


def _wished(**wishes: Any) -> Scope:
    return lambda: use_compute_options(ComputeOptions(**wishes))


def _needs_cuda(model: Transformer, reason: str) -> None:
    if model.device.type != "cuda":
        raise UnavailableError(reason)


def _needs_float8(model: Transformer) -> None:
    _needs_cuda(model, "float8 units are CUDA's")
    if torch.cuda.get_device_capability(model.device) < (8, 9):
        raise UnavailableError("this card has no float8 units")


def _with_compiled_blocks(model: Transformer) -> Transformer:
    compile_blocks(model)
    return model


def _on_cuda(reason: str) -> Callable[[Transformer], Transformer]:
    def make(model: Transformer) -> Transformer:
        _needs_cuda(model, reason)
        return model

    return make


def _modulation_away(model: Transformer) -> Transformer:
    """The blocks' modulation waits in the host's memory, and is on the card for its one call an edit."""
    _needs_cuda(model, "on a CPU nothing leaves a card")
    other = same_weights(model)
    StreamedTransformer(other, model.device, blocks=0)
    return other


def _sage(model: Transformer) -> Transformer:
    _needs_cuda(model, "SageAttention is for CUDA only")
    if find_spec("sageattention") is None:
        raise UnavailableError("sageattention is not installed")
    return model


MODES: dict[str, Contestant] = {
    "ours": Contestant(
        True, as_loaded
    ),  # kernels and attention by the device, as an edit runs unless asked otherwise
    "ours, plain": Contestant(True, as_loaded, _wished(kernels="plain")),
    "ours, side stream": Contestant(True, _on_cuda("streams are CUDA's"), _wished(side_stream=True)),
    "ours, graph": Contestant(True, _on_cuda("graphs are CUDA's"), _wished(graph=True)),
    "ours, modulation away": Contestant(True, _modulation_away),
    "ours, sage": Contestant(False, _sage, _wished(attention="sage")),
    "ours, compiled": Contestant(True, compiled_blocks),
    "ours, fp8": Contestant(False, our_float8),
    "ours, fp8 compiled": Contestant(False, our_compiled_float8, slow=True),
}
APPROXIMATIONS: dict[str, Contestant] = {
    f"ours, {name}": Contestant(False, _same, denoise={"approximate": name}) for name in METHODS
}
PEERS: dict[str, Contestant] = {
    "diffusers": Contestant(True, theirs),
    "diffusers, cuDNN": Contestant(True, their_cudnn, cudnn),
    "diffusers, compiled": Contestant(True, their_compiled_blocks, cudnn),
    "diffusers, compiled whole": Contestant(True, their_compiled_whole, cudnn, slow=True),
    "diffusers, torchao fp8": Contestant(False, their_float8, cudnn),
    "ComfyUI": Contestant(True, comfyui),
    "ComfyUI, compiled": Contestant(True, comfyui_compiled),
}


def step_of(contestant: Contestant, model: Any, asked: Question) -> Step:
    """One step of the loop: in diffusers the whole network, in ours what is left once `prepare`
    and `modulation` have run.
    """
    if isinstance(model, Transformer):
        with contestant.scope():
            references = asked.img[:, asked.tokens.shape[1] :]
            prepared = model.prepare(asked.txt, asked.txt_ids, asked.ids, references)
            table = model.modulation(asked.timesteps[None], asked.pooled, asked.guidance)

        def ours() -> Tensor:
            with contestant.scope():
                return one_step(model, asked.tokens, prepared, table, 0)

        return ours
    if isinstance(model, ComfyFlux):
        return model.step(asked, contestant.scope)
    img = asked.img.to(asked.txt.dtype)

    def their_step() -> Tensor:
        with contestant.scope():
            velocity = model(
                hidden_states=img,
                encoder_hidden_states=asked.txt,
                pooled_projections=asked.pooled,
                timestep=asked.timesteps,
                img_ids=asked.ids[0],
                txt_ids=asked.txt_ids[0],
                guidance=asked.guidance,
                return_dict=False,
            )[0]
        return velocity[:, : asked.tokens.shape[1]]

    return their_step


def weights_gib(model: nn.Module) -> float:
    """Of its parameters and buffers on its device, packed ones too, each memory once."""
    device = next(model.parameters()).device
    held = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in (*model.parameters(), *model.buffers())
        if tensor.device == device and type(tensor) in (Tensor, nn.Parameter)
    }
    return sum(held.values()) / 2**30
