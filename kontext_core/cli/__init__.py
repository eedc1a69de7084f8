"""The command line: kontext edit, batch, info, train, score, run."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from .edit import add_batch, add_edit
from .examples import EXAMPLES
from .info import add_info
from .options import say
from .train import add_score, add_train
from .workflow import add_run


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
            from ..distributed.launch import Place

            Place.parse(place).fail(str(error))  # said once for all processes, by the one that started them
        if options.verbose:
            raise
        if place is None:
            say(f"kontext: {error}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kontext",
        description="FLUX.1 Kontext: edit pictures by instruction.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--verbose", action="store_true", help="log what happens, and show tracebacks")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_edit, add_batch, add_info, add_train, add_score, add_run):
        add(commands)
    return parser
