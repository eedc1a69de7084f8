"""The tables from diffusers' names: exact both ways, and equal to what diffusers itself has."""

from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.errors import CheckpointError
from kontext_core.loading.keys import Rule, comfyui_norm_rules, rename, transformer_rules, vae_rules


def to_diffusers(published: dict[str, Tensor], rules: list[Rule], hidden_size: int) -> dict[str, Tensor]:
    """The inverse of the table, for tests: published tensors split up and renamed."""
    result: dict[str, Tensor] = {}
    for rule in rules:
        if rule.published not in published:
            continue
        tensor = published[rule.published]
        if rule.pointwise and tensor.ndim == 4:
            tensor = tensor[:, :, 0, 0]
        if rule.swap_halves:
            shift, scale = tensor.chunk(2)
            tensor = torch.cat([scale, shift])
        n = len(rule.sources)
        sizes = (
            [hidden_size] * 3 + [tensor.shape[0] - 3 * hidden_size] if n == 4 else [tensor.shape[0] // n] * n
        )
        result |= dict(zip(rule.sources, tensor.split(sizes), strict=True))
    return result


@pytest.fixture(scope="module")
def transformer_as_diffusers(transformer) -> dict[str, Tensor]:
    config = transformer.config
    rules = transformer_rules(config.depth, config.depth_single_blocks)
    return to_diffusers(transformer.state_dict(), rules, config.hidden_size)


@pytest.fixture(scope="module")
def vae_as_diffusers(vae) -> dict[str, Tensor]:
    return to_diffusers(vae.state_dict(), vae_rules(4, 1), 0)


def _assert_round_trip(published: dict[str, Tensor], renamed: Any) -> None:
    assert set(renamed) == set(published)
    for key, tensor in published.items():
        assert renamed[key].shape == tuple(tensor.shape)
        assert torch.equal(renamed[key].read(), tensor), key


def test_transformer_table_inverts_exactly(transformer, transformer_as_diffusers, lazy):
    renamed = rename(lazy(transformer_as_diffusers), transformer_rules(2, 3))
    _assert_round_trip(transformer.state_dict(), renamed)


def test_vae_table_inverts_exactly(vae, vae_as_diffusers, lazy):
    _assert_round_trip(vae.state_dict(), rename(lazy(vae_as_diffusers), vae_rules(4, 1)))


def test_the_final_modulation_is_swapped(transformer, transformer_as_diffusers):
    shift, scale = transformer.state_dict()["final_layer.adaLN_modulation.1.weight"].chunk(2)
    assert torch.equal(transformer_as_diffusers["norm_out.linear.weight"], torch.cat([scale, shift]))


def test_no_other_modulation_is_swapped():
    swapped = {rule.published for rule in transformer_rules(2, 3) if rule.swap_halves}
    assert swapped == {"final_layer.adaLN_modulation.1.weight", "final_layer.adaLN_modulation.1.bias"}


def test_transformer_names_are_those_of_diffusers(transformer, transformer_as_diffusers):
    diffusers = pytest.importorskip("diffusers")
    model = diffusers.FluxTransformer2DModel(
        num_layers=2, num_single_layers=3, attention_head_dim=32, num_attention_heads=2, joint_attention_dim=128,
        pooled_projection_dim=128, guidance_embeds=True, axes_dims_rope=(8, 12, 12),
    )  # fmt: skip
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    assert {key: tensor.shape for key, tensor in transformer_as_diffusers.items()} == shapes


def test_vae_names_are_those_of_diffusers(vae_as_diffusers):
    diffusers = pytest.importorskip("diffusers")
    model = diffusers.AutoencoderKL(
        block_out_channels=(32, 32, 64, 64), layers_per_block=1, latent_channels=16, use_quant_conv=False,
        use_post_quant_conv=False, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    assert {key: tensor.shape for key, tensor in vae_as_diffusers.items()} == shapes


def test_norm_table_of_comfyui_inverts_exactly(transformer, lazy):
    """All four norms of a double block and both of a single block, and nothing else."""
    published = transformer.state_dict()
    as_comfyui = {
        f"{key.removesuffix('scale')}weight" if key.endswith("_norm.scale") else key: tensor
        for key, tensor in published.items()
    }
    rules = comfyui_norm_rules(2, 3)
    assert len(rules) == 2 * 4 + 3 * 2
    assert {source for rule in rules for source in rule.sources} == set(as_comfyui) - set(published)
    _assert_round_trip(published, rename(lazy(as_comfyui), rules))
    back = {rule.published: rule.sources[0] for rule in rules}
    assert {back.get(key, key) for key in published} == set(as_comfyui)


def test_one_parameter_under_two_names_is_refused(lazy):
    key = "double_blocks.0.img_attn.norm.query_norm"
    both = {f"{key}.scale": torch.ones(2), f"{key}.weight": torch.zeros(2)}
    with pytest.raises(
        CheckpointError, match=rf"{key}\.scale is there twice, the second time as {key}\.weight"
    ):
        rename(lazy(both), comfyui_norm_rules(1, 0))


def test_what_no_rule_knows_keeps_its_name(lazy):
    renamed = rename(
        lazy({"x_embedder.weight": torch.ones(2), "extra": torch.ones(1)}), transformer_rules(1, 1)
    )
    assert set(renamed) == {"img_in.weight", "extra"}


def test_a_part_of_a_fused_parameter_is_not_enough(lazy):
    part = {f"transformer_blocks.0.attn.to_{name}.weight": torch.ones(2, 2) for name in "qv"}
    with pytest.raises(CheckpointError, match=r"transformer_blocks\.0\.attn\.to_k\.weight is missing"):
        rename(lazy(part), transformer_rules(1, 1))
