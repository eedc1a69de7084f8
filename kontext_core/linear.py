"""What a block asks of a linear whose output features are not all wanted for the same tokens."""

from typing import Protocol, cast, runtime_checkable

from torch import Tensor, nn
from torch.nn import functional as F


@runtime_checkable
class SplitLinear(Protocol):
    """A linear that can compute its output features in two parts."""

    def split_forward(self, x: Tensor, first: int, tokens: slice) -> tuple[Tensor, Tensor]:
        """Compute the first output features for all tokens, and the others for some.

        Args:
            x: (B, L, in).
            first: how many features are of the first part.
            tokens: those of the second part.
        Returns: (B, L, first) and (B, tokens, out - first).
        """
        ...


def split_forward(linear: nn.Module, x: Tensor, first: int, tokens: slice) -> tuple[Tensor, Tensor]:
    """`SplitLinear.split_forward` of any linear.

    One that knows no parts, such as a linear with LoRAs beside it, computes all, which is then cut.
    """
    if tokens != slice(None):
        if type(linear) is nn.Linear:
            return multiply_split(x, linear.weight, cast("Tensor | None", linear.bias), first, tokens)
        if isinstance(linear, SplitLinear):
            return linear.split_forward(x, first, tokens)
    out = linear(x)
    return out[..., :first], out[:, tokens, first:]


def multiply_split(
    x: Tensor, weight: Tensor, bias: Tensor | None, first: int, tokens: slice
) -> tuple[Tensor, Tensor]:
    """Multiply all tokens by the first rows of a weight, and some by the others.

    Args:
        x: (B, L, in).
        weight: (out, in).
        bias: (out,) or None.
        first: how many rows are of the first part.
        tokens: those of the second part.
    """
    biases = (None, None) if bias is None else (bias[:first], bias[first:])
    return F.linear(x, weight[:first], biases[0]), F.linear(x[:, tokens], weight[first:], biases[1])
