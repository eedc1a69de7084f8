"""On a field known in closed form: data of mean 1 and deviation 0.5, whose flow ends at 1 + 0.5 eps."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from kontext_core.model.latents import pack, unpack
from kontext_core.model.positions import target_ids, text_ids
from kontext_core.model.transformer import Transformer
from kontext_core.sampling.schedule import sigmas
from kontext_core.sampling.solvers import SOLVERS, find_solver

MEAN, DEVIATION = 1.0, 0.5
NOISE = torch.linspace(-2, 2, 9, dtype=torch.float64)


def velocity_at(z: Tensor, sigma: float) -> Tensor:
    """eps - x, each at its expectation given z."""
    scale = (1 - sigma) ** 2 * DEVIATION**2 + sigma**2
    beyond = z - (1 - sigma) * MEAN
    return (sigma - (1 - sigma) * DEVIATION**2) / scale * beyond - MEAN


def error(name: str, steps: int) -> float:
    levels = sigmas(steps, 64)
    asked: list[int] = []

    def velocity(z: Tensor, i: int) -> Tensor:
        asked.append(i)
        return velocity_at(z, levels[i])

    end = SOLVERS[name](velocity, NOISE, levels, lambda step, tokens, clean: tokens)
    assert len(asked) == (2 * steps - 1 if name == "heun" else steps)
    return (end - (MEAN + DEVIATION * NOISE)).abs().max().item()


@pytest.mark.parametrize(
    ("name", "least", "most"), [("euler", 1.9, 2.1), ("heun", 3.7, 4.3), ("dpmpp_2m", 2.4, 4.3)]
)
def test_order_of_convergence(name: str, least: float, most: float) -> None:
    """Half the step, half or a quarter of the error; dpmpp_2m is held back by its
    first-order steps at the ends.
    """
    errors = [error(name, steps) for steps in (40, 80, 160)]
    for coarse, fine in pairwise(errors):
        assert least < coarse / fine < most, errors


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m"])
def test_second_order_is_finer_for_as_many_steps(name: str) -> None:
    assert error(name, 12) < 0.4 * error("euler", 12)


@pytest.mark.parametrize("name", SOLVERS)
def test_what_comes_after_a_step_is_gone_on_with(name: str) -> None:
    seen = []

    def after(step: int, tokens: Tensor, clean: Tensor) -> Tensor:
        seen.append((step, clean))
        return torch.zeros_like(tokens)

    levels = sigmas(3, 64)
    end = SOLVERS[name](lambda z, i: velocity_at(z, levels[i]), NOISE, levels, after)
    assert [step for step, _ in seen] == [0, 1, 2]
    assert not end.any()
    assert torch.allclose(seen[0][1], NOISE - velocity_at(NOISE, 1.0)), (
        "the clean picture that the step aims at"
    )


@pytest.mark.parametrize("name", SOLVERS)
def test_a_single_step_is_eulers(name: str) -> None:
    made = SOLVERS[name](
        lambda z, i: velocity_at(z, 1.0), NOISE, [1.0, 0.0], lambda step, tokens, clean: tokens
    )
    assert torch.allclose(made, NOISE - velocity_at(NOISE, 1.0))


@pytest.mark.parametrize("name", SOLVERS)
def test_masks_strength_and_the_model_go_together(
    name: str,
    transformer: Transformer,
    latents: Callable[..., Tensor],
    prompts: Callable[..., tuple[Tensor, Tensor]],
) -> None:
    from kontext_core.sampling.denoise import denoise

    start, mask = latents(4, 6, seed=5), torch.zeros(1, 1, 4, 6)
    mask[..., :2, :] = 1.0
    made = denoise(
        transformer,
        latents(4, 6),
        *prompts(),
        sigmas(4, 6),
        start=start,
        mask=mask,
        strength=0.75,
        solver=name,
    )
    assert torch.allclose(made[..., 2:, :], start[..., 2:, :], atol=1e-6)
    assert not torch.allclose(made[..., :2, :], start[..., :2, :], atol=1e-2)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_run_may_end_before_the_noise_does(
    name: str,
    transformer: Transformer,
    latents: Callable[..., Tensor],
    prompts: Callable[..., tuple[Tensor, Tensor]],
    assert_close: Callable[..., float],
) -> None:
    """As the first part of a run in two parts; a solver that looks ahead asks at the last level too."""
    from kontext_core.sampling.denoise import denoise

    noise, levels, (txt, pooled) = latents(4, 6), [1.0, 0.6, 0.3], prompts()
    ids = target_ids(2, 3), text_ids(1, txt.shape[1])

    @torch.no_grad()
    def velocity(tokens: Tensor, i: int) -> Tensor:
        level, guidance = torch.tensor([levels[i]]), torch.tensor([2.5])
        return transformer(tokens, ids[0], txt, ids[1], level, pooled, guidance)

    expected = SOLVERS[name](velocity, pack(noise), levels, lambda step, tokens, clean: tokens)
    assert_close(denoise(transformer, noise, txt, pooled, levels, solver=name), unpack(expected, 4, 6))


def test_unknown_solvers_are_named() -> None:
    with pytest.raises(ValueError, match="solver 'magic' is not known; choose one of euler, heun, dpmpp_2m"):
        find_solver("magic")
