"""Sampling inputs of the nodes that edit in one box: chosen values reach the picture and the record."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from .conftest import distance, picture

Run = Callable[..., Any]
WORDS = "make the circle red"
FAST = {"steps": 4, "seed": 7}
# What stands in the node, and the core's settings that it is.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "cfg alone": ({"cfg": 3.0}, {"cfg_scale": 3.0, "negative_prompt": ""}),
    "cfg and negative": (
        {"cfg": 3.0, "negative": "remove the blue square"},
        {"cfg_scale": 3.0, "negative_prompt": "remove the blue square"},
    ),
    "nag": ({"nag": 5.0, "negative": "green"}, {"nag_scale": 5.0, "negative_prompt": "green"}),
    "nag alone": ({"nag": 20.0}, {"nag_scale": 20.0, "negative_prompt": ""}),
    "cfg to": (
        {"cfg": 3.0, "cfg_to": 0.5, "negative": "red"},
        {"cfg_scale": 3.0, "cfg_to": 0.5, "negative_prompt": "red"},
    ),
    "cfg 0": ({"cfg": 0.0, "negative": "red"}, {"cfg_scale": 0.0, "negative_prompt": "red"}),
    "heun": ({"solver": "heun"}, {"solver": "heun"}),
    "dpmpp_2m": ({"solver": "dpmpp_2m"}, {"solver": "dpmpp_2m"}),
    "shift": ({"shift": 3.0}, {"mu": math.log(3.0)}),
    "even steps": ({"shift": 1.0}, {"mu": 0.0}),
    "approximate": (
        {"approximate": "teacache", "approximate_number": 0.9},
        {"approximate": "teacache:0.9"},
    ),
    "together": (
        {"cfg": 2.0, "negative": "red", "solver": "heun", "shift": 2.0},
        {"cfg_scale": 2.0, "negative_prompt": "red", "solver": "heun", "mu": math.log(2.0)},
    ),
}


@pytest.fixture(scope="module")
def settings(part: Callable[[str], Any]) -> Any:
    """The class of the core's settings."""
    return part("kontext_core.edit_settings").EditSettings


@pytest.mark.parametrize(("inputs", "core"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("node_id", ["KontextEdit", "KontextTurn"])
def test_what_is_chosen_reaches_the_picture(
    run: Run, model: Any, image: Tensor, node_id: str, inputs: dict[str, Any], core: dict[str, Any]
) -> None:
    node = run(node_id, model=model, image=image, instruction=WORDS, **FAST, **inputs)
    shown = node[1] if node_id == "KontextTurn" else node[0]
    assert torch.equal(shown, model.edit(WORDS, [image], **FAST, **core).image)
    assert not torch.equal(shown, model.edit(WORDS, [image], **FAST).image)


@pytest.mark.parametrize(("inputs", "core"), CASES.values(), ids=CASES)
def test_the_sampler_and_the_edit_agree(
    run: Run, model: Any, image: Tensor, inputs: dict[str, Any], core: dict[str, Any]
) -> None:
    others = {name: value for name, value in inputs.items() if name != "negative"}
    words = run("KontextEncodePrompt", model=model, text=WORDS, negative=inputs.get("negative", ""))[0]
    stack = run("KontextReference", image=image)[0]
    sampled = run("KontextSampler", model=model, prompt=words, references=stack, **FAST, **others)[0]
    assert torch.equal(sampled["samples"], model.edit(WORDS, [image], **FAST, **core).latents.cpu())


@pytest.mark.parametrize("node_id", ["KontextEdit", "KontextTurn"])
def test_a_mask_goes_with_them(run: Run, model: Any, image: Tensor, node_id: str) -> None:
    inputs, core = CASES["together"]
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:96, 32:96] = 1
    node = run(node_id, model=model, image=image, instruction=WORDS, mask=mask, feather=4, **FAST, **inputs)
    shown = node[1] if node_id == "KontextTurn" else node[0]
    assert torch.equal(shown, model.edit(WORDS, [image], mask=mask, feather_px=4, **FAST, **core).image)


def test_a_negative_text_counts_only_where_cfg_is_not_1(run: Run, model: Any, image: Tensor) -> None:
    make = {"model": model, "image": image, "instruction": WORDS, **FAST}
    plain, told = (run("KontextTurn", **make, negative=words) for words in ("", "red"))
    assert torch.equal(plain[1], told[1])
    assert plain[0].last.settings == told[0].last.settings, "nor is it in the record"
    empty, red = (run("KontextEdit", **make, cfg=3.0, negative=words)[0] for words in ("", "red"))
    assert not torch.equal(empty, red)


@pytest.mark.parametrize(("inputs", "core"), CASES.values(), ids=CASES)
def test_the_record_of_a_turn_has_them(
    run: Run, model: Any, image: Tensor, settings: Any, inputs: dict[str, Any], core: dict[str, Any]
) -> None:
    made = run("KontextTurn", model=model, image=image, instruction=WORDS, **FAST, **inputs)[0]
    recorded = made.last.settings
    assert {name: recorded[name] for name in core} == core
    plain = run("KontextTurn", model=model, image=image, instruction=WORDS, **FAST)[0].last.settings
    assert recorded == plain | core
    # The record makes the same picture again.
    again = model.edit(WORDS, [image], settings=settings.from_record(recorded), seed=made.last.seed)
    assert torch.equal(again.image, made.last.image)


def test_a_saved_chain_has_them(run: Run, model: Any, image: Tensor, comfy_base: Path) -> None:
    inputs, core = CASES["together"]
    made = run("KontextTurn", model=model, image=image, instruction=WORDS, **FAST, **inputs)[0]
    saved = run("KontextSaveChain", chain=made, filename_prefix="options").ui["images"][0]["filename"]
    loaded = run("KontextLoadChain", file=f"{saved} [output]")[0]
    assert dict(loaded.last.settings) == dict(made.last.settings)
    assert core.items() <= dict(loaded.last.settings).items()


def test_a_script_hands_them_to_every_turn(run: Run) -> None:
    chosen = {
        "approximate": "teacache",
        "approximate_number": 0.3,
        "negative": "red",
        "cfg": 2.0,
        "solver": "heun",
        "shift": 3.0,
        "nag": 5.0,
        "cfg_to": 0.5,
    }
    link = {"model": ["1", 0], "image": ["2", 0]}
    made = run("KontextScript", **link, script="make it red\nremove it", **chosen)
    turns = [turn["inputs"] for turn in made.expand.values()]
    assert len(turns) == 2
    assert all(chosen.items() <= turn.items() for turn in turns)
    before = run("KontextScript", **link, script="make it red")  # of a workflow saved without them
    [turn] = (turn["inputs"] for turn in before.expand.values())
    assert not chosen.keys() & turn.keys()


def test_widgets_left_alone_are_the_core_left_alone(
    node_list: list[Any], part: Callable[[str], Any], settings: Any
) -> None:
    """So a workflow that was saved without them makes the same, but for what *auto* keeps as it was."""
    inputs = part("nodes.inputs")
    turn = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextTurn")
    names = inputs.Values.__annotations__
    defaults = {one.id: one.default for one in turn.GET_SCHEMA().inputs if one.id in names}
    assert defaults.keys() >= set(inputs.SAMPLING)
    assert [one.id for one in inputs.sampling()] == list(inputs.SAMPLING)
    assert defaults.pop("keep_outside") == "auto"
    assert inputs.edit_settings(**(defaults | {"feather": 0})) == inputs.edit_settings() == settings()


@pytest.mark.parametrize("node_id", ["KontextSampler", "KontextEdit", "KontextTurn", "KontextScript"])
def test_no_widget_goes_beyond_its_setting(
    node_list: list[Any], part: Callable[[str], Any], node_id: str
) -> None:
    """Each end is a value that the core takes, too; 0 stands for a size that is not said."""
    inputs = part("nodes.inputs")
    node = next(node for node in node_list if node.GET_SCHEMA().node_id == node_id)
    ranges = {
        widget.id: (widget.min, widget.max)
        for widget in node.GET_SCHEMA().inputs
        if widget.id in inputs.Values.__annotations__ and hasattr(widget, "min")
    }
    assert {"seed", "steps", "guidance", "cfg"} <= ranges.keys()
    for name, ends in ranges.items():
        others = {"approximate": "teacache"} if name == "approximate_number" else {}
        for value in ends:
            settings = inputs.edit_settings(**others, **{name: value})
            field = inputs._FIELDS.get(name, name)
            assert getattr(settings, field, value) == (value or (None if name in ("width", "height") else 0))


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"cfg": -1.0}, r"^cfg is -1.0; it must be a number from 0 to 100$"),
        ({"cfg": math.nan}, r"^cfg is nan; it must be a number"),
        ({"solver": "ddim"}, r"^solver is 'ddim'; choose one of euler, heun, dpmpp_2m$"),
        ({"shift": 1e9}, r"^shift is 1000000000.0; it must be a number from"),
        ({"negative": 3}, r"^negative is 3; it must be text$"),
    ],
)
@pytest.mark.parametrize("node_id", ["KontextEdit", "KontextTurn", "KontextScript"])
def test_what_comes_by_a_wire_is_checked(
    run: Run, model: Any, image: Tensor, node_id: str, inputs: dict[str, Any], sentence: str
) -> None:
    is_script = node_id == "KontextScript"
    given = (
        {"model": ["1", 0], "image": ["2", 0], "script": "a"}
        if is_script
        else {"model": model, "image": image}
    )
    with pytest.raises(ValueError, match=sentence):
        run(node_id, **given, **inputs)


@pytest.mark.parametrize("node_id", ["KontextEdit", "KontextTurn"])
def test_a_shift_that_leaves_no_noise(run: Run, model: Any, image: Tensor, node_id: str) -> None:
    with pytest.raises(ValueError, match=r"^shift is 1e-12, which leaves no noise to work on: set 0 for"):
        run(node_id, model=model, image=image, shift=1e-12)


@pytest.mark.parametrize("name", ["cfg alone", "cfg and negative", "heun", "shift", "together"])
def test_a_model_of_comfyuis_loaders_makes_the_same(run: Run, own: Any, hosted: Any, name: str) -> None:
    latent = run("KontextEncode", model=own, image=picture(64, 96), fit="none")[0]
    make = {"latent": latent, "instruction": WORDS, "layout": "offset", "steps": 3, "seed": 5}
    ours, theirs, plain = (
        run("KontextEdit", model=editor, **make, **inputs)[1]["samples"]
        for editor, inputs in ((own, CASES[name][0]), (hosted, CASES[name][0]), (hosted, {}))
    )
    assert distance(ours, theirs) <= 1e-5
    assert distance(theirs, plain) > 1e-3


def test_a_turn_of_comfyuis_loaders_refuses_to_approximate(run: Run, hosted: Any, image: Tensor) -> None:
    with pytest.raises(
        ValueError, match=r"approximate is 'teacache', which a model from ComfyUI's loaders does not support"
    ):
        run("KontextTurn", model=hosted, image=image, steps=1, approximate="teacache")


@pytest.mark.parametrize("node_id", ["KontextEdit", "KontextTurn"])
def test_a_model_of_comfyuis_loaders_refuses_nag(run: Run, hosted: Any, image: Tensor, node_id: str) -> None:
    with pytest.raises(
        ValueError, match=r"^nag is 5.0, which a model from ComfyUI's loaders does not support: set"
    ):
        run(node_id, model=hosted, image=image, steps=1, nag=5.0, negative="red")


@pytest.mark.parametrize("node_id", ["KontextEdit", "KontextTurn"])
def test_nag_and_approximate_do_not_go_together(run: Run, model: Any, image: Tensor, node_id: str) -> None:
    with pytest.raises(ValueError, match=r"^nag and approximate do not go together"):
        run(node_id, model=model, image=image, steps=1, nag=5.0, approximate="teacache")
