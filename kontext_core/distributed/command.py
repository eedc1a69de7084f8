"""`kontext edit` over several devices: as the process that starts the others, or as one of them."""

import argparse
import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from .launch import Place, run_ranks
from .ranks import Ranks, joined

if TYPE_CHECKING:
    from ..pipeline import Pipeline
    from ..transformer import Transformer

Over = Callable[["Pipeline"], "Pipeline"]


def spread_over(options: argparse.Namespace, edit: Callable[[argparse.Namespace, Over], None]) -> None:
    """Have `edit` made by several devices where that is asked for, by `--gpus` or by torchrun.

    Args: edit: the command, which passes the model that it has loaded through its second argument.
    Raises: ValueError about a device or an option; RuntimeError about a process that failed.
    """
    torchrun = dist.is_available() and dist.is_torchelastic_launched()
    if options.joined is None and not torchrun:
        if options.gpus == 1:
            edit(options, lambda pipeline: pipeline)
            return
        _check(options)
        _device(options.device, options.gpus - 1)
        run_ranks(options.given, options.gpus, verbose=options.verbose)
        return
    from .spread import follow, spread

    _check(options)
    with _ranks(options) as ranks, ExitStack() as stack:
        options.device = str(ranks.device)
        if ranks.rank > 0:
            follow(_networks(options, ranks.device), ranks)
        else:
            edit(options, lambda pipeline: stack.enter_context(spread(pipeline, ranks)))


def _check(options: argparse.Namespace) -> None:
    """Raises: ValueError about an option that one device alone can follow."""
    for name in ("memory", "approximate", "compile", "graph", "attention"):
        if getattr(options, name, None):
            raise ValueError(f"--{name} is for an edit on one device; leave it out, or leave --gpus out")
    if getattr(options, "weights", None) == "auto":
        raise ValueError("--weights auto is for an edit on one device; name a form, or leave --gpus out")
    if not dist.is_available():
        raise ValueError(f"PyTorch {torch.__version__} was built without torch.distributed; leave --gpus out")


@contextmanager
def _ranks(options: argparse.Namespace) -> Generator[Ranks]:
    if options.joined is None:
        rank, count, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        with joined(rank, count, _device(options.device, local)) as ranks:
            yield ranks
        return
    place = Place.parse(options.joined)
    device = _device(options.device, place.rank)
    if device.type == "cpu":
        torch.set_num_threads(max((os.cpu_count() or 1) // place.count, 1))
    with joined(place.rank, place.count, device, init_method=place.init_method) as ranks:
        yield ranks


def _device(asked: str | None, number: int) -> torch.device:
    """The device of the process with this number on its machine.

    Raises: ValueError if there is none, or one alone was asked for.
    """
    kind = asked or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cpu":
        return torch.device("cpu")
    if kind != "cuda":
        raise ValueError(f"an edit over several devices runs on 'cuda' or 'cpu', and {kind!r} was asked for")
    if number >= torch.cuda.device_count():
        raise ValueError(
            f"{number + 1} GPUs were asked for, and PyTorch {torch.__version__} finds {torch.cuda.device_count()} here"
        )
    return torch.device("cuda", number)


def _networks(options: argparse.Namespace, device: torch.device) -> "list[Transformer]":
    """What a rank that follows needs of the model: with LoRAs, what they are put upon tells what they are for."""
    from ..loading import load_transformer
    from ..loading.folders import TINY
    from ..lora import Lora
    from ..pipeline import Pipeline
    from .spread import networks_of

    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    weights = getattr(options, "weights", None)
    if not options.lora:
        path = TINY if options.model == "tiny" else options.model
        return [load_transformer(path, dtype=dtype, device=device, quantise=weights).eval()]
    pipeline = Pipeline.load(options.model, device=device, quantise=weights)
    loras = [Lora(path.expanduser(), strength) for path, strength in options.lora]
    return networks_of(pipeline.with_loras(loras))
