"""One set of random weights in our model and in diffusers', and what both are asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kontext_core.config import TransformerConfig, VAEConfig
from kontext_core.loading.keys import Rule, transformer_rules, vae_rules
from kontext_core.model.latents import pack
from kontext_core.model.positions import layout_ids, target_ids, text_ids
from kontext_core.model.transformer import Transformer
from kontext_core.model.vae import VAE

from .cases import Case

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, FluxTransformer2DModel


@dataclass(frozen=True)
class Question:
    """What one step is asked. Shapes as in `Transformer.forward`; references are latents (1, 16, h, w)."""

    tokens: Tensor
    references: Sequence[Tensor]
    ids: Tensor
    txt: Tensor
    txt_ids: Tensor
    pooled: Tensor
    guidance: Tensor
    timesteps: Tensor

    @property
    def img(self) -> Tensor:
        return torch.cat([self.tokens, *(pack(one) for one in self.references)], dim=1)


def random_transformer(config: TransformerConfig, device: torch.device, dtype: torch.dtype) -> Transformer:
    return _filled(_empty(Transformer, config, device, dtype))


def random_vae(config: VAEConfig, device: torch.device, dtype: torch.dtype) -> VAE:
    return _filled(_empty(VAE, config, device, dtype))


def same_weights(model: Transformer) -> Transformer:
    """Another model on the same memory, for modes that put other layers in its place."""
    with torch.device("meta"):
        other = Transformer(model.config)
    other.load_state_dict(model.state_dict(), assign=True)
    return other.eval()


def their_transformer(model: Transformer) -> "FluxTransformer2DModel":
    """diffusers' model on the same memory; only the last layer's modulation is a copy, its halves swapped."""
    from diffusers import FluxTransformer2DModel

    config = model.config
    with torch.device("meta"):
        theirs = FluxTransformer2DModel(
            in_channels=config.in_channels,
            num_layers=config.depth,
            num_single_layers=config.depth_single_blocks,
            attention_head_dim=config.hidden_size // config.num_heads,
            num_attention_heads=config.num_heads,
            joint_attention_dim=config.context_in_dim,
            pooled_projection_dim=config.vec_in_dim,
            guidance_embeds=config.guidance_embed,
            axes_dims_rope=config.axes_dim,
        )
    rules = transformer_rules(config.depth, config.depth_single_blocks)
    return _theirs(theirs, model.state_dict(), rules)


def their_vae(model: VAE) -> "AutoencoderKL":
    from diffusers import AutoencoderKL

    config = model.config
    with torch.device("meta"):
        theirs = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(config.ch_mult),
            up_block_types=("UpDecoderBlock2D",) * len(config.ch_mult),
            block_out_channels=tuple(config.ch * factor for factor in config.ch_mult),
            layers_per_block=config.num_res_blocks,
            latent_channels=config.z_channels,
            norm_num_groups=config.norm_groups,
            scaling_factor=config.scale_factor,
            shift_factor=config.shift_factor,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
    return _theirs(theirs, model.state_dict(), vae_rules(len(config.ch_mult), config.num_res_blocks))


def question(config: TransformerConfig, case: Case, device: torch.device, dtype: torch.dtype) -> Question:
    generator = torch.Generator().manual_seed(case.side_px + case.references)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    side = case.side_px // 16
    sizes = [(side, side)] * case.references
    return Question(
        tokens=random(1, case.target_tokens, config.in_channels),
        references=[random(1, config.in_channels // 4, 2 * side, 2 * side) for _ in sizes],
        ids=torch.cat([target_ids(side, side), *layout_ids((side, side), sizes)], dim=1).to(device),
        txt=random(1, config.text_length, config.context_in_dim).to(dtype),
        txt_ids=text_ids(1, config.text_length).to(device),
        pooled=random(1, config.vec_in_dim).to(dtype),
        guidance=torch.full((1,), 2.5, device=device),
        timesteps=torch.full((1,), 0.7, device=device),
    )


def _empty(kind: Any, config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    with torch.device("meta"):
        model = kind(config)
    return model.to(dtype).to_empty(device=device).eval()


def _filled(model: Any) -> Any:
    """Normal numbers scaled by fan-in, near 1 for norms: zeros would run faster than
    what a trained model holds.
    """
    generator = torch.Generator(next(model.parameters()).device).manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
            else:
                centre = 1.0 if "norm" in name and not name.endswith("bias") else 0.0
                parameter.normal_(centre, 0.1, generator=generator)
    return model


def _theirs(model: Any, published: dict[str, Tensor], rules: Sequence[Rule]) -> Any:
    """Fill diffusers' model, made on `meta`, with views of the published weights."""
    wanted = model.state_dict()
    found: dict[str, Tensor] = {}
    for rule in rules:
        if rule.published not in published:
            continue
        tensor = published[rule.published]
        if rule.swap_halves:
            tensor = torch.cat(tensor.chunk(2)[::-1])
        pieces = tensor.split([wanted[source].shape[0] for source in rule.sources])
        found |= {
            source: piece.reshape(wanted[source].shape)
            for source, piece in zip(rule.sources, pieces, strict=True)
        }
    model.load_state_dict(found, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    nn.Module.eval(model)
    return model
