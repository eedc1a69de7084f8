"""What a file of weights is, by its keys and shapes and never by its name."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..checks.shorten import short
from ..config import FLUX_VAE, KONTEXT_DEV, TINY_TRANSFORMER
from ..errors import CheckpointError
from . import bitsandbytes, fp8, torchao
from .checkpoint import Checkpoint, open_checkpoint
from .foreign import METHODS, TAKE, packed_as
from .infer_config import clip_config, shape_of, t5_config, transformer_config, vae_config
from .keys import comfyui_norm_rules, count, preview_rules, rename, t5_rules, transformer_rules, vae_rules
from .report import FileReport
from .tensors import LazyTensor, Weights, first_few

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
_LORA_KEY = re.compile(
    r"(?:\.lora_(?:A|down)(?:\.[^.]+)?(?:\.weight)?|[._]lora[12]?(?:_linear_layer)?\.down\.weight"
    r"|\.diff(?:_b)?|\.(?:lokr_w1|lokr_w1_a|hada_w1_a)(?:\.[^.]+)?)$"
)
_LORA = "a LoRA is applied to a model: use it with Kontext LoRA, or with 'kontext edit --lora'"

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


# What names begin with that belong to a model, in whatever form its weights are.
_PACKED_KINDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "transformer",
        "a transformer",
        ("transformer_blocks.0.", "single_transformer_blocks.0.", "double_blocks.0.", "single_blocks.0."),
    ),
    ("t5", "a T5 text encoder", ("encoder.block.0.",)),
)

_NUMBER = re.compile(r"(?<=[.])\d+(?=[.])")


def inspect(path: str | Path) -> FileReport:
    """What a file is, or a folder that transformers or diffusers wrote.

    Raises: CheckpointError if it cannot be read.
    """
    return recognise(open_checkpoint(Path(path)))[0]


def recognise(checkpoint: Checkpoint, part: str = "transformer") -> tuple[FileReport, Weights]:
    """What a checkpoint is, and its weights under the published names, ready to compute with.

    Args:
        part: of a file that holds several models, the one to look at.
    Raises: CheckpointError if what it says of its own configuration cannot be read.
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
    if form := packed_as(weights) or METHODS.get(_method(checkpoint), ""):
        kind, title = next(
            (
                (kind, title)
                for kind, title, names in _PACKED_KINDS
                if any(key.startswith(names) for key in weights)
            ),
            ("unknown", "a file of weights"),
        )
        refusal = f"it is packed as {form}, which only its own programs can read; {TAKE}"
        return replace(
            report, kind=kind, title=f"{title} packed as {form}", refusal=refusal, instead=TAKE
        ), weights
    if any(_LORA_KEY.search(key) for key in weights):
        return replace(report, kind="lora", title="a LoRA", refusal=_LORA), weights

    if checkpoint.config_fault:
        raise CheckpointError(checkpoint.config_fault)
    declared = checkpoint.config if len(parts) == 1 or part == "transformer" else {}
    for kind, title, keys, read in _KINDS:
        if any(key in known for key in keys):
            report = replace(report, kind=kind, title=title, refusal="")
            try:
                weights, forms = _unpack(weights, checkpoint)
                report, weights = read(report, weights, declared)
                _check_numbers(weights)
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
    method = _method(checkpoint)
    if method not in ("", "bitsandbytes", "torchao"):
        raise CheckpointError(f"it is quantised by {short(method)}, which is not known here; {TAKE}")
    if method == "torchao" and torchao.NAMES not in checkpoint.metadata:
        raise CheckpointError(
            "it is quantised by 'torchao', and its header does not say how; save it again as safetensors with torchao 0.16 "
            "or newer, or use the bf16 files, which can be quantised when they are loaded"
        )
    weights, tiles = torchao.unpack(weights, checkpoint.metadata)
    weights, four_bits = bitsandbytes.unpack(weights)
    weights, eight_bits = fp8.unpack(weights, checkpoint.metadata)
    return weights, ["GGUF" if "GGUF.version" in checkpoint.metadata else "", tiles, four_bits, eight_bits]


def _method(checkpoint: Checkpoint) -> str:
    """What a configuration says that the weights are quantised by; "" where it says nothing."""
    quantisation = checkpoint.config.get("quantization_config")
    method = quantisation.get("quant_method") if isinstance(quantisation, dict) else None
    return "" if method is None else str(method)


def _check_numbers(weights: Weights) -> None:
    """Raises: CheckpointError if there are whole numbers where weights should be, unexplained."""
    whole = [key for key, tensor in weights.items() if not tensor.dtype.is_floating_point]
    if whole:
        kinds = ", ".join(sorted({str(weights[key].dtype).removeprefix("torch.") for key in whole}))
        raise CheckpointError(
            f"{len(whole)} of its tensors hold {kinds} and nothing says what they stand for "
            f"({first_few(whole)}); {TAKE}"
        )


def _parts(weights: Weights) -> dict[str, Weights]:
    """Weights without their prefix, by part. A file without prefixes is one part, under the name ""."""
    parts: dict[str, Weights] = {}
    for part, prefixes in _PREFIXES.items():
        for prefix in prefixes:
            own = {key.removeprefix(prefix): weights[key] for key in weights if key.startswith(prefix)}
            if own:
                parts[part] = own
    return parts or {"": weights}


def _name(tensor: LazyTensor) -> str:
    return tensor.stored or str(tensor.dtype).removeprefix("torch.")


def _by_layer(weights: Weights) -> dict[str, dict[str, int]]:
    """How many tensors of each dtype, by names in which `*` stands for numbers."""
    layers: dict[str, Counter[str]] = {}
    for name, tensor in weights.items():
        layers.setdefault(_NUMBER.sub("*", name), Counter())[_name(tensor)] += 1
    return {name: dict(kinds.most_common()) for name, kinds in layers.items()}


def _parameters(weights: Weights) -> int:
    return sum(tensor.numel for tensor in weights.values())


def _read_transformer(
    report: FileReport, weights: Weights, declared: dict[str, Any]
) -> tuple[FileReport, Weights]:
    names = "published names"
    if _FLUX_KEY not in weights:
        names = "diffusers' names"
        depths = count(weights, "transformer_blocks.{}."), count(weights, "single_transformer_blocks.{}.")
        weights = rename(weights, transformer_rules(*depths))
    elif any(key.endswith("_norm.weight") for key in weights):
        names = "published names, norms as in ComfyUI 0.14"
        depths = count(weights, "double_blocks.{}."), count(weights, "single_blocks.{}.")
        weights = rename(weights, comfyui_norm_rules(*depths))
    inputs = shape_of(weights, "img_in.weight", 2)[1]
    outputs = shape_of(weights, "final_layer.linear.weight", 2)[0]
    if inputs != outputs:
        title = _VARIANTS.get(inputs / outputs, "an unknown variant of FLUX.1 with more inputs")
        refusal = f"it is {title}: its image input takes {inputs} numbers a token and not {outputs}"
        return replace(report, format=names, title=title, refusal=refusal), weights

    config = transformer_config(weights, declared)
    report = replace(report, format=names, config=config)
    if config == TINY_TRANSFORMER:
        return replace(report, title="a FLUX transformer of the tiny model's size"), weights
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


def _read_vae(report: FileReport, weights: Weights, declared: dict[str, Any]) -> tuple[FileReport, Weights]:
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
    return replace(report, format=names, config=vae_config(weights, declared)), weights


_OTHER_VAES = {4: " (Stable Diffusion 1, 2 or SDXL)", 32: " (FLUX.2)"}


def _read_clip(report: FileReport, weights: Weights, declared: dict[str, Any]) -> tuple[FileReport, Weights]:
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
    return replace(report, format=names, config=clip_config(weights, declared)), weights


def _read_t5(report: FileReport, weights: Weights, declared: dict[str, Any]) -> tuple[FileReport, Weights]:
    """The embedding has one name, the other or both; whole T5 models have a decoder, of no use here."""
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
    return replace(report, format=names, config=t5_config(weights, declared)), weights


def _read_preview(
    report: FileReport, weights: Weights, declared: dict[str, Any]
) -> tuple[FileReport, Weights]:
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
    ("vae", "an autoencoder of FLUX.1's build", (_VAE_KEY, _VAE_DIFFUSERS_KEY), _read_vae),
    ("clip", "a CLIP text encoder", (_CLIP_KEY, f"text_model.{_CLIP_KEY}"), _read_clip),
    ("t5", "a T5 text encoder", (_T5_KEY, _T5_GGUF_KEY), _read_t5),
    (
        "preview",
        "a small decoder for previews (TAESD)",
        (_PREVIEW_KEY, _PREVIEW_DIFFUSERS_KEY),
        _read_preview,
    ),
)
