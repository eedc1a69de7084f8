import math

import pytest

from kontext_core.sampling.schedule import shift_mu, sigmas


@pytest.mark.parametrize(
    ("n_target", "mu"), [(256, 0.5), (4096, 1.15), (64, 0.4675), (2176, 0.825), (8192, 1.8433333)]
)
def test_mu_by_target_tokens(n_target: int, mu: float) -> None:
    """A line through two points, which goes on beyond them."""
    assert shift_mu(n_target) == pytest.approx(mu)


@pytest.mark.parametrize("steps", [1, 2, 28])
def test_sigmas_fall_from_one_to_zero(steps: int) -> None:
    levels = sigmas(steps, 1024)
    assert len(levels) == steps + 1
    assert (levels[0], levels[-1]) == (1.0, 0.0)
    assert levels == sorted(set(levels), reverse=True)


def test_no_shift_leaves_even_steps() -> None:
    assert sigmas(4, 4096, mu=0.0) == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])


def test_shift_is_equation_13() -> None:
    mu, t = 1.15, 0.75
    assert sigmas(4, 4096)[1] == pytest.approx(math.exp(mu) / (math.exp(mu) + (1 / t - 1)))


def test_alpha_shift_is_its_logarithm() -> None:
    alpha = 3.0
    expected = [alpha * t / (1 + (alpha - 1) * t) for t in (1.0, 0.75, 0.5, 0.25, 0.0)]
    assert sigmas(4, 4096, mu=math.log(alpha)) == pytest.approx(expected)


def test_mu_given_outweighs_the_size() -> None:
    assert sigmas(5, 64, mu=0.7) == sigmas(5, 4096, mu=0.7)
    assert sigmas(5, 64) != sigmas(5, 4096)


@pytest.mark.parametrize("steps", [0, -3])
def test_at_least_one_step(steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps is {steps}; at least 1 is needed"):
        sigmas(steps, 256)
