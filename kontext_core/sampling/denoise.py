"""The sampling loop: from noise to latents, in steps along the velocity.

Source: arXiv:2506.15742; flux sampling.py, denoise. Tokens are float32 between steps, whatever the model's
dtype.
"""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from ..config import Layout, TransformerConfig
from ..edit_settings import EditSettings
from ..errors import check_finite
from ..kernels.options import compute_options
from ..model.latents import pack, unpack
from ..model.model_lock import lock_of
from ..model.transformer import Transformer
from .guidance import edit_velocity
from .inputs import Callback, SampleInputs, Text, check_inputs, check_text
from .nag import is_spread
from .references import EncodedReference
from .schedule import share_of
from .solvers import Velocity, find_solver
from .velocity import Stages, step_networks

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
    cfg_to: float = 1.0,
    nag_scale: float = 1.0,
    negative: Text | None = None,
    start: Tensor | None = None,
    strength: float = 1.0,
    mask: Tensor | None = None,
    solver: str = "euler",
    approximate: str | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Sample latents from noise; the same as `denoise_with`, with an argument for each value.

    Args:
        transformer: the network, or several that take turns.
        noise: (B, 16, h, w), see `latents.noise`.
        txt: the prompt's states, see `TextEncoders.encode`.
        pooled: the prompt's vector.
        sigmas: falling noise levels, see `schedule.sigmas`.
        guidance: the distilled scale, an input of the network; ignored where the model has none.
        references: see `SampleInputs`.
        layout: where references stand, one of `config.LAYOUTS`.
        cfg_scale: v_neg + cfg_scale (v_pos - v_neg); other than 1 needs `negative`, and two passes a step.
        cfg_to: share of the steps, from the first on, in which cfg_scale acts.
        nag_scale: other than 1 steers the target's attention away from `negative` in the first quarter of the
            steps, see `model.negative`.
        negative: states and vector of the negative prompt.
        start: latents (1 or B, 16, h, w) to begin from.
        strength: the share of the steps that is run, in [0, 1]; above 0 it is at least one step.
        mask: (1 or B, 1, h, w) in [0, 1]; where it is 0, `start` is kept.
        solver: one of `solvers.SOLVERS`; "euler" is the paper's.
        approximate: NAME or NAME:NUMBER of `step_cache.METHODS`, which skip what changes little; not exact.
        callback: see `denoise_with`.
    """
    inputs = SampleInputs(
        noise=noise, text=(txt, pooled), references=references, negative=negative, start=start, mask=mask
    )
    settings = EditSettings(
        guidance=guidance,
        cfg_scale=cfg_scale,
        cfg_to=cfg_to,
        nag_scale=nag_scale,
        strength=strength,
        solver=solver,
        layout=layout,
        approximate=approximate,
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
    """Sample latents from noise. One thread at a time has the model, whose turn ends at its callbacks.

    Args:
        transformer: the network, or several that take turns.
        inputs: tensors to begin with.
        sigmas: falling noise levels, see `schedule.sigmas`.
        settings: of which the loop reads guidance, cfg_scale, cfg_to, nag_scale, strength, solver, layout
            and approximate.
        callback: called as (step, steps, predicted clean latents) after each step; what it raises ends the
            loop.
    Returns: (B, 16, h, w), float32, on the transformer's device.
    Raises: ValueError if arguments do not fit together, or numbers of the result are not finite.
    """
    stages: Stages = [(0.0, transformer)] if isinstance(transformer, Transformer) else transformer
    _check(inputs, sigmas, settings, stages[0][1].config)
    if settings.nag_scale != 1.0 and any(is_spread(network) for _, network in stages):
        raise ValueError("nag is for an edit on one device: leave it at 1, or use one device")
    levels = last_levels(sigmas, settings.strength)
    networks = _networks(stages, sigmas, levels)
    noise, start, keep = _tokens(inputs, stages[0][1].device)
    lock = lock_of(stages[0][1])
    height, width = inputs.noise.shape[-2:]

    def report(step: int, steps: int, clean: Tensor) -> None:
        if callback is not None:
            with lock.lent():
                callback(step, steps, unpack(clean, height, width))

    with lock:
        velocity = edit_velocity(networks, levels, inputs, noise, settings)
        tokens = descend(
            velocity, noise, levels, start=start, keep=keep, solver=settings.solver, callback=report
        )
    latents = unpack(tokens, height, width)
    check_finite(latents, "the edit", *dict.fromkeys(networks))
    return latents


def _check(
    inputs: SampleInputs, sigmas: Sequence[float], settings: EditSettings, config: TransformerConfig
) -> None:
    """Check what the loop is given against each other and the model. Raises: ValueError."""
    check_inputs(inputs, sigmas, settings)
    for text in (inputs.text, *([inputs.negative] if inputs.negative else [])):
        check_text(text, (config.context_in_dim, config.vec_in_dim))
    if settings.approximate is not None and compute_options().graph:
        log.warning("approximate looks into each step, so that none is recorded as a CUDA graph")
    if settings.nag_scale != 1.0 and compute_options().graph:
        log.warning("nag looks into the first steps, so that these are not recorded as a CUDA graph")


def _networks(stages: Stages, sigmas: Sequence[float], levels: Sequence[float]) -> list[Transformer]:
    """Choose the network of each level that is asked: of the last steps, and of an end with noise."""
    networks = step_networks(stages, len(sigmas) - 1)[len(sigmas) - len(levels) :]
    if networks and levels[-1] > 0:  # a solver may ask at the last level too
        networks.append(networks[-1])
    return networks


def _tokens(inputs: SampleInputs, device: torch.device) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Turn noise, start and what the mask keeps of it into tokens (B, L, 64), float32."""
    noise = pack(inputs.noise.to(device, torch.float32))
    start, mask = inputs.start, inputs.mask
    if start is not None:
        start = pack(start.to(device, torch.float32)).expand_as(noise)
    channels = inputs.noise.shape[1]
    keep = None if mask is None else 1 - pack(mask.to(device, torch.float32).expand(-1, channels, -1, -1))
    return noise, start, keep


def last_levels(sigmas: Sequence[float], strength: float) -> list[float]:
    """Return the noise levels of the last steps, a share of all.

    Args:
        sigmas: of all steps.
        strength: the share: above 0 it is at least one step, at 0 none.
    """
    steps = share_of(len(sigmas) - 1, strength)
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
        velocity: see `solvers.Velocity`; called with the index of a level.
        noise: of any shape, which start, keep and the result have too.
        levels: falling noise levels.
        start: what is noised to levels[0] and begun from; None is pure noise.
        keep: in [0, 1]; where it is 1, `start` is kept.
        solver: one of `solvers.SOLVERS`.
        callback: as in `denoise_with`.
    Raises: ValueError if there is no such solver.
    """
    solve = find_solver(solver)

    def after(step: int, state: Tensor, clean: Tensor) -> Tensor:
        if keep is not None and start is not None:
            noised_start = torch.lerp(start, noise, levels[step + 1])  # (1 - sigma) start + sigma noise
            state, clean = torch.lerp(state, noised_start, keep), torch.lerp(clean, start, keep)
        if callback is not None:
            callback(step, len(levels) - 1, clean)
        return state

    state = noise if start is None else torch.lerp(start, noise, levels[0])
    return solve(velocity, state, levels, after)
