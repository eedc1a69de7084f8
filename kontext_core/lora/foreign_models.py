"""What a LoRA file is for if it is not for FLUX.1: by names, by how many blocks there are, and by shapes."""

import re
from collections.abc import Iterable, Mapping

from ..config import KONTEXT_DEV
from ..loading.tensors import LazyTensor
from .keys import Target

Tensors = Mapping[str, LazyTensor]
Modules = Mapping[str, Tensors]

# Width of the text that a UNet's cross-attention reads. Source: cross_attention_dim of the published
# config.json files.
_UNETS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "SDXL"}
_UNET = re.compile(r"(?:down|up|mid|input|output|middle)_blocks?[._]")
_CROSS_ATTENTION = re.compile(r"attn2[._]to_[kv]$")

# Names of modules in the published models, and whose they are. The first row that fits counts.
_OTHERS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), title)
    for pattern, title in (
        (r"(?:double|single)_stream_modulation|attn[._]to_qkv_mlp_proj", "FLUX.2"),
        (r"ff(?:_context)?[._]linear_(?:in|out)$", "FLUX.2"),
        (r"single_transformer_blocks[._]\d+[._]attn[._]to_out$", "FLUX.2"),
        (r"(?:visual|text)_transformer_blocks[._]\d", "Kandinsky 5"),
        (r"joint_transformer_blocks[._]\d", "AuraFlow"),
        (r"blocks[._]\d+[._](?:self|cross)_attn[._](?:q|k|v|output)_proj", "Cosmos"),
        (r"blocks[._]\d+[._](?:self_attn|cross_attn|ffn)[._]", "Wan"),
        (r"(?<!transformer_)(?<!stream_)blocks[._]\d+[._]attn[12][._]", "Wan"),
        (r"(?:img|txt)_mlp[._]fc\d|_mod[._]linear|modulation[._]linear|token_refiner", "HunyuanVideo"),
        (r"double_blocks[.]\d+[.](?:img|txt)_attn_", "HunyuanVideo"),
        (r"joint_blocks[._]|transformer_blocks[._]\d+[._]attn2[._]to_add_out", "Stable Diffusion 3"),
        (r"distilled_guidance_layer", "Chroma"),
        (r"(?:double|single)_stream_blocks[._]", "HiDream"),
        (
            r"transformer_blocks[._]\d+[._](?:\w+_)?attn[12][._]",
            "LTX-Video, CogVideoX, Mochi, PixArt, Sana or the like",
        ),
        (r"(?<!single_)transformer_blocks[._]\d+[._](?:img|txt)_(?:mlp|mod)[._]", "Qwen-Image"),
        (r"caption_projection[._]\d+[._]linear", "BRIA FIBO"),
        (r"layers[._]\d+[._](?:attention|attn|feed_forward|adaLN_modulation)[._]", "Lumina or Z-Image"),
        (r"transformer_blocks[._]\d+[._](?:qkv_proj|mlp_(?:context_)?fc\d)", "nunchaku's models alone"),
        (r"(?:^|[._])controlnet[._]", "a ControlNet"),
        (r"(?:^|[._])(?:vision_model|image_encoder)[._]", "an image encoder"),
        (r"model[._]layers[._]\d+[._](?:self_attn|mlp)[._]", "a language model"),
        (r"(?:^|[._])(?:te2|text_encoder_2)[._](?:transformer[._])?text_model[._]", "SDXL"),
        (r"(?:^|[._])(?:clip_g|open_clip)[._]", "SDXL or Stable Diffusion 3"),
    )
)  # fmt: skip

# Blocks with FLUX.1's names, of which other models have more. Names end where the number does.
_DOUBLE = re.compile(r"(?:^|(?<!single)[._])(?:transformer|double)_blocks[._](\d+)(?:[._]|$)")
_SINGLE = re.compile(r"(?:^|[._])single_(?:transformer_)?blocks[._](\d+)(?:[._]|$)")
_QWEN_BLOCKS = 60

# Width of the streams of models whose layers have FLUX.1's names, and how many double blocks there are at the
# most. Source: the published config.json files.
_WIDTHS = {
    1536: ("Stable Diffusion 3", 24), 2048: ("HunyuanVideo 1.5", 54),
    2432: ("Stable Diffusion 3.5 Large", 38), 4096: ("FLUX.2 klein", 8), 6144: ("FLUX.2 dev", 8),
}  # fmt: skip
_READS_STREAM = re.compile(r"(?:_mod|modulation)\.lin$|_attn\.(?:qkv|proj)$|_mlp\.0$|linear1$")
_FLUX2 = {
    "img_mlp.0": 6,
    "txt_mlp.0": 6,
    "linear1": 9,
}  # outputs as a multiple of the inputs; FLUX.1 has 4, 4 and 7


def looks_like(modules: Modules) -> str:
    """The model that modules are for; "" where none is known by such names."""
    names = list(modules)
    if any(_UNET.search(name) for name in names):
        widths = {
            tensors["down"].shape[1]
            for name, tensors in modules.items()
            if _CROSS_ATTENTION.search(name) and "down" in tensors and len(tensors["down"].shape) > 1
        }
        known = [_UNETS[width] for width in sorted(widths) if width in _UNETS]
        return known[-1] if known else "a UNet, of Stable Diffusion 1, 2 or SDXL"
    for pattern, title in _OTHERS:
        if any(pattern.search(name) for name in names):
            return title
    return ""


def of_shapes(matches: Mapping[str, tuple[Target, Tensors]], width: int) -> str:
    """The model that modules with FLUX.1's names are for, by their shapes; "" where they may be FLUX.1's.

    Args:
        matches: by module, where it would belong, and its tensors.
        width: of the streams of the model that they are to go upon.
    """
    widths: set[int] = set()
    for target, tensors in matches.values():
        if target.part != "transformer" or not _READS_STREAM.search(target.layer):
            continue
        shapes = [tensors[role].shape for role in ("down", "up") if role in tensors]
        if len(shapes) < 2 or any(len(shape) < 2 for shape in shapes):
            continue
        (_, inputs), (outputs, _) = shapes[0][:2], shapes[1][:2]
        widths.add(inputs)
        name = ".".join(target.layer.split(".")[2:])
        if target.pieces is None and outputs == _FLUX2.get(name, 0) * inputs:
            return "FLUX.2"
    if len(widths) != 1 or width in widths:
        return ""
    (own,) = widths
    if own not in _WIDTHS:
        return ""
    title, most = _WIDTHS[own]
    double, _ = _blocks(matches)
    return f"a model whose layers are {own} wide, as {title}'s are" if double <= most else ""


def of_depth(names: Iterable[str]) -> str:
    """The model that has blocks of FLUX.1's names and more of them; "" where FLUX.1 has as many.

    Args:
        names: of all modules in a file.
    """
    double, single = _blocks(names)
    if double <= KONTEXT_DEV.depth and single <= KONTEXT_DEV.depth_single_blocks:
        return ""
    if single > 40:
        return "FLUX.2"
    if single > KONTEXT_DEV.depth_single_blocks or (single and double == 20):
        return "HunyuanVideo"
    if not single and double == _QWEN_BLOCKS:
        return "Qwen-Image"
    return f"a model of {double} double and {single} single blocks, where FLUX.1 has 19 and 38"


def _blocks(names: Iterable[str]) -> tuple[int, int]:
    """How many double and how many single blocks there must be, by their numbers."""
    names = list(names)
    double, single = (
        1 + max((int(number) for name in names for number in pattern.findall(name)), default=-1)
        for pattern in (_DOUBLE, _SINGLE)
    )
    return double, single
