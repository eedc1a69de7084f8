"""One more pass at the picture's own size: where tiles lie, what stays, and what is said."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.chain.turns import Chain
from kontext_core.edit_settings import EditSettings
from kontext_core.images.put_back import Patch, Window
from kontext_core.pipeline import Pipeline
from kontext_core.sampling.detail import MARGIN_PX, DetailPass, tiles

OPTIONS: Any = {"steps": 4, "size": "original", "seed": 5}


@pytest.fixture(scope="module")
def tiny() -> Pipeline:
    return Pipeline.load("tiny", device="cpu")


def picture(height: int = 320, width: int = 400) -> Tensor:
    """Smooth, with an edge."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    image = torch.stack([x, y, (x * 6).sin().abs()], dim=-1)[None]
    image[:, :, width // 2 :] *= 0.5
    return (image * 255).round() / 255


def square(height: int = 320, width: int = 400) -> Tensor:
    mask = torch.zeros(height, width)
    mask[100:230, 150:290] = 1
    return mask


@pytest.mark.parametrize(
    ("box", "whole", "tile"),
    [
        (Window(100, 100, 40, 60), (320, 400), (128, 128)),
        (Window(0, 0, 320, 400), (320, 400), (128, 128)),
        (Window(5, 380, 300, 20), (320, 400), (128, 128)),
        (Window(900, 100, 900, 2500), (3000, 4000), (1024, 1024)),
        (Window(0, 0, 100, 90), (100, 90), (128, 128)),
    ],
)
def test_tiles_cover_a_box_and_its_margin(box: Window, whole: Any, tile: Any) -> None:
    seen = torch.zeros(whole, dtype=torch.int)
    for place in tiles(box, whole, tile):
        assert place.height % 16 == place.width % 16 == 0
        assert min(place.top, place.left) >= 0
        part = place.cut(seen)
        assert part.shape == (place.height, place.width), "none reaches beyond the picture"
        part += 1
    reach = slice(max(box.top - MARGIN_PX, 0), box.top + box.height + MARGIN_PX)
    across = slice(max(box.left - MARGIN_PX, 0), box.left + box.width + MARGIN_PX)
    covered = seen[reach, across] > 0
    lost = 16 if min(whole) < 128 else 0  # a rim that makes no token stays as the edit is
    assert bool(covered[: covered.shape[0] - lost, : covered.shape[1] - lost].all())


def test_a_picture_narrower_than_a_token_has_no_tiles() -> None:
    assert list(tiles(Window(0, 0, 9, 400), (9, 400), (128, 128))) == []


def test_only_what_changed_is_made_again(tiny: Pipeline) -> None:
    image, mask = picture(), square()
    plain = tiny.edit("make it red", [image], mask=mask, **OPTIONS)
    fine = tiny.edit("make it red", [image], mask=mask, detail=0.5, **OPTIONS)
    beside = mask[None] == 0
    assert torch.equal(fine.image[beside], image[beside])
    assert torch.equal(fine.latents, plain.latents), "what goes on is the edit itself"
    assert not torch.equal(fine.image, plain.image)
    assert fine.reports[0].notes[-1] == "made again at full size in 4 tiles"
    blurred = torch.nn.functional.avg_pool2d((fine.image - plain.image).permute(0, 3, 1, 2), 40)
    inside = torch.nn.functional.avg_pool2d(mask[None, None], 40) == 1
    assert blurred.abs().amax(1, keepdim=True)[inside].max() < 3 / 255, "tones stay those of the edit"
    again = tiny.edit("make it red", [image], mask=mask, detail=0.5, **OPTIONS)
    assert torch.equal(again.image, fine.image)


def test_a_picture_of_the_models_size_needs_none(tiny: Pipeline) -> None:
    image = picture(128, 128)
    plain, fine = (
        tiny.edit("make it red", [image], keep_outside="auto", detail=detail, **OPTIONS)
        for detail in (0, 0.5)
    )
    assert torch.equal(plain.image, fine.image)
    assert plain.reports == fine.reports


def test_too_many_tiles_are_not_begun(tiny: Pipeline) -> None:
    steps: list[int] = []
    options: Any = {**OPTIONS, "detail": 0.5, "callback": lambda *_: steps.append(1)}
    edit = tiny.edit("make it red", [picture(1600, 1600)], mask=torch.ones(1600, 1600), **options)
    assert len(steps) == 4, "those of the edit"
    assert edit.reports[0].notes[-1].startswith("the detail pass was left out: it would take 289 tiles")


def test_nothing_changed_is_nothing_to_make_again(tiny: Pipeline) -> None:
    run = DetailPass(tiny, "", settings(detail=0.5))
    empty = Patch(
        0, 0, torch.zeros(0, 0, 3, dtype=torch.uint8), torch.zeros(0, 0, dtype=torch.uint8), (64, 64)
    )
    patch, note = run(torch.zeros(1, 64, 64, 3), empty, 4.0, 0)
    assert patch is empty
    assert note == ""


def settings(**options: Any) -> EditSettings:
    return EditSettings(**{**OPTIONS, **options})


def test_a_chains_turn_is_made_again_like_an_edit(tiny: Pipeline) -> None:
    image, mask = picture(), square()
    fine = tiny.edit("make it red", [image], mask=mask, detail=0.5, **OPTIONS)
    chain = Chain.start(tiny, image).edit(tiny, "make it red", mask=mask, detail=0.5, **OPTIONS)
    assert torch.equal(chain.picture, fine.image)
    assert chain.last.settings["detail"] == 0.5
    assert chain.last.report is not None
    assert chain.last.report.notes == fine.reports[0].notes


def test_seeds_of_a_batch_have_tiles_of_their_own(tiny: Pipeline) -> None:
    image, mask = picture(), square()
    start = Chain.start(tiny, image)
    both = start.candidates(tiny, "make it red", seeds=[5, 9], mask=mask, detail=0.5, **OPTIONS)
    for chain, seed in zip(both, (5, 9), strict=True):
        alone = start.edit(tiny, "make it red", mask=mask, detail=0.5, **{**OPTIONS, "seed": seed})
        assert (chain.picture - alone.picture).abs().max() <= 1.01 / 255


def test_where_nothing_is_kept_all_of_it_is_made_again(
    tiny: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    plain, fine = (tiny.edit("make it red", [picture()], detail=detail, **OPTIONS) for detail in (0, 0.5))
    assert fine.reports == ()
    assert not torch.equal(plain.image, fine.image)
    assert caplog.messages == []
    tiny.edit("make it red", [picture(1600, 1600)], detail=0.5, **OPTIONS)
    assert caplog.messages == [
        "the detail pass was left out: it would take 289 tiles of the model's size, and 64 is the maximum"
    ]


def test_a_picture_without_room_for_a_tile_stays_as_the_edit_is(tiny: Pipeline) -> None:
    options: Any = {**OPTIONS, "fit": "stretch", "keep_outside": "mask"}
    image, mask = picture(9, 400), torch.ones(9, 400)
    plain, fine = (tiny.edit("make it red", [image], mask=mask, detail=d, **options) for d in (0, 0.5))
    assert torch.equal(plain.image, fine.image)
    assert plain.reports == fine.reports


def test_without_the_pictures_own_size_it_is_refused(tiny: Pipeline) -> None:
    with pytest.raises(ValueError, match="the detail pass is for size 'original', and size is 'model'"):
        tiny.edit("make it red", [picture(64, 64)], steps=1, detail=0.5)
