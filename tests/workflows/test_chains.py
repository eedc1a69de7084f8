"""Chains on a real ComfyUI: what runs again and what does not, scripts, interrupts, files."""

import io
from pathlib import Path
from threading import Timer

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load

from kontext_core.chain import load_chain
from kontext_core.remote.client import Client, Event, ExecutionFailed, Json, PromptRefused
from kontext_core.world import examples
from tools.server import Server

pytestmark = pytest.mark.comfy

LOADER: Json = {
    "model": "tiny (comes along)",
    "vae": "auto",
    "clip_l": "auto",
    "t5xxl": "auto",
    "dtype": "auto",
    "device": "auto",
}
SETTINGS: Json = {"steps": 2, "guidance": 2.5, "fit": "crop", "layout": "auto", "anchor": False}


def node(class_type: str, **inputs: object) -> Json:
    return {"class_type": class_type, "inputs": inputs}


def turn(instruction: str, seed: int = 0, **source: object) -> Json:
    return node("KontextTurn", model=["model", 0], instruction=instruction, seed=seed, **(SETTINGS | source))


def script(*lines: str, seed: int = 0, **source: object) -> Json:
    source = source or {"image": ["picture", 0]}
    words = {"script": "\n".join(lines), "seed": seed, "seeds": "same"}
    return node("KontextScript", model=["model", 0], **(SETTINGS | words | source))


def graph(**nodes: Json) -> Json:
    """A loader, an example picture, and these."""
    return {
        "model": node("KontextLoadModel", **LOADER),
        "picture": node("KontextExample", picture=next(iter(examples.PICTURES))),
        **nodes,
    }


def branched(third: str = "make the background sand", seed: int = 0) -> Json:
    """Three turns, and a branch behind the first."""
    return graph(
        one=turn("remove the green star", seed, image=["picture", 0]),
        two=turn("make the blue circle black", chain=["one", 0]),
        three=turn(third, chain=["two", 0]),
        branch=turn("make the blue circle white", chain=["one", 0]),
        compare=node("KontextCompare", chain=["three", 0], turn=-1, other_turn=-1, other=["branch", 0]),
        sheet=node("KontextChainSheet", chain=["three", 0]),
        save=node("KontextSaveChain", chain=["three", 0], filename_prefix="kontext/chain", latents=True),
    )


def test_turns_branch_compare_and_are_shown(client: Client, server: Server) -> None:
    prompt = branched()
    result = client.run(prompt)
    assert set(result.executed) == set(prompt)
    for id in ("one", "two", "three", "branch", "compare", "sheet"):
        (listed,) = result.images(id)
        assert Image.open(io.BytesIO(client.view(listed))).size[1] >= 128
    assert "they diverge after turn 1" in result.outputs["compare"]["text"][0]
    (saved,) = result.images("save")
    chain = load_chain(server.base / "output" / saved["subfolder"] / saved["filename"])
    assert [one.instruction for one in chain.turns] == [
        "", "remove the green star", "make the blue circle black", "make the background sand",
    ]  # fmt: skip


def test_a_changed_turn_and_what_follows_run_again_and_nothing_before(client: Client) -> None:
    client.run(branched())
    again = client.run(branched("make the background snow"))
    assert set(again.executed) == {"three", "compare", "sheet", "save"}
    earlier = client.run(branched("make the background snow", seed=9))
    assert set(earlier.cached) == {"model", "picture"}


def test_a_script_is_a_turn_a_line_and_keeps_what_is_done(client: Client) -> None:
    def scripted(*lines: str) -> Json:
        by_hand = {
            f"turn{i}": turn(line, 3, **({"chain": [f"turn{i - 1}", 0]} if i else {"image": ["picture", 0]}))
            for i, line in enumerate(lines)
        }
        last = [f"turn{len(lines) - 1}", 0]
        compare = node("KontextCompare", chain=["script", 0], turn=-1, other_turn=-1, other=last)
        return graph(script=script(*lines, seed=3), **by_hand, compare=compare)

    lines = ("remove the green star", "make the blue circle black", "make the background snow")
    first = client.run(scripted(*lines))
    assert first.outputs["compare"]["text"][0].startswith("0.0% of the picture differs, inf dB")
    inside = [id for id in first.executed if "." in id]
    assert len(inside) == 3
    changed = client.run(scripted(*lines[:2], "make the background clay"))
    assert len([id for id in changed.executed if "." in id]) == 1, "the first two lines are kept"


def test_finished_turns_of_a_stopped_script_are_kept(client: Client) -> None:
    two = script(
        "remove the green star", "make the blue circle black", seed=77, steps=150, image=["picture", 0]
    )
    prompt = graph(script=two, sheet=node("KontextChainSheet", chain=["script", 0]))
    finished: list[str] = []

    def stop_in_the_second(event: Event) -> None:
        kind, data = event.kind, event.data
        if kind == "executed" and "." in str(data.get("node")):
            finished.append(data["node"])
            Timer(0.2, client.interrupt).start()

    stopped = client.wait(client.queue(prompt), stop_in_the_second)
    assert stopped.interrupted
    assert len(finished) == 1
    again = client.run(prompt)
    assert not again.interrupted
    assert len([id for id in again.executed if "." in id]) == 1, "only the second turn was left to do"


def test_the_last_turn_runs_with_nothing_behind_it(client: Client) -> None:
    """Who adds a turn and queues wants to see it; so with a script and with a turn gone back to."""
    prompt = graph(
        one=turn("remove the blue circle", 31, image=["picture", 0]),
        script=script("remove the green star", seed=31, chain=["one", 0]),
        back=node("KontextPickTurn", chain=["one", 0], turn=0),
    )
    result = client.run(prompt)
    assert {id for id in result.executed if "." not in id} >= set(prompt) - {"model", "picture"}
    assert result.images("one")
    assert result.images("back")


def test_a_saved_chain_goes_on_bit_by_bit(client: Client) -> None:
    (saved,) = client.run(branched(seed=21)).images("save")
    name = f"{saved['subfolder']}/{saved['filename']} [output]"
    words = "make the red moon pink"
    prompt = branched(seed=21) | {
        "load": node("KontextLoadChain", file=name),
        "on": turn(words, chain=["load", 0]),
        "direct": turn(words, chain=["three", 0]),
        "same": node("KontextCompare", chain=["on", 0], turn=-1, other_turn=-1, other=["direct", 0]),
    }
    text = client.run(prompt).outputs["same"]["text"][0]
    assert text.startswith("0.0% of the picture differs, inf dB")


def test_a_missing_file_is_named_before_anything_runs(client: Client) -> None:
    prompt = graph(
        load=node("KontextLoadChain", file="gone.png"), sheet=node("KontextChainSheet", chain=["load", 0])
    )
    with pytest.raises(PromptRefused) as refused:
        client.run(prompt)
    assert "there is no picture 'gone.png' in" in str(refused.value.errors)
    shared = graph(
        theirs=node("LoadImage", image="gone.png"),
        reference=node("KontextReference", fit="crop", image=["theirs", 0]),
        one=turn("as picture 2", image=["picture", 0], references=["reference", 0]),
    )
    with pytest.raises(PromptRefused) as refused:
        client.run(shared)
    assert "gone.png" in str(refused.value.errors), "which is ComfyUI's own sentence"


def test_a_turn_without_a_picture_says_so_and_the_graph_stays_usable(client: Client) -> None:
    prompt = graph(one=turn("x"), sheet=node("KontextChainSheet", chain=["one", 0]))
    with pytest.raises(ExecutionFailed, match="a turn needs a picture: connect 'image'"):
        client.run(prompt)
    assert client.run(branched(seed=5)).images("sheet")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read the way Linux tells it")
def test_chains_do_not_pile_up_in_memory(client: Client, server: Server) -> None:
    """Twenty turns more, and twenty more again: what the graph shows no longer is not kept."""
    lines = [f"make the background {'snow' if i % 2 else 'sand'}" for i in range(20)]

    def after(seed: int) -> int:
        client.run(
            graph(
                script=script(*lines, seed=seed, steps=1, image=["picture", 0]),
                sheet=node("KontextChainSheet", chain=["script", 0]),
            )
        )
        status = Path(f"/proc/{server.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    # ComfyUI lets go of a graph's results when the next is done. Kept turns of these sizes are 4 MiB a run;
    # what the process holds goes up and down by some ten MiB whatever it keeps.
    before = max(after(seed) for seed in (201, 202))
    assert sorted(after(seed) for seed in (203, 204, 205))[1] < before + 64 * 2**20


def test_a_script_edits_inside_a_mask(client: Client) -> None:
    """Pixels outside it are kept to the last bit; latents, but for a token around it."""
    side = {"width": 128, "height": 128}
    prompt = graph(
        white=node("SolidMask", value=1.0, **side),
        black=node("SolidMask", value=0.0, width=64, height=128),
        mask=node(
            "MaskComposite", destination=["white", 0], source=["black", 0], x=0, y=0, operation="multiply"
        ),
        script=script(
            "paint the blue circle black",
            "paint the black circle white",
            image=["picture", 0],
            mask=["mask", 0],
            feather=0,
        ),
        compare=node("KontextCompare", chain=["script", 0], turn=0, other_turn=-1),
        begin=node("KontextEncode", model=["model", 0], image=["picture", 0], fit="crop"),
        begun=node("SaveLatent", samples=["begin", 0], filename_prefix="begun"),
        ended=node("SaveLatent", samples=["script", 2], filename_prefix="ended"),
    )
    result = client.run(prompt)
    begun, ended = (
        load(client.view(result.outputs[name]["latents"][0]))["latent_tensor"] for name in ("begun", "ended")
    )
    assert torch.equal(begun[..., :6], ended[..., :6]), "what the sampler may change is wider by a token"
    assert (begun - ended)[..., 12:, 8:12].abs().mean() > 0.1
    (listed,) = result.images("compare")
    before, after = np.split(
        np.asarray(Image.open(io.BytesIO(client.view(listed))).convert("RGB"), float), [132], 1
    )
    change = np.abs(before[:, :128] - after[:, -128:]).mean(axis=2)
    circle = change[96:, 64:96].mean()
    assert circle > 50
    assert change[:, :64].max() == 0


def test_a_chain_or_a_stack_fed_into_itself_is_refused(client: Client) -> None:
    loop = graph(
        one=turn("x", chain=["two", 0]),
        two=turn("y", chain=["one", 0]),
        sheet=node("KontextChainSheet", chain=["two", 0]),
    )
    with pytest.raises(PromptRefused):
        client.run(loop)
    stack = graph(
        first=node("KontextReference", fit="crop", image=["picture", 0], references=["second", 0]),
        second=node("KontextReference", fit="crop", image=["picture", 0], references=["first", 0]),
        one=turn("x", image=["picture", 0], references=["second", 0]),
    )
    with pytest.raises(PromptRefused):
        client.run(stack)
    assert client.run(branched(seed=6)).images("sheet"), "and the next graph runs"
