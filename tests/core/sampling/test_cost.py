"""The plan of an edit against the edit itself: places, tokens, computation and memory."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from kontext_core.config import KONTEXT_DEV, LAYOUTS, TransformerConfig
from kontext_core.images.fitting import FITS
from kontext_core.model.attention import key_weights
from kontext_core.model.positions import HeightWidth, layout_ids, target_ids, text_ids
from kontext_core.model.transformer import Transformer
from kontext_core.pipeline import Pipeline
from kontext_core.sampling.cost import PlannedReference, activation_bytes, picture_size, plan, step_flop
from kontext_core.sampling.references import ReferenceLatents, reference_tokens
from kontext_core.train.config import TINY_TRANSFORMER

SQUARE = (64, 64)  # 1024 x 1024 px


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_stand_where_the_sampler_puts_them(latents: Callable[..., Tensor], layout: str) -> None:
    mask = torch.zeros(4, 2, dtype=torch.bool)
    mask[0, :] = True
    given = [
        ReferenceLatents(latents(4, 6)),
        ReferenceLatents(latents(6, 6), strength=0.0),
        ReferenceLatents(latents(2, 8), place=(3, 1, 5)),
        ReferenceLatents(latents(8, 4), strength=0.5, region=mask),
        ReferenceLatents(latents(4, 4)),
    ]
    planned = plan(
        TINY_TRANSFORMER,
        (5, 7),
        [
            PlannedReference(
                one.size, one.strength, one.place, None if one.region is None else int(one.region.sum())
            )
            for one in given
        ],
        layout,
    )
    placed = reference_tokens(given, (5, 7), layout)
    shown = [one for one in planned.references if one is not None]
    assert planned.references[1] is None
    assert tuple(one.n_tokens for one in shown) == placed.lengths
    assert [one.corner for one in shown] == [tuple(ids[0, 0].int().tolist()) for ids in placed.ids]
    assert planned.n_image == 35 + sum(placed.lengths)
    assert planned.n_tokens == planned.n_image + TINY_TRANSFORMER.text_length


@pytest.mark.parametrize(
    ("references", "published", "saved"), [(0, 74.4, 0.0), (1, 165.5, 0.008), (2, 280.1, 0.011)]
)
def test_arithmetic_of_the_published_model(references: int, published: float, saved: float) -> None:
    """TFLOP a step at 1024 x 1024 px, and the share that the last block saves, computing the target alone."""
    made = plan(KONTEXT_DEV, SQUARE, [PlannedReference(SQUARE)] * references)
    whole = 57 * (24 * 3072**2 * made.n_tokens + 4 * made.n_tokens**2 * 3072)
    assert whole / 1e12 == pytest.approx(published, abs=0.15)
    assert 1 - made.step_flop / whole == pytest.approx(saved, abs=0.002)
    assert made.time_factor == pytest.approx(made.step_flop / plan(KONTEXT_DEV, SQUARE).step_flop)


@pytest.mark.parametrize("strengths", [(), (1.0, 1.0), (1.0, 0.5)])
def test_arithmetic_is_what_torch_counts(
    make_transformer: Callable[..., Transformer], strengths: tuple[float, ...]
) -> None:
    transformer = make_transformer(hidden_size=128, num_heads=4, axes_dim=(8, 12, 12))
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counted,
    ):  # it counts no other on a CPU
        n_target, n_tokens = one_step(transformer, (16, 16), [(8, 8)] * len(strengths), strengths)
    expected = step_flop(
        transformer.config, n_target, n_tokens, weighted=any(one != 1.0 for one in strengths)
    )
    assert counted.get_total_flops() == pytest.approx(expected, rel=0.02)


def test_strength_nought_costs_nothing_and_a_weight_a_little() -> None:
    def factor(*strengths: float) -> float:
        return plan(
            TINY_TRANSFORMER, (8, 8), [PlannedReference((8, 8), one) for one in strengths]
        ).time_factor

    assert factor(0.0) == factor() == 1.0
    assert factor(1.0, 0.0) == factor(1.0) > 1.5
    assert factor(1.0) < factor(0.5) < 1.2 * factor(1.0)


@pytest.mark.parametrize(
    ("changes", "references", "dtype"),
    [
        ({}, 0, torch.float32),
        ({}, 1, torch.float32),
        ({}, 3, torch.bfloat16),
        ({"num_heads": 8, "axes_dim": (4, 6, 6), "mlp_ratio": 3.0}, 2, torch.float32),
    ],
)
def test_memory_is_what_a_step_takes(changes: dict[str, object], references: int, dtype: torch.dtype) -> None:
    """Within 5 % of the peak of all that torch allocates."""
    config = replace(TINY_TRANSFORMER, **changes)
    transformer = Transformer(config).to(dtype).eval().requires_grad_(False)
    target, others = (16, 24), [(16, 16)] * references
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        n_target, n_tokens = one_step(transformer, target, others)
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    peak = max(itertools.accumulate(sizes))
    assert activation_bytes(config, n_target, n_tokens, dtype) == pytest.approx(peak, rel=0.05)


def one_step(
    transformer: Transformer,
    target: HeightWidth,
    references: list[HeightWidth],
    strengths: tuple[float, ...] = (),
) -> tuple[int, int]:
    """Run one step on nothing in particular.

    Returns: how many tokens the target has, and all with the text.
    """
    config = transformer.config
    ids = torch.cat([target_ids(*target), *layout_ids(target, references)], dim=1)
    n_target, n_text = target[0] * target[1], config.text_length
    lengths = [height * width for height, width in references]
    weights = key_weights(n_text + n_target, lengths, strengths, config.hidden_size // config.num_heads)
    txt = torch.zeros(1, n_text, config.context_in_dim)
    prepared = transformer.prepare(
        txt, text_ids(1, n_text), ids, torch.zeros(1, ids.shape[1] - n_target, 64), weights
    )
    pooled = torch.zeros(1, config.vec_in_dim, dtype=transformer.dtype)
    guidance = torch.ones(1) if config.guidance_embed else None
    modulation = transformer.modulation(torch.ones(1, 1), pooled, guidance)
    transformer.velocity(torch.zeros(1, n_target, 64), prepared, modulation, 0)
    return n_target, n_text + ids.shape[1]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("most_tokens", [None, 5, 1000])
def test_a_picture_has_the_size_that_it_is_encoded_at(
    pipeline: Pipeline, pictures: Callable[..., Tensor], fit: str, most_tokens: int | None
) -> None:
    sizes = pipeline.preferred_sizes
    for height, width in [(64, 64), (40, 100), (90, 33), (17, 17)]:
        latents, _ = pipeline.encode_picture(pictures(height, width), fit, most_tokens=most_tokens)
        found = picture_size(height, width, sizes, fit, most_tokens)
        assert found == (latents.shape[-2] // 2, latents.shape[-1] // 2)


def test_the_models_own_layout_and_text_are_the_default() -> None:
    config = replace(TINY_TRANSFORMER, layout="diagonal")
    made = plan(config, (8, 8), [PlannedReference((4, 4))])
    assert made.references[0] is not None
    assert made.references[0].corner == (0, 8, 8)
    assert made.n_text == 32
    assert plan(config, (8, 8), n_text=256).n_tokens == 320


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(
        ValueError, match="layout 'round' is not known; choose one of offset, index, diagonal"
    ):
        plan(TINY_TRANSFORMER, (8, 8), [PlannedReference((8, 8))], "round")


def test_a_model_without_single_blocks_is_counted_whole() -> None:
    config: TransformerConfig = replace(TINY_TRANSFORMER, depth_single_blocks=0)
    assert step_flop(config, 10, 30) == 2 * (24 * 128**2 * 30 + 4 * 30**2 * 128)
