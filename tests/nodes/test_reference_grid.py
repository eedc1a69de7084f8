"""Many pictures at once: in a row, stitched, or one result each."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from .conftest import picture

Run = Callable[..., Any]


@pytest.fixture
def grid(run: Run) -> Callable[..., Any]:
    """The stack that a grid makes, of lists as ComfyUI gives them."""

    def make(arrange: str = "one reference each", **inputs: Any) -> Any:
        return run("KontextReferenceGrid", fit=["none"], arrange=[arrange], **inputs)

    return make


def test_pictures_batches_and_lists_in_order(grid: Callable[..., Any]) -> None:
    batch, single, other = picture(16, 16, batch=2), picture(32, 16, seed=1), picture(16, 48, seed=2)
    stack = grid(image_1=[batch, single], image_3=[other])[0]
    wanted = [batch[:1], batch[1:], single, other]
    assert all(torch.equal(one.picture, picture) for one, picture in zip(stack, wanted, strict=True))


def test_it_goes_on_from_a_stack_and_says_so(grid: Callable[..., Any]) -> None:
    before = grid(image_1=[picture(16, 16)])[0]
    made = grid(image_1=[picture(32, 16)], references=[before])
    assert made[0][:1] == before
    assert made.ui.as_dict()["text"] == ("image_1: 16 x 32 px, 2 tokens",)


def test_it_says_of_each_picture_which_one_it_is(grid: Callable[..., Any]) -> None:
    batch, other = picture(16, 16, batch=2), picture(32, 16, seed=1)

    def lines(**inputs: Any) -> list[str]:
        (text,) = grid(image_2=[batch], image_4=[other], **inputs).ui.as_dict()["text"]
        return text.splitlines()

    assert lines() == [
        "image_2, 1 of 2: 16 x 16 px, 1 tokens",
        "image_2, 2 of 2: 16 x 16 px, 1 tokens",
        "image_4: 16 x 32 px, 2 tokens",
    ]
    (stitched,) = lines(arrange="stitched into one")
    assert stitched.startswith("image_2, image_4: ")
    assert [line.split(":")[0] for line in lines(arrange="one result each")] == ["image_2", "image_4"]


def test_it_equals_single_references(run: Run, model: Any, grid: Callable[..., Any]) -> None:
    images = [picture(128, 128, seed=seed) for seed in range(3)]
    stack: Any = None
    for image in images:
        stack = run("KontextReference", image=image, fit="none", references=stack)[0]
    prompt = run("KontextEncodePrompt", model=model, text="make the circle red")[0]
    rows = [
        run("KontextSampler", model=model, prompt=prompt, references=one, steps=1)[0]["samples"]
        for one in (stack, grid(**{f"image_{i}": [image] for i, image in enumerate(images, start=1)})[0])
    ]
    assert torch.equal(*rows)


def test_stitched_into_one(grid: Callable[..., Any]) -> None:
    (one,) = grid("stitched into one", image_1=[picture(16, 16)], image_2=[picture(32, 32)])[0]
    assert one.picture.shape == (1, 16, 32, 3)


def test_one_result_each(run: Run, model: Any, grid: Callable[..., Any]) -> None:
    first = [picture(128, 128, seed=1), picture(128, 128, batch=2, seed=2)]
    shown = picture(64, 64)
    stack = grid("one result each", image_1=first, image_2=[shown])[0]
    assert [one.picture.shape[0] for one in stack] == [3, 1]
    prompt = run("KontextEncodePrompt", model=model, text="make the circle red")[0]
    made = run("KontextSampler", model=model, prompt=prompt, references=stack, steps=1)[0]["samples"]
    assert made.shape == (3, 16, 16, 16)


def test_results_of_one_run_have_one_size(grid: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match="32 x 16, 16 x 32 px: scale them to one size"):
        grid("one result each", image_1=[picture(16, 32), picture(32, 16)])


def test_a_grid_of_nothing(grid: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match="this grid needs a picture"):
        grid()


def test_seventeen_references_are_sampled(run: Run, model: Any, grid: Callable[..., Any]) -> None:
    stack = grid(image_1=[picture(16, 16, batch=17)])[0]
    assert len(stack) == 17
    prompt = run("KontextEncodePrompt", model=model, text="")[0]
    made = run("KontextSampler", model=model, prompt=prompt, references=stack, steps=1, width=128, height=128)
    assert bool(made[0]["samples"].isfinite().all())
