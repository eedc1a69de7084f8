"""`make demo`: a picture edited turn after turn in a real ComfyUI, with the tiny model."""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from kontext_core.chain.sheet import Tile, contact_sheet
from kontext_core.disk import make_folder, whole
from kontext_core.images.picture_files import from_bytes, from_file, to_pil, write_png
from kontext_core.remote.client import Client, Json, RemoteError, Result
from kontext_core.remote.follow import Follower, Line
from kontext_core.remote.run import execute
from kontext_core.remote.workflow import read_workflow, to_api_form
from kontext_core.world import Scene, apply
from kontext_core.world.examples import EXAMPLES, PICTURES, is_right, picture

from .console import Output, ToolError, end_in_order, run, say
from .paths import ROOT, expand
from .server import Server

NAME = "three_turn_edit"
WORKFLOW = ROOT / "workflows" / f"{NAME}.json"
OUTPUT = ROOT / "output" / "demo"
ONLY_ITS_WORLD = (
    "The tiny model knows only its own world of coloured shapes on a grid: its result on a photo says "
    "nothing about FLUX.1 Kontext. README.md says how to use the published weights."
)


@dataclass(frozen=True)
class Task:
    """A picture, what to do to it turn by turn, and the right results where they are known."""

    picture: Image.Image
    instructions: tuple[str, ...]
    truths: tuple[Scene | None, ...]
    is_example: bool


def task(photo: Path | None, prompt: str | None) -> Task:
    """What to do.

    Raises: ToolError if there is a photo without a prompt, or the photo cannot be used.
    """
    if photo is not None:
        if prompt is None:
            raise ToolError("Say what to change: make demo PHOTO=photo.png PROMPT='make the circle red'")
        turns = instructions(prompt)
        return Task(read_photo(photo), turns, (None,) * len(turns), is_example=False)
    example = EXAMPLES[NAME]
    [name] = example.pictures
    turns = example.instructions if prompt is None else instructions(prompt)
    return Task(to_pil(picture(name)), turns, truths(PICTURES[name], turns), is_example=True)


def instructions(prompt: str) -> tuple[str, ...]:
    """Split instructions at semicolons, one a turn; the empty prompt is one turn without any."""
    return tuple(part.strip() for part in prompt.split(";") if part.strip()) or ("",)


def truths(scene: Scene | None, turns: Sequence[str]) -> tuple[Scene | None, ...]:
    """The right result of each turn, until one is not of the world's grammar."""
    scenes: list[Scene | None] = []
    for turn in turns:
        scene = None if scene is None else apply(turn, scene)
        scenes.append(scene)
    return tuple(scenes)


def read_photo(path: Path) -> Image.Image:
    """Any picture as plain RGB, upright.

    Raises: ToolError in one sentence if it cannot be.
    """
    try:
        return to_pil(from_file(expand(str(path))))
    except ValueError as error:
        reason = str(error)
        raise ToolError(
            f"{reason[0].upper() if reason.startswith('there') else reason[0]}{reason[1:]}."
        ) from error


def with_input(prompt: Json, name: str) -> Json:
    """The graph with an uploaded picture in place of the example."""
    loader = {"class_type": "LoadImage", "inputs": {"image": name}}
    return {id: loader if node["class_type"] == "KontextExample" else node for id, node in prompt.items()}


def at_its_own_size(prompt: Json) -> Json:
    """The graph whose edits give a picture back at its own size, with only what was changed in it new."""
    own = {"keep_outside": "auto", "size": "original"}
    return {
        id: {**node, "inputs": node["inputs"] | own} if node["class_type"] == "KontextEdit" else node
        for id, node in prompt.items()
    }


def turn_nodes(prompt: Json) -> list[tuple[str, str]]:
    """For each turn the ids of its edit and of the node that saves its picture, from the first on."""
    turns: list[tuple[str, str]] = []
    source: Any = None
    while True:
        edits = (id for id, node in prompt.items() if node["class_type"] == "KontextEdit")
        edit = next((id for id in edits if prompt[id]["inputs"].get("latent") == source), None)
        if edit is None:
            return turns
        save = next(id for id, node in prompt.items() if node["inputs"].get("images") == [edit, 0])
        turns.append((edit, save))
        source = [edit, 1]


def with_instructions(prompt: Json, turns: Sequence[str]) -> Json:
    """The graph with these instructions: turns too many are left out, further ones are copies of the last."""
    changed: Json = copy.deepcopy(prompt)
    nodes = turn_nodes(changed)
    for edit, save in nodes[len(turns) :]:
        del changed[edit], changed[save]
    for number in range(len(nodes), len(turns)):
        before, last_save = nodes[-1]
        edit, save = f"edit-{number + 1}", f"save-{number + 1}"
        changed[edit] = copy.deepcopy(changed[before])
        changed[edit]["inputs"] |= {"latent": [before, 1]}
        changed[save] = copy.deepcopy(changed[last_save])
        changed[save]["inputs"] |= {"images": [edit, 0]}
        nodes.append((edit, save))
    for (edit, _), turn in zip(nodes, turns, strict=False):
        changed[edit]["inputs"]["instruction"] = turn
    return changed


def names(prompt: Json) -> dict[str, str]:
    """What to call the nodes that take time."""
    edits = [edit for edit, _ in turn_nodes(prompt)]
    labels = {
        edit: f"turn {number}/{len(edits)}: {prompt[edit]['inputs']['instruction'] or '(no instruction)'}"
        for number, edit in enumerate(edits, start=1)
    }
    loaders = [id for id, node in prompt.items() if node["class_type"] == "KontextLoadModel"]
    return labels | dict.fromkeys(loaders, "loading the tiny model")


def queue(client: Client, todo: Task, line: Line) -> tuple[Json, Result]:
    """Upload the picture, run the graph and follow it."""
    workflow = read_workflow(WORKFLOW)
    prompt = with_instructions(to_api_form(workflow, client.object_info()), todo.instructions)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kontext_demo.png"
        write_png(todo.picture, file)
        prompt = with_input(prompt, client.upload(file))
    if not todo.is_example:
        prompt = at_its_own_size(prompt)
    called = names(prompt)
    unchanged = todo.is_example and todo.instructions == EXAMPLES[NAME].instructions
    return prompt, execute(
        client, prompt, workflow if unchanged else None, Follower(prompt, line, lambda id: called.get(id, ""))
    )


def write(client: Client, todo: Task, prompt: Json, result: Result, folder: Path) -> list[bool | None]:
    """Write all pictures and the contact sheet, in place of those of an earlier demo.

    Returns: for each turn whether it is right; None where nobody can tell.
    """
    tiles = [Tile(todo.picture, "the picture")]
    files = {"input.png": _png(todo.picture)}
    for number, ((_, save), instruction, truth) in enumerate(
        zip(turn_nodes(prompt), todo.instructions, todo.truths, strict=True), start=1
    ):
        data = files[f"turn_{number}.png"] = client.view(result.images(save)[0])
        image = from_bytes(data, f"the result of turn {number}")
        right = None if truth is None else is_right(image, truth)
        tiles.append(Tile(to_pil(image), f"{number}. {instruction or '(no instruction)'}", right))
    files["sheet.png"] = _png(contact_sheet(tiles))
    make_folder(folder)
    with whole(*(folder / name for name in files)) as partials:
        for partial, data in zip(partials, files.values(), strict=True):
            partial.write_bytes(data)
    for old in folder.glob("turn_*.png"):
        if old.name not in files:
            old.unlink()
    return [tile.right for tile in tiles[1:]]


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    write_png(picture, file)
    return file.getvalue()


def report(todo: Task, verdicts: Sequence[bool | None], folder: Path) -> None:
    """Say what was written, and what came out right."""
    say(f"\n  {folder / 'input.png'}")
    for number, (instruction, right) in enumerate(zip(todo.instructions, verdicts, strict=True), start=1):
        verdict = {True: "right", False: "wrong", None: ""}[right]
        say(f"  {folder / f'turn_{number}.png'}  {verdict:5}  {instruction}".rstrip())
    say(f"  {folder / 'sheet.png'}  all of them\n")
    if not todo.is_example:
        say(ONLY_ITS_WORLD)
        return
    judged = [right for right in verdicts if right is not None]
    if judged:
        say(
            f"{sum(judged)} of {len(judged)} turns are correct: every cell of the picture is as it should be."
        )
    if len(judged) < len(verdicts):
        say(
            "The others cannot be judged: their words are not part of the small world, or do not fit the "
            "picture."
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--photo", type=Path, help="your own picture instead of the example")
    parser.add_argument("--prompt", help="what to change; a semicolon starts another turn")
    options = parser.parse_args()
    end_in_order()
    todo = task(options.photo, options.prompt)
    make_folder(OUTPUT)  # before anything runs, whose pictures would have no place
    say("Starting ComfyUI ...")
    with Server() as server, Client(server.url) as client:
        say(f"ComfyUI runs, from {server.source}.")
        prompt, result = queue(client, todo, Line(Output()))
        verdicts = write(client, todo, prompt, result, OUTPUT)
    report(todo, verdicts, OUTPUT)


if __name__ == "__main__":
    run(main, RemoteError)
