"""Nodes that leave alone what an edit does not change."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from .conftest import picture

FAST = {"steps": 2, "seed": 7}
Run = Callable[..., Any]


@pytest.fixture
def corner() -> Tensor:
    mask = torch.zeros(1, 128, 128)
    mask[..., :32, :32] = 1
    return mask


@pytest.mark.parametrize("node", ["KontextEdit", "KontextTurn"])
def test_what_the_nodes_make_is_what_the_core_makes(run: Run, model: Any, image: Tensor, node: str) -> None:
    edit = model.edit("make it red", [image], keep_outside="auto", **FAST)
    result = run(node, model=model, image=image, instruction="make it red", keep_outside="auto", **FAST).args
    shown, _, mask, report = result if node == "KontextEdit" else result[1:]
    assert torch.equal(shown, edit.image)
    assert torch.equal(mask, edit.blend)
    assert report == edit.reports[0].describe()


def test_what_is_not_set_is_as_it_was(run: Run, model: Any, image: Tensor) -> None:
    """A prompt that was saved before there was such an input goes on as it did."""
    plain = model.edit("make it red", [image], **FAST)
    result = run("KontextEdit", model=model, image=image, instruction="make it red", **FAST).args
    assert torch.equal(result[0], plain.image)
    assert result[3] == ""
    assert result[2].shape == (1, 128, 128)
    assert bool(result[2].all())


def test_a_mask_counts_with_auto(run: Run, model: Any, image: Tensor, corner: Tensor) -> None:
    given = {"model": model, "image": image, "mask": corner, "feather": 0, **FAST}
    auto, mask = (run("KontextEdit", keep_outside=keep, **given).args for keep in ("auto", "mask"))
    assert torch.equal(auto[0], mask[0])
    assert torch.equal(auto[0][:, 32:], image[:, 32:])
    assert torch.equal(auto[2], corner)
    off = run("KontextEdit", keep_outside="off", **given).args
    assert not torch.equal(off[0][:, 32:], image[:, 32:])


def test_latent_to_latent_keeps_the_pixels(run: Run, model: Any, image: Tensor, corner: Tensor) -> None:
    """A latent shows its picture only nearly, so it carries it along, until something changes it."""
    options = {"model": model, "mask": corner, "feather": 0, **FAST}
    first = run("KontextEdit", image=image, **options).args
    second = run("KontextEdit", latent=first[1], **options).args
    assert torch.equal(second[0][:, 32:], image[:, 32:])
    changed = {**first[1], "samples": first[1]["samples"] * 0.9}
    third = run("KontextEdit", latent=changed, **options).args
    assert not torch.equal(third[0][:, 32:], image[:, 32:])


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_the_size_of_the_picture(run: Run, model: Any, fit: str) -> None:
    image, mask = picture(150, 260), torch.zeros(1, 150, 260)
    mask[:, 60:90, 100:160] = 1
    options = {
        "model": model,
        "image": image,
        "mask": mask,
        "fit": fit,
        "feather": 4,
        "size": "original",
        **FAST,
    }
    edited = run("KontextEdit", **options).args
    turned = run("KontextTurn", instruction="", **options).args
    assert torch.equal(edited[0], turned[1])
    assert torch.equal(edited[2], turned[3])
    assert edited[0].shape == image.shape
    assert edited[2].shape == image.shape[:3]
    assert torch.equal(edited[0][edited[2] == 0], image[edited[2] == 0])
    assert 0.05 < edited[2].mean() < 0.3
    further = run(
        "KontextTurn", instruction="a", **{**options, "image": None, "chain": turned[0], "mask": mask}
    ).args
    assert further[1].shape == image.shape
    assert torch.equal(further[1][:, :40], image[:, :40])


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_mask_holds_to_the_pixel_at_the_size_of_the_picture(run: Run, model: Any, fit: str) -> None:
    """Also lines thinner than a pixel of the model's; with a feather, to the end of it."""
    image, mask = picture(300, 520), torch.zeros(1, 300, 520)
    mask[:, 121:180, 201:321] = 1
    mask[:, 121:180, 202:320:2] = 0
    options = {"model": model, "image": image, "mask": mask, "fit": fit, "size": "original", **FAST}
    edited = run("KontextEdit", **options, feather=0).args
    turned = run("KontextTurn", instruction="", **options, feather=0).args
    for result, blend in ((edited[0], edited[2]), (turned[1], turned[3])):
        assert torch.equal(blend, mask)
        assert torch.equal(result[mask == 0], image[mask == 0])
        assert not torch.equal(result[mask == 1], image[mask == 1])
    soft = run("KontextEdit", **options, feather=4).args
    reach = 4 * 520 / 128 if fit != "crop" else 4 * 300 / 128
    near = torch.zeros_like(mask)
    near[:, 121 - int(reach) : 180 + int(reach), 201 - int(reach) : 321 + int(reach)] = 1
    assert torch.equal(soft[0][near == 0], image[near == 0])
    assert not torch.equal(soft[0][(near == 1) & (mask == 0)], image[(near == 1) & (mask == 0)])


@pytest.mark.parametrize("node", ["KontextEdit", "KontextTurn"])
@pytest.mark.parametrize(("height", "width"), [(200, 300), (1, 9), (9, 1)])
def test_pictures_of_more_than_8_bit_keep_their_steps(
    run: Run, model: Any, node: str, height: int, width: int
) -> None:
    """So does what transparency made of a picture, which is laid on white."""
    levels = torch.Generator().manual_seed(1)
    image = torch.randint(0, 65536, (1, height, width, 4), generator=levels) / 65535
    mask = torch.zeros(1, height, width)
    mask[:, : (height + 1) // 2, : (width + 1) // 2] = 1
    options = {"model": model, "image": image, "mask": mask, "feather": 0, "size": "original", **FAST}
    result = run(node, instruction="a", **options).args
    edited, blend = (result[0], result[2]) if node == "KontextEdit" else (result[1], result[3])
    on_white = (image[..., :3] * image[..., 3:] + (1 - image[..., 3:])).clamp(0, 1)
    assert torch.equal(edited[blend == 0], on_white[blend == 0])
    assert edited.shape == (1, height, width, 3)
    assert bool((blend[mask == 0] == 0).all())


@pytest.mark.parametrize("node", ["KontextEdit", "KontextTurn"])
def test_off_keeps_nothing_beside_a_mask_at_any_size(run: Run, model: Any, node: str) -> None:
    image, mask = picture(200, 300), torch.zeros(1, 200, 300)
    mask[:, 50:100, 100:200] = 1
    options = {
        "model": model,
        "image": image,
        "mask": mask,
        "instruction": "a",
        "keep_outside": "off",
        **FAST,
    }
    for more in ({}, {"size": "original"}, {"size": "original", "detail": 0.3}):
        result = run(node, **options, **more).args
        _, blend = (result[0], result[2]) if node == "KontextEdit" else (result[1], result[3])
        assert bool((blend[:, :, 60:240] == 1).all()), more


def test_a_latent_knows_the_picture_at_its_own_size(run: Run, model: Any) -> None:
    image, mask = picture(150, 260), torch.zeros(1, 150, 260)
    mask[:, 60:90, 100:160] = 1
    options = {"model": model, "mask": mask, "feather": 0, "size": "original", **FAST}
    first = run("KontextEdit", image=image, **options).args
    second = run("KontextEdit", latent=first[1], **(options | {"seed": 8})).args
    assert second[0].shape == image.shape
    kept = (first[2] == 0) & (second[2] == 0)
    assert torch.equal(second[0][kept], image[kept])
    assert kept.float().mean() > 0.7
    assert not torch.equal(second[0], first[0])
    plain = run("KontextEdit", latent=first[1], **(options | {"size": "model"})).args
    assert plain[0].shape == (1, 128, 128, 3)


def test_an_earlier_turn_is_picked_at_the_size_of_the_first_picture(run: Run, model: Any) -> None:
    options = {"model": model, "keep_outside": "auto", "size": "original", **FAST}
    first = run("KontextTurn", image=picture(150, 260), instruction="a", **options).args
    second = run("KontextTurn", chain=first[0], instruction="b", **options).args
    assert torch.equal(run("KontextPickTurn", chain=second[0], turn=1)[1], first[1])


def test_a_turn_on_a_latent_that_knows_its_picture_is_kept(run: Run, model: Any, image: Tensor) -> None:
    """It is told from others by what it holds, so that going back to it computes nothing."""
    edited = run("KontextEdit", model=model, image=image, instruction="a", keep_outside="auto", **FAST)
    stack = run("KontextReference", latent=edited[1])[0]
    turns = [
        run("KontextTurn", model=model, image=image, instruction="b", references=stack, **FAST)[0].last
        for _ in range(2)
    ]
    assert turns[0] is turns[1]


@pytest.mark.comfy
def test_a_model_of_comfyuis_keeps_it_too(run: Run, hosted: Any, image: Tensor) -> None:
    options = {"model": hosted, "image": image, "instruction": "a", "fit": "none", **FAST}
    edited, turned = (
        run("KontextEdit", keep_outside="auto", **options),
        run("KontextTurn", keep_outside="auto", **options),
    )
    assert torch.equal(edited[0], turned[1])
    assert edited[3] == turned[4] != ""
    assert torch.equal(edited[0][edited[2] == 0], image[edited[2] == 0])


def test_a_mask_that_is_asked_for_and_missing(run: Run, model: Any, image: Tensor) -> None:
    for node in ("KontextEdit", "KontextTurn"):
        with pytest.raises(ValueError, match="keep_outside is 'mask', but there is no mask"):
            run(node, model=model, image=image, instruction="", keep_outside="mask", **FAST)


def test_candidates_each_have_a_report(run: Run, model: Any, image: Tensor) -> None:
    made = run(
        "KontextTurn",
        model=model,
        image=image,
        instruction="",
        candidates="[7, 8]",
        keep_outside="auto",
        **FAST,
    )
    alone = run("KontextTurn", model=model, image=image, instruction="", keep_outside="auto", **FAST)
    assert torch.allclose(made.args[1], alone.args[1], atol=1e-4)
    assert made.args[4] == alone.args[4]
