"""The autoencoder in tiles against the autoencoder whole."""

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kontext_core.config import FLUX_VAE
from kontext_core.loading import load_vae
from kontext_core.loading.locate import TINY_FOLDER
from kontext_core.model import tiled_vae
from kontext_core.model.tiled_vae import (
    decode_in_tiles,
    decode_with_room,
    encode_in_tiles,
    encode_with_room,
    work_bytes,
)
from kontext_core.model.vae import VAE
from kontext_core.pipeline import Pipeline


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 104), (16, 128), (8, 8)])
@pytest.mark.parametrize("tile", [4, 10, 64])
def test_tiles_give_the_same_numbers(
    vae: VAE, height: int, width: int, tile: int, assert_close: Callable[..., float]
) -> None:
    """Sides that tiles divide and sides that they do not, one tile and many, a batch of two."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, height, width, generator=generator) * 2 - 1
    latents = torch.randn(2, 16, height // 8, width // 8, generator=generator)
    with torch.no_grad():
        assert_close(encode_in_tiles(vae, image, tile), vae.encode(image))
        assert_close(decode_in_tiles(vae, latents, tile), vae.decode(latents))


def test_no_seam_is_seen_in_a_trained_picture() -> None:
    """Far below 1/255, in bfloat16 as near to the whole as that is to float32."""
    vae = load_vae(TINY_FOLDER, dtype=torch.float32)
    latents = torch.randn(1, 16, 24, 40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = vae.decode(latents)
        assert (decode_in_tiles(vae, latents, 32) - whole).abs().max() < 1e-4
        half = VAE(vae.config).to(torch.bfloat16)
        half.load_state_dict(vae.state_dict())
        rounded = (half.decode(latents).float() - whole).square().mean()
        tiled = (decode_in_tiles(half, latents, 32).float() - whole).square().mean()
    assert tiled <= 1.1 * rounded


@pytest.mark.parametrize(("height", "width"), [(4096, 32), (32, 4096)])
def test_the_longest_sides_in_the_usual_tiles(height: int, width: int) -> None:
    """Eight tiles, and a norm's mean over all of them: a tenth of 1/255 of what a picture spans, at most.

    More: benchmarks.vae_tiles.
    """
    vae = load_vae(TINY_FOLDER, dtype=torch.float32)
    latents = torch.randn(1, 16, height // 8, width // 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        picture = vae.decode(latents)
        assert (decode_in_tiles(vae, latents) - picture).abs().max() / 2 < 0.1 / 255
        assert (encode_in_tiles(vae, picture) - vae.encode(picture)).abs().max() < 1e-3


@pytest.mark.parametrize(("height", "width"), [(12, 16), (16, 12)])
def test_sides_must_be_multiples_of_8(vae: VAE, height: int, width: int) -> None:
    with pytest.raises(ValueError, match="both sides must be multiples of 8"):
        encode_in_tiles(vae, torch.zeros(1, 3, height, width))


def test_memory_decides_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system whose memory is short kills a program rather than refuse it."""
    vae = load_vae(TINY_FOLDER, dtype=torch.float32)
    latents = torch.randn(2, 16, 8, 96, generator=torch.Generator().manual_seed(3))
    needed = work_bytes(vae, 64, 768)
    assert needed == 5 * 16 * 64 * 768 * 4, "the first level's 16 channels, in and out"
    assert work_bytes(vae, 512, 512) == 0, "what is one tile gains nothing"
    calls: list[str] = []
    for name in ("encode", "decode"):
        whole = getattr(vae, name)
        monkeypatch.setattr(vae, name, lambda x, whole=whole, name=name: calls.append(name) or whole(x))
    with torch.no_grad():
        pictures = [decode_with_room(vae, latents, room) for room in (None, 2 * needed, 2 * needed - 1)]
        assert calls == ["decode"] * 2, "two pictures take twice as much"
        assert torch.equal(pictures[0], pictures[1])
        assert (pictures[2] - pictures[0]).abs().max() < 1e-4
        encode_with_room(vae, pictures[0], 0)
    assert calls == ["decode"] * 2


def test_what_the_user_lets_a_model_take_holds_for_its_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline.load("tiny", device="cpu", memory_gib=1)
    latents = torch.randn(1, 16, 8, 96, generator=torch.Generator().manual_seed(3))
    expected = pipeline.decode(latents)
    rooms: list[int | None] = []
    monkeypatch.setattr(
        "kontext_core.pipeline.decode_with_room",
        lambda vae, x, room: rooms.append(room) or decode_with_room(vae, x, 0),
    )
    assert (pipeline.decode(latents) - expected).abs().max() < 1e-4
    assert rooms == [2**30 - pipeline.weights.resident_bytes]
    monkeypatch.setattr("kontext_core.memory.free_memory.free_host_bytes", lambda: 1000)
    pipeline.decode(latents)
    assert rooms[1] == 1000, "nor is more there than is free"


def test_more_numbers_than_kernels_of_a_card_index_are_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole pictures as many at once as can be, one that is too large in tiles.

    A card is stood in for by `meta`.
    """
    assert [tiled_vae.whole_at_once(FLUX_VAE, side, side) for side in (1024, 2048, 2896, 2912)] == [
        7,
        1,
        1,
        0,
    ]
    vae = load_vae(TINY_FOLDER, dtype=torch.float32)
    calls: list[tuple[str, int]] = []

    def whole(x: Tensor) -> Tensor:
        calls.append(("whole", len(x)))
        return x

    def tiled(x: Tensor) -> Tensor:
        calls.append(("tiled", len(x)))
        return x

    latents, size = torch.empty(8, 16, 12, 12, device="meta"), (96, 96)
    numbers = tiled_vae.largest_layer(vae.config, *size)
    for indexed, expected in (
        (8 * numbers, [("whole", 8)]),
        (3 * numbers, [("whole", 3), ("whole", 3), ("whole", 2)]),
        (numbers - 1, [("tiled", 1)] * 8),
    ):
        monkeypatch.setattr(tiled_vae, "INDEXED", indexed)
        calls.clear()
        assert tiled_vae._with_room(vae, whole, tiled, latents, size, None).shape == latents.shape
        assert calls == expected
    calls.clear()
    tiled_vae._with_room(vae, whole, tiled, latents.new_empty(latents.shape, device="cpu"), size, None)
    assert calls == [("whole", 8)], "a CPU indexes with 64 bits"


@pytest.mark.parametrize(
    "message",
    [
        "upsample_nearest2d_nhwc only supports output tensors with less than INT_MAX elements",
        "Expected canUse32BitIndexMath(input) && canUse32BitIndexMath(output) to be true, but got false.",
        "CUDA out of memory. Tried to allocate 8.00 GiB",
    ],
)
def test_memory_of_an_attempt_is_given_back_before_tiles(
    message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that it had made is gone by then: an error that is still handled would hold it."""
    vae = load_vae(TINY_FOLDER, dtype=torch.float32)
    made: list[weakref.ref[Tensor]] = []
    emptied: list[bool] = []

    def fail(x: Tensor) -> Tensor:
        activations = x + 1
        made.append(weakref.ref(activations))
        raise RuntimeError(message)

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(made[0]() is None))
    latents = torch.randn(1, 16, 4, 4)
    gc.disable()
    try:
        found = tiled_vae._with_room(vae, fail, lambda one: one, latents, (32, 32), None)
    finally:
        gc.enable()
    assert torch.equal(found, latents)
    assert emptied == [True]
