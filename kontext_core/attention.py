"""The one place that chooses an attention backend."""

from torch import Tensor
from torch.nn import functional as F


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Full softmax attention, without mask.

    Args: q (B, L_q, H, D); k, v (B, L, H, D), of one dtype.
    Returns: (B, L_q, H * D), heads side by side.
    """
    out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return out.transpose(1, 2).flatten(2)
