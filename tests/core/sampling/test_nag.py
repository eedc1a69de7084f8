"""Normalised attention guidance against a plain reference of it, and guidance in some of the steps only."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kontext_core.kernels.options import use_compute_options
from kontext_core.model.latents import pack, unpack
from kontext_core.model.negative import ALPHA, TAU, steered
from kontext_core.model.optimise import compile_blocks
from kontext_core.model.positions import layout_ids, target_ids, text_ids
from kontext_core.model.transformer import Transformer
from kontext_core.model_spec import ComputeOptions
from kontext_core.pipeline import Pipeline
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.guidance import cfg_steps
from kontext_core.sampling.nag import SHARE
from kontext_core.sampling.references import ReferenceLatents
from kontext_core.sampling.schedule import share_of, sigmas
from kontext_core.sampling.solvers import SOLVERS

SIZE = (4, 6)  # of the latents: 2 x 3 tokens
LEVELS = sigmas(8, 6)
NEAREST_TO_ONE = 1 + 1e-12  # goes the whole way of the second text, and steers less than a float32 holds

Latents = Callable[..., Tensor]
Prompts = Callable[..., tuple[Tensor, Tensor]]
Run = Callable[..., Tensor]


@pytest.fixture
def run(transformer: Transformer, latents: Latents, prompts: Prompts) -> Run:
    """`run(**options)`: eight steps, or those of `sigmas`, with a reference and a negative prompt."""

    def denoised(**options: Any) -> Tensor:
        txt, pooled = prompts(2)
        options = {
            "transformer": transformer,
            "sigmas": LEVELS,
            "references": [latents(4, 4, seed=5)],
            "negative": prompts(seed=9),
        } | options
        return denoise(noise=latents(*SIZE, 2), txt=txt, pooled=pooled, **options)

    return denoised


@pytest.mark.parametrize("scale", [1.5, 5.0, 20.0])
@pytest.mark.parametrize(("tau", "alpha"), [(TAU, ALPHA), (1.5, 0.5), (100.0, 1.0)])
def test_the_formula(scale: float, tau: float, alpha: float) -> None:
    positive, negative = np.random.default_rng(0).normal(size=(2, 2, 5, 16))
    z = scale * positive - (scale - 1) * negative
    ratio = np.abs(z).sum(-1, keepdims=True) / np.abs(positive).sum(-1, keepdims=True)
    expected = alpha * z * np.minimum(ratio, tau) / ratio + (1 - alpha) * positive
    result = steered(torch.tensor(positive).float(), torch.tensor(negative).float(), scale, tau, alpha)
    assert np.abs(result.numpy() - expected).max() <= 1e-6 * np.abs(expected).max()
    assert (ratio > tau).any() or scale < 5 or tau == 100


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_steers_nowhere_leaves_every_bit(dtype: torch.dtype) -> None:
    positive, negative = torch.randn(2, 1, 7, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(steered(positive, negative, 1.0), positive)
    assert torch.equal(steered(positive, negative, 9.0, alpha=0.0), positive)
    assert steered(torch.zeros_like(positive), torch.zeros_like(positive), 5.0).eq(0).all()


@torch.no_grad()
def one_step_by_hand(
    transformer: Transformer,
    tokens: Tensor,
    references: Tensor,
    ids: Tensor,
    texts: list[tuple[Tensor, Tensor]],
    scale: float,
    bias: Tensor,
) -> Tensor:
    """Run a step in plain torch, where each attention is that of [text | image] for one text at a time.

    Args:
        bias: of each image key's logit, for the queries of text and target.
    """
    batch, n_target = tokens.shape[:2]
    sigma, guidance = torch.full((1, batch), LEVELS[0]), torch.full((batch,), 2.5)
    tables = [transformer.modulation(sigma, pooled.expand(batch, -1), guidance) for _, pooled in texts]
    streams = [transformer.txt_in(txt.expand(batch, -1, -1)) for txt, _ in texts]
    n_txt = streams[0].shape[1]
    img = transformer.img_in(torch.cat([tokens, references.expand(batch, -1, -1)], dim=1))
    pe = transformer.prepare(*texts[0][:1], text_ids(1, n_txt), ids, references).pe

    def normed(x: Tensor, vectors: Tensor, first: int = 0) -> Tensor:
        shift, factor = vectors[:, first], vectors[:, first + 1]
        return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + factor) + shift

    def turned(qkv: Tensor, norm: Any, table: Tensor) -> list[Tensor]:
        q, k, v = qkv.unflatten(-1, (3, transformer.config.num_heads, -1)).unbind(2)
        q, k = (
            F.rms_norm(x, x.shape[-1:], eps=1e-6) * part.scale
            for x, part in ((q, norm.query_norm), (k, norm.key_norm))
        )
        q, k = (
            torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * table[:, :, None]).flatten(3)
            for x in (q, k)
        )
        return [q, k, v]

    def attend(text: list[Tensor], image: list[Tensor]) -> tuple[Tensor, Tensor]:
        q, k, v = (torch.cat(both, dim=1).transpose(1, 2) for both in zip(text, image, strict=True))
        mask = torch.zeros(q.shape[2], q.shape[2])
        mask[: n_txt + n_target, n_txt:] = bias
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        return out[:, :n_txt], out[:, n_txt:]

    def merged(image: list[Tensor], both: list[list[Tensor]]) -> tuple[Tensor, list[Tensor]]:
        (text, positive), (other, negative) = (attend(part, image) for part in both)
        z = scale * positive - (scale - 1) * negative
        ratio = z.abs().sum(-1, keepdim=True) / positive.abs().sum(-1, keepdim=True)
        z = ALPHA * z * ratio.clamp_max(TAU) / ratio + (1 - ALPHA) * positive
        return torch.cat([z[:, :n_target], positive[:, n_target:]], dim=1), [text, other]

    for number, block in enumerate(transformer.double_blocks):

        def through(x: Tensor, vectors: Tensor, seen: Tensor, attn: Any, mlp: Any) -> Tensor:
            x = x + vectors[:, 2] * attn.proj(seen)
            return x + vectors[:, 5] * mlp(normed(x, vectors, 3))

        img_vectors = tables[0].img[number][0]
        txt_vectors = [table.txt[number][0] for table in tables]
        image = turned(block.img_attn.qkv(normed(img, img_vectors)), block.img_attn.norm, pe[:, n_txt:])
        both = [
            turned(block.txt_attn.qkv(normed(x, mod)), block.txt_attn.norm, pe[:, :n_txt])
            for x, mod in zip(streams, txt_vectors, strict=True)
        ]
        seen, others = merged(image, both)
        img = through(img, img_vectors, seen, block.img_attn, block.img_mlp)
        streams = [
            through(x, mod, out, block.txt_attn, block.txt_mlp)
            for x, mod, out in zip(streams, txt_vectors, others, strict=True)
        ]

    for number, block in enumerate(transformer.single_blocks):
        width = 3 * transformer.config.hidden_size
        vectors = [tables[0].single[number][0], *(table.single[number][0] for table in tables)]
        parts = [block.linear1(normed(x, mod)) for x, mod in zip((img, *streams), vectors, strict=True)]
        image = turned(parts[0][..., :width], block.norm, pe[:, n_txt:])
        both = [turned(part[..., :width], block.norm, pe[:, :n_txt]) for part in parts[1:]]
        seen, others = merged(image, both)
        img, *streams = (
            x + mod[:, 2] * block.linear2(torch.cat([out, F.gelu(part[..., width:], approximate="tanh")], -1))
            for x, mod, out, part in zip((img, *streams), vectors, (seen, *others), parts, strict=True)
        )
    return transformer.final_layer(img[:, :n_target], tables[0].last[0])


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("scale", [1.0, 3.0, 9.0])
def test_a_step_by_hand(
    transformer: Transformer, latents: Latents, prompts: Prompts, run: Run, scale: float, strength: float
) -> None:
    """The target is steered and a reference is not, whatever its strength."""
    tokens, reference = pack(latents(*SIZE, 2)), latents(4, 4, seed=5)
    ids = torch.cat([target_ids(2, 3), *layout_ids((2, 3), [(2, 2)])], dim=1)
    bias = torch.zeros(10)
    bias[6:] = torch.tensor(strength).log()
    v = one_step_by_hand(
        transformer, tokens, pack(reference), ids, [prompts(2), prompts(seed=9)], scale, bias
    )
    step = LEVELS[0], LEVELS[-1]
    result = run(
        sigmas=step, nag_scale=max(scale, NEAREST_TO_ONE), references=[ReferenceLatents(reference, strength)]
    )
    expected = unpack(tokens + (step[1] - step[0]) * v, *SIZE)
    assert (result - expected).norm() <= 1e-6 * expected.norm()


def test_off_is_off(run: Run) -> None:
    plain = run()
    assert torch.equal(run(nag_scale=1.0), plain)
    assert torch.equal(run(nag_scale=NEAREST_TO_ONE), plain)
    assert not torch.equal(run(nag_scale=2.0), plain)
    assert torch.equal(run(cfg_scale=3.0, cfg_to=1.0), run(cfg_scale=3.0))


def test_the_first_quarter_is_steered() -> None:
    assert [share_of(steps, SHARE) for steps in (0, 1, 4, 8, 28)] == [0, 1, 1, 2, 7]
    assert [cfg_steps(8, share) for share in (0.05, 0.25, 0.5, 1.0)] == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("options", "calls"),
    [({}, "p" * 8), ({"nag_scale": 5.0}, "nnpppppp"), ({"cfg_scale": 3.0, "cfg_to": 0.25}, "pppppppppp")],
    ids=["off", "nag", "cfg"],
)
def test_only_the_first_steps_cost_more(
    run: Run, transformer: Transformer, options: dict[str, Any], calls: str
) -> None:
    """What the first block is asked for, each time: p the prompt's text alone, n the negative one with it."""
    seen: list[str] = []
    hook = transformer.double_blocks[0].register_forward_hook(
        lambda _, inputs, others, result: seen.append("n" if others.get("negative") else "p"),
        with_kwargs=True,
    )
    run(**options)
    hook.remove()
    assert "".join(seen) == calls


def test_cfg_ends_where_it_is_told_to(run: Run) -> None:
    def shown(cfg_to: float) -> list[Tensor]:
        clean: list[Tensor] = []
        run(cfg_scale=3.0, cfg_to=cfg_to, callback=lambda step, steps, latents: clean.append(latents))
        return clean

    quarter, whole = shown(0.25), shown(1.0)
    equal = [torch.allclose(*both, rtol=0, atol=1e-5) for both in zip(quarter, whole, strict=True)]
    assert equal == [True] * 2 + [False] * 6


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_and_both_ways_together(run: Run, latents: Latents, solver: str) -> None:
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., :3] = 1
    together = {"nag_scale": 5.0, "cfg_scale": 2.0, "cfg_to": 0.5, "solver": solver}
    start = latents(*SIZE, seed=3)
    inside = run(**together, start=start, mask=mask)
    assert torch.equal(inside[..., 3:], start.expand(2, -1, -1, -1)[..., 3:])
    apart = [
        run(**(together | change)) for change in ({}, {"nag_scale": 1.0}, {"cfg_scale": 1.0}, {"cfg_to": 1.0})
    ]
    assert all(result.isfinite().all() for result in apart)
    assert not any(torch.equal(apart[0], other) for other in apart[1:])


def test_networks_that_take_turns(run: Run, transformer: Transformer) -> None:
    other = copy.deepcopy(transformer)
    with torch.no_grad():
        other.img_in.weight.mul_(1.5)
    stages = [(0.0, transformer), (0.125, other)]
    assert torch.equal(run(transformer=stages, nag_scale=NEAREST_TO_ONE), run(transformer=stages))
    assert not torch.equal(run(transformer=stages, nag_scale=5.0), run(nag_scale=5.0))


def test_texts_of_different_lengths(run: Run, prompts: Prompts) -> None:
    txt, pooled = prompts(seed=9)
    assert run(negative=(txt[:, :3], pooled), nag_scale=5.0).isfinite().all()


def test_blocks_that_are_compiled_or_fetched(
    run: Run, make_transformer: Callable[..., Transformer], transformer: Transformer
) -> None:
    compiled = make_transformer()
    compile_blocks(compiled, backend="eager")
    torch.testing.assert_close(
        run(transformer=compiled, nag_scale=5.0), run(nag_scale=5.0), rtol=0, atol=1e-5
    )
    picture = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    results = [
        Pipeline.load("tiny", device="cpu", **kept).edit(
            "make it night", [picture], steps=2, nag_scale=5.0, negative_prompt="snow"
        )
        for kept in ({}, {"memory_gib": "least"})
    ]
    assert torch.equal(results[0].image, results[1].image)


def test_no_graph_of_what_is_steered(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with use_compute_options(ComputeOptions(graph=True)):
        run(nag_scale=5.0)
    assert "nag looks into the first steps, so that these are not recorded as a CUDA graph" in caplog.text


class Spread(Transformer):
    """As one whose blocks are run by several devices."""

    def through_blocks(self, *args: Any, **options: Any) -> Tensor:
        return super().through_blocks(*args, **options)


def test_what_does_not_go_together(run: Run, transformer: Transformer) -> None:
    with pytest.raises(ValueError, match=r"^nag_scale 5.0 needs a negative prompt; pass negative="):
        run(nag_scale=5.0, negative=None)
    with pytest.raises(ValueError, match=r"^nag and approximate do not go together"):
        run(nag_scale=5.0, approximate="teacache")
    spread = Spread(transformer.config)
    with pytest.raises(ValueError, match=r"^nag is for an edit on one device"):
        run(transformer=spread, nag_scale=5.0)
