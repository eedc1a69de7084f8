"""Normalised attention guidance in the first steps of an edit, by a second stream of text through the blocks.

Source: arXiv:2505.21179; see `model.negative`.
"""

from typing import cast

import torch
from torch import Tensor

from ..model.attention import KeyWeights
from ..model.blocks import DoubleBlock, SingleBlock
from ..model.negative import NegativeText
from ..model.transformer import Transformer
from .solvers import Velocity
from .velocity import PromptVelocity, StepParts

# Share of the steps that are steered, the first ones, in which the picture is laid out. Steered to the end, a
# picture loses what the prompt asks for: see benchmarks/negative.py.
SHARE = 0.25


def steered(positive: PromptVelocity, negative: PromptVelocity, scale: float, steps: int) -> Velocity:
    """Steer the velocity of a prompt away from a negative one.

    Args:
        positive: of the prompt, at all steps.
        negative: of the negative prompt, at least at the first steps.
        scale: 1 steers nowhere.
        steps: how many are steered.
    """

    def velocity(tokens: Tensor, step: int) -> Tensor:
        if step >= steps:
            return positive(tokens, step)
        return _velocity(tokens, positive.parts(step), negative.parts(step), scale).float()

    return velocity


def _velocity(tokens: Tensor, positive: StepParts, negative: StepParts, scale: float) -> Tensor:
    """Compute what `Transformer.velocity` does, with the negative prompt's text beside the other.

    Args:
        tokens: (B, n_target, 64).
        positive: the network and its inputs.
        negative: of the same network and step.
        scale: see `steered`.
    """
    network, prepared, modulation, row = positive
    _, other, away, _ = negative
    n_txt, n_neg, n_target = prepared.txt.shape[1], other.txt.shape[1], tokens.shape[1]
    txt, target = prepared.txt, slice(n_txt, n_txt + n_target)
    neg = NegativeText(
        txt=other.txt,
        mod=away.txt[0][row] if away.txt else away.single[0][row],
        pe=torch.cat([other.pe[:, :n_neg], prepared.pe], dim=1),
        weights=_narrow(other.weights, n_neg + n_target),
        n_txt=n_txt,
        n_target=n_target,
        scale=scale,
    )
    img = torch.cat([network.img_in(tokens.to(network.dtype)), prepared.references], dim=1)
    for number, block in enumerate(cast("list[DoubleBlock]", network.double_blocks)):
        vectors = modulation.img[number][row], modulation.txt[number][row]
        neg = neg.at(neg.txt, away.txt[number][row])
        img, txt, neg_txt = block(img, txt, prepared.pe, *vectors, prepared.weights, negative=neg)
        neg = neg.at(neg_txt, neg.mod)

    x, last = torch.cat([txt, img], dim=1), len(network.single_blocks) - 1
    for number, block in enumerate(cast("list[SingleBlock]", network.single_blocks)):
        neg = neg.at(neg.txt, away.single[number][row])
        tokens_out = {"output_tokens": target} if number == last else {}
        x, neg_txt = block(
            x, prepared.pe, modulation.single[number][row], prepared.weights, **tokens_out, negative=neg
        )
        neg = neg.at(neg_txt, neg.mod)
    return network.final_layer(x, modulation.last[row])


def is_spread(network: Transformer) -> bool:
    """Tell whether a network's blocks are run by several devices, which know no second text."""
    return type(network).through_blocks is not Transformer.through_blocks


def _narrow(weights: KeyWeights | None, queries: int) -> KeyWeights | None:
    return None if weights is None else weights.narrow(slice(queries))
