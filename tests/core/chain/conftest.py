"""Chains without a model, and files that no writer of ours would produce."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor
from torch.nn import functional as F

from kontext_core.chain import Chain, Turn, record
from kontext_core.chain.latents_file import KEY
from kontext_core.images.fitting import Placement

Lineage = dict[str, Any]


def photo(seed: int, side: int = 64) -> Tensor:
    """A picture as rich in detail as a photograph, so that its preview is as large."""
    rough = torch.rand(1, 3, side * 3 // 8, side * 3 // 8, generator=torch.Generator().manual_seed(seed))
    return (
        F.interpolate(rough, size=(side, side), mode="bicubic").clamp(0, 1).permute(0, 2, 3, 1).contiguous()
    )


def preview(width: int, height: int, kind: str = "JPEG") -> str:
    """A preview as a record holds it, of any size."""
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def short() -> Chain:
    """A picture and two turns on it, with latents and a placement."""
    generator, place = torch.Generator().manual_seed(0), Placement((32, 64), 0, 6, 32, 52, (40, 65))
    turns = tuple(
        Turn(photo(i, 16), torch.randn(1, 16, 4, 8, generator=generator), place, f"turn {i}" if i else "", i)
        for i in range(3)
    )
    return Chain(turns)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Make `write(lineage, size=(8, 8))`, which writes any lineage into a PNG, valid or not."""

    def write(lineage: Lineage, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Path:
        info, path = PngImagePlugin.PngInfo(), tmp_path / "a.png"
        info.add_itxt(KEY, json.dumps(lineage))
        Image.new(mode, size).save(path, pnginfo=info)
        return path

    return write


@pytest.fixture
def lineage(short: Chain) -> Callable[..., Lineage]:
    """The lineage of `short`, with changes to its turn 1: `lineage(seed=3)`."""

    def lineage(**changes: Any) -> Lineage:
        whole = json.loads(json.dumps(record.to_json(short)))
        whole["turns"][1] |= changes
        return whole | {"version": 3}

    return lineage
