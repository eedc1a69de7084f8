"""The LoRA node: its messages, its choices, and that the model before it is unchanged."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from .conftest import distance, picture

Run = Callable[..., Any]
MODULE, WIDTH = "lora_unet_double_blocks_0_img_attn_qkv", 128


def factors(width: int = WIDTH, seed: int = 0) -> dict[str, Tensor]:
    """A LoRA of rank 4, never trained."""
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{MODULE}.lora_down.weight": torch.randn(4, width, generator=generator),
        f"{MODULE}.lora_up.weight": torch.randn(3 * WIDTH, 4, generator=generator),
        f"{MODULE}.alpha": torch.tensor(2.0),
    }


@pytest.fixture
def loras(comfy_base: Path) -> Iterator[Path]:
    """ComfyUI's folder of LoRAs with one in it."""
    folder = comfy_base / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(factors(), folder / "style.safetensors")
    yield folder
    for file in folder.iterdir():
        file.unlink()


def edited(run: Run, model: Any) -> Tensor:
    """A picture of Kontext Edit."""
    given = {"image": picture(32, 48), "instruction": "make the circle red", "fit": "none", "steps": 2}
    return run("KontextEdit", model=model, **given)[0]


def said(node: Any) -> list[str]:
    return node.ui.as_dict()["text"][0].splitlines()


def schema(node_list: list[Any]) -> Any:
    return next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextLora").GET_SCHEMA()


def test_it_offers_the_files_and_none(node_list: list[Any], loras: Path) -> None:
    options = {one.id: one.options for one in schema(node_list).inputs if hasattr(one, "options")}
    assert options["lora"] == ["none", "style.safetensors"]


@pytest.mark.parametrize("apply", ["beside", "merged"])
def test_the_picture_is_the_cores_and_goes_again(
    run: Run, part: Callable[[str], Any], model: Any, loras: Path, apply: str
) -> None:
    """The same as with the change in the weights; without it the first picture comes again, bit for bit."""
    import copy

    before = edited(run, model)
    node = run("KontextLora", model=model, lora="style.safetensors", strength=0.5, apply=apply)
    assert said(node) == [
        "style.safetensors: a LoRA in kohya's names, 0.01 MiB",
        "1 x LoRA, rank 4; modules: 1 of transformer",
    ]
    made = edited(run, node[0])
    dense = copy.deepcopy(model.transformer)
    one = factors()
    change = one[f"{MODULE}.lora_up.weight"] @ one[f"{MODULE}.lora_down.weight"] * 2 / 4
    dense.double_blocks[0].img_attn.qkv.weight.data += 0.5 * change
    expected = part("kontext_core.pipeline").Pipeline(dense, model.vae, model.text)
    assert distance(edited(run, expected), made) <= 1e-4
    assert distance(before, made) > 1e-2
    assert torch.equal(edited(run, model), before)
    off = run("KontextLora", model=node[0], lora="none", strength=1.0)
    assert off[0] is node[0]
    assert said(off) == ["no LoRA: the model is unchanged"]
    nothing = run("KontextLora", model=model, lora="style.safetensors", strength=0.0, apply=apply)
    assert torch.equal(edited(run, nothing[0]), before)


def test_one_after_another_is_a_stack(run: Run, model: Any, loras: Path) -> None:
    save_file(factors(seed=5), loras / "other.safetensors")
    one = run("KontextLora", model=model, lora="style.safetensors", strength=1.0)[0]
    two = run(
        "KontextLora",
        model=one,
        lora="other.safetensors",
        strength=-0.5,
        start_percent=0.25,
        end_percent=0.75,
    )[0]
    assert [(Path(lora.path).name, lora.strength, lora.start, lora.end) for lora in two.loras] == [
        ("style.safetensors", 1.0, 0.0, 1.0), ("other.safetensors", -0.5, 0.25, 0.75),
    ]  # fmt: skip
    assert len(one.loras) == 1
    assert two.vae is model.vae
    assert two.text is model.text
    weight = model.transformer.double_blocks[0].img_attn.qkv.weight
    assert two.transformer.double_blocks[0].img_attn.qkv.weight is weight
    assert not any(parameter.is_inference() for parameter in two.transformer.parameters())
    assert not any(buffer.is_inference() for buffer in two.transformer.buffers())


def test_faults_are_one_sentence(run: Run, part: Callable[[str], Any], model: Any, loras: Path) -> None:
    node = part("nodes.lora").KontextLora
    assert node.validate_inputs("none") is True
    assert node.validate_inputs("style.safetensors") is True
    missing = node.validate_inputs("gone.safetensors")
    assert missing.startswith("the LoRA 'gone.safetensors' is not there: put the file into ")
    assert str(loras) in missing
    save_file(factors(width=WIDTH + 1), loras / "wide.safetensors")
    with pytest.raises(ValueError, match=r"wide\.safetensors: .* this LoRA belongs to another model$"):
        run("KontextLora", model=model, lora="wide.safetensors", strength=1.0)
    with pytest.raises(ValueError, match=r"the LoRA 'gone\.safetensors' is not there"):
        run("KontextLora", model=model, lora="gone.safetensors", strength=1.0)
    with pytest.raises(ValueError, match="a merged LoRA acts at all steps"):
        run(
            "KontextLora",
            model=model,
            lora="style.safetensors",
            strength=1.0,
            end_percent=0.5,
            apply="merged",
        )


@pytest.mark.parametrize(
    "strength", [10**400, float("nan"), 1e300, "0.5", True, None, [1.0]], ids=lambda value: repr(value)[:9]
)
def test_a_strength_by_a_wire(run: Run, model: Any, loras: Path, strength: Any) -> None:
    """Which ComfyUI holds to no range."""
    with pytest.raises(ValueError, match=r"^strength is .*; it must be a number from -4 to 4$"):
        run("KontextLora", model=model, lora="style.safetensors", strength=strength)


def test_what_does_not_fit_is_shown(run: Run, model: Any, loras: Path) -> None:
    tensors = factors() | {
        key.replace("double_blocks_0", "double_blocks_18"): one.clone() for key, one in factors().items()
    }
    save_file(tensors, loras / "large.safetensors")
    lines = said(run("KontextLora", model=model, lora="large.safetensors", strength=1.0))
    assert lines[2:] == [
        "large.safetensors is used in part: 1 of 2 modules fit no layer here (lora_unet_double_blocks_18_img_attn_qkv)"
    ]


def test_a_changed_file_runs_again(part: Callable[[str], Any], loras: Path) -> None:
    node = part("nodes.lora").KontextLora
    before = node.fingerprint_inputs("style.safetensors")
    assert node.fingerprint_inputs("style.safetensors") == before
    save_file(factors() | {"more": torch.ones(1)}, loras / "style.safetensors")
    assert node.fingerprint_inputs("style.safetensors") != before
    assert node.fingerprint_inputs("none") == "none"


def test_a_model_that_comfyui_runs_takes_stock_loras(run: Run, hosted: Any, loras: Path) -> None:
    with pytest.raises(
        ValueError, match="apply the LoRA with ComfyUI's own LoRA nodes, between its loader and"
    ):
        run("KontextLora", model=hosted, lora="style.safetensors", strength=1.0)


def test_a_saved_chain_says_which_loras_it_had(run: Run, model: Any, loras: Path) -> None:
    given = {"image": picture(32, 48), "instruction": "a", "fit": "none", "steps": 1}
    styled = run("KontextLora", model=model, lora="style.safetensors", strength=0.5)[0]
    chain = run("KontextTurn", model=styled, **given)[0]
    name = run("KontextSaveChain", chain=chain, filename_prefix="styled").ui["images"][0]["filename"]
    used = "the LoRA style.safetensors at 0.5"
    loaded = run("KontextLoadChain", file=f"{name} [output]")
    assert loaded.ui["text"][0].splitlines() == ["1 turns, with latents", f"turn 1 was made with {used}"]
    (loras / "style.safetensors").unlink()
    missing = run("KontextLoadChain", file=f"{name} [output]").ui["text"][0].splitlines()[1]
    assert missing == f"turn 1 was made with {used}; not in models/loras: {used}"
    onward = run("KontextTurn", model=model, chain=loaded[0], instruction="b", steps=1)
    assert f"the last turn was made with {used}, which this model does not have" in str(onward.ui)
