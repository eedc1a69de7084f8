"""Work that changes little is skipped: faster, and not the exact picture. Off unless chosen by name.

A way is a function of one number that a person writes behind its name: "teacache" or "teacache:0.12". Others
that were tried are in `benchmarks/approximate`, with what they cost.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model.transformer import ModulationTable, PreparedInputs, Transformer

# Polynomials by the model's width, highest power first: from the change of the first block's modulated input
# to that of the output.
COEFFICIENTS: dict[int, tuple[float, ...]] = {
    # FLUX.1 Kontext. Source: welltop-cn/ComfyUI-TeaCache, nodes.py, "flux-kontext".
    3072: (-1.04655119e03, 3.12563399e02, -1.69500694e01, 4.10995971e-01, 3.74537863e-02),
    # The tiny model, by `python -m benchmarks.teacache_fit`.
    128: (-3.91806e05, 4.76035e04, -1.90454e03, 3.17257e01, -1.61377e-01),
}


@dataclass(frozen=True, eq=False)
class StepInputs:
    """The arguments of one `Transformer.velocity`, and where the loop stands.

    Args:
        tokens: (B, n_target, 64), float32.
        row: of the table, at `step` of `steps`.
    """

    network: Transformer
    tokens: Tensor
    prepared: PreparedInputs
    modulation: ModulationTable
    row: int
    step: int
    steps: int

    @property
    def at_an_end(self) -> bool:
        """Whether it is the first or the last step."""
        return self.step in (0, self.steps - 1)


# From questions in the order of the loop to velocities (B, n_target, 64). It remembers what it needs of the
# ones before.
CachedStep = Callable[[StepInputs], Tensor]


@dataclass(frozen=True)
class Method:
    """One way to skip work.

    Args:
        begin: from its number, for one prompt's edit.
        what: the number means, for people.
        usual: of it.
        least: likewise.
        most: likewise.
    """

    begin: Callable[[float], CachedStep]
    what: str
    usual: float
    least: float
    most: float


def parse_step_cache(text: str) -> Callable[[], CachedStep]:
    """Read which way of skipping is meant.

    Args:
        text: a name of `METHODS`, or NAME:NUMBER. Raises: ValueError if it is neither.
    """
    name, colon, number = text.partition(":")
    if name not in METHODS:
        raise ValueError(f"there is no method {name!r} to skip work; choose one of {', '.join(METHODS)}")
    method = METHODS[name]
    try:
        amount = float(number) if colon else method.usual
    except ValueError:
        amount = float("nan")
    if not method.least <= amount <= method.most:
        raise ValueError(
            f"{text!r}: the number behind {name} is the {method.what}, from {method.least:g} to {method.most:g}"
        )
    return lambda: method.begin(amount)


def teacache(threshold: float) -> CachedStep:
    """Skips all blocks until the rescaled changes of what enters the first one add up to the threshold.

    Raises: ValueError about a network of whose output nothing is known.
    Source: arXiv:2411.19108, section 3.3; the first and the last step are computed.
    """
    before: tuple[Transformer, Tensor] | None = None  # network, the first block's modulated input
    residual: Tensor | None = None  # what all blocks added at the last step that ran them
    total = 0.0

    def ask(question: StepInputs) -> Tensor:
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
            x = network.through_blocks(question.tokens, question.prepared, modulation, row)
            residual, total = x - target, 0.0
        else:
            x = target + residual
        return network.final_layer(x, modulation.last[row])

    return ask


def modulated_input(question: StepInputs, target: Tensor) -> Tensor:
    """What enters the first block's projections, (B, L_img, D).

    Args:
        target: (B, n_target, D) embedded.
    """
    img = torch.cat([target, question.prepared.references], dim=1)
    shift, scale = question.modulation.img[0][question.row].unbind(1)[:2]
    return (1 + scale) * F.layer_norm(img, img.shape[-1:], eps=1e-6) + shift


def distance(now: Tensor, before: Tensor) -> float:
    """Mean absolute change of (B, L, D), relative to what it was, of the picture where it is largest."""
    change = (now - before).abs().float().mean((1, 2)) / before.abs().float().mean((1, 2)).clamp_min(1e-8)
    return change.max().item()


def rescaled(change: float, coefficients: tuple[float, ...]) -> float:
    """The polynomial's value, or the change itself where that is more: beyond its fit it falls below zero."""
    value = 0.0
    for coefficient in coefficients:
        value = value * change + coefficient
    return max(value, change)


def coefficients_of(network: Transformer) -> tuple[float, ...]:
    """Raises: ValueError if none are known for networks of this width."""
    width = network.config.hidden_size
    if width not in COEFFICIENTS:
        known = " and ".join(str(size) for size in COEFFICIENTS)
        raise ValueError(
            f"approximate is 'teacache', which supports models of width {known}, but this one has {width}: "
            "leave it off"
        )
    return COEFFICIENTS[width]


METHODS: dict[str, Method] = {
    "teacache": Method(teacache, "sum of rescaled changes up to which steps are skipped", 0.1, 0.0, 10.0),
}
