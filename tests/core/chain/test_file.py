"""A chain survives saving and loading; anything else is refused in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, PngImagePlugin
from safetensors.torch import save_file
from torch import Tensor

from kontext_core.chain import Chain, file, latents_file, latents_path, limits, load_chain, record, save_chain
from kontext_core.editor import UsedLora
from kontext_core.images.marks import Mark, mask_of
from kontext_core.images.masks import blending
from kontext_core.lora import Lora
from kontext_core.pipeline import Pipeline

Pictures = Callable[..., Tensor]
Lineage = dict[str, Any]


@pytest.fixture
def chain(pipeline: Pipeline, pictures: Pictures) -> Chain:
    chain = Chain.start(pipeline, pictures(40, 100), fit="pad")
    chain = chain.edit(pipeline, "make it red, it's <b>bold</b>", seed=2**64 - 1, steps=1)
    return chain.edit(pipeline, "ein Stück näher", seed=3, steps=1, references=[pictures(64, 64)])


def test_a_chain_goes_on_where_it_was_saved(tmp_path: Path, chain: Chain, pipeline: Pipeline) -> None:
    path = tmp_path / "picture.png"
    save_chain(chain, path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["picture.kontext.safetensors", "picture.png"]
    loaded = load_chain(path)
    for mine, theirs in zip(loaded.turns, chain.turns, strict=True):
        assert (mine.instruction, mine.seed, mine.settings) == (
            theirs.instruction,
            theirs.seed,
            theirs.settings,
        )
        assert torch.equal(mine.latents, theirs.latents)
        assert mine.placement == theirs.placement
        assert len(mine.references) == len(theirs.references)
    assert (loaded.last.image - chain.last.image).abs().max() <= 0.5 / 255 + 1e-6
    onward, before = (one.edit(pipeline, "remove the star", steps=1).last for one in (loaded, chain))
    assert torch.equal(onward.latents, before.latents)
    assert torch.equal(onward.image, before.image)


def test_without_latents_it_goes_on_from_the_picture(
    tmp_path: Path, chain: Chain, pipeline: Pipeline
) -> None:
    path = tmp_path / "picture.png"
    save_chain(chain, path)
    save_chain(chain, path, latents=False)
    assert not latents_path(path).exists(), "those of the chain before are gone"
    loaded = load_chain(path)
    assert loaded.last.latents is None
    assert loaded.last.placement is None
    assert max(loaded.turns[0].image.shape) <= limits.THUMBNAIL_PX
    assert loaded.edit(pipeline, "", steps=1).last.image.shape == (1, 32, 96, 3)


def test_marks_are_kept_with_their_turn_and_repeat_bit_for_bit(
    tmp_path: Path, chain: Chain, pipeline: Pipeline
) -> None:
    marks = (
        Mark(kind="ellipse", points=((1 / 3, 0.2), (0.6, 0.7)), colour="#0060FF", width=0.0301),
        Mark(kind="text", points=((-0.1, 0.1),), text="<script>alert(1)</script> Stück", width=0.2),
    )
    options: dict[str, Any] = {"seed": 4, "steps": 1, "marks": marks}
    save_chain(chain.edit(pipeline, "the blue one", **options), tmp_path / "a.png")
    loaded = load_chain(tmp_path / "a.png")
    assert [turn.marks for turn in loaded.turns] == [(), (), (), marks]
    record = loaded.last
    again = loaded.back_to(2).edit(
        pipeline, record.instruction, seed=record.seed, steps=record.settings["steps"], marks=record.marks
    )
    assert torch.equal(again.last.latents, record.latents), "the loaded turn, made again from its own record"
    onward = [
        one.edit(pipeline, "and this", **options).last for one in (loaded, load_chain(tmp_path / "a.png"))
    ]
    direct = chain.edit(pipeline, "the blue one", **options).edit(pipeline, "and this", **options).last
    assert all(torch.equal(one.latents, direct.latents) for one in onward)


def test_files_of_the_first_version_load_and_are_still_written_where_there_are_no_marks(
    tmp_path: Path, chain: Chain, pipeline: Pipeline
) -> None:
    old = record.to_json(chain)
    assert old["version"] == 1
    assert all("marks" not in turn for turn in old["turns"])
    loaded = load_chain(written(tmp_path / "a.png", json.dumps(old)))
    assert [turn.marks for turn in loaded.turns] == [()] * 3
    drawn = chain.edit(pipeline, "", steps=1, marks=(Mark(kind="box", points=((0, 0), (1, 1))),))
    assert record.to_json(drawn)["version"] == 2, "which an older pack refuses in a sentence"


def test_areas_are_kept_with_their_turn_and_it_goes_on_bit_for_bit(
    tmp_path: Path, chain: Chain, pipeline: Pipeline
) -> None:
    """In a version of their own, which older packs refuse; marks beside them are written as before."""
    plain = Mark(kind="box", points=((0.1, 0.1), (0.4, 0.4)))
    marks = (
        plain,
        Mark(kind="ellipse", points=((1 / 3, 0.2), (0.9, 0.9)), mask=True),
        Mark(kind="brush", points=((0.5, 0.5), (0.6, 0.5)), width=0.1, mask=True, erase=True),
    )
    options: dict[str, Any] = {"seed": 4, "steps": 1, "feather_px": 3.0}
    made = chain.edit(pipeline, "make it red", marks=marks, **options)
    lineage = record.to_json(made)
    assert lineage["version"] == 4
    assert [list(entry)[5:] for entry in lineage["turns"][-1]["marks"]] == [[], ["mask"], ["mask", "erase"]]
    save_chain(made, tmp_path / "a.png")
    loaded = load_chain(tmp_path / "a.png")
    assert loaded.last.marks == marks
    assert loaded.last.settings["masked"] is True
    onward = [one.edit(pipeline, "and this", marks=(plain,), **options).last for one in (made, loaded)]
    assert torch.equal(onward[0].image, onward[1].image)
    assert onward[0].latents is not None
    assert onward[1].latents is not None
    assert torch.equal(onward[0].latents, onward[1].latents)
    again = loaded.edit(pipeline, "and this", marks=marks, **options).last.image
    kept = blending(mask_of(marks, *again.shape[1:3]), 3)[None, ..., None].expand_as(again) == 0
    assert kept.any()
    assert torch.equal(again[kept], loaded.last.image[kept])
    assert record.to_json(chain.edit(pipeline, "", steps=1, marks=(plain,)))["version"] == 2


def test_loras_are_kept_with_their_turn_and_missed(
    tmp_path: Path, chain: Chain, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """A chain without any is written as before, and a file of the second version loads unchanged."""
    drawn = chain.edit(pipeline, "", steps=1, marks=(Mark(kind="box", points=((0, 0), (1, 1))),))
    assert record.to_json(drawn)["version"] == 2
    assert all("loras" not in turn for turn in record.to_json(drawn)["turns"])
    assert (
        record.to_json(load_chain(written(tmp_path / "old.png", json.dumps(record.to_json(drawn)))))[
            "version"
        ]
        == 2
    )
    width = pipeline.transformer.config.hidden_size
    tensors = {"down": torch.ones(1, width), "up": torch.ones(6 * width, 1)}
    key = "lora_unet_single_blocks_0_modulation_lin"
    weights = {f"{key}.lora_{name}.weight": one[: 3 * width] for name, one in tensors.items()}
    save_file(weights, tmp_path / "style.safetensors")
    styled = pipeline.with_loras(
        [Lora(tmp_path / "style.safetensors", 0.75), Lora(tmp_path / "style.safetensors", 0)]
    )
    made = drawn.edit(styled, "as paper", steps=1)
    assert made.last.loras == (UsedLora("style.safetensors", 0.75),)
    save_chain(made, tmp_path / "a.png")
    assert str(tmp_path) not in json.dumps(record.to_json(made)), "no folder of anybody's"
    assert record.to_json(made)["version"] == 3
    loaded = load_chain(tmp_path / "a.png")
    assert [turn.loras for turn in loaded.turns] == [turn.loras for turn in made.turns]
    assert "LoRA" not in caplog.text
    assert torch.equal(*(one.edit(styled, "on", steps=1).last.latents for one in (loaded, made)))
    assert "LoRA" not in caplog.text
    loaded.edit(pipeline, "on", steps=1)
    assert (
        "the last turn was made with the LoRA style.safetensors at 0.75, which this model does not have"
        in caplog.text
    )


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "picture.png"
    save_chain(chain, path)
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(latents_file, "save_file", full)
    with pytest.raises(OSError, match=r"picture\.png could not be written and is unchanged: No space left"):
        save_chain(chain.back_to(1), path)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def written(path: Path, text: str | None) -> Path:
    info = PngImagePlugin.PngInfo()
    if text is not None:
        info.add_itxt(file.KEY, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def lineage(chain: Chain, **changes: Any) -> str:
    return json.dumps(record.to_json(chain) | changes)


def with_turn(chain: Chain, **changes: Any) -> str:
    made = record.to_json(chain)
    made["turns"][0] |= changes
    return json.dumps(made)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (lambda _: None, r"a\.png holds no edit chain: it was not saved by Kontext Save Chain"),
        (lambda _: "no json", r"the edit chain in a\.png is damaged"),
        (lambda _: "[" * 100_000, r"is damaged"),
        (lambda _: "[]", r"is damaged: \[\] is not a JSON object"),
        (lambda chain: lineage(chain, version=None), r"it has no version"),
        (lambda chain: lineage(chain, version=5), r"has version 5, but this pack reads versions up to 4; update the pack"),
        (lambda chain: lineage(chain, turns=[]), r"it has no list of turns"),
        (lambda chain: lineage(chain, turns="many"), r"it has no list of turns"),
        (lambda chain: lineage(chain, turns=[1]), r"is damaged at turn 0"),
        (lambda chain: with_turn(chain, seed="7"), r"is damaged at turn 0: '7' is not a whole number"),
        (lambda chain: with_turn(chain, settings={"a": [1]}), r"is damaged at turn 0: the setting 'a' is list"),
        (lambda chain: with_turn(chain, thumbnail="%%%"), r"is damaged at turn 0"),
        (lambda chain: with_turn(chain, thumbnail="aGVsbG8="), r"is damaged at turn 0"),
        (lambda chain: with_turn(chain, references=["aGVsbG8="]), r"is damaged at turn 0"),
        (lambda chain: with_turn(chain, marks=[{"kind": "blot"}]), r"is damaged at turn 0: mark 1: kind 'blot' is"),
        (lambda chain: with_turn(chain, marks="all"), r"is damaged at turn 0: the marks are not a list"),
        (lambda chain: with_turn(chain, loras="all"), r"is damaged at turn 0: 'all' is not a list"),
        (lambda chain: with_turn(chain, loras=[{"name": "a", "strength": True}]), r"turn 0: the strength of a LoRA is True"),
        (lambda chain: with_turn(chain, loras=[{"strength": 1}]), r"is damaged at turn 0: it lacks 'name'"),
    ],
)  # fmt: skip
def test_lineage_that_is_not_to_be_used(
    tmp_path: Path, chain: Chain, text: Callable[[Chain], str | None], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_chain(written(tmp_path / "a.png", text(chain)))


def test_files_that_are_no_pictures(tmp_path: Path, chain: Chain) -> None:
    path = tmp_path / "a.png"
    save_chain(chain, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.png is not a whole PNG file"):
        load_chain(path)
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"a\.png is not a whole PNG file"):
        load_chain(path)
    path.write_bytes(whole)
    with path.open("r+b") as giant:
        giant.truncate(300 * 2**20)  # of which nothing is on the disk
    with pytest.raises(
        ValueError, match=r"a\.png is 300 MiB; pictures with a chain may have at most 256 MiB"
    ):
        load_chain(path)


def test_a_picture_that_another_program_wrote_anew(tmp_path: Path, chain: Chain) -> None:
    """The program keeps the pixels and drops the text, or keeps the text and changes the pixels, which then
    count.
    """
    path = tmp_path / "a.png"
    save_chain(chain, path, latents=False)
    with Image.open(path) as picture:
        text, pixels = picture.text[file.KEY], picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels.save(path)
    with pytest.raises(ValueError, match="or another program has rewritten it; use it as a plain picture"):
        load_chain(path)
    info = PngImagePlugin.PngInfo()
    info.add_itxt(file.KEY, text)
    pixels.save(path, pnginfo=info)
    loaded = load_chain(path)
    assert len(loaded) == len(chain)
    assert torch.allclose(loaded.last.image, chain.last.image.flip(2), atol=0.51 / 255)


def test_damaged_latents(tmp_path: Path, chain: Chain) -> None:
    path = tmp_path / "a.png"
    save_chain(chain, path)
    latents_path(path).write_bytes(b"broken")
    with pytest.raises(
        ValueError, match=r"a\.kontext\.safetensors next to the picture is damaged.*delete it to continue"
    ):
        load_chain(path)


def test_latents_of_another_chain(tmp_path: Path, chain: Chain) -> None:
    """A swap is noticed although both have the same turns and shapes."""
    for name in ("a.png", "b.png"):
        save_chain(chain, tmp_path / name)
    (tmp_path / "b.png").replace(tmp_path / "a.png")
    with pytest.raises(
        ValueError, match=r"a\.kontext\.safetensors next to the picture belongs to another chain"
    ):
        load_chain(tmp_path / "a.png")


def test_weights_of_the_same_name_are_left_alone(tmp_path: Path, chain: Chain) -> None:
    weights = tmp_path / "ae.safetensors"
    weights.write_bytes(b"weights")
    for latents in (True, False):
        save_chain(chain, tmp_path / "ae.png", latents=latents)
    assert weights.read_bytes() == b"weights"


def test_words_are_words(tmp_path: Path, chain: Chain) -> None:
    """Markup and letters of any language are restored unchanged, and never run."""
    path = tmp_path / "a.png"
    save_chain(chain, path)
    assert [turn.instruction for turn in load_chain(path).turns[1:]] == [
        "make it red, it's <b>bold</b>",
        "ein Stück näher",
    ]
