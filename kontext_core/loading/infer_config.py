"""The sizes of a model, read off the shapes of its weights under their published names.

What shapes cannot say comes from JSON beside the weights; where it is silent, the published values hold.
"""

from typing import Any, TypeVar

from transformers import CLIPTextConfig, T5Config

from ..checks.shorten import short
from ..config import FLUX_VAE, KONTEXT_DEV, TransformerConfig, VAEConfig
from ..errors import CheckpointError
from .keys import count
from .tensors import Weights

_Config = TypeVar("_Config", TransformerConfig, VAEConfig)
_TextConfig = TypeVar("_TextConfig", CLIPTextConfig, T5Config)

_SCHNELL_TEXT_LENGTH = 256  # source: flux cli.py, max_length of flux-schnell

# diffusers' config.json to ours, of what shapes do not show.
_DIFFUSERS_NAMES = {
    "axes_dims_rope": "axes_dim",
    "scaling_factor": "scale_factor",
    "shift_factor": "shift_factor",
    "norm_num_groups": "norm_groups",
    "sample_size": "resolution",
}


def shape_of(weights: Weights, key: str, axes: int) -> tuple[int, ...]:
    """Raises: CheckpointError if the tensor is not there, or has another number of axes, or is empty."""
    if key not in weights:
        raise CheckpointError(f"{key} is missing, without which its sizes are unknown")
    shape = weights[key].shape
    if len(shape) != axes or 0 in shape:
        raise CheckpointError(f"{key} has the wrong shape {shape}; it should have {axes} axes")
    return shape


def transformer_config(weights: Weights, declared: dict[str, Any]) -> TransformerConfig:
    """Infer the sizes from the shapes; what they do not show is taken from what the file declares.

    Args:
        declared: JSON of ours or of diffusers.
    Raises:
        CheckpointError: if it does not fit the shapes.
    """
    hidden, in_channels = shape_of(weights, "img_in.weight", 2)
    head_dim = shape_of(weights, "double_blocks.0.img_attn.norm.query_norm.scale", 1)[0]
    guidance = "guidance_in.in_layer.weight" in weights
    sizes = {
        "in_channels": in_channels,
        "out_channels": shape_of(weights, "final_layer.linear.weight", 2)[0],
        "vec_in_dim": shape_of(weights, "vector_in.in_layer.weight", 2)[1],
        "context_in_dim": shape_of(weights, "txt_in.weight", 2)[1],
        "hidden_size": hidden,
        "mlp_ratio": shape_of(weights, "double_blocks.0.img_mlp.0.weight", 2)[0] / hidden,
        "num_heads": hidden // head_dim,
        "depth": count(weights, "double_blocks.{}."),
        "depth_single_blocks": count(weights, "single_blocks.{}."),
        "qkv_bias": "double_blocks.0.img_attn.qkv.bias" in weights,
        "guidance_embed": guidance,
    }
    beyond_shapes = {
        "axes_dim": KONTEXT_DEV.axes_dim,
        "theta": KONTEXT_DEV.theta,
        "text_length": KONTEXT_DEV.text_length if guidance else _SCHNELL_TEXT_LENGTH,
    }
    declared = _ours(declared)
    if "axes_dim" not in declared and head_dim != sum(KONTEXT_DEV.axes_dim):
        raise CheckpointError(
            f"its attention heads are {head_dim} wide and nothing says how the rotary axes share them; "
            "'config' in the safetensors header should say axes_dim"
        )
    return _build(TransformerConfig, {**beyond_shapes, **declared}, sizes)


def vae_config(weights: Weights, declared: dict[str, Any]) -> VAEConfig:
    """Infer the sizes from the shapes; what they do not show is taken from what the file declares.

    Args:
        declared: JSON of ours or of diffusers.
    Raises:
        CheckpointError: if it does not fit the shapes.
    """
    ch, in_channels = shape_of(weights, "encoder.conv_in.weight", 4)[:2]
    levels = count(weights, "encoder.down.{}.")
    sizes = {
        "in_channels": in_channels,
        "ch": ch,
        "out_ch": shape_of(weights, "decoder.conv_out.weight", 4)[0],
        "ch_mult": tuple(
            shape_of(weights, f"encoder.down.{i}.block.0.conv1.weight", 4)[0] // ch for i in range(levels)
        ),
        "num_res_blocks": count(weights, "encoder.down.0.block.{}."),
        "z_channels": shape_of(weights, "decoder.conv_in.weight", 4)[1],
    }
    beyond_shapes = {
        name: getattr(FLUX_VAE, name)
        for name in ("resolution", "scale_factor", "shift_factor", "norm_groups")
    }
    return _build(VAEConfig, {**beyond_shapes, **_ours(declared)}, sizes)


def clip_config(weights: Weights, declared: dict[str, Any]) -> CLIPTextConfig:
    """Read CLIP's sizes; those of CLIP-L where nothing is said.

    Args:
        weights: under keys that begin with `text_model.`.
        declared: config.json of transformers.
    Raises:
        CheckpointError: if it does not fit the shapes.
    """
    declared = _fields(declared.get("text_config", declared), _CLIP_FIELDS)
    vocab_size, hidden = shape_of(weights, "text_model.embeddings.token_embedding.weight", 2)
    if not declared and hidden != 768:
        raise CheckpointError(
            f"it is {hidden} wide, CLIP-L is 768; for other sizes a config.json is needed next to it"
        )
    sizes = {
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "intermediate_size": shape_of(weights, "text_model.encoder.layers.0.mlp.fc1.weight", 2)[0],
        "num_hidden_layers": count(weights, "text_model.encoder.layers.{}."),
        "max_position_embeddings": shape_of(weights, "text_model.embeddings.position_embedding.weight", 2)[0],
    }
    beyond_shapes = {"num_attention_heads": max(1, hidden // 64), "eos_token_id": vocab_size - 1}
    values = {**beyond_shapes, **declared}
    if hidden % values["num_attention_heads"]:
        raise CheckpointError(
            f"its config says {values['num_attention_heads']} heads, and it is {hidden} wide, which is not a "
            "multiple"
        )
    return _built(CLIPTextConfig, values, sizes)


def t5_config(weights: Weights, declared: dict[str, Any]) -> T5Config:
    """Read T5's sizes.

    Args:
        weights: under the published keys (`encoder.block.0.layer...`).
        declared: config.json of transformers.
    Raises:
        CheckpointError: if it does not fit the shapes.
    """
    declared = _fields(declared, _T5_FIELDS)
    vocab_size, d_model = shape_of(weights, "shared.weight", 2)
    attention = "encoder.block.0.layer.0.SelfAttention"
    feed_forward = "encoder.block.0.layer.1.DenseReluDense"
    buckets, heads = shape_of(weights, f"{attention}.relative_attention_bias.weight", 2)
    gated = f"{feed_forward}.wi_0.weight" in weights
    sizes = {
        "vocab_size": vocab_size,
        "d_model": d_model,
        "d_kv": shape_of(weights, f"{attention}.q.weight", 2)[0] // heads,
        "d_ff": shape_of(weights, f"{feed_forward}.wo.weight", 2)[1],
        "num_layers": count(weights, "encoder.block.{}."),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
    }
    return _built(T5Config, {"feed_forward_proj": "gated-gelu" if gated else "relu", **declared}, sizes)


_MOST_TOKENS = 16_384  # of a prompt

# What is read of a config.json, and what it may be: the range of a number, or words.
_CLIP_FIELDS: dict[str, tuple[float, float] | tuple[str, ...]] = {
    "vocab_size": (1, 2**24), "hidden_size": (1, 2**16), "intermediate_size": (1, 2**20),
    "projection_dim": (1, 2**16), "num_hidden_layers": (1, 2**10), "num_attention_heads": (1, 2**10),
    "max_position_embeddings": (1, _MOST_TOKENS), "bos_token_id": (0, 2**24), "eos_token_id": (0, 2**24),
    "pad_token_id": (-1, 2**24), "layer_norm_eps": (0.0, 1.0), "attention_dropout": (0.0, 1.0),
    "hidden_act": ("quick_gelu", "gelu", "gelu_new", "relu"),
}  # fmt: skip
_T5_FIELDS: dict[str, tuple[float, float] | tuple[str, ...]] = {
    "vocab_size": (1, 2**24), "d_model": (1, 2**16), "d_kv": (1, 2**16), "d_ff": (1, 2**20),
    "num_layers": (1, 2**10), "num_heads": (1, 2**10), "relative_attention_num_buckets": (1, 2**16),
    "relative_attention_max_distance": (1, 2**20), "eos_token_id": (0, 2**24), "pad_token_id": (-1, 2**24),
    "dropout_rate": (0.0, 1.0), "layer_norm_epsilon": (0.0, 1.0),
    "feed_forward_proj": ("gated-gelu", "gated-silu", "relu", "gelu", "silu"),
}  # fmt: skip
_OUR_FIELDS: dict[str, tuple[float, float] | tuple[str, ...]] = {
    "theta": (2, 1e9), "text_length": (1, _MOST_TOKENS), "axes_dim": (0, 2**16),
    "preferred_sizes": (16, 2**16), "resolution": (1, 2**20), "norm_groups": (1, 2**16),
    "scale_factor": (1e-6, 1e6), "shift_factor": (-1e6, 1e6),
}  # fmt: skip


# Of these, how deep lists are in each other; all others are single values.
_LISTS = {"axes_dim": 1, "preferred_sizes": 2}


def _fields(declared: Any, fields: dict[str, tuple[float, float] | tuple[str, ...]]) -> dict[str, Any]:
    """What is known of a config, each in its range. Raises: CheckpointError."""
    if not isinstance(declared, dict):
        raise CheckpointError("its config is not a JSON object")
    known = {name: declared[name] for name in fields if declared.get(name) is not None}
    for name, value in known.items():
        _check_field(name, value, fields[name])
    return known


def _check_field(name: str, value: Any, allowed: tuple[float, float] | tuple[str, ...]) -> None:
    """Raises: CheckpointError if a value is none that is allowed."""
    low, high = allowed[0], allowed[-1]
    if isinstance(low, str) or isinstance(high, str):
        if value not in allowed:
            raise CheckpointError(
                f"its config says {name} {short(value)}; it may be {', '.join(map(str, allowed))}"
            )
        return
    whole, depth = isinstance(low, int) and isinstance(high, int), _LISTS.get(name, 0)
    numbers: list[Any] = [value]
    for _ in range(depth):
        numbers = [item for outer in numbers for item in (outer if isinstance(outer, list) else [None])]
    for number in numbers:
        if type(number) not in ((int,) if whole else (int, float)) or not low <= number <= high:
            kind = f"{'lists of ' * depth}{'whole numbers' if whole else 'numbers'}"
            raise CheckpointError(
                f"its config says {name} {short(value)}; {kind} from {low:,} to {high:,} are allowed"
            )


def _ours(declared: dict[str, Any]) -> dict[str, Any]:
    declared = {
        _DIFFUSERS_NAMES.get(name, name): value for name, value in declared.items() if value is not None
    }
    _fields(declared, _OUR_FIELDS)
    return declared


def _agree(declared: dict[str, Any], sizes: dict[str, Any]) -> None:
    """Raises: CheckpointError where what is said contradicts the shapes."""
    for name, value in sizes.items():
        same = (value, list(value)) if isinstance(value, tuple) else (value,)
        if name in declared and declared[name] not in same:
            raise CheckpointError(f"its config says {name} {short(declared[name])}, its tensors {value}")


def _built(kind: type[_TextConfig], values: dict[str, Any], sizes: dict[str, Any]) -> _TextConfig:
    _agree(values, sizes)
    return kind(**{**values, **sizes})


def _build(kind: type[_Config], values: dict[str, Any], sizes: dict[str, Any]) -> _Config:
    """Raises: CheckpointError where what is said contradicts the shapes, or is not possible."""
    _agree(values, sizes)
    try:
        return kind.from_dict({**values, **sizes})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"its sizes make no model: {error}") from error
