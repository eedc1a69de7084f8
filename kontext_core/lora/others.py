"""What a LoRA file is for if it is not for FLUX.1: by the names of its modules, and of UNets by the text's width."""

import re
from collections.abc import Mapping

from ..loading.checkpoint import LazyTensor

Modules = Mapping[str, Mapping[str, LazyTensor]]

# Width of the text that a UNet's cross-attention reads. Source: cross_attention_dim of the published config.json files.
_UNETS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "SDXL"}
_UNET = re.compile(r"(?:down|up|mid|input|output|middle)_blocks?[._]")
_CROSS_ATTENTION = re.compile(r"attn2[._]to_[kv]$")

# Names of modules in the published models, and whose they are. The first row that fits counts.
_OTHERS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), title)
    for pattern, title in (
        (r"blocks[._]\d+[._](?:self_attn|cross_attn)[._]", "Wan"),
        (r"(?:img|txt)_mlp[._]fc\d|_mod[._]linear|modulation[._]linear|token_refiner", "HunyuanVideo"),
        (r"double_blocks[.]\d+[.](?:img|txt)_attn_", "HunyuanVideo"),
        (r"(?<!single_)transformer_blocks[._]\d+[._](?:img|txt)_(?:mlp|mod)[._]", "Qwen-Image"),
        (r"(?<!single_)transformer_blocks[._][345]\d[._]", "Qwen-Image"),  # 60 of them
        (r"joint_blocks[._]|transformer_blocks[._]\d+[._]attn2[._]to_add_out", "Stable Diffusion 3"),
        (r"(?:double|single)_stream_modulation|attn[._]to_qkv_mlp_proj|ff[._]linear_(?:in|out)$", "FLUX.2"),
        (r"(?:double|single)_stream_blocks[._]", "HiDream"),
        (r"distilled_guidance_layer", "Chroma"),
        (r"transformer_blocks[._]\d+[._]attn[12][._]", "LTX-Video or PixArt"),
        (r"layers[._]\d+[._](?:attention|feed_forward|adaLN_modulation)[._]", "Lumina or Z-Image"),
        (r"model[._]layers[._]\d+[._](?:self_attn|mlp)[._]", "a language model"),
        (r"^(?:lora_te2_|text_encoder_2[.])text_model[._]", "SDXL"),
    )
)


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
