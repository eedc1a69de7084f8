import json
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from kontext_core.config import FLUX_VAE, KONTEXT_DEV, PREFERRED_SIZES, TransformerConfig, VAEConfig
from kontext_core.train.config import TINY_TRANSFORMER, TINY_VAE


@pytest.mark.parametrize("config", [KONTEXT_DEV, TINY_TRANSFORMER, FLUX_VAE, TINY_VAE])
def test_json_and_back(config: TransformerConfig | VAEConfig) -> None:
    said = json.loads(json.dumps(asdict(config))) | {"unknown": 1}
    assert type(config).from_dict(said) == config


def test_frozen_and_by_keyword_only() -> None:
    with pytest.raises(FrozenInstanceError):
        KONTEXT_DEV.depth = 1
    with pytest.raises(TypeError):
        VAEConfig(256, 3, 128, 3, (1, 2), 2, 16, 0.3, 0.1)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hidden_size": 100}, "hidden_size 100 is not a multiple of num_heads 24"),
        (
            {"axes_dim": (16, 56, 54)},
            r"axes_dim \(16, 56, 54\) must be three even numbers that add up to the head's 128",
        ),
        ({"axes_dim": (64, 64)}, "axes_dim .* must be three even numbers"),
        ({"axes_dim": (15, 57, 56)}, "axes_dim .* must be three even numbers"),
        ({"theta": 0}, "theta 0 must be above 1"),
        ({"text_length": 0}, "text_length 0 must be at least 1"),
        ({"preferred_sizes": ()}, r"preferred_sizes \(\) must be pairs \(height, width\) of multiples of 16"),
        ({"preferred_sizes": ((100, 128),)}, "must be pairs"),
        ({"preferred_sizes": ((128,),)}, "must be pairs"),
        ({"layout": "spiral"}, "layout 'spiral' is not one of offset, index, diagonal"),
    ],
)
def test_impossible_transformers(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(KONTEXT_DEV, **change)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ch": 100}, "ch 100 is not a multiple of norm_groups 32"),
        ({"norm_groups": 0}, "ch 128 is not a multiple of norm_groups 0"),
        ({"scale_factor": 0.0}, r"scale_factor 0\.0 must be above 0"),
        ({"scale_factor": float("nan")}, "scale_factor nan must be above 0"),
    ],
)
def test_impossible_autoencoder(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(FLUX_VAE, **change)


def test_preferred_sizes() -> None:
    """Nine shapes and their reverses, all of about a million pixels, in whole tokens."""
    assert len(set(PREFERRED_SIZES)) == 17
    assert {(width, height) for height, width in PREFERRED_SIZES} == set(PREFERRED_SIZES)
    assert PREFERRED_SIZES[0] == (1024, 1024), "the first is what is made when nothing else is said"
    for height, width in PREFERRED_SIZES:
        assert height % 16 == width % 16 == 0
        assert height * width == pytest.approx(1024**2, rel=0.02)


def test_presets_are_the_published_sizes() -> None:
    assert (KONTEXT_DEV.depth, KONTEXT_DEV.depth_single_blocks, KONTEXT_DEV.hidden_size) == (19, 38, 3072)
    assert (KONTEXT_DEV.text_length, KONTEXT_DEV.layout, KONTEXT_DEV.theta) == (512, "offset", 10_000)
    assert KONTEXT_DEV.mlp_hidden_dim == 12_288
    assert (FLUX_VAE.scale_factor, FLUX_VAE.shift_factor) == (0.3611, 0.1159)
