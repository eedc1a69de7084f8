"""Fixtures and helpers that all tests share."""

import signal
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

# A shell that starts the tests in the background, or nohup, has these ignored in them,
# and in what they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return the relative L2 error, in float64."""
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} in place of {tuple(expected.shape)}"
    difference = torch.linalg.vector_norm(actual.double() - expected.double())
    return float(difference / torch.linalg.vector_norm(expected.double()))


@pytest.fixture(scope="session")
def assert_close() -> Callable[..., float]:
    """`assert_close(actual, expected, tolerance=1e-5)`: one shape, near in relative L2. Returns the error."""

    def check(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> float:
        error = relative_error(actual, expected)
        # NaN fails too.
        assert error <= tolerance, f"the relative L2 error is {error:.2e}, above {tolerance:.0e}"
        return error

    return check
