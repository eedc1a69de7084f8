"""kontext info."""

import argparse
import logging
from pathlib import Path

from ..checks.arguments import path
from ..checks.sentences import EXPECTED, sentence
from .interrupts import importing
from .options import Subcommands
from .output import put, say

log = logging.getLogger(__name__)


def add_info(commands: Subcommands) -> None:
    info = commands.add_parser("info", help="describe a file or folder of weights, or this machine")
    info.add_argument("file", type=path, nargs="*")
    info.add_argument(
        "--system",
        action="store_true",
        help="versions, system and card, for a bug report; without paths or names of people or machines",
    )
    info.add_argument(
        "--layers", action="store_true", help="also show the dtype of every kind of layer, and the metadata"
    )
    info.add_argument("--check", action="store_true", help="also look for NaN and infinity in the weights")
    info.add_argument("--sha256", action="store_true", help="also show the digest of each file")
    info.set_defaults(command=_info, refuse=info.error)


def _info(options: argparse.Namespace) -> int:
    """Answer for the machine, then for each file. Returns: 1 if one of them is bad."""
    if not options.file and (options.layers or options.check or options.sha256):
        options.refuse("--layers, --check and --sha256 apply to files: name one")
    if not options.file and not options.system:
        options.refuse("name a file or folder of weights, or ask for --system")
    if options.system:
        with importing():
            from .system import describe as describe_system
        for line in describe_system():
            put(line)
    return _describe_files(options) if options.file else 0


def _describe_files(options: argparse.Namespace) -> int:
    """Answer for each file. Returns: 1 if one of them is bad."""
    with importing():
        from ..loading import inspect
        from ..loading.tensors import first_few
        from ..loading.verify import not_finite, sha256
        from ..lora import inspect_lora

    def describe(file: Path) -> None:
        report = inspect(file)
        put((inspect_lora(file) if report.kind == "lora" else report).describe())
        if options.layers:
            put(report.describe_closely())
        for name, digest in sha256(file).items() if options.sha256 else ():
            put(f"sha256 of {name}: {digest}")
        bad = not_finite(file) if options.check else {}
        if bad:
            names = first_few(f"{name} ({count} of {all})" for name, (count, all) in bad.items())
            raise ValueError(f"{file}: {len(bad)} tensors hold NaN or infinity: {names}")
        if options.check:
            put("all numbers are finite")

    refused = 0
    for file in options.file:
        try:
            describe(file)
        except EXPECTED as error:
            if len(options.file) == 1:
                raise
            log.info("%s", file, exc_info=error)
            say(f"kontext: {sentence(error)}")
            refused += 1
    return 1 if refused else 0
