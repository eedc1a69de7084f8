"""What `kontext batch` may be told. Nothing here needs PyTorch."""

import argparse
from pathlib import Path

from ..checks.arguments import count, path, setting
from ..edit_settings import ALLOWED

MOST_WORKERS = 1024
ENGINES = ("processes", "ray")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a batch's options.

    Args:
        parser: has the model's options already.
    """
    parser.add_argument("edits", type=path, help="a file with one line of JSON per edit")
    parser.add_argument(
        "--output", type=path, default=Path("output"), help="folder for pictures and results.jsonl (output)"
    )
    parser.add_argument(
        "--pictures",
        type=path,
        help="folder that picture names are relative to (default: the folder of the file)",
    )
    parser.add_argument(
        "--steps",
        type=setting(ALLOWED["steps"]),
        default=28,
        help="denoising steps for lines that set none (default: 28)",
    )
    parser.add_argument(
        "--workers", type=count(MOST_WORKERS), help="number of edits at a time (default: the number of GPUs)"
    )
    parser.add_argument(
        "--attempts",
        type=count(MOST_WORKERS),
        default=3,
        help="how many workers may die during one edit before it counts as failed (default: 3)",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="processes",
        help="what the workers are: plain processes (default), or Ray actors, where Ray opens ports on all "
        "interfaces",
    )
    parser.add_argument("--ray-address", metavar="HOST:PORT", help="address of a running Ray cluster")
