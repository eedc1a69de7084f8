import copy
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.kernels.options import use_compute_options
from kontext_core.model.attention import key_weights
from kontext_core.model.latents import pack, unpack
from kontext_core.model.positions import layout_ids, target_ids, text_ids
from kontext_core.model.transformer import Transformer
from kontext_core.model_spec import ComputeOptions
from kontext_core.pipeline import Pipeline
from kontext_core.sampling.cuda_graph import velocity as one_step
from kontext_core.sampling.denoise import denoise, descend
from kontext_core.sampling.schedule import sigmas
from kontext_core.sampling.solvers import SOLVERS

LEVELS = sigmas(3, 24)
SIZE = (4, 6)  # of the latents: 2 x 3 tokens

Latents = Callable[..., Tensor]
Prompts = Callable[..., tuple[Tensor, Tensor]]


@pytest.fixture
def run(transformer: Transformer, latents: Latents, prompts: Prompts) -> Callable[..., Tensor]:
    """`run(batch=1, **options)`: three steps from the noise of seed 0."""

    def denoised(batch: int = 1, **options: Any) -> Tensor:
        given = {"transformer": transformer, "noise": latents(*SIZE, batch), "sigmas": LEVELS} | options
        txt, pooled = given.pop("prompt", None) or prompts()
        return denoise(txt=txt, pooled=pooled, **given)

    return denoised


@torch.no_grad()
def by_hand(
    transformer: Transformer,
    noise: Tensor,
    prompt: tuple[Tensor, Tensor],
    references: list[Tensor],
    *,
    layout: str = "offset",
    guidance: float = 2.5,
    negative: tuple[Tensor, Tensor] | None = None,
    cfg_scale: float = 1.0,
) -> Tensor:
    """Run the loop as in the paper, with a whole forward pass at each step."""
    batch, _, height, width = noise.shape
    size = (height // 2, width // 2)
    sizes = [(reference.shape[-2] // 2, reference.shape[-1] // 2) for reference in references]
    ids = torch.cat([target_ids(*size), *layout_ids(size, sizes, layout)], dim=1)
    tokens, packed = pack(noise), [pack(reference) for reference in references]

    def velocity(text: tuple[Tensor, Tensor], tokens: Tensor, sigma: float) -> Tensor:
        txt, pooled = text
        img, origin = torch.cat([tokens, *packed], dim=1), text_ids(1, txt.shape[1])
        times, scale = torch.full((batch,), sigma), torch.full((batch,), guidance)
        return transformer(img, ids, txt, origin, times, pooled, scale)[:, : tokens.shape[1]]

    for sigma, sigma_next in pairwise(LEVELS):
        v = velocity(prompt, tokens, sigma)
        if negative is not None:
            v_negative = velocity(negative, tokens, sigma)
            v = v_negative + cfg_scale * (v - v_negative)
        tokens = tokens + (sigma_next - sigma) * v
    return unpack(tokens, height, width)


@pytest.mark.parametrize("layout", ["offset", "index", "diagonal"])
@pytest.mark.parametrize(
    "sizes", [[], [(4, 6)], [(2, 8), (6, 2)], [(4, 4)] * 8], ids=["none", "one", "two", "eight"]
)
def test_equals_whole_forwards(
    run: Callable[..., Tensor],
    transformer: Transformer,
    latents: Latents,
    prompts: Prompts,
    sizes: list[tuple[int, int]],
    layout: str,
    assert_close: Callable[..., float],
) -> None:
    references = [latents(*size, seed=i + 1) for i, size in enumerate(sizes)]
    expected = by_hand(transformer, latents(*SIZE), prompts(), references, layout=layout)
    assert_close(run(references=references, layout=layout), expected, 1e-6)


def test_layouts_and_references_matter(run: Callable[..., Tensor], latents: Latents) -> None:
    references = [latents(4, 4, seed=1), latents(4, 2, seed=2)]
    results = [run(), run(references=references[:1]), run(references=references)]
    results += [run(references=references, layout=layout) for layout in ("index", "diagonal")]
    results += [run(references=references[::-1])]
    assert not any(torch.allclose(results[i], results[j]) for i in range(6) for j in range(i))


def test_batch_equals_one_by_one(
    run: Callable[..., Tensor], latents: Latents, prompts: Prompts, assert_close: Callable[..., float]
) -> None:
    noise, (txt, pooled) = latents(*SIZE, 3), prompts(3)
    references = [latents(2, 4, 3, seed=1), latents(4, 4, 3, seed=2)]
    together = run(noise=noise, prompt=(txt, pooled), references=references)
    for i in range(3):
        one = slice(i, i + 1)
        alone = run(
            noise=noise[one],
            prompt=(txt[one], pooled[one]),
            references=[reference[one] for reference in references],
        )
        assert_close(together[one], alone, 1e-5)


def test_what_is_single_serves_the_whole_batch(
    run: Callable[..., Tensor], latents: Latents, prompts: Prompts, assert_close: Callable[..., float]
) -> None:
    reference, start, mask = latents(2, 4, seed=1), latents(*SIZE, seed=2), torch.rand(1, 1, *SIZE)
    single = run(
        2,
        references=[reference],
        start=start,
        mask=mask,
        prompt=prompts(),
        negative=prompts(seed=3),
        cfg_scale=2.0,
    )
    repeated = run(
        2,
        references=[reference.repeat(2, 1, 1, 1)],
        start=start.repeat(2, 1, 1, 1),
        mask=mask.repeat(2, 1, 1, 1),
        prompt=tuple(part.repeat(2, *[1] * (part.ndim - 1)) for part in prompts()),
        negative=tuple(part.repeat(2, *[1] * (part.ndim - 1)) for part in prompts(seed=3)),
        cfg_scale=2.0,
    )
    assert_close(single, repeated, 1e-6)
    assert not torch.allclose(single[0], single[1]), "each picture of the batch has its own noise"


@pytest.mark.parametrize("cfg_scale", [0.0, 0.5, 3.0])
def test_true_guidance_is_its_formula(
    run: Callable[..., Tensor],
    transformer: Transformer,
    latents: Latents,
    prompts: Prompts,
    cfg_scale: float,
    assert_close: Callable[..., float],
) -> None:
    references, negative = [latents(4, 4, seed=1)], prompts(seed=9)
    expected = by_hand(
        transformer, latents(*SIZE), prompts(), references, negative=negative, cfg_scale=cfg_scale
    )
    assert_close(run(references=references, negative=negative, cfg_scale=cfg_scale), expected, 1e-6)


def test_negative_prompt_of_another_length(run: Callable[..., Tensor], prompts: Prompts) -> None:
    txt, pooled = prompts(seed=9)
    assert run(negative=(txt[:, :2], pooled), cfg_scale=2.0).isfinite().all()


def test_scale_one_ignores_the_negative_prompt(run: Callable[..., Tensor], prompts: Prompts) -> None:
    assert torch.equal(run(negative=prompts(seed=9), cfg_scale=1.0), run())


def test_guidance_is_an_input_where_the_model_has_it(
    run: Callable[..., Tensor], make_transformer: Callable[..., Transformer]
) -> None:
    assert not torch.allclose(run(guidance=1.0), run(guidance=4.0))
    schnell = make_transformer(guidance_embed=False)
    assert torch.equal(run(transformer=schnell, guidance=1.0), run(transformer=schnell, guidance=4.0))


def test_strength_zero_keeps_the_start(run: Callable[..., Tensor], latents: Latents) -> None:
    start = latents(*SIZE, seed=5)
    assert torch.equal(run(start=start, strength=0.0), start)


def test_the_least_strength_is_one_step(run: Callable[..., Tensor], latents: Latents) -> None:
    start, seen = latents(*SIZE, seed=5), []
    result = run(start=start, strength=0.01, callback=lambda step, steps, clean: seen.append(steps))
    assert seen == [1]
    assert not torch.equal(result, start)


def test_strength_one_forgets_the_start(run: Callable[..., Tensor], latents: Latents) -> None:
    assert torch.equal(run(start=latents(*SIZE, seed=5), strength=1.0), run())


def test_strength_is_the_share_of_the_steps(
    run: Callable[..., Tensor], latents: Latents, assert_close: Callable[..., float]
) -> None:
    """Two of three steps, from the start with as much noise as the second step expects."""
    start, noise = latents(*SIZE, seed=5), latents(*SIZE)
    mixed = (1 - LEVELS[1]) * start + LEVELS[1] * noise
    seen: list[tuple[int, int]] = []
    result = run(start=start, strength=0.66, callback=lambda step, steps, clean: seen.append((step, steps)))
    assert seen == [(0, 2), (1, 2)]
    assert_close(result, run(noise=mixed, sigmas=LEVELS[1:]), 1e-6)


def test_mask_zero_is_the_start_to_the_last_bit(run: Callable[..., Tensor], latents: Latents) -> None:
    start, mask = latents(*SIZE, seed=5), torch.ones(1, 1, *SIZE)
    mask[..., :3] = 0
    previews: list[Tensor] = []
    result = run(start=start, mask=mask, callback=lambda step, steps, clean: previews.append(clean))
    assert torch.equal(result[..., :3], start[..., :3])
    assert not torch.isclose(result[..., 3:], start[..., 3:]).any()
    assert all(torch.equal(preview[..., :3], start[..., :3]) for preview in previews)


def test_mask_of_ones_changes_nothing(run: Callable[..., Tensor], latents: Latents) -> None:
    assert torch.equal(run(start=latents(*SIZE, seed=5), mask=torch.ones(1, 1, *SIZE)), run())


def test_what_the_mask_keeps_is_seen_with_its_noise(
    transformer: Transformer, run: Callable[..., Tensor], latents: Latents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model meets the kept part at the noise level of the step, as it does the rest."""
    start, noise = latents(*SIZE, seed=5), latents(*SIZE)
    met: list[Tensor] = []
    velocity = transformer.velocity

    def watched(tokens: Tensor, *rest: Any) -> Tensor:
        met.append(unpack(tokens, *SIZE))
        return velocity(tokens, *rest)

    monkeypatch.setattr(transformer, "velocity", watched)
    run(start=start, mask=torch.zeros(1, 1, *SIZE))
    for level, tokens in zip(LEVELS, met, strict=False):
        torch.testing.assert_close(tokens, (1 - level) * start + level * noise)


def test_half_masks_mix(run: Callable[..., Tensor], latents: Latents) -> None:
    start = latents(*SIZE, seed=5)
    result = run(start=start, mask=torch.full((1, 1, *SIZE), 0.5), sigmas=[1.0, 0.0])
    torch.testing.assert_close(result, (start + run(sigmas=[1.0, 0.0])) / 2)


def test_callback_sees_every_step_and_the_clean_prediction(run: Callable[..., Tensor]) -> None:
    seen: list[tuple[int, int]] = []
    previews: list[Tensor] = []

    def callback(step: int, steps: int, clean: Tensor) -> None:
        seen.append((step, steps))
        previews.append(clean)

    result = run(callback=callback)
    assert seen == [(0, 3), (1, 3), (2, 3)]
    assert torch.equal(result, run())
    torch.testing.assert_close(previews[-1], result)  # at the last step nothing is left to remove
    assert all(preview.shape == result.shape for preview in previews)


def test_exact_velocity_would_show_the_picture_at_once(
    transformer: Transformer, run: Callable[..., Tensor], latents: Latents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With velocity = noise - picture every preview, and the result, is the picture."""
    picture, noise = latents(*SIZE, seed=7), latents(*SIZE)
    monkeypatch.setattr(transformer, "velocity", lambda *_: pack(noise - picture))
    previews: list[Tensor] = []
    result = run(callback=lambda step, steps, clean: previews.append(clean))
    for one in (*previews, result):
        torch.testing.assert_close(one, picture)


class Stop(Exception):
    pass


def test_exception_in_the_callback_stops_cleanly(
    run: Callable[..., Tensor], transformer: Transformer
) -> None:
    expected = run()
    weights = {name: tensor.clone() for name, tensor in transformer.state_dict().items()}
    seen: list[int] = []

    def callback(step: int, steps: int, clean: Tensor) -> None:
        seen.append(step)
        if step == 1:
            raise Stop

    with pytest.raises(Stop):
        run(callback=callback)
    assert seen == [0, 1]
    assert torch.is_grad_enabled()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in transformer.state_dict().items())
    assert torch.equal(run(), expected)


def test_one_seed_one_result_and_no_global_randomness(run: Callable[..., Tensor], latents: Latents) -> None:
    before = torch.get_rng_state()
    options = {"references": [latents(4, 4, seed=1)], "start": latents(*SIZE, seed=2), "strength": 0.7}
    first = run(**options)
    torch.manual_seed(123)
    assert torch.equal(run(**options), first)
    torch.set_rng_state(before)
    run(**options)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_given_is_not_changed(run: Callable[..., Tensor], latents: Latents, prompts: Prompts) -> None:
    given = {"noise": latents(*SIZE), "start": latents(*SIZE, seed=1), "mask": torch.rand(1, 1, *SIZE)}
    copies = {name: tensor.clone() for name, tensor in given.items()}
    prompt, reference = prompts(), latents(4, 4, seed=2)
    run(**given, prompt=prompt, references=[reference])
    assert all(torch.equal(given[name], copies[name]) for name in given)
    assert torch.equal(prompt[0], prompts()[0])
    assert torch.equal(reference, latents(4, 4, seed=2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_result_is_float32_whatever_the_weights(
    run: Callable[..., Tensor],
    make_transformer: Callable[..., Transformer],
    latents: Latents,
    dtype: torch.dtype,
    assert_close: Callable[..., float],
) -> None:
    half = make_transformer().to(dtype)
    references = [latents(4, 4, seed=1).to(dtype)]
    result = run(transformer=half, references=references)
    assert result.dtype == torch.float32
    assert_close(result, run(references=references), 0.02)


def test_steps_are_taken_in_float32(
    run: Callable[..., Tensor], make_transformer: Callable[..., Transformer], latents: Latents
) -> None:
    """The velocity's few digits are enough, those of the latents are not."""
    half = make_transformer().to(torch.bfloat16)
    met: list[Tensor] = []
    result = run(transformer=half, sigmas=[1.0, 0.7], callback=lambda step, steps, clean: met.append(clean))
    velocity = (latents(*SIZE) - met[0]).bfloat16().float()  # from noise all the way to the clean prediction
    torch.testing.assert_close(result, latents(*SIZE) - 0.3 * velocity, rtol=1e-6, atol=1e-6)


def test_no_gradients_are_kept(
    run: Callable[..., Tensor], make_transformer: Callable[..., Transformer]
) -> None:
    trainable = make_transformer().requires_grad_(True)
    assert not run(transformer=trainable).requires_grad
    assert torch.is_grad_enabled()


UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "one level": (
        {"sigmas": [1.0]},
        r"sigmas must be at least two falling numbers from 1 to 0, not \[1.0\]; see schedule",
    ),
    "rising": ({"sigmas": [0.5, 1.0]}, "sigmas must be at least two falling numbers"),
    "standing": ({"sigmas": [1.0, 1.0, 0.0]}, "sigmas must be at least two falling numbers"),
    "NaN level": ({"sigmas": [1.0, math.nan, 0.0]}, "sigmas must be at least two falling numbers"),
    "level above 1": ({"sigmas": [1.5, 0.0]}, "falling numbers from 1 to 0"),
    "level below 0": ({"sigmas": [1.0, -0.5]}, "falling numbers from 1 to 0"),
    "steps without end": (
        {"sigmas": [1 - step / 1001 for step in range(1001)] + [0.0]},
        "sigmas are of 1001 steps, which must be a whole number from 1 to 1000",
    ),
    "guidance of NaN": ({"guidance": math.nan}, "guidance is nan and must be a number from 0 to 100"),
    "strength above 1": (
        {"strength": 1.5},
        "strength is 1.5 and must be a number from 0 to 1",
    ),
    "strength below 0": ({"strength": -0.1}, "strength is -0.1 and must be a number from 0 to 1"),
    "strength of nothing": ({"strength": 0.5}, "a strength below 1, or a mask, needs start latents"),
    "mask of nothing": ({"mask": torch.ones(1, 1, *SIZE)}, "needs start latents, but none were given"),
    "start size": (
        {"start": torch.zeros(1, 16, 4, 4)},
        r"start latents \(1, 16, 4, 4\) and noise \(1, 16, 4, 6\) must be of one size",
    ),
    "start without batch": ({"start": torch.zeros(16, *SIZE)}, "must be of one size"),
    "mask size": (
        {"start": torch.zeros(1, 16, *SIZE), "mask": torch.ones(1, 1, 2, 2)},
        r"the mask \(1, 1, 2, 2\) must be \(1 or batch, 1, 4, 6\)",
    ),
    "mask channels": (
        {"start": torch.zeros(1, 16, *SIZE), "mask": torch.ones(1, 16, *SIZE)},
        r"the mask \(1, 16, 4, 6\) must be",
    ),
    "mask without batch": (
        {"start": torch.zeros(1, 16, *SIZE), "mask": torch.ones(*SIZE)},
        "the mask .* must be",
    ),
    "no negative": (
        {"cfg_scale": 2.0},
        r"cfg_scale 2.0 needs a negative prompt; pass negative=\(txt, pooled\)",
    ),
    "reference channels": (
        {"references": [torch.zeros(1, 4, 4, 4)]},
        r"a reference must be latents \(1 or batch, 16, height, width\), but this one is \(1, 4, 4, 4\)",
    ),
    "reference without batch": ({"references": [torch.zeros(4, 16, 4)]}, r"this one is \(4, 16, 4\)"),
    "reference batch": (
        {"references": [torch.zeros(1, 16, 4, 4), torch.zeros(3, 16, 4, 4)]},
        "picture 2 is a batch of 3 and the noise of 1; it must be 1, or the same",
    ),
    "reference of NaN": (
        {"references": [torch.full((1, 16, 4, 4), torch.nan)]},
        "picture 1 holds numbers that are not finite",
    ),
    "infinite start": (
        {"start": torch.full((1, 16, *SIZE), torch.inf)},
        "the start holds numbers that are not",
    ),
    "odd reference": ({"references": [torch.zeros(1, 16, 3, 4)]}, "latents of 3 x 4 cannot be packed 2 x 2"),
    "odd noise": ({"noise": torch.zeros(1, 16, 4, 5)}, "latents of 4 x 5 cannot be packed 2 x 2"),
    "layout": (
        {"references": [torch.zeros(1, 16, 4, 4)], "layout": "spiral"},
        "layout is 'spiral' and must be one of offset, index, diagonal",
    ),
}


@pytest.mark.parametrize(("options", "sentence"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_what_does_not_fit_is_refused(
    run: Callable[..., Tensor], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        run(**options)


@pytest.mark.parametrize("part", ["prompt", "negative", "start", "mask"])
def test_batches_that_do_not_fit(run: Callable[..., Tensor], prompts: Prompts, part: str) -> None:
    options: dict[str, Any] = {"start": torch.zeros(1, 16, *SIZE)}
    options |= {
        "prompt": {"prompt": prompts(3)},
        "negative": {"negative": prompts(3), "cfg_scale": 2.0},
        "start": {"start": torch.zeros(3, 16, *SIZE)},
        "mask": {"mask": torch.ones(3, 1, *SIZE)},
    }[part]
    with pytest.raises(ValueError, match=f"{part}.* is a batch of 3 and the noise of 2; it must be 1"):
        run(2, **options)


@pytest.mark.parametrize("part", ["prompt", "negative"])
def test_a_prompt_of_other_encoders_is_refused(
    run: Callable[..., Tensor], prompts: Prompts, part: str
) -> None:
    txt, pooled = prompts()
    wide = torch.zeros(1, 7, 2 * txt.shape[-1]), pooled
    options = {"prompt": {"prompt": wide}, "negative": {"negative": wide, "cfg_scale": 2.0}}[part]
    with pytest.raises(
        ValueError, match=rf"states of {2 * txt.shape[-1]} numbers .* this model takes {txt.shape[-1]}"
    ):
        run(**options)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_loop_waits_for_no_number(transformer: Transformer, prompts: Prompts, solver: str) -> None:
    """On a card the host runs ahead.

    Tensors of the device `meta` hold no numbers: whoever wants one is refused.
    """
    txt, pooled = prompts()
    ids = torch.cat([target_ids(2, 3), *layout_ids((2, 3), [(2, 2)])], dim=1)
    weights = key_weights(txt.shape[1] + 6, [4], [0.5], 16)
    prepared = transformer.prepare(txt, text_ids(1, txt.shape[1]), ids, torch.zeros(1, 4, 64), weights)
    table = transformer.modulation(torch.tensor(LEVELS)[:, None], pooled, torch.ones(1))
    network, given, rows = (to_meta(one) for one in (transformer, prepared, table))

    def velocity(tokens: Tensor, step: int) -> Tensor:
        return one_step(network, tokens, given, rows, step).float()

    noise, keep = (torch.zeros(1, 6, 64, device="meta") for _ in range(2))
    with torch.no_grad():
        end = descend(velocity, noise, LEVELS, start=noise, keep=keep, solver=solver)
    assert end.device.type == "meta"


def to_meta(what: Any) -> Any:
    """A copy of a model, or of what holds tensors."""
    if isinstance(what, Tensor):
        return what.detach().to("meta")
    if isinstance(what, list):
        return [to_meta(one) for one in what]
    if isinstance(what, torch.nn.Module):
        return copy.deepcopy(what).to("meta")
    return replace(what, **{key: to_meta(one) for key, one in vars(what).items()})


@pytest.mark.parametrize("solver", SOLVERS)
def test_many_steps_take_their_modulation_in_pieces(
    solver: str,
    transformer: Transformer,
    run: Callable[..., Tensor],
    prompts: Prompts,
    latents: Latents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In place of one table, which for a thousand steps takes 2 GB of the published model; with true CFG too.

    Products of so few rows as here may be rounded otherwise; those of 64 have the bits of larger ones.
    """
    options: dict[str, Any] = {
        "sigmas": sigmas(11, 24),
        "solver": solver,
        "references": [latents(4, 6, seed=5)],
    }
    options |= {"negative": prompts(seed=7), "cfg_scale": 2.0}
    expected = run(**options)
    sizes: list[int] = []
    modulation = Transformer.modulation

    def watched(self: Transformer, timesteps: Tensor, *given: Any) -> Any:
        sizes.append(len(timesteps))
        return modulation(self, timesteps, *given)

    monkeypatch.setattr(Transformer, "modulation", watched)
    monkeypatch.setattr("kontext_core.sampling.velocity.TABLE_STEPS", 4)
    torch.testing.assert_close(run(**options), expected, rtol=1e-4, atol=1e-5)
    assert sorted(sizes) == [3, 3, 4, 4, 4, 4]
    sizes.clear()
    monkeypatch.setattr("kontext_core.sampling.velocity.TABLE_STEPS", 64)
    run(**options)
    assert sizes == [11, 11]


def test_a_graph_that_teacache_leaves_out_is_said(
    pipeline: Pipeline, latents: Latents, caplog: pytest.LogCaptureFixture
) -> None:
    text = pipeline.encode_prompt("make the red circle blue")
    for graph, way in ((True, "teacache"), (True, None), (False, "teacache")):
        caplog.clear()
        with use_compute_options(ComputeOptions(graph=graph)):
            denoise(pipeline.transformer, latents(*SIZE), *text, LEVELS, approximate=way)
        assert ("none is recorded as a CUDA graph" in caplog.text) == (graph and way is not None)


@pytest.mark.parametrize("solver", SOLVERS)
def test_noise_levels_may_end_before_all_noise_is_gone(
    solver: str, transformer: Transformer, run: Callable[..., Tensor]
) -> None:
    """As those of the first part of a whole way; a solver may ask for the velocity at the last
    level, of the last network.
    """
    levels = sigmas(6, 24)
    first = run(sigmas=levels[:4], solver=solver)
    assert first.isfinite().all()
    stages = [(0.0, transformer), (0.5, transformer)]
    assert torch.equal(run(sigmas=levels[:4], solver=solver, transformer=stages), first)
    if solver != "dpmpp_2m":  # which remembers the step before
        noise_left = levels[3]
        assert (first - run(sigmas=levels, solver=solver)).norm() > 0.1 * noise_left
