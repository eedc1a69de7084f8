"""Whole blocks are skipped at steps where what enters them has hardly changed: what they added last is added again."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..transformer import Transformer
from .question import Question, Sequence, Shortcut, distance

# Polynomials by the model's width, highest power first: from the change of the first block's modulated input to that of
# the output.
COEFFICIENTS: dict[int, tuple[float, ...]] = {
    # FLUX.1 Kontext. Source: welltop-cn/ComfyUI-TeaCache, nodes.py, "flux-kontext".
    3072: (-1.04655119e03, 3.12563399e02, -1.69500694e01, 4.10995971e-01, 3.74537863e-02),
    # The tiny model, by `python -m benchmarks.teacache_fit`.
    128: (-3.91806e05, 4.76035e04, -1.90454e03, 3.17257e01, -1.61377e-01),
}


def first_block(threshold: float, sequence: Sequence) -> Shortcut:
    """The first block runs at every step; the others only where what it added has changed by more than the threshold.

    Source: the first-block cache of chengzeyi/ParaAttention; here the target's tokens alone are compared.
    """
    before: tuple[Transformer, Tensor, Tensor] | None = (
        None  # network, what the first block added, what the others
    )

    def ask(question: Question) -> Tensor:
        nonlocal before
        network, modulation, row = question.network, question.modulation, question.row
        given = question.prepared, modulation, row
        img, txt = network.first_block(question.tokens, *given)
        target = img[:, : sequence.n_target]
        added = target - network.img_in(question.tokens.to(network.dtype))
        skip = (
            before is not None
            and before[0] is network
            and not question.at_an_end
            and distance(added, before[1]) < threshold
        )
        if before is not None and skip:
            x = target + before[2]
        else:
            x = network.other_blocks(img, txt, sequence.n_target, *given)
            before = network, added, x - target
        return network.final_layer(x, modulation.last[row])

    return ask


def teacache(threshold: float, sequence: Sequence) -> Shortcut:
    """All blocks are skipped until the changes of what enters the first one, rescaled, add up to the threshold.

    Raises: ValueError about a network of whose output nothing is known.
    Source: arXiv:2411.19108, section 3.3; the first and the last step are computed.
    """
    before: tuple[Transformer, Tensor] | None = None  # network, the first block's modulated input
    residual: Tensor | None = None  # what all blocks added at the last step that ran them
    total = 0.0

    def ask(question: Question) -> Tensor:
        nonlocal before, residual, total
        network, modulation, row = question.network, question.modulation, question.row
        target = network.img_in(question.tokens.to(network.dtype))
        entering = modulated_input(question, target)
        if before is None or before[0] is not network or question.at_an_end:
            residual = None
        else:
            total += rescaled(distance(entering, before[1]), coefficients_of(network))
        before = network, entering
        if residual is None or total >= threshold:
            img, txt = network.first_block(question.tokens, question.prepared, modulation, row)
            x = network.other_blocks(img, txt, sequence.n_target, question.prepared, modulation, row)
            residual, total = x - target, 0.0
        else:
            x = target + residual
        return network.final_layer(x, modulation.last[row])

    return ask


def modulated_input(question: Question, target: Tensor) -> Tensor:
    """What enters the first block's projections, (B, L_img, D). Args: target (B, n_target, D) embedded."""
    img = torch.cat([target, question.prepared.references], dim=1)
    shift, scale = question.modulation.img[0][question.row].unbind(1)[:2]
    return (1 + scale) * F.layer_norm(img, img.shape[-1:], eps=1e-6) + shift


def rescaled(change: float, coefficients: tuple[float, ...]) -> float:
    """The polynomial's value, and at least the change itself: beyond what it was fitted to it falls below zero."""
    value = 0.0
    for coefficient in coefficients:
        value = value * change + coefficient
    return max(value, change)


def coefficients_of(network: Transformer) -> tuple[float, ...]:
    """Raises: ValueError if none are known for networks of this width."""
    width = network.config.hidden_size
    if width not in COEFFICIENTS:
        known = " and ".join(str(one) for one in COEFFICIENTS)
        raise ValueError(
            f"approximate is 'teacache', which knows models of width {known}, and this one's is {width}: leave it off, or "
            "choose another way"
        )
    return COEFFICIENTS[width]
