import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.chain import Chain, Turn
from kontext_core.chain.drift import align_to
from kontext_core.images.fitting import Placement, undo_fit
from kontext_core.images.marks import Mark, draw_marks, mask_of
from kontext_core.pipeline import Edit, Pipeline

Pictures = Callable[..., Tensor]
AREA = (Mark(kind="box", points=((0.5, 0), (1, 1)), mask=True),)  # the right half
MARKS = (Mark(kind="box", points=((0.1, 0.1), (0.4, 0.4)), width=0.06),)

DOT = (Mark(kind="freehand", points=((0.15, 0.15), (0.15, 0.15)), width=0.08),)


@pytest.fixture
def three(pipeline: Pipeline, pictures: Pictures) -> Chain:
    chain = Chain.start(pipeline, pictures(40, 100), fit="pad")
    for turn, words in enumerate(("make it red", "", "remove the star")):
        chain = chain.edit(pipeline, words, seed=turn, steps=1)
    return chain


def test_a_chain_keeps_every_turn(three: Chain) -> None:
    assert len(three) == 3
    assert [turn.instruction for turn in three.turns] == ["", "make it red", "", "remove the star"]
    assert [turn.seed for turn in three.turns[1:]] == [0, 1, 2]
    assert three.last.settings["steps"] == 1
    assert "prompt" not in three.last.settings
    assert {tuple(turn.image.shape) for turn in three.turns[1:]} == {(1, 32, 80, 3)}, (
        "the padding is cut off in every turn"
    )


def test_a_turn_is_the_edit_of_the_turn_before(three: Chain, pipeline: Pipeline) -> None:
    edit = pipeline.edit("remove the star", [three.turns[2].latents], seed=2, steps=1)
    assert torch.equal(edit.latents, three.last.latents)


def test_the_autoencoder_sees_the_first_picture_only(
    pipeline: Pipeline, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = Chain.start(pipeline, pictures(64, 64))
    monkeypatch.setattr(pipeline.vae, "encode", lambda _: pytest.fail("encoded again"))
    for _ in range(3):
        chain = chain.edit(pipeline, "make it red", steps=1)


def test_turn_twenty_costs_what_turn_two_does(
    pipeline: Pipeline, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With any options, later turns take as many passes and tokens and are as large. No clock is used."""
    passes: list[int] = []
    velocity = pipeline.transformer.velocity
    monkeypatch.setattr(
        pipeline.transformer,
        "velocity",
        lambda tokens, prepared, *more, **named: (
            passes.append(prepared.pe.shape[1]) or velocity(tokens, prepared, *more, **named)
        ),
    )
    chain = Chain.start(pipeline, pictures(64, 64))
    costs = []
    for turn in range(20):
        chain = chain.edit(pipeline, "make it red", seed=turn, steps=1, anchor=True, align=True, marks=MARKS)
        last = chain.last
        costs.append((tuple(passes), last.image.nbytes, last.latents.nbytes, len(last.references)))
        passes.clear()
    assert len(set(costs[1:])) == 1, costs
    assert costs[0][0] < costs[1][0], "only the anchor came with turn 2"


def test_further_references_ride_along(pipeline: Pipeline, pictures: Pictures) -> None:
    other = pictures(48, 48)
    chain = Chain.start(pipeline, pictures(64, 64)).edit(
        pipeline, "as picture 2", references=[other], steps=1
    )
    assert chain.last.references == (other,)
    alone = chain.back_to(0).edit(pipeline, "as picture 2", steps=1)
    assert not torch.equal(chain.last.latents, alone.last.latents)


def test_the_picture_at_the_start_rides_along_as_an_anchor(pipeline: Pipeline, pictures: Pictures) -> None:
    start = Chain.start(pipeline, pictures(64, 64))
    first = start.edit(pipeline, "make it red", steps=1, anchor=True)
    assert torch.equal(first.last.latents, start.edit(pipeline, "make it red", steps=1).last.latents), (
        "at first it is the picture itself"
    )
    anchored = first.edit(pipeline, "make it blue", steps=1, anchor=True)
    by_hand = pipeline.edit("make it blue", [first.last.latents, start.last.latents], steps=1)
    assert torch.equal(anchored.last.latents, by_hand.latents)
    assert anchored.last.references == (), "it is no reference of the user's"


def test_references_may_come_with_their_latents(pipeline: Pipeline, pictures: Pictures) -> None:
    start = Chain.start(pipeline, pictures(64, 64))
    other = pictures(64, 64, seed=3)
    given = Edit(other, pipeline.encode(other), seed=0)
    chains = [start.edit(pipeline, "", references=[one], steps=1) for one in (other, given)]
    assert torch.equal(chains[0].last.latents, chains[1].last.latents)
    assert all(chain.last.references[0] is other for chain in chains)


def test_branches_share_their_past(three: Chain, pipeline: Pipeline) -> None:
    before = three.turns
    branch = three.back_to(1).edit(pipeline, "make it blue", steps=1)
    assert three.turns is before
    assert branch.shared_turns(three) == three.shared_turns(branch) == 2
    assert three.shared_turns(three) == 4
    assert three.back_to(-2).turns == three.turns[:3]
    assert len(three.back_to(0)) == 0


@pytest.mark.parametrize("turn", [4, -5])
def test_turns_that_never_were(three: Chain, turn: int) -> None:
    with pytest.raises(ValueError, match=rf"there is no turn {turn}: this chain has 3 edits; choose 0"):
        three.back_to(turn)


def test_what_no_chain_is_made_of() -> None:
    with pytest.raises(ValueError, match=r"starts with a picture"):
        Chain(())
    with pytest.raises(ValueError, match=r"holds one picture.*\(2, 8, 8, 3\)"):
        Turn(torch.zeros(2, 8, 8, 3))
    place = Placement((32, 32), 0, 0, 16, 32, (16, 32))
    with pytest.raises(ValueError, match=r"do not lie on the canvas"):
        Turn(torch.zeros(1, 16, 32, 3), torch.zeros(1, 16, 2, 2), place)


def test_no_turn_costs_more_than_the_first(
    pipeline: Pipeline, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each turn takes one reference, one decoding and no encoding, however long the chain is."""
    work: list[tuple[str, int]] = []

    def counted(name: str, size: Callable[..., int]) -> None:
        whole = getattr(Pipeline, name)

        def count(self: Pipeline, *arguments: Any, **options: Any) -> Any:
            work.append((name, size(*arguments, **options)))
            return whole(self, *arguments, **options)

        monkeypatch.setattr(Pipeline, name, count)

    counted("encode", lambda image: image.numel())
    counted("decode", lambda latents: latents.numel())
    counted("denoise", lambda inputs, *_: sum(latents.numel() for latents in inputs.references))
    chain = Chain.start(pipeline, pictures(64, 64, seed=2020))  # which no other test has encoded
    assert work == [("encode", 64 * 64 * 3)]
    work.clear()
    for turn in range(20):
        chain = chain.edit(pipeline, "make it red", seed=turn, steps=1)
    assert work == [("denoise", 16 * 8 * 8), ("decode", 16 * 8 * 8)] * 20


def test_a_mask_keeps_the_rest_through_every_turn(pipeline: Pipeline, pictures: Pictures) -> None:
    mask = torch.zeros(64, 64)
    mask[:, 32:] = 1
    start = Chain.start(pipeline, pictures(64, 64))
    chain = start
    for turn in range(3):
        chain = chain.edit(pipeline, "make it red", seed=turn, steps=2, mask=mask)
    first, last = start.last.latents, chain.last.latents
    assert first is not None
    assert last is not None
    assert torch.equal(chain.last.image[:, :, :32], start.last.image[:, :, :32])
    assert torch.equal(last[..., :2], first[..., :2]), "what the sampler may change is wider by a token"
    assert not torch.allclose(last[..., 4:], first[..., 4:], atol=0.1)
    assert chain.last.settings["masked"] is True


def test_alignment_is_of_what_was_sampled_against_the_start(pipeline: Pipeline, pictures: Pictures) -> None:
    start = Chain.start(pipeline, pictures(64, 64))
    plain = start.edit(pipeline, "make it red", steps=1)
    aligned = start.edit(pipeline, "make it red", steps=1, align=True)
    assert plain.last.latents is not None
    assert start.last.latents is not None
    wanted = align_to(plain.last.latents, start.last.latents)
    assert torch.equal(aligned.last.latents, wanted)
    assert torch.equal(aligned.last.image, pipeline.decode(wanted))


def test_no_alignment_to_what_is_not_known(pipeline: Pipeline, pictures: Pictures) -> None:
    chain = Chain((Turn(pictures(64, 64)),))
    with pytest.raises(ValueError, match="switch 'align' off"):
        chain.edit(pipeline, "make it red", steps=1, align=True)


def test_marks_are_seen_by_their_turn_and_by_no_other(pipeline: Pipeline, pictures: Pictures) -> None:
    start = Chain.start(pipeline, pictures(64, 64)).edit(pipeline, "make it red", steps=1)
    plain = start.edit(pipeline, "the thing in the box", steps=1)
    marked = start.edit(pipeline, "the thing in the box", steps=1, marks=MARKS)
    assert not torch.equal(marked.last.latents, plain.last.latents)
    assert marked.last.marks == MARKS
    assert marked.turns[:2] == start.turns, "it stays in its chain, and what came before has no marks"
    onward = marked.edit(pipeline, "", steps=1)
    by_hand = pipeline.edit("", [marked.last.latents], steps=1)
    assert torch.equal(onward.last.latents, by_hand.latents), "nor has what comes behind"
    assert onward.last.marks == ()


def test_marks_lie_upon_the_picture_and_not_on_its_padding(
    pipeline: Pipeline, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = Chain.start(pipeline, pictures(40, 100), fit="pad")
    place, seen, encode = chain.last.placement, [], pipeline.encode
    assert place is not None
    monkeypatch.setattr(pipeline, "encode", lambda image: (seen.append(image), encode(image))[1])
    assert chain.edit(pipeline, "", steps=1, marks=MARKS).last.image.shape[1:3] == (32, 80)
    plain, drawn = seen
    rows, columns = slice(place.top, place.top + place.height), slice(place.left, place.left + place.width)
    assert torch.equal(drawn[:, rows, columns], draw_marks(plain[:, rows, columns], MARKS))
    changed = (plain != drawn).any(-1)[0]
    assert changed.any()
    changed[rows, columns] = False
    assert not changed.any()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(40, 100), (100, 40)], ids=["wide", "high"])
def test_marks_lie_where_they_were_drawn_on_the_whole_picture_or_on_what_a_crop_left(
    pipeline: Pipeline, pictures: Pictures, monkeypatch: pytest.MonkeyPatch, fit: str, size: tuple[int, int]
) -> None:
    """The first turn is drawn for on the picture as it came, a later one on the result before."""
    chain, encode = Chain.start(pipeline, pictures(*size), fit=fit), pipeline.encode
    place = chain.last.placement
    assert place is not None
    for first in (True, False):
        seen: list[Tensor] = []
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "encode", lambda image, seen=seen: (seen.append(image), encode(image))[1])
            made = chain.edit(pipeline, "", steps=1, marks=DOT)
        plain, drawn = seen
        rows, columns = (plain != drawn).any(-1)[0].nonzero(as_tuple=True)
        middle = [(float(line.min() + line.max()) + 1) / 2 for line in (rows, columns)]
        (x, y), (height, width) = DOT[0].points[0], chain.last.image.shape[1:3]
        if first:
            wanted = [place.top + y * place.height, place.left + x * place.width]
        else:
            wanted = [max(place.top, 0) + y * height, max(place.left, 0) + x * width]
        assert middle == pytest.approx(wanted, abs=1), "to the pixel"
        chain = made


def test_a_turn_reaches_no_farther_than_its_area(pipeline: Pipeline, pictures: Pictures) -> None:
    """As with a mask of the same pixels, and without any mark being seen."""
    start = Chain.start(pipeline, pictures(64, 64)).edit(pipeline, "make it red", steps=1)
    made = start.edit(pipeline, "make it blue", steps=2, marks=AREA, feather_px=0).last
    assert torch.equal(made.image[:, :, :32], start.last.image[:, :, :32])
    assert (made.image[:, :, 32:] - start.last.image[:, :, 32:]).abs().mean() > 0.01
    mask = mask_of(AREA, 64, 64)
    masked = start.edit(pipeline, "make it blue", steps=2, mask=mask, feather_px=0).last
    assert torch.equal(made.latents, masked.latents)
    assert made.settings == masked.settings
    assert (made.marks, masked.marks) == (AREA, ())
    soft = start.edit(pipeline, "make it blue", steps=2, marks=AREA, feather_px=8).last
    assert torch.equal(soft.image[:, :, :24], start.last.image[:, :, :24])
    assert not torch.equal(soft.image[:, :, 24:32], start.last.image[:, :, 24:32])
    cues = start.edit(pipeline, "make it blue", steps=2, mask=mask, marks=MARKS).last
    drawn = start.edit(pipeline, "make it blue", steps=2, marks=(*AREA, *MARKS)).last
    assert torch.equal(drawn.latents, cues.latents), "the model sees the marks beside it"


def test_an_area_and_a_mask_count_both(pipeline: Pipeline, pictures: Pictures) -> None:
    start, mask = Chain.start(pipeline, pictures(64, 64)), torch.zeros(64, 64)
    mask[32:] = 1
    made = start.edit(pipeline, "make it red", steps=2, marks=AREA, mask=mask).last.image
    changed = (made != start.last.image).any(-1)[0]
    assert changed[32:, 32:].any()
    changed[32:, 32:] = False
    assert not changed.any()
    mask[:, 30:] = 0
    with pytest.raises(ValueError, match=r"^the drawn area and the mask have no pixel in common"):
        start.edit(pipeline, "make it red", steps=1, marks=AREA, mask=mask)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch", "none"])
@pytest.mark.parametrize("loaded", [False, True], ids=["encoded", "picture alone"])
def test_an_area_lies_upon_the_picture_that_the_turn_starts_from(
    pipeline: Pipeline, pictures: Pictures, fit: str, loaded: bool
) -> None:
    """In the first turn that is the whole picture, in later ones what a fit has left of it."""
    points = ((0.5, 0.25), (1, 0.75))
    area = (Mark(kind="box", points=points, mask=True),)
    chain = Chain.start(pipeline, pictures(40, 100), fit=fit)
    if loaded:
        chain = Chain((Turn(chain.last.image, settings={"fit": fit}),))
    for _ in range(2):
        place = chain.last.placement
        made = chain.edit(pipeline, "make it red", steps=1, marks=area)
        after = made.last.placement
        assert after is not None
        height, width = made.last.image.shape[1:3]
        (left, top), (right, bottom) = points
        if fit == "crop" and len(chain) == 0:  # a part of its height is not on the canvas
            top, bottom = ((after.top + share * after.height) / height for share in (top, bottom))
        canvas = pipeline.canvas_of(chain.last.as_reference(), fit)
        before = undo_fit(canvas, place or after)
        changed = (made.last.image != before).any(-1)[0]
        rows = slice(math.floor(top * height), math.ceil(bottom * height))
        columns = slice(math.floor(left * width), math.ceil(right * width))
        assert changed[rows].any(1).float().mean() > 0.9, "but for what rounds to the pixel that was there"
        assert changed[:, columns].any(0).float().mean() > 0.9
        changed[rows, columns] = False
        assert not changed.any()
        chain = made


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_an_area_lies_upon_the_whole_picture_where_turns_are_put_back_into_it(
    pipeline: Pipeline, pictures: Pictures, fit: str
) -> None:
    """A later turn's too: all that came in is what its marks are drawn upon."""
    brush = Mark(kind="brush", points=((0.4, 0.5),), width=0.5, mask=True)
    chain = Chain.start(pipeline, pictures(80, 160), fit=fit)
    for _ in range(2):
        made = chain.edit(pipeline, "make it red", steps=1, marks=(brush,), size="original", feather_px=0)
        changed = (made.picture != chain.picture).any(-1)[0]
        for axis, middle in ((1, 40), (0, 64)):
            first, last = changed.any(axis).nonzero()[[0, -1], 0].tolist()
            assert (first + last + 1) / 2 == pytest.approx(middle, abs=2)
            assert last + 1 - first == pytest.approx(40, abs=5), "as round as it was drawn"
        assert made.drawn_place() is None
        chain = made


def test_where_marks_lie_in_a_turn_s_own_picture(pipeline: Pipeline, pictures: Pictures) -> None:
    cropped = Chain.start(pipeline, pictures(40, 100))
    assert cropped.drawn_place() is None
    first = cropped.edit(pipeline, "", steps=1)
    assert first.drawn_place() == cropped.last.placement
    assert first.edit(pipeline, "", steps=1).drawn_place() is None, "drawn upon what the crop left"
    stretched = Chain.start(pipeline, pictures(40, 100), fit="stretch").edit(pipeline, "", steps=1)
    assert stretched.drawn_place() == stretched.last.placement
    for fit in ("pad", "none"):
        assert (
            Chain.start(pipeline, pictures(40, 100), fit=fit).edit(pipeline, "", steps=1).drawn_place()
            is None
        )
    put_back = cropped.edit(pipeline, "", steps=1, size="original")
    assert put_back.drawn_place() is None
    assert put_back.edit(pipeline, "", steps=1).drawn_place() == cropped.last.placement


def test_a_mask_lies_upon_a_picture_that_is_cropped(pipeline: Pipeline, pictures: Pictures) -> None:
    """Its own pixels stay, in the size that the fit has given it."""
    image, mask = pictures(40, 100), torch.zeros(40, 100)
    mask[:, 50:] = 1
    made = Chain.start(pipeline, image).edit(pipeline, "make it red", steps=1, mask=mask).last.image
    before = pipeline.canvas_of(image, "crop")
    assert made.shape == before.shape == (1, 32, 96, 3)
    assert torch.equal(made[:, :, :48], before[:, :, :48])
    assert not torch.equal(made[:, :, 48:], before[:, :, 48:])


def test_what_a_mask_keeps_has_no_marks(pipeline: Pipeline, pictures: Pictures) -> None:
    mask = torch.zeros(64, 64)
    mask[:, 32:] = 1
    start = Chain.start(pipeline, pictures(64, 64))
    made = start.edit(pipeline, "make it red", steps=2, mask=mask, marks=MARKS).last
    plain = start.edit(pipeline, "make it red", steps=2, mask=mask).last
    assert made.latents is not None
    assert plain.latents is not None
    assert torch.equal(made.image[:, :, :32], start.last.image[:, :, :32])
    assert not torch.allclose(made.latents[..., 4:], plain.latents[..., 4:], atol=1e-3), "they were seen"


def test_a_picture_alone_is_drawn_upon_as_it_is(pipeline: Pipeline, pictures: Pictures) -> None:
    chain = Chain((Turn(pictures(64, 64)),))
    made = chain.edit(pipeline, "", steps=1, marks=MARKS)
    by_hand = pipeline.edit("", [draw_marks(chain.last.image, MARKS)], steps=1)
    assert torch.equal(made.last.latents, by_hand.latents)


def test_a_strength_begins_from_the_turn_before_without_its_marks(
    pipeline: Pipeline, pictures: Pictures
) -> None:
    chain = Chain.start(pipeline, pictures(64, 64)).edit(pipeline, "make it red", steps=2)
    before, text = chain.last.latents, pipeline.encode_prompt("make it blue")
    assert before is not None
    turn = chain.edit(pipeline, "make it blue", steps=2, strength=0.5).last
    assert torch.equal(turn.latents, pipeline.sample(text, [before], start=before, strength=0.5, steps=2))
    assert turn.settings["strength"] == 0.5
    marked = chain.edit(pipeline, "make it blue", steps=2, strength=0, marks=MARKS).last
    assert torch.equal(marked.latents, before)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"anchor": True, "align": True},
        {"mask": torch.nn.functional.pad(torch.ones(16, 16), (8, 8, 8, 8))},
        {"strength": 0.5, "cfg_scale": 2.0, "negative_prompt": "red"},
        {"marks": MARKS},
    ],
    ids=["plain", "anchor and align", "mask", "strength and cfg", "marks"],
)
def test_candidates_are_the_turns_of_their_seeds(
    three: Chain, pipeline: Pipeline, pictures: Pictures, options: dict[str, Any]
) -> None:
    """In one batch as each by itself, to rounding; the record says nothing of the others."""
    given: dict[str, Any] = {"references": [pictures(32, 32)], "steps": 2, **options}
    branches = three.candidates(pipeline, "make it red", seeds=[3, 2**63, 5], **given)
    assert [branch.shared_turns(three) for branch in branches] == [len(three.turns)] * 3
    for branch, seed in zip(branches, (3, 2**63, 5), strict=True):
        alone = three.edit(pipeline, "make it red", seed=seed, **given).last
        assert branch.last.seed == alone.seed == seed
        assert branch.last.settings == alone.settings
        assert (branch.last.latents - alone.latents).norm() <= 1e-5 * alone.latents.norm()
        assert (branch.last.image - alone.image).abs().max() <= 1.01 / 255
        assert branch.last.image.shape == alone.image.shape


def test_seeds_and_a_batch_disagree(pipeline: Pipeline, pictures: Pictures) -> None:
    with pytest.raises(ValueError, match=r"^2 seeds make as many pictures|^batches of 2, 3 cannot"):
        pipeline.edit("x", [pictures(32, 32).expand(3, -1, -1, -1)], seeds=[1, 2], steps=1)
    with pytest.raises(ValueError, match=r"^1 seeds make as many pictures"):
        pipeline.edit("x", [pictures(32, 32).expand(3, -1, -1, -1)], seeds=[1], steps=1)
    with pytest.raises(ValueError, match=r"^batch is 0 and must be"):
        pipeline.edit("x", [pictures(32, 32)], seeds=[], steps=1)
    with pytest.raises(ValueError, match=r"^seed is 0.5 and must be"):
        pipeline.edit("x", [pictures(32, 32)], seeds=[0.5], steps=1)  # pyright: ignore[reportArgumentType]
