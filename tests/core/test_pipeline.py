import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import kontext_core.editor as module
from kontext_core.errors import CheckpointError, TooLittleMemoryError
from kontext_core.images.fitting import fit_image, undo_fit
from kontext_core.images.picture_files import from_pil
from kontext_core.loading import save_model
from kontext_core.memory import model_weights
from kontext_core.model.latents import noise
from kontext_core.pipeline import Edit, Pipeline
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.schedule import shift_mu, sigmas

Pictures = Callable[..., Tensor]
PROMPT = "make the red circle blue"
FAST: dict[str, Any] = {"steps": 2}


@pytest.fixture
def fresh(pipeline: Pipeline) -> Pipeline:
    """The same weights; nothing kept from earlier tests."""
    return Pipeline(pipeline.transformer, pipeline.vae, pipeline.text)


@pytest.fixture
def encodings(fresh: Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of every picture that went through `fresh`'s autoencoder."""
    seen: list[tuple[int, ...]] = []
    encode = fresh.vae.encode

    def watched(image: Tensor) -> Tensor:
        seen.append(tuple(image.shape))
        return encode(image)

    monkeypatch.setattr(fresh.vae, "encode", watched)
    return seen


def test_edit_is_made_of_its_parts(
    pipeline: Pipeline, pictures: Pictures, assert_close: Callable[..., float]
) -> None:
    """From pixels in [0, 1] through latents and back, by the functions that have tests of their own."""
    image = pictures(64, 64)
    edit = pipeline.edit(PROMPT, [image], seed=3, guidance=4.0, **FAST)
    txt, pooled = pipeline.text.encode(PROMPT)
    reference = pipeline.vae.encode(image.permute(0, 3, 1, 2) * 2 - 1)
    latents = denoise(
        pipeline.transformer,
        noise(1, 8, 8, seed=3),
        txt,
        pooled,
        sigmas(2, 16),
        references=[reference],
        layout="index",
    )
    assert_close(edit.latents, latents, 1e-6)
    expected = (pipeline.vae.decode(latents) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    assert_close(edit.image, expected, 1e-6)
    assert edit.seed == 3
    assert edit.settings["prompt"] == PROMPT


def test_repeatable_without_touching_global_state(pipeline: Pipeline, pictures: Pictures) -> None:
    before, modes = torch.get_rng_state(), (torch.is_grad_enabled(), torch.get_default_dtype())
    first = pipeline.edit(PROMPT, [pictures(64, 64)], seed=1, **FAST)
    assert torch.equal(torch.get_rng_state(), before)
    assert (torch.is_grad_enabled(), torch.get_default_dtype()) == modes
    torch.manual_seed(5)
    second = pipeline.edit(PROMPT, [pictures(64, 64)], seed=1, **FAST)
    assert torch.equal(first.image, second.image)
    assert not torch.equal(pipeline.edit(PROMPT, [pictures(64, 64)], seed=2, **FAST).image, first.image)


def test_words_alone_make_the_first_preferred_size(pipeline: Pipeline) -> None:
    assert pipeline.edit(PROMPT, **FAST).image.shape == (1, 64, 64, 3)


@pytest.mark.parametrize("prompt", ["", "   \n"])
def test_an_empty_prompt_means_no_instruction(pipeline: Pipeline, pictures: Pictures, prompt: str) -> None:
    edit = pipeline.edit(prompt, [pictures(64, 64)], **FAST)
    assert torch.equal(edit.image, pipeline.edit("", [pictures(64, 64)], **FAST).image)
    assert not torch.allclose(edit.latents, pipeline.edit(PROMPT, [pictures(64, 64)], **FAST).latents)


# Preferred are (64, 64), (32, 96) and (96, 32). Each row: the picture, fit, the latents' size,
# the picture that comes out.
@pytest.mark.parametrize(
    ("shape", "fit", "latents", "image"),
    [
        ((64, 64), "crop", (8, 8), (64, 64)),
        ((30, 30), "crop", (8, 8), (64, 64)),
        ((40, 100), "crop", (4, 12), (32, 96)),
        ((40, 100), "stretch", (4, 12), (32, 96)),
        ((40, 100), "pad", (4, 12), (32, 80)),
        ((40, 100), "none", (6, 14), (40, 100)),
        ((1, 1), "crop", (8, 8), (64, 64)),
        ((1, 1), "none", (2, 2), (1, 1)),
        ((10, 20_000), "crop", (4, 12), (32, 96)),
        ((10, 20_000), "pad", (4, 12), (1, 96)),
    ],
)
def test_size_follows_the_first_reference(
    pipeline: Pipeline,
    shape: tuple[int, int],
    fit: str,
    latents: tuple[int, int],
    image: tuple[int, int],
    pictures: Pictures,
) -> None:
    edit = pipeline.edit(PROMPT, [pictures(*shape), pictures(96, 32)], fit=fit, **FAST)
    assert edit.latents.shape == (1, 16, *latents)
    assert edit.image.shape == (1, *image, 3)


def test_pad_is_undone(pipeline: Pipeline, pictures: Pictures) -> None:
    image = pictures(40, 100)
    edit = pipeline.edit(PROMPT, [image], fit="pad", **FAST)
    _, place = fit_image(image, (32, 96), "pad")
    assert torch.equal(edit.image, undo_fit(pipeline.decode(edit.latents), place))
    second = pipeline.edit("make it green", [edit], **FAST)
    assert torch.equal(second.image, undo_fit(pipeline.decode(second.latents), place)), (
        "every turn is cut out"
    )


def test_size_asked_for(pipeline: Pipeline, pictures: Pictures, caplog: pytest.LogCaptureFixture) -> None:
    edit = pipeline.edit(PROMPT, [pictures(40, 100)], fit="pad", height_px=48, width_px=80, **FAST)
    assert edit.image.shape == (1, 48, 80, 3)
    one_side = pipeline.edit(PROMPT, [pictures(40, 100)], height_px=48, **FAST)
    assert one_side.image.shape == (1, 48, 96, 3)
    assert caplog.text == ""


def test_size_is_rounded_and_said(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        edit = pipeline.edit(PROMPT, height_px=50, width_px=70, **FAST)
    assert edit.image.shape == (1, 48, 64, 3)
    assert "70 x 50 px is not a multiple of 16 px; making 64 x 48" in caplog.text
    assert (edit.settings["height_px"], edit.settings["width_px"]) == (48, 64)


@pytest.mark.parametrize("side", [0, -16])
def test_no_size_at_all(pipeline: Pipeline, side: int) -> None:
    with pytest.raises(ValueError, match=f"height_px is {side} and must be a whole number from 1"):
        pipeline.edit(PROMPT, height_px=side)


def test_references_never_count_for_the_schedule(
    pipeline: Pipeline, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def watched(steps: int, n_target: int, *, mu: float | None = None) -> list[float]:
        asked.append((steps, n_target))
        return sigmas(steps, n_target, mu=mu)

    monkeypatch.setattr(module, "sigmas", watched)
    for count in (0, 1, 3):
        pipeline.edit(PROMPT, [pictures(64, 64)] * count, **FAST)
    pipeline.edit(PROMPT, [pictures(64, 64)], height_px=32, width_px=96, **FAST)
    assert asked == [(2, 16), (2, 16), (2, 16), (2, 12)]


def test_pil_and_tensors_are_the_same(pipeline: Pipeline) -> None:
    picture = Image.effect_noise((64, 64), 80).convert("RGB")
    from_tensor = pipeline.edit(PROMPT, [from_pil(picture)], **FAST)
    assert torch.equal(pipeline.edit(PROMPT, [picture], **FAST).image, from_tensor.image)


def test_latents_of_an_edit_need_no_second_encoding(
    fresh: Pipeline, encodings: list[tuple[int, ...]], pictures: Pictures
) -> None:
    first = fresh.edit(PROMPT, [pictures(64, 64)], **FAST)
    assert encodings == [(1, 3, 64, 64)]
    second = fresh.edit("make it green", [first], **FAST)
    assert len(encodings) == 1
    assert torch.equal(fresh.edit("make it green", [first.latents], **FAST).latents, second.latents)
    directly = fresh.sample(fresh.encode_prompt("make it green"), [first.latents], **FAST)
    assert torch.equal(second.latents, directly)
    again = fresh.edit("make it green", [first.image], **FAST)
    assert len(encodings) == 2
    assert not torch.equal(again.latents, second.latents), "a trip through the autoencoder does change it"


def test_a_chain_of_turns(pipeline: Pipeline, pictures: Pictures) -> None:
    edit: Edit = pipeline.edit(PROMPT, [pictures(40, 100)], **FAST)
    for turn in range(3):
        edit = pipeline.edit(f"turn {turn}", [edit], seed=turn, **FAST)
        assert edit.latents.shape == (1, 16, 4, 12)
        assert edit.image.shape == (1, 32, 96, 3)


def test_encodings_are_kept_by_content(
    fresh: Pipeline, encodings: list[tuple[int, ...]], pictures: Pictures
) -> None:
    """Every picture of a batch counts, and so does how it is fitted."""
    batch = pictures(64, 64, batch=2)
    expected, _ = fresh.encode_reference(batch)
    other = batch.clone()
    other[1, 0, 0, 0] += 0.5
    assert torch.equal(fresh.encode_reference(batch.clone())[0], expected)
    assert len(encodings) == 1
    assert not torch.equal(fresh.encode_reference(other)[0][1], expected[1])
    assert len(encodings) == 2
    long = pictures(40, 100)
    fits = [fresh.encode_reference(long, fit)[0] for fit in ("crop", "pad", "stretch", "none")]
    assert len(encodings) == 6
    assert not any(torch.equal(fits[i], fits[j]) for i in range(3) for j in range(i))


def test_not_too_many_encodings_are_kept(
    fresh: Pipeline, encodings: list[tuple[int, ...]], pictures: Pictures
) -> None:
    for seed in range(20):
        fresh.encode_reference(pictures(64, 64, seed=seed))
    fresh.encode_reference(pictures(64, 64, seed=19))
    assert len(encodings) == 20
    fresh.encode_reference(pictures(64, 64, seed=0))
    assert len(encodings) == 21


def test_eight_references(pipeline: Pipeline, pictures: Pictures) -> None:
    references = [pictures(32, 96, seed=i) for i in range(8)]
    results = {
        layout: pipeline.edit(PROMPT, references, layout=layout, **FAST)
        for layout in ("index", "offset", "diagonal")
    }
    assert all(edit.image.isfinite().all() for edit in results.values())
    assert not torch.allclose(results["index"].latents, results["offset"].latents)
    assert not torch.allclose(results["index"].latents, results["diagonal"].latents)
    without_last = pipeline.edit(PROMPT, references[:7], **FAST)
    assert not torch.allclose(without_last.latents, results["index"].latents)


def test_the_models_own_layout_is_the_default(pipeline: Pipeline, pictures: Pictures) -> None:
    references = [pictures(64, 64, seed=i) for i in range(2)]
    default = pipeline.edit(PROMPT, references, **FAST)
    assert default.settings["layout"] == pipeline.transformer.config.layout == "index"
    assert torch.equal(default.latents, pipeline.edit(PROMPT, references, layout="index", **FAST).latents)


def test_a_batch_of_pictures(
    pipeline: Pipeline, pictures: Pictures, assert_close: Callable[..., float]
) -> None:
    """Edited together, each from its own picture; a single second reference serves all."""
    batch, second = pictures(64, 64, batch=3), pictures(32, 96, seed=9)
    together = pipeline.edit(PROMPT, [batch, second], **FAST)
    assert together.image.shape == (3, 64, 64, 3)
    all_noise = noise(3, 8, 8, seed=0)
    for i in range(3):
        references = [pipeline.encode(batch[i : i + 1]), pipeline.encode(second)]
        text = pipeline.encode_prompt(PROMPT)
        alone = denoise(
            pipeline.transformer,
            all_noise[i : i + 1],
            *text,
            sigmas(2, 16),
            references=references,
            layout="index",
        )
        assert_close(together.latents[i : i + 1], alone)


def test_batches_that_cannot_be_combined(pipeline: Pipeline, pictures: Pictures) -> None:
    with pytest.raises(
        ValueError, match="batches of 2, 3 cannot be combined; each must be 1, or all the same"
    ):
        pipeline.edit(PROMPT, [pictures(64, 64, batch=2), pictures(64, 64, batch=3)], **FAST)


def test_true_guidance(pipeline: Pipeline, pictures: Pictures) -> None:
    references, options = [pictures(64, 64)], {"negative_prompt": "green", **FAST}
    plain = pipeline.edit(PROMPT, references, **FAST)
    guided = pipeline.edit(PROMPT, references, cfg_scale=3.0, **options)
    assert not torch.allclose(guided.latents, plain.latents)
    assert torch.equal(pipeline.edit(PROMPT, references, cfg_scale=1.0, **options).latents, plain.latents)
    with pytest.raises(ValueError, match="needs a negative prompt"):
        pipeline.edit(PROMPT, references, cfg_scale=3.0, **FAST)


def test_sampling_from_a_start(pipeline: Pipeline, pictures: Pictures) -> None:
    text, start = pipeline.encode_prompt(PROMPT), pipeline.encode(pictures(32, 96))
    assert pipeline.sample(text, start=start, strength=0.5, **FAST).shape == start.shape
    assert torch.equal(pipeline.sample(text, start=start, strength=0.0, **FAST), start)
    assert pipeline.sample(text, start=start, width_px=96, **FAST).shape == start.shape
    with pytest.raises(ValueError, match=r"requested size is 64 x 32 px, but 'start' is 96 x 32 px"):
        pipeline.sample(text, start=start, width_px=64, **FAST)
    mask = torch.zeros(1, 1, 4, 12)
    assert torch.equal(pipeline.sample(text, start=start, mask=mask, **FAST), start)


def test_an_edit_begins_from_its_first_reference(pipeline: Pipeline, pictures: Pictures) -> None:
    """What `sample` makes of that picture's latents, bit for bit, from pixels as from latents."""
    references, options = [pictures(64, 64), pictures(32, 96)], {"seed": 3, "steps": 4}
    edit = pipeline.edit(PROMPT, references, strength=0.5, **options)
    latents = [pipeline.encode_picture(picture)[0] for picture in references]
    text = pipeline.encode_prompt(PROMPT)
    expected = pipeline.sample(text, latents, start=latents[0], strength=0.5, **options)
    assert torch.equal(edit.latents, expected)
    assert torch.equal(pipeline.edit(PROMPT, latents, strength=0.5, **options).latents, expected)
    assert not torch.equal(pipeline.edit(PROMPT, references, **options).latents, expected)
    assert torch.equal(pipeline.edit(PROMPT, references, strength=0, **options).latents, latents[0])
    assert edit.settings["strength"] == 0.5
    assert "strength" not in pipeline.edit(PROMPT, references, **options).settings
    with pytest.raises(
        ValueError, match=r"^a strength below 1 starts from the first reference, but there is no"
    ):
        pipeline.edit(PROMPT, strength=0.5, **options)


def test_several_pictures_of_one_prompt(pipeline: Pipeline) -> None:
    text = pipeline.encode_prompt(PROMPT)
    four = pipeline.sample(text, batch=4, seed=7, **FAST)
    assert four.shape == (4, 16, 8, 8)
    assert not torch.allclose(four[0], four[1])


def test_shift_can_be_set(pipeline: Pipeline) -> None:
    text, own = pipeline.encode_prompt(PROMPT), shift_mu(16)
    assert torch.equal(pipeline.sample(text, mu=own, **FAST), pipeline.sample(text, **FAST))
    assert not torch.allclose(pipeline.sample(text, mu=2.0, **FAST), pipeline.sample(text, **FAST))


def test_callback_and_stopping(pipeline: Pipeline, pictures: Pictures) -> None:
    seen: list[tuple[int, int, tuple[int, ...]]] = []
    pipeline.edit(
        PROMPT,
        [pictures(64, 64)],
        steps=3,
        callback=lambda step, steps, clean: seen.append((step, steps, (*clean.shape,))),
    )
    assert seen == [(step, 3, (1, 16, 8, 8)) for step in range(3)]

    class Stop(Exception):
        pass

    def stop(step: int, steps: int, clean: Tensor) -> None:
        raise Stop

    with pytest.raises(Stop):
        pipeline.edit(PROMPT, [pictures(64, 64)], callback=stop, **FAST)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        (torch.zeros(0, 64, 64, 3), "holds nothing: 0 frames"),
        (torch.full((1, 64, 64, 3), float("nan")), "not finite"),
        (torch.zeros(64, 64, 3), r"must be \(batch, height, width, 3\)"),
        (torch.zeros(1, 64, 64, 4), r"must be \(batch, height, width, 3\)"),
        (torch.zeros(1, 16, 5, 8), "latents of 5 x 8 cannot be packed"),
    ],
    ids=["no frames", "NaN", "no batch", "four channels", "odd latents"],
)
def test_unusable_references(pipeline: Pipeline, reference: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        pipeline.edit(PROMPT, [reference], **FAST)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fit": "squeeze"}, "fit is 'squeeze' and must be one of crop, pad, stretch, none"),
        ({"layout": "spiral"}, "layout is 'spiral' and must be one of offset, index, diagonal"),
        ({"steps": 0}, "steps is 0 and must be a whole number from 1 to 1000"),
    ],
)
def test_unusable_options(
    pipeline: Pipeline, pictures: Pictures, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        pipeline.edit(PROMPT, [pictures(64, 64)], **options)


@pytest.mark.parametrize(
    ("part", "method", "sentence"),
    [
        ("transformer", "velocity", r"1 x 64 x 64 px with 1 references; use fewer or smaller references"),
        ("vae", "encode", "encoding 64 x 64 px; use a smaller picture"),
        ("vae", "decode", "decoding 64 x 64 px; use a smaller picture"),
        ("text", "encode", "the text encoders; choose a smaller dtype"),
    ],
)
def test_too_little_memory_is_explained(
    fresh: Pipeline,
    pictures: Pictures,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    method: str,
    sentence: str,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(getattr(fresh, part), method, full)
    monkeypatch.setattr(f"kontext_core.model.tiled_vae.{method}_in_tiles", full, raising=False)
    with pytest.raises(TooLittleMemoryError, match=f"there is too little memory for {sentence}"):
        fresh.edit(PROMPT, [pictures(64, 64)], **FAST)


@pytest.mark.parametrize("method", ["encode", "decode"])
def test_where_memory_is_short_the_autoencoder_works_in_tiles(
    fresh: Pipeline, pictures: Pictures, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The same picture up to rounding, of every picture of a batch."""
    picture = torch.cat([pictures(64, 64).flip(1), pictures(64, 64)])
    wanted = fresh.decode(fresh.encode(picture))

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(fresh.vae, method, full)
    torch.testing.assert_close(fresh.decode(fresh.encode(picture)), wanted, rtol=0, atol=1e-5)


def test_saved_and_loaded(
    pipeline: Pipeline, pictures: Pictures, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From a folder, and from the paths of its parts; both say the same as what was saved."""
    folder = tmp_path_factory.mktemp("model")
    save_model(
        folder,
        transformer=pipeline.transformer,
        vae=pipeline.vae,
        text_encoders=pipeline.text,
        dtype=torch.float32,
    )
    expected = pipeline.edit(PROMPT, [pictures(64, 64)], **FAST).image
    paths = {part: folder / part for part in ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")}
    paths |= {"transformer": folder / "flux1-kontext-dev.safetensors", "vae": folder / "ae.safetensors"}
    for model in (folder, str(folder), paths):
        loaded = Pipeline.load(model, device="cpu")
        assert loaded.transformer.config == pipeline.transformer.config
        for part in ("transformer", "vae", "text"):
            kept = getattr(pipeline, part).state_dict()
            assert all(torch.equal(one, kept[key]) for key, one in getattr(loaded, part).state_dict().items())
        # not to the bit: weights mapped from a file lie elsewhere in memory, and some
        # processors add in another order
        torch.testing.assert_close(
            loaded.edit(PROMPT, [pictures(64, 64)], **FAST).image, expected, rtol=0, atol=1e-5
        )


def test_half_precision(
    pipeline: Pipeline, pictures: Pictures, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, transformer=pipeline.transformer, vae=pipeline.vae, text_encoders=pipeline.text)
    edit = Pipeline.load(folder, dtype=torch.bfloat16, device="cpu").edit(PROMPT, [pictures(64, 64)], **FAST)
    assert edit.latents.dtype == edit.image.dtype == torch.float32
    assert (edit.image - pipeline.edit(PROMPT, [pictures(64, 64)], **FAST).image).abs().mean() < 0.02


def test_what_is_missing_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(CheckpointError, match=r"flux1-kontext-dev\.safetensors"):
        Pipeline.load(empty)
    with pytest.raises(
        ValueError, match=r"a path for each of transformer, vae, .*; not given: vae, text_encoder,"
    ):
        Pipeline.load({"transformer": empty})


def test_weights_are_left_as_they_came(pipeline: Pipeline, pictures: Pictures) -> None:
    before = {name: tensor.clone() for name, tensor in pipeline.transformer.state_dict().items()}
    pipeline.edit(PROMPT, [pictures(64, 64)], **FAST)
    after = pipeline.transformer.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert not any(part.training for part in (pipeline.transformer, pipeline.vae, pipeline.text))


@pytest.mark.parametrize(
    ("part", "weight"), [("transformer", "double_blocks.0.img_mlp.0.bias"), ("vae", "decoder.conv_out.bias")]
)
def test_a_result_that_is_not_finite_names_the_weights(part: str, weight: str) -> None:
    broken = Pipeline.load("tiny", dtype=torch.float32, device="cpu")
    with torch.no_grad():
        getattr(broken, part).get_parameter(weight)[0] = float("nan")
    with pytest.raises(
        ValueError,
        match=rf"are not finite \(NaN or infinite\), as weights are: {weight}; download their file",
    ):
        broken.edit("make it night", [torch.rand(1, 128, 128, 3)], steps=1)


def test_what_is_kept_waits_in_the_host_s_memory(
    fresh: Pipeline, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts and encoded pictures: a card that the model leaves is left by them too.

    Here a card is stood in for.
    """

    class OnCard(Tensor):
        def cpu(self, *_: Any, **__: Any) -> Tensor:  # type: ignore[override]
            return self.as_subclass(Tensor)

    embed, encode = fresh.text.embed, fresh.vae.encode
    monkeypatch.setattr(
        fresh.text, "embed", lambda *ids: tuple(part.as_subclass(OnCard) for part in embed(*ids))
    )
    monkeypatch.setattr(fresh.vae, "encode", lambda image: encode(image).as_subclass(OnCard))
    fresh.text._kept.clear()
    expected = fresh.edit(PROMPT, [pictures(64, 64)], **FAST).latents
    kept = [*fresh._kept.values(), *(part for entry in fresh.text._kept.values() for part in entry[:2])]
    assert len(kept) == 3
    assert not any(isinstance(part, OnCard) for part in kept)
    assert torch.equal(fresh.edit(PROMPT, [pictures(64, 64)], **FAST).latents, expected)


def test_what_is_encoded_anew_when_the_model_moves_or_computes_otherwise(
    pipeline: Pipeline, pictures: Pictures, encodings: list[tuple[int, ...]], fresh: Pipeline
) -> None:
    """Encodings that are kept are of the numbers, and of the device, that made them."""
    image = pictures(64, 64)
    exact, _ = fresh.encode_reference(image)
    vae = copy.deepcopy(pipeline.vae).to(torch.bfloat16)
    del vae.encode  # of the one that is watched
    half = Pipeline(fresh.transformer, vae, fresh.text)
    half._kept = fresh._kept  # as views of one model share it
    assert not torch.equal(half.encode_reference(image)[0], exact)
    assert torch.equal(fresh.encode_reference(image)[0], exact)
    assert len(encodings) == 1
    fresh.home = torch.device("cuda", 0)
    fresh.encode_reference(image)
    assert len(encodings) == 2


def test_room_is_the_users_budget_and_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever is less; where nothing visits and nobody says what is free, there is no number."""
    limited, unlimited = (
        Pipeline.load("tiny", device="cpu", memory_gib=1),
        Pipeline.load("tiny", device="cpu"),
    )
    left = 2**30 - limited.weights.resident_bytes
    for free, rooms in (
        (None, (left, None)),
        (left - 1, (left - 1, left - 1)),
        (2**40, (left, 2**40)),
        (0, (0, 0)),
    ):
        monkeypatch.setattr(model_weights, "free_bytes", lambda _, free=free: free)
        assert (limited.weights.work_budget(), unlimited.weights.work_budget()) == rooms
