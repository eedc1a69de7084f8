"""What may stand on a command line, as argparse takes it: paths and numbers. Nothing here needs PyTorch."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from ..config import TINY
from .ranges import LORA_STRENGTH, Allowed, is_memory
from .shorten import plain


def path(text: str) -> Path:
    """Read a file or folder; ~ and ~name are home folders."""
    if "\0" in text:
        raise argparse.ArgumentTypeError(f"{plain(text)} is not a path: it holds a NUL")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{plain(text)}: there is no such home folder") from error


def model(text: str) -> str:
    """ "tiny", or a path."""
    return text if text == TINY else str(path(text))


def file_and_strength(text: str) -> tuple[Path, float]:
    """Read FILE, or FILE:STRENGTH where what follows the last colon is a number."""
    name, colon, behind = text.rpartition(":")
    try:
        strength = float(behind) if colon else 1.0
    except ValueError:
        return path(text), 1.0
    if not LORA_STRENGTH.admits(strength):
        raise argparse.ArgumentTypeError(
            f"the strength of a LoRA is {plain(behind)} and must be {LORA_STRENGTH} (1 is as trained)"
        )
    return path(name if colon else text), strength


def setting(allowed: Allowed) -> Callable[[str], float]:
    """Take a number that an edit depends on, within its own range.

    Args:
        allowed: of `edit_settings.ALLOWED`.
    """
    low = 0.0 if allowed.low is None else allowed.low
    return whole_number(int(low), int(allowed.high)) if allowed.whole else number(low, allowed.high)


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Take a whole number from `least` to `most`."""

    def whole(text: str) -> int:
        try:
            value = int(text)
        except ValueError:  # of a text without a number, and of one with thousands of digits
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{plain(text)} is not a whole number from {least} to {most}")
        return value

    return whole


def number(least: float, most: float) -> Callable[[str], float]:
    """Take a number from `least` to `most`."""

    def real(text: str) -> float:
        value = _float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{plain(text)} is not a number from {least:g} to {most:g}")
        return value

    return real


def count(most: int) -> Callable[[str], int]:
    """Take a count of something, 1 to `most`."""

    def positive(text: str) -> int:
        if not text.isdecimal() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{plain(text)} is not a count; give 1 or more, up to {most}")
        return int(text)

    return positive


def gib(text: str) -> float:
    """Read an amount of memory."""
    value = _float(text)
    if not is_memory(value):
        raise argparse.ArgumentTypeError(f"{plain(text)} is not an amount of memory; give GiB above 0")
    return value


def minutes(text: str) -> float:
    """Read a time."""
    value = _float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{plain(text)} is not a time; give minutes above 0")
    return value


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
