"""Scoring: no wrong answer passes, and pictures that a person calls the same do."""

import random
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise, permutations

import pytest
import torch
from torch import Tensor

from kontext_core.world import TOLERANCE, Scene, Thing, Word, cell_errors, draw, psnr, random_scene, right
from kontext_core.world.language import WORDS
from kontext_core.world.scenes import (
    BACKGROUNDS,
    CELL_PX,
    COLOURS,
    SHAPES,
    SIZES,
    STYLES,
    clear_colours,
    distance,
    shown,
)
from kontext_core.world.sheet import blurred, borderline_cases, borderline_sheet, sample_sheet, shifted
from kontext_core.world.single import LOOKS, PLAIN

EVERY_LOOK = [PLAIN, *LOOKS]
Look = tuple[str, str]


def cell_pictures(scenes: list[Scene]) -> Tensor:
    """The cell (1, 1) of each scene."""
    return draw(scenes)[:, :, CELL_PX : 2 * CELL_PX, CELL_PX : 2 * CELL_PX]


def nearest(pairs: Iterator[tuple[Scene, Scene]]) -> tuple[float, tuple[Scene, Scene]]:
    """The least error of a wrong answer, and which it was."""
    listed = list(pairs)
    scenes = list({scene: None for pair in listed for scene in pair})
    index = {scene: i for i, scene in enumerate(scenes)}
    pictures = cell_pictures(scenes)
    chosen = torch.tensor([(index[true], index[false]) for true, false in listed])
    errors = cell_errors(pictures[chosen[:, 1]], pictures[chosen[:, 0]]).flatten()
    return errors.min().item(), listed[int(errors.argmin())]


def alone(background: str, look: Look, style: str, shape: str, colour: str, size: str) -> Scene:
    return Scene(background, (Thing(shape, colour, size, 1, 1),), None, style, *look)


def faintest(look: Look) -> tuple[str, str]:
    """The background and the colour on it that stand out least."""
    pairs = [
        (background, colour) for background in BACKGROUNDS for colour in clear_colours(background, *look)
    ]
    return min(
        pairs,
        key=lambda pair: distance(
            shown(COLOURS[pair[1]], *look, is_background=False),
            shown(BACKGROUNDS[pair[0]], *look, is_background=True),
        ),
    )


@pytest.mark.parametrize("look", EVERY_LOOK)
def test_a_wrong_shape_is_wrong_where_it_is_faintest(look: Look) -> None:
    background, colour = faintest(look)
    error, pair = nearest(
        (alone(background, look, style, a, colour, size), alone(background, look, style, b, colour, size))
        for style in STYLES
        for size in SIZES
        for a, b in permutations(SHAPES, 2)
    )
    assert error > TOLERANCE, pair


@pytest.mark.parametrize("look", EVERY_LOOK)
def test_a_wrong_size_a_missing_and_an_extra_thing_are_wrong(look: Look) -> None:
    background, colour = faintest(look)
    empty = Scene(background, (), None, "solid", *look)
    for style in STYLES:
        for shape in SHAPES:
            small, big = (alone(background, look, style, shape, colour, size) for size in SIZES)
            error, pair = nearest(iter(permutations((small, big, empty), 2)))
            assert error > TOLERANCE, pair


@pytest.mark.parametrize("look", EVERY_LOOK)
def test_a_wrong_colour_is_wrong_on_every_background(look: Look) -> None:
    error, pair = nearest(
        (
            alone(background, look, style, "circle", a, "small"),
            alone(background, look, style, "circle", b, "small"),
        )
        for background in BACKGROUNDS
        for style in STYLES
        for a, b in permutations(clear_colours(background, *look), 2)
    )
    assert error > TOLERANCE, pair


@pytest.mark.parametrize("look", EVERY_LOOK)
def test_a_wrong_style_is_wrong_for_every_thing(look: Look) -> None:
    error, pair = nearest(
        (
            alone(background, look, a, shape, colour, "small"),
            alone(background, look, b, shape, colour, "small"),
        )
        for background in BACKGROUNDS
        for colour in clear_colours(background, *look)
        for shape in ("circle", "moon", "diamond")
        for a, b in permutations(STYLES, 2)
    )
    assert error > TOLERANCE, pair


def test_a_wrong_background_is_wrong() -> None:
    for palette, time in EVERY_LOOK:
        pictures = draw([Scene(background, palette=palette, time=time) for background in BACKGROUNDS])
        for a, b in combinations(pictures, 2):
            assert not right(a[None], b[None])


def test_a_wrong_word_is_wrong_where_it_is_faintest() -> None:
    background, colour = faintest(PLAIN)
    close = [("hut", "mut"), ("owl", "qwl"), ("van", "vat"), ("dog", "oog"), ("pig", "pio"), ("bee", "ree")]
    pairs = [*pairwise(WORDS), *close]
    truth, output = (
        draw([Scene(background, (), Word(word, colour, 1, 0)) for word in words])[:, :, CELL_PX : 2 * CELL_PX]
        for words in zip(*pairs, strict=True)
    )
    assert not right(output, truth).any()
    assert right(truth, truth).all()


def test_a_thing_a_quarter_cell_off_is_wrong() -> None:
    rng = random.Random(0)
    truth = draw([random_scene(rng) for _ in range(40)])
    assert not right(truth.roll(8, 3), truth).any()
    assert not right(truth.roll(8, 2), truth).any()


def share_right(flaw: Callable[[Tensor], Tensor]) -> float:
    """How many random pictures still count as right with this flaw."""
    torch.manual_seed(0)
    rng = random.Random(1)
    truth = draw([random_scene(rng, least=2) for _ in range(40)])
    return right(torch.stack([flaw(picture) for picture in truth]), truth).float().mean().item()


@pytest.mark.parametrize(
    "flaw",
    [
        lambda picture: picture,
        lambda picture: blurred(picture, 0.8),
        lambda picture: picture + 0.03,
        lambda picture: picture + 0.03 * torch.randn_like(picture),
        lambda picture: blurred(picture, 0.6) - 0.02 + 0.02 * torch.randn_like(picture),
    ],
    ids=["none", "blur", "offset", "noise", "all"],
)
def test_what_a_person_calls_the_same_passes(flaw: Callable[[Tensor], Tensor]) -> None:
    assert share_right(flaw) == 1


@pytest.mark.parametrize(
    "flaw",
    [
        lambda picture: blurred(picture, 3),
        lambda picture: picture + 0.1,
        lambda picture: picture + 0.1 * torch.randn_like(picture),
    ],
    ids=["blur", "offset", "noise"],
)
def test_what_a_person_calls_spoilt_fails(flaw: Callable[[Tensor], Tensor]) -> None:
    assert share_right(flaw) < 0.1


def test_one_pixel_off_passes() -> None:
    rng = random.Random(2)
    scenes = [random_scene(rng, most=2, word=False) for _ in range(100)]
    inner = [
        scene for scene in scenes if all(0 < thing.row < 3 and 0 < thing.col < 3 for thing in scene.things)
    ]
    truth = draw(inner)
    assert len(inner) > 5
    for down, along in ((1, 0), (0, -1), (1, 1)):
        assert right(truth.roll((down, along), (2, 3)), truth).all()
    assert not right(truth.roll(4, 3), truth).any()


def test_a_ghost_of_a_removed_thing_is_wrong() -> None:
    there, gone = draw([Scene("sand", (Thing("diamond", "white", "small", 1, 1),)), Scene("sand")])
    assert right(torch.lerp(gone, there, 0.1)[None], gone[None])
    assert not right(torch.lerp(gone, there, 0.3)[None], gone[None])


def test_errors_stay_in_their_cell() -> None:
    truth = draw([Scene("sky")])
    output = truth.clone()
    output[:, :, 40:56, 70:80] += 0.2
    errors = cell_errors(output, truth)
    assert errors.shape == (1, 4, 4)
    assert (errors > TOLERANCE).nonzero().tolist() == [[0, 1, 2]]


def test_psnr_counts_only_masked_cells() -> None:
    truth = torch.zeros(2, 3, 128, 128)
    output = truth.clone()
    output[:, :, :32, :32] = 0.5
    output[1] += 0.1
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[0, 0] = False
    values = psnr(output, truth, mask)
    assert values[0] == torch.inf
    assert values[1].item() == pytest.approx(20, abs=1e-3)
    assert psnr(output, truth)[0].item() == pytest.approx(
        -10 * torch.log10(torch.tensor(0.25 / 16)).item(), abs=1e-3
    )
    assert psnr(output, truth, torch.zeros_like(mask)).isnan().all()


def test_the_sheet_shows_cases_on_both_sides_of_the_tolerance() -> None:
    cases = borderline_cases()
    flaws, wrong = cases[:12], cases[12:]
    assert all(a.error < TOLERANCE < b.error for a, b in zip(flaws[::2], flaws[1::2], strict=True))
    assert all(case.error > TOLERANCE for case in wrong)
    assert borderline_sheet().width > 600
    assert sample_sheet(random.Random(0), 2, ("recolour", "three")).height > 300


def test_shifted_by_whole_pixels_is_a_roll() -> None:
    picture = draw([Scene("sky", (Thing("star", "red", "big", 1, 1),))])[0]
    assert torch.equal(shifted(picture, 3), picture.roll(3, 2))
