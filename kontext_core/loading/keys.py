"""Tables from other parameter names to the published ones.

The names are diffusers' of the transformer and the autoencoders, ComfyUI's of norms, and llama.cpp's of T5.

Source: diffusers scripts/convert_flux_to_diffusers.py; llama.cpp gguf-py/gguf/tensor_mapping.py; the names of
both.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..quant.layer import PackedWeight, UnquantisedRows
from .tensors import LazyTensor, Weights, first_few

MOST_LAYERS = 1024  # of one kind; FLUX.1 has 38


@dataclass(frozen=True)
class Rule:
    """One published parameter, from one or several of diffusers' or of another program's.

    Args:
        sources: concatenated along the first axis.
        swap_halves: diffusers' final modulation holds (scale, shift), the published one (shift, scale).
        pointwise: a linear of diffusers' that is a 1 x 1 convolution in the published model.
    """

    published: str
    sources: tuple[str, ...]
    swap_halves: bool = False
    pointwise: bool = False

    def shape(self, sources: list[tuple[int, ...]]) -> tuple[int, ...]:
        shape = (sum(shape[0] for shape in sources), *sources[0][1:])
        return (*shape, 1, 1) if self.pointwise and len(shape) == 2 else shape

    def build(self, sources: list[Tensor]) -> Tensor:
        tensor = torch.cat(sources) if len(sources) > 1 else sources[0]
        if self.swap_halves:
            tensor = torch.cat(tensor.chunk(2)[::-1])
        return tensor[..., None, None] if self.pointwise and tensor.ndim == 2 else tensor


# Modules with a weight and perhaps a bias: published name, diffusers' names.
_TRANSFORMER = (
    ("img_in", "x_embedder"),
    ("txt_in", "context_embedder"),
    ("time_in.in_layer", "time_text_embed.timestep_embedder.linear_1"),
    ("time_in.out_layer", "time_text_embed.timestep_embedder.linear_2"),
    ("guidance_in.in_layer", "time_text_embed.guidance_embedder.linear_1"),
    ("guidance_in.out_layer", "time_text_embed.guidance_embedder.linear_2"),
    ("vector_in.in_layer", "time_text_embed.text_embedder.linear_1"),
    ("vector_in.out_layer", "time_text_embed.text_embedder.linear_2"),
    ("final_layer.linear", "proj_out"),
    ("final_layer.adaLN_modulation.1", "norm_out.linear"),
)
_DOUBLE_BLOCK = (
    ("img_mod.lin", "norm1.linear"),
    ("txt_mod.lin", "norm1_context.linear"),
    ("img_attn.qkv", "attn.to_q", "attn.to_k", "attn.to_v"),
    ("txt_attn.qkv", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    ("img_attn.proj", "attn.to_out.0"),
    ("txt_attn.proj", "attn.to_add_out"),
    ("img_mlp.0", "ff.net.0.proj"),
    ("img_mlp.2", "ff.net.2"),
    ("txt_mlp.0", "ff_context.net.0.proj"),
    ("txt_mlp.2", "ff_context.net.2"),
)
_DOUBLE_BLOCK_NORMS = (
    ("img_attn.norm.query_norm.scale", "attn.norm_q.weight"),
    ("img_attn.norm.key_norm.scale", "attn.norm_k.weight"),
    ("txt_attn.norm.query_norm.scale", "attn.norm_added_q.weight"),
    ("txt_attn.norm.key_norm.scale", "attn.norm_added_k.weight"),
)
_SINGLE_BLOCK = (
    ("modulation.lin", "norm.linear"),
    ("linear1", "attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    ("linear2", "proj_out"),
)
_SINGLE_BLOCK_NORMS = (
    ("norm.query_norm.scale", "attn.norm_q.weight"),
    ("norm.key_norm.scale", "attn.norm_k.weight"),
)
_VAE_RESNET = (
    ("norm1", "norm1"),
    ("conv1", "conv1"),
    ("norm2", "norm2"),
    ("conv2", "conv2"),
    ("nin_shortcut", "conv_shortcut"),
)
_VAE_ATTENTION = (
    ("norm", "group_norm"),
    ("q", "to_q"),
    ("k", "to_k"),
    ("v", "to_v"),
    ("proj_out", "to_out.0"),
)

_T5_BLOCK = (
    ("layer.0.SelfAttention.q", "attn_q"),
    ("layer.0.SelfAttention.k", "attn_k"),
    ("layer.0.SelfAttention.v", "attn_v"),
    ("layer.0.SelfAttention.o", "attn_o"),
    ("layer.0.SelfAttention.relative_attention_bias", "attn_rel_b"),
    ("layer.0.layer_norm", "attn_norm"),
    ("layer.1.DenseReluDense.wi_0", "ffn_gate"),
    ("layer.1.DenseReluDense.wi_1", "ffn_up"),
    ("layer.1.DenseReluDense.wo", "ffn_down"),
    ("layer.1.layer_norm", "ffn_norm"),
)


def transformer_rules(depth: int, depth_single_blocks: int) -> list[Rule]:
    rules = [*_modules(_TRANSFORMER)]
    for i in range(depth):
        prefixes = f"double_blocks.{i}.", f"transformer_blocks.{i}."
        rules += _modules(_DOUBLE_BLOCK, *prefixes)
        rules += _parameters(_DOUBLE_BLOCK_NORMS, *prefixes)
    for i in range(depth_single_blocks):
        prefixes = f"single_blocks.{i}.", f"single_transformer_blocks.{i}."
        rules += _modules(_SINGLE_BLOCK, *prefixes)
        rules += _parameters(_SINGLE_BLOCK_NORMS, *prefixes)
    return rules


def comfyui_norm_rules(depth: int, depth_single_blocks: int) -> list[Rule]:
    """Norms' scales as ComfyUI 0.14 and later name them, in models and in what its nodes save.

    All other names are the published ones.

    Source: ComfyUI comfy/supported_models.py, Flux.process_unet_state_dict.
    """
    names = (rule.published for rule in transformer_rules(depth, depth_single_blocks))
    scales = [name for name in names if name.endswith("_norm.scale")]
    return [Rule(name, (f"{name.removesuffix('scale')}weight",)) for name in scales]


def vae_rules(levels: int, num_res_blocks: int) -> list[Rule]:
    rules: list[Rule] = []
    for half in ("encoder.", "decoder."):
        rules += _modules(
            (("conv_in", "conv_in"), ("norm_out", "conv_norm_out"), ("conv_out", "conv_out")), half, half
        )
        rules += _modules(_VAE_RESNET, f"{half}mid.block_1.", f"{half}mid_block.resnets.0.")
        rules += _modules(_VAE_RESNET, f"{half}mid.block_2.", f"{half}mid_block.resnets.1.")
        rules += _modules(
            _VAE_ATTENTION, f"{half}mid.attn_1.", f"{half}mid_block.attentions.0.", pointwise=True
        )
    for i in range(levels):
        down, up = (
            f"encoder.down_blocks.{i}.",
            f"decoder.up_blocks.{levels - 1 - i}.",
        )  # up_blocks count from the coarsest
        for j in range(num_res_blocks):
            rules += _modules(_VAE_RESNET, f"encoder.down.{i}.block.{j}.", f"{down}resnets.{j}.")
        for j in range(num_res_blocks + 1):
            rules += _modules(_VAE_RESNET, f"decoder.up.{i}.block.{j}.", f"{up}resnets.{j}.")
        rules += _modules((("downsample.conv", "downsamplers.0.conv"),), f"encoder.down.{i}.", down)
        rules += _modules((("upsample.conv", "upsamplers.0.conv"),), f"decoder.up.{i}.", up)
    return rules


def t5_rules(layers: int, *, gated: bool) -> list[Rule]:
    """Name the layers of T5.

    Args:
        gated: whether the feed-forward has a gate, as T5 1.1; the first T5 has one matrix `wi` in place of
            two.
    """
    rows = [("shared", "token_embd"), ("encoder.final_layer_norm", "enc.output_norm")]
    for i in range(layers):
        for name, source in _T5_BLOCK:
            name = name if gated else name.replace("wi_1", "wi")
            rows.append((f"encoder.block.{i}.{name}", f"enc.blk.{i}.{source}"))
    return [Rule(f"{name}.weight", (f"{source}.weight",)) for name, source in rows]


def preview_rules() -> list[Rule]:
    """diffusers' AutoencoderTiny has no layer of its own for the clamp, so that its numbers are one lower."""
    ends = ("weight", "bias", *(f"conv.{i}.{end}" for i in (0, 2, 4) for end in ("weight", "bias")))
    return [Rule(f"{i}.{end}", (f"decoder.layers.{i - 1}.{end}",)) for i in range(1, 20) for end in ends]


def rename(weights: Weights, rules: Iterable[Rule]) -> Weights:
    """Weights under the published names. What no rule knows keeps its name: strict loading will report it.

    Raises: CheckpointError if only some of the parameters that make up a published one are there, or it is
    there as well.
    """
    left = dict(weights)
    renamed: Weights = {}
    for rule in rules:
        sources = [left.pop(key) for key in rule.sources if key in left]
        if sources and rule.published in left:
            raise CheckpointError(f"{rule.published} is there twice, the second time as {rule.sources[0]}")
        if len(sources) == len(rule.sources):
            renamed[rule.published] = _joined(rule, sources)
        elif sources:
            raise CheckpointError(
                f"{first_few(set(rule.sources) - set(weights))} is missing, beside {rule.sources[0]}"
            )
    return renamed | left


def count(weights: Weights, pattern: str) -> int:
    """How many of pattern.format(0), pattern.format(1), ... begin some key.

    Args:
        pattern: ends in "{}.".

    Raises: CheckpointError if there are more than any model has; each would take memory before its tensors
    are looked at.
    """
    start = pattern.removesuffix("{}.")
    parts = [key[len(start) :].partition(".") for key in weights if key.startswith(start)]
    there = {number for number, dot, _ in parts if dot}
    n = 0
    while str(n) in there:
        n += 1
        if n > MOST_LAYERS:
            raise CheckpointError(
                f"it has more than {MOST_LAYERS:,} layers {start}*, and no model here has as many"
            )
    return n


def _joined(rule: Rule, sources: list[LazyTensor]) -> LazyTensor:
    if len(sources) == 1 and not rule.swap_halves and not rule.pointwise:
        return sources[0]

    def packed() -> list[PackedWeight]:
        return [
            piece
            for source in sources
            for piece in (source.packed() if source.packed else [UnquantisedRows(source.read())])
        ]

    stays = any(source.packed for source in sources) and not rule.swap_halves and not rule.pointwise
    return LazyTensor(
        shape=rule.shape([source.shape for source in sources]),
        dtype=sources[0].dtype,
        read=lambda: rule.build([source.read() for source in sources]),
        packed=packed if stays else None,
        stored=sources[0].stored,
    )


def _modules(
    rows: Iterable[tuple[str, ...]], published: str = "", diffusers: str = "", *, pointwise: bool = False
) -> Iterator[Rule]:
    for name, *sources in rows:
        for end in (".weight", ".bias"):
            yield Rule(
                published=f"{published}{name}{end}",
                sources=tuple(f"{diffusers}{source}{end}" for source in sources),
                swap_halves=sources == ["norm_out.linear"],
                pointwise=pointwise,
            )


def _parameters(rows: Iterable[tuple[str, str]], published: str, diffusers: str) -> Iterator[Rule]:
    for name, source in rows:
        yield Rule(f"{published}{name}", (f"{diffusers}{source}",))
