"""kontext train and kontext score."""

import argparse
import logging
import shlex
from dataclasses import replace
from pathlib import Path

from ..checks.arguments import count, minutes, path, setting, whole_number
from ..edit_settings import ALLOWED
from .interrupts import importing
from .options import Subcommands, model_options, positive
from .output import say

MOST_THREADS = 1024


def add_train(commands: Subcommands) -> None:
    train = commands.add_parser("train", help="train the tiny model, or continue a run")
    train.add_argument("folder", type=path, help="folder of the run; a run found there is resumed")
    train.add_argument(
        "--minutes", type=minutes, default=90.0, help="total training time of the flow (default: 90)"
    )
    train.add_argument(
        "--vae-minutes",
        type=minutes,
        help="total training time of the autoencoder (default: 14; with --start it is left as it is)",
    )
    train.add_argument(
        "--text-minutes",
        type=minutes,
        help="total training time of the text encoders (default: 6; with --start they are left as they are)",
    )
    train.add_argument("--start", type=path, help="a model folder to start from")
    train.add_argument("--threads", type=count(MOST_THREADS), help="CPU threads (default: all cores)")
    train.add_argument(
        "--compile", action="store_true", help="compile the blocks: slow at first, then faster"
    )
    train.add_argument("--device", default="cpu")
    train.set_defaults(command=_train)


def add_score(commands: Subcommands) -> None:
    score = commands.add_parser("score", help="measure success rates on scenes never trained on")
    model_options(score)
    score.add_argument("--count", type=positive, default=50, help="scenes of each kind (default: 50)")
    score.add_argument(
        "--chains",
        type=whole_number(0, 1_000_000),
        default=50,
        help="five-turn chains, 0 for none (default: 50)",
    )
    score.add_argument("--steps", type=setting(ALLOWED["steps"]), default=20)
    score.add_argument("--kinds", help="only these kinds, separated by commas")
    score.add_argument("--output", type=path, help="folder for scores.json and grid.png")
    score.set_defaults(command=_score)


def _train(options: argparse.Namespace) -> None:
    with importing():
        import torch

        from ..eval.score import quick_rates
        from ..memory.devices import usable_device
        from ..pipeline import Pipeline
        from ..train.config import REFINING, AutoencoderTraining, FlowTraining, TextTraining
        from ..train.run import keep_freed_memory
        from ..train.tiny import train_tiny

    device = str(usable_device(options.device))
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
        device=device,
        measure=lambda vae, model: quick_rates(Pipeline(model.transformer, vae, model.text)),
    )


def _score(options: argparse.Namespace) -> None:
    with importing():
        from ..disk import make_folder, whole
        from ..eval.report import grid, save_scores, score_all
        from ..images.picture_files import write_png
        from ..loading.locate import TINY_FOLDER
        from ..pipeline import Pipeline
        from ..train.tiny import recorded_training
        from ..world import KINDS

    kinds = tuple(options.kinds.split(",")) if options.kinds else KINDS
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"unknown kinds: {', '.join(unknown)}; known are {', '.join(KINDS)}")
    if options.output:
        make_folder(options.output)
    pipeline = Pipeline.load(options.model, device=options.device)
    scores, outcomes = score_all(
        pipeline, count=options.count, chains=options.chains, steps=options.steps, kinds=kinds, report=say
    )
    folder = TINY_FOLDER if options.model == "tiny" else Path(options.model)
    scores |= {"command": shlex.join(["kontext", *options.given]), "training": recorded_training(folder)}
    if options.output:
        save_scores(scores, options.output / "scores.json")
        with whole(options.output / "grid.png") as (partial,):
            write_png(grid(outcomes), partial)
        say(f"wrote {options.output / 'scores.json'} and {options.output / 'grid.png'}")
