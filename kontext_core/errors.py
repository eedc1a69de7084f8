"""The errors that a caller may want to tell apart from ordinary `ValueError`s."""

from collections.abc import Generator
from contextlib import contextmanager

import torch

# What torch says where it has no error of its own for it: Windows and MPS, Linux, cuBLAS, oneDNN.
_SIGNS = (
    "not enough memory",
    "out of memory",
    "can't allocate memory",
    "ALLOC_FAILED",
    "could not create a primitive",
    "could not create a memory object",
)


class CheckpointError(ValueError):
    """A file of weights cannot be used. The message names the file, what it holds, and what to do."""


class TooLittleMemoryError(RuntimeError):
    """The device ran out of memory. The message says what was tried and what to lower."""


@contextmanager
def explained_memory(attempt: str, advice: str) -> Generator[None]:
    """Turn an out-of-memory error of torch, on any device, into one sentence.

    Args: attempt: what is being done, "an edit of 1024 x 1024 px". advice: what the user can lower.
    Raises: TooLittleMemoryError.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TooLittleMemoryError(f"there is too little memory for {attempt}; {advice}") from error
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _SIGNS):
            raise
        raise TooLittleMemoryError(f"there is too little memory for {attempt}; {advice}") from error
