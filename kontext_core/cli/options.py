"""Options that several commands share, and what they may be."""

import argparse
from pathlib import Path
from typing import Any, TypeAlias

from ..checks.arguments import count, file_and_strength, gib, model, setting
from ..config import TINY
from ..edit_settings import ALLOWED, HELP, SHORT_NAMES, EditSettings, check_mask, check_negative, check_size
from ..model_spec import AUTO, WEIGHT_FORMS, ComputeOptions, Lora, ModelSpec

Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # pyright: ignore[reportPrivateUsage]

positive = count(1_000_000)

_DEFAULTS = {"fit": "crop"}  # where it is said, and not left to what comes later
_METAVARS = {"approximate": "NAME[:NUMBER]"}


def model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", type=model, default=TINY, help='"tiny", or a model folder laid out as the published one'
    )
    parser.add_argument("--device", help="cpu, cuda, ... (default: the GPU, if there is one)")


def lora_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lora",
        type=file_and_strength,
        action="append",
        default=[],
        metavar="FILE[:STRENGTH]",
        help="a LoRA for the model, at strength 1 by default; repeat the option for several",
    )


def setting_options(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting of an edit; `settings_of` reads them."""
    usual = EditSettings()
    for field, name in SHORT_NAMES.items():
        allowed = ALLOWED[field]
        reader: dict[str, Any] = {} if allowed.low is None else {"type": setting(allowed)}
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=field,
            choices=allowed.choices or None,
            default=_DEFAULTS.get(field, getattr(usual, field)),
            metavar=_METAVARS.get(field, None if name == field or allowed.choices else name.upper()),
            help=HELP.get(field),
            **reader,
        )


def settings_of(options: argparse.Namespace) -> EditSettings:
    """Read what `setting_options` adds. Raises: ValueError in one sentence."""
    return EditSettings(**_values(options))


def check_settings(options: argparse.Namespace) -> None:
    """Refuse flags that go together only with others, and warn of those that change nothing.

    Raises: ValueError in one sentence.
    """
    settings_of(options)
    check_negative(_values(options))
    check_mask(_values(options), masked=options.mask is not None)
    check_size(_values(options), has_picture=True)


def _values(options: argparse.Namespace) -> dict[str, Any]:
    return {field: getattr(options, field) for field in SHORT_NAMES}


def loading_options(parser: argparse.ArgumentParser) -> None:
    """Add how a model is kept and computed; `spec_of` reads it."""
    parser.add_argument(
        "--memory",
        type=gib,
        metavar="GIB",
        help="the most that the device may hold; weights that do not fit are fetched when needed (default: "
        "what is free on a GPU)",
    )
    parser.add_argument(
        "--waits",
        choices=("auto", "memory", "file"),
        default="auto",
        help="where weights that do not fit are kept: in the computer's memory, or in their files (default: "
        "in memory if they fit there)",
    )
    parser.add_argument(
        "--weights",
        metavar="FORM",
        help="how large matrices are kept: full, fp8, int8, int4, nf4, or auto for the least loss within "
        "the memory (default: as stored)",
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile the network's blocks: slow at first, then faster"
    )
    parser.add_argument(
        "--float8",
        action="store_true",
        help="multiply in float8, on cards that can: faster, but slightly different results",
    )
    parser.add_argument(
        "--attention",
        metavar="NAME",
        help="attention kernel: flash4, flash3, cudnn, flash2 or torch; flash3_fp8 and sage are not exact "
        "(default: auto, the card's best exact one)",
    )
    parser.add_argument(
        "--graph",
        action="store_true",
        help="record a step as a CUDA graph: for small pictures and slow hosts; keeps the memory of one "
        "step in use",
    )


def spec_of(options: argparse.Namespace) -> ModelSpec:
    """Read the options that this module adds to a command; paths become absolute.

    Raises: ValueError in one sentence about one that is not known.
    """
    if options.weights not in (None, *WEIGHT_FORMS):
        raise ValueError(
            f"weights {options.weights!r} are not known; choose one of {', '.join(WEIGHT_FORMS)}"
        )
    return ModelSpec(
        model=options.model if options.model == TINY else str(Path(options.model).absolute()),
        device=options.device,
        quantise=options.weights,
        memory_gib=options.memory or AUTO,
        waits=options.waits,
        compile=options.compile,
        float8=options.float8,
        loras=tuple(Lora(str(file.absolute()), strength) for file, strength in options.lora),
        compute=ComputeOptions(attention=options.attention or AUTO, graph=options.graph),
    )
