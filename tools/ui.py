"""`make ui`: ComfyUI with this pack, until Ctrl+C."""

from __future__ import annotations

import argparse
import time

from kontext_core.disk import make_folder
from kontext_core.remote.client import Client, RemoteError

from .console import ToolError, end_in_order, run, say
from .page import SETTINGS
from .paths import ROOT
from .place import PACK
from .server import Server

TEMPLATE = "a_first_chain"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make ui", description=__doc__)
    parser.add_argument("--port", type=int, default=8188, help="the port of the page (default 8188)")
    options = parser.parse_args()
    end_in_order()
    base = ROOT / "output" / "comfyui"
    make_folder(base)
    say("Starting ComfyUI ...")
    with Server(base=base, port=options.port) as server, Client(server.url) as client:
        try:
            client.settings(SETTINGS)
        except RemoteError as error:
            raise ToolError(f"{error} {base / 'server.log'} may say why, or the disk is full.") from error
        say(f"ComfyUI, {server.source}\n")
        say(f"  {server.url}/?template={TEMPLATE}&source={PACK}   opens a chain of three edits")
        say(f"  {server.url}/   the empty page; Workflow > Browse Templates > {PACK} has them too\n")
        say(f"Its files are in {base}, its log in {base / 'server.log'}. Ctrl+C stops it.")
        try:
            while server.running:
                time.sleep(0.5)
        except KeyboardInterrupt:
            say("Stopping ComfyUI.")
            return
        raise ToolError(f"ComfyUI ended by itself; {base / 'server.log'} says why.")


if __name__ == "__main__":
    run(main, RemoteError)
