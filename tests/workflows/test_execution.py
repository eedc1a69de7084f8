"""Every shared workflow runs on a real ComfyUI with the tiny model, and the LATENTs on
the way are ComfyUI's own.
"""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kontext_core.images.picture_files import from_bytes
from kontext_core.pipeline import Pipeline
from kontext_core.remote.client import Client, Json, Result
from kontext_core.remote.workflow import read_workflow, to_api_form
from kontext_core.world import examples
from tools.make_workflows import showing
from tools.paths import ROOT
from tools.server import Server

pytestmark = pytest.mark.comfy
WORKFLOWS = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))


class Run(NamedTuple):
    """A workflow in API form and what came of it."""

    name: str
    prompt: Json
    result: Result
    pictures: list[Tensor]


@pytest.fixture(scope="module", params=WORKFLOWS)
def ran(client: Client, request: pytest.FixtureRequest) -> Run:
    """One of the workflows, executed."""
    prompt = to_prompt(client, request.param)
    result = client.run(prompt)
    return Run(request.param, prompt, result, pictures(client, prompt, result))


def to_prompt(client: Client, name: str) -> Json:
    return to_api_form(read_workflow(ROOT / "workflows" / f"{name}.json"), client.object_info())


def pictures(client: Client, prompt: Json, result: Result) -> list[Tensor]:
    """What the workflow puts out, in order, each (1, H, W, 3) in [0, 1]."""
    return [tensor(client.view(image)) for id in showing(prompt) for image in result.images(id)]


def tensor(data: bytes) -> Tensor:
    """A picture file as an IMAGE."""
    return from_bytes(data, "a result")


def below(prompt: Json, id: str) -> set[str]:
    """A node and all that hangs on it."""
    found = {id}
    while True:
        more = {
            one
            for one, node in prompt.items()
            if any(isinstance(value, list) and value[0] in found for value in node["inputs"].values())
        }
        if more <= found:
            return found
        found |= more


def node(class_type: str, **inputs: Any) -> Json:
    return {"class_type": class_type, "inputs": inputs}


def parts(client: Client, **nodes: Json) -> Json:
    """A graph of the loader ("model"), an example picture ("picture") and these nodes."""
    example = to_prompt(client, "single_edit")
    loader = next(node for node in example.values() if node["class_type"] == "KontextLoadModel")
    picture = next(node for node in example.values() if node["class_type"] == "KontextExample")
    return {"model": loader, "picture": picture, **nodes}


def test_there_is_an_example_for_every_workflow() -> None:
    assert set(WORKFLOWS) == set(examples.EXAMPLES)


def test_workflow_gives_pictures(ran: Run) -> None:
    ran_or_kept = set(ran.result.executed) | set(ran.result.cached)
    assert {id for id in ran_or_kept if "." not in id} == set(ran.prompt), "but for what a node expands to"
    assert not ran.result.interrupted
    assert len(ran.pictures) == len(examples.EXAMPLES[ran.name].shown)
    side = 128 * examples.EXAMPLES[ran.name].scale
    for picture in ran.pictures:
        assert picture.shape == (1, side, side, 3)
        assert picture.std() > 0.01, "the picture is blank"


def test_the_fixed_scenes_come_out_right(ran: Run) -> None:
    truths, scale = examples.EXAMPLES[ran.name].shown, examples.EXAMPLES[ran.name].scale
    assert [
        examples.is_right(picture, truth, scale) for picture, truth in zip(ran.pictures, truths, strict=True)
    ] == [True] * len(truths)


def test_only_the_changed_turn_runs_again(client: Client) -> None:
    prompt = to_prompt(client, "three_turn_edit")
    edits = sorted((id for id, node in prompt.items() if node["class_type"] == "KontextEdit"), key=int)
    third = edits[2]
    assert prompt[third]["_meta"]["title"] == "Turn 3"
    before = client.run(prompt)
    prompt[third]["inputs"]["instruction"] = "make the background grass"
    after = client.run(prompt)
    changed = below(prompt, third)
    assert set(after.executed) == changed
    assert set(after.cached) == set(prompt) - changed
    assert {prompt[id]["class_type"] for id in changed} == {"KontextEdit", "SaveImage"}
    first, second, last = pictures(client, prompt, after)
    was = pictures(client, prompt, before)
    assert torch.equal(first, was[0])
    assert torch.equal(second, was[1])
    assert not torch.equal(last, was[2])


@pytest.mark.parametrize(
    ("name", "count"), [("text_to_image", 1), ("two_references", 1), ("branch_and_compare", 3), ("script", 1)]
)
def test_workflows_of_the_first_version_run(client: Client, name: str, count: int) -> None:
    """What they do not know of yet takes its default: turns have no mask, no marks, no alignment."""
    old = read_workflow(ROOT / "tests" / "data" / "workflows_0.1" / f"{name}.json")
    prompt = to_api_form(old, client.object_info())
    for node in prompt.values():
        inputs = node["inputs"]
        assert inputs.get("solver", "euler") == "euler"
        assert inputs.get("align", False) is False
        assert inputs.get("marks", "") == ""
        if "steps" in inputs:
            inputs["steps"] = 2
    made = pictures(client, prompt, client.run(prompt))
    assert [one.shape for one in made] == [(1, 128, 128, 3)] * count


def test_our_latents_survive_stock_nodes(client: Client, server: Server) -> None:
    """A latent of ours, scaled to its own size and through a file by ComfyUI's nodes,
    decodes to the same picture.
    """
    ours = {
        "encode": node("KontextEncode", model=["model", 0], image=["picture", 0], fit="none"),
        "save": node("SaveLatent", samples=["encode", 0], filename_prefix="ours"),
        "same": node(
            "LatentUpscale",
            samples=["encode", 0],
            upscale_method="nearest-exact",
            width=128,
            height=128,
            crop="disabled",
        ),
        "twice": node(
            "LatentUpscale",
            samples=["encode", 0],
            upscale_method="nearest-exact",
            width=256,
            height=192,
            crop="disabled",
        ),
    }
    for name in ("encode", "same", "twice"):
        ours[f"decode {name}"] = node("KontextDecode", model=["model", 0], latent=[name, 0])
        ours[f"show {name}"] = node("PreviewImage", images=[f"decode {name}", 0])
    graph = parts(client, **ours)
    result = client.run(graph)
    direct, same, twice = (
        tensor(client.view(result.images(f"show {name}")[0])) for name in ("encode", "same", "twice")
    )
    assert torch.equal(same, direct)
    assert twice.shape == (1, 192, 256, 3)

    saved = server.base / "output" / result.outputs["save"]["latents"][0]["filename"]
    picture = examples.picture(graph["picture"]["inputs"]["picture"])
    mean, _ = Pipeline.load("tiny").vae.posterior(picture.permute(0, 3, 1, 2) * 2 - 1)
    held = load_file(saved)["latent_tensor"]
    assert torch.allclose(held, mean, atol=1e-3), "a LATENT holds what the autoencoder gives, unscaled"

    shutil.copy(saved, server.base / "input" / "ours.latent")
    again = parts(
        client,
        load=node("LoadLatent", latent="ours.latent"),
        decode=node("KontextDecode", model=["model", 0], latent=["load", 0]),
        show=node("PreviewImage", images=["decode", 0]),
    )
    loaded = client.run(again)
    assert torch.allclose(tensor(client.view(loaded.images("show")[0])), direct, atol=1.5 / 255)


def test_stock_latents_fit_our_nodes(client: Client, server: Server, tmp_path: Path) -> None:
    """ComfyUI's empty latent is a start, a reference turn, and decodes; stock nodes take what we make."""
    sampler = next(
        node for node in to_prompt(client, "text_to_image").values() if node["class_type"] == "KontextSampler"
    )
    edit = next(
        node for node in to_prompt(client, "single_edit").values() if node["class_type"] == "KontextEdit"
    )
    turn = {key: value for key, value in edit["inputs"].items() if key not in ("model", "image")} | {
        "steps": 2
    }
    start = {key: value for key, value in sampler["inputs"].items() if not isinstance(value, list)} | {
        "steps": 2,
        "strength": 0.5,
    }
    graph = parts(
        client,
        empty=node("EmptySD3LatentImage", width=64, height=96, batch_size=2),
        words=node("KontextEncodePrompt", model=["model", 0], text="a red circle", negative=""),
        sample=node("KontextSampler", model=["model", 0], prompt=["words", 0], start=["empty", 0], **start),
        decode=node("KontextDecode", model=["model", 0], latent=["sample", 0]),
        show=node("PreviewImage", images=["decode", 0]),
        plain=node("KontextDecode", model=["model", 0], latent=["empty", 0]),
        blank=node("PreviewImage", images=["plain", 0]),
        one=node("LatentFromBatch", samples=["sample", 0], batch_index=1, length=1),
        turn=node("KontextEdit", model=["model", 0], latent=["one", 0], **turn),
        save=node("SaveLatent", samples=["turn", 1], filename_prefix="turn"),
        shown=node("PreviewImage", images=["turn", 0]),
    )
    result = client.run(graph)
    assert [tensor(client.view(image)).shape for image in result.images("show")] == [(1, 96, 64, 3)] * 2
    assert [tensor(client.view(image)).shape for image in result.images("blank")] == [(1, 96, 64, 3)] * 2
    assert tensor(client.view(result.images("shown")[0])).shape == (1, 96, 64, 3)
    saved = server.base / "output" / result.outputs["save"]["latents"][0]["filename"]
    assert load_file(saved)["latent_tensor"].shape == (1, 16, 12, 8)


def test_strength_nought_gives_the_stock_latent_back(client: Client, server: Server) -> None:
    """With no steps run upon it, a start comes back with the numbers it had: one convention on both sides."""
    sampler = next(
        node for node in to_prompt(client, "text_to_image").values() if node["class_type"] == "KontextSampler"
    )
    start = {key: value for key, value in sampler["inputs"].items() if not isinstance(value, list)} | {
        "strength": 0.0
    }
    graph = parts(
        client,
        encode=node("KontextEncode", model=["model", 0], image=["picture", 0], fit="none"),
        flip=node("LatentFlip", samples=["encode", 0], flip_method="y-axis: horizontally"),
        words=node("KontextEncodePrompt", model=["model", 0], text="", negative=""),
        sample=node("KontextSampler", model=["model", 0], prompt=["words", 0], start=["flip", 0], **start),
        given=node("SaveLatent", samples=["flip", 0], filename_prefix="given"),
        back=node("SaveLatent", samples=["sample", 0], filename_prefix="back"),
    )
    result = client.run(graph)
    given, back = (
        load_file(server.base / "output" / result.outputs[id]["latents"][0]["filename"])["latent_tensor"]
        for id in ("given", "back")
    )
    assert torch.allclose(given, back, atol=1e-4)
