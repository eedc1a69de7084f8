"""kontext run."""

import argparse
import signal
from contextlib import ExitStack
from pathlib import Path

from ..checks.arguments import path
from .examples import EXAMPLES
from .interrupts import importing
from .options import Subcommands
from .output import ERR, put, say

_WHERE = "Start one, give the address of a running one (--server), or name one to start for this (--comfyui)."


def add_run(commands: Subcommands) -> None:
    run = commands.add_parser(
        "run", help="run a workflow on a ComfyUI and fetch its pictures", epilog=EXAMPLES
    )
    run.formatter_class = argparse.RawDescriptionHelpFormatter
    run.add_argument("workflow", type=path, help="a JSON file, saved from the page or exported for the API")
    where = run.add_mutually_exclusive_group()
    where.add_argument(
        "--server", default="http://127.0.0.1:8188", help="address of a running ComfyUI (%(default)s)"
    )
    where.add_argument(
        "--comfyui", type=path, help="folder of a ComfyUI to start for this run and stop afterwards"
    )
    run.add_argument(
        "--python", type=path, help="the Python to start it with (default: the one of its own environment)"
    )
    run.add_argument("--output", type=path, default=Path("output"), help="folder for the pictures (output)")
    run.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> None:
    with importing():
        from ..disk import check_folder
        from ..remote.client import Client, RemoteError
        from ..remote.follow import Follower, Line
        from ..remote.local import started
        from ..remote.run import as_prompt, download, execute, output_nodes
        from ..remote.shape import WorkflowError
        from ..remote.workflow import is_api_form, read_workflow

    workflow = read_workflow(options.workflow)
    check_folder(options.output)  # before anything runs, whose pictures would have no place
    with ExitStack() as stack:
        url = options.server
        if options.comfyui:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            say(f"starting the ComfyUI in {options.comfyui}")
            python = None if options.python is None else options.python.absolute()
            url = stack.enter_context(started(options.comfyui.absolute(), python))
        client = stack.enter_context(Client(url))
        try:
            known = client.object_info()
        except RemoteError as error:
            raise error if options.comfyui else RemoteError(f"{error} {_WHERE}") from error
        try:
            prompt = as_prompt(workflow, known)
        except WorkflowError as error:
            raise ValueError(f"{options.workflow} cannot be run: {error}") from error
        page = None if is_api_form(workflow) else workflow
        result = execute(client, prompt, page, Follower(prompt, Line(ERR)))
        pictures = download(client, result, options.output, output_nodes(prompt, known, result))
    if not pictures:
        say("the workflow produced no picture; does it have a Save Image or Preview Image node?")
    for picture in pictures:
        put(str(picture))
