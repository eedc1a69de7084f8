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
from ..model.attention import key_weights
from ..model.latents import pack, unpack
from ..model.positions import target_ids, text_ids
from ..model.transformer import ModulationTable, PreparedInputs, Transformer
from .cuda_graph import velocity as one_step
from .inputs import Callback, SampleInputs, Text, check_inputs, check_text
from .references import EncodedReference, reference_tokens
from .solvers import Velocity, find_solver
from .step_cache import StepInputs, parse_step_cache

log = logging.getLogger(__name__)

TABLE_STEPS = 64  # whose modulation vectors are computed at once, 135 MB of the published model's in bfloat16

Stages = Sequence[
    tuple[float, Transformer]
]  # networks of one kind, each from that share of the steps on, 0 first


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
    noise, negative, start, mask = inputs.noise, inputs.negative, inputs.start, inputs.mask
    stages: Stages = [(0.0, transformer)] if isinstance(transformer, Transformer) else transformer
    config, device = stages[0][1].config, stages[0][1].device
    skipping = None if settings.approximate is None else parse_step_cache(settings.approximate)
    if skipping is not None and compute_options().graph:
        log.warning(
            "approximate looks into each step, which a recorded step does not allow: no graph is used"
        )
    widths = config.context_in_dim, config.vec_in_dim
    for text in (inputs.text, *([negative] if negative else [])):
        check_text(text, widths)
    height, width = noise.shape[-2:]
    batch = noise.shape[0]
    levels = last_levels(sigmas, settings.strength)
    networks = _networks(stages, len(sigmas) - 1)[len(sigmas) - len(levels) :]
    if networks and levels[-1] > 0:  # a solver may ask at the last level too
        networks.append(networks[-1])

    noise_tokens = pack(noise.to(device, torch.float32))
    start_tokens = None if start is None else pack(start.to(device, torch.float32)).expand_as(noise_tokens)
    keep = (
        None if mask is None else 1 - pack(mask.to(device, torch.float32).expand(-1, noise.shape[1], -1, -1))
    )

    target_size = (height // 2, width // 2)
    placed = reference_tokens(inputs.references, target_size, settings.layout or "offset")
    ref_tokens = [tokens.to(device).expand(batch, -1, -1) for tokens in placed.tokens]
    img_ids = torch.cat([target_ids(*target_size), *placed.ids], dim=1)
    joined = torch.cat(ref_tokens, dim=1) if ref_tokens else noise_tokens[:, :0]
    head_dim = config.hidden_size // config.num_heads

    def once(text: Text) -> Velocity:
        """What does not change over the steps, for each network that takes part, and what asks it."""
        states, vector = (part.to(device).expand(batch, *[-1] * (part.ndim - 1)) for part in text)
        scale = torch.full((batch,), settings.guidance, device=device)
        n_free = states.shape[1] + noise_tokens.shape[1]
        weights = key_weights(n_free, placed.lengths, placed.strengths, head_dim)
        asked: dict[int, tuple[Transformer, PreparedInputs, _Modulation, int]] = {}
        for network in dict.fromkeys(networks):
            steps = [step for step, one in enumerate(networks) if one is network]
            times = torch.tensor([levels[step] for step in steps], device=device)[:, None]
            prepared = network.prepare(states, text_ids(1, states.shape[1]), img_ids, joined, weights)
            modulation = _Modulation(network, times, vector, scale)
            asked |= {step: (network, prepared, modulation, row) for row, step in enumerate(steps)}

        shortcut = skipping and skipping()

        def ask(tokens: Tensor, step: int) -> Tensor:
            network, prepared, modulation, row = asked[step]
            table, row = modulation.at(row)
            if shortcut is None:
                return one_step(network, tokens, prepared, table, row).float()
            return shortcut(StepInputs(network, tokens, prepared, table, row, step, len(levels) - 1)).float()

        return ask

    positive = once(inputs.text)
    away_from = once(negative) if negative is not None and settings.cfg_scale != 1.0 else None

    def velocity(tokens: Tensor, step: int) -> Tensor:
        toward = positive(tokens, step)
        if away_from is None:
            return toward
        away = away_from(tokens, step)
        return away + settings.cfg_scale * (toward - away)

    def shown(step: int, steps: int, clean: Tensor) -> None:
        if callback is not None:
            callback(step, steps, unpack(clean, height, width))

    tokens = descend(
        velocity, noise_tokens, levels, start=start_tokens, keep=keep, solver=settings.solver, callback=shown
    )
    latents = unpack(tokens, height, width)
    check_finite(latents, "the edit", *dict.fromkeys(networks))
    return latents


class _Modulation:
    """A network's modulation vectors for some steps at a time: of 1,000 at once the published model's would take 2 GB.

    Args:
        network: whose they are.
        times: (S, 1) of all its steps.
        vector: (B, vec) of the prompt.
        guidance: (B,).
    """

    def __init__(self, network: Transformer, times: Tensor, vector: Tensor, guidance: Tensor) -> None:
        self._network, self._times = network, times.split(TABLE_STEPS)
        self._vector, self._guidance = vector, guidance
        self._part, self._table = 0, self._computed(0)

    def at(self, row: int) -> tuple[ModulationTable, int]:
        """Return the table that holds the vectors of one of the steps, and their row in it."""
        part, row = divmod(row, TABLE_STEPS)
        if part != self._part:
            self._part, self._table = part, self._computed(part)
        return self._table, row

    def _computed(self, part: int) -> ModulationTable:
        return self._network.modulation(self._times[part], self._vector, self._guidance)


def _networks(stages: Stages, steps: int) -> list[Transformer]:
    """The network of each step: of the last stage that has begun."""
    return [[one for begin, one in stages if begin <= step / steps][-1] for step in range(steps)]


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
    """Down the noise levels along a velocity, whoever computes it, in tokens or in latents.

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
