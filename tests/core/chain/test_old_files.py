"""Files that earlier versions of this pack wrote, as they wrote them."""

from pathlib import Path

import pytest
import torch

from kontext_core.chain import latents_path, load_chain, record, save_chain
from kontext_core.editor import UsedLora
from kontext_core.images.fitting import Placement

FOLDER = Path(__file__).parents[2] / "data" / "chains"
PLACE = Placement((32, 64), 0, 6, 32, 52, (40, 65))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_they_load_with_all_that_they_hold(version: int) -> None:
    chain = load_chain(FOLDER / f"version_{version}.png")
    assert len(chain) == version
    start, first, *more = chain.turns
    with_latents = version < 3
    for turn in chain.turns:
        assert (turn.latents is not None) == with_latents
        assert turn.placement == (PLACE if with_latents else None)
    assert dict(start.settings) == {"fit": "pad"}
    assert (first.instruction, first.seed) == ("make it red, it's <b>bold</b>", 2**64 - 1)
    assert first.settings["align"] is True
    assert [tuple(picture.shape) for picture in first.references] == [(1, 256, 17, 3), (1, 16, 16, 3)]
    assert chain.last.image.shape == (1, 32, 52, 3)
    if version > 1:
        assert more[0].instruction == "ein Stück näher \U0001f600"
        assert [mark.kind for mark in more[0].marks] == ["ellipse", "text"]
        assert more[0].marks[0].points[0] == (1 / 3, 0.2)
    if version > 2:
        assert more[1].loras == (UsedLora("style.safetensors", 0.75), UsedLora("more.safetensors", -1.0))
        assert more[1].references[0] is first.references[0]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_they_are_written_again_in_their_version(tmp_path: Path, version: int) -> None:
    chain = load_chain(FOLDER / f"version_{version}.png")
    assert record.to_json(chain)["version"] == version
    save_chain(chain, tmp_path / "a.png")
    again = load_chain(tmp_path / "a.png")
    assert torch.equal(again.last.image, chain.last.image)
    assert latents_path(tmp_path / "a.png").exists() == (version < 3)
    for turn, old in zip(again.turns, chain.turns, strict=True):
        assert (turn.instruction, turn.seed, dict(turn.settings)) == (
            old.instruction,
            old.seed,
            dict(old.settings),
        )
        assert (turn.marks, turn.loras, turn.placement) == (old.marks, old.loras, old.placement)
        assert old.latents is None or torch.equal(turn.latents, old.latents)
