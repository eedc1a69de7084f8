import torch

from kontext_core.chain import Chain, Turn, chain_sheet
from kontext_core.chain import sheet as module


def test_every_turn_has_its_caption(monkeypatch) -> None:
    met = []
    monkeypatch.setattr(module, "contact_sheet", lambda tiles: met.extend(tiles))
    picture = torch.zeros(1, 16, 16, 3)
    turns = (Turn(picture), Turn(picture, instruction="make it red", seed=4), Turn(picture, instruction=" "))
    chain_sheet(Chain(turns))
    assert [tile.caption for tile in met] == [
        "start",
        "1. make it red (seed 4)",
        "2. (no instruction) (seed 0)",
    ]
