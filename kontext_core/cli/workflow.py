"""kontext run."""

import argparse
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from .examples import EXAMPLES
from .options import Subcommands, say


def add_run(commands: Subcommands) -> None:
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


def _run(options: argparse.Namespace) -> None:
    from ..remote.client import Client
    from ..remote.follow import Follower, Line
    from ..remote.local import started
    from ..remote.run import as_prompt, download, execute, output_nodes
    from ..remote.workflow import is_api_form, read_workflow

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
