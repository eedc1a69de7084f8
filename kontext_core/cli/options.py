"""Options that several commands share, what they may be, and the way to say something."""

import argparse
import math
import sys
from pathlib import Path
from typing import TypeAlias

from ..lora.strength import checked_strength

Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # pyright: ignore[reportPrivateUsage]


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="tiny", help='"tiny", or a model folder laid out as the published one'
    )
    parser.add_argument("--device", help="cpu, cuda, ...; the GPU where there is one unless given")


def lora_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lora",
        type=file_and_strength,
        action="append",
        default=[],
        metavar="FILE[:STRENGTH]",
        help="a LoRA upon the model, at strength 1 unless given; once for each",
    )


def file_and_strength(text: str) -> tuple[Path, float]:
    """A file and its strength: FILE, or FILE:STRENGTH where what follows the last colon is a number."""
    name, colon, last = text.rpartition(":")
    try:
        strength = float(last)
    except ValueError:
        return Path(text), 1.0
    if not colon:
        return Path(text), 1.0
    try:
        return Path(name), checked_strength(strength)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of them; give 1 or more")
    return int(text)


def gib(text: str) -> float:
    return _above_zero(text, f"{text} is no amount of memory; give GiB above 0")


def minutes(text: str) -> float:
    return _above_zero(text, f"{text} is no time; give minutes above 0")


def _above_zero(text: str, wrong: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(wrong)
    return number
