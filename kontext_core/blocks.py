"""The transformer's parts: embedders, double and single blocks, the last layer.

Source: flux layers.py. B batch, L tokens, H heads, D channels of a head; "hidden" is the model's width.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import KeyWeights, attention
from .rope import rotate


def timestep_embedding(
    t: Tensor, dim: int = 256, max_period: float = 10_000.0, time_factor: float = 1000.0
) -> Tensor:
    """Sinusoidal embedding [cos, sin] of 1000 t, computed in float32.

    Args: t (...) in [0, 1] (or a guidance scale). Returns: (..., dim), float32.
    """
    exponents = (
        -math.log(max_period) * torch.arange(dim // 2, dtype=torch.float32, device=t.device) / (dim // 2)
    )
    angles = (time_factor * t.float())[..., None] * torch.exp(
        exponents
    )  # in this order, the published one, to the last bit
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class MLPEmbedder(nn.Module):
    def __init__(self, in_dim: int, hidden_size: int) -> None:
        super().__init__()
        self.in_layer = nn.Linear(in_dim, hidden_size)
        self.out_layer = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_layer(F.silu(self.in_layer(x.to(self.in_layer.weight.dtype))))


class Modulation(nn.Module):
    """The linear that turns `vec` into a block's shift, scale and gate vectors. It runs once for all steps."""

    def __init__(self, hidden_size: int, vectors: int) -> None:
        super().__init__()
        self.lin = nn.Linear(hidden_size, vectors * hidden_size)
        self.vectors = vectors

    def forward(self, silu_vec: Tensor) -> Tensor:
        """(..., hidden) to (..., vectors, 1, hidden): one row that is broadcast over the tokens."""
        return self.lin(silu_vec).unflatten(-1, (self.vectors, 1, -1))


class RMSNorm(nn.Module):
    """Holds the published `scale`; `QKNorm` applies query's and key's at once."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))


class QKNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query_norm = RMSNorm(dim)
        self.key_norm = RMSNorm(dim)

    def forward(self, qk: Tensor) -> Tensor:
        """RMS-normalise queries and keys (B, L, 2, H, D), each with its own scale."""
        scale = torch.stack([self.query_norm.scale, self.key_norm.scale])[:, None]
        return F.rms_norm(qk, qk.shape[-1:], eps=1e-6) * scale


class SelfAttention(nn.Module):
    """The projections of one stream; `DoubleBlock` joins the streams between them."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.norm = QKNorm(dim // num_heads)
        self.proj = nn.Linear(dim, dim)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised queries and keys (B, L, 2, H, D), and values (B, L, H, D)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        return self.norm(qkv[:, :, :2]), qkv[:, :, 2]


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
    ) -> tuple[Tensor, Tensor]:
        """Args: img (B, L_img, hidden); txt (B, L_txt, hidden); pe for [txt | img]; *_mod (B, 6, 1, hidden)."""
        img_shift, img_scale, img_gate, img_mlp_shift, img_mlp_scale, img_mlp_gate = img_mod.unbind(1)
        txt_shift, txt_scale, txt_gate, txt_mlp_shift, txt_mlp_scale, txt_mlp_gate = txt_mod.unbind(1)

        img_qk, img_v = self.img_attn.project(modulate(img, img_shift, img_scale))
        txt_qk, txt_v = self.txt_attn.project(modulate(txt, txt_shift, txt_scale))
        q, k = rotate(torch.cat([txt_qk, img_qk], dim=1), pe).unbind(2)
        attended = attention(q, k, torch.cat([txt_v, img_v], dim=1), weights)
        txt_attended, img_attended = attended[:, : txt.shape[1]], attended[:, txt.shape[1] :]

        img = add_gated(img, img_gate, self.img_attn.proj(img_attended))
        img = add_gated(img, img_mlp_gate, self.img_mlp(modulate(img, img_mlp_shift, img_mlp_scale)))
        txt = add_gated(txt, txt_gate, self.txt_attn.proj(txt_attended))
        txt = add_gated(txt, txt_mlp_gate, self.txt_mlp(modulate(txt, txt_mlp_shift, txt_mlp_scale)))
        return img, txt


class SingleBlock(nn.Module):
    """One stream; attention and MLP side by side, sharing their first and their last linear."""

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
        wanted: slice = slice(None),
    ) -> Tensor:
        """Args: x (B, L, hidden); mod (B, 3, 1, hidden); wanted: the tokens whose output is read by anybody.

        Returns: (B, wanted tokens, hidden). Tokens that are not wanted only give keys and values.
        """
        shift, scale, gate = mod.unbind(1)
        normed = modulate(x, shift, scale)
        if wanted == slice(None):
            qkv, mlp = self.linear1(normed).split(
                [3 * self.hidden_size, self.linear1.out_features - 3 * self.hidden_size], -1
            )
        else:
            qkv = _features(self.linear1, normed, 0, 3 * self.hidden_size)
            mlp = _features(self.linear1, normed[:, wanted], 3 * self.hidden_size, self.linear1.out_features)
        qkv = qkv.unflatten(-1, (3, self.num_heads, -1))
        q, k = rotate(self.norm(qkv[:, :, :2]), pe).unbind(2)
        attended = attention(q[:, wanted], k, qkv[:, :, 2], weights and weights.narrow(wanted))
        out = self.linear2(torch.cat([attended, F.gelu(mlp, approximate="tanh")], dim=-1))
        return add_gated(x[:, wanted], gate, out)


class LastLayer(nn.Module):
    def __init__(self, hidden_size: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, out_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 2 * hidden_size))

    def modulation(self, silu_vec: Tensor) -> Tensor:
        """(..., hidden) to (..., 2, 1, hidden): shift, scale."""
        return self.adaLN_modulation[1](silu_vec).unflatten(-1, (2, 1, -1))

    def forward(self, x: Tensor, mod: Tensor) -> Tensor:
        shift, scale = mod.unbind(1)
        return self.linear(modulate(x, shift, scale))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """(1 + scale) * LayerNorm(x) + shift."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


def add_gated(x: Tensor, gate: Tensor, update: Tensor) -> Tensor:
    """x + gate * update; in float16 kept within the finite range, where the residual stream can leave it."""
    x = torch.addcmul(x, gate, update)
    return x.clamp(-65504, 65504) if x.dtype == torch.float16 else x


def _mlp(hidden_size: int, mlp_hidden_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(hidden_size, mlp_hidden_dim),
        nn.GELU(approximate="tanh"),
        nn.Linear(mlp_hidden_dim, hidden_size),
    )


def _features(linear: nn.Linear, x: Tensor, start: int, stop: int) -> Tensor:
    """Some of a linear's output features. A module put in place of the linear computes all and is cut."""
    if type(linear) is not nn.Linear:
        return linear(x)[..., start:stop]
    bias = cast("Tensor | None", linear.bias)
    return F.linear(x, linear.weight[start:stop], None if bias is None else bias[start:stop])
