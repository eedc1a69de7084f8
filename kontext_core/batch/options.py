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
    parser.add_argument("edits", type=path, help="a file with a line of JSON for each edit")
    parser.add_argument(
        "--output", type=path, default=Path("output"), help="folder for pictures and results.jsonl (output)"
    )
    parser.add_argument(
        "--pictures",
        type=path,
        help="folder that pictures are named from and lie in; that of the file unless given",
    )
    parser.add_argument(
        "--steps",
        type=setting(ALLOWED["steps"]),
        default=28,
        help="denoising steps where a line says nothing (28)",
    )
    parser.add_argument(
        "--workers", type=count(MOST_WORKERS), help="edits at a time; as many as there are GPUs unless given"
    )
    parser.add_argument(
        "--attempts",
        type=count(MOST_WORKERS),
        default=3,
        help="workers that may die in the middle of an edit (3)",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="processes",
        help="what workers are: plain processes (so unless given), or actors of Ray, which opens ports on all interfaces",
    )
    parser.add_argument("--ray-address", metavar="HOST:PORT", help="a Ray cluster that runs already")
