"""Beside ComfyUI's own nodes, on a real ComfyUI: each does what the other would, with one
picture for all ways there.
"""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from kontext_core.loading.locate import TINY_FOLDER
from kontext_core.remote.client import Client, ExecutionFailed, Json, Result
from kontext_core.world import examples
from tools.paths import ROOT
from tools.place import PACK
from tools.server import Server

from .test_chains import LOADER, node
from .test_execution import tensor

pytestmark = pytest.mark.comfy
TOLERANCE = 1e-5  # relative L2, float32
STEPS = 8  # ComfyUI's scheduler "simple" has ours among its 10,000 levels, where they divide that
PICTURES = list(examples.PICTURES)[:2]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """With a loader of the tiny model as ComfyUI's MODEL, CLIP and VAE."""
    with Server(packs={PACK: ROOT, "stock_tiny": ROOT / "tests" / "stock"}) as server:
        yield server


def sampler(**inputs: Any) -> Json:
    given = {
        "width": 0, "height": 0, "steps": STEPS, "guidance": 2.5, "cfg": 1.0, "seed": 4, "layout": "auto", "batch": 1,
        "strength": 1.0, "shift": 0.0,
    }  # fmt: skip
    return node("KontextSampler", **(given | inputs))


def graph(**nodes: Json) -> Json:
    """Both loaders, two pictures, the first as a reference, words, and these."""
    made = {
        "own": node("KontextLoadModel", **LOADER),
        "stock": node("LoadTinyStock"),
        "hosted": node("KontextFromComfyUI", model=["stock", 0], clip=["stock", 1], vae=["stock", 2]),
        "words": node("KontextEncodePrompt", model=["own", 0], text="make the blue circle red", negative=""),
        "first": node("KontextExample", picture=PICTURES[0]),
        "second": node("KontextExample", picture=PICTURES[1]),
        "reference": node("KontextReference", fit="none", image=["first", 0]),
        **nodes,
    }
    saved = {
        f"save {name}": node("SaveLatent", samples=[name, 0], filename_prefix=name)
        for name, one in nodes.items()
        if one["class_type"] in ("KontextSampler", "KSampler")
    }
    return used(made | saved)


def used(prompt: Json) -> Json:
    """Without the nodes that lead to no output."""
    wanted = {name for name, one in prompt.items() if one["class_type"] in ("SaveLatent", "PreviewImage")}
    while True:
        links = (value for name in wanted for value in prompt[name]["inputs"].values())
        more = {value[0] for value in links if isinstance(value, list)} | wanted
        if more == wanted:
            return {name: prompt[name] for name in prompt if name in wanted}
        wanted = more


def latents(server: Server, result: Result, name: str) -> Tensor:
    saved = result.outputs[f"save {name}"]["latents"][0]
    return load_file(server.base / "output" / saved["subfolder"] / saved["filename"])["latent_tensor"]


def distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / ours.norm())


def test_a_detour_through_stock_nodes_changes_nothing(client: Client, server: Server) -> None:
    """Guidance, a second reference and the layout set by ComfyUI's nodes on our
    conditioning, and back to our sampler.
    """
    prompt = graph(
        both=node("KontextReference", fit="none", image=["second", 0], references=["reference", 0]),
        direct=sampler(model=["own", 0], prompt=["words", 0], references=["both", 0], layout="offset"),
        auto=sampler(model=["own", 0], prompt=["words", 0], references=["both", 0]),
        to=node(
            "KontextToConditioning",
            model=["own", 0],
            prompt=["words", 0],
            references=["reference", 0],
            guidance=2.5,
            layout="auto",
        ),
        guided=node("FluxGuidance", conditioning=["to", 0], guidance=3.0),
        encoded=node("KontextEncode", model=["own", 0], image=["second", 0], fit="none"),
        referenced=node("ReferenceLatent", conditioning=["guided", 0], latent=["encoded", 0]),
        laid=node(
            "FluxKontextMultiReferenceLatentMethod",
            conditioning=["referenced", 0],
            reference_latents_method="offset",
        ),
        back=node("KontextFromConditioning", conditioning=["laid", 0]),
        detour=sampler(model=["own", 0], prompt=["back", 0]),
    )
    result = client.run(prompt)
    direct, detour, auto = (latents(server, result, name) for name in ("direct", "detour", "auto"))
    assert direct.shape == (1, 16, 16, 16)
    assert distance(direct, detour) <= TOLERANCE
    assert distance(direct, auto) > 100 * TOLERANCE, "the tiny model's own layout is another"
    assert result.outputs["back"]["text"] == ["32 tokens of text, 2 references, layout offset, guidance 3"]
    assert result.outputs["detour"]["text"] == ["guidance 3 from the conditioning is used, not 2.5"]


def test_every_way_to_one_picture(client: Client, server: Server) -> None:
    """Our nodes on our model; on ComfyUI's; ComfyUI's sampler on our conditioning; our sampler
    on all that is ComfyUI's.
    """
    shift = {"max_shift": 1.15, "base_shift": 0.5, "width": 128, "height": 128}
    layout = {"layout": "offset"}
    prompt = graph(
        ours=sampler(model=["own", 0], prompt=["words", 0], references=["reference", 0], **layout),
        theirs=sampler(model=["hosted", 0], prompt=["words", 0], references=["reference", 0], **layout),
        to=node(
            "KontextToConditioning",
            model=["own", 0],
            prompt=["words", 0],
            references=["reference", 0],
            guidance=2.5,
            **layout,
        ),
        shifted=node("ModelSamplingFlux", model=["stock", 0], **shift),
        empty=node("EmptySD3LatentImage", width=128, height=128, batch_size=1),
        ksampler=node(
            "KSampler",
            model=["shifted", 0],
            positive=["to", 0],
            negative=["to", 1],
            latent_image=["empty", 0],
            seed=4,
            steps=STEPS,
            cfg=1.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        ),
        text=node("CLIPTextEncode", clip=["stock", 1], text="make the blue circle red"),
        pixels=node("VAEEncode", pixels=["first", 0], vae=["stock", 2]),
        referenced=node("ReferenceLatent", conditioning=["text", 0], latent=["pixels", 0]),
        back=node("KontextFromConditioning", conditioning=["referenced", 0]),
        stock_parts=sampler(model=["hosted", 0], prompt=["back", 0], **layout),
        decoded=node("KontextDecode", model=["own", 0], latent=["ksampler", 0]),
        show=node("PreviewImage", images=["decoded", 0]),
        stock_decoded=node("VAEDecode", samples=["ours", 0], vae=["stock", 2]),
        stock_show=node("PreviewImage", images=["stock_decoded", 0]),
    )
    result = client.run(prompt)
    ours = latents(server, result, "ours")
    for name in ("theirs", "ksampler", "stock_parts"):
        assert distance(ours, latents(server, result, name)) <= TOLERANCE, name
    shown, stock = (tensor(client.view(result.images(name)[0])) for name in ("show", "stock_show"))
    assert torch.allclose(shown, stock, atol=1.5 / 255)
    assert shown.std() > 0.01, "the picture is blank"


def test_a_model_that_comfyui_saved_is_the_same(client: Client, server: Server) -> None:
    """Save Model's file in place of the tiny model's; since 0.14 ComfyUI gives the norms another name."""
    saved = node("ModelSave", model=["stock", 0], filename_prefix="diffusion_models/saved")
    client.run({"stock": node("LoadTinyStock"), "save": saved})
    folder = server.base / "models" / "diffusion_models" / "again"
    shutil.copytree(TINY_FOLDER, folder)
    [saved_file] = (server.base / "output" / "diffusion_models").glob("saved*.safetensors")
    name = "flux1-kontext-dev.safetensors"
    with safe_open(
        TINY_FOLDER / name, "pt"
    ) as own:  # a model of this size cannot be told from its shapes alone
        save_file(load_file(saved_file), folder / name, own.metadata())
    inputs: Json = {"prompt": ["words", 0], "references": ["reference", 0]}
    prompt = graph(
        again=node("KontextLoadModel", **(LOADER | {"model": "again/"})),
        first=node("KontextExample", picture=PICTURES[0]),
        ours=sampler(model=["own", 0], **inputs),
        theirs=sampler(model=["again", 0], **inputs),
    )
    result = client.run(prompt)
    assert torch.equal(latents(server, result, "ours"), latents(server, result, "theirs"))
    assert "it cannot be used" not in result.outputs["again"]["text"][0]


def test_a_script_of_turns_on_a_model_of_comfyui(client: Client) -> None:
    """The same pictures as on our own model, from turns that the script expands to."""
    settings: Json = {
        "steps": 2,
        "guidance": 2.5,
        "fit": "none",
        "layout": "index",
        "anchor": True,
        "seed": 1,
    }
    script = "make the blue circle red\nremove the green star"
    prompt = used(
        graph(
            **{
                name: node(
                    "KontextScript",
                    model=[name.split()[0], 0],
                    script=script,
                    seeds="same",
                    image=["first", 0],
                    **settings,
                )
                for name in ("own script", "hosted script")
            },
            **{
                f"show {name}": node("PreviewImage", images=[f"{name} script", 1])
                for name in ("own", "hosted")
            },
        )
    )
    result = client.run(prompt)
    ours, theirs = (tensor(client.view(result.images(f"show {name}")[0])) for name in ("own", "hosted"))
    assert torch.allclose(ours, theirs, atol=1.5 / 255)


def test_ksampler_hands_on_what_was_padded(client: Client) -> None:
    """The empty latent says where the picture lies, through KSampler and to Kontext
    Decode, which cuts it out.
    """
    prompt = used(
        graph(
            wide=node(
                "ImageScale", image=["first", 0], upscale_method="area", width=128, height=64, crop="center"
            ),
            padded=node("KontextReference", fit="pad", image=["wide", 0]),
            to=node(
                "KontextToConditioning",
                model=["own", 0],
                prompt=["words", 0],
                references=["padded", 0],
                guidance=2.5,
                layout="auto",
            ),
            ksampler=node(
                "KSampler",
                model=["stock", 0],
                positive=["to", 0],
                negative=["to", 1],
                latent_image=["to", 2],
                seed=4,
                steps=2,
                cfg=1.0,
                sampler_name="euler",
                scheduler="simple",
                denoise=1.0,
            ),
            decoded=node("KontextDecode", model=["own", 0], latent=["ksampler", 0]),
            show=node("PreviewImage", images=["decoded", 0]),
        )
    )
    result = client.run(prompt)
    assert tensor(client.view(result.images("show")[0])).shape == (1, 64, 128, 3)
    assert "the result is cut to 128 x 64 px" in result.outputs["to"]["text"][0]


def test_combined_conditioning_stops_with_one_sentence(client: Client) -> None:
    prompt = graph(
        text=node("CLIPTextEncode", clip=["stock", 1], text="a"),
        twice=node("ConditioningCombine", conditioning_1=["text", 0], conditioning_2=["text", 0]),
        back=node("KontextFromConditioning", conditioning=["twice", 0]),
        end=sampler(model=["hosted", 0], prompt=["back", 0], width=128, height=128),
    )
    with pytest.raises(ExecutionFailed, match="this CONDITIONING has 2 entries, but a prompt has one"):
        client.run(prompt)
