"""A second loss while the flow learns: what its middle layers must know about the pictures.

Linear heads read, off the image tokens, what stands in a token's cell: of a reference in its own picture,
early; of target and first reference in the picture that is asked for, half-way. Classes tell sooner what an
instruction means than the velocity of a few tokens does. The heads are thrown away afterwards, and the model
never knows of them.

Source: arXiv:2410.06940 (REPA) aligns middle layers with a pretrained encoder; here the world's own labels
serve.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..model.transformer import Transformer
from ..world.labels import FIELDS, UNSEEN


class Alignment(nn.Module):
    """Heads on a transformer's blocks. They see what its last forward pass computed."""

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        width, classes = transformer.config.hidden_size, sum(FIELDS.values())
        self.own, self.wanted = (
            nn.Sequential(nn.LayerNorm(width, elementwise_affine=False), nn.Linear(width, classes))
            for _ in range(2)
        )
        self._seen: dict[str, Tensor] = {}
        self._hooks = [transformer.double_blocks[-1].register_forward_hook(self._keep_early)]
        whole = transformer.single_blocks[:-1]  # the last one puts out the target alone
        if len(whole):
            middle = whole[len(whole) // 2]
            self._hooks.append(middle.register_forward_hook(self._keep_middle))

    def remove(self) -> None:
        """Leave the transformer as it was found."""
        for hook in self._hooks:
            hook.remove()

    def _keep_early(self, _module: nn.Module, _inputs: Any, outputs: tuple[Tensor, Tensor]) -> None:
        self._seen["early"] = outputs[0]

    def _keep_middle(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self._seen["middle"] = output

    def loss(self, labels: Tensor, weights: Tensor, *, teach: bool = True) -> tuple[Tensor, float]:
        """Cross entropy of what the last forward pass knew.

        Args:
            labels: (B, 1 + n_references, 16, fields) of target and references, see `world.labels`.
            weights: (B, L) of the target's tokens.
            teach: whether the transformer learns from it, or the heads alone.
        Returns: the loss; and the share of changed cells' tokens whose wanted content is known, for the log.
        """
        n_target = weights.shape[1]
        early = self._seen.pop("early")
        middle = self._seen.pop("middle", early)
        if not teach:
            early, middle = early.detach(), middle.detach()
        middle = middle[:, middle.shape[1] - early.shape[1] :]  # without the text
        per_token = _of_tokens(labels, n_target)  # (B, pictures, L, fields)
        target = per_token[:, 0]
        logits = self.wanted(middle[:, :n_target])
        loss = _cross_entropy(logits, target, weights)
        if labels.shape[1] > 1:
            first = self.wanted(middle[:, n_target : 2 * n_target])
            own = self.own(early[:, n_target:])
            loss = loss + _cross_entropy(first, target, weights)
            loss = loss + _cross_entropy(own, per_token[:, 1:].flatten(1, 2), torch.ones_like(own[..., 0]))
        return loss, _known(logits, per_token)


def _of_tokens(labels: Tensor, n_tokens: int) -> Tensor:
    """Labels of cells (B, P, cells, F) to those of tokens (B, P, L, F): a cell is a square of tokens."""
    cells = round(labels.shape[2] ** 0.5)
    side = round(n_tokens**0.5) // cells
    square = labels.unflatten(2, (cells, cells))
    return square.repeat_interleave(side, 2).repeat_interleave(side, 3).flatten(2, 3)


def _cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean over the tokens of the cross entropy of each field, added over the fields."""
    total = logits.new_zeros(())
    for field, answer in zip(logits.split(list(FIELDS.values()), dim=-1), labels.unbind(-1), strict=True):
        errors = F.cross_entropy(field.flatten(0, 1), answer.flatten(), ignore_index=UNSEEN, reduction="none")
        total = total + (errors * weights.flatten()).mean()
    return total


@torch.no_grad()
def _known(logits: Tensor, per_token: Tensor) -> float:
    target = per_token[:, 0]
    if per_token.shape[1] > 1:
        changed = (target[..., :3] != per_token[:, 1, :, :3]).any(-1)
    else:
        changed = target[..., 0] != 0
    content = logits[..., : FIELDS["content"]].argmax(-1) == target[..., 0]
    return cast(float, content[changed].float().mean().nan_to_num(1.0).item())
