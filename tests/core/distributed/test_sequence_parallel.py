"""One edit over several processes: the same velocity and latents as in one process."""

import gc
from collections.abc import Callable, Generator

import pytest
import torch
from torch import Tensor

from kontext_core.model.attention import key_weights
from kontext_core.model.transformer import Transformer
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.references import ReferenceLatents
from kontext_core.sampling.schedule import sigmas
from tests.core.conftest import SMALL
from tests.core.distributed.conftest import Group

LAYOUTS = ("offset", "index", "diagonal")


@pytest.fixture(scope="module", params=[2, 3])
def group(request: pytest.FixtureRequest, make_group: Callable[..., Group]) -> Generator[Group]:
    made = make_group(request.param)
    yield made
    made.leader.end()
    assert made.others.wait(60) == 0


@pytest.mark.parametrize("batch", [1, 2])
def test_velocity(
    group: Group,
    transformer: Transformer,
    inputs: Callable[..., dict[str, Tensor]],
    batch: int,
    assert_close: Callable[..., float],
) -> None:
    given = inputs(batch)
    assert_close(group.spread(**given, n_target=6), transformer(**given, n_target=6))


def test_fewer_tokens_than_ranks(group: Group, inputs: Callable[..., dict[str, Tensor]]) -> None:
    given = inputs()
    with pytest.raises(ValueError, match="5 tokens of text and 1 of the picture cannot be shared by"):
        group.spread(**given, n_target=1)


def test_text_to_image(
    group: Group,
    transformer: Transformer,
    inputs: Callable[..., dict[str, Tensor]],
    assert_close: Callable[..., float],
) -> None:
    given = inputs()
    given |= {"img": given["img"][:, :6], "img_ids": given["img_ids"][:, :6]}
    assert_close(group.spread(**given), transformer(**given))


def test_keys_with_weights(
    group: Group,
    transformer: Transformer,
    inputs: Callable[..., dict[str, Tensor]],
    assert_close: Callable[..., float],
) -> None:
    given = inputs(2)
    weights = key_weights(5 + 6, [4, 4], [0.3, 1.7], SMALL.hidden_size // SMALL.num_heads)

    def velocity(network: Transformer) -> Tensor:
        prepared = network.prepare(
            given["txt"], given["txt_ids"], given["img_ids"], given["img"][:, 6:], weights
        )
        table = network.modulation(given["timesteps"][None], given["pooled"], given["guidance"])
        return network.velocity(given["img"][:, :6], prepared, table, 0)

    assert_close(velocity(group.spread), velocity(transformer))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_denoise(
    group: Group,
    transformer: Transformer,
    prompts: Callable[..., tuple[Tensor, Tensor]],
    latents: Callable[..., Tensor],
    layout: str,
    assert_close: Callable[..., float],
) -> None:
    references = [ReferenceLatents(latents(4, 6, seed=1), 0.6), latents(2, 10, batch=2, seed=2)]
    options = {
        "references": references,
        "layout": layout,
        "negative": prompts(seed=3),
        "cfg_scale": 1.7,
        "start": latents(6, 10, seed=4),
        "strength": 0.8,
        "mask": torch.rand(1, 1, 6, 10, generator=torch.Generator().manual_seed(5)),
        "solver": "heun",
    }
    given = latents(6, 10, batch=2), *prompts(), sigmas(4, 15)
    assert_close(denoise([(0.0, group.spread)], *given, **options), denoise(transformer, *given, **options))


def test_others_keep_no_more_than_rank_0(group: Group, inputs: Callable[..., dict[str, Tensor]]) -> None:
    gc.collect()
    before = len(group.leader._numbers)
    for _ in range(3):
        group.spread(**inputs(), n_target=6)
    gc.collect()
    assert before == len(group.leader._numbers) == 0
    group.leader.ask("modulation", [torch.ones(1, 1), torch.zeros(1, 12), torch.ones(1)], network=0, number=0)
    assert group.leader._forget == []  # told, and a rank that had nothing of the kind would have failed


def test_interrupt_between_steps(
    group: Group,
    transformer: Transformer,
    prompts: Callable[..., tuple[Tensor, Tensor]],
    latents: Callable[..., Tensor],
    assert_close: Callable[..., float],
) -> None:
    given = latents(4, 6), *prompts(), sigmas(3, 6)

    def stop(step: int, *_: object) -> None:
        if step == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        denoise([(0.0, group.spread)], *given, callback=stop)
    assert_close(denoise([(0.0, group.spread)], *given), denoise(transformer, *given))


def test_what_another_network_prepared(
    group: Group, transformer: Transformer, inputs: Callable[..., dict[str, Tensor]]
) -> None:
    given = inputs()
    prepared = transformer.prepare(given["txt"], given["txt_ids"], given["img_ids"], given["img"][:, 6:])
    table = group.spread.modulation(given["timesteps"][None], given["pooled"], given["guidance"])
    with pytest.raises(ValueError, match="spread over several devices"):
        group.spread.velocity(given["img"][:, :6], prepared, table, 0)


def test_a_step_cut_short(group: Group, inputs: Callable[..., dict[str, Tensor]]) -> None:
    given = inputs()
    prepared = group.spread.prepare(given["txt"], given["txt_ids"], given["img_ids"], given["img"][:, 6:])
    table = group.spread.modulation(given["timesteps"][None], given["pooled"], given["guidance"])
    with pytest.raises(ValueError, match="leave approximations off"):
        group.spread.through_blocks(given["img"][:, :6], prepared, table, 0)
