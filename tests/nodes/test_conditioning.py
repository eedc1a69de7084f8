"""Our prompts and references in ComfyUI's CONDITIONING: to its sampler and nodes, and back."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.stock import Stock

from .conftest import distance, picture, references, sampled

Run = Callable[..., Any]
TOLERANCE = 1e-5  # relative L2, float32
SIZES = (64, 96), (96, 32), (48, 64)


@pytest.fixture
def prompt(run: Run, own: Any) -> Any:
    return run("KontextEncodePrompt", model=own, text="make the circle red", negative="blue")[0]


def conditioning(**values: Any) -> list[list[Any]]:
    """A CONDITIONING of one entry for the tiny model."""
    generator = torch.Generator().manual_seed(3)
    states, pooled = torch.randn(1, 40, 128, generator=generator), torch.randn(1, 128, generator=generator)
    return [[states, {"pooled_output": pooled} | values]]


def test_what_is_written(run: Run, own: Any, prompt: Any) -> None:
    stack = references(run, *SIZES)
    given = {"model": own, "prompt": prompt, "references": stack, "guidance": 4.0, "layout": "diagonal"}
    positive, negative, _ = run("KontextToConditioning", **given).args
    for made, words in ((positive, "make the circle red"), (negative, "blue")):
        ((states, values),) = made
        txt, pooled = own.encode_prompt(words)
        assert torch.equal(states, txt)
        assert torch.equal(values["pooled_output"], pooled)
        assert values["guidance"] == 4.0
        assert values["reference_latents_method"] == "uxo"
        for samples, reference in zip(values["reference_latents"], stack, strict=True):
            expected = run("KontextEncode", model=own, image=reference.picture, fit="none")[0]["samples"]
            torch.testing.assert_close(samples, expected)


def test_without_references_nothing_is_said_of_them(run: Run, own: Any, prompt: Any) -> None:
    ((_, values),) = run("KontextToConditioning", model=own, prompt=prompt)[0]
    assert set(values) == {"pooled_output", "guidance"}


def test_auto_is_the_layout_of_the_model(run: Run, own: Any, hosted: Any, prompt: Any) -> None:
    for model, method in ((own, "index"), (hosted, "offset")):
        given = {"model": model, "prompt": prompt, "references": references(run, *SIZES)}
        ((_, values),) = run("KontextToConditioning", **given)[0]
        assert values["reference_latents_method"] == method


@pytest.mark.parametrize("layout", ["offset", "index", "diagonal"])
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_comfyuis_own_sampler_makes_the_same_picture(
    run: Run, own: Any, stock: Stock, prompt: Any, layout: str, cfg: float
) -> None:
    """KSampler's own code, all its own steps, with ModelSamplingFlux's shift at this
    size, which is the paper's.
    """
    import comfy.model_sampling
    import comfy.sample

    stack = references(run, *SIZES)
    given = {"prompt": prompt, "references": stack, "guidance": 4.0, "layout": layout}
    positive, negative, _ = run("KontextToConditioning", model=own, **given).args
    tokens = 64 * 96 // 256
    shift = (1.15 - 0.5) / (4096 - 256) * tokens + 0.5 - (1.15 - 0.5) / (4096 - 256) * 256

    class Sampling(comfy.model_sampling.ModelSamplingFlux, comfy.model_sampling.CONST):
        pass

    shifted = stock.model.clone()
    levels = Sampling(stock.model.model.model_config)
    levels.set_parameters(shift=shift)
    shifted.add_object_patch("model_sampling", levels)
    empty = torch.zeros(1, 16, 8, 12)
    noise = comfy.sample.prepare_noise(empty, 5)
    with torch.inference_mode():
        theirs = comfy.sample.sample(
            shifted, noise, 5, cfg, "euler", "simple", positive, negative, empty, seed=5, disable_pbar=True
        )
    assert distance(sampled(run, own, **given, cfg=cfg, steps=5), theirs) <= TOLERANCE


def test_what_was_padded_is_cut_off_behind_comfyuis_sampler_and_on_the_way_back(
    run: Run, own: Any, stock: Stock, prompt: Any
) -> None:
    import comfy.sample

    stack = references(run, (64, 128), fit="pad")
    node = run("KontextToConditioning", model=own, prompt=prompt, references=stack)
    positive, negative, empty = node.args
    assert empty["samples"].shape == (1, 16, 16, 16)
    assert not empty["samples"].any()
    assert node.ui.as_dict()["text"] == (
        "picture 1 was padded: start KSampler from this node's empty latent and decode with Kontext Decode, so that "
        "the result is cut to 128 x 64 px",
    )
    noise = comfy.sample.prepare_noise(empty["samples"], 5)
    with torch.inference_mode():
        samples = comfy.sample.sample(
            stock.model,
            noise,
            1,
            1.0,
            "euler",
            "simple",
            positive,
            negative,
            empty["samples"],
            seed=5,
            disable_pbar=True,
        )
    theirs = empty | {"samples": samples}  # as KSampler hands it on; test_stock.py shows that
    assert run("KontextDecode", model=own, latent=theirs)[0].shape == (1, 64, 128, 3)
    back = run("KontextFromConditioning", conditioning=positive, negative=negative)[0]
    given = {"model": own, "prompt": back, "steps": 1}
    assert run("KontextDecode", model=own, latent=run("KontextSampler", **given)[0])[0].shape == (
        1,
        64,
        128,
        3,
    )
    sized = run("KontextSampler", **given, width=128, height=128)[0]
    assert run("KontextDecode", model=own, latent=sized)[0].shape == (1, 128, 128, 3), (
        "who says a size gets it"
    )


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ({}, (1, 16, 16, 16)),
        ({"sizes": ((64, 96), (96, 32))}, (1, 16, 8, 12)),
        ({"sizes": ((64, 96),), "batch": 2}, (2, 16, 8, 12)),
    ],
)
def test_the_empty_latent_has_the_size_of_the_first_reference(
    run: Run, own: Any, prompt: Any, given: dict[str, Any], shape: tuple[int, ...]
) -> None:
    sizes = given.get("sizes", ())
    if "batch" in given:
        images = picture(*sizes[0], batch=given["batch"])
        stack = run("KontextReference", image=images, fit="none")[0]
    else:
        stack = references(run, *sizes)
    node = run("KontextToConditioning", model=own, prompt=prompt, references=stack)
    assert node[2]["samples"].shape == shape
    assert set(node[2]) == {"samples"}
    assert node.ui.as_dict()["text"] == ("",), "nothing is to be cut"


@pytest.mark.parametrize("layout", ["offset", "index", "diagonal"])
def test_there_and_back_is_the_same_picture(run: Run, own: Any, prompt: Any, layout: str) -> None:
    stack = references(run, *SIZES)
    options = {"guidance": 4.0, "layout": layout}
    given = {"prompt": prompt, "references": stack} | options
    positive, negative, _ = run("KontextToConditioning", model=own, **given).args
    node = run("KontextFromConditioning", conditioning=positive, negative=negative)
    assert node.ui.as_dict()["text"] == (f"32 tokens of text, 3 references, layout {layout}, guidance 4",)
    back = sampled(run, own, prompt=node[0], layout="auto", cfg=2.0)  # and its guidance left at 2.5
    assert distance(sampled(run, own, **given, cfg=2.0), back) <= TOLERANCE
    again = run("KontextToConditioning", model=own, prompt=node[0])[0]
    assert again[0][1]["guidance"] == 4.0
    assert again[0][1]["reference_latents_method"] == positive[0][1]["reference_latents_method"]
    for one, other in zip(again[0][1]["reference_latents"], positive[0][1]["reference_latents"], strict=True):
        torch.testing.assert_close(one, other)


def test_guidance_of_the_conditioning_counts_and_is_said(run: Run, own: Any) -> None:
    prompt = run("KontextFromConditioning", conditioning=conditioning(guidance=7.0))[0]
    given = {"model": own, "prompt": prompt, "width": 96, "height": 64, "steps": 1}
    node = run("KontextSampler", **given, guidance=2.5)
    assert node.ui.as_dict()["text"] == ("guidance 7 from the conditioning is used, not 2.5",)
    assert torch.equal(node[0]["samples"], run("KontextSampler", **given, guidance=7.0)[0]["samples"])
    plain = run("KontextFromConditioning", conditioning=conditioning())[0]
    low, high = (
        run("KontextSampler", **given | {"prompt": plain}, guidance=guidance)[0]["samples"]
        for guidance in (2.5, 7.0)
    )
    assert torch.equal(high, node[0]["samples"])
    assert not torch.equal(low, high)


def test_text_of_any_length_goes_to_both_kinds_of_model(run: Run, own: Any, hosted: Any) -> None:
    """40 tokens, where the tiny model's own encoders make 32."""
    prompt = run("KontextFromConditioning", conditioning=conditioning())[0]
    assert distance(sampled(run, own, prompt=prompt), sampled(run, hosted, prompt=prompt)) <= TOLERANCE


def test_references_of_stock_nodes_come_first_and_set_the_size(run: Run, own: Any) -> None:
    import node_helpers
    from comfy_extras.nodes_edit_model import ReferenceLatent

    stack = references(run, *SIZES)
    made = conditioning(guidance=2.5)
    for reference in stack[:2]:
        latent = run("KontextEncode", model=own, image=reference.picture, fit="none")[0]
        made = ReferenceLatent.execute(made, latent).args[0]
    made = node_helpers.conditioning_set_values(made, {"reference_latents_method": "uxo"})
    prompt = run("KontextFromConditioning", conditioning=made)[0]
    alone = run("KontextFromConditioning", conditioning=conditioning())[0]
    sizeless = {"width": 0, "height": 0}
    theirs = sampled(run, own, prompt=prompt, references=stack[2:], layout="auto", **sizeless)
    ours = sampled(run, own, prompt=alone, references=stack, layout="diagonal", **sizeless)
    assert theirs.shape == (1, 16, 8, 12)
    assert distance(ours, theirs) <= TOLERANCE
    chosen = sampled(run, own, prompt=prompt, references=stack[2:], layout="index", **sizeless)
    assert distance(ours, chosen) > 10 * TOLERANCE, "a layout that is chosen in the sampler comes first"


def test_without_a_negative_it_is_no_words(run: Run, own: Any) -> None:
    given = {"conditioning": conditioning()}
    bare = run("KontextFromConditioning", **given)[0]
    empty = run("KontextEncodePrompt", model=own, text="")[0]
    none = run("KontextToConditioning", model=own, prompt=empty)[0]
    said = run("KontextFromConditioning", **given, negative=none)[0]
    assert torch.equal(sampled(run, own, prompt=bare, cfg=3.0), sampled(run, own, prompt=said, cfg=3.0))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (conditioning() + conditioning(), "has 2 entries, but a prompt has one"),
        ([], "has 0 entries, but a prompt has one"),
        ([[torch.zeros(1, 4, 128), {}]], "has no text states with a pooled output"),
        ([[torch.zeros(1, 4, 128), {"pooled_output": None}]], "has no text states with a pooled output"),
        (conditioning(area=(8, 8, 0, 0), strength=1.0), "comes with a region, 'strength', which"),
        (conditioning(mask=torch.ones(1, 8, 8), set_area_to_bounds=False), "comes with a mask, "),
        (conditioning(start_percent=0.0, end_percent=0.5), "comes with a range of steps, which"),
        (conditioning(control=object(), control_apply_to_uncond=True), "comes with a ControlNet, "),
        (conditioning(hooks=object()), "comes with hooks"),
        (conditioning(something_new=1), "comes with 'something_new', which Kontext nodes do not support"),
        (conditioning(guidance=None), "the guidance of this CONDITIONING is switched off"),
        (conditioning(reference_latents_method="zigzag"), "is 'zigzag', which .* choose offset, index, uxo"),
    ],
)
def test_what_would_be_left_out_is_refused(run: Run, given: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        run("KontextFromConditioning", conditioning=given)


def test_nothing_is_refused_that_says_nothing(run: Run) -> None:
    run("KontextFromConditioning", conditioning=conditioning(control=None, mask=None))


def test_a_negative_with_references_of_its_own_is_refused(run: Run) -> None:
    some, other = ([torch.full((1, 16, 4, 4), value)] for value in (0.0, 1.0))
    given = {"conditioning": conditioning(reference_latents=some)}
    said = run("KontextFromConditioning", **given).ui.as_dict()["text"]
    assert said == ("40 tokens of text, 1 reference",)
    with pytest.raises(ValueError, match="the negative CONDITIONING has other reference latents"):
        run("KontextFromConditioning", **given, negative=conditioning(reference_latents=other))
    run("KontextFromConditioning", **given, negative=conditioning(reference_latents=some))
    run("KontextFromConditioning", **given, negative=conditioning())


def test_foreign_latents_are_refused_when_they_are_sampled(run: Run, own: Any) -> None:
    latents = [torch.zeros(1, 4, 8, 8)]
    prompt = run("KontextFromConditioning", conditioning=conditioning(reference_latents=latents))[0]
    with pytest.raises(ValueError, match=r"this LATENT is .* the model works with"):
        sampled(run, own, prompt=prompt)


def test_foreign_text_is_refused_when_it_is_sampled(run: Run, own: Any, hosted: Any) -> None:
    wide = [[torch.zeros(1, 77, 2048), {"pooled_output": torch.zeros(1, 1280)}]]
    prompt = run("KontextFromConditioning", conditioning=wide)[0]
    for model in (own, hosted):
        with pytest.raises(ValueError, match="states of 2048 numbers and a vector of 1280"):
            sampled(run, model, prompt=prompt)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"strength": 0.5}, "a strength of 0.5"), ({"region": torch.ones(1, 64, 96)}, "a region")],
)
def test_what_stock_conditioning_cannot_say_of_a_reference(
    run: Run, own: Any, prompt: Any, options: dict[str, Any], said: str
) -> None:
    stack = references(run, (64, 96), **options)
    with pytest.raises(ValueError, match=f"picture 1 has {said}, which"):
        run("KontextToConditioning", model=own, prompt=prompt, references=stack)


def test_the_prompt_is_named_in_few_words(run: Run) -> None:
    """ComfyUI prints a node's inputs when it fails."""
    made = run("KontextFromConditioning", conditioning=conditioning())[0]
    assert repr(made) == "EncodedPrompt(40 tokens, 0 references)"


def test_the_shift_that_the_help_names_is_ours(part: Callable[[str], Any]) -> None:
    """ModelSamplingFlux with max_shift 1.15, base_shift 0.5 and a size.

    Source: comfy_extras/nodes_model_advanced.py.
    """
    from comfy.model_sampling import flux_time_shift

    schedule = part("kontext_core.sampling.schedule")
    for width, height in ((1024, 1024), (672, 1568), (128, 128)):
        slope = (1.15 - 0.5) / (4096 - 256)
        shift = (width * height / (8 * 8 * 2 * 2)) * slope + 0.5 - slope * 256
        assert math.isclose(shift, schedule.shift_mu(width * height // 256))
        ours = schedule.sigmas(4, width * height // 256)
        theirs = [float(flux_time_shift(shift, 1.0, 1 - step / 4)) for step in range(4)] + [0.0]
        assert all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(ours, theirs, strict=True))
