"""The velocity of a prompt at each step: what is the same at all steps is computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..edit_settings import EditSettings
from ..model.attention import key_weights
from ..model.positions import HeightWidth, target_ids, text_ids
from ..model.transformer import ModulationTable, PreparedInputs, Transformer
from .cuda_graph import velocity as run_step
from .inputs import Text
from .references import EncodedReference, Placed, reference_tokens
from .solvers import Velocity
from .step_cache import CachedStep, StepInputs, parse_step_cache

TABLE_STEPS = 64  # whose modulation vectors are computed at once, 135 MB of the published model's in bfloat16

# Networks of one kind, each from that share of the steps on, 0 first.
Stages = Sequence[tuple[float, Transformer]]


@dataclass(frozen=True, eq=False)
class ImageStream:
    """The image stream of the network: the target's tokens, then the references'.

    Args:
        n_target: tokens of the target.
        ids: (1, n_target + L_ref, 3) position ids.
        references: (B, L_ref, 64), side by side; L_ref may be 0.
        placed: each reference's tokens, ids and strength.
    """

    n_target: int
    ids: Tensor
    references: Tensor
    placed: Placed

    @classmethod
    def of(
        cls, noise: Tensor, references: Sequence[EncodedReference], size: HeightWidth, settings: EditSettings
    ) -> "ImageStream":
        """Place references beside the target.

        Args:
            noise: (B, n_target, 64), the target's tokens.
            references: see `SampleInputs`.
            size: (height, width) of the target in tokens.
            settings: whose layout places them.
        """
        placed = reference_tokens(references, size, settings.layout or "offset")
        tokens = [part.to(noise.device).expand(noise.shape[0], -1, -1) for part in placed.tokens]
        return cls(
            n_target=noise.shape[1],
            ids=torch.cat([target_ids(*size), *placed.ids], dim=1),
            references=torch.cat(tokens, dim=1) if tokens else noise[:, :0],
            placed=placed,
        )


class PromptVelocity:
    """The velocity of one prompt at each step, of one network or of several in turn.

    Called as (tokens, step), with tokens (B, n_target, 64), it returns as many.

    Args:
        networks: that of each step; one of several LoRAs in turn may have some of them.
        levels: the noise level of each step.
        text: states and vector, (1 or B, ...).
        image: the target's place and the references.
        settings: of which guidance and approximate count.
    """

    def __init__(
        self,
        networks: Sequence[Transformer],
        levels: Sequence[float],
        text: Text,
        image: ImageStream,
        settings: EditSettings,
    ) -> None:
        device, batch = image.references.device, image.references.shape[0]
        txt, pooled = (part.to(device).expand(batch, *[-1] * (part.ndim - 1)) for part in text)
        guidance = torch.full((batch,), settings.guidance, device=device)
        self._steps = len(levels) - 1
        self._cached: CachedStep | None = None
        if settings.approximate is not None:
            self._cached = parse_step_cache(settings.approximate)()
        self._plan: dict[int, tuple[Transformer, PreparedInputs, ModulationTables, int]] = {}
        for network in dict.fromkeys(networks):
            steps = [step for step, candidate in enumerate(networks) if candidate is network]
            times = torch.tensor([levels[step] for step in steps], device=device)[:, None]
            prepared = network.prepare(
                txt,
                text_ids(1, txt.shape[1]),
                image.ids,
                image.references,
                key_weights(
                    txt.shape[1] + image.n_target,
                    image.placed.lengths,
                    image.placed.strengths,
                    network.config.hidden_size // network.config.num_heads,
                ),
            )
            tables = ModulationTables(network, times, pooled, guidance)
            self._plan |= {step: (network, prepared, tables, row) for row, step in enumerate(steps)}

    def __call__(self, tokens: Tensor, step: int) -> Tensor:
        network, prepared, tables, row = self._plan[step]
        table, row = tables.at(row)
        if self._cached is None:
            return run_step(network, tokens, prepared, table, row).float()
        return self._cached(StepInputs(network, tokens, prepared, table, row, step, self._steps)).float()


def guided(positive: Velocity, negative: Velocity, cfg_scale: float) -> Velocity:
    """Steer away from a negative prompt: v_neg + cfg_scale (v_pos - v_neg). Source: arXiv:2207.12598."""

    def velocity(tokens: Tensor, step: int) -> Tensor:
        toward, away = positive(tokens, step), negative(tokens, step)
        return away + cfg_scale * (toward - away)

    return velocity


def step_networks(stages: Stages, steps: int) -> list[Transformer]:
    """The network of each step: of the last stage that has begun."""
    return [[network for begin, network in stages if begin <= step / steps][-1] for step in range(steps)]


class ModulationTables:
    """A network's modulation vectors, some steps at a time: the published model's of 1,000 would take 2 GB.

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
