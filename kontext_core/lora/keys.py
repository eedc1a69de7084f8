"""Which layer of the model a module of a LoRA file belongs to: one table of names for each way of writing them.

A key is a prefix, the name of a module and the role of a tensor in it, as in
`transformer.` `single_transformer_blocks.0.proj_mlp` `.lora_A.weight`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..loading.keys import transformer_rules

PARTS = {"transformer": "transformer", "clip": "CLIP", "t5": "T5"}  # and what they are called

Tables = Mapping[str, Mapping[str, "Target"]]


@dataclass(frozen=True)
class Target:
    """Where a module of a file belongs.

    Args:
        part: one of `PARTS`. layer: the linear's own name in it.
        pieces: (first, last + 1) of the linear's q, k, v and MLP where the file has them apart; None is all of it.
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
    """One way of writing names. Args: title; prefixes; names: key of `Tables`, joined by dots or by underscores."""

    title: str
    prefixes: tuple[str, ...]
    names: str
    joint: str = "."


# The first row that knows a name counts. Sources beside the rows: who writes such files.
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

# Modules of XLabs' processors: of a double block, and of a single block.
_XLABS_DOUBLE = (
    ("processor.qkv_lora1", "img_attn.qkv"),
    ("processor.qkv_lora2", "txt_attn.qkv"),
    ("processor.proj_lora1", "img_attn.proj"),
    ("processor.proj_lora2", "txt_attn.proj"),
)
_XLABS_SINGLE = (("processor.qkv_lora", "linear1", (0, 3)), ("processor.proj_lora", "linear2", None))

# Ends of keys and the role of the tensor; of several that fit, the longest counts.
_ROLES = {
    "down": (
        ".lora_A.weight", ".lora_down.weight", ".lora_A.default.weight", ".lora.down.weight",
        ".lora_linear_layer.down.weight", ".down.weight", ".lora_A", ".lora_down",
    ),
    "up": (
        ".lora_B.weight", ".lora_up.weight", ".lora_B.default.weight", ".lora.up.weight",
        ".lora_linear_layer.up.weight", ".up.weight", ".lora_B", ".lora_up",
    ),
    "alpha": (".alpha",),
    "magnitude": (
        ".dora_scale", ".lora_magnitude_vector", ".lora_magnitude_vector.weight",
        ".lora_magnitude_vector.default.weight",
    ),
    **{role: (f".{role}", f".{role}.default") for role in (
        "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b",
        "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b",
    )},
}  # fmt: skip

# Ends of keys that are known and of no use here, and what they are.
UNUSABLE = {
    ".lora_mid.weight": "LoCon with a core between (Tucker)", ".lokr_t2": "LoKr with a core (Tucker)",
    ".hada_t1": "LoHa with a core (Tucker)", ".hada_t2": "LoHa with a core (Tucker)",
    ".oft_blocks": "OFT", ".oft_diag": "OFT", ".oft_R.weight": "OFT", ".boft_R": "BOFT", ".ia3_l": "IA3",
    ".a1.weight": "GLoRA", ".a2.weight": "GLoRA", ".b1.weight": "GLoRA", ".b2.weight": "GLoRA",
    ".diff": "whole differences of weights", ".diff_b": "differences of biases",
    ".w_norm": "differences of norms", ".b_norm": "differences of norms",
    ".set_weight": "whole weights", ".reshape_weight": "another shape for a layer",
    ".lora_B.bias": "biases of LoRA", ".lora_up.bias": "biases of LoRA", ".lora_A.bias": "biases of LoRA",
}  # fmt: skip

_ENDS = sorted(
    [(end, role) for role, ends in _ROLES.items() for end in ends] + [(end, "") for end in UNUSABLE],
    key=lambda row: -len(row[0]),
)


def split(key: str) -> tuple[str, str, str]:
    """A key's module, the role of the tensor in it ("" where it is none of `_ROLES`), and the end that says so."""
    for end, role in _ENDS:
        if key.endswith(end):
            return key.removesuffix(end), role, end
    return key, "", ""


def find(module: str, tables: Tables) -> tuple[Format, Target] | None:
    """Whose name this is and where it belongs; None where nobody knows it."""
    for one in FORMATS:
        names = tables[one.names + one.joint]
        for prefix in one.prefixes:
            if module.startswith(prefix) and (target := names.get(module[len(prefix) :])):
                return one, target
    return None


def make_tables(depth: int, depth_single_blocks: int, clip: Iterable[str], t5: Iterable[str]) -> Tables:
    """Targets by table and name. Args: blocks of the transformer; names of the text encoders' linears."""
    published: dict[str, Target] = {}
    diffusers: dict[str, Target] = {}
    for rule in transformer_rules(depth, depth_single_blocks):
        if not rule.published.endswith(".weight"):
            continue  # biases, and the scales of norms
        layer = rule.published.removesuffix(".weight")
        published[layer] = Target("transformer", layer)
        for i, source in enumerate(rule.sources):
            pieces = (i, i + 1) if len(rule.sources) > 1 else None
            name = source.removesuffix(".weight")
            diffusers[name] = Target("transformer", layer, pieces, rule.swap_halves)
    xlabs: dict[str, Target] = {}
    for i in range(depth):
        block = f"double_blocks.{i}."
        xlabs |= {block + name: Target("transformer", block + layer) for name, layer in _XLABS_DOUBLE}
    for i in range(depth_single_blocks):
        block = f"single_blocks.{i}."
        xlabs |= {
            block + name: Target("transformer", block + layer, pieces)
            for name, layer, pieces in _XLABS_SINGLE
        }
    clips = {}
    for layer in clip:  # transformers 5 leaves `text_model.` out
        short = layer.removeprefix("text_model.")
        clips |= dict.fromkeys((short, f"text_model.{short}"), Target("clip", layer))
    named: dict[str, dict[str, Target]] = {
        "published": published,
        "diffusers": diffusers,
        "xlabs": xlabs,
        "clip": clips,
        "t5": {layer: Target("t5", layer) for layer in t5},
    }
    return {
        kind + joint: {name.replace(".", joint): target for name, target in table.items()}
        for kind, table in named.items()
        for joint in "._"
    }


def published_tables() -> Tables:
    """Those of FLUX.1 with CLIP-L and T5-XXL, to say what a file is without a model."""
    attention = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
    clip = [
        f"text_model.encoder.layers.{i}.{name}"
        for i in range(12)
        for name in (*attention, "mlp.fc1", "mlp.fc2")
    ]
    layers = [f"layer.0.SelfAttention.{name}" for name in "qkvo"]
    layers += [f"layer.1.DenseReluDense.{name}" for name in ("wi_0", "wi_1", "wo")]
    t5 = [f"encoder.block.{i}.{name}" for i in range(24) for name in layers]
    return make_tables(19, 38, clip, t5)
