"""The errors that a caller may want to tell apart from ordinary `ValueError`s."""

import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# What torch says where it has no error of its own for it: Windows and MPS, Linux, cuBLAS, oneDNN; and where a
# tensor that the memory would hold has more numbers than a kernel can index, which is mended in the same way.
_SIGNS = (
    "not enough memory",
    "out of memory",
    "can't allocate memory",
    "ALLOC_FAILED",
    "could not create a primitive",
    "could not create a memory object",
    "INT_MAX",
    "canUse32BitIndexMath",
)

# What Pillow raises over damaged pictures: errors of its own, and those of its arithmetic and look-ups.
DAMAGED: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def printable(text: str) -> str:
    """A text in which what cannot be printed, or would move the cursor, is escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class CheckpointError(ValueError):
    """A file of weights cannot be used.

    The message names the file, what it holds, and what to do, in one line.

    Args:
        message: names out of the file may hold anything; what cannot be printed is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class TooLittleMemoryError(RuntimeError):
    """The device ran out of memory. The message says what was tried and what to lower."""


@contextmanager
def explain_oom(attempt: str, advice: str) -> Generator[None]:
    """Turn an out-of-memory error of torch, on any device, into one sentence.

    Args:
        attempt: what is being done, "an edit of 1024 x 1024 px".
        advice: what the user can lower.
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


def check_finite(result: Tensor, what: str, *models: nn.Module) -> None:
    """Raises: ValueError that names the weights to blame, if a result holds NaN or infinity.

    They are looked at only then.
    """
    if bool(result.isfinite().all()):
        return
    weights = {
        name: tensor
        for model in models
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    bad = sorted(name for name, tensor in weights.items() if not _finite(tensor))
    fault = f"{what} contains numbers that are not finite (NaN or infinite)"
    if bad:
        more = f" and {len(bad) - 4} more" if len(bad) > 4 else ""
        raise ValueError(
            f"{fault}, as weights are: {', '.join(bad[:4])}{more}; download their file again ('kontext info "
            "FILE --check' looks for such numbers)"
        )
    raise ValueError(
        f"{fault}, though all weights are: they grew too large during the computation; compute in bfloat16 "
        "or float32, or lower the strength of LoRAs"
    )


def _finite(tensor: Tensor) -> bool:
    pieces = tensor.detach().flatten().split(1 << 24) if tensor.is_floating_point() else ()
    return all(bool(piece.float().isfinite().all()) for piece in pieces)
