"""Small text encoders to train along with a small transformer."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizerFast,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from ..model.text import TextEncoders


def tiny_text_models(
    tokenizers: Path,
    *,
    text_length: int = 32,
    clip_length: int = 32,
    width: int = 128,
    layers: int = 2,
    heads: int = 4,
) -> TextEncoders:
    """T5 (v1.1's form) and CLIP, initialised from torch's global random state, under a million parameters.

    Args:
        tokenizers: a folder that holds `tokenizer` and `tokenizer_2`, as `train_tokenizers` writes it.
    """
    t5_tokenizer = T5TokenizerFast.from_pretrained(tokenizers / "tokenizer_2")
    clip_tokenizer = CLIPTokenizerFast.from_pretrained(tokenizers / "tokenizer")
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=len(t5_tokenizer),
            d_model=width,
            d_ff=2 * width,
            d_kv=width // heads,
            num_heads=heads,
            num_layers=layers,
            feed_forward_proj="gated-gelu",
            relative_attention_max_distance=text_length,
            dropout_rate=0.0,  # the language is closed and its sentences are endless
            pad_token_id=t5_tokenizer.pad_token_id,
            eos_token_id=t5_tokenizer.eos_token_id,
            is_encoder_decoder=False,
            use_cache=False,
        )
    )
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(clip_tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=clip_length,
            projection_dim=width,
            bos_token_id=clip_tokenizer.bos_token_id,
            eos_token_id=clip_tokenizer.eos_token_id,
            pad_token_id=clip_tokenizer.pad_token_id,
        )
    )
    _look_at_neighbours(t5)
    return TextEncoders(t5, clip, t5_tokenizer, clip_tokenizer, text_length)


def _look_at_neighbours(t5: T5EncoderModel, strength: float = 4.0) -> None:
    """Make heads begin by looking one or two words back or ahead.

    From nothing, T5 takes long to find the order of words.

    Source: transformers, T5Attention._relative_position_bucket: the bucket of an offset, half of them ahead.
    """
    first: Any = t5.encoder.block[0]
    attention = first.layer[0].SelfAttention
    table, ahead = attention.relative_attention_bias.weight, attention.relative_attention_num_buckets // 2
    with torch.no_grad():
        table.zero_()
        for head, bucket in zip(range(table.shape[1]), (1, ahead + 1, 2, ahead + 2), strict=False):
            table[bucket, head] = strength
