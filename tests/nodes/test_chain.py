"""Chains in the graph, on a model of random weights: what the nodes output, keep and refuse."""

import base64
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from kontext_core.chain.file import latents_path
from tools.paths import ROOT

from .conftest import picture

FAST = {"steps": 1, "seed": 7}
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def two(run: Run, model: Any) -> Any:
    """A chain of two turns."""
    first = run("KontextTurn", model=model, image=picture(128, 128), instruction="one", **FAST)[0]
    return run("KontextTurn", model=model, chain=first, instruction="two", **FAST)[0]


@pytest.fixture
def folders(comfy_base: Path) -> SimpleNamespace:
    """ComfyUI's input and output folder."""
    import folder_paths

    found = SimpleNamespace(
        input=Path(folder_paths.get_input_directory()), output=Path(folder_paths.get_output_directory())
    )
    for folder in vars(found).values():
        folder.mkdir(parents=True, exist_ok=True)
    return found


def test_a_turn_is_an_edit_that_remembers(run: Run, model: Any, image: Tensor) -> None:
    chain, shown, latent = run("KontextTurn", model=model, image=image, instruction="a", **FAST).args[:3]
    edited, edited_latent = run("KontextEdit", model=model, image=image, instruction="a", **FAST).args[:2]
    assert torch.equal(shown, edited)
    assert torch.equal(latent["samples"], edited_latent["samples"])
    assert [turn.instruction for turn in chain.turns] == ["", "a"]
    assert torch.equal(chain.turns[0].image, image)
    assert torch.equal(chain.last.image, shown)


def test_turns_go_on_without_the_autoencoders_encoder(
    run: Run, model: Any, two: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.vae, "encode", lambda _: pytest.fail("encoded again"))
    made = run("KontextTurn", model=model, chain=two, instruction="three", **FAST)[0]
    assert len(made) == 3
    assert made.turns[:3] == two.turns
    assert len(two) == 2, "a chain never changes"


def test_a_padded_picture_keeps_its_size(run: Run, model: Any) -> None:
    chain, shown, latent = run("KontextTurn", model=model, image=picture(64, 128), fit="pad", **FAST).args[:3]
    decoded = run("KontextDecode", model=model, latent=latent)[0]
    assert shown.shape == (1, 64, 128, 3)
    assert torch.equal(decoded, shown)
    again = run("KontextTurn", model=model, chain=chain, **FAST)[1]
    assert again.shape == shown.shape


def test_references_and_anchor_are_looked_at(run: Run, model: Any, two: Any) -> None:
    stack = run("KontextReference", image=picture(128, 128, seed=5))[0]
    plain = run("KontextTurn", model=model, chain=two, **FAST)[2]["samples"]
    chain, _, latent = run("KontextTurn", model=model, chain=two, references=stack, **FAST).args[:3]
    assert not torch.equal(latent["samples"], plain)
    assert torch.equal(chain.last.references[0], picture(128, 128, seed=5))
    anchored = run("KontextTurn", model=model, chain=two, anchor=True, **FAST).args
    assert not torch.equal(anchored[2]["samples"], plain)
    assert anchored[0].last.settings["anchor"] is True


def test_a_latent_reference_is_kept_as_a_picture(run: Run, model: Any, two: Any, image: Tensor) -> None:
    latent = run("KontextEncode", model=model, image=image)[0]
    stack = run("KontextReference", latent=latent)[0]
    chain = run("KontextTurn", model=model, chain=two, references=stack, **FAST)[0]
    assert torch.equal(chain.last.references[0], run("KontextDecode", model=model, latent=latent)[0])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((), "a turn needs a picture: connect 'image' to start with one, or 'chain'"),
        (("image", "chain"), "'image' and 'chain' are both connected: disconnect one"),
    ],
)
def test_one_picture_to_go_on_from(
    run: Run, model: Any, two: Any, image: Tensor, given: tuple[str, ...], sentence: str
) -> None:
    inputs = {name: value for name, value in (("image", image), ("chain", two)) if name in given}
    with pytest.raises(ValueError, match=sentence):
        run("KontextTurn", model=model, **inputs, **FAST)


BOX = '{"version": 1, "marks": [{"kind": "box", "points": [[0.1, 0.1], [0.5, 0.5]], "width": 0.05}]}'


def veil(address: str) -> Tensor:
    """How much of a picture is veiled, (H, W) in [0, 1]."""
    kind, _, data = address.partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(BytesIO(base64.b64decode(data))) as picture:
        return torch.from_numpy(np.array(picture.getchannel("A"))) / 255


@pytest.mark.parametrize("node", ["KontextTurn", "KontextEdit"])
def test_the_page_is_told_what_did_not_change(run: Run, model: Any, node: str) -> None:
    image, mask = torch.rand(1, 128, 128, 3), torch.zeros(1, 128, 128)
    mask[:, 32:64, 64:] = 1
    inputs = {"model": model, "image": image, "instruction": "make it red", "feather": 0, **FAST}
    (address,) = run(node, mask=mask, **inputs).ui["kontext_changed"]
    veiled = veil(address)
    assert veiled.shape == (96, 96)
    assert torch.equal(veiled == 0, torch.nn.functional.interpolate(mask[None], size=(96, 96))[0, 0] == 1)
    assert run(node, keep_outside="off", **inputs).ui["kontext_changed"] == [""], "all of it may have"


def test_each_candidate_says_what_it_changed(run: Run, model: Any, two: Any) -> None:
    made = run("KontextTurn", model=model, chain=two, marks=AREA, candidates="[3, 4, 5]", **FAST).ui
    assert len(made["kontext_changed"]) == len(made["images"]) == 3
    assert all(veil(address).min() == 0 for address in made["kontext_changed"])


def test_the_page_is_told_where_the_first_picture_lies_in_the_result(run: Run, model: Any) -> None:
    photograph = torch.rand(1, 200, 300, 3)
    cropped, stretched, padded = (
        run("KontextTurn", model=model, image=photograph, fit=fit, **FAST)
        for fit in ("crop", "stretch", "pad")
    )
    (drawn_upon,) = cropped.ui["kontext_drawn_upon"]
    assert tuple(drawn_upon["size"]) == (200, 300)
    assert drawn_upon["part"] == pytest.approx([0, 1 / 6, 1, 2 / 3], abs=0.005)
    assert stretched.ui["kontext_drawn_upon"] == [{"size": (200, 300), "part": [0, 0, 1, 1]}]
    assert "kontext_drawn_upon" not in padded.ui
    assert "kontext_drawn_upon" not in run("KontextTurn", model=model, chain=cropped[0], **FAST).ui


def test_what_happens_to_a_photograph_is_said(run: Run, model: Any) -> None:
    photograph = torch.rand(1, 200, 300, 3)
    said = "the picture of 300 x 200 px is cropped to 128 x 128"
    turn = run("KontextTurn", model=model, image=photograph, instruction="make the circle red", **FAST)
    assert turn.ui["text"] == (f"turn 1\n{said}",)
    edit = run("KontextEdit", model=model, image=photograph, instruction="make a dog", **FAST)
    assert edit.ui["text"][0].splitlines()[0] == said
    assert "these are none of them: 'dog'" in edit.ui["text"][0]
    further = run("KontextTurn", model=model, chain=turn[0], instruction="make the circle red", **FAST)
    assert further.ui["text"] == ("turn 2",)


def test_a_turn_draws_upon_the_picture_of_its_chain(
    run: Run, model: Any, two: Any, image: Tensor, folders: SimpleNamespace
) -> None:
    node = run("KontextTurn", model=model, chain=two, instruction="in the box", marks=BOX, **FAST)
    made, shown = node.args[:2]
    assert node.ui["text"][0].splitlines()[0] == "turn 3, 1 mark drawn for it"
    assert made.turns[:3] == two.turns
    assert [mark.kind for mark in made.last.marks] == ["box"]
    assert not torch.equal(
        shown, run("KontextTurn", model=model, chain=two, instruction="in the box", **FAST)[1]
    )
    name = run("KontextSaveChain", chain=made, filename_prefix="drawn").ui["images"][0]["filename"]
    loaded = run("KontextLoadChain", file=f"{name} [output]")[0]
    assert loaded.last.marks == made.last.marks
    on = [run("KontextTurn", model=model, chain=chain, marks=BOX, **FAST)[1] for chain in (made, loaded)]
    assert torch.equal(*on), "also what is drawn upon a loaded picture"
    first = run("KontextTurn", model=model, image=image, marks=BOX, **FAST)[0]
    assert torch.equal(first.turns[0].image, image), "the picture at the start stays without"
    assert first.last.marks == made.last.marks


AREA = (
    '{"version": 2, "marks": [{"kind": "box", "points": [[0.5, 0], [1, 1]], "mask": true}, '
    '{"kind": "brush", "points": [[0.75, 0.5]], "width": 0.25, "mask": true, "erase": true}]}'
)


def test_a_turn_reaches_no_farther_than_what_is_drawn(
    run: Run, model: Any, two: Any, image: Tensor, folders: SimpleNamespace
) -> None:
    inputs = {"instruction": "make it red", "feather": 0, **FAST}
    node = run("KontextTurn", model=model, chain=two, marks=AREA, **inputs)
    made, shown = node.args[:2]
    assert node.ui["text"][0].splitlines()[0] == "turn 3, area drawn"
    changed = (shown != two.last.image).any(-1)[0]
    assert changed[:, 64:].float().mean() > 0.5
    assert not changed[:, :64].any()
    assert not changed[54:74, 86:106].any(), "what is erased stays too"
    mask = run("KontextVisualCue", image=two.last.image, marks=AREA)[1]
    wired = run("KontextTurn", model=model, chain=two, mask=mask, **inputs)
    assert torch.equal(wired[1], shown), "it is the mask that a cue makes of it"
    name = run("KontextSaveChain", chain=made, filename_prefix="area").ui["images"][0]["filename"]
    loaded = run("KontextLoadChain", file=f"{name} [output]")[0]
    assert loaded.last.marks == made.last.marks
    on = [run("KontextTurn", model=model, chain=chain, marks=BOX, **inputs)[1] for chain in (made, loaded)]
    assert torch.equal(*on)
    first = run("KontextTurn", model=model, image=image, marks=AREA, **inputs)
    assert torch.equal(first[1][:, :, :64], image[:, :, :64])
    left = torch.ones(1, 128, 128)
    left[..., 64:] = 0
    with pytest.raises(ValueError, match="the drawn area and the mask have no pixel in common"):
        run("KontextTurn", model=model, chain=two, marks=AREA, mask=left, **inputs)


def test_a_cue_hands_on_where_an_area_is_drawn(run: Run, model: Any, image: Tensor) -> None:
    drawn, mask = run("KontextVisualCue", image=image, marks=AREA).args
    assert torch.equal(drawn, image), "the area is no mark"
    assert mask.shape == (1, 128, 128)
    assert mask[0, 64, [32, 68, 96, 124]].tolist() == [0, 1, 0, 1]
    edited = run("KontextEdit", model=model, image=drawn, mask=mask, feather=0, **FAST)[0]
    assert torch.equal(edited[:, :, :64], image[:, :, :64])
    assert not torch.equal(edited, image)
    several, mask = run("KontextVisualCue", image=image.repeat(2, 1, 1, 1), marks=BOX).args
    assert several.shape[0] == 2
    assert mask.shape == (1, 128, 128)
    assert mask.eq(1).all(), "without an area all may change"


def test_marks_that_are_none_are_refused_before_anything_runs(node_list: list[Any]) -> None:
    turn = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextTurn")
    assert turn.validate_inputs(marks=BOX) is True
    assert turn.validate_inputs() is True
    assert turn.validate_inputs(marks=None) is True, "they come by a wire"
    assert turn.validate_inputs(marks="box").startswith("the marks are not JSON")


def test_batches_are_refused_in_one_sentence(run: Run, model: Any, two: Any) -> None:
    with pytest.raises(
        ValueError, match="a chain has one picture, but 'image' is a batch of 2: take one out"
    ):
        run("KontextTurn", model=model, image=picture(128, 128, batch=2), **FAST)
    stack = run("KontextReference", image=picture(128, 128, batch=3))[0]
    with pytest.raises(ValueError, match="one reference is a batch of 3: take one out"):
        run("KontextTurn", model=model, chain=two, references=stack, **FAST)


def test_going_back(run: Run, two: Any) -> None:
    then, shown = run("KontextPickTurn", chain=two, turn=1).args
    assert then.turns == two.turns[:2]
    assert torch.equal(shown, two.turns[1].image)
    assert run("KontextPickTurn", chain=two).args[0].turns == then.turns, "-2 is the default"
    with pytest.raises(ValueError, match="there is no turn 3: this chain has 2 edits; choose 0"):
        run("KontextPickTurn", chain=two, turn=3)


def test_comparing_branches(run: Run, model: Any, two: Any) -> None:
    branch = run("KontextTurn", model=model, chain=two.back_to(1), instruction="else", **FAST)[0]
    made = run("KontextCompare", chain=two, turn=-1, other=branch)
    beside, difference = made.args
    assert beside.shape == (1, 128, 264, 3)
    assert torch.equal(beside[:, :, :128], two.last.image)
    assert torch.equal(beside[:, :, 136:], branch.last.image)
    assert difference.max() > 0
    assert "they diverge after turn 1" in made.ui["text"][0]
    alone = run("KontextCompare", chain=two, turn=-1)
    assert not alone[1].any()
    assert alone.ui["text"][0] == "0.0% of the picture differs, inf dB"


def test_the_page_gets_both_pictures_of_a_comparison(run: Run, model: Any, two: Any) -> None:
    import folder_paths

    branch = run("KontextTurn", model=model, chain=two.back_to(1), instruction="else", **FAST)[0]
    made = run("KontextCompare", chain=two, turn=0, other_turn=-1, other=branch)
    assert len(made.ui["images"]) == 1, "side by side, as before"
    (pair,) = made.ui["kontext_compare"]
    assert (pair["turns"], pair["branches"]) == ([0, 2], True)
    for side, image in (("before", two.turns[0].image), ("after", branch.last.image)):
        assert pair[side]["type"] == "temp"
        file = Path(folder_paths.get_temp_directory()) / pair[side]["subfolder"] / pair[side]["filename"]
        shown = torch.from_numpy(np.array(Image.open(file)))
        assert (shown / 255 - image[0]).abs().max() <= 1 / 255
    (pair,) = run("KontextCompare", chain=two).ui["kontext_compare"]
    assert (pair["turns"], pair["branches"]) == ([0, 2], False)


def test_the_sheet_has_every_turn(run: Run, two: Any) -> None:
    sheet = run("KontextChainSheet", chain=two)[0]
    assert sheet.shape[0] == 1
    assert sheet.shape[2] == 16 + 3 * 272, "three tiles in a row"


def test_a_long_chain_is_a_batch_of_sheets(run: Run, two: Any, part: Callable[[str], Any]) -> None:
    turns = part("kontext_core.chain")
    chain = turns.Chain(tuple(turns.Turn(two.last.image, instruction=str(i)) for i in range(90)))
    made = run("KontextChainSheet", chain=chain)
    assert made[0].shape[0] == 3
    assert made[0].shape[2] == 16 + 4 * 272
    assert made.ui["text"] == ("3 sheets",)
    assert run("KontextChainSheet", chain=chain, first=-40)[0].shape[0] == 1
    endless = turns.Chain((turns.Turn(two.last.image),) * 641)
    with pytest.raises(
        ValueError, match="from turn 0 on this chain has 641 pictures, but 16 sheets show only 640"
    ):
        run("KontextChainSheet", chain=endless)


def test_comparing_other_sizes_says_so(run: Run, two: Any, part: Callable[[str], Any]) -> None:
    turns = part("kontext_core.chain")
    other = two.extended(turns.Turn(picture(64, 96)))
    lines = run("KontextCompare", chain=two, turn=0, other=other).ui["text"][0].splitlines()
    assert lines[1].startswith(
        "the second picture is 96 x 64 px and is stretched to the 128 x 128 px of the first"
    )
    assert lines[2] == "they diverge after turn 2"


def test_disable_metadata_leaves_out_the_graph_and_not_the_chain(
    run: Run, node_list: list[Any], two: Any, folders: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain is kept, as the help page says."""
    import comfy.cli_args

    hidden = SimpleNamespace(prompt={"1": {}}, extra_pnginfo={"workflow": {}})
    node = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextSaveChain")
    monkeypatch.setattr(node, "hidden", hidden, raising=False)
    texts = []
    for disabled in (False, True):
        monkeypatch.setattr(comfy.cli_args.args, "disable_metadata", disabled)
        name = node.execute(two, "kept", latents=False).ui["images"][0]["filename"]
        with Image.open(folders.output / name) as saved:
            texts.append(set(saved.text))
    assert texts == [{"prompt", "workflow", "kontext_chain"}, {"kontext_chain"}]
    help_page = (ROOT / "web" / "docs" / "KontextSaveChain.md").read_text(encoding="utf-8")
    assert "--disable-metadata" in help_page


def test_saved_and_loaded_it_goes_on_as_before(
    run: Run, model: Any, two: Any, folders: SimpleNamespace
) -> None:
    saved = run("KontextSaveChain", chain=two, filename_prefix="sub/mine").ui["images"][0]
    assert (saved["subfolder"], saved["type"]) == ("sub", "output")
    loaded, shown = run("KontextLoadChain", file=f"sub/{saved['filename']} [output]").args
    assert [turn.instruction for turn in loaded.turns] == ["", "one", "two"]
    assert shown.shape == (1, 128, 128, 3)
    on = [run("KontextTurn", model=model, chain=chain, **FAST)[1] for chain in (two, loaded)]
    assert torch.equal(*on)


def test_a_second_save_takes_the_next_name(run: Run, two: Any, folders: SimpleNamespace) -> None:
    names = [
        run("KontextSaveChain", chain=two, filename_prefix="twice").ui["images"][0]["filename"]
        for _ in range(2)
    ]
    assert names == ["twice_00001_.png", "twice_00002_.png"]
    assert all((folders.output / name).is_file() for name in names)


def test_without_latents_it_goes_on_from_the_picture(
    run: Run, model: Any, two: Any, folders: SimpleNamespace
) -> None:
    name = run("KontextSaveChain", chain=two, latents=False).ui["images"][0]["filename"]
    path = folders.output / "kontext" / name
    assert not latents_path(path).exists()
    made = run("KontextLoadChain", file=f"kontext/{name} [output]")
    assert "without latents" in made.ui["text"][0]
    assert len(run("KontextTurn", model=model, chain=made[0], **FAST)[0]) == 3


@pytest.mark.parametrize("prefix", ["../out", "/etc/chain", "a/../../out"])
def test_nothing_is_written_outside(run: Run, two: Any, folders: SimpleNamespace, prefix: str) -> None:
    before = sorted(folders.output.parent.rglob("*"))
    with pytest.raises(ValueError, match="leads out of ComfyUI's output folder"):
        run("KontextSaveChain", chain=two, filename_prefix=prefix)
    assert sorted(folders.output.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ["gone.png", "../secret.png", "../secret.png [output]", "/etc/hostname"])
def test_nothing_is_read_outside(run: Run, node_list: list[Any], folders: SimpleNamespace, name: str) -> None:
    Image.new("RGB", (8, 8)).save(folders.output.parent / "secret.png")
    loader = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextLoadChain")
    said = loader.validate_inputs(name)
    assert said.startswith(f"there is no picture {name!r} in ")
    with pytest.raises(ValueError, match="there is no picture"):
        run("KontextLoadChain", file=name)


def test_a_plain_picture_says_that_it_holds_no_chain(run: Run, folders: SimpleNamespace) -> None:
    Image.new("RGB", (16, 16)).save(folders.input / "plain.png")
    with pytest.raises(ValueError, match=r"plain\.png holds no edit chain"):
        run("KontextLoadChain", file="plain.png")


def test_files_are_listed_where_they_lie(
    node_list: list[Any], run: Run, two: Any, folders: SimpleNamespace
) -> None:
    Image.new("RGB", (8, 8)).save(folders.input / "friend.png")
    name = run("KontextSaveChain", chain=two).ui["images"][0]["filename"]
    save_file({"a": torch.zeros(1)}, folders.output / "lone.kontext.safetensors")
    loader = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextLoadChain")
    listed = loader.GET_SCHEMA().inputs[0].options
    assert {"friend.png", f"kontext/{name} [output]"} <= set(listed)
    assert not any("lone" in one for one in listed), "latents without their picture"
    before = loader.fingerprint_inputs(f"kontext/{name} [output]")
    latents_path(folders.output / "kontext" / name).unlink()
    assert loader.fingerprint_inputs(f"kontext/{name} [output]") != before


def test_a_picture_is_a_chain_without_turns(run: Run, two: Any, folders: SimpleNamespace) -> None:
    """The page connects a picture past turns that are all off."""
    start, clear = picture(48, 64), torch.zeros(1, 48, 64, 4)
    assert run("KontextSaveChain", chain=start, filename_prefix="start").ui["text"][0].startswith("0 turns")
    then, shown = run("KontextPickTurn", chain=start, turn=0).args
    assert len(then) == 0
    assert torch.equal(shown, start)
    assert run("KontextChainSheet", chain=start).args[0].shape[0] == 1
    assert run("KontextCompare", chain=picture(128, 128), other=two).ui["text"][0].endswith("share no turn")
    assert (run("KontextPickTurn", chain=clear, turn=0)[1] == 1).all(), "what is transparent is white"
    with pytest.raises(ValueError, match="a batch of 2 pictures, but a chain has one picture"):
        run("KontextSaveChain", chain=torch.cat([start, start]))


SCRIPT = "make it red\n\n# not yet\n  remove it  \nmake it blue\n"


def test_a_script_becomes_a_turn_a_line(run: Run) -> None:
    made = run("KontextScript", model=["1", 0], script=SCRIPT, image=["2", 0], references=["3", 0], seed=5)
    turns = list(made.expand.values())
    assert {turn["class_type"] for turn in turns} == {"KontextTurn"}
    inputs = [turn["inputs"] for turn in turns]
    assert [one["instruction"] for one in inputs] == ["make it red", "remove it", "make it blue"]
    assert [one["seed"] for one in inputs] == [5, 6, 7]
    assert all(one["model"] == ["1", 0] and one["references"] == ["3", 0] for one in inputs)
    ids = list(made.expand)
    assert inputs[0]["image"] == ["2", 0]
    assert "image" not in inputs[1]
    assert [one["chain"] for one in inputs[1:]] == [[ids[0], 0], [ids[1], 0]]
    assert made.args == tuple([ids[2], output] for output in range(5))


def test_a_script_may_keep_its_noise(run: Run) -> None:
    made = run("KontextScript", model=["1", 0], script=SCRIPT, chain=["2", 0], seed=2**64 - 1, seeds="same")
    assert {turn["inputs"]["seed"] for turn in made.expand.values()} == {2**64 - 1}
    last = run("KontextScript", model=["1", 0], script=SCRIPT, chain=["2", 0], seed=2**64 - 1)
    assert [turn["inputs"]["seed"] for turn in last.expand.values()] == [2**64 - 1, 0, 1]


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("# nothing\n\n", "the script has no instruction"),
        ("a\n" * 101, "the script has 101 instructions, but 100 is the maximum"),
    ],
)
def test_a_script_that_is_none(run: Run, node_list: list[Any], script: str, sentence: str) -> None:
    node = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextScript")
    assert node.validate_inputs(script).startswith(sentence)
    with pytest.raises(ValueError, match=sentence):
        run("KontextScript", model=["1", 0], script=script, image=["2", 0])


@pytest.mark.parametrize(
    ("node", "more"),
    [
        ("KontextPickTurn", {"turn": 0}),
        ("KontextCompare", {}),
        ("KontextChainSheet", {}),
        ("KontextSaveChain", {"filename_prefix": "picture"}),
    ],
)
def test_a_picture_stands_for_a_chain(
    run: Run, folders: SimpleNamespace, node: str, more: dict[str, Any]
) -> None:
    """The page connects a picture past turns that are off; it must be a single one."""
    transparent = picture(32, 48, channels=4)
    assert run(node, chain=transparent, **more)
    with pytest.raises(
        ValueError, match=r"^chain is a batch of 3 pictures, but a chain has one picture: take one out"
    ):
        run(node, chain=picture(32, 48, batch=3), **more)
    with pytest.raises(ValueError, match=r"not finite"):
        run(node, chain=transparent * float("nan"), **more)
    with pytest.raises(ValueError, match=r"^chain is a tensor \(32, 48, 3\) of float32; it must be a chain"):
        run(node, chain=picture(32, 48)[0], **more)


def test_a_picture_in_place_of_a_chain_is_as_it_was_shown(run: Run, two: Any) -> None:
    image = picture(128, 128)
    chain, shown = run("KontextPickTurn", chain=image, turn=0).args
    assert len(chain) == 0
    assert torch.equal(shown, image)
    other = run("KontextCompare", chain=two, turn=0, other=image, other_turn=0)[0]
    assert torch.equal(other[:, :, -128:], image)
