"""Errors in one sentence, for a terminal or a file of results."""

import traceback
from pathlib import Path

EXPECTED = (
    OSError,
    ValueError,
    RuntimeError,
)  # raised with a sentence for the user; anything else is a mistake of ours


def sentence(error: BaseException) -> str:
    """Say what is wrong, also where the error comes from Python or a library and says little."""
    if isinstance(error, MemoryError):
        return f"there is too little memory ({error})" if str(error) else "there is too little memory"
    if isinstance(error, OSError) and error.errno is not None and str(error).startswith("[Errno"):
        files = " -> ".join(str(file) for file in (error.filename, error.filename2) if file is not None)
        return f"{files}: {error.strerror}" if files else str(error.strerror)
    if isinstance(error, EXPECTED):
        return str(error) or type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    where = f", in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    kind = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{kind} (a bug in this program{where})"


def one_line(text: str) -> str:
    """Put a text without line breaks."""
    return " ".join(text.split())
