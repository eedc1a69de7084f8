from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kontext_core.model.transformer import Transformer
from kontext_core.train.alignment import Alignment
from kontext_core.world.labels import FIELDS, UNSEEN

CELLS = 4  # pictures of 4 x 4 tokens have cells of 2 x 2


def labels(pictures: int) -> Tensor:
    found = torch.zeros(1, pictures, CELLS, len(FIELDS), dtype=torch.long)
    found[..., 1:3] = UNSEEN
    return found


@pytest.fixture
def forward(prompts: Callable[..., tuple[Tensor, Tensor]]) -> Callable[[Transformer, int], Tensor]:
    """One pass over a target and so many references of 4 x 4 tokens."""

    def run(transformer: Transformer, references: int) -> Tensor:
        n_tokens = 16 * (1 + references)
        img = torch.randn(1, n_tokens, 64, generator=torch.Generator().manual_seed(0))
        txt, pooled = prompts()
        ids = torch.zeros(1, n_tokens, 3)
        time = torch.tensor([0.5])
        return transformer(img, ids, txt, torch.zeros(1, txt.shape[1], 3), time, pooled, time, n_target=16)

    return run


@pytest.mark.parametrize("singles", [1, 2, 3])
@pytest.mark.parametrize("references", [0, 1, 2])
def test_learning_what_is_wanted_changes_the_network_below(
    make_transformer: Callable[..., Transformer],
    forward: Callable[[Transformer, int], Tensor],
    singles: int,
    references: int,
) -> None:
    transformer = make_transformer(depth_single_blocks=singles).requires_grad_(True)
    alignment = Alignment(transformer)
    forward(transformer, references)
    loss, known = alignment.loss(labels(1 + references), torch.ones(1, 16))
    assert known == 1.0, "nothing changed, so nothing is missed"
    loss.backward()
    assert transformer.img_in.weight.grad.any()
    assert transformer.txt_in.weight.grad.any()
    assert transformer.final_layer.linear.weight.grad is None


def test_it_falls_as_the_heads_learn(
    transformer: Transformer, forward: Callable[[Transformer, int], Tensor]
) -> None:
    alignment = Alignment(transformer)
    wanted = labels(2)
    wanted[0, 0, 1] = torch.tensor([5, 2, 1, 3, 1, 2, 1])
    optimizer = torch.optim.AdamW(alignment.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        forward(transformer, 1)
        loss, known = alignment.loss(wanted, torch.ones(1, 16))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    alignment.remove()
    assert losses[-1] < 0.2 * losses[0]
    assert known == 1.0
    assert not any(module._forward_hooks for module in transformer.modules())


def test_the_network_computes_what_it_did(
    transformer: Transformer, forward: Callable[[Transformer, int], Tensor]
) -> None:
    before = forward(transformer, 2)
    alignment = Alignment(transformer)
    assert torch.equal(forward(transformer, 2), before)
    alignment.remove()
