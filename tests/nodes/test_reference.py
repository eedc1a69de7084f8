"""Options of a reference: strength, region, budget, place."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from .conftest import picture

FAST = {"steps": 1, "seed": 7}
Run = Callable[..., Any]


@pytest.fixture
def sampled(run: Run, model: Any) -> Callable[..., torch.Tensor]:
    """`sampled(**options of the second reference)`: latents of an edit that looks at two pictures."""
    prompt = run("KontextEncodePrompt", model=model, text="make the circle red")[0]

    def sample(**options: Any) -> torch.Tensor:
        stack = run("KontextReference", image=picture(128, 128))[0]
        if options:
            image = options.pop("image", picture(128, 128, seed=1))
            stack = run("KontextReference", image=image, references=stack, **options)[0]
        return run("KontextSampler", model=model, prompt=prompt, references=stack, **FAST)[0]["samples"]

    return sample


def test_strength_nought_leaves_it_out_bit_by_bit(sampled: Callable[..., torch.Tensor]) -> None:
    assert torch.equal(sampled(strength=0.0), sampled())


def test_strength_counts(sampled: Callable[..., torch.Tensor]) -> None:
    plain = sampled(strength=1.0)
    assert not torch.equal(plain, sampled())
    assert not torch.equal(sampled(strength=0.5), plain)
    away = [(sampled(strength=s) - sampled()).norm() for s in (0.1, 1.0, 2.0)]
    assert away == sorted(away)


def test_a_region_is_a_part_of_the_tokens(
    run: Run, model: Any, sampled: Callable[..., torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = torch.zeros(1, 128, 128)
    mask[:, :32, :48] = 1.0
    lengths = []
    prepare = model.transformer.prepare
    monkeypatch.setattr(
        model.transformer, "prepare", lambda *args: lengths.append(args[3].shape[1]) or prepare(*args)
    )
    sampled(region=mask)
    assert lengths == [64 + 6], "2 x 3 tokens of the second ride along"
    made = run("KontextReference", image=picture(128, 128), region=mask, model=model)
    assert made.ui.as_dict()["text"][0] == "128 x 128 px, a region of its 64 tokens"


def test_a_region_lies_where_the_fitted_picture_does(
    run: Run, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a wide picture that is padded, the middle rows of the canvas."""
    stack = run("KontextReference", image=picture(64, 128), fit="pad", region=torch.ones(1, 64, 128))[0]
    seen = []
    prepare = model.transformer.prepare
    monkeypatch.setattr(model.transformer, "prepare", lambda *args: seen.append(args[2]) or prepare(*args))
    prompt = run("KontextEncodePrompt", model=model, text="")[0]
    run("KontextSampler", model=model, prompt=prompt, references=stack, **FAST)
    rows = seen[0][0, 64:, 1]
    assert rows.unique().tolist() == [2, 3, 4, 5]
    assert len(rows) == 4 * 8


def test_a_budget_scales_down(run: Run, model: Any, sampled: Callable[..., torch.Tensor]) -> None:
    made = run("KontextReference", image=picture(128, 128), max_tokens=20, model=model)
    assert made.ui.as_dict()["text"][0] == "128 x 128 px, cropped to 64 x 64 px, 16 tokens"
    assert not torch.equal(sampled(max_tokens=20), sampled(max_tokens=0))
    assert torch.equal(sampled(max_tokens=64), sampled(max_tokens=0)), "it had no more"


def test_a_place_of_its_own(sampled: Callable[..., torch.Tensor]) -> None:
    by_layout = sampled(place="")
    assert torch.equal(sampled(place="2 0 0"), by_layout), (
        "where the layout of the tiny model puts the second"
    )
    assert not torch.equal(sampled(place="1, 8, 0"), by_layout)


@pytest.mark.parametrize("place", ["1 2", "1 2 3 4", "a b c", "-1 0 0", "1.5 0 0"])
def test_places_that_are_none(run: Run, place: str) -> None:
    with pytest.raises(ValueError, match="it must be empty, or three whole numbers from 0 up"):
        run("KontextReference", image=picture(128, 128), place=place)


@pytest.mark.parametrize(
    ("region", "sentence"),
    [
        (torch.zeros(1, 64, 64), "the region mask marks nothing"),
        (torch.zeros(0, 64, 64), r"the region mask \(0, 64, 64\) must be"),
        (torch.ones(3, 64, 64), "the region is a batch of 3 masks"),
        (torch.full((1, 64, 64), torch.nan), "not finite"),
    ],
)
def test_unusable_regions(sampled: Callable[..., torch.Tensor], region: torch.Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        sampled(region=region)


def test_a_region_of_another_size_is_stretched_over_the_picture(
    sampled: Callable[..., torch.Tensor],
) -> None:
    small, large = torch.zeros(1, 8, 8), torch.zeros(1, 256, 256)
    small[:, :4], large[:, :128] = 1.0, 1.0
    assert torch.equal(sampled(region=small), sampled(region=large))


def test_all_of_the_region_is_all_of_the_picture(sampled: Callable[..., torch.Tensor]) -> None:
    assert torch.equal(sampled(region=torch.ones(1, 128, 128)), sampled(strength=1.0))


def test_a_turn_keeps_the_picture_and_takes_the_strength(run: Run, model: Any) -> None:
    image = picture(128, 128, seed=1)
    chains = []
    for strength in (0.0, 1.0):
        stack = run("KontextReference", image=image, strength=strength)[0]
        chains.append(run("KontextTurn", model=model, image=picture(128, 128), references=stack, **FAST)[0])
    plain = run("KontextTurn", model=model, image=picture(128, 128), **FAST)[0]
    assert torch.equal(chains[0].last.latents, plain.last.latents)
    assert not torch.equal(chains[1].last.latents, plain.last.latents)
    assert torch.equal(chains[1].last.references[0], image)


def test_a_name_is_shown_and_changes_nothing(run: Run, sampled: Callable[..., torch.Tensor]) -> None:
    one = run("KontextReference", image=picture(128, 128))[0]
    made = run("KontextReference", image=picture(128, 128), references=one, name=" the hat ")
    assert made.ui.as_dict()["text"][0].startswith("the hat: 128 x 128 px")
    assert torch.equal(sampled(name="the hat"), sampled(name=""))
