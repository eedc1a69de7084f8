"""What a tensor of a LoRA file is in its module, by the end of its key.

A key is the name of a module and the role of a tensor in it; between or behind the role's words, PEFT's own
state dict has the name of the adapter: `transformer_blocks.0.attn.to_q` `.lora_A.style.weight`.
"""

import re
from typing import NamedTuple

_ADAPTER = r"(?:\.(?!(?:weight|bias)$)(?P<adapter>[^.]+))?"  # what stands where `@` is

# Ends of keys and the role of the tensor; of several that fit, the longest counts.
_ENDS: tuple[tuple[str, str], ...] = (
    ("down", r"\.lora_(?:A|down)@(?:\.weight)?"),
    ("down", r"(?:\.lora|\.lora_linear_layer)?\.down\.weight"),
    ("up", r"\.lora_(?:B|up)@(?:\.weight)?"),
    ("up", r"(?:\.lora|\.lora_linear_layer)?\.up\.weight"),
    ("up_bias", r"\.lora_(?:B|up)@\.bias"),
    ("up_bias", r"(?:\.lora|\.lora_linear_layer)?\.up\.bias"),
    ("alpha", r"\.alpha"),
    ("magnitude", r"\.dora_scale"),
    ("magnitude", r"\.lora_magnitude_vector@(?:\.weight)?"),
    *(
        (role, rf"\.{role}@(?:\.weight)?")
        for role in (
            "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b",
            "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b",
        )
    ),
    ("diff", r"\.diff"),  # ComfyUI and LyCORIS: added to a weight as it is
    ("diff", r"\.w_norm"),  # LyCORIS, of a norm
    ("diff_bias", r"\.diff_b"),
    ("diff_bias", r"\.b_norm"),
    ("bias", r"(?:\.base_layer)?\.bias"),  # PEFT, bias="all" or "lora_only": in the place of the layer's own
)  # fmt: skip
_PATTERNS = tuple((role, re.compile(f"{end.replace('@', _ADAPTER)}$")) for role, end in _ENDS)

# What may stand in a file beside a change, and is none by itself.
BESIDE = frozenset({"alpha", "magnitude", "bias"})

# Ends of keys that are known and of no use here, and what they are.
UNUSABLE = {
    ".lora_mid.weight": "LoCon with a core between (Tucker)", ".lokr_t2": "LoKr with a core (Tucker)",
    ".hada_t1": "LoHa with a core (Tucker)", ".hada_t2": "LoHa with a core (Tucker)", ".oft_blocks": "OFT",
    ".oft_diag": "OFT", ".oft_R.weight": "OFT", ".oft_r": "OFT", ".boft_R": "BOFT", ".boft_s": "BOFT",
    ".ia3_l": "IA3", ".a1.weight": "GLoRA", ".a2.weight": "GLoRA", ".b1.weight": "GLoRA",
    ".b2.weight": "GLoRA", ".set_weight": "whole weights", ".modules_to_save.weight": "whole weights",
    ".reshape_weight": "another shape for a layer", ".lora_A.bias": "biases of a LoRA's first factor",
    ".lora_down.bias": "biases of a LoRA's first factor", ".lora_E": "AdaLoRA",
    ".lora_embedding_A": "LoRA of an embedding", ".lora_embedding_B": "LoRA of an embedding",
    ".vera_lambda_b": "VeRA", ".vera_lambda_d": "VeRA", ".hra_u": "HRA", ".vblora_logits_A": "VB-LoRA",
    ".vblora_logits_B": "VB-LoRA", ".fourierft_spectrum": "FourierFT", ".randlora_lambda": "RandLoRA",
    ".randlora_gamma": "RandLoRA", ".c3a_kernel": "C3A", ".shira_weight": "SHiRA",
    ".bias_values": "sparse biases", ".bias_indices": "sparse biases", ".bias_size": "sparse biases",
}  # fmt: skip
_UNUSABLE = sorted(UNUSABLE, key=len, reverse=True)


class Part(NamedTuple):
    """A key, taken apart.

    Args:
        module: what the tensor belongs to; the whole key where nothing is known of its end.
        role: one of `_ENDS`, or "".
        adapter: its name; "" where the key has none.
        end: what was known of the key's end.
    """

    module: str
    role: str
    adapter: str
    end: str


def split_key(key: str) -> Part:
    """Take a key apart."""
    best = Part(key, "", "", "")
    for end in _UNUSABLE:
        if key.endswith(end):
            best = Part(key.removesuffix(end), "", "", end)
            break
    for role, pattern in _PATTERNS:
        match = pattern.search(key)
        if match and len(match[0]) > len(best.end):
            best = Part(key[: match.start()], role, match.groupdict().get("adapter") or "", match[0])
    return best
