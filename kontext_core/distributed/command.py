"""`kontext edit` over several devices: as the process that starts the others, or as one of them."""

import argparse
import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from ..edit_settings import SHORT_NAMES
from ..errors import explain_oom
from ..model_spec import ModelSpec
from .launch import RankAddress, run_ranks
from .ranks import Ranks, joined

if TYPE_CHECKING:
    from ..model.transformer import Transformer
    from ..pipeline import Pipeline

Over = Callable[["Pipeline"], "Pipeline"]
Edit = Callable[[argparse.Namespace, ModelSpec, Over], None]

# Options by what becomes of them where several devices share an edit. One that stands in neither list is
# refused. Of those, float8 could be followed, but not to the picture of one device: another order of sums
# rounds to other numbers of 8 bits.
FOLLOWED = ("model", "lora", "device", "weights")  # by every process, see `_networks`
# A matter of the first process alone, which has pictures, words and loop, and asks the others for velocities.
# So are settings, but for those that look into the network's blocks:
LED = (
    *("picture", "instruction", "reference", "mask", "output"),
    *(name for name in SHORT_NAMES if name not in ("approximate", "nag_scale")),
)
_ADVICE = "use weights of fewer bits, for example --weights fp8, or leave --gpus out"
_ABOUT = ("gpus", "joined", "verbose", "given", "command", "default_of")  # how the command itself is run


def spread_over(options: argparse.Namespace, model: ModelSpec, edit: Edit) -> None:
    """Have `edit` made by several devices where that is asked for, by `--gpus` or by torchrun.

    Args:
        options: of the command; `default_of` gives the default of one.
        model: what of them says how the model is loaded.
        edit: the command on one device, which passes the model that it has loaded through its third argument.
    Raises: ValueError about a device or an option; RuntimeError about a process that failed.
    """
    torchrun = dist.is_available() and dist.is_torchelastic_launched()
    if options.joined is None and not torchrun:
        if options.gpus == 1:
            edit(options, model, lambda pipeline: pipeline)
            return
        _check(options)
        _device(options.device, options.gpus - 1)
        run_ranks(options.given, options.gpus, verbose=options.verbose)
        return
    from .sequence_parallel import sequence_parallel, worker_loop

    _check(options)
    with _ranks(options) as ranks, ExitStack() as stack:
        model = replace(model, device=str(ranks.device))
        if ranks.rank > 0:
            worker_loop(_networks(model, ranks.device), ranks)
        else:
            edit(
                options,
                model,
                lambda pipeline: stack.enter_context(sequence_parallel(_undivided(pipeline), ranks)),
            )


def _check(options: argparse.Namespace) -> None:
    """Raises: ValueError about an option that does not reach every process."""
    for name, value in vars(options).items():
        if name not in (*FOLLOWED, *LED, *_ABOUT) and value != options.default_of(name):
            option = SHORT_NAMES.get(name, name).replace("_", "-")
            raise ValueError(f"--{option} is for an edit on one device; leave it out, or leave --gpus out")
    if options.weights == "auto":
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
    place = RankAddress.parse(options.joined)
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
        raise ValueError(f"an edit over several devices runs on 'cuda' or 'cpu', but {kind!r} was requested")
    if number >= torch.cuda.device_count():
        raise ValueError(
            f"{number + 1} GPUs were requested, but PyTorch {torch.__version__} finds "
            f"{torch.cuda.device_count()} here"
        )
    return torch.device("cuda", number)


def _networks(model: ModelSpec, device: torch.device) -> "list[Transformer]":
    """The networks of a rank that follows; with LoRAs all is loaded, which tells what they belong to."""
    from ..loading.load_parts import load_network
    from ..pipeline import Pipeline

    if model.loras:
        return _undivided(Pipeline.from_spec(model)).networks
    with explain_oom(f"the network on {device}", _ADVICE):
        return [load_network(model, device)]


def _undivided(pipeline: "Pipeline") -> "Pipeline":
    """Refuse a network of which parts visit the device: the others would wait for them at each block.

    Raises: ValueError.
    """
    where = pipeline.residency
    if where is not None and (where.blocks or where.modulation):
        raise ValueError(
            f"when several devices share an edit, each holds the whole network, but {pipeline.home} has no "
            f"room for it; {_ADVICE}"
        )
    return pipeline
