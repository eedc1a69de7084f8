"""Ways to skip work: exact where nothing is skipped, and what they skip where they do."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.approximate import METHODS, chosen, skipped_blocks, standing_tokens
from kontext_core.approximate.question import Question, Sequence
from kontext_core.approximate.standing_tokens import Standing, changed, keeping
from kontext_core.attention import key_weights
from kontext_core.config import KONTEXT_DEV
from kontext_core.pipeline import Pipeline
from kontext_core.plan import kept_bytes
from kontext_core.positions import layout_ids, target_ids, text_ids
from kontext_core.references import ReferenceLatents
from kontext_core.sampler import denoise
from kontext_core.schedule import sigmas
from kontext_core.solvers import SOLVERS
from kontext_core.transformer import Transformer

STEPS = 8
SIZE = (4, 6)  # of the latents: 2 x 3 tokens
TOKENS = (2, 3)

Latents = Callable[..., Tensor]
Prompts = Callable[..., tuple[Tensor, Tensor]]
Run = Callable[..., Tensor]


@pytest.fixture(autouse=True)
def _known_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(skipped_blocks.COEFFICIENTS, 32, (1.0, 0.0))


@pytest.fixture
def run(transformer: Transformer, latents: Latents, prompts: Prompts) -> Run:
    """`run(approximate=None, batch=1, **options)`: eight steps, one reference of the target's size unless given."""

    def denoised(approximate: str | None = None, batch: int = 1, **options: Any) -> Tensor:
        given = {"transformer": transformer, "noise": latents(*SIZE, batch), "sigmas": sigmas(STEPS, 24)}
        given |= {"references": [latents(*SIZE, seed=1)]} | options
        txt, pooled = given.pop("prompt", None) or prompts()
        return denoise(txt=txt, pooled=pooled, approximate=approximate, **given)

    return denoised


@pytest.fixture
def calls(transformer: Transformer) -> Any:
    """How many tokens each block was called with, block by block, since the test began."""
    seen: dict[str, list[int]] = {"first": [], "last": []}
    handles = [
        transformer.double_blocks[0].register_forward_pre_hook(
            lambda _, given: seen["first"].append(given[0].shape[1] + given[1].shape[1])
        ),
        transformer.single_blocks[-1].register_forward_pre_hook(
            lambda _, given: seen["last"].append(given[0].shape[1])
        ),
    ]
    yield seen
    for handle in handles:
        handle.remove()


def everything(latents: Latents, prompts: Prompts) -> dict[str, Any]:
    """All options at once."""
    other = ReferenceLatents(latents(2, 4, seed=2), strength=0.5)
    mask = torch.ones(1, 1, *SIZE)
    mask[..., :2] = 0
    return {
        "batch": 2,
        "references": [latents(*SIZE, seed=1), other],
        "negative": (prompts(seed=3)[0][:, :2], prompts(seed=3)[1]),
        "cfg_scale": 2.0,
        "start": latents(*SIZE, seed=4),
        "strength": 0.8,
        "mask": mask,
    }


@pytest.mark.parametrize("way", ["first_block:0", "teacache:0", "references:1"])
def test_where_nothing_is_skipped_the_bits_are_the_same(
    run: Run, latents: Latents, prompts: Prompts, way: str
) -> None:
    options = everything(latents, prompts)
    assert torch.equal(run(way, **options), run(**options))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("way", ["first_block:0.5", "teacache:0.2", "references:3", "region:0.9"])
def test_every_way_works_with_everything_and_stays_near(
    run: Run, latents: Latents, prompts: Prompts, way: str, solver: str
) -> None:
    options = everything(latents, prompts) | {"solver": solver}
    exact, result = run(**options), run(way, **options)
    assert not torch.equal(result, exact)
    assert torch.equal(result[..., :2], exact[..., :2]), "what the mask keeps"
    assert (result - exact).norm() < 0.2 * exact.norm()
    assert torch.equal(run(way, **options), result), "nothing is left over from the edit before"


@pytest.mark.parametrize(
    ("way", "first", "last"),
    [("first_block:1", STEPS, 2), ("teacache:10", 2, 2), ("region:10", 4, 4), ("references:3", STEPS, STEPS)],
)
def test_how_often_blocks_are_asked(
    run: Run, calls: dict[str, list[int]], way: str, first: int, last: int
) -> None:
    """A region that holds nothing asks for the first two steps, five later again, and at the end."""
    run(way)
    assert (len(calls["first"]), len(calls["last"])) == (first, last)


def test_references_are_computed_every_third_time(run: Run, calls: dict[str, list[int]]) -> None:
    run("references:3")
    assert calls["last"] == [17, 11, 11, 17, 11, 11, 17, 11]  # text 5, target 6, reference 6


def test_a_region_computes_what_changes_and_the_text(
    run: Run, calls: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    corner = torch.zeros(6, dtype=torch.bool)
    corner[0] = True
    monkeypatch.setattr(standing_tokens, "changed", lambda *_: corner)
    run("region")
    assert calls["last"] == [17, 17, 6, 6, 6, 6, 17, 17]


def test_a_token_changes_with_its_neighbours_in_any_picture(latents: Latents) -> None:
    before = torch.zeros(1, 30, 64)
    clean = torch.zeros(2, 30, 64)
    clean[0, 0], clean[1, 29] = 0.3, 0.3
    clean[1, 17] = 0.1
    found = changed(clean, Sequence(5, (5, 6), 30, before), 0.2).view(5, 6)
    expected = torch.zeros(5, 6, dtype=torch.bool)
    expected[:2, :2] = expected[3:, 4:] = True
    assert torch.equal(found, expected)


@torch.no_grad()
def test_moving_tokens_beside_standing_ones_get_the_exact_answer(
    transformer: Transformer, latents: Latents, prompts: Prompts, assert_close: Callable[..., float]
) -> None:
    """With keys and values of the same evaluation nothing is approximate; strengths of references count too."""
    txt, pooled = prompts(2)
    ids = torch.cat([target_ids(*TOKENS), *layout_ids(TOKENS, [(2, 2), (1, 4)])], dim=1)
    weights = key_weights(11, (4, 4), (0.5, 1.7), 16)
    prepared = transformer.prepare(txt, text_ids(1, 5), ids, torch.randn(2, 8, 64), weights)
    modulation = transformer.modulation(torch.tensor([[0.7]]), pooled, torch.full((2,), 2.5))
    question = Question(transformer, torch.randn(2, 6, 64), prepared, modulation, 0, 0.7, 0, 1)
    exact, kept = keeping(question, 5)
    moves = torch.tensor([0, 1, 2, 3, 4, 6, 9])
    stands = torch.tensor([5, 7, 8, *range(10, 19)])
    standing = Standing(transformer, moves, stands, [(k[:, stands - 5], v[:, stands - 5]) for k, v in kept])
    assert torch.equal(exact, question.exact())
    assert_close(standing.velocity(question, question.tokens[:, [1, 4]]), exact[:, [1, 4]], 1e-5)


@pytest.mark.parametrize("way", ["first_block:0.5", "teacache:0.2", "references:3", "region:0.9"])
def test_both_passes_of_true_guidance_remember_their_own(
    run: Run, prompts: Prompts, way: str, assert_close: Callable[..., float]
) -> None:
    """Away from the prompt itself is no way at all."""
    assert_close(run(way, negative=prompts(), cfg_scale=3.0), run(way), 1e-5)


@pytest.mark.parametrize("way", ["first_block:1", "teacache:10", "references:100", "region:10"])
def test_another_network_is_asked_itself(
    run: Run, make_transformer: Callable[..., Transformer], transformer: Transformer, way: str
) -> None:
    """Of a LoRA that ends in the middle nothing is remembered."""
    asked: list[int] = []
    other = make_transformer()
    handle = other.single_blocks[-1].register_forward_pre_hook(
        lambda _, given: asked.append(given[0].shape[1])
    )
    run(way, transformer=[(0.0, transformer), (0.5, other)])
    handle.remove()
    assert asked[0] == 17


def test_batch_equals_one_by_one(run: Run, latents: Latents, assert_close: Callable[..., float]) -> None:
    noise, reference = latents(*SIZE, 2), latents(*SIZE, 2, seed=1)
    together = run("references:3", noise=noise, references=[reference])
    for i in range(2):
        alone = run("references:3", noise=noise[i : i + 1], references=[reference[i : i + 1]])
        assert_close(together[i : i + 1], alone, 1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_numbers_of_a_way(name: str) -> None:
    method = METHODS[name]
    assert (chosen(name).amount, chosen(f"{name}:{method.least}").amount) == (method.usual, method.least)
    for number in ("much", "", "nan", "-1", "1e9"):
        with pytest.raises(ValueError, match=rf"the number behind {name} is the {method.what}, from "):
            chosen(f"{name}:{number}")


@pytest.mark.parametrize(
    ("way", "options", "message"),
    [
        ("magic", {}, "there is no way 'magic' to skip work; choose one of first_block"),
        ("references", {"references": []}, "approximate is 'references' and there is none"),
        ("region", {"references": []}, "a reference of the result's size, and there is none"),
        ("region", {"references": [torch.zeros(1, 16, 4, 4)]}, "choose another way, or that size"),
    ],
)
def test_what_cannot_be_skipped_is_said(run: Run, way: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(way, **options)


def test_teacache_knows_what_it_does_not_know(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(skipped_blocks.COEFFICIENTS, 32)
    with pytest.raises(
        ValueError, match="knows models of width 3072 and 128, and this one's is 32: leave it off"
    ):
        run("teacache")


def test_an_edit_notes_the_way(pipeline: Pipeline, pictures: Callable[..., Tensor]) -> None:
    given = {"steps": 3, "seed": 1}
    exact = pipeline.edit("make it night", [pictures(64, 64)], **given)
    quick = pipeline.edit("make it night", [pictures(64, 64)], **given, approximate="references:3")
    assert "approximate" not in exact.settings
    assert quick.settings["approximate"] == "references:3"
    assert not torch.equal(quick.latents, exact.latents)


@pytest.mark.parametrize(("way", "most"), [("references:3", 6), ("region:0.01", 12)])
def test_what_is_kept_is_what_is_planned_and_never_twice(
    run: Run, transformer: Transformer, monkeypatch: pytest.MonkeyPatch, way: str, most: int
) -> None:
    """Of 6 target and 6 reference tokens, in a batch of 2; and what was kept goes before others are."""
    alive: list[weakref.ref[Standing]] = []
    largest = 0

    def watched(question: Question, start: int) -> Any:
        nonlocal largest
        assert not any(one() for one in alive), "an earlier set is held still"
        answer = keeping(question, start)
        largest = max(largest, sum(k.nbytes + v.nbytes for k, v in answer[1]))
        return answer

    def made(*given: Any) -> Standing:
        standing = Standing(*given)
        alive.append(weakref.ref(standing))
        return standing

    monkeypatch.setattr(standing_tokens, "keeping", watched)
    monkeypatch.setattr(standing_tokens, "Standing", made)
    run(way, batch=2)
    assert len(alive) > 1
    tokens = chosen(way).kept_tokens(6, 6)
    assert tokens == most
    assert largest == 2 * kept_bytes(transformer.config, tokens, torch.float32)


def test_other_ways_keep_no_keys() -> None:
    assert [chosen(name).kept_tokens(6, 6) for name in ("teacache", "first_block")] == [0, 0]
    assert kept_bytes(KONTEXT_DEV, 4096, torch.bfloat16) == pytest.approx(2.67 * 2**30, rel=0.01)
