"""The command line: kontext edit, batch, prompt, info, train, score, run."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .interrupts import EXIT as INTERRUPTED
from .interrupts import Interrupts, importing
from .output import ERR, OUT, ClosedOutputError, say

if TYPE_CHECKING:
    import argparse

CLOSED = 128 + 13  # what a shell shows of a program that a closed pipe ended (SIGPIPE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    What goes wrong ends in one sentence and exit code 1, Ctrl+C in 130, a reader that goes away in 141.
    """
    with Interrupts(alone=arguments is None) as interrupts:
        try:
            return _run(arguments, interrupts)
        except KeyboardInterrupt:
            return _stopped()
        except ClosedOutputError:
            return CLOSED


def _run(arguments: Sequence[str] | None, interrupts: Interrupts) -> int:
    with importing():
        import logging
        import sys

        parser = _parser()
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        options = parser.parse_args(words)
    except SystemExit:  # it showed its help, or said what is wrong
        OUT.flush()
        ERR.flush()
        raise
    except BrokenPipeError as error:
        OUT.let_go()
        ERR.let_go()
        raise ClosedOutputError from error
    options.given = words
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    command: Callable[[argparse.Namespace], int | None] = options.command
    try:
        return command(options) or 0
    except ClosedOutputError:
        raise
    except Exception as error:
        if interrupts.came:
            return _stopped()
        return _failed(error, options)


def _failed(error: Exception, options: "argparse.Namespace") -> int:
    from ..checks.sentences import sentence

    place = getattr(options, "joined", None)
    if place is not None:
        from ..distributed.launch import RankAddress

        RankAddress.parse(place).fail(
            sentence(error)
        )  # said once for all processes, by the one that started them
    if options.verbose:
        raise error
    if place is None:
        say(f"kontext: {sentence(error)}")
    return 1


def _stopped() -> int:
    say("stopped")
    return INTERRUPTED


def _parser() -> "argparse.ArgumentParser":
    import argparse

    from .edit import add_batch, add_edit
    from .examples import EXAMPLES
    from .info import add_info
    from .prompt import add_prompt
    from .train import add_score, add_train
    from .workflow import add_run

    parser = argparse.ArgumentParser(
        prog="kontext",
        description="FLUX.1 Kontext: edit pictures by instruction.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--verbose", action="store_true", help="log progress and show tracebacks")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_edit, add_batch, add_prompt, add_info, add_train, add_score, add_run):
        add(commands)
    return parser
