"""A rank that ends or stops responding ends the others, with one sentence and within a time limit."""

import signal
from collections.abc import Callable

import pytest
from torch import Tensor

from kontext_core.distributed.ranks import LostRankError
from tests.core.distributed.conftest import Group


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_that_is_lost(
    sign: signal.Signals, make_group: Callable[..., Group], inputs: Callable[..., dict[str, Tensor]]
) -> None:
    group = make_group(2, timeout_s=15.0)
    given = inputs()
    group.spread(**given)
    group.others.send_signal(sign)
    with pytest.raises(LostRankError, match="ended or does not answer"):
        group.spread(**given)


def test_a_rank_that_takes_no_message(make_group: Callable[..., Group]) -> None:
    """It was stopped before it asked for the next one, so nothing can be sent in advance."""
    group = make_group(2, timeout_s=15.0)
    group.others.send_signal(signal.SIGSTOP)

    def ask_thrice() -> None:
        for _ in range(3):
            group.leader.ask("nothing", [])

    with pytest.raises(LostRankError, match="ended or does not answer"):
        ask_thrice()
