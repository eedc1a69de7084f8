"""Normalised attention guidance (NAG): what the target sees under a negative prompt steers its attention.

The target's queries attend to the positive text and, once more, to the negative one; the result is pushed
away from the latter, kept within a bound, and mixed in before the projection. Text and references stay as
they are.

Source: arXiv:2505.21179, whose scale is `scale` - 1. B batch, L tokens, H heads, D channels of a head.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .attention import KeyWeights, attention

TAU = 2.5  # the most that steering may lengthen a token's attention, as a factor
ALPHA = 0.25  # share of what is steered in the result
_LEAST = 1e-6  # of a norm


@dataclass(frozen=True)
class NegativeText:
    """The negative prompt's tokens in a block, and how far to steer away from them.

    Args:
        txt: (B, L_neg, hidden).
        mod: (B, vectors, 1, hidden), the block's modulation by the negative prompt's vector.
        pe: for [negative | txt | img].
        weights: of keys, for queries of [negative | target] and keys of [negative | img].
        n_txt: tokens of the positive text.
        n_target: tokens of the target, which come first in img.
        scale: 1 steers nowhere.
    """

    txt: Tensor
    mod: Tensor
    pe: Tensor
    weights: KeyWeights | None
    n_txt: int
    n_target: int
    scale: float

    def at(self, txt: Tensor, mod: Tensor) -> "NegativeText":
        """The same, where these are its tokens and the next block's modulation."""
        return replace(self, txt=txt, mod=mod)

    def attend(self, qkv: tuple[Tensor, Tensor, Tensor], weights: KeyWeights | None) -> tuple[Tensor, Tensor]:
        """Attend with both prompts, and steer the target.

        Args:
            qkv: queries, keys and values of [negative | txt | img], each (B, L, H, D).
            weights: of keys, for [txt | img].
        Returns: what [txt | img] see, (B, L, H * D), and what the negative text sees.
        """
        q, k, v = qkv
        n_negative, n_txt, end = self.txt.shape[1], self.n_txt, self.n_txt + self.n_target
        q_both, k_both, v_both = (part[:, n_negative:] for part in qkv)
        attended = attention(q_both, k_both, v_both, weights)
        other = attention(
            torch.cat([q[:, :n_negative], q_both[:, n_txt:end]], dim=1),
            torch.cat([k[:, :n_negative], k_both[:, n_txt:]], dim=1),
            torch.cat([v[:, :n_negative], v_both[:, n_txt:]], dim=1),
            self.weights,
        )
        target = steered(attended[:, n_txt:end], other[:, n_negative:], self.scale)
        attended = torch.cat([attended[:, :n_txt], target, attended[:, end:]], dim=1)
        return attended, other[:, :n_negative]


def steered(
    positive: Tensor, negative: Tensor, scale: float, tau: float = TAU, alpha: float = ALPHA
) -> Tensor:
    """Steer attention away from that of the negative prompt: what is `positive` to the bit at scale 1.

    Args:
        positive: (B, L, hidden), of attention to the positive prompt.
        negative: likewise, to the negative one.
        scale: s in z = s positive - (s - 1) negative.
        tau: the most that |z| may be, in L1 norms of `positive`, token by token.
        alpha: share of z in the result.
    """
    plain = positive.float()
    away = plain + (scale - 1) * (plain - negative.float())
    ratio = _norm(away) / _norm(plain)
    away = away * (ratio.clamp_max(tau) / ratio)
    return (plain + alpha * (away - plain)).to(positive.dtype)


def _norm(x: Tensor) -> Tensor:
    return x.abs().sum(-1, keepdim=True).clamp_min(_LEAST)
