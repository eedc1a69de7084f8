"""All blocks but the first are skipped at steps where what it adds has hardly changed: what they
added last is added again.
"""

import torch
from torch import Tensor

from kontext_core.model.transformer import Transformer
from kontext_core.sampling.step_cache import CachedStep, StepInputs, distance


def first_block(threshold: float) -> CachedStep:
    """The first block runs at every step; the others only where what it added has changed
    by more than the threshold.

    Source: the first-block cache of chengzeyi/ParaAttention; here the target's tokens alone are compared.
    """
    # network, what the first block added, what the others
    before: tuple[Transformer, Tensor, Tensor] | None = None

    def ask(question: StepInputs) -> Tensor:
        nonlocal before
        network, n_target = question.network, question.tokens.shape[1]
        embedded = network.img_in(question.tokens.to(network.dtype))
        img, txt = _first(question, embedded)
        target = img[:, :n_target]
        added = target - embedded
        skip = (
            before is not None
            and before[0] is network
            and not question.at_an_end
            and distance(added, before[1]) < threshold
        )
        if before is not None and skip:
            x = target + before[2]
        else:
            x = _others(question, img, txt)
            before = network, added, x - target
        return network.final_layer(x, question.modulation.last[question.row])

    return ask


def _first(question: StepInputs, embedded: Tensor) -> tuple[Tensor, Tensor]:
    """img (B, L_img, D) and txt (B, L_txt, D) behind the first block.

    Args:
        embedded: (B, n_target, D).
    """
    prepared, modulation, row = question.prepared, question.modulation, question.row
    img = torch.cat([embedded, prepared.references], dim=1)
    block = question.network.double_blocks[0]
    vectors = modulation.img[0][row], modulation.txt[0][row]
    return block(img, prepared.txt, prepared.pe, *vectors, prepared.weights)


def _others(question: StepInputs, img: Tensor, txt: Tensor) -> Tensor:
    """From there to the target tokens (B, n_target, D) that the last layer reads; as
    `Transformer.through_blocks`.
    """
    network, modulation, row = question.network, question.modulation, question.row
    pe, weights = question.prepared.pe, question.prepared.weights
    doubles = list(zip(network.double_blocks, modulation.img, modulation.txt, strict=True))
    for block, img_mod, txt_mod in doubles[1:]:
        img, txt = block(img, txt, pe, img_mod[row], txt_mod[row], weights)
    x = torch.cat([txt, img], dim=1)
    target = slice(txt.shape[1], txt.shape[1] + question.tokens.shape[1])
    for block, mod in zip(network.single_blocks[:-1], modulation.single[:-1], strict=True):
        x = block(x, pe, mod[row], weights)
    return network.single_blocks[-1](x, pe, modulation.single[-1][row], weights, output_tokens=target)
