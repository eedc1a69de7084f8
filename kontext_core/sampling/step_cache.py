"""Methods that skip work that changes little: faster, but not the exact picture. Off unless named.

A method has one number, which may follow its name: "teacache" or "teacache:0.12". Others that were tried are
in `benchmarks/approximate`, with what they cost.
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
    """The arguments of one `Transformer.velocity`, and the position in the loop.

    Args:
        network: of this step.
        tokens: (B, n_target, 64), float32.
        prepared: its constant inputs.
        modulation: a table of vectors.
        row: of this step in the table.
        step: of the loop, from 0.
        steps: of the loop in all.
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
        """Tell whether it is the first or the last step."""
        return self.step in (0, self.steps - 1)


# From the inputs of each step, in the order of the loop, to velocities (B, n_target, 64). It remembers what
# it needs of earlier steps.
CachedStep = Callable[[StepInputs], Tensor]


@dataclass(frozen=True)
class Method:
    """One way to skip work.

    Args:
        begin: makes a `CachedStep` for one prompt of an edit, from the method's number.
        what: the number means, for messages.
        usual: value of the number.
        least: value of it.
        most: value of it.
    """

    begin: Callable[[float], CachedStep]
    what: str
    usual: float
    least: float
    most: float


def parse_step_cache(text: str) -> Callable[[], CachedStep]:
    """Read the name of a method, and perhaps its number.

    Args:
        text: a name of `METHODS`, or NAME:NUMBER.
    Returns: makes a `CachedStep` for one prompt of an edit.
    Raises: ValueError if the text is neither.
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
    """Skip all blocks until the rescaled changes of what enters the first one add up to the threshold.

    Args:
        threshold: 0 skips nothing.
    Raises: ValueError about a network whose coefficients are not known.
    Source: arXiv:2411.19108, section 3.3; the first and the last step are computed.
    """
    before: tuple[Transformer, Tensor] | None = None  # network, the first block's modulated input
    residual: Tensor | None = None  # what all blocks added at the last step that ran them
    total = 0.0

    def velocity(inputs: StepInputs) -> Tensor:
        nonlocal before, residual, total
        network, modulation, row = inputs.network, inputs.modulation, inputs.row
        target = network.img_in(inputs.tokens.to(network.dtype))
        entering = modulated_input(inputs, target)
        if before is None or before[0] is not network or inputs.at_an_end:
            residual = None
        else:
            total += rescaled(distance(entering, before[1]), coefficients_of(network))
        before = network, entering
        if residual is None or total >= threshold:
            x = network.through_blocks(inputs.tokens, inputs.prepared, modulation, row)
            residual, total = x - target, 0.0
        else:
            x = target + residual
        return network.final_layer(x, modulation.last[row])

    return velocity


def modulated_input(inputs: StepInputs, target: Tensor) -> Tensor:
    """Compute what enters the first block's projections, (B, L_img, D).

    Args:
        inputs: of a step.
        target: (B, n_target, D) embedded.
    """
    img = torch.cat([target, inputs.prepared.references], dim=1)
    shift, scale = inputs.modulation.img[0][inputs.row].unbind(1)[:2]
    return (1 + scale) * F.layer_norm(img, img.shape[-1:], eps=1e-6) + shift


def distance(now: Tensor, before: Tensor) -> float:
    """Measure the mean absolute change of (B, L, D), relative to before: the largest of the batch."""
    change = (now - before).abs().float().mean((1, 2)) / before.abs().float().mean((1, 2)).clamp_min(1e-8)
    return change.max().item()


def rescaled(change: float, coefficients: tuple[float, ...]) -> float:
    """Evaluate the polynomial; where it falls below the change itself, beyond its fit, return that."""
    value = 0.0
    for coefficient in coefficients:
        value = value * change + coefficient
    return max(value, change)


def coefficients_of(network: Transformer) -> tuple[float, ...]:
    """Look up a network's coefficients. Raises: ValueError if none are known for its width."""
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
