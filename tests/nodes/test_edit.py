"""The nodes on a model of random weights: what they output, not what they paint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from .conftest import picture

FAST = {"steps": 2, "seed": 7}


def same(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and torch.allclose(left, right, atol=1e-5)


@pytest.fixture
def prompt(run: Callable[..., Any], model: Any) -> Any:
    """A KONTEXT_PROMPT."""
    return run("KontextEncodePrompt", model=model, text="make the circle red")[0]


def test_prompt_holds_the_words(run: Callable[..., Any], model: Any) -> None:
    made = run("KontextEncodePrompt", model=model, text="a", negative="b")[0]
    assert (made.text, made.negative) == ("a", "b")


def test_edit_is_prompt_reference_sampler_and_decoder(
    run: Callable[..., Any], model: Any, prompt: Any, image: Tensor
) -> None:
    references = run("KontextReference", image=image)[0]
    latent = run("KontextSampler", model=model, prompt=prompt, references=references, **FAST)[0]
    decoded = run("KontextDecode", model=model, latent=latent)[0]
    edited, edited_latent = run(
        "KontextEdit", model=model, image=image, instruction=prompt.text, **FAST
    ).args[:2]
    assert torch.equal(edited, decoded)
    assert torch.equal(edited_latent["samples"], latent["samples"])
    assert edited.shape == image.shape
    assert edited.device.type == edited_latent["samples"].device.type == "cpu"


def test_edit_is_the_cores(run: Callable[..., Any], model: Any, image: Tensor) -> None:
    edited = run("KontextEdit", model=model, image=image, instruction="make the circle red", **FAST)[0]
    assert torch.equal(edited, model.edit("make the circle red", [image], **FAST).image)


def test_turns_go_on_from_image_and_from_latent(run: Callable[..., Any], model: Any, image: Tensor) -> None:
    first_image, first_latent = run("KontextEdit", model=model, image=image, **FAST).args[:2]
    by_image = run("KontextEdit", model=model, image=first_image, **FAST)[0]
    assert by_image.shape == image.shape
    calls = []
    encode, model.encode = model.encode, lambda *args: calls.append(args) or encode(*args)
    try:
        by_latent = run("KontextEdit", model=model, latent=first_latent, **FAST)[0]
    finally:
        model.encode = encode
    assert not calls  # no second trip through the autoencoder
    assert by_latent.shape == image.shape
    ours = model.edit("", [image], **FAST)
    assert same(by_latent, model.edit("", [ours.latents], **FAST).image)


def test_a_seed_is_a_picture(run: Callable[..., Any], model: Any, image: Tensor) -> None:
    make = {"model": model, "image": image, "steps": 2}
    first, again, other = (run("KontextEdit", **make, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_inputs_are_left_as_they_are(run: Callable[..., Any], model: Any, image: Tensor) -> None:
    before = image.clone()
    latent = run("KontextEncode", model=model, image=image)[0]
    samples = latent["samples"].clone()
    run("KontextEdit", model=model, image=image, **FAST)
    run("KontextEdit", model=model, latent=latent, **FAST)
    assert torch.equal(image, before)
    assert torch.equal(latent["samples"], samples)


@pytest.mark.parametrize("text", ["", "   \n\t"])
def test_empty_instruction_is_no_instruction(
    run: Callable[..., Any], model: Any, image: Tensor, text: str
) -> None:
    empty = run("KontextEdit", model=model, image=image, instruction="", **FAST)[0]
    assert torch.equal(run("KontextEdit", model=model, image=image, instruction=text, **FAST)[0], empty)
    assert run("KontextEncodePrompt", model=model, text=text)[0].text == text


def test_cfg_uses_the_negative_text(run: Callable[..., Any], model: Any, image: Tensor) -> None:
    references = run("KontextReference", image=image)[0]
    results = []
    for negative, cfg in (("", 1.0), ("red", 1.0), ("", 3.0), ("red", 3.0)):
        words = run("KontextEncodePrompt", model=model, text="make the circle red", negative=negative)[0]
        made = run("KontextSampler", model=model, prompt=words, references=references, cfg=cfg, **FAST)[0]
        results.append(made["samples"])
    assert torch.equal(results[0], results[1])
    assert not same(results[0], results[2])
    assert not same(results[2], results[3])


def test_text_alone_makes_a_picture_of_the_models_size(
    run: Callable[..., Any], model: Any, prompt: Any
) -> None:
    assert run("KontextSampler", model=model, prompt=prompt, **FAST)[0]["samples"].shape == (1, 16, 16, 16)


def test_asked_size_wins(run: Callable[..., Any], model: Any, prompt: Any, image: Tensor) -> None:
    references = run("KontextReference", image=image)[0]
    size = {"width": 64, "height": 96}
    made = run("KontextSampler", model=model, prompt=prompt, references=references, **size, **FAST)[0]
    assert made["samples"].shape == (1, 16, 12, 8)


def test_size_between_multiples_of_16_is_rounded_and_said(
    run: Callable[..., Any], model: Any, prompt: Any
) -> None:
    made = run("KontextSampler", model=model, prompt=prompt, width=100, height=41, **FAST)
    assert made[0]["samples"].shape == (1, 16, 6, 12)
    assert made.ui.as_dict()["text"] == ("100 x 41 px is not a multiple of 16 px; making 96 x 48",)


def test_batch_makes_different_pictures(run: Callable[..., Any], model: Any, prompt: Any) -> None:
    made = run("KontextSampler", model=model, prompt=prompt, batch=3, **FAST)[0]["samples"]
    assert made.shape[0] == 3
    assert not same(made[0], made[1])


def test_pictures_of_a_batch_are_not_mixed_up(run: Callable[..., Any], model: Any) -> None:
    first, second, third = (picture(128, 128, seed=seed) for seed in (11, 12, 13))
    encoded = {
        pair: run("KontextEncode", model=model, image=torch.cat(images))[0]["samples"]
        for pair, images in {
            "12": (first, second), "21": (second, first), "13": (first, third), "11": (first, first),
        }.items()
    }  # fmt: skip
    alone = [run("KontextEncode", model=model, image=one)[0]["samples"][0] for one in (first, second, third)]
    for pair, samples in encoded.items():
        for position, which in enumerate(pair):
            assert torch.allclose(samples[position], alone[int(which) - 1], atol=1e-4), (pair, position)
    edits = run("KontextEdit", model=model, image=torch.cat([first, second]), **FAST)[0]
    swapped = run("KontextEdit", model=model, image=torch.cat([second, first]), **FAST)[0]
    assert edits.shape[0] == 2
    assert not same(edits, swapped.flip(0))  # each place in the batch has noise of its own


def test_batches_that_disagree_are_refused(run: Callable[..., Any], model: Any, prompt: Any) -> None:
    references = run("KontextReference", image=picture(128, 128, batch=2))[0]
    with pytest.raises(ValueError, match="batches of 2, 3 cannot be combined"):
        run("KontextSampler", model=model, prompt=prompt, references=references, batch=3, **FAST)


def test_layout_of_several_references_counts(
    run: Callable[..., Any], model: Any, prompt: Any, image: Tensor
) -> None:
    stack = run("KontextReference", image=image)[0]
    stack = run("KontextReference", image=image.flip(1), references=stack)[0]
    made = {
        layout: run("KontextSampler", model=model, prompt=prompt, references=stack, layout=layout, **FAST)[0]
        for layout in ("auto", "index", "offset", "diagonal")
    }
    samples = {layout: latent["samples"] for layout, latent in made.items()}
    assert torch.equal(samples["auto"], samples[model.transformer.config.layout])
    assert not same(samples["index"], samples["offset"])
    assert not same(samples["index"], samples["diagonal"])


def test_shift_zero_is_the_papers(run: Callable[..., Any], model: Any, prompt: Any) -> None:
    from math import exp

    make = {"model": model, "prompt": prompt, **FAST}
    auto = run("KontextSampler", **make)[0]["samples"]
    papers = run("KontextSampler", **make, shift=exp(0.4675))[0]["samples"]  # mu at 64 tokens
    even = run("KontextSampler", **make, shift=1.0)[0]["samples"]
    assert torch.allclose(auto, papers, atol=1e-4)
    assert not same(auto, even)


def test_start_and_strength(run: Callable[..., Any], model: Any, prompt: Any, image: Tensor) -> None:
    start = run("KontextEncode", model=model, image=image)[0]
    make = {"model": model, "prompt": prompt, "start": start, "steps": 4, "seed": 7}
    kept = run("KontextSampler", **make, strength=0.0)[0]["samples"]
    fresh = run("KontextSampler", **make, strength=1.0)[0]["samples"]
    half = run("KontextSampler", **make, strength=0.5)[0]["samples"]
    plain = run("KontextSampler", model=model, prompt=prompt, steps=4, seed=7)[0]["samples"]
    assert same(kept, start["samples"])
    assert same(fresh, plain)
    assert not same(half, kept)
    assert not same(half, fresh)


@pytest.mark.parametrize("on_latent", [True, False])
def test_mask_keeps_the_start(
    run: Callable[..., Any], model: Any, prompt: Any, image: Tensor, on_latent: bool
) -> None:
    start = run("KontextEncode", model=model, image=image)[0]
    mask = torch.zeros(1, 128, 128)
    mask[:, :, 64:] = 1
    extra = {"start": start | {"noise_mask": mask}} if on_latent else {"start": start, "mask": mask}
    made = run("KontextSampler", model=model, prompt=prompt, **extra, **FAST)[0]["samples"]
    assert torch.allclose(made[..., :7], start["samples"][..., :7], atol=1e-4)
    assert not torch.allclose(made[..., 9:], start["samples"][..., 9:], atol=1e-2)


def test_each_picture_has_the_mask_of_its_place(
    run: Callable[..., Any], model: Any, prompt: Any, image: Tensor
) -> None:
    start = run("KontextEncode", model=model, image=image)[0]
    masks = torch.stack([torch.zeros(128, 128), torch.ones(128, 128)])
    made = run("KontextSampler", model=model, prompt=prompt, start=start, mask=masks, **FAST)[0]["samples"]
    assert made.shape[0] == 2
    assert torch.allclose(made[0], start["samples"][0], atol=1e-4)
    assert not torch.allclose(made[1], start["samples"][0], atol=1e-2)
    with pytest.raises(ValueError, match="batches of 2, 3 cannot be combined"):
        run("KontextSampler", model=model, prompt=prompt, start=start, mask=masks, batch=3, **FAST)


def test_mask_without_start_is_refused(run: Callable[..., Any], model: Any, prompt: Any) -> None:
    with pytest.raises(ValueError, match="connect 'start', or disconnect 'mask'"):
        run("KontextSampler", model=model, prompt=prompt, mask=torch.ones(1, 8, 8), **FAST)


def test_start_decides_the_size(run: Callable[..., Any], model: Any, prompt: Any) -> None:
    start = {"samples": torch.zeros(1, 16, 8, 8)}
    assert run("KontextSampler", model=model, prompt=prompt, start=start, width=64, **FAST)
    with pytest.raises(
        ValueError, match=r"requested size is 128 x 64 px, but 'start' is 64 x 64 px: leave width and"
    ):
        run("KontextSampler", model=model, prompt=prompt, start=start, width=128, **FAST)


def test_strength_without_start_is_refused(run: Callable[..., Any], model: Any, prompt: Any) -> None:
    with pytest.raises(ValueError, match="needs start latents"):
        run("KontextSampler", model=model, prompt=prompt, strength=0.5, **FAST)


def test_odd_latents_go_through(run: Callable[..., Any], model: Any) -> None:
    latent = {"samples": torch.randn(1, 16, 15, 13)}
    made, out = run("KontextEdit", model=model, latent=latent, **FAST).args[:2]
    assert out["samples"].shape == (1, 16, 15, 13)
    assert made.shape == (1, 120, 104, 3)
    assert run("KontextDecode", model=model, latent=latent)[0].shape == (1, 120, 104, 3)


@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60), (128, 128), (1, 1), (7, 250)])
def test_pad_is_undone_exactly(run: Callable[..., Any], model: Any, height: int, width: int) -> None:
    image = picture(height, width)
    made, latent = run("KontextEdit", model=model, image=image, fit="pad", **FAST).args[:2]
    scale = 128 / max(height, width)
    expected = max(round(height * scale), 1), max(round(width * scale), 1)
    assert made.shape[1:3] == expected
    assert latent["samples"].shape == (1, 16, 16, 16)
    assert torch.equal(run("KontextDecode", model=model, latent=latent)[0], made)
    again, _ = run("KontextEdit", model=model, latent=latent, **FAST).args[
        :2
    ]  # nor is it seen in the turn after
    assert again.shape == made.shape


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_other_fits_fill_the_canvas(run: Callable[..., Any], model: Any, fit: str) -> None:
    assert run("KontextEdit", model=model, image=picture(60, 100), fit=fit, **FAST)[0].shape == (
        1,
        128,
        128,
        3,
    )


def test_fit_none_keeps_every_pixel(run: Callable[..., Any], model: Any) -> None:
    image = picture(50, 70)
    assert run("KontextEdit", model=model, image=image, fit="none", **FAST)[0].shape == image.shape
    latent = run("KontextEncode", model=model, image=image)[0]
    assert latent["samples"].shape == (1, 16, 8, 10)
    assert run("KontextDecode", model=model, latent=latent)[0].shape == image.shape


def test_pictures_with_alpha_and_grey_ones(run: Callable[..., Any], model: Any) -> None:
    for channels in (1, 4):
        image = picture(32, 32, channels=channels)
        assert run("KontextEdit", model=model, image=image, **FAST)[0].shape == (1, 128, 128, 3)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch", "none"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (10, 20000)])
def test_odd_shapes_of_pictures(
    run: Callable[..., Any], model: Any, fit: str, height: int, width: int
) -> None:
    if fit == "none":
        made = run("KontextReference", image=picture(height, width), fit=fit, model=model)
        assert "filled up to" in made.ui.as_dict()["text"][0]
        return
    made = run("KontextEdit", model=model, image=picture(height, width), fit=fit, steps=1)[0]
    assert made.shape[1] * made.shape[2] > 0
    assert bool(torch.isfinite(made).all())


@pytest.mark.parametrize("node_id", ["KontextEdit", "KontextEncode", "KontextReference"])
@pytest.mark.parametrize(
    ("image", "said"),
    [
        (torch.zeros(0, 8, 8, 3), "holds nothing: 0 frames"),
        (torch.zeros(1, 0, 8, 3), "holds nothing"),
        (torch.full((1, 8, 8, 3), torch.nan), "not finite"),
        (torch.full((1, 8, 8, 3), torch.inf), "not finite"),
        (torch.zeros(8, 8, 3), "must be"),
        (torch.zeros(1, 8, 8, 5), "must be"),
    ],
)
def test_unusable_pictures_are_refused_in_a_sentence(
    run: Callable[..., Any], model: Any, node_id: str, image: Tensor, said: str
) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        run(node_id, model=model, image=image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("node_id", ["KontextEdit", "KontextReference"])
def test_image_or_latent_and_not_both(
    run: Callable[..., Any], model: Any, image: Tensor, node_id: str
) -> None:
    latent = {"samples": torch.zeros(1, 16, 16, 16)}
    with pytest.raises(ValueError, match="needs a picture: connect 'image', or 'latent'"):
        run(node_id, model=model)
    with pytest.raises(ValueError, match="are both connected: disconnect one"):
        run(node_id, model=model, image=image, latent=latent)


def test_stack_of_seventeen(run: Callable[..., Any], model: Any, prompt: Any) -> None:
    stack = None
    for seed in range(17):
        made = run(
            "KontextReference", image=picture(64, 64, seed=seed), references=stack, fit="none", model=model
        )
        stack = made[0]
        assert made.ui.as_dict()["text"] == ("64 x 64 px, 16 tokens",)
    assert len(stack) == 17
    for layout in ("index", "offset", "diagonal"):
        latent = run("KontextSampler", model=model, prompt=prompt, references=stack, layout=layout, **FAST)[0]
        assert latent["samples"].shape == (1, 16, 8, 8)
        assert bool(torch.isfinite(latent["samples"]).all())
    assert run("KontextEdit", model=model, image=picture(64, 64), references=stack, **FAST)[0].shape[0] == 1


def test_a_stack_is_not_changed_by_building_on_it(run: Callable[..., Any], image: Tensor) -> None:
    first = run("KontextReference", image=image)[0]
    run("KontextReference", image=image, references=first)
    assert len(first) == 1


def test_reference_says_size_and_tokens(run: Callable[..., Any], model: Any) -> None:
    def said(**inputs: Any) -> str:
        return run("KontextReference", **inputs).ui.as_dict()["text"][0]

    photo = picture(480, 640)
    assert said(image=photo, model=model) == "640 x 480 px, cropped to 128 x 128 px, 64 tokens"
    published = (
        "640 x 480 px, padded to 1184 x 880 px, 4070 tokens (published model; connect yours to be sure)"
    )
    assert said(image=photo, fit="pad") == f"{published}"
    assert said(image=photo, fit="none") == "640 x 480 px, 1200 tokens"
    latent = {"samples": torch.zeros(1, 16, 15, 16)}
    assert said(latent=latent) == "a latent of 128 x 120 px, 64 tokens"


def test_a_reference_is_encoded_once(run: Callable[..., Any], model: Any, prompt: Any) -> None:
    references = run("KontextReference", image=picture(128, 128, seed=99))[0]
    calls = []
    encode, model.encode = model.encode, lambda *args: calls.append(args) or encode(*args)
    try:
        for seed in (1, 2):
            run("KontextSampler", model=model, prompt=prompt, references=references, steps=1, seed=seed)
    finally:
        model.encode = encode
    assert len(calls) == 1


def test_printing_a_reference_is_short(run: Callable[..., Any], image: Tensor) -> None:
    references = run("KontextReference", image=image)[0]
    assert str(references) == "(Reference(picture, crop, (1, 128, 128, 3)),)"


def test_latents_of_a_foreign_autoencoder_are_refused(
    run: Callable[..., Any], model: Any, prompt: Any
) -> None:
    for inputs in ({"latent": {"samples": torch.zeros(1, 4, 8, 8)}},):
        with pytest.raises(ValueError, match="this LATENT is"):
            run("KontextEdit", model=model, **inputs, **FAST)
        with pytest.raises(ValueError, match="this LATENT is"):
            run("KontextDecode", model=model, **inputs)


def test_long_prompt_is_said_in_the_node(run: Callable[..., Any], model: Any) -> None:
    made = run("KontextEncodePrompt", model=model, text="make the circle red " * 20 + "and not blue")
    note = made.ui.as_dict()["text"][0]
    assert "the 32 tokens of T5, so this is cut off: 'red make the circle red" in note
    assert "characters more" in note


def test_model_files_are_not_touched(random_model: Path, model: Any) -> None:
    assert model is not None
    assert {path.name for path in random_model.iterdir()} >= {"ae.safetensors", "text_encoder", "tokenizer_2"}
    assert not list(random_model.rglob("*.part"))
