"""Our models among ComfyUI's: unloaded to make room, reloaded when used, freed when unused."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

ANOTHER = torch.device("cpu", 0)  # to the manager this is not the CPU, and so a card


@pytest.fixture
def management(comfy_base: Path) -> Any:
    import comfy.model_management

    return comfy.model_management


@pytest.fixture
def card(run: Callable[..., Any], tiny: Path, management: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model on what the manager takes for a card; weights that leave it are written down."""
    model = run("KontextLoadModel", dtype="bfloat16")[0]
    monkeypatch.setattr(model, "home", ANOTHER)
    monkeypatch.setattr(model, "_patcher", None)
    management.current_loaded_models.clear()
    model.went = []
    monkeypatch.setattr(model, "to_host", lambda: model.went.append("away"))
    model.ensure_loaded()
    yield model
    management.current_loaded_models.clear()


def known(management: Any) -> list[str]:
    return [type(one.model.model).__name__ for one in management.current_loaded_models]


def test_a_loaded_model_is_known_to_the_manager(run: Callable[..., Any], tiny: Path, management: Any) -> None:
    model = run("KontextLoadModel", dtype="float16")[0]
    entry = next(one for one in management.current_loaded_models if one.model is model._patcher)
    assert entry.model_memory() == entry.model_loaded_memory() == model.weights.resident_bytes > 10**6
    assert entry.device == torch.device("cpu")


def test_room_for_others_is_taken_from_us(
    card: Any, management: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(management, "get_free_memory", lambda *_, **k: (10**12, 0) if k else 10**12)
    management.free_memory(10**9, ANOTHER)
    assert card.went == [], "there is room already"
    monkeypatch.setattr(management, "get_free_memory", lambda *_, **k: (0, 0) if k else 0)
    management.free_memory(1000, ANOTHER)
    assert card.went == ["away"], "as a whole, however little is wanted"
    assert known(management) == []
    assert card._patcher.loaded_size() == 0
    monkeypatch.undo()


def test_what_is_used_comes_back_and_asks_for_room(
    card: Any, management: Any, monkeypatch: pytest.MonkeyPatch, image: Tensor
) -> None:
    wanted = card.edit("make it red", [image], steps=1).image
    asked: list[float] = []
    free_memory = management.free_memory

    def watched(required: float, *rest: Any, **more: Any) -> Any:
        asked.append(required)
        return free_memory(required, *rest, **more)

    monkeypatch.setattr(management, "free_memory", watched)
    came: list[int] = []
    monkeypatch.setattr(card, "to_device", lambda: came.append(1))
    card._patcher.detach()
    assert card.went
    assert torch.equal(card.edit("make it red", [image], steps=1).image, wanted)
    assert came
    assert asked[0] > card.weights.resident_bytes
    assert card._patcher.loaded_size() == card.weights.resident_bytes
    assert known(management) == ["Kontext"]


def test_the_manager_does_not_keep_a_model(run: Callable[..., Any], tiny: Path, management: Any) -> None:
    model = run("KontextLoadModel", weights="int8")[0]
    before = len(management.current_loaded_models)
    gone = weakref.ref(model.transformer)
    gc.disable()
    try:
        del model
        assert gone() is None, "without the garbage collector"
    finally:
        gc.enable()
    assert len(management.current_loaded_models) == before - 1


def test_all_weights_move_with_those_of_loras(run: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    """Of what computes, nothing stays behind."""
    from tests.nodes.conftest import picture

    model = run("KontextLoadModel", weights="int4")[0]
    width = model.transformer.config.hidden_size
    key = "lora_unet_single_blocks_0_linear2"
    tensors = {
        f"{key}.lora_down.weight": torch.ones(2, 5 * width),
        f"{key}.lora_up.weight": torch.ones(width, 2),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    import sys

    lora = sys.modules[type(model).__module__.replace("nodes.managed_pipeline", "kontext_core.lora")]
    view = model.with_loras([lora.Lora(tmp_path / "a.safetensors")])
    model.edit("", [picture(128, 128)], steps=1)
    moved = {id(one) for one in model.weights.staying()}
    for part in (view.transformer, view.text, model.vae):
        assert {id(one) for one in (*part.parameters(), *part.buffers())} <= moved
    assert model.weights.resident_bytes == sum(one.nbytes for one in model.weights.staying())
    before = model.weights.resident_bytes
    del view, part
    gc.collect()
    assert before - 2 * (6 * width) * 4 <= model.weights.resident_bytes < before, (
        "a LoRA that nobody has is not counted"
    )
