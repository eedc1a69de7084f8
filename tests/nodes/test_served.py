"""The nodes in a running ComfyUI, over HTTP, on a model folder of random weights."""

import io
import json
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from kontext_core.remote.client import Client, Event, ExecutionFailed, PromptRefused, Result
from tools.paths import ROOT
from tools.place import PACK
from tools.server import Server

pytestmark = pytest.mark.comfy
MODEL = "random/"
PATIENCE_S = 300  # a busy machine takes its time
PROBE = """
import gc
import json
from aiohttp import web
from comfy import model_management
from server import PromptServer

class AnyType(str):
    def __ne__(self, other):
        return False

class Wire:  # hands on any value of JSON by a wire of any type
    RETURN_TYPES, FUNCTION, CATEGORY = (AnyType("*"),), "hand_on", "probe"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"default": "null"})}}

    def hand_on(self, text):
        return (json.loads(text),)

NODE_CLASS_MAPPINGS = {"Wire": Wire}

@PromptServer.instance.routes.get("/probe")
async def probe(request):
    gc.collect()  # as ComfyUI does, but not while the list of objects below holds them all
    alive = sum(type(one).__name__ == "ManagedPipeline" for one in gc.get_objects())
    known = [type(one.model.model).__name__ for one in model_management.current_loaded_models]
    return web.json_response({"alive": alive, "known": known})
"""


@pytest.fixture(scope="module")
def server(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ComfyUI with the random model among its models and a picture among its inputs."""
    base = tmp_path_factory.mktemp("served")
    shutil.copytree(random_model, base / "models" / "diffusion_models" / "random")
    (base / "input").mkdir()
    Image.effect_noise((160, 120), 64).convert("RGB").save(base / "input" / "photo.png")
    probe = tmp_path_factory.mktemp("packs") / "probe"
    probe.mkdir()
    (probe / "__init__.py").write_text(PROBE)
    with Server(base=base, packs={PACK: ROOT, "probe": probe}) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


LOADER = node(
    "KontextLoadModel", model=MODEL, vae="auto", clip_l="auto", t5xxl="auto", dtype="auto", device="auto"
)
EDIT = {"seed": 1, "steps": 3, "guidance": 2.5, "fit": "crop", "layout": "auto"}
SAMPLER = {
    "width": 0,
    "height": 0,
    "steps": 2,
    "guidance": 2.5,
    "cfg": 1.0,
    "seed": 1,
    "layout": "auto",
    "batch": 1,
}
SAMPLER |= {"strength": 1.0, "shift": 0.0}


def turns(third: str = "make it green") -> dict[str, Any]:
    """Three edits, the second and third on the latent of the one before."""
    return {
        "1": node("LoadImage", image="photo.png"),
        "2": LOADER,
        "3": node("KontextEdit", model=["2", 0], instruction="make it red", image=["1", 0], **EDIT),
        "4": node("KontextEdit", model=["2", 0], instruction="make it blue", latent=["3", 1], **EDIT),
        "5": node("KontextEdit", model=["2", 0], instruction=third, latent=["4", 1], **EDIT),
        "6": node("SaveImage", images=["5", 0], filename_prefix="turns"),
    }


def pixels(client: Client, result: Result, id: str) -> bytes:
    """Of the first picture that a node saved."""
    return Image.open(io.BytesIO(client.view(result.images(id)[0]))).tobytes()


def test_pack_loads_without_a_word_of_failure(server: Server, client: Client) -> None:
    assert "custom_nodes/kontext" in server.log.replace("\\", "/")
    assert "Error while calling comfy_entrypoint" not in server.log
    options = client.object_info("KontextLoadModel")["KontextLoadModel"]["input"]["required"]["model"][1][
        "options"
    ]
    assert options == ["tiny (comes along)", MODEL]


def test_three_turns(client: Client) -> None:
    result = client.run(turns())
    picture = Image.open(io.BytesIO(client.view(result.images("6")[0])))
    assert picture.size == (128, 128)
    assert {"2", "3", "4", "5", "6"} <= set(result.executed)
    text = result.outputs["2"]["text"][0]
    assert text.startswith("float32 on cpu")
    assert "the tiny model" in text


def test_only_the_changed_turn_runs_again(client: Client) -> None:
    client.run(turns())
    result = client.run(turns("make it yellow"))
    assert {"1", "2", "3", "4"} <= set(result.cached)
    assert result.executed == ("5", "6")


def test_lora_changes_the_picture_and_goes_again(server: Server, client: Client) -> None:
    """Two nodes on one loaded model, with and without; then without in both: the first picture again."""
    folder = server.base / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    module = "transformer.single_transformer_blocks.0.proj_mlp"
    tensors = {
        f"{module}.lora_A.weight": torch.randn(4, 128, generator=generator),
        f"{module}.lora_B.weight": torch.randn(512, 4, generator=generator),
    }
    save_file(tensors, folder / "style.safetensors")
    edit = {"instruction": "make it red", "image": ["1", 0], **EDIT}
    graph = {
        "1": node("LoadImage", image="photo.png"),
        "2": LOADER,
        "3": node("KontextLora", model=["2", 0], lora="style.safetensors", strength=1.0),
        "4": node("KontextEdit", model=["3", 0], **edit),
        "5": node("SaveImage", images=["4", 0], filename_prefix="lora"),
        "6": node("KontextEdit", model=["2", 0], **edit),
        "7": node("SaveImage", images=["6", 0], filename_prefix="lora"),
    }
    result = client.run(graph)
    assert result.outputs["3"]["text"][0].startswith("style.safetensors: a LoRA in diffusers' names")
    changed, plain = (pixels(client, result, id) for id in ("5", "7"))
    assert changed != plain
    graph["3"]["inputs"]["lora"] = "none"
    again = client.run(graph)
    assert {"3", "4", "5"} <= set(again.executed)
    assert pixels(client, again, "5") == plain


def test_all_nodes_together(client: Client) -> None:
    graph = {
        "1": node("LoadImage", image="photo.png"),
        "2": LOADER,
        "3": node("KontextEncodePrompt", model=["2", 0], text="make it red", negative="blue"),
        "4": node("KontextReference", image=["1", 0], fit="pad", model=["2", 0]),
        "5": node("KontextEncode", model=["2", 0], image=["1", 0], fit="stretch"),
        "6": node("KontextReference", latent=["5", 0], fit="crop", references=["4", 0]),
        "7": node(
            "KontextSampler", model=["2", 0], prompt=["3", 0], references=["6", 0], **(SAMPLER | {"cfg": 2.0})
        ),
        "8": node("KontextDecode", model=["2", 0], latent=["7", 0]),
        "9": node("PreviewImage", images=["8", 0]),
    }
    result = client.run(graph)
    assert Image.open(io.BytesIO(client.view(result.images("9")[0]))).size == (128, 96)
    assert result.outputs["4"]["text"] == ["160 x 120 px, padded to 128 x 128 px, 64 tokens"]
    assert result.outputs["6"]["text"] == ["a latent of 128 x 128 px, 64 tokens"]


def test_our_latents_are_stock_latents(client: Client) -> None:
    """Through ComfyUI's own nodes for latents and back into ours."""
    graph = {
        "1": node("LoadImage", image="photo.png"),
        "2": LOADER,
        "3": node("KontextEncode", model=["2", 0], image=["1", 0], fit="crop"),
        "4": node("LatentFlip", samples=["3", 0], flip_method="y-axis: horizontally"),
        "5": node("LatentCrop", samples=["4", 0], width=104, height=128, x=8, y=0),
        "6": node("KontextEdit", model=["2", 0], instruction="", latent=["5", 0], **EDIT),
        "7": node("SaveImage", images=["6", 0], filename_prefix="stock"),
        "8": node("EmptySD3LatentImage", width=64, height=96, batch_size=2),
        "9": node("KontextEncodePrompt", model=["2", 0], text="a red circle", negative=""),
        "10": node("KontextSampler", model=["2", 0], prompt=["9", 0], start=["8", 0], **SAMPLER),
        "11": node("SaveLatent", samples=["10", 0], filename_prefix="stock"),
        "12": node("KontextDecode", model=["2", 0], latent=["10", 0]),
        "13": node("SaveImage", images=["12", 0], filename_prefix="stock"),
    }
    result = client.run(graph)
    assert Image.open(io.BytesIO(client.view(result.images("7")[0]))).size == (104, 128)
    assert len(result.images("13")) == 2
    assert Image.open(io.BytesIO(client.view(result.images("13")[0]))).size == (64, 96)


def test_preview_and_progress(client: Client) -> None:
    events: list[Event] = []
    graph = turns("make it purple")
    graph["5"]["inputs"]["steps"] = 20
    client.wait(client.queue(graph), events.append)
    previews = [event for event in events if event.kind == "preview" and event.data["node_id"] == "5"]
    assert previews
    assert previews[-1].image is not None
    assert max(Image.open(io.BytesIO(previews[-1].image)).size) == 512
    values = [
        event.data["value"] for event in events if event.kind == "progress" and event.data["node"] == "5"
    ]
    assert values[0] == 1
    assert values[-1] == 20
    assert values == sorted(set(values)), "those between may be passed over"


def test_interrupt_stops_and_the_next_run_works(client: Client) -> None:
    graph = turns("make it black")
    graph["5"]["inputs"]["steps"] = 1000
    pressed: list[int] = []
    values: list[int] = []

    def press(event: Event) -> None:
        if event.kind == "progress" and event.data["node"] == "5":
            values.append(event.data["value"])
            if not pressed:
                pressed.append(event.data["value"])
                client.interrupt()

    result = client.wait(client.queue(graph), press)
    assert result.interrupted
    assert values[-1] < 500
    assert client.run(turns("make it white")).images("6")


def test_cancelling_one_graph_leaves_the_other(client: Client) -> None:
    """The one that waits; then the one that runs."""
    long = turns("make it brown")
    long["5"]["inputs"]["steps"] = 1000
    running, waiting = client.queue(long), client.queue(turns("make it orange"))
    left: list[list[str]] = []

    def cancel(event: Event) -> None:
        if event.kind == "progress" and event.data["node"] == "5" and not left:
            client.cancel(waiting)
            state = asked(client, "/queue")
            left.append([entry[1] for entry in (*state["queue_running"], *state["queue_pending"])])
            client.cancel(running)

    assert client.wait(running, cancel).interrupted
    assert left == [[running]]
    assert client.history(waiting) == {}


@pytest.mark.parametrize("method", ["none", "latent2rgb"])
def test_previews_as_the_page_wants_them(client: Client, method: str) -> None:
    """On a ComfyUI as well whose own nodes do not know of the setting."""
    client.run(turns())  # which also connects
    graph = turns(f"make it {method}")
    body = {"client_id": client.id, "prompt": graph, "extra_data": {"preview_method": method}}
    events: list[Event] = []
    client.wait(asked(client, "/prompt", body)["prompt_id"], events.append)
    sizes = [Image.open(io.BytesIO(event.image)).size for event in events if event.image is not None]
    assert bool(sizes) == (method != "none")
    assert [event.data["value"] for event in events if event.kind == "progress"][-1] == EDIT["steps"]


def failing(client: Client, graph: dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(ExecutionFailed) as caught:
        client.run(graph)
    return caught.value.details


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda graph: graph["3"]["inputs"].pop("image"),
            "this edit needs a picture: connect 'image', or 'latent'",
        ),
        (
            lambda graph: graph["3"]["inputs"].update(latent=["3b", 0]),
            "'image' and 'latent' are both connected",
        ),
    ],
)
def test_errors_are_one_sentence(client: Client, change: Callable[[Any], Any], said: str) -> None:
    graph = turns() | {"3b": node("EmptySD3LatentImage", width=64, height=64, batch_size=1)}
    change(graph)
    details = failing(client, graph)
    assert details["exception_type"] == "ValueError"
    assert said in details["exception_message"]
    assert details["exception_message"].strip().count("\n") == 0


def test_latent_of_another_model_is_refused(client: Client) -> None:
    graph = turns()
    graph["1"] = node("EmptyLatentImage", width=64, height=64, batch_size=1)
    graph["3"]["inputs"].pop("image")
    graph["3"]["inputs"]["latent"] = ["1", 0]
    assert "this LATENT is (1, 4, 8, 8)" in failing(client, graph)["exception_message"]


def test_missing_model_is_refused_with_folder_and_file(client: Client) -> None:
    graph = turns()
    graph["2"] = node("KontextLoadModel", **(LOADER["inputs"] | {"model": "gone.safetensors"}))
    with pytest.raises(PromptRefused) as caught:
        client.queue(graph)
    faults = caught.value.errors["2"]["errors"]
    assert len(faults) == 1
    assert "diffusion_models" in faults[0]["details"]
    assert "flux1-dev-kontext_fp8_scaled.safetensors" in faults[0]["details"]


def wire(value: Any) -> dict[str, Any]:
    return node("Wire", text=json.dumps(value))


def test_names_by_wires(server: Server, client: Client) -> None:
    """What a wire brings is checked when it has come; and then nothing runs again that did not change."""
    folder = server.base / "models" / "loras" / "sub"
    folder.mkdir(parents=True, exist_ok=True)
    module = "lora_unet_double_blocks_0_img_attn_proj"
    save_file(
        {
            f"{module}.lora_down.weight": torch.ones(2, 128),
            f"{module}.lora_up.weight": torch.ones(128, 2),
        },
        folder / "wired.safetensors",
    )
    names = {
        "model": MODEL,
        "vae": "auto",
        "clip_l": "auto",
        "t5xxl": "auto",
        "dtype": "auto",
        "device": "auto",
    }
    names |= {"lora": "sub\\wired.safetensors", "file": "example (comes along)"}
    wires = {name: [f"wire {name}", 0] for name in names}
    inputs = {"lora": wires.pop("lora"), "file": wires.pop("file")}
    graph = {f"wire {name}": wire(value) for name, value in names.items()} | {
        "2": node("KontextLoadModel", **wires),
        "3": node("KontextLora", model=["2", 0], lora=inputs["lora"], strength=1.0),
        "4": node("KontextLoadChain", file=inputs["file"]),
        "5": node("KontextEdit", model=["3", 0], image=["4", 1], instruction="make it red", **EDIT),
        "6": node("SaveImage", images=["5", 0], filename_prefix="wired"),
    }
    assert client.run(graph).images("6")
    again = client.run(graph)
    assert set(again.executed) == set()
    assert set(again.cached) == set(graph)

    graph["wire lora"] = wire("sub/gone.safetensors")
    details = failing(client, graph)
    assert (details["node_id"], details["exception_type"]) == ("3", "ValueError")
    assert "the LoRA 'sub/gone.safetensors' is not there" in details["exception_message"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "seed",
            2**64,
            "seed is 18446744073709551616; it must be a whole number from 0 to 18446744073709551615",
        ),
        ("steps", 10_000_000, "steps is 10000000; it must be a whole number from 1 to 1000"),
        ("guidance", float("nan"), "guidance is nan; it must be a number from 0 to 100"),
        ("fit", "squash", "fit is 'squash'; choose one of crop, pad, stretch, none"),
        ("instruction", None, "instruction is nothing; it must be text"),
        ("image", [1, 2], "image is a list of 2; it must be an IMAGE"),
        ("model", {}, "model is a dictionary; it must be a model from Kontext Load Model"),
    ],
)
def test_values_by_wires(client: Client, name: str, value: Any, said: str) -> None:
    graph = turns() | {"9": wire(value)}
    graph["3"]["inputs"][name] = ["9", 0]
    details = failing(client, graph)
    assert (details["node_id"], details["exception_type"]) == ("3", "ValueError")
    assert details["exception_message"].startswith(said)


def test_links_take_no_node_away(server: Server, client: Client, random_model: Path) -> None:
    """Those that lead to another drive, to nothing, and round in circles."""
    kinds = ("diffusion_models", "vae", "loras", "diffusers")
    links: list[Path] = []
    for folder in (server.base / "models" / kind for kind in kinds):
        folder.mkdir(parents=True, exist_ok=True)
        for name, target in (("far", random_model), ("gone", server.base / "nowhere"), ("round", folder)):
            links.append(folder / name)
            links[-1].symlink_to(target, target_is_directory=True)
    try:
        for name in ("KontextLoadModel", "KontextLora", "KontextLoadChain"):
            assert name in client.object_info(name)
        model = client.object_info("KontextLoadModel")["KontextLoadModel"]["input"]["required"]["model"]
        assert model[1]["options"] == ["tiny (comes along)", "far/", MODEL]
    finally:
        for link in links:
            link.unlink()


def asked(client: Client, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{client.url}{path}", data=data, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def gone(client: Client) -> bool:
    """Whether all models are, soon. Raises: AssertionError with what is still there."""
    end = time.monotonic() + PATIENCE_S
    while (left := asked(client, "/probe")) != {"alive": 0, "known": []}:
        assert time.monotonic() < end, left
        time.sleep(0.2)
    return True


def test_models_are_freed_when_that_is_asked_for(client: Client) -> None:
    """ "Free model and node cache", and a graph in which no loader is any more."""
    wanted = client.view(client.run(turns("make it grey")).images("6")[0])
    assert asked(client, "/probe") == {"alive": 1, "known": ["Kontext"]}
    asked(client, "/free", {"unload_models": True, "free_memory": True})
    assert gone(client)
    assert client.view(client.run(turns("make it grey")).images("6")[0]) == wanted
    asked(client, "/free", {"unload_models": True})
    assert client.view(client.run(turns("make it grey ")).images("6")[0])
    client.run(
        {
            "1": node("EmptyImage", width=16, height=16, batch_size=1, color=0),
            "2": node("PreviewImage", images=["1", 0]),
        }
    )
    assert gone(client)


def test_help_and_texts_are_served(client: Client) -> None:
    def get(path: str) -> bytes:
        with urllib.request.urlopen(f"{client.url}{path}", timeout=PATIENCE_S) as answer:
            return answer.read()

    assert get("/extensions/kontext/docs/KontextEdit.md").startswith(b"# Kontext Edit")
    texts = json.loads(get("/i18n"))["en"]
    assert texts["nodeDefs"]["KontextEdit"]["display_name"] == "Kontext Edit"
