"""The transformer's parts: embedders, double and single blocks, the last layer.

Source: flux layers.py. B batch, L tokens, H heads, D channels of a head; "hidden" is the model's width. What
stands between the linears is a kernel of `kernels.reference`, which defines it, or one that gives the same in
fewer passes. A kernel is also told the linear that reads its result (`reader`).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels.dispatch import kernels_for
from ..kernels.interface import QKV, Kernels
from ..kernels.side_stream import run_overlapped
from ..linear import split_forward
from .attention import KeyWeights, attention
from .negative import NegativeText


def timestep_embedding(
    t: Tensor, dim: int = 256, max_period: float = 10_000.0, time_factor: float = 1000.0
) -> Tensor:
    """Embed 1000 t as [cos, sin] of angles 1000 t * max_period^(-j / (dim / 2)), in float32.

    Args:
        t: (...) in [0, 1], or a guidance scale.
        dim: numbers of the embedding, even.
        max_period: of the slowest angle.
        time_factor: what t is multiplied by.
    Returns: (..., dim), float32.
    """
    half = dim // 2
    # In the published order of operations, which is what makes it equal to the last bit.
    frequencies = torch.exp(
        -math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / half
    )
    angles = (time_factor * t.float())[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class MLPEmbedder(nn.Module):
    """linear, SiLU, linear: what lifts time, guidance and CLIP's vector to the model's width."""

    def __init__(self, in_dim: int, hidden_size: int) -> None:
        super().__init__()
        self.in_layer = nn.Linear(in_dim, hidden_size)
        self.out_layer = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_layer(F.silu(self.in_layer(x.to(self.in_layer.weight.dtype))))


class Modulation(nn.Module):
    """The linear that turns `vec` into a block's shift, scale and gate vectors.

    It runs once for all steps.
    """

    def __init__(self, hidden_size: int, vectors: int) -> None:
        super().__init__()
        self.lin = nn.Linear(hidden_size, vectors * hidden_size)
        self.vectors = vectors

    def forward(self, silu_vec: Tensor) -> Tensor:
        """Map SiLU(vec), (..., hidden), to (..., vectors, 1, hidden); 1 is broadcast over the tokens."""
        return self.lin(silu_vec).unflatten(-1, (self.vectors, 1, -1))


class RMSNorm(nn.Module):
    """The published `scale` of an RMS norm; `kernels.reference.qk_norm_rope` applies it with the rotation."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))


class QKNorm(nn.Module):
    """The RMS norms of queries and keys."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query_norm = RMSNorm(dim)
        self.key_norm = RMSNorm(dim)

    def with_scales(self, qkv: Tensor) -> QKV:
        """Join a stream's qkv (B, L, 3, H, D), not yet normalised, to the scales of its norms."""
        return qkv, self.query_norm.scale, self.key_norm.scale


class SelfAttention(nn.Module):
    """The projections of one stream before and after attention, which `DoubleBlock` computes over both."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.norm = QKNorm(dim // num_heads)
        self.proj = nn.Linear(dim, dim)

    def project(self, normed: Tensor) -> QKV:
        """Project modulated tokens (B, L, hidden) to queries, keys and values."""
        return self.norm.with_scales(self.qkv(normed).unflatten(-1, (3, self.num_heads, -1)))


class DoubleBlock(nn.Module):
    """Separate weights for image and text tokens, one attention over both."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_hidden_dim: int, qkv_bias: bool) -> None:
        super().__init__()
        self.img_mod = Modulation(hidden_size, 6)
        self.img_attn = SelfAttention(hidden_size, num_heads, qkv_bias)
        self.img_mlp = _mlp(hidden_size, mlp_hidden_dim)
        self.txt_mod = Modulation(hidden_size, 6)
        self.txt_attn = SelfAttention(hidden_size, num_heads, qkv_bias)
        self.txt_mlp = _mlp(hidden_size, mlp_hidden_dim)

    def forward(
        self,
        img: Tensor,
        txt: Tensor,
        pe: Tensor,
        img_mod: Tensor,
        txt_mod: Tensor,
        weights: KeyWeights | None = None,
        *,
        negative: NegativeText | None = None,
    ) -> tuple[Tensor, ...]:
        """Attend over both streams together, and pass each through its own MLP.

        Args:
            img: (B, L_img, hidden).
            txt: (B, L_txt, hidden).
            pe: for [txt | img].
            img_mod: (B, 6, 1, hidden): shift, scale and gate of attention, then of the MLP.
            txt_mod: likewise.
            weights: of keys, where references have a strength; see `KeyWeights`.
            negative: what the target is steered away from, a third stream.
        Returns: img and txt, and the negative text if there is one.
        """
        kernels = kernels_for(img)
        img_vectors, txt_vectors = img_mod.unbind(1), txt_mod.unbind(1)
        img_qkv, txt_qkv = run_overlapped(
            img,
            lambda: _project(kernels, img, img_vectors, self.img_attn),
            lambda: _project(kernels, txt, txt_vectors, self.txt_attn),
        )
        if negative is not None:
            neg, neg_vectors = negative.txt, negative.mod.unbind(1)
            neg_qkv = _project(kernels, neg, neg_vectors, self.txt_attn)
            qkv = kernels.qk_norm_rope([neg_qkv, txt_qkv, img_qkv], negative.pe)
            attended, neg_attended = negative.attend(qkv, weights)
            txt_attended, img_attended = attended[:, : txt.shape[1]], attended[:, txt.shape[1] :]
            img_parts, txt_parts = (self.img_attn, self.img_mlp), (self.txt_attn, self.txt_mlp)
            return (
                _add_attention_and_mlp(kernels, img, img_vectors, *img_parts, img_attended),
                _add_attention_and_mlp(kernels, txt, txt_vectors, *txt_parts, txt_attended),
                _add_attention_and_mlp(kernels, neg, neg_vectors, *txt_parts, neg_attended),
            )
        # Queries, keys and values of [txt | img] have no name, so that they are freed before the MLPs.
        attended = attention(*kernels.qk_norm_rope([txt_qkv, img_qkv], pe), weights)
        txt_attended, img_attended = attended[:, : txt.shape[1]], attended[:, txt.shape[1] :]
        return run_overlapped(
            img,
            lambda: _add_attention_and_mlp(
                kernels, img, img_vectors, self.img_attn, self.img_mlp, img_attended
            ),
            lambda: _add_attention_and_mlp(
                kernels, txt, txt_vectors, self.txt_attn, self.txt_mlp, txt_attended
            ),
        )


class SingleBlock(nn.Module):
    """One stream of all tokens; attention and MLP side by side share their first and their last linear."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_hidden_dim: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.num_heads = num_heads
        self.linear1 = nn.Linear(hidden_size, hidden_size * 3 + mlp_hidden_dim)  # qkv | mlp in
        self.linear2 = nn.Linear(hidden_size + mlp_hidden_dim, hidden_size)  # attention out | mlp out
        self.norm = QKNorm(hidden_size // num_heads)
        self.modulation = Modulation(hidden_size, 3)

    def forward(
        self,
        x: Tensor,
        pe: Tensor,
        mod: Tensor,
        weights: KeyWeights | None = None,
        output_tokens: slice = slice(None),
        *,
        negative: NegativeText | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend and pass through the MLP side by side.

        Args:
            x: (B, L, hidden).
            pe: for x.
            mod: (B, 3, 1, hidden): shift, scale, gate.
            weights: of keys, where references have a strength; see `KeyWeights`.
            output_tokens: those whose output is read; the others only give keys and values.
            negative: what the target is steered away from, a second stream.
        Returns: (B, output tokens, hidden), and the negative text if there is one.
        """
        if negative is not None:
            return self._steer(x, mod, weights, output_tokens, negative)
        kernels = kernels_for(x)
        shift, scale, gate = mod.unbind(1)
        normed = kernels.modulate(x, shift, scale, self.linear1)  # (1 + scale) * LayerNorm(x) + shift
        qkv, mlp = split_forward(self.linear1, normed, 3 * self.hidden_size, output_tokens)
        qkv = qkv.unflatten(-1, (3, self.num_heads, -1))
        q, k, v = kernels.qk_norm_rope([self.norm.with_scales(qkv)], pe)
        attended = attention(q[:, output_tokens], k, v, weights and weights.narrow(output_tokens))
        out = self.linear2(kernels.gelu_concat(attended, mlp, self.linear2))
        return kernels.add_gated(x[:, output_tokens], gate, out)  # x + gate * out

    def _steer(
        self,
        x: Tensor,
        mod: Tensor,
        weights: KeyWeights | None,
        output_tokens: slice,
        negative: NegativeText,
    ) -> tuple[Tensor, Tensor]:
        """As `forward` with a negative text."""
        kernels = kernels_for(x)

        def project(x: Tensor, mod: Tensor, tokens: slice) -> tuple[QKV, Tensor]:
            shift, scale, _ = mod.unbind(1)
            normed = kernels.modulate(x, shift, scale, self.linear1)
            qkv, mlp = split_forward(self.linear1, normed, 3 * self.hidden_size, tokens)
            return self.norm.with_scales(qkv.unflatten(-1, (3, self.num_heads, -1))), mlp

        def add(x: Tensor, mod: Tensor, attended: Tensor, mlp: Tensor) -> Tensor:
            out = self.linear2(kernels.gelu_concat(attended, mlp, self.linear2))
            return kernels.add_gated(x, mod.unbind(1)[2], out)

        neg, whole = negative.txt, slice(None)
        neg_qkv, neg_mlp = project(neg, negative.mod, whole)
        qkv, mlp = project(x, mod, output_tokens)
        attended, neg_attended = negative.attend(kernels.qk_norm_rope([neg_qkv, qkv], negative.pe), weights)
        x = add(x[:, output_tokens], mod, attended[:, output_tokens].contiguous(), mlp)
        return x, add(neg, negative.mod, neg_attended.contiguous(), neg_mlp)


class LastLayer(nn.Module):
    """Modulated norm and the linear to 64 numbers a token."""

    def __init__(self, hidden_size: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, out_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 2 * hidden_size))

    def modulation(self, silu_vec: Tensor) -> Tensor:
        """Map SiLU(vec), (..., hidden), to (..., 2, 1, hidden): shift, scale."""
        return self.adaLN_modulation[1](silu_vec).unflatten(-1, (2, 1, -1))

    def forward(self, x: Tensor, mod: Tensor) -> Tensor:
        """Map tokens (B, L, hidden) to (B, L, out_channels), modulated by (B, 2, 1, hidden)."""
        shift, scale = mod.unbind(1)
        normed = kernels_for(x).modulate(x, shift, scale, self.linear)  # (1 + scale) * LayerNorm(x) + shift
        return self.linear(normed)


def _project(kernels: Kernels, x: Tensor, mod: Sequence[Tensor], attn: SelfAttention) -> QKV:
    """Modulate one stream of a double block and project it to queries, keys and values.

    Args:
        mod: six of (B, 1, hidden).
    """
    shift, scale, *_ = mod
    normed = kernels.modulate(x, shift, scale, attn.qkv)  # (1 + scale) * LayerNorm(x) + shift
    return attn.project(normed)


def _add_attention_and_mlp(
    kernels: Kernels,
    x: Tensor,
    mod: Sequence[Tensor],
    attn: SelfAttention,
    mlp: nn.Sequential,
    attended: Tensor,
) -> Tensor:
    """Add what attention gave to one stream of a double block, then what the MLP makes of that.

    Args:
        mod: six of (B, 1, hidden).
        attended: (B, L, hidden).
    """
    _, _, gate, mlp_shift, mlp_scale, mlp_gate = mod
    fc1, _, fc2 = mlp
    # x + gate * proj(attended), and (1 + mlp_scale) * LayerNorm of that + mlp_shift
    x, normed = kernels.add_gated_modulated(x, gate, attn.proj(attended), mlp_shift, mlp_scale, fc1)
    out = fc2(kernels.linear_gelu(fc1, normed, fc2))
    return kernels.add_gated(x, mlp_gate, out)  # x + mlp_gate * mlp(normed)


def _mlp(hidden_size: int, mlp_hidden_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(hidden_size, mlp_hidden_dim),
        nn.GELU(approximate="tanh"),
        nn.Linear(mlp_hidden_dim, hidden_size),
    )
