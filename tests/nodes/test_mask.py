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
    before = encoded(run, model, image)
    latent = run("KontextEdit", model=model, image=image, mask=right_half, feather=0, **FAST)[1]["samples"]
    assert torch.allclose(latent[..., :8], before[..., :8], atol=1e-5)
    assert not torch.allclose(latent[..., 8:], before[..., 8:], atol=0.1)


def test_feathers_soften_the_edge(run: Run, model: Any, image: Tensor, right_half: Tensor) -> None:
    before = encoded(run, model, image)

    def change(feather: int) -> Tensor:
        made = run("KontextEdit", model=model, image=image, mask=right_half, feather=feather, **FAST)[1]
        return (made["samples"] - before).abs().mean(dim=(0, 1, 2))

    soft, hard = change(32), change(0)
    assert soft[8] < 0.5 * hard[8]
    assert bool((soft[:8] < 1e-4).all())


def test_a_mask_on_a_padded_picture(run: Run, model: Any) -> None:
    image, mask = picture(64, 128), torch.zeros(1, 64, 128)
    mask[:, :32] = 1
    before = run("KontextEncode", model=model, image=image, fit="pad")[0]["samples"]
    made = run("KontextEdit", model=model, image=image, fit="pad", mask=mask, feather=0, **FAST)
    changed = (made[1]["samples"] - before).abs().amax(dim=(0, 1, 3)) > 1e-4
    assert made[0].shape == (1, 64, 128, 3)
    assert changed.tolist() == [False] * 4 + [True] * 4 + [False] * 8


def test_a_mask_on_the_latent_of_a_padded_picture(run: Run, model: Any) -> None:
    mask = torch.zeros(1, 64, 128)
    mask[:, :32] = 1
    before = run("KontextEdit", model=model, image=picture(64, 128), fit="pad", **FAST)[1]
    made = run("KontextEdit", model=model, latent=before, mask=mask, feather=0, **FAST)[1]
    changed = (made["samples"] - before["samples"]).abs().amax(dim=(0, 1, 3)) > 1e-4
    assert changed.tolist() == [False] * 4 + [True] * 4 + [False] * 8


def test_a_mask_on_a_latent_of_odd_sides(run: Run, model: Any) -> None:
    """Its last column, and not what was filled up beside it."""
    before = {"samples": encoded(run, model, picture(128, 128))[..., :15]}
    mask = torch.zeros(1, 128, 120)
    mask[..., 112:] = 1

    def change(**inputs: Any) -> Tensor:
        made = run("KontextEdit", model=model, latent=before, **inputs, **FAST)[1]["samples"]
        return (made - before["samples"]).abs().mean(dim=(0, 1, 2))

    masked, free = change(mask=mask, feather=0), change()
    assert masked[:14].max() < 1e-4
    assert masked[14] > 0.9 * free[14]


def test_a_turn_takes_a_mask_too(run: Run, model: Any, image: Tensor, right_half: Tensor) -> None:
    masked = {"mask": right_half, "feather": 8, "instruction": "a", **FAST}
    edited = run("KontextEdit", model=model, image=image, **masked)
    turned = run("KontextTurn", model=model, image=image, **masked)
    assert torch.equal(edited[1]["samples"], turned[2]["samples"])
    assert turned[0].last.settings["feather_px"] == 8


def test_a_latent_is_masked_where_its_picture_is(run: Run, model: Any, right_half: Tensor) -> None:
    odd = {"samples": encoded(run, model, picture(128, 128))[..., :15]}
    made = run("KontextEdit", model=model, latent=odd, mask=right_half[..., :120], feather=0, **FAST)[1]
    assert made["samples"].shape == odd["samples"].shape
    assert torch.allclose(made["samples"][..., :8], odd["samples"][..., :8], atol=1e-5)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(1, 128, 128), "marks nothing that may change"),
        (torch.zeros(1, 0, 128), "empty"),
        (torch.ones(2, 128, 128), "batch of 2"),
    ],
)
@pytest.mark.parametrize("node", ["KontextEdit", "KontextTurn"])
def test_unusable_masks(run: Run, model: Any, image: Tensor, node: str, mask: Tensor, message: str) -> None:
    with pytest.raises(Exception, match=message):
        run(node, model=model, image=image, mask=mask, **FAST)
