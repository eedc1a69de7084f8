"""Which layer of the model a module of a LoRA file belongs to.

A module's name is a prefix and a name that the model's layers have in some program, joined by dots or by
underscores: `transformer.` `single_transformer_blocks.0.proj_mlp`. The name is looked for wherever it begins,
so that a prefix need not be known; wrappers that programs leave in a name (torch.compile, FSDP, DDP) are
passed over.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from ..config import KONTEXT_DEV
from ..loading.keys import transformer_rules

LORA_PARTS = {"transformer": "transformer", "clip": "CLIP", "t5": "T5"}  # and what they are called


@dataclass(frozen=True)
class Target:
    """Where a module of a file belongs.

    Args:
        part: one of `LORA_PARTS`.
        layer: the linear's own name in it.
        pieces: (first, last + 1) of the linear's q, k, v and MLP where the file has them apart; None is all
            of it.
        swap_halves: as of `loading.keys.Rule`.
    """

    part: str
    layer: str
    pieces: tuple[int, int] | None = None
    swap_halves: bool = False

    def rows(self, in_features: int, out_features: int) -> tuple[tuple[int, int], ...]:
        """Where the module's outputs belong among the layer's, as ranges in their order.

        q, k and v are as wide as the layer's input; what is left is the MLP.
        """
        if self.swap_halves:
            return (out_features // 2, out_features), (0, out_features // 2)
        if self.pieces is None:
            return ((0, out_features),)
        first, last = self.pieces
        return ((first * in_features, out_features if last == len(_PIECES) else last * in_features),)


_PIECES = ("q", "k", "v", "MLP")


@dataclass(frozen=True)
class Format:
    """One way of writing names.

    Args:
        title: whose it is.
        prefixes: what stands before the names.
        names: one of `KINDS`.
        joint: what joins the names' words.
    """

    title: str
    prefixes: tuple[str, ...]
    names: str
    joint: str = "."


# Sources beside the rows: who writes such files.
FORMATS: tuple[Format, ...] = (
    # diffusers loaders/lora_pipeline.py, FluxLoraLoaderMixin
    Format("diffusers' names", ("transformer.",), "diffusers"),
    # kohya-ss/sd-scripts networks/lora_flux.py
    Format("kohya's names", ("lora_unet_",), "published", "_"),
    # Nerogar/OneTrainer modules/module/LoRAModule.py, FluxLoRASetup
    Format("OneTrainer's names", ("lora_transformer_",), "diffusers", "_"),
    # XLabs-AI/x-flux src/flux/modules/layers.py, the LoRA processors
    Format("XLabs' names", ("", "diffusion_model."), "xlabs"),
    # fal's Kontext trainer: PEFT upon the published modules
    Format("fal's names", ("base_model.model.",), "published"),
    # ostris/ai-toolkit, and ComfyUI's own nodes that save a LoRA
    Format("ai-toolkit's and ComfyUI's names", ("diffusion_model.",), "published"),
    # bghira/SimpleTuner with LyCORIS
    Format("SimpleTuner's LyCORIS names", ("lycoris_",), "diffusers", "_"),
    # PEFT's PeftModel.save_pretrained upon diffusers' transformer
    Format("PEFT's names", ("base_model.model.",), "diffusers"),
    # diffusers' save_lora_adapter of the transformer alone
    Format("diffusers' names without prefix", ("", "diffusion_model."), "diffusers"),
    Format("published names", ("", "transformer."), "published"),
    # Text encoders: diffusers; kohya (lora_te1_, lora_te3_) and OneTrainer (lora_te1_, lora_te2_); ComfyUI
    Format("diffusers' names of CLIP", ("text_encoder.", "base_model.model."), "clip"),
    Format("kohya's names of CLIP", ("lora_te1_", "lora_te_"), "clip", "_"),
    Format("ComfyUI's names of CLIP", ("text_encoders.clip_l.transformer.", "clip_l.transformer."), "clip"),
    Format("diffusers' names of T5", ("text_encoder_2.", "base_model.model."), "t5"),
    Format("OneTrainer's and kohya's names of T5", ("lora_te2_", "lora_te3_"), "t5", "_"),
    Format("ComfyUI's names of T5", ("text_encoders.t5xxl.transformer.", "t5xxl.transformer."), "t5"),
)

# Kinds of names and what they are called under a prefix that no row of `FORMATS` has.
KINDS = {
    "published": "published names", "diffusers": "diffusers' names", "xlabs": "XLabs' names",
    "clip": "names of CLIP", "t5": "names of T5",
}  # fmt: skip

TITLES = (*(row.title for row in FORMATS), *KINDS.values())

# Words of which the prefixes of programs are made, in any number and order.
_ANY = ("base_model", "model", "lora", "lycoris", "net")
_OF_TRANSFORMER = ("transformer", "diffusion_model", "unet", "flux", "dit", "denoiser", *_ANY)
_WORDS = dict.fromkeys(("published", "diffusers", "xlabs"), _OF_TRANSFORMER) | {
    "clip": ("text_encoders", "text_encoder", "clip_l", "clip", "te1", "te", "transformer", *_ANY),
    "t5": ("text_encoders", "text_encoder_2", "t5xxl", "t5", "te2", "te3", "transformer", *_ANY),
}
_USUAL = {
    kind: re.compile(rf"(?:(?:{'|'.join(words)})[._])*", re.IGNORECASE) for kind, words in _WORDS.items()
}

# What is wrapped around a module leaves its name in the path: torch.compile, FSDP, checkpointing, PEFT; DDP.
_WRAPPERS = re.compile(
    r"(?:(?<![^._])_(?:orig_mod|fsdp_wrapped_module|checkpoint_wrapped_module)"
    r"|(?<![^.])(?:base_layer|module))(?:[._]|$)"
)
_UP_TO_NUMBER = re.compile(r".+?\.\d+(?=\.|$)|.+")
_NUMBERED = re.compile(r"(?:^|[._])\d+[._]")
_OF_A_PART = re.compile(
    r"(?:^|[._])(?:single|joint|cross|temporal|spatial|audio|video|visual|refiner|control\w*)[._]$"
)
_OF_TEXT = re.compile(r"(?:^|[._])(?:te\d?|clip\w*|text\w*|t5\w*)[._]", re.IGNORECASE)

# Modules of XLabs' processors: of a double block, and of a single block.
_XLABS_DOUBLE = (
    ("processor.qkv_lora1", "img_attn.qkv"),
    ("processor.qkv_lora2", "txt_attn.qkv"),
    ("processor.proj_lora1", "img_attn.proj"),
    ("processor.proj_lora2", "txt_attn.proj"),
)
_XLABS_SINGLE = (("processor.qkv_lora", "linear1", (0, 3)), ("processor.proj_lora", "linear2", None))

# diffusers' fused projections, of a double block and of a single block.
_FUSED_DOUBLE = (("attn.to_qkv", "img_attn.qkv"), ("attn.to_added_qkv", "txt_attn.qkv"))
_FUSED_SINGLE = "attn.to_qkv"

_CLIP_LAYER = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2",
    "layer_norm1", "layer_norm2",
)  # fmt: skip
_T5_LAYER = (
    *(f"0.SelfAttention.{name}" for name in "qkvo"),
    *(f"1.DenseReluDense.{name}" for name in ("wi_0", "wi_1", "wo")), "0.layer_norm", "1.layer_norm",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Names:
    """Every name that a layer of a model has in files.

    Args:
        targets: by kind of names, joint and name.
        width: of the transformer's streams.
    """

    targets: Mapping[str, Mapping[str, Mapping[str, Target]]]
    width: int
    heads: re.Pattern[str]

    def without(self, absent: Callable[[Target], bool]) -> "Names":
        """The same without layers that a model lacks, such as the guidance of schnell."""
        kept = {
            kind: {
                joint: {name: target for name, target in table.items() if not absent(target)}
                for joint, table in tables.items()
            }
            for kind, tables in self.targets.items()
        }
        return replace(self, targets=kept)


@dataclass(frozen=True)
class Hit:
    """A module of a file and where it belongs.

    Args:
        title: how its name is written.
        kind: one of `KINDS`.
        prefix: what stands before the model's own name.
        usual: whether programs that are known write such a prefix.
        numbered: whether the name is one of a block's, and not of a layer by itself.
    """

    title: str
    kind: str
    prefix: str
    usual: bool
    numbered: bool
    target: Target


def find_target(module: str, names: Names) -> Hit | None:
    """Find where a module belongs; None where its name is no layer's, or its prefix is no whole model's."""
    plain = _WRAPPERS.sub("", module)
    hits = (
        _hit(plain[: begin.start(1)], begin[1].rstrip("._"), names) for begin in names.heads.finditer(plain)
    )
    return next((hit for hit in hits if hit is not None), None)


def _hit(prefix: str, name: str, names: Names) -> Hit | None:
    joints = "." if "." in name else "_." if prefix.endswith("_") else "._"
    places = ((kind, joint) for joint in joints for kind in names.targets)
    kind, joint = next((place for place in places if name in names.targets[place[0]][place[1]]), ("", ""))
    if not kind:
        return None
    title = _title(prefix, kind, joint)
    usual = bool(title) or _USUAL[kind].fullmatch(prefix) is not None
    if not usual and not _can_be_prefix(prefix, kind, joint):
        return None
    numbered = _NUMBERED.search(name) is not None
    return Hit(title or KINDS[kind], kind, prefix, usual, numbered, names.targets[kind][joint][name])


def _title(prefix: str, kind: str, joint: str) -> str:
    """Whose way of writing this is; "" where no row of `FORMATS` has it."""
    titles = (
        row.title for row in FORMATS if row.names == kind and row.joint == joint and prefix in row.prefixes
    )
    return next(titles, "")


def _can_be_prefix(prefix: str, kind: str, joint: str) -> bool:
    """Whether a whole model may be under an unknown prefix, and not a part of another model."""
    words = prefix.split(".") if joint == "." else re.split(r"[._]", prefix)
    if any(word.isdigit() for word in words) or _OF_A_PART.search(prefix):  # down_blocks.1., or joint_
        return False
    if joint == "." and prefix.endswith("_"):  # of a word that goes on
        return False
    return kind != "clip" or _OF_TEXT.search(prefix) is not None


def make_names(
    depth: int, depth_single_blocks: int, width: int, clip: Iterable[str], t5: Iterable[str]
) -> Names:
    """Collect the names of a model.

    Args:
        depth: double blocks of the transformer.
        depth_single_blocks: single blocks of the transformer.
        width: of its streams.
        clip: names of CLIP's layers.
        t5: names of T5's layers.
    """
    published: dict[str, Target] = {}
    diffusers: dict[str, Target] = {}
    for rule in transformer_rules(depth, depth_single_blocks):
        layer, _, end = rule.published.rpartition(".")
        if end == "bias":
            continue
        published[layer] = Target("transformer", layer)
        if end == "scale":  # of a norm, which ComfyUI names with the parameter
            published[rule.published] = published[layer]
        for i, source in enumerate(rule.sources):
            pieces = (i, i + 1) if len(rule.sources) > 1 else None
            diffusers[source.removesuffix(".weight")] = Target("transformer", layer, pieces, rule.swap_halves)
    xlabs: dict[str, Target] = {}
    for i in range(depth):
        block, theirs = f"double_blocks.{i}.", f"transformer_blocks.{i}."
        xlabs |= {block + name: Target("transformer", block + layer) for name, layer in _XLABS_DOUBLE}
        diffusers |= {theirs + name: Target("transformer", block + layer) for name, layer in _FUSED_DOUBLE}
    for i in range(depth_single_blocks):
        block, theirs = f"single_blocks.{i}.", f"single_transformer_blocks.{i}."
        xlabs |= {
            block + name: Target("transformer", block + layer, pieces)
            for name, layer, pieces in _XLABS_SINGLE
        }
        diffusers[theirs + _FUSED_SINGLE] = Target("transformer", f"{block}linear1", (0, 3))
    clips: dict[str, Target] = {}
    for layer in clip:  # transformers 5 leaves `text_model.` out
        short = layer.removeprefix("text_model.")
        clips |= dict.fromkeys((short, f"text_model.{short}"), Target("clip", layer))
    kinds = {
        "published": published,
        "diffusers": diffusers,
        "xlabs": xlabs,
        "clip": clips,
        "t5": {layer: Target("t5", layer) for layer in t5},
    }
    return Names(
        {kind: {joint: _joined(table, joint) for joint in "._"} for kind, table in kinds.items()},
        width,
        _heads(name for table in kinds.values() for name in table),
    )


@cache
def published_names() -> Names:
    """Those of FLUX.1 with CLIP-L and T5-XXL, to say what a file is without a model."""
    clip = [f"text_model.encoder.layers.{i}.{name}" for i in range(12) for name in _CLIP_LAYER]
    t5 = [f"encoder.block.{i}.layer.{name}" for i in range(24) for name in _T5_LAYER]
    own = KONTEXT_DEV
    return make_names(
        own.depth, own.depth_single_blocks, own.hidden_size,
        [*clip, "text_model.final_layer_norm"], [*t5, "encoder.final_layer_norm"],
    )  # fmt: skip


def _joined(table: Mapping[str, Target], joint: str) -> dict[str, Target]:
    return {name.replace(".", joint): target for name, target in table.items()}


def _heads(names: Iterable[str]) -> re.Pattern[str]:
    """What names begin with: their words up to the first number, or all where there is none."""
    words = {tuple(re.split(r"[._]", _UP_TO_NUMBER.findall(name)[0])) for name in names}
    heads = sorted({"[._]".join(r"\d+" if word.isdigit() else word for word in head) for head in words})
    return re.compile(rf"(?:(?<=^)|(?<=[._]))(?=((?:{'|'.join(heads)})(?:[._].*)?)\Z)", re.DOTALL)
