"""TeaCache: exact if nothing is skipped, and what it skips otherwise."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.model.transformer import Transformer
from kontext_core.pipeline import Pipeline
from kontext_core.sampling import step_cache as approximate
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.references import ReferenceLatents
from kontext_core.sampling.schedule import sigmas
from kontext_core.sampling.solvers import SOLVERS
from kontext_core.sampling.step_cache import METHODS, parse_step_cache

STEPS = 8
SIZE = (4, 6)  # of the latents: 2 x 3 tokens

Latents = Callable[..., Tensor]
Prompts = Callable[..., tuple[Tensor, Tensor]]
Run = Callable[..., Tensor]


@pytest.fixture(autouse=True)
def _known_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(approximate.COEFFICIENTS, 32, (1.0, 0.0))


@pytest.fixture
def run(transformer: Transformer, latents: Latents, prompts: Prompts) -> Run:
    """`run(approximate=None, batch=1, **options)`: eight steps, one reference of the
    target's size unless given.
    """

    def denoised(approximate: str | None = None, batch: int = 1, **options: Any) -> Tensor:
        given = {"transformer": transformer, "noise": latents(*SIZE, batch), "sigmas": sigmas(STEPS, 24)}
        given |= {"references": [latents(*SIZE, seed=1)]} | options
        txt, pooled = given.pop("prompt", None) or prompts()
        return denoise(txt=txt, pooled=pooled, approximate=approximate, **given)

    return denoised


def asked(network: Transformer) -> tuple[list[int], Any]:
    """How many tokens the last block was called with, call by call; and the handle of the hook."""
    seen: list[int] = []
    hook = network.single_blocks[-1].register_forward_pre_hook(
        lambda _, given: seen.append(given[0].shape[1])
    )
    return seen, hook


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


def test_where_nothing_is_skipped_the_bits_are_the_same(run: Run, latents: Latents, prompts: Prompts) -> None:
    options = everything(latents, prompts)
    assert torch.equal(run("teacache:0", **options), run(**options))


@pytest.mark.parametrize("solver", SOLVERS)
def test_it_works_with_everything_and_stays_near(
    run: Run, latents: Latents, prompts: Prompts, solver: str
) -> None:
    options = everything(latents, prompts) | {"solver": solver}
    exact, result = run(**options), run("teacache:0.2", **options)
    assert not torch.equal(result, exact)
    assert torch.equal(result[..., :2], exact[..., :2]), "what the mask keeps"
    assert (result - exact).norm() < 0.2 * exact.norm()
    assert torch.equal(run("teacache:0.2", **options), result), "nothing is left over from the edit before"


def test_the_first_and_the_last_step_are_computed(run: Run, transformer: Transformer) -> None:
    seen, hook = asked(transformer)
    run("teacache:10")
    hook.remove()
    assert seen == [17, 17]  # text 5, target 6, reference 6


def test_both_passes_of_true_guidance_remember_their_own(
    run: Run, prompts: Prompts, assert_close: Callable[..., float]
) -> None:
    """Away from the prompt itself is no way at all."""
    assert_close(run("teacache:0.2", negative=prompts(), cfg_scale=3.0), run("teacache:0.2"), 1e-5)


def test_another_network_is_asked_itself(
    run: Run, make_transformer: Callable[..., Transformer], transformer: Transformer
) -> None:
    """Of a LoRA that ends in the middle nothing is remembered."""
    other = make_transformer()
    seen, hook = asked(other)
    run("teacache:10", transformer=[(0.0, transformer), (0.5, other)])
    hook.remove()
    assert seen == [17, 17], "where it begins, and at the end"


def test_batch_of_equal_pictures_equals_one(
    run: Run, latents: Latents, assert_close: Callable[..., float]
) -> None:
    noise = latents(*SIZE)
    alone, together = (run("teacache:0.2", noise=noise.expand(n, -1, -1, -1)) for n in (1, 2))
    assert_close(together, alone.expand(2, -1, -1, -1), 1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_numbers_of_a_way(name: str) -> None:
    method = METHODS[name]
    for number in ("", f":{method.least}", f":{method.most}"):
        parse_step_cache(f"{name}{number}")
    for number in ("much", "", "nan", "-1", "1e9"):
        with pytest.raises(ValueError, match=rf"the number behind {name} is the {method.what}, from "):
            parse_step_cache(f"{name}:{number}")


def test_the_usual_number(run: Run) -> None:
    assert torch.equal(run("teacache"), run(f"teacache:{METHODS['teacache'].usual}"))
    assert not torch.equal(run("teacache"), run("teacache:0.2"))


@pytest.mark.parametrize("name", ["magic", "first_block", "region", "references"])
def test_what_is_not_shipped_cannot_be_chosen(run: Run, name: str) -> None:
    with pytest.raises(
        ValueError, match=f"there is no method '{name}' to skip work; choose one of teacache$"
    ):
        run(name)


def test_it_knows_what_it_does_not_know(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(approximate.COEFFICIENTS, 32)
    with pytest.raises(
        ValueError, match="supports models of width 3072 and 128, but this one has 32: leave it off"
    ):
        run("teacache")


def test_an_edit_notes_the_way(
    pipeline: Pipeline, pictures: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"steps": 4, "seed": 1}
    width = pipeline.transformer.config.hidden_size
    monkeypatch.setitem(approximate.COEFFICIENTS, width, (1.0, 0.0))
    exact = pipeline.edit("make it night", [pictures(64, 64)], **given)
    quick = pipeline.edit("make it night", [pictures(64, 64)], **given, approximate="teacache:10")
    assert "approximate" not in exact.settings
    assert quick.settings["approximate"] == "teacache:10"
    assert not torch.equal(quick.latents, exact.latents)
