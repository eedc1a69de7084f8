"""A MASK as the region that an edit may touch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from .conftest import picture

FAST = {"steps": 2, "seed": 7}
Run = Callable[..., Any]


@pytest.fixture
def right_half() -> Tensor:
    mask = torch.zeros(1, 128, 128)
    mask[..., 64:] = 1
    return mask


def encoded(run: Run, model: Any, image: Tensor) -> Tensor:
    return run("KontextEncode", model=model, image=image)[0]["samples"]


def test_an_edit_stays_inside(run: Run, model: Any, image: Tensor, right_half: Tensor) -> None:
    made = run("KontextEdit", model=model, image=image, mask=right_half, feather=0, **FAST)
    assert torch.equal(made[0][:, :, :64], image[:, :, :64])
    assert (made[0][:, :, 64:] - image[:, :, 64:]).abs().mean() > 0.05


def test_its_latent_shows_the_same(run: Run, model: Any, image: Tensor, right_half: Tensor) -> None:
    """Bit for bit that of the picture before, but for the mask and a token around it."""
    before = encoded(run, model, image)
    made = run("KontextEdit", model=model, image=image, mask=right_half, feather=0, **FAST)
    again = encoded(run, model, made[0])
    assert torch.equal(made[1]["samples"][..., :6], before[..., :6])
    assert torch.allclose(made[1]["samples"][..., 6:], again[..., 6:], atol=1e-5)


def test_feathers_soften_the_edge(run: Run, model: Any, image: Tensor, right_half: Tensor) -> None:
    made = run("KontextEdit", model=model, image=image, mask=right_half, feather=32, **FAST)[0]
    change = (made - image).abs().mean(dim=(0, 1, 3))
    assert bool((change[:32] == 0).all())
    assert change[32:44].mean() < 0.2 * change[52:64].mean()
    assert change[60:64].mean() > 0.5 * change[64:].mean()


def test_a_mask_on_a_padded_picture(run: Run, model: Any) -> None:
    image, mask = picture(64, 128), torch.zeros(1, 64, 128)
    mask[:, :32] = 1
    made = run("KontextEdit", model=model, image=image, fit="pad", mask=mask, feather=0, **FAST)[0]
    assert made.shape == image.shape
    assert torch.equal(made[:, 32:], image[:, 32:])
    assert (made[:, :32] - image[:, :32]).abs().mean() > 0.05


def test_a_mask_on_the_latent_of_a_padded_picture(run: Run, model: Any) -> None:
    """Where it lies on the canvas, and a token around it, are the latents others."""
    mask = torch.zeros(1, 64, 128)
    mask[:, :32] = 1
    before = run("KontextEdit", model=model, image=picture(64, 128), fit="pad", **FAST)
    made = run("KontextEdit", model=model, latent=before[1], mask=mask, feather=0, **FAST)
    changed = (made[1]["samples"] - before[1]["samples"]).abs().amax(dim=(0, 1, 3)) > 0
    assert changed.tolist() == [False] * 2 + [True] * 8 + [False] * 6
    assert torch.equal(made[0][:, 32:], before[0][:, 32:])


def test_a_mask_on_a_latent_of_odd_sides(run: Run, model: Any) -> None:
    """Its last column, and not what was filled up beside it."""
    before = {"samples": encoded(run, model, picture(128, 128))[..., :15]}
    shown = run("KontextDecode", model=model, latent=before)[0]
    mask = torch.zeros(1, 128, 120)
    mask[..., 112:] = 1
    made = run("KontextEdit", model=model, latent=before, mask=mask, feather=0, **FAST)
    assert made[0].shape == shown.shape == (1, 128, 120, 3)
    assert made[1]["samples"].shape == before["samples"].shape
    assert torch.equal(made[1]["samples"][..., :12], before["samples"][..., :12])
    assert (made[0][:, :, 112:] - shown[:, :, 112:]).abs().mean() > 0.05


def test_a_turn_takes_a_mask_too(run: Run, model: Any, image: Tensor, right_half: Tensor) -> None:
    masked = {"mask": right_half, "feather": 8, "instruction": "a", **FAST}
    edited = run("KontextEdit", model=model, image=image, **masked)
    turned = run("KontextTurn", model=model, image=image, **masked)
    assert torch.equal(edited[1]["samples"], turned[2]["samples"])
    assert turned[0].last.settings["feather_px"] == 8


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(1, 128, 128), "marks nothing that may change"),
        (torch.zeros(1, 0, 128), r"the mask \(1, 0, 128\) must be"),
        (torch.ones(2, 128, 128), "batch of 2"),
    ],
)
@pytest.mark.parametrize("node", ["KontextEdit", "KontextTurn"])
def test_unusable_masks(run: Run, model: Any, image: Tensor, node: str, mask: Tensor, message: str) -> None:
    with pytest.raises(Exception, match=message):
        run(node, model=model, image=image, mask=mask, **FAST)
