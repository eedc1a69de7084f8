"""The velocity of an edit: its prompt's, steered away from a negative one where that is asked for."""

from collections.abc import Sequence

from torch import Tensor

from ..edit_settings import EditSettings
from ..model.transformer import Transformer
from .inputs import SampleInputs
from .nag import SHARE, steered
from .schedule import share_of
from .solvers import Velocity
from .velocity import ImageStream, PromptVelocity


def edit_velocity(
    networks: Sequence[Transformer],
    levels: Sequence[float],
    inputs: SampleInputs,
    noise: Tensor,
    settings: EditSettings,
) -> Velocity:
    """Make the velocity of an edit, by NAG, true CFG, both or neither.

    Args:
        networks: of each step, see `PromptVelocity`.
        levels: likewise.
        inputs: of the edit.
        noise: (B, n_target, 64), its noise in tokens.
        settings: of which guidance, cfg_scale, cfg_to, nag_scale, layout and approximate are read.
    """
    height, width = inputs.noise.shape[-2:]
    image = ImageStream.of(noise, inputs.references, (height // 2, width // 2), settings)
    positive = PromptVelocity(networks, levels, inputs.text, image, settings)
    text = inputs.negative
    if text is None:
        return positive

    def away(steps: int) -> PromptVelocity:
        return PromptVelocity(networks[:steps], levels[: steps + 1], text, image, settings)

    velocity: Velocity = positive
    if settings.nag_scale != 1.0 and (steps := share_of(len(levels) - 1, SHARE)):
        velocity = steered(positive, away(steps), settings.nag_scale, steps)
    if settings.cfg_scale != 1.0 and (steps := cfg_steps(len(levels) - 1, settings.cfg_to, len(networks))):
        velocity = guided(velocity, away(steps), settings.cfg_scale, steps)
    return velocity


def cfg_steps(steps: int, cfg_to: float, levels: int | None = None) -> int:
    """Count the first steps in which cfg acts.

    Args:
        steps: that are run.
        cfg_to: the share of them: above 0 it is at least one step, at 1 every level.
        levels: that a solver asks for, of which the last may be the end of a step.
    """
    return (levels or steps) if cfg_to == 1 else share_of(steps, cfg_to)


def guided(positive: Velocity, negative: Velocity, cfg_scale: float, steps: int) -> Velocity:
    """Steer away from a negative prompt: v_neg + cfg_scale (v_pos - v_neg).

    Args:
        positive: of the prompt, at all steps.
        negative: of the negative prompt, at least at the first steps.
        cfg_scale: 1 steers nowhere.
        steps: how many are steered, the first ones; arXiv:2404.07724 limits guidance to some of them.
    Source: arXiv:2207.12598.
    """

    def velocity(tokens: Tensor, step: int) -> Tensor:
        v_pos = positive(tokens, step)
        if step >= steps:
            return v_pos
        v_neg = negative(tokens, step)
        return v_neg + cfg_scale * (v_pos - v_neg)

    return velocity
