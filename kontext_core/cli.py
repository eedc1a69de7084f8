"""The command line: kontext edit, batch, info, train, score, run."""

import argparse
import logging
import math
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .batch.options import add_options

if TYPE_CHECKING:
    from .pipeline import Pipeline

EXAMPLES = """examples:
  kontext edit photo.png "make the red circle blue"
  kontext edit photo.png "remove the green star" "make the background sand" --seed 7 --output edited/
  kontext edit photo.png "put the thing of picture 2 at row 1 column 4" --reference other.png
  kontext edit photo.png "make it night" --lora style.safetensors:0.8
  kontext edit photo.png "make it night" --gpus 2
  kontext batch edits.jsonl --output pictures/
  kontext info flux1-kontext-dev.safetensors --check --sha256
  kontext train runs/mine --minutes 90
  kontext score --count 50 --output scores/
  kontext run workflows/three_turn_edit.json --server http://127.0.0.1:8188
  kontext run workflows/three_turn_edit.json --comfyui ~/ComfyUI --output pictures/
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. What goes wrong ends in one sentence and exit code 1; an interrupt in exit code 130."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    options.given = given
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except KeyboardInterrupt:
        say("stopped")
        return 130
    except (OSError, ValueError, RuntimeError) as error:
        place = getattr(options, "joined", None)
        if place is not None:
            from .distributed.launch import Place

            Place.parse(place).fail(str(error))  # said once for all processes, by the one that started them
        if options.verbose:
            raise
        if place is None:
            say(f"kontext: {error}")
        return 1
    return 0


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kontext",
        description="FLUX.1 Kontext: edit pictures by instruction.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--verbose", action="store_true", help="log what happens, and show tracebacks")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    edit = commands.add_parser("edit", help="edit a picture, one turn for each instruction", epilog=EXAMPLES)
    edit.formatter_class = argparse.RawDescriptionHelpFormatter
    edit.add_argument("picture", type=Path)
    edit.add_argument("instruction", nargs="+", help="each is a turn on the result of the one before")
    edit.add_argument(
        "--reference", type=Path, action="append", default=[], help="a further picture, for every turn"
    )
    _lora_option(edit)
    _model_options(edit)
    edit.add_argument(
        "--memory",
        type=_gib,
        metavar="GIB",
        help="most that the device is to hold; weights that do not fit come when they are needed (what is free on a GPU)",
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
        help="skip what changes little, for speed: first_block, teacache, region or references",
    )
    edit.add_argument(
        "--output", type=Path, default=Path("output"), help="folder for the turns' pictures (output)"
    )
    edit.add_argument("--gpus", type=_positive, default=1, help="devices that share each turn (1)")
    edit.add_argument("--joined", help=argparse.SUPPRESS)  # see distributed.launch
    edit.set_defaults(command=_edit)

    batch = commands.add_parser("batch", help="make many edits from a file, a line each")
    _lora_option(batch)
    _model_options(batch)
    add_options(batch)
    batch.set_defaults(command=_batch)

    info = commands.add_parser("info", help="say what a file or folder of weights is")
    info.add_argument("file", type=Path, nargs="+")
    info.add_argument("--check", action="store_true", help="look for NaN and infinity in the weights too")
    info.add_argument("--sha256", action="store_true", help="the digest of each file too")
    info.set_defaults(command=_info)

    train = commands.add_parser("train", help="train the tiny model, or go on with a run")
    train.add_argument("folder", type=Path, help="holds the run; what is found there is resumed")
    train.add_argument(
        "--minutes", type=_minutes, default=90.0, help="training time of the flow, in all (90)"
    )
    train.add_argument(
        "--vae-minutes",
        type=_minutes,
        help="training time of the autoencoder, in all (14; with --start it stays as it is)",
    )
    train.add_argument(
        "--text-minutes",
        type=_minutes,
        help="training time of the text encoders, in all (6; with --start they stay as they are)",
    )
    train.add_argument("--start", type=Path, help="a model folder to begin from")
    train.add_argument("--threads", type=int, help="CPU threads; all cores unless given")
    train.add_argument(
        "--compile", action="store_true", help="compile the blocks: slow to begin, then faster"
    )
    train.add_argument("--device", default="cpu")
    train.set_defaults(command=_train)

    score = commands.add_parser("score", help="measure success rates on scenes never trained on")
    _model_options(score)
    score.add_argument("--count", type=_positive, default=50, help="scenes of each kind (50)")
    score.add_argument("--chains", type=int, default=50, help="five-turn chains (50)")
    score.add_argument("--steps", type=int, default=20)
    score.add_argument("--kinds", help="only these, with commas between")
    score.add_argument("--output", type=Path, help="folder for scores.json and grid.png")
    score.set_defaults(command=_score)

    run = commands.add_parser(
        "run", help="run a workflow on a ComfyUI and fetch its pictures", epilog=EXAMPLES
    )
    run.formatter_class = argparse.RawDescriptionHelpFormatter
    run.add_argument("workflow", type=Path, help="a JSON file, saved from the page or exported for the API")
    where = run.add_mutually_exclusive_group()
    where.add_argument(
        "--server", default="http://127.0.0.1:8188", help="address of a running ComfyUI (%(default)s)"
    )
    where.add_argument(
        "--comfyui", type=Path, help="folder of a ComfyUI to start for this, and end afterwards"
    )
    run.add_argument(
        "--python", type=Path, help="the Python to start it with; that of its own environment unless given"
    )
    run.add_argument("--output", type=Path, default=Path("output"), help="folder for the pictures (output)")
    run.set_defaults(command=_run)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of them; give 1 or more")
    return int(text)


def _lora_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lora",
        type=_lora,
        action="append",
        default=[],
        metavar="FILE[:STRENGTH]",
        help="a LoRA upon the model, at strength 1 unless given; once for each",
    )


def _lora(text: str) -> tuple[Path, float]:
    """A file and its strength: FILE, or FILE:STRENGTH where what follows the last colon is a number."""
    name, colon, strength = text.rpartition(":")
    try:
        return (Path(name), float(strength)) if colon else (Path(text), 1.0)
    except ValueError:
        return Path(text), 1.0


def _gib(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = 0.0
    if not 0 < amount < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no amount of memory; give GiB above 0")
    return amount


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no time; give minutes above 0")
    return minutes


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="tiny", help='"tiny", or a model folder laid out as the published one'
    )
    parser.add_argument("--device", help="cpu, cuda, ...; the GPU where there is one unless given")


def _edit(options: argparse.Namespace) -> None:
    from .distributed.command import spread_over

    spread_over(options, _edit_here)


def _batch(options: argparse.Namespace) -> None:
    from .batch.command import run_batch

    run_batch(options, say)


def _edit_here(options: argparse.Namespace, over: "Callable[[Pipeline], Pipeline]") -> None:
    from torch import Tensor

    from .approximate import chosen
    from .images import from_file, to_pil
    from .lora import Lora
    from .pipeline import Edit, Pipeline

    if options.approximate is not None:
        chosen(options.approximate)  # which says what is wrong with it before a model loads
    first, *others = (from_file(path.expanduser()) for path in (options.picture, *options.reference))
    pipeline = Pipeline.load(
        options.model,
        device=options.device,
        quantise=options.weights,
        memory_gib=options.memory or "auto",
        compile=options.compile,
        float8=options.float8,
    )
    if plan := pipeline.describe_memory():
        say(plan)
    if options.lora:
        pipeline = pipeline.with_loras([Lora(path.expanduser(), strength) for path, strength in options.lora])
        for report in pipeline.lora_reports:
            say(report.describe())
    pipeline = over(pipeline)
    current: Tensor | Edit = first
    options.output.mkdir(parents=True, exist_ok=True)
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
        to_pil(edit.image).save(path)
        say(f"\rturn {number}: {instruction or '(no instruction)'} -> {path}")


def _info(options: argparse.Namespace) -> None:
    from .loading import inspect
    from .loading.checkpoint import first_few
    from .loading.examine import not_finite, sha256
    from .lora import inspect_lora

    for path in options.file:
        report = inspect(path)
        sys.stdout.write((inspect_lora(path) if report.kind == "lora" else report).describe() + "\n")
        for name, digest in sha256(path).items() if options.sha256 else ():
            sys.stdout.write(f"sha256 of {name}: {digest}\n")
        bad = not_finite(path) if options.check else {}
        if bad:
            names = first_few(f"{name} ({count} of {all})" for name, (count, all) in bad.items())
            raise ValueError(f"{path}: {len(bad)} tensors hold NaN or infinity: {names}")
        if options.check:
            sys.stdout.write("all numbers are finite\n")


def _train(options: argparse.Namespace) -> None:
    import torch

    from .eval.score import quick_rates
    from .pipeline import Pipeline
    from .train.config import REFINING, AutoencoderTraining, FlowTraining, TextTraining
    from .train.run import keep_freed_memory
    from .train.tiny import train_tiny

    logging.getLogger().setLevel(logging.INFO)
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_freed_memory()
    autoencoder = AutoencoderTraining() if options.start is None else REFINING
    train_tiny(
        options.folder,
        autoencoder=replace(autoencoder, minutes=options.vae_minutes) if options.vae_minutes else None,
        words=TextTraining(minutes=options.text_minutes) if options.text_minutes else None,
        flow=FlowTraining(minutes=options.minutes, compile=options.compile),
        start=options.start,
        device=options.device,
        measure=lambda vae, model: quick_rates(Pipeline(model.transformer, vae, model.text)),
    )


def _score(options: argparse.Namespace) -> None:
    from .eval.report import grid, save_scores, score_all
    from .pipeline import TINY, Pipeline
    from .train.tiny import recorded_training
    from .world import KINDS

    kinds = tuple(options.kinds.split(",")) if options.kinds else KINDS
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"unknown kinds: {', '.join(unknown)}; known are {', '.join(KINDS)}")
    pipeline = Pipeline.load(options.model, device=options.device)
    scores, outcomes = score_all(
        pipeline, count=options.count, chains=options.chains, steps=options.steps, kinds=kinds, report=say
    )
    folder = TINY if options.model == "tiny" else Path(options.model)
    scores |= {"command": shlex.join(["kontext", *options.given]), "training": recorded_training(folder)}
    if options.output:
        save_scores(scores, options.output / "scores.json")
        grid(outcomes).save(options.output / "grid.png")
        say(f"wrote {options.output / 'scores.json'} and {options.output / 'grid.png'}")


def _run(options: argparse.Namespace) -> None:
    from .remote.client import Client
    from .remote.follow import Follower, Line
    from .remote.local import started
    from .remote.run import as_prompt, download, execute, output_nodes
    from .remote.workflow import is_api_form, read_workflow

    workflow = read_workflow(options.workflow)
    with ExitStack() as stack:
        url = options.server
        if options.comfyui:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            say(f"starting the ComfyUI in {options.comfyui}")
            python = None if options.python is None else options.python.expanduser().absolute()
            url = stack.enter_context(started(options.comfyui.expanduser().absolute(), python))
        client = stack.enter_context(Client(url))
        known = client.object_info()
        prompt = as_prompt(workflow, known)
        page = None if is_api_form(workflow) else workflow
        result = execute(client, prompt, page, Follower(prompt, Line(sys.stderr)))
        pictures = download(client, result, options.output, output_nodes(prompt, known))
    if not pictures:
        say("the workflow put out no picture; does it have a Save Image or Preview Image?")
    for picture in pictures:
        sys.stdout.write(f"{picture}\n")


if __name__ == "__main__":
    sys.exit(main())
