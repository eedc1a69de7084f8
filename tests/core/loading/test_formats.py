"""Every format, written from small random weights, loads and gives the same results."""

import json
import logging
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from kontext_core.errors import CheckpointError
from kontext_core.loading import load_transformer, load_vae
from kontext_core.loading.locate import locate_part
from kontext_core.model.transformer import Transformer
from kontext_core.model.vae import VAE
from kontext_core.quant.layer import whole_state_dict


@pytest.fixture
def config(transformer) -> dict:
    return asdict(transformer.config)


def _same_weights(model: torch.nn.Module, expected: dict[str, Tensor]) -> None:
    """Also where weights are packed: what they stand for counts."""
    actual = whole_state_dict(model, torch.bfloat16)
    assert set(actual) == set(expected)
    for key, tensor in expected.items():
        assert torch.equal(actual[key], tensor), key


def _quantise(
    tensors: dict[str, Tensor], dtype: torch.dtype, *, scaled: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Matrices in 8 bits: as stored, their scales by layer, and what they should become."""
    stored, scales, expected = dict(tensors), {}, {}
    for key, tensor in tensors.items():
        expected[key] = tensor.to(torch.bfloat16)
        if tensor.ndim == 2 and key.endswith(".weight"):
            scale = tensor.abs().max() / torch.finfo(dtype).max if scaled else torch.tensor(1.0)
            stored[key] = (tensor / scale).to(dtype)
            scales[key.removesuffix(".weight")] = scale
            expected[key] = (stored[key].float() * scale).to(torch.bfloat16)
        else:
            stored[key] = expected[key]
    return stored, scales, expected


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_single_file(transformer, config, velocity, write, caplog, assert_close, prefix: str):
    tensors = {prefix + key: tensor for key, tensor in transformer.state_dict().items()}
    path = write("any_name.safetensors", tensors, config=config)
    with caplog.at_level(logging.INFO):
        loaded = load_transformer(path)
    assert loaded.config == transformer.config
    kept = transformer.state_dict()
    assert all(torch.equal(tensor, kept[key]) for key, tensor in loaded.state_dict().items())
    # mapped from a file, weights lie elsewhere in memory, and some processors then add in another order
    assert_close(velocity(loaded), velocity(transformer), 1e-6)
    said = r"any_name.safetensors: a FLUX transformer.*, 2.1\d MiB, .*float32; .* in \d+\.\d s$"
    assert re.search(said, caplog.text)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_norms_as_comfyui_saves_them(transformer, config, write, prefix: str):
    tensors = {
        prefix + key.replace("_norm.scale", "_norm.weight"): t for key, t in transformer.state_dict().items()
    }
    path = write("saved_00001_.safetensors", tensors, config)
    _same_weights(load_transformer(path), transformer.state_dict())
    report, _ = locate_part(path, "transformer")
    assert report.format == "published names, norms as in ComfyUI 0.14"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(transformer, config, write, dtype: torch.dtype):
    path = write(
        "x.safetensors", {key: tensor.bfloat16() for key, tensor in transformer.state_dict().items()}, config
    )
    assert load_transformer(path).dtype == torch.bfloat16
    loaded = load_transformer(path, dtype=dtype)
    assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}


def test_mixed_dtypes_become_the_most_frequent(transformer, config, write):
    tensors = {k: t if k.endswith("bias") else t.bfloat16() for k, t in transformer.state_dict().items()}
    loaded = load_transformer(write("x.safetensors", tensors, config))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_plain_fp8(transformer, config, write, dtype: torch.dtype):
    stored, _, expected = _quantise(transformer.state_dict(), dtype, scaled=False)
    _same_weights(load_transformer(write("x.safetensors", stored, config)), expected)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize(
    "marker", [torch.empty(0).to(torch.float8_e4m3fn), torch.zeros(2).to(torch.float8_e4m3fn)]
)
def test_comfyui_fp8_scaled(transformer, config, velocity, write, assert_close, marker: Tensor, prefix: str):
    stored, scales, expected = _quantise(transformer.state_dict(), torch.float8_e4m3fn, scaled=True)
    stored["scaled_fp8"] = marker
    for layer, scale in scales.items():
        stored[f"{layer}.scale_weight"] = scale
        stored[f"{layer}.scale_input"] = torch.tensor([7.0])
    loaded = load_transformer(write("x.safetensors", {prefix + key: t for key, t in stored.items()}, config))
    _same_weights(loaded, expected)
    assert_close(velocity(loaded).float(), velocity(transformer), 0.1)


def test_fp8_scaled_in_float32_is_as_exact_as_it_can_be(transformer, config, write):
    stored, scales, _ = _quantise(transformer.state_dict(), torch.float8_e4m3fn, scaled=True)
    tensors = stored | {f"{layer}.scale_weight": scale for layer, scale in scales.items()}
    loaded = whole_state_dict(load_transformer(write("x.safetensors", tensors, config), dtype=torch.float32))
    for layer, scale in scales.items():
        assert torch.equal(loaded[f"{layer}.weight"], stored[f"{layer}.weight"].float() * scale)


def test_comfyui_quantization_metadata(transformer, config, write):
    stored, scales, expected = _quantise(transformer.state_dict(), torch.float8_e4m3fn, scaled=True)
    layers = {layer: {"format": "float8_e4m3fn", "full_precision_matrix_mult": True} for layer in scales}
    for layer, scale in scales.items():
        stored[f"{layer}.weight_scale"] = scale
        stored[f"{layer}.input_scale"] = torch.tensor(7.0)
    said = json.dumps({"format_version": "1.0", "layers": layers})
    _same_weights(
        load_transformer(write("x.safetensors", stored, config, _quantization_metadata=said)), expected
    )


def test_comfyui_quantisation_described_by_tensors(transformer, config, write):
    stored, scales, expected = _quantise(transformer.state_dict(), torch.float8_e4m3fn, scaled=True)
    for layer, scale in scales.items():
        stored[f"{layer}.weight_scale"] = scale
        stored[f"{layer}.comfy_quant"] = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
    _same_weights(load_transformer(write("x.safetensors", stored, config)), expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"img_in.weight_scale": None}, r"1 quantised layers have no factor \(weight_scale\): img_in"),
        (
            {"img_out.weight_scale": torch.tensor(1.0)},
            r"1 factors have no weight that they belong to: img_out",
        ),
        (
            {"img_in.weight_scale": torch.ones(3)},
            r"img_in.weight of shape \(64, 64\) has factors of shape \(3,\)",
        ),
        ({"img_in.weight": torch.ones(64, 64, dtype=torch.int8)}, r"img_in.weight is stored as torch.int8"),
    ],
)
def test_fp8_that_does_not_add_up(transformer, config, write, change: dict[str, Tensor | None], said: str):
    stored = transformer.state_dict() | {"img_in.weight_scale": torch.tensor(1.0)} | change
    metadata = json.dumps({"layers": {"img_in": {"format": "float8_e4m3fn"}}})
    tensors = {key: tensor for key, tensor in stored.items() if tensor is not None}
    path = write("x.safetensors", tensors, config, _quantization_metadata=metadata)
    with pytest.raises(CheckpointError, match=said):
        load_transformer(path)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ('{"layers": {"img_in": {"format": "nvfp4"}}}', r"in a form that is not supported: img_in \(nvfp4\)"),
        ('{"layers": "x"}', "the description of its quantised layers cannot be read: .*its layers are 'x'"),
        (
            '{"layers": [["img_in", {"format": "float8_e4m3fn"}]]}',
            "the description of its quantised layers cannot",
        ),
        ('{"layers": {"img_in": {}}}', "the description of its quantised layers cannot be read"),
        ("nonsense", "'_quantization_metadata' in its header is not valid JSON"),
    ],
)
def test_quantisation_that_is_not_known(transformer, config, write, metadata: str, said: str):
    path = write("x.safetensors", transformer.state_dict(), config, _quantization_metadata=metadata)
    with pytest.raises(CheckpointError, match=said):
        load_transformer(path)


def _diffusers_transformer(transformer: Transformer):
    diffusers = pytest.importorskip("diffusers")
    config = transformer.config
    model = diffusers.FluxTransformer2DModel(
        num_layers=config.depth, num_single_layers=config.depth_single_blocks, attention_head_dim=32,
        num_attention_heads=2, joint_attention_dim=128, pooled_projection_dim=128, guidance_embeds=True,
        axes_dims_rope=(16, 8, 8),
    )  # fmt: skip
    return model.eval()


@pytest.mark.parametrize("shard_size", ["100KB", "1GB"])
def test_a_diffusers_folder(transformer, tmp_path: Path, assert_close, shard_size: str):
    model = _diffusers_transformer(transformer)
    model.save_pretrained(tmp_path / "transformer", max_shard_size=shard_size)
    loaded = load_transformer(tmp_path)
    assert loaded.config.axes_dim == (16, 8, 8)
    assert (loaded.config.theta, loaded.config.text_length) == (10_000, 512)

    img, txt, pooled = torch.randn(1, 16, 64), torch.randn(1, 5, 128), torch.randn(1, 128)
    img_ids = torch.cartesian_prod(torch.zeros(1), torch.arange(4.0), torch.arange(4.0))
    half, guidance = torch.tensor([0.5]), torch.tensor([2.5])
    with torch.no_grad():
        expected = model(
            hidden_states=img, encoder_hidden_states=txt, pooled_projections=pooled, timestep=half, guidance=guidance,
            img_ids=img_ids, txt_ids=torch.zeros(5, 3),
        ).sample  # fmt: skip
        actual = loaded(img, img_ids[None], txt, torch.zeros(1, 5, 3), half, pooled, guidance)
    assert_close(actual, expected)


def test_a_diffusers_autoencoder(tmp_path: Path, assert_close):
    diffusers = pytest.importorskip("diffusers")
    model = diffusers.AutoencoderKL(
        block_out_channels=(32, 32, 64, 64), layers_per_block=1, latent_channels=16, use_quant_conv=False,
        use_post_quant_conv=False, scaling_factor=0.5, shift_factor=0.25, sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    ).eval()  # fmt: skip
    model.save_pretrained(tmp_path / "vae")
    loaded = load_vae(tmp_path)
    assert (loaded.config.scale_factor, loaded.config.shift_factor, loaded.config.resolution) == (
        0.5,
        0.25,
        64,
    )
    image = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.no_grad():
        mode = model.encode(image).latent_dist.mode()
        assert_close(loaded.encode(image), (mode - 0.25) * 0.5)
        assert_close(loaded.decode((mode - 0.25) * 0.5), model.decode(mode).sample)


def test_all_parts_with_text_encoders_in_one_file(transformer, vae: VAE, text_encoders, config, write):
    """As ComfyUI saves a checkpoint.

    CLIP-L's sizes are known; a smaller one could not say its own in there.
    """
    torch.manual_seed(0)
    clip = CLIPTextModel(CLIPTextConfig(
        vocab_size=600, hidden_size=768, intermediate_size=96, num_hidden_layers=1, num_attention_heads=12,
    ))  # fmt: skip
    wanted = {
        "transformer": transformer.state_dict(),
        "vae": vae.state_dict(),
        "clip": {
            f"text_model.{key.removeprefix('text_model.')}": one for key, one in clip.state_dict().items()
        },
        "t5": {key: one for key, one in text_encoders.t5.state_dict().items() if "embed_tokens" not in key},
    }
    prefixes = {
        "transformer": "model.diffusion_model.", "vae": "vae.", "clip": "text_encoders.clip_l.transformer.",
        "t5": "text_encoders.t5xxl.transformer.",
    }  # fmt: skip
    tensors = {prefixes[part] + key: one for part, own in wanted.items() for key, one in own.items()}
    path = write("all.safetensors", tensors, config=config)
    for part, own in wanted.items():
        report, weights = locate_part(path, part)
        assert report.notes[0] == "the file packs several models: transformer, vae, clip, t5"
        kept = {key: one for key, one in own.items() if not key.endswith("position_ids")}
        assert weights.keys() == kept.keys()
        assert all(torch.equal(weights[key].read(), one) for key, one in kept.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_autoencoder_in_each_dtype(vae: VAE, write, dtype: torch.dtype):
    tensors = {key: one.to(dtype) for key, one in vae.state_dict().items()}
    loaded = load_vae(write("ae.safetensors", tensors, asdict(vae.config)))
    assert {one.dtype for one in loaded.parameters()} == {dtype}
    _same_weights(loaded, tensors)


def test_a_single_autoencoder_file(vae: VAE, write):
    loaded = load_vae(write("ae.safetensors", vae.state_dict(), config=asdict(vae.config)))
    assert loaded.config == vae.config
    _same_weights(loaded, vae.state_dict())


def test_an_autoencoder_says_nothing_of_scale_and_shift(vae: VAE, write):
    loaded = load_vae(write("ae.safetensors", vae.state_dict()))
    assert (loaded.config.scale_factor, loaded.config.shift_factor) == (0.3611, 0.1159)
    assert loaded.config.ch_mult == (1, 1, 2, 2)


def test_a_file_that_packs_all_parts(transformer, vae: VAE, config, write):
    tensors = {f"model.diffusion_model.{key}": tensor for key, tensor in transformer.state_dict().items()}
    tensors |= {f"vae.{key}": tensor for key, tensor in vae.state_dict().items()}
    path = write("all.safetensors", tensors, config=config)
    _same_weights(load_transformer(path), transformer.state_dict())
    _same_weights(load_vae(path), vae.state_dict())
