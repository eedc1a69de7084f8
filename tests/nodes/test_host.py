"""Exchanges with ComfyUI: progress, preview, the stop button, memory, text in a node."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from .conftest import picture


@pytest.fixture
def shown(comfy_base: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, Any]]:
    """What ComfyUI's progress bar is told: (value, total, preview).

    From 0.9.2 on it passes on only some of it.
    """
    import comfy.utils

    seen: list[tuple[int, int, Any]] = []
    monkeypatch.setattr(
        comfy.utils.ProgressBar,
        "update_absolute",
        lambda _, value, total=None, preview=None: seen.append((value, total, preview)),
    )
    return seen


@pytest.mark.parametrize("node_id", ["KontextEdit", "KontextSampler"])
def test_progress_and_preview(
    run: Callable[..., Any], model: Any, image: Tensor, shown: list[Any], node_id: str
) -> None:
    prompt = run("KontextEncodePrompt", model=model, text="")[0]
    given = {"image": image} if node_id == "KontextEdit" else {"prompt": prompt}
    run(node_id, model=model, steps=4, **given)
    assert [(value, total) for value, total, _ in shown] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for preview in (shown[0][2], shown[-1][2]):
        kind, picture, size = preview
        assert kind == "JPEG"
        assert isinstance(picture, Image.Image)
        assert picture.size == (128, 128)
        assert size == 512


def test_previews_take_little_time(part: Callable[[str], Any], shown: list[Any]) -> None:
    progress = part("nodes.host.progress").Progress(lambda _: Image.new("RGB", (8, 8)))
    for step in range(50):
        progress(step, 50, torch.zeros(1))
    pictures = [preview for _, _, preview in shown if preview is not None]
    assert len(shown) == 50
    assert 1 <= len(pictures) < 10
    assert shown[-1][2] is not None


def test_preview_of_a_large_autoencoder_is_rough(
    part: Callable[[str], Any], model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    preview = part("nodes.preview")
    monkeypatch.setattr(part("kontext_core.pipeline"), "_QUICK", 0)
    assert preview.thumbnail(model, torch.randn(2, 16, 6, 10)).size == (10, 6)


@pytest.mark.parametrize("node_id", ["KontextEdit", "KontextSampler"])
def test_stop_button_ends_it_within_a_step(
    run: Callable[..., Any], model: Any, image: Tensor, monkeypatch: pytest.MonkeyPatch, node_id: str
) -> None:
    import comfy.model_management as management
    import comfy.utils

    values: list[int] = []

    def press(_bar: Any, value: int, *_: Any) -> None:
        values.append(value)
        if value == 2:
            management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils.ProgressBar, "update_absolute", press)
    prompt = run("KontextEncodePrompt", model=model, text="")[0]
    given = {"image": image} if node_id == "KontextEdit" else {"prompt": prompt}
    with pytest.raises(management.InterruptProcessingException):
        run(node_id, model=model, steps=50, **given)
    assert values == [1, 2]
    monkeypatch.undo()
    assert run(node_id, model=model, steps=1, **given)[0] is not None  # and the next run works


@pytest.mark.parametrize(
    ("node_id", "stage", "seed"),  # what was encoded before is not encoded again
    [
        ("KontextEdit", "encode", 21),
        ("KontextEdit", "decode", 22),
        ("KontextTurn", "encode", 23),
        ("KontextTurn", "decode", 24),
        ("KontextEncode", "encode", 25),
        ("KontextDecode", "decode", 26),
    ],
)
def test_stop_button_counts_while_the_autoencoder_works(
    run: Callable[..., Any], model: Any, monkeypatch: pytest.MonkeyPatch, node_id: str, stage: str, seed: int
) -> None:
    import comfy.model_management as management

    image = picture(128, 128, seed=seed)
    given: dict[str, Any] = {"image": image}
    if node_id == "KontextDecode":
        given = {"latent": run("KontextEncode", model=model, image=image)[0]}
    elif node_id != "KontextEncode":
        given |= {"steps": 1}
    stages: list[str] = []

    def pressed(name: str) -> Callable[[Tensor], Tensor]:
        own = getattr(model, name)

        def work(given: Tensor) -> Tensor:
            stages.append(name)
            if name == stage:
                management.interrupt_current_processing()
            return own(given)

        return work

    sample = model.sample
    with monkeypatch.context() as patched:
        for name in ("encode", "decode"):
            patched.setattr(model, name, pressed(name))
        patched.setattr(model, "sample", lambda *a, **k: (stages.append("sample"), sample(*a, **k))[1])
        with pytest.raises(management.InterruptProcessingException):
            run(node_id, model=model, **given)
    assert stages[-1] == stage, "nothing is begun after it"
    assert run("KontextEdit", model=model, image=image, steps=1)[0] is not None  # and the next run works


def test_text_is_part_of_the_output(part: Callable[[str], Any]) -> None:
    text_output = part("nodes.host.outputs").text_output
    assert text_output().as_dict() == {"text": ("",)}, "what was said before goes away"
    assert text_output("one", "two").as_dict() == {"text": ("one\ntwo",)}


@pytest.fixture
def too_large(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every step runs out of memory; counts the attempts."""
    attempts: list[int] = []

    def velocity(*_: Any) -> Tensor:
        attempts.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(model.transformer, "velocity", velocity)
    return attempts


def test_out_of_memory_says_what_was_tried_and_what_to_lower(
    run: Callable[..., Any], model: Any, image: Tensor, too_large: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as management

    monkeypatch.setattr(management, "current_loaded_models", [])  # other tests leave some
    with pytest.raises(RuntimeError) as caught:
        run("KontextEdit", model=model, image=image, steps=1)
    assert type(caught.value) is RuntimeError
    assert str(caught.value) == (
        "there is too little memory for 1 x 128 x 128 px with 1 references; use fewer or smaller references, a smaller "
        "picture or a smaller dtype. ComfyUI's other models are unloaded already"
    )
    assert len(too_large) == 1


def test_out_of_memory_makes_comfyui_unload_and_is_tried_again(
    run: Callable[..., Any], model: Any, image: Tensor, too_large: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as management

    unloaded: list[int] = []
    monkeypatch.setattr(
        management, "current_loaded_models", [SimpleNamespace(model=None, is_dead=lambda: False)]
    )
    monkeypatch.setattr(management, "unload_all_models", lambda: unloaded.append(1))
    with pytest.raises(RuntimeError, match="too little memory"):
        run("KontextEdit", model=model, image=image, steps=1)
    assert (len(unloaded), len(too_large)) == (1, 2)


def test_room_is_made_on_a_gpu_only(part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.model_management as management

    asked: list[tuple[float, torch.device]] = []
    monkeypatch.setattr(management, "free_memory", lambda wanted, device: asked.append((wanted, device)))
    make_room = part("nodes.host.memory").make_room
    make_room(10**9, torch.device("cpu"))
    assert asked == []
    make_room(10**9, torch.device("cuda"))
    assert asked[0][0] > 10**9


def test_how_much_a_model_may_take(part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was chosen; else what is free on a card, by ComfyUI's options; else no limit."""
    import comfy.model_management as management

    memory, card, states = part("nodes.host.memory").memory_gib, torch.device("cuda", 0), management.VRAMState
    monkeypatch.setattr(management, "get_free_memory", lambda _: 10 * 2**30)
    monkeypatch.setattr(management, "extra_reserved_memory", lambda: 2 * 2**30)
    allowed = {}
    for state in (states.NORMAL_VRAM, states.LOW_VRAM, states.NO_VRAM, states.HIGH_VRAM):
        monkeypatch.setattr(management, "vram_state", state)
        assert memory(6.5, card) == memory(6.5, torch.device("cpu")) == 6.5
        assert memory(0.0, torch.device("cpu")) is memory(0.0, torch.device("mps")) is None
        allowed[state.name] = memory(0.0, card)
    assert allowed == {"NORMAL_VRAM": 8.0, "LOW_VRAM": 4.0, "NO_VRAM": "least", "HIGH_VRAM": None}


def test_warnings_of_the_core_are_heard_and_still_logged(
    part: Callable[[str], Any], model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with part("nodes.host.outputs").collect_warnings() as notes:
        model.target_size(100, 100, [])
    assert notes == ["100 x 100 px is not a multiple of 16 px; making 96 x 96"]
    assert notes[0] in caplog.text
    model.target_size(101, 100, [])
    assert len(notes) == 1
