"""Muon for the matrices and convolutions inside the network, AdamW for everything else."""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Newton-Schulz coefficients for the orthogonal factor. Source: Keller Jordan, "Muon", 2024.
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_INSIDE = re.compile(r"(_blocks|down|up|mid)\.")


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised by five Newton-Schulz steps in the weights' own dtype.

    `torch.optim.Muon` rounds to bfloat16, which costs three times as much on a CPU without such arithmetic.

    Args:
        params: of two or more dimensions, taken as (out, everything else).
        lr: in AdamW's terms: each update is scaled to the root mean square of one of AdamW's, 0.2.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal_factor(p.grad.lerp(state["momentum"], group["momentum"]).flatten(1))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view_as(p), alpha=-group["lr"] * 0.2 * max(update.shape) ** 0.5)


def orthogonal_factor(matrix: Tensor, steps: int = 5) -> Tensor:
    """About U V^T of the singular value decomposition U S V^T. (M, N) to (M, N)."""
    a, b, c = _NEWTON_SCHULZ
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def split_parameters(model: nn.Module) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """(matrices and convolutions inside the network, scales of queries and keys, everything else).

    First and last layers, embeddings and modulation (which starts at zero) belong to AdamW.
    """
    matrices: list[Tensor] = []
    scales: list[Tensor] = []
    others: list[Tensor] = []
    for name, p in model.named_parameters():
        inside = _INSIDE.search(name) is not None
        if inside and p.ndim >= 2 and "mod" not in name:
            matrices.append(p)
        elif inside and name.endswith(("query_norm.scale", "key_norm.scale")):
            scales.append(p)
        else:
            others.append(p)
    return matrices, scales, others
