"""Commands, options, defaults and help of the command line, which users' scripts rely on."""

import argparse
from typing import Any

from kontext_core import cli
from tests.snapshots import check_snapshot


def described(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Everything that a parser takes, by name; Python's own layout of --help differs between its versions."""
    options: dict[str, Any] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            options["commands"] = {name: described(command) for name, command in action.choices.items()}
            continue
        options[", ".join(action.option_strings) or action.dest] = {
            "dest": action.dest,
            "nargs": action.nargs,
            "default": None if action.default is None else str(action.default),
            "choices": None if action.choices is None else [str(choice) for choice in action.choices],
            "required": action.required,
            "metavar": action.metavar,
            "help": action.help,
        }
    return options | {"epilog": parser.epilog, "description": parser.description}


def test_the_command_line_is_as_it_was() -> None:
    check_snapshot("command_line", described(cli._parser()))
