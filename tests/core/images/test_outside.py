"""What an edit was not asked to change: kept, and told of."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.chain import Chain, load_chain, save_chain
from kontext_core.edit_settings import EditSettings
from kontext_core.images import change
from kontext_core.images.change import STRONG
from kontext_core.images.fitting import Placement, undo_fit
from kontext_core.images.outside import Before, OutsideReport, describe, keep_beside_mask, keep_unchanged
from kontext_core.images.registration.register import register
from kontext_core.pipeline import Edit, Pipeline
from kontext_core.world import draw, right, sample

Pictures = Callable[..., Tensor]
KINDS = ("recolour", "remove", "add", "move", "reshape", "text")
STEPS = 12


@pytest.fixture(scope="module")
def tiny() -> Pipeline:
    return Pipeline.load()


def eight_bits(drawn: Tensor) -> Tensor:
    return (drawn * 255).round().permute(0, 2, 3, 1).contiguous() / 255


def before_of(pipeline: Pipeline, picture: Tensor) -> Before:
    latents, place = pipeline.encode_picture(picture)
    return Before(picture, latents, place)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_edit_did_not_change_is_kept_bit_for_bit(tiny: Pipeline, kind: str) -> None:
    """A right edit stays right, and next to nothing is changed far from it."""
    task = sample(kind, random.Random(f"outside/{kind}/1"))
    picture = eight_bits(draw(task.references))
    plain = tiny.edit(task.instruction, [picture], steps=STEPS, seed=1)
    kept = tiny.edit(task.instruction, [picture], steps=STEPS, seed=1, keep_outside="auto")
    truth, start = draw([task.target]), draw(task.references)
    verdicts = [bool(right(edit.image.permute(0, 3, 1, 2), truth)) for edit in (plain, kept)]
    assert verdicts == [True, True]
    changed = (kept.image != picture).any(-1)
    assert kept.blend is not None
    assert not changed[kept.blend == 0].any()
    outside = ~torch.nn.functional.max_pool2d(
        (start != truth).any(1, keepdim=True).float(), 41, 1, 20
    ).bool()[:, 0]
    assert changed[outside].float().mean() < 0.01
    assert (plain.image != picture).any(-1)[outside].float().mean() > 0.3
    (report,) = kept.reports
    assert report.extent == "local"
    assert 0.01 < report.changed < 0.5
    assert "% changed, the rest was kept bit for bit" in report.describe()


def test_latents_go_on_where_nothing_changed(tiny: Pipeline) -> None:
    """So that a part that no turn touches crosses the autoencoder once, however many turns there are."""
    task = sample("recolour", random.Random("outside/latents"))
    picture = eight_bits(draw(task.references))
    start = tiny.encode(picture)
    edit = tiny.edit(task.instruction, [picture], steps=STEPS, keep_outside="auto")
    same = (edit.latents == start).all(1)[0]
    assert edit.blend is not None
    touched = torch.nn.functional.max_pool2d(edit.blend[:, None], 16, 16)[0, 0] > 0
    assert not same.view(8, 2, 8, 2).any(3).any(1)[touched].any()
    assert same.float().mean() > 0.4


def test_no_instruction_changes_nothing(tiny: Pipeline) -> None:
    picture = eight_bits(draw(sample("recolour", random.Random("outside/none")).references))
    edit = tiny.edit("", [picture], steps=STEPS, keep_outside="auto")
    assert torch.equal(edit.image, picture)
    assert torch.equal(edit.latents, tiny.encode(picture))
    assert describe(edit.reports) == "nothing changed: the picture is the one before"


def test_an_edit_of_the_whole_picture_is_left_alone(tiny: Pipeline) -> None:
    task = sample("background", random.Random("outside/whole"))
    picture = eight_bits(draw(task.references))
    plain = tiny.edit(task.instruction, [picture], steps=STEPS)
    edit = tiny.edit(task.instruction, [picture], steps=STEPS, keep_outside="auto")
    assert torch.equal(edit.image, plain.image)
    assert torch.equal(edit.latents, plain.latents)
    assert edit.reports[0].extent == "whole"


def test_each_picture_of_a_batch_has_a_mask_of_its_own(tiny: Pipeline) -> None:
    """As it has alone."""
    task = sample("recolour", random.Random("outside/batch"))
    picture = eight_bits(draw(task.references))
    pictures = torch.cat([picture, picture.flip(2)])
    both = tiny.edit(task.instruction, [pictures], steps=4, keep_outside="auto")
    assert len(both.reports) == 2
    before = Before(pictures, tiny.encode(pictures))
    after = tiny.decode(tiny.edit(task.instruction, [pictures], steps=4).latents)
    for index in range(2):
        alone = keep_unchanged(
            Before(before.canvas[index : index + 1], before.latents[index : index + 1]),
            tiny.decode(before.latents)[index : index + 1],
            after[index : index + 1],
        )
        assert torch.equal(both.image[index], alone.image[0])
        assert both.reports[index] == alone.reports[0]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_picture_comes_back_at_its_own_size(tiny: Pipeline, fit: str) -> None:
    """Turn after turn, loaded or not, by a chain or without one: only what was changed is new."""
    drawn = draw(sample("recolour", random.Random("outside/size")).references)
    large = torch.nn.functional.interpolate(drawn, size=(260, 400), mode="bicubic", antialias=True)
    picture = eight_bits(large.clamp(0, 1))
    options: Any = {"steps": STEPS, "keep_outside": "auto", "size": "original"}
    chain = Chain.start(tiny, picture, fit=fit)
    instructions = ("add a big red heart at row 2 column 3", "add a small blue star at row 3 column 2")
    touched = torch.zeros(1, 260, 400, dtype=torch.bool)
    for words in instructions:
        chain = chain.edit(tiny, words, **options)
        patch = chain.last.patch
        assert patch is not None
        touched |= patch.blend() > 0
        assert chain.picture.shape == picture.shape
        assert torch.equal(chain.picture[~touched], picture[~touched])
        assert (chain.picture != picture).any()
    assert 0.01 < touched.float().mean() < 0.9
    first = tiny.edit(instructions[0], [picture], fit=fit, **options)
    assert torch.equal(first.image, chain.back_to(1).picture)
    assert first.blend is not None
    assert first.blend.shape == (1, 260, 400)


def test_a_turn_on_an_edit_knows_how_its_picture_was_fitted(pipeline: Pipeline, pictures: Pictures) -> None:
    """Also where it is not said again: a wrong window would move what changed."""
    picture, mask = pictures(40, 100), torch.zeros(40, 100)
    mask[10:20, 40:60] = 1
    options: Any = {"steps": 1, "size": "original"}
    first = pipeline.edit("make it red", [picture], fit="stretch", mask=mask, **options)
    said, unsaid = (
        pipeline.edit("a", [first], mask=mask, **options, **fit) for fit in ({"fit": "stretch"}, {})
    )
    assert torch.equal(said.image, unsaid.image)
    assert not torch.equal(unsaid.image, first.image)


def soft_picture() -> Tensor:
    """Blots with soft edges, (1, 192, 192, 3), whose motion can be told."""
    rough = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(3))
    large = torch.nn.functional.interpolate(rough, size=(192, 192), mode="bicubic")
    return large.clamp(0, 1).permute(0, 2, 3, 1)


def test_a_whole_picture_that_moved_too_is_what_its_latents_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change, "WHOLE", 0.5)  # motion is told where some of the rest is left
    seen = soft_picture()
    after = seen.roll((1, 2), (1, 2)).contiguous()
    after[:, :, :72] = (after[:, :, :72] + 0.5) % 1
    after[:, 108:] = (after[:, 108:] + 0.5) % 1
    assert register(seen, after).moved_px > 1
    kept = keep_unchanged(Before(seen, torch.zeros(1)), seen, after)
    assert kept.reports[0].extent == "whole"
    assert torch.equal(kept.image, after)
    assert kept.reports[0].shift_px == 0


def test_margins_that_an_edit_of_the_whole_picture_did_not_reach_are_told_of(tiny: Pipeline) -> None:
    image = tiny.edit("a red circle on grass", steps=STEPS, width_px=128, height_px=128).image
    wide = torch.nn.functional.pad(image.permute(0, 3, 1, 2), (40, 40, 0, 0), mode="replicate").permute(
        0, 2, 3, 1
    )
    options: Any = {"steps": STEPS, "keep_outside": "auto", "size": "original"}
    edit = tiny.edit("change the background to snow", [wide], **options)
    assert edit.reports[0].extent == "whole"
    assert edit.reports[0].notes == (
        "what crop had cut off is as before: choose pad or stretch, and all of it changes",
    )
    turn = Chain.start(tiny, wide).edit(tiny, "change the background to snow", **options).last
    assert turn.report is not None
    assert turn.report.notes == edit.reports[0].notes
    stretched = tiny.edit("change the background to snow", [wide], fit="stretch", **options)
    assert stretched.reports[0].notes == ()


def test_a_chain_at_full_size_goes_on_from_its_file(tiny: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "chain.png"
    drawn = draw(sample("recolour", random.Random("outside/file")).references)
    picture = eight_bits(torch.nn.functional.interpolate(drawn, size=(200, 300), mode="bicubic").clamp(0, 1))
    options: Any = {"steps": 4, "keep_outside": "auto", "size": "original"}
    chain = Chain.start(tiny, picture, fit="pad").edit(
        tiny, "add a big red heart at row 2 column 3", **options
    )
    save_chain(chain, path)
    loaded = load_chain(path)
    assert torch.equal(loaded.picture, chain.picture)
    assert loaded.last.settings["extent"] in ("local", "nothing", "whole")
    further = [
        branch.edit(tiny, "add a small blue star at row 3 column 2", **options).picture
        for branch in (chain, loaded)
    ]
    assert torch.equal(*further)


def test_a_shift_and_a_cast_of_the_result_are_undone() -> None:
    """Before what changed is looked for; what was kept is the picture's own."""
    seen = soft_picture()
    after = (seen.roll((1, 2), (1, 2)) * 0.97).contiguous()
    after[:, 80:110, 80:110] = torch.tensor([0.9, 0.1, 0.1])
    kept = keep_unchanged(Before(seen, torch.zeros(1)), seen, after)
    (report,) = kept.reports
    assert report.extent == "local"
    assert report.shift_px == pytest.approx(5**0.5, abs=0.15)
    assert all(gain == pytest.approx(0.97, abs=0.01) for gain in report.gain)
    assert report.changed < 0.15
    assert "undid a shift of 2.2" in report.describe()


def test_a_padded_picture_alone_is_compared() -> None:
    """What is repeated around it is neither looked at nor changed on its own."""
    place = Placement((64, 96), 0, 16, 64, 64, (64, 64))
    seen = torch.full((1, 64, 96, 3), 0.5)
    after = seen.clone()
    after[:, 20:40, 30:50] = 1
    after[:, :, :16] = 0
    kept = keep_unchanged(Before(seen, torch.zeros(1), place), seen, after)
    assert kept.reports[0].extent == "local"
    assert torch.equal(kept.image[:, :, :16], seen[:, :, :16])
    assert kept.cut_out(place).image.shape == (1, 64, 64, 3)
    assert torch.equal(undo_fit(kept.image, place)[:, 24:36, 18:30], after[:, 24:36, 34:46])


def test_a_mask_that_misses_the_change_is_told_of() -> None:
    before = torch.full((1, 64, 64, 3), 0.5)
    mask = torch.zeros(64, 64)
    mask[:16] = 1
    after = before + STRONG / 4
    kept = keep_beside_mask(before, after, mask, 0)
    assert "does it cover what the instruction speaks of?" in describe(kept.reports)
    after[:, :8] = 1
    assert "speaks" not in describe(keep_beside_mask(before, after, mask, 0).reports)


def test_a_faint_change_of_the_rest_is_told_of() -> None:
    seen = torch.full((1, 64, 64, 3), 0.5)
    after = seen - 5 / 255
    after[:, 20:40, 20:40] = 1
    (report,) = keep_unchanged(Before(seen, torch.zeros(1)), seen, after).reports
    assert "the rest had become darker by 5 of 255, which was not taken over" in report.describe()


def test_words_for_a_batch() -> None:
    reports = OutsideReport("nothing", 0.0), OutsideReport("local", 0.25)
    assert describe(reports).splitlines() == [
        "picture 1: nothing changed: the picture is the one before",
        "picture 2: 25.0 % changed, the rest was kept bit for bit",
    ]
    assert describe(()) == ""


def test_off_is_what_the_model_makes(pipeline: Pipeline, pictures: Pictures) -> None:
    """With a mask, only the sampler obeys it."""
    picture, mask = pictures(64, 64), torch.zeros(64, 64)
    mask[:, 32:] = 1
    plain = pipeline.edit("make it red", [picture], steps=2)
    assert torch.equal(
        pipeline.edit("make it red", [picture], steps=2, keep_outside="off").image, plain.image
    )
    off = pipeline.edit("make it red", [picture], steps=2, mask=mask, keep_outside="off")
    assert torch.equal(off.image, pipeline.decode(off.latents))
    assert off.reports == ()
    kept = [
        pipeline.edit("make it red", [picture], steps=2, mask=mask, keep_outside=keep).image
        for keep in (None, "mask", "auto")
    ]
    assert torch.equal(kept[0], kept[1])
    assert torch.equal(kept[0], kept[2])
    assert torch.equal(kept[0][:, :, :32], picture[:, :, :32])


def test_another_size_than_the_picture_keeps_nothing(pipeline: Pipeline, pictures: Pictures) -> None:
    edit = pipeline.edit(
        "make it red", [pictures(64, 64)], steps=1, width_px=96, height_px=32, keep_outside="auto"
    )
    assert edit.image.shape == (1, 32, 96, 3)
    assert "another size than the picture before it" in describe(edit.reports)


def test_words_alone_have_nothing_to_keep(pipeline: Pipeline) -> None:
    plain = pipeline.edit("a red circle", steps=1)
    assert torch.equal(pipeline.edit("a red circle", steps=1, keep_outside="auto").image, plain.image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_outside": "mask"}, "keep_outside is 'mask', but there is no mask"),
        ({"size": "original", "width_px": 64}, "size 'original' is that of the first picture: leave width"),
    ],
)
def test_what_does_not_go_together(
    pipeline: Pipeline, pictures: Pictures, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline.edit("make it red", [pictures(64, 64)], settings=EditSettings(steps=1).with_options(options))


def test_no_picture_to_go_back_into(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match="size 'original' is that of the first picture, but there is none"):
        pipeline.edit("a red circle", steps=1, size="original")


def test_a_turn_at_the_models_size_ends_the_full_size(tiny: Pipeline, pictures: Pictures) -> None:
    chain = Chain.start(tiny, pictures(200, 300), fit="pad").edit(tiny, "", steps=1)
    with pytest.raises(ValueError, match="choose size original from the first turn on"):
        chain.edit(tiny, "", steps=1, size="original")
    edit: Edit = tiny.edit("", [pictures(128, 128)], steps=1, size="original", keep_outside="auto")
    assert edit.image.shape == (1, 128, 128, 3)
