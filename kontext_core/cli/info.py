"""kontext info."""

import argparse
import sys
from pathlib import Path

from .options import Subcommands


def add_info(commands: Subcommands) -> None:
    info = commands.add_parser("info", help="say what a file or folder of weights is")
    info.add_argument("file", type=Path, nargs="+")
    info.add_argument(
        "--layers", action="store_true", help="the dtype of every kind of layer, and the metadata too"
    )
    info.add_argument("--check", action="store_true", help="look for NaN and infinity in the weights too")
    info.add_argument("--sha256", action="store_true", help="the digest of each file too")
    info.set_defaults(command=_info)


def _info(options: argparse.Namespace) -> None:
    from ..loading import inspect
    from ..loading.checkpoint import first_few
    from ..loading.examine import not_finite, sha256
    from ..lora import inspect_lora

    for path in options.file:
        report = inspect(path)
        sys.stdout.write((inspect_lora(path) if report.kind == "lora" else report).describe() + "\n")
        if options.layers:
            sys.stdout.write(report.describe_closely() + "\n")
        for name, digest in sha256(path).items() if options.sha256 else ():
            sys.stdout.write(f"sha256 of {name}: {digest}\n")
        bad = not_finite(path) if options.check else {}
        if bad:
            names = first_few(f"{name} ({count} of {all})" for name, (count, all) in bad.items())
            raise ValueError(f"{path}: {len(bad)} tensors hold NaN or infinity: {names}")
        if options.check:
            sys.stdout.write("all numbers are finite\n")
