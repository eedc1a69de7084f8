import pytest
import torch

from kontext_core.model.latents import noise, pack, unpack


def test_pack_token_by_token() -> None:
    """A token is 2 x 2 latents, channel by channel; tokens run along rows."""
    latents = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    tokens = pack(latents)
    assert tokens.shape == (2, 6, 12)
    for row in range(2):
        for column in range(3):
            patch = latents[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(tokens[:, 3 * row + column], patch.flatten(1))


@pytest.mark.parametrize(("height", "width"), [(2, 2), (4, 6), (10, 2)])
def test_unpack_undoes_pack(height: int, width: int) -> None:
    latents = torch.randn(2, 16, height, width)
    assert torch.equal(unpack(pack(latents), height, width), latents)


@pytest.mark.parametrize(("height", "width"), [(3, 4), (4, 3), (1, 1)])
def test_odd_sides_are_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"latents of {height} x {width} cannot be packed 2 x 2; pad them"):
        pack(torch.zeros(1, 16, height, width))


@pytest.mark.parametrize("seed", [0, 42, 2**63, 2**64 - 1])
def test_noise_is_comfyuis(seed: int) -> None:
    """ComfyUI: torch.manual_seed(seed), then one draw in float32 on the CPU for the whole batch."""
    with torch.random.fork_rng(devices=[]):
        generator = torch.manual_seed(seed)
        expected = torch.randn(
            torch.Size([3, 16, 8, 6]),
            dtype=torch.float32,
            layout=torch.strided,
            generator=generator,
            device="cpu",
        )
    assert torch.equal(noise(3, 8, 6, seed), expected)


def test_noise_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    noise(1, 4, 4, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_of_other_channels() -> None:
    assert noise(2, 4, 6, seed=0, channels=4).shape == (2, 4, 4, 6)
