"""The velocity of a prompt at each step; what is the same at all steps is computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..edit_settings import EditSettings
from ..model.attention import KeyWeights, key_weights
from ..model.positions import HeightWidth, target_ids, text_ids
from ..model.transformer import ModulationTable, PreparedInputs, Transformer
from .cuda_graph import velocity as run_step
from .inputs import Text
from .references import EncodedReference, Placed, reference_tokens
from .step_cache import CachedStep, StepInputs, parse_step_cache

# Steps of which modulation vectors are computed at once: 135 MB of the published model's in bfloat16.
TABLE_STEPS = 64

# Networks of one kind, each with the share of the steps from which on it is used; the first has 0.
Stages = Sequence[tuple[float, Transformer]]
# What computes a step: the network, its constant inputs, modulation vectors, and the step's row in these.
StepParts = tuple[Transformer, PreparedInputs, ModulationTable, int]


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
            settings: of which the layout is read.
        """
        placed = reference_tokens(references, size, settings.layout or "offset")
        tokens = [part.to(noise.device).expand(noise.shape[0], -1, -1) for part in placed.tokens]
        return cls(
            n_target=noise.shape[1],
            ids=torch.cat([target_ids(*size), *placed.ids], dim=1),
            references=torch.cat(tokens, dim=1) if tokens else noise[:, :0],
            placed=placed,
        )

    def key_weights(self, n_text: int, network: Transformer) -> KeyWeights | None:
        """Weight the references' keys by their strengths; None where all of these are 1.

        Args:
            n_text: tokens of text, which stand before the target.
            network: whose keys they are.
        """
        head_dim = network.config.hidden_size // network.config.num_heads
        return key_weights(n_text + self.n_target, self.placed.lengths, self.placed.strengths, head_dim)


class ModulationTables:
    """A network's modulation vectors, of some steps at a time: 1,000 steps of the published model take 2 GB.

    Args:
        network: that computes them.
        timesteps: (S, 1) of all its steps.
        pooled: (B, vec_in_dim) of the prompt.
        guidance: (B,).
    """

    def __init__(self, network: Transformer, timesteps: Tensor, pooled: Tensor, guidance: Tensor) -> None:
        self._network, self._timesteps = network, timesteps.split(TABLE_STEPS)
        self._pooled, self._guidance = pooled, guidance
        self._part, self._table = 0, self._compute(0)

    def at(self, row: int) -> tuple[ModulationTable, int]:
        """Return the table that holds the vectors of the step in this row of all, and their row in it."""
        part, row = divmod(row, TABLE_STEPS)
        if part != self._part:
            self._part, self._table = part, self._compute(part)
        return self._table, row

    def _compute(self, part: int) -> ModulationTable:
        return self._network.modulation(self._timesteps[part], self._pooled, self._guidance)


class PromptVelocity:
    """The velocity of one prompt at each step, by one network or by several in turn.

    Args:
        networks: of each step; several where LoRAs act on a part of the steps.
        levels: noise levels: of each step, and of its end.
        text: states and vector, (1 or B, ...).
        image: the target's place and the references.
        settings: of which guidance and approximate are read.
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
        txt_ids = text_ids(1, txt.shape[1])
        guidance = torch.full((batch,), settings.guidance, device=device)
        self._steps = len(levels) - 1
        self._cached_step: CachedStep | None = None
        if settings.approximate is not None:
            self._cached_step = parse_step_cache(settings.approximate)()
        # What computes each step: the network, its constant inputs, its modulation vectors and their row.
        self._plan: dict[int, tuple[Transformer, PreparedInputs, ModulationTables, int]] = {}
        for network in dict.fromkeys(networks):
            steps = [step for step, other in enumerate(networks) if other is network]
            timesteps = torch.tensor([levels[step] for step in steps], device=device)[:, None]
            weights = image.key_weights(txt.shape[1], network)
            prepared = network.prepare(txt, txt_ids, image.ids, image.references, weights)
            tables = ModulationTables(network, timesteps, pooled, guidance)
            self._plan |= {step: (network, prepared, tables, row) for row, step in enumerate(steps)}

    def __call__(self, tokens: Tensor, step: int) -> Tensor:
        """Predict the velocity of tokens (B, n_target, 64) at a step, in float32."""
        network, prepared, table, row = self.parts(step)
        if self._cached_step is None:
            return run_step(network, tokens, prepared, table, row).float()
        inputs = StepInputs(network, tokens, prepared, table, row, step, self._steps)
        return self._cached_step(inputs).float()

    def parts(self, step: int) -> StepParts:
        """Return what computes a step."""
        network, prepared, tables, row = self._plan[step]
        return network, prepared, *tables.at(row)


def step_networks(stages: Stages, steps: int) -> list[Transformer]:
    """Choose the network of each step: that of the last stage that has begun."""
    return [[network for begin, network in stages if begin <= step / steps][-1] for step in range(steps)]
