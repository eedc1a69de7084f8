"""kontext edit and kontext batch."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..batch.options import add_options
from .examples import EXAMPLES
from .options import Subcommands, gib, lora_option, model_options, positive, say

if TYPE_CHECKING:
    from ..pipeline import Pipeline


def add_edit(commands: Subcommands) -> None:
    edit = commands.add_parser("edit", help="edit a picture, one turn for each instruction", epilog=EXAMPLES)
    edit.formatter_class = argparse.RawDescriptionHelpFormatter
    edit.add_argument("picture", type=Path)
    edit.add_argument("instruction", nargs="+", help="each is a turn on the result of the one before")
    edit.add_argument(
        "--reference", type=Path, action="append", default=[], help="a further picture, for every turn"
    )
    lora_option(edit)
    model_options(edit)
    edit.add_argument(
        "--memory",
        type=gib,
        metavar="GIB",
        help="most that the device is to hold; weights that do not fit come when they are needed (what is free on a GPU)",
    )
    edit.add_argument(
        "--waits",
        choices=("auto", "memory", "file"),
        default="auto",
        help="where weights that do not fit wait: in the computer's memory, or in their files (in memory if they fit there)",
    )
    edit.add_argument(
        "--weights",
        metavar="FORM",
        help="how large matrices are kept: full, fp8, int8, int4, nf4, or auto: the least loss within the memory (as stored)",
    )
    edit.add_argument(
        "--compile", action="store_true", help="compile the network's blocks: slow to begin, then faster"
    )
    edit.add_argument(
        "--float8",
        action="store_true",
        help="multiply in float8, on cards that can: faster, and a little different",
    )
    edit.add_argument(
        "--attention",
        metavar="NAME",
        help="what computes it: flash4, flash3, cudnn, flash2, torch; flash3_fp8 and sage, which are not exact (auto: the card's "
        "best exact one)",
    )
    edit.add_argument(
        "--graph",
        action="store_true",
        help="record a step as a CUDA graph: for small pictures and slow hosts, at the memory of a step",
    )
    edit.add_argument("--steps", type=int, default=28, help="denoising steps of a turn (28)")
    edit.add_argument(
        "--guidance", type=float, default=2.5, help="distilled guidance (2.5), where the model has it"
    )
    edit.add_argument("--seed", type=int, default=0)
    edit.add_argument("--fit", default="crop", choices=("crop", "pad", "stretch", "none"))
    edit.add_argument(
        "--layout", choices=("offset", "index", "diagonal"), help="the model's own unless given"
    )
    edit.add_argument(
        "--approximate",
        metavar="NAME[:NUMBER]",
        help="skip what changes little, for speed: teacache",
    )
    edit.add_argument(
        "--output", type=Path, default=Path("output"), help="folder for the turns' pictures (output)"
    )
    edit.add_argument("--gpus", type=positive, default=1, help="devices that share each turn (1)")
    edit.add_argument("--joined", help=argparse.SUPPRESS)  # see distributed.launch
    edit.set_defaults(command=_edit)


def add_batch(commands: Subcommands) -> None:
    batch = commands.add_parser("batch", help="make many edits from a file, a line each")
    lora_option(batch)
    model_options(batch)
    add_options(batch)
    batch.set_defaults(command=_batch)


def _edit(options: argparse.Namespace) -> None:
    from ..distributed.command import spread_over

    spread_over(options, _edit_here)


def _edit_here(options: argparse.Namespace, over: "Callable[[Pipeline], Pipeline]") -> None:
    from torch import Tensor

    from ..approximate import chosen
    from ..disk import make_folder, whole
    from ..images import from_file, to_pil
    from ..kernels import Wishes
    from ..picture_files import write_png
    from ..pipeline import Edit, Pipeline

    if options.approximate is not None:
        chosen(options.approximate)  # which says what is wrong with it before a model loads
    first, *others = (from_file(path.expanduser()) for path in (options.picture, *options.reference))
    make_folder(options.output)
    pipeline = Pipeline.load(
        options.model,
        device=options.device,
        quantise=options.weights,
        memory_gib=options.memory or "auto",
        waits=options.waits,
        compile=options.compile,
        float8=options.float8,
        wishes=Wishes(attention=options.attention or "auto", graph=options.graph),
    )
    if plan := pipeline.describe_memory():
        say(plan)
    if options.lora:
        from ..lora import Lora

        pipeline = pipeline.with_loras([Lora(path.expanduser(), strength) for path, strength in options.lora])
        for report in pipeline.lora_reports:
            say(report.describe())
    pipeline = over(pipeline)
    current: Tensor | Edit = first
    for number, instruction in enumerate(options.instruction, start=1):

        def progress(step: int, steps: int, _: object, number: int = number) -> None:
            sys.stderr.write(f"\rturn {number}/{len(options.instruction)}  step {step + 1}/{steps} ")
            sys.stderr.flush()

        edit = pipeline.edit(
            instruction,
            [current, *others],
            steps=options.steps,
            guidance=options.guidance,
            seed=options.seed,
            fit=options.fit,
            layout=options.layout,
            approximate=options.approximate,
            callback=progress,
        )
        current = edit
        path = options.output / f"{options.picture.stem}_turn{number}.png"
        with whole(path) as (partial,):
            write_png(to_pil(edit.image), partial)
        say(f"\rturn {number}: {instruction or '(no instruction)'} -> {path}")


def _batch(options: argparse.Namespace) -> None:
    from ..batch.command import run_batch

    run_batch(options, say)
