"""What a file of weights is, by its keys and shapes and never by its name."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..config import FLUX_VAE, KONTEXT_DEV, TINY_TRANSFORMER, TransformerConfig
from ..errors import CheckpointError
from ..packed.schemes import BYTES
from . import bitsandbytes, fp8, torchao
from .checkpoint import Checkpoint, LazyTensor, Weights, open_checkpoint
from .keys import count, preview_rules, rename, t5_rules, transformer_rules, vae_rules
from .shapes import clip_config, shape_of, t5_config, transformer_config, vae_config

# The parts that programs pack into one file, and the prefixes they put before the published names.
_PREFIXES = {
    "transformer": ("model.diffusion_model.",),
    "vae": ("vae.", "first_stage_model."),
    "clip": ("text_encoders.clip_l.transformer.",),
    "t5": ("text_encoders.t5xxl.transformer.",),
    "preview": ("taesd_decoder.",),
}

_FLUX_KEY = "double_blocks.0.img_attn.qkv.weight"
_FLUX_DIFFUSERS_KEY = "single_transformer_blocks.0.proj_mlp.weight"
_VAE_KEY = "encoder.down.0.block.0.norm1.weight"
_VAE_DIFFUSERS_KEY = "encoder.down_blocks.0.resnets.0.norm1.weight"
_CLIP_KEY = "encoder.layers.0.mlp.fc1.weight"
_T5_KEY = "encoder.block.0.layer.0.SelfAttention.q.weight"
_T5_GGUF_KEY = "enc.blk.0.attn_q.weight"
_PREVIEW_KEY = "18.conv.0.weight"
_PREVIEW_DIFFUSERS_KEY = "decoder.layers.17.conv.0.weight"
_LORA_ENDS = (
    ".lora_A.weight", ".lora_down.weight", ".lora_A", ".lora_linear_layer.down.weight", ".lora.down.weight",
    "_lora.down.weight", "_lora1.down.weight", "_lora2.down.weight", ".lokr_w1", ".lokr_w1_a", ".hada_w1_a",
)  # fmt: skip
_LORA = "a LoRA goes upon a model: put it there with Kontext LoRA, or with 'kontext edit --lora'"

# Other models: the keys that give them away. The first row whose keys are all there counts.
_OTHERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("distilled_guidance_layer.in_proj.weight",), "a Chroma transformer"),
    (("double_stream_modulation_img.lin.weight",), "a FLUX.2 transformer"),
    (("double_stream_modulation_img.linear.weight",), "a FLUX.2 transformer"),
    (("txt_in.individual_token_refiner.blocks.0.norm1.weight",), "a HunyuanVideo transformer"),
    (("controlnet_blocks.0.weight",), "a ControlNet for FLUX.1"),
    (("controlnet_x_embedder.weight",), "a ControlNet for FLUX.1"),
    (("redux_up.weight",), "the FLUX.1 Redux image adapter"),
    (("joint_blocks.0.context_block.attn.qkv.weight",), "a Stable Diffusion 3 transformer"),
    (
        ("pos_embed.proj.weight", "transformer_blocks.0.attn.add_q_proj.weight"),
        "a Stable Diffusion 3 transformer",
    ),
    (("input_blocks.0.0.weight", "label_emb.0.0.weight"), "an SDXL UNet"),
    (("input_blocks.0.0.weight",), "a Stable Diffusion 1 or 2 UNet"),
    (("conv_in.weight", "add_embedding.linear_1.weight"), "an SDXL UNet"),
    (("conv_in.weight", "time_embedding.linear_1.weight"), "a Stable Diffusion 1 or 2 UNet"),
    (("txt_norm.weight", "transformer_blocks.0.img_mod.1.weight"), "a Qwen-Image transformer"),
    (("patch_embedding.weight", "blocks.0.self_attn.q.weight"), "a Wan transformer"),
    (("encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight",), "a UMT5 text encoder"),
    (("text_model.encoder.layers.23.mlp.fc1.weight",), "an OpenCLIP text encoder (H or bigG)"),
    (("transformer.resblocks.0.attn.in_proj_weight",), "an OpenCLIP text encoder"),
    (("enc.blk.1.attn_rel_b.weight",), "a UMT5 text encoder"),
    (("model.layers.0.self_attn.q_proj.weight",), "a language model"),
    (("blk.0.attn_q.weight", "output_norm.weight"), "a language model"),
    (("1.conv.0.weight", "14.weight"), "the encoder of a small autoencoder (TAESD)"),
)


_NUMBER = re.compile(r"(?<=[.])\d+(?=[.])")
_MOST_SAID, _LONGEST_SAID = 24, 160  # lines and letters of the metadata

# The share of the parameters that are never quantised when they are loaded.
_HIGH_PRECISION = {"transformer": 0.28, "t5": 0.03}


@dataclass(frozen=True)
class FileReport:
    """What a file is and whether it can be used.

    Args:
        kind: "transformer", "vae", "clip", "t5", "preview", "lora" or "unknown". title: what it is, in words.
        format: whose parameter names it has, and how it is quantised.
        config: TransformerConfig, VAEConfig, CLIPTextConfig, T5Config, of "preview" the latent channels; or None where the
            sizes are not known.
        dtypes: how many tensors of each. packed_parameters: numbers that can stay in fewer bits than are computed with.
        refusal: why it cannot be used, "" if it can. layers: how many tensors of each dtype, by the kind of layer, its
            numbers left out. metadata: the header's strings, without what it says of single tensors.
    """

    path: Path
    kind: str
    title: str
    format: str
    config: Any
    dtypes: dict[str, int]
    parameters: int
    size: int  # bytes on disk
    notes: tuple[str, ...] = ()
    refusal: str = ""
    packed_parameters: int = 0
    layers: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    def memory(self, dtype: torch.dtype, quantise: str | None) -> int:
        """Bytes that the model takes when it is loaded, estimated. Args: as for `load_transformer`."""
        whole = self.parameters * dtype.itemsize
        high = _HIGH_PRECISION.get(self.kind, 1.0)
        if quantise is None and self.packed_parameters:
            return self.size + (self.parameters - self.packed_parameters) * dtype.itemsize
        if quantise in BYTES:
            return int(high * whole + (1 - high) * self.parameters * BYTES[quantise])
        return whole

    def describe(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.path.name}: {self.title}",
            f"{self.parameters:,} parameters, {_size(self.size)}, {self.format}, tensors: {_counts(self.dtypes)}",
        ]
        if len({name for kinds in self.layers.values() for name in kinds}) > 1:
            lines.append(f"by layer: {'; '.join(self._groups())}")
        if isinstance(self.config, TransformerConfig):
            config = self.config
            guidance = "with" if config.guidance_embed else "without"
            lines.append(
                f"{config.depth} double and {config.depth_single_blocks} single blocks of width "
                f"{config.hidden_size}, {guidance} guidance, {config.text_length} text tokens, references by "
                f"default in layout {config.layout!r}"
            )
        lines += self.notes
        if self.refusal:
            lines.append(f"it cannot be used here: {self.refusal}")
        return "\n".join(lines)

    def describe_closely(self) -> str:
        """Further lines: the dtype of every kind of layer, and the metadata, cut short."""
        layers = [f"{name}: {_counts(kinds)}" for name, kinds in self.layers.items()]
        said = [f"{name} = {_short(value)}" for name, value in sorted(self.metadata.items())]
        more = [f"and {len(said) - _MOST_SAID} more"] if len(said) > _MOST_SAID else []
        return "\n".join([*layers, "metadata:", *(said[:_MOST_SAID] or ["none"]), *more])

    def _groups(self) -> list[str]:
        groups: dict[str, Counter[str]] = {}
        for name, kinds in self.layers.items():
            first, dot, _ = name.partition(".*.")
            groups.setdefault(first if dot else "others", Counter()).update(kinds)
        return [f"{name} {_counts(dict(kinds.most_common()))}" for name, kinds in groups.items()]


def inspect(path: str | Path) -> FileReport:
    """What a file is, or a folder that transformers or diffusers wrote.

    Raises: CheckpointError if it cannot be read.
    """
    return recognise(open_checkpoint(Path(path)))[0]


def recognise(checkpoint: Checkpoint, part: str = "transformer") -> tuple[FileReport, Weights]:
    """What a checkpoint is, and its weights under the published names, ready to compute with.

    Args: part: of a file that holds several models, the one to look at.
    """
    parts = _parts(checkpoint.weights)
    weights = parts.get(part) or next(iter(parts.values()))
    known = torchao.names(weights)
    report = FileReport(
        path=checkpoint.path,
        kind="unknown",
        title="of an unknown kind",
        format="names of its own",
        config=None,
        dtypes=dict(Counter(_name(tensor) for tensor in weights.values()).most_common()),
        parameters=_parameters(weights),
        size=checkpoint.size,
        notes=(f"the file packs several models: {', '.join(parts)}",) if len(parts) > 1 else (),
        refusal="no model known here has such parameter names",
        layers=_by_layer(weights),
        metadata={
            key: text
            for key, text in checkpoint.metadata.items()
            if key not in known and key != torchao.NAMES
        },
    )
    for keys, title in _OTHERS:
        if all(key in known for key in keys):
            return replace(report, title=title, refusal=f"it is {title}"), weights
    if any(key.endswith(_LORA_ENDS) for key in weights):
        return replace(report, kind="lora", title="a LoRA", refusal=_LORA), weights

    said = checkpoint.config if len(parts) == 1 or part == "transformer" else {}
    for kind, title, keys, read in _KINDS:
        if any(key in known for key in keys):
            report = replace(report, kind=kind, title=title, refusal="")
            try:
                weights, forms = _unpack(weights, checkpoint)
                report, weights = read(report, weights, said)
            except CheckpointError as error:
                return replace(report, refusal=str(error)), weights
            names = ", ".join(filter(None, (report.format, *forms)))
            packed = sum(tensor.numel for tensor in weights.values() if tensor.packed)
            return replace(
                report,
                format=names,
                parameters=_parameters(weights),
                packed_parameters=packed,
                layers=_by_layer(weights),
            ), weights
    return report, weights


def _unpack(weights: Weights, checkpoint: Checkpoint) -> tuple[Weights, list[str]]:
    """Weights that can be read or stay packed, and what the forms are called that they are stored in."""
    said = checkpoint.config.get("quantization_config")
    method = said.get("quant_method") if isinstance(said, dict) else None
    if method not in (None, "bitsandbytes", "torchao"):
        raise CheckpointError(
            f"it is quantised by {method!r}, whose files have no settled layout; use the bf16 files, which can be "
            "quantised when they are loaded, or GGUF, fp8 or NF4"
        )
    if method == "torchao" and torchao.NAMES not in checkpoint.metadata:
        raise CheckpointError(
            "it is quantised by 'torchao', and its header does not say how; save it again as safetensors with torchao 0.16 "
            "or newer, or use the bf16 files, which can be quantised when they are loaded"
        )
    weights, tiles = torchao.unpack(weights, checkpoint.metadata)
    weights, four_bits = bitsandbytes.unpack(weights)
    weights, eight_bits = fp8.unpack(weights, checkpoint.metadata)
    return weights, ["GGUF" if "GGUF.version" in checkpoint.metadata else "", tiles, four_bits, eight_bits]


def _parts(weights: Weights) -> dict[str, Weights]:
    """Weights without their prefix, by part. A file without prefixes is one part, under the name ""."""
    parts: dict[str, Weights] = {}
    for part, prefixes in _PREFIXES.items():
        for prefix in prefixes:
            found = {key.removeprefix(prefix): weights[key] for key in weights if key.startswith(prefix)}
            if found:
                parts[part] = found
    return parts or {"": weights}


def _name(tensor: LazyTensor) -> str:
    return tensor.stored or str(tensor.dtype).removeprefix("torch.")


def _by_layer(weights: Weights) -> dict[str, dict[str, int]]:
    """How many tensors of each dtype, by names in which `*` stands for numbers."""
    found: dict[str, Counter[str]] = {}
    for name, tensor in weights.items():
        found.setdefault(_NUMBER.sub("*", name), Counter())[_name(tensor)] += 1
    return {name: dict(kinds.most_common()) for name, kinds in found.items()}


def _counts(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{n} x {name}" for name, n in kinds.items())


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SAID else f"{line[:_LONGEST_SAID]} ..."


def _size(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.2f} MiB"


def _parameters(weights: Weights) -> int:
    return sum(tensor.numel for tensor in weights.values())


def _read_transformer(
    report: FileReport, weights: Weights, said: dict[str, Any]
) -> tuple[FileReport, Weights]:
    names = "published names"
    if _FLUX_KEY not in weights:
        names = "diffusers' names"
        depths = count(weights, "transformer_blocks.{}."), count(weights, "single_transformer_blocks.{}.")
        weights = rename(weights, transformer_rules(*depths))
    inputs = shape_of(weights, "img_in.weight", 2)[1]
    outputs = shape_of(weights, "final_layer.linear.weight", 2)[0]
    if inputs != outputs:
        title = _VARIANTS.get(inputs / outputs, "an unknown variant of FLUX.1 with more inputs")
        refusal = f"it is {title}: its image input takes {inputs} numbers a token and not {outputs}"
        return replace(report, format=names, title=title, refusal=refusal), weights

    config = transformer_config(weights, said)
    report = replace(report, format=names, config=config)
    if config == TINY_TRANSFORMER:
        return replace(report, title="the tiny model"), weights
    if replace(config, guidance_embed=True) != replace(KONTEXT_DEV, text_length=config.text_length):
        return replace(report, title="a FLUX transformer of its own size"), weights
    if config.guidance_embed:
        title, note = "a FLUX.1 transformer, dev or Kontext", _DEV_OR_KONTEXT
    else:
        title, note = "the FLUX.1 schnell transformer", _SCHNELL
    return replace(report, title=title, notes=(*report.notes, note)), weights


# Inputs as a multiple of the outputs. Source: flux util.py, configs (in_channels 384 and 128 beside 64).
_VARIANTS = {6.0: "FLUX.1 Fill", 2.0: "a FLUX.1 control model (depth or canny)"}
_DEV_OR_KONTEXT = (
    "FLUX.1 dev and Kontext have the same keys and shapes, so the file does not tell which it is; "
    "only Kontext was trained to edit"
)
_SCHNELL = "FLUX.1 schnell was not trained to edit: it makes pictures from text alone"


def _read_vae(report: FileReport, weights: Weights, said: dict[str, Any]) -> tuple[FileReport, Weights]:
    names = "published names"
    if _VAE_KEY not in weights:
        names = "diffusers' names"
        sizes = count(weights, "encoder.down_blocks.{}."), count(weights, "encoder.down_blocks.0.resnets.{}.")
        weights = rename(weights, vae_rules(*sizes))
    channels = shape_of(weights, "decoder.conv_in.weight", 4)[1]
    if channels != FLUX_VAE.z_channels:
        title = f"an autoencoder with {channels} latent channels"
        refusal = f"it is {title}{_OTHER_VAES.get(channels, '')}; FLUX.1 has {FLUX_VAE.z_channels}"
        return replace(report, format=names, title=title, refusal=refusal), weights
    return replace(report, format=names, config=vae_config(weights, said)), weights


_OTHER_VAES = {4: " (Stable Diffusion 1, 2 or SDXL)", 32: " (FLUX.2)"}


def _read_clip(report: FileReport, weights: Weights, said: dict[str, Any]) -> tuple[FileReport, Weights]:
    """Published names begin with `text_model.`; transformers 5 writes them without."""
    unused = (
        "vision_model.",
        "visual_projection.",
        "text_projection.",
        "logit_scale",
        "text_model.embeddings.position_ids",
    )
    weights = {key: tensor for key, tensor in weights.items() if not key.startswith(unused)}
    names = "published names"
    if f"text_model.{_CLIP_KEY}" not in weights:
        names = "transformers 5 names"
        weights = {f"text_model.{key}": tensor for key, tensor in weights.items()}
    return replace(report, format=names, config=clip_config(weights, said)), weights


def _read_t5(report: FileReport, weights: Weights, said: dict[str, Any]) -> tuple[FileReport, Weights]:
    """The embedding may be there under two names or either; whole T5 models have a decoder, of no use here."""
    unused = ("decoder.", "lm_head.", "spiece_model", "encoder.embed_tokens.", "dec.", "output.")
    names = "published names"
    if _T5_KEY not in weights:
        names = "llama.cpp's names"
        gated = "enc.blk.0.ffn_gate.weight" in weights
        weights = rename(weights, t5_rules(count(weights, "enc.blk.{}."), gated=gated))
    embedding = weights.get("shared.weight") or weights.get("encoder.embed_tokens.weight")
    weights = {key: tensor for key, tensor in weights.items() if not key.startswith(unused)}
    if embedding is not None:
        weights["shared.weight"] = embedding
    return replace(report, format=names, config=t5_config(weights, said)), weights


def _read_preview(report: FileReport, weights: Weights, said: dict[str, Any]) -> tuple[FileReport, Weights]:
    """diffusers' files have the encoder too, of no use here."""
    names = "published names"
    if _PREVIEW_KEY not in weights:
        names = "diffusers' names"
        weights = {key: tensor for key, tensor in weights.items() if key.startswith("decoder.")}
        weights = rename(weights, preview_rules())
    channels = shape_of(weights, "1.weight", 4)[1]
    report = replace(report, format=names, config=channels)
    if channels != FLUX_VAE.z_channels:
        refusal = f"it is for latents of {channels} channels; FLUX.1 has {FLUX_VAE.z_channels}"
        return replace(report, refusal=refusal), weights
    return replace(report, notes=(*report.notes, _TAEF1_OR_TAESD3)), weights


_TAEF1_OR_TAESD3 = (
    "those of FLUX.1 (taef1) and of Stable Diffusion 3 (taesd3) have the same keys and shapes, so the file does not tell "
    "which it is"
)

_Reader = Callable[[FileReport, Weights, dict[str, Any]], tuple[FileReport, Weights]]

# Kind, what it is called, keys of which one is enough, how it is read.
_KINDS: tuple[tuple[str, str, tuple[str, ...], _Reader], ...] = (
    ("transformer", "a FLUX transformer", (_FLUX_KEY, _FLUX_DIFFUSERS_KEY), _read_transformer),
    ("vae", "the autoencoder of FLUX.1", (_VAE_KEY, _VAE_DIFFUSERS_KEY), _read_vae),
    ("clip", "a CLIP text encoder", (_CLIP_KEY, f"text_model.{_CLIP_KEY}"), _read_clip),
    ("t5", "a T5 text encoder", (_T5_KEY, _T5_GGUF_KEY), _read_t5),
    (
        "preview",
        "a small decoder for previews (TAESD)",
        (_PREVIEW_KEY, _PREVIEW_DIFFUSERS_KEY),
        _read_preview,
    ),
)
