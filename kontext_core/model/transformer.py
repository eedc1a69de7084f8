"""The FLUX transformer. Parameter names are the published checkpoint's.

The tokens run as [txt | target | reference 1 | reference 2 ...]; the velocity is read off the target tokens.
`forward` is the whole model; an edit calls its three parts, so that what does not change is computed once:
`prepare` once an edit, `modulation` once for all steps, `velocity` at each step.

Source: arXiv:2506.15742; flux model.py. B batch, L tokens, D the model's width, S steps.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import TransformerConfig
from .attention import KeyWeights
from .blocks import DoubleBlock, LastLayer, MLPEmbedder, SingleBlock, timestep_embedding
from .rope import rotary_table


@dataclass(frozen=True)
class PreparedInputs:
    """What stays constant over an edit: rotary table, embedded text and references, weights of their keys."""

    pe: Tensor  # (1 or B, L_txt + L_img, head / 2), complex64
    txt: Tensor  # (B, L_txt, D)
    references: Tensor  # (B, L_ref, D), L_ref may be 0
    weights: KeyWeights | None = None  # None: all keys count alike


@dataclass(frozen=True)
class ModulationTable:
    """Shift, scale and gate vectors of all steps. Each tensor is (S, B, vectors, 1, D)."""

    img: list[Tensor]
    txt: list[Tensor]
    single: list[Tensor]
    last: Tensor


class Transformer(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        hidden, heads, mlp = config.hidden_size, config.num_heads, config.mlp_hidden_dim
        self.img_in = nn.Linear(config.in_channels, hidden)
        self.time_in = MLPEmbedder(256, hidden)
        self.vector_in = MLPEmbedder(config.vec_in_dim, hidden)
        self.guidance_in = MLPEmbedder(256, hidden) if config.guidance_embed else None
        self.txt_in = nn.Linear(config.context_in_dim, hidden)
        self.double_blocks = nn.ModuleList(
            DoubleBlock(hidden, heads, mlp, config.qkv_bias) for _ in range(config.depth)
        )
        self.single_blocks = nn.ModuleList(
            SingleBlock(hidden, heads, mlp) for _ in range(config.depth_single_blocks)
        )
        self.final_layer = LastLayer(hidden, config.out_channels)

    @property
    def dtype(self) -> torch.dtype:
        return self.img_in.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.img_in.weight.device

    def forward(
        self,
        img: Tensor,
        img_ids: Tensor,
        txt: Tensor,
        txt_ids: Tensor,
        timesteps: Tensor,
        pooled: Tensor,
        guidance: Tensor | None = None,
        n_target: int | None = None,
    ) -> Tensor:
        """Predict the velocity (noise minus data) of the target tokens.

        Args:
            img: (B, L_img, 64) packed [target | references].
            img_ids: (B or 1, L_img, 3).
            txt: (B, L_txt, context_in_dim) T5 states.
            txt_ids: (B or 1, L_txt, 3).
            pooled: (B, vec_in_dim) CLIP vector.
            timesteps: (B,) in [0, 1], equal to sigma.
            guidance: (B,), needed where the model has it as an input.
            n_target: how many image tokens are the target; None means all.
        Returns: (B, n_target, 64).
        Raises: ValueError if guidance is missing.
        """
        n_target = img.shape[1] if n_target is None else n_target
        prepared = self.prepare(txt, txt_ids, img_ids, img[:, n_target:])
        modulation = self.modulation(timesteps[None], pooled, guidance)
        return self.velocity(img[:, :n_target], prepared, modulation, 0)

    def prepare(
        self,
        txt: Tensor,
        txt_ids: Tensor,
        img_ids: Tensor,
        references: Tensor,
        weights: KeyWeights | None = None,
    ) -> PreparedInputs:
        """Compute everything that is constant over an edit.

        Args:
            txt: as in `forward`.
            txt_ids: likewise.
            img_ids: likewise, of [target | references].
            references: (B, L_ref, 64) packed; L_ref may be 0.
            weights: of keys, where references have a strength; see `KeyWeights`.
        """
        batch = max(txt_ids.shape[0], img_ids.shape[0])
        ids = torch.cat([txt_ids.expand(batch, -1, -1), img_ids.expand(batch, -1, -1)], dim=1)
        return PreparedInputs(
            pe=rotary_table(ids, self.config.axes_dim, self.config.theta).to(self.device),
            txt=self.txt_in(txt.to(self.device, self.dtype)),
            references=self.img_in(references.to(self.device, self.dtype)),
            weights=weights and weights.to(self.device, self.dtype),
        )

    def modulation(
        self, timesteps: Tensor, pooled: Tensor, guidance: Tensor | None = None
    ) -> ModulationTable:
        """Compute the modulation vectors of all steps at once.

        They depend on nothing but time, guidance and pooled text.

        Args:
            timesteps: (S, B), or (S, 1) if the whole batch has the same.
            pooled: (B, vec_in_dim).
            guidance: (B,).
        Raises: ValueError if the model takes guidance and there is none.
        """
        vec = self.time_in(timestep_embedding(timesteps)) + self.vector_in(pooled)
        if self.guidance_in is not None:
            if guidance is None:
                raise ValueError(
                    "this model takes a guidance scale, but none was given; pass guidance, for example 2.5"
                )
            vec = vec + self.guidance_in(timestep_embedding(guidance))
        silu_vec = F.silu(vec)
        doubles = cast("list[DoubleBlock]", self.double_blocks)
        singles = cast("list[SingleBlock]", self.single_blocks)
        return ModulationTable(
            img=[block.img_mod(silu_vec) for block in doubles],
            txt=[block.txt_mod(silu_vec) for block in doubles],
            single=[block.modulation(silu_vec) for block in singles],
            last=self.final_layer.modulation(silu_vec),
        )

    def velocity(
        self, tokens: Tensor, prepared: PreparedInputs, modulation: ModulationTable, step: int
    ) -> Tensor:
        """Predict the velocity at one step, from what `prepare` and `modulation` gave.

        Args:
            tokens: (B, n_target, 64) of the noisy target.
            prepared: of this edit.
            modulation: of some steps.
            step: the row of `modulation`.
        Returns: (B, n_target, 64).
        """
        x = self.through_blocks(tokens, prepared, modulation, step)
        return self.final_layer(x, modulation.last[step])

    def through_blocks(
        self, tokens: Tensor, prepared: PreparedInputs, modulation: ModulationTable, step: int
    ) -> Tensor:
        """Compute the target tokens (B, n_target, D) that the last layer of `velocity` reads."""
        pe, weights, txt = prepared.pe, prepared.weights, prepared.txt
        img = torch.cat([self.img_in(tokens.to(self.dtype)), prepared.references], dim=1)
        for block, img_mod, txt_mod in zip(self.double_blocks, modulation.img, modulation.txt, strict=True):
            img, txt = block(img, txt, pe, img_mod[step], txt_mod[step], weights)

        x = torch.cat([txt, img], dim=1)
        target = slice(txt.shape[1], txt.shape[1] + tokens.shape[1])
        for block, mod in zip(self.single_blocks[:-1], modulation.single[:-1], strict=True):
            x = block(x, pe, mod[step], weights)
        # What the last block gives for text and references is read by nobody, so it is not computed.
        return self.single_blocks[-1](x, pe, modulation.single[-1][step], weights, output_tokens=target)
