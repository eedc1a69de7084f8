"""The sampling loop: steps along the velocity, references in the image stream.

Source: arXiv:2506.15742; flux sampling.py, denoise. Tokens are float32 between steps, whatever the model's
dtype.
"""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from ..config import Layout
from ..edit_settings import EditSettings
from ..errors import check_finite
from ..kernels.options import compute_options
from ..model.latents import pack, unpack
from ..model.transformer import Transformer
from .inputs import Callback, SampleInputs, Text, check_inputs, check_text
from .references import EncodedReference
from .solvers import Velocity, find_solver
from .velocity import ImageStream, PromptVelocity, Stages, guided, step_networks

log = logging.getLogger(__name__)


@torch.no_grad()
def denoise(
    transformer: Transformer | Stages,
    noise: Tensor,
    txt: Tensor,
    pooled: Tensor,
    sigmas: Sequence[float],
    *,
    guidance: float = 2.5,
    references: Sequence[EncodedReference] = (),
    layout: Layout = "offset",
    cfg_scale: float = 1.0,
    negative: Text | None = None,
    start: Tensor | None = None,
    strength: float = 1.0,
    mask: Tensor | None = None,
    solver: str = "euler",
    approximate: str | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """From noise to latents.

    Args:
        transformer: the network, or several that take turns.
        noise: (B, 16, h, w) from `latents.noise`.
        txt: the prompt's, see `TextEncoders.encode`.
        pooled: likewise.
        sigmas: falling noise levels, see `schedule.sigmas`.
        guidance: the distilled scale, an input of the network; ignored where the model has none.
        references: latents (1 or B, 16, h_i, w_i) of any sizes, placed by `layout`; as `ReferenceLatents`
            where one has a strength, a region or a place of its own.
        cfg_scale: v_neg + cfg_scale (v_pos - v_neg); other than 1 needs `negative`, and two passes a step.
        start: latents (1 or B, 16, h, w) to begin from.
        strength: the share of the steps that is run, in [0, 1]; above 0 it is at least one step.
        mask: (1 or B, 1, h, w) in [0, 1]; where it is 0, `start` is kept.
        solver: one of `solvers.SOLVERS`; "euler" is the paper's.
        approximate: a way of `step_cache.METHODS` to skip what changes little, "NAME" or "NAME:NUMBER"; not
            exact.
        callback: called as (step, steps, predicted clean latents) after each step; what it raises ends the
            loop.
    Returns: (B, 16, h, w), float32, on the transformer's device.
    Raises: ValueError if arguments do not fit together, or numbers of the result are not finite.
    """
    settings = EditSettings(
        guidance=guidance,
        cfg_scale=cfg_scale,
        strength=strength,
        solver=solver,
        layout=layout,
        approximate=approximate,
    )
    inputs = SampleInputs(
        noise=noise, text=(txt, pooled), references=references, negative=negative, start=start, mask=mask
    )
    return denoise_with(transformer, inputs, sigmas, settings, callback)


@torch.no_grad()
def denoise_with(
    transformer: Transformer | Stages,
    inputs: SampleInputs,
    sigmas: Sequence[float],
    settings: EditSettings,
    callback: Callback | None = None,
) -> Tensor:
    """`denoise`, of values that travel together.

    Args:
        transformer: the network, or several that take turns.
        inputs: tensors to begin with.
        sigmas: falling noise levels, see `schedule.sigmas`.
        settings: of which the loop reads guidance, cfg_scale, strength, solver, layout and approximate.
        callback: as for `denoise`.
    """
    check_inputs(inputs, sigmas, settings)
    stages: Stages = [(0.0, transformer)] if isinstance(transformer, Transformer) else transformer
    config, device = stages[0][1].config, stages[0][1].device
    for text in (inputs.text, *([inputs.negative] if inputs.negative else [])):
        check_text(text, (config.context_in_dim, config.vec_in_dim))
    if settings.approximate is not None and compute_options().graph:
        log.warning("approximate looks into each step, so that none is recorded as a CUDA graph")

    levels = last_levels(sigmas, settings.strength)
    networks = step_networks(stages, len(sigmas) - 1)[len(sigmas) - len(levels) :]
    if networks and levels[-1] > 0:  # a solver may ask at the last level too
        networks.append(networks[-1])

    _, channels, height, width = inputs.noise.shape
    noise = pack(inputs.noise.to(device, torch.float32))
    start = None if inputs.start is None else pack(inputs.start.to(device, torch.float32)).expand_as(noise)
    keep = None
    if inputs.mask is not None:
        keep = 1 - pack(inputs.mask.to(device, torch.float32).expand(-1, channels, -1, -1))

    image = ImageStream.of(noise, inputs.references, (height // 2, width // 2), settings)
    velocity: Velocity = PromptVelocity(networks, levels, inputs.text, image, settings)
    if inputs.negative is not None and settings.cfg_scale != 1.0:
        away = PromptVelocity(networks, levels, inputs.negative, image, settings)
        velocity = guided(velocity, away, settings.cfg_scale)

    def report(step: int, steps: int, clean: Tensor) -> None:
        if callback is not None:
            callback(step, steps, unpack(clean, height, width))

    tokens = descend(velocity, noise, levels, start=start, keep=keep, solver=settings.solver, callback=report)
    latents = unpack(tokens, height, width)
    check_finite(latents, "the edit", *dict.fromkeys(networks))
    return latents


def last_levels(sigmas: Sequence[float], strength: float) -> list[float]:
    """The noise levels of that share of the steps: above 0 it is at least one step, at 0 none."""
    steps = round((len(sigmas) - 1) * strength) or int(strength > 0)
    return list(sigmas[len(sigmas) - 1 - steps :])


def descend(
    velocity: Velocity,
    noise: Tensor,
    levels: Sequence[float],
    *,
    start: Tensor | None = None,
    keep: Tensor | None = None,
    solver: str = "euler",
    callback: Callback | None = None,
) -> Tensor:
    """Step down the noise levels along a velocity, whoever computes it, in tokens or in latents.

    Args:
        velocity: see `solvers.Velocity`; asked at levels[i]. noise, start, keep, result: of one shape.
        start: what is noised to levels[0] and begun from; None is pure noise.
        keep: in [0, 1]; where it is 1, `start` is kept.
        callback: as in `denoise`.
    Raises: ValueError if there is no such solver.
    """
    solve = find_solver(solver)

    def after(step: int, state: Tensor, clean: Tensor) -> Tensor:
        if keep is not None and start is not None:
            kept = torch.lerp(start, noise, levels[step + 1])
            state, clean = torch.lerp(state, kept, keep), torch.lerp(clean, start, keep)
        if callback is not None:
            callback(step, len(levels) - 1, clean)
        return state

    state = noise if start is None else torch.lerp(start, noise, levels[0])
    return solve(velocity, state, levels, after)
