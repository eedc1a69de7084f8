"""kontext edit and kontext batch."""

import argparse
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ..batch.options import add_options
from ..checks.arguments import count, path
from ..remote.follow import Line
from .examples import BATCH_EXAMPLE, EXAMPLES
from .interrupts import importing
from .options import (
    Subcommands,
    check_settings,
    loading_options,
    lora_option,
    model_options,
    setting_options,
    settings_of,
    spec_of,
)
from .output import ERR, say

if TYPE_CHECKING:
    from ..model_spec import ModelSpec
    from ..pipeline import Pipeline

MOST_GPUS = 256


def add_edit(commands: Subcommands) -> None:
    edit = commands.add_parser("edit", help="edit a picture, with one turn per instruction", epilog=EXAMPLES)
    edit.formatter_class = argparse.RawDescriptionHelpFormatter
    edit.add_argument("picture", type=path)
    edit.add_argument(
        "instruction", nargs="+", help="each instruction is a turn on the result of the one before"
    )
    edit.add_argument(
        "--reference", type=path, action="append", default=[], help="a further picture, for every turn"
    )
    lora_option(edit)
    model_options(edit)
    loading_options(edit)
    setting_options(edit)
    edit.add_argument(
        "--mask",
        type=path,
        metavar="FILE",
        help="a picture of any size, white where the first picture may change; transparent parts count as "
        "white; for every turn",
    )
    edit.add_argument(
        "--output",
        type=path,
        default=Path("output"),
        help="folder for the turns' pictures (default: output); existing files are kept",
    )
    edit.add_argument(
        "--gpus", type=count(MOST_GPUS), default=1, help="number of devices that share each turn (default: 1)"
    )
    edit.add_argument("--joined", help=argparse.SUPPRESS)  # see distributed.launch
    edit.set_defaults(command=_edit, default_of=edit.get_default)


def add_batch(commands: Subcommands) -> None:
    batch = commands.add_parser(
        "batch", help="make many edits from a file, one per line", epilog=BATCH_EXAMPLE
    )
    batch.formatter_class = argparse.RawDescriptionHelpFormatter
    lora_option(batch)
    model_options(batch)
    loading_options(batch)
    add_options(batch)
    batch.set_defaults(command=_batch)


def _edit(options: argparse.Namespace) -> None:
    with importing():
        from ..distributed.command import spread_over
        from ..pipeline import Pipeline as Pipeline

    check_settings(options)  # by one process, before others start
    spread_over(options, spec_of(options), _edit_here)


def _edit_here(
    options: argparse.Namespace, model: "ModelSpec", over: "Callable[[Pipeline], Pipeline]"
) -> None:
    from torch import Tensor

    from ..disk import free_number, make_folder, write_new
    from ..images.masks import picture_mask
    from ..images.original import Original, write_edit
    from ..images.outside import describe
    from ..images.picture_files import from_file
    from ..pipeline import Edit, Pipeline
    from ..sampling.step_cache import parse_step_cache

    settings = settings_of(options)
    if settings.approximate is not None:
        parse_step_cache(settings.approximate)  # which says what is wrong with it before a model loads
    original = Original.from_file(options.picture) if settings.size == "original" else None
    first = from_file(options.picture) if original is None else original.shown
    others = [from_file(file) for file in options.reference]
    mask = None if options.mask is None else picture_mask(from_file(options.mask))
    make_folder(options.output)
    stem, turns = options.picture.stem, len(options.instruction)
    names = [f"_turn{turn}.png" for turn in range(1, turns + 1)]
    # One number for all turns, so that they are known to belong together.
    run = free_number(options.output, stem, names)
    pipeline = Pipeline.from_spec(model)
    if plan := pipeline.describe_memory():
        say(plan)
    for report in pipeline.lora_reports if model.loras else ():
        say(report.describe())
    pipeline = over(pipeline)
    line = Line(ERR)
    current: Tensor | Edit = first
    for turn, (instruction, name) in enumerate(zip(options.instruction, names, strict=True), start=1):

        def progress(step: int, steps: int, _: object, turn: int = turn) -> None:
            line.show(f"turn {turn}/{turns}  step {step + 1}/{steps}")

        edit = pipeline.edit(
            instruction,
            [current, *others],
            settings=settings,
            mask=mask,
            callback=progress,
        )
        current = edit
        picture = BytesIO()
        write_edit(edit.image, picture, original)
        file = write_new(options.output, stem, name, picture.getvalue(), run)
        report = f" ({describe(edit.reports)})" if edit.reports else ""
        line.keep(f"turn {turn}: {instruction or '(no instruction)'} -> {file}{report}")


def _batch(options: argparse.Namespace) -> None:
    with importing():
        from ..batch.command import run_batch

    run_batch(options, spec_of(options), say)
