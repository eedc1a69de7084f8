"""Sheets to look at: samples of every kind of edit, and what the scoring just accepts and just rejects."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .changes import altered, removed
from .draw import draw
from .edits import KINDS, sample
from .scenes import SIZE_PX, Scene, Thing, Word
from .score import TOLERANCE, cell_errors

LABEL_PX = 32
GAP_PX = 6
PAPER, INK = (250, 250, 250), (20, 20, 20)
GREEN, RED = (20, 130, 50), (190, 20, 20)


@dataclass(frozen=True, slots=True)
class Case:
    """A picture held against the true one: both (3, 128, 128)."""

    label: str
    truth: Tensor
    output: Tensor

    @property
    def error(self) -> float:
        """The error of its worst cell."""
        return cell_errors(self.output[None], self.truth[None]).max().item()


# A flaw of a given strength, 0 for none.
Flaw = Callable[[Tensor, float], Tensor]


def borderline_cases() -> list[Case]:
    """Flaws of every sort, each a little below and a little above the tolerance, then near wrong answers."""
    full = Scene(
        background="sky",
        things=(
            Thing("star", "yellow", "big", 0, 0),
            Thing("heart", "red", "small", 0, 2),
            Thing("moon", "purple", "big", 1, 3),
            Thing("square", "white", "small", 2, 1),
        ),
        word=Word("fox", "black", 3, 1),
    )
    truth, without = draw([full, removed(full, full.things[1])])
    flaws: dict[str, tuple[Flaw, float]] = {
        "blur of {:.2f} px": (blurred, 4),
        "all colours off by {:.3f}": (lambda picture, s: picture + s, 0.3),
        "noise of {:.2f}": (lambda picture, s: (picture + s * _noise(picture)).clamp(0, 1), 0.6),
        "moved by {:.2f} px": (shifted, 8),
        "heart still there by {:.0%}": (lambda picture, s: torch.lerp(without, picture, s), 1),
        "heart faded by {:.0%}": (lambda picture, s: torch.lerp(picture, without, s), 1),
    }
    cases: list[Case] = []
    for label, (flaw, most) in flaws.items():
        right = without if label.startswith("heart still") else truth
        edge = _edge(right, lambda s, flaw=flaw: flaw(truth, s), most)
        cases += [Case(label.format(s), right, flaw(truth, s)) for s in (0.92 * edge, 1.08 * edge)]
    return cases + _wrong_answers()


def _wrong_answers() -> list[Case]:
    """Wrong answers where they are hardest to tell: small things of little contrast."""
    scene = Scene("sand", (Thing("diamond", "white", "small", 1, 1), Thing("heart", "blue", "big", 2, 2)))
    small, big = scene.things
    round_one = replace(scene, things=(replace(small, shape="circle"), big))
    night = Scene("sky", (replace(small, colour="red", shape="moon"),), time="night")
    dusk = Scene("grass", (Thing("circle", "red", "small", 1, 1),), style="outline", palette="warm")
    dark = Scene("clay", (Thing("circle", "green", "small", 1, 1),), palette="warm")
    word = Word("hut", "white", 1, 0)
    pairs: list[tuple[str, Scene, Scene]] = [
        ("square for circle", round_one, altered(round_one, round_one.things[0], shape="square")),
        ("star for diamond", scene, altered(scene, small, shape="star")),
        ("pink for red, warm", dusk, altered(dusk, dusk.things[0], colour="pink")),
        ("big for small", scene, altered(scene, small, size="big")),
        (
            "one thing too few",
            replace(scene, style="outline"),
            replace(removed(scene, small), style="outline"),
        ),
        ("outline for solid", night, replace(night, style="outline")),
        ("inked for solid, warm", dark, replace(dark, style="inked")),
        ("one wrong letter", Scene("sand", (), word), Scene("sand", (), replace(word, text="mut"))),
    ]
    cases = [Case(label, *draw([true, false])) for label, true, false in pairs]
    truth = draw([scene])[0]
    return [*cases, Case("a quarter cell off", truth, shifted(truth, 8))]


def blurred(picture: Tensor, sigma_px: float) -> Tensor:
    """A Gaussian blur of (3, H, W)."""
    if sigma_px <= 0:
        return picture
    reach = int(4 * sigma_px) + 1
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma_px) ** 2)
    kernel = (line[:, None] * line / line.sum() ** 2).expand(3, 1, -1, -1)
    padded = torch.nn.functional.pad(picture[None], (reach,) * 4, mode="replicate")
    return torch.nn.functional.conv2d(padded, kernel, groups=3)[0]


def shifted(picture: Tensor, by_px: float) -> Tensor:
    """The picture moved to the right, between whole pixels by a linear mix."""
    whole = int(by_px)
    near, far = picture.roll(whole, 2), picture.roll(whole + 1, 2)
    return torch.lerp(near, far, by_px - whole)


def _noise(picture: Tensor) -> Tensor:
    return torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))


def _edge(truth: Tensor, output: Callable[[float], Tensor], most: float) -> float:
    """The strength at which a flaw reaches the tolerance, by bisection."""
    low, high = 0.0, most
    for _ in range(12):
        middle = (low + high) / 2
        if Case("", truth, output(middle)).error > TOLERANCE:
            high = middle
        else:
            low = middle
    return low


def borderline_sheet(columns: int = 3) -> Image.Image:
    """True picture and judged picture side by side, with the error of the worst cell and the verdict."""
    tiles: list[Image.Image] = []
    for case in borderline_cases():
        verdict, colour = ("right", GREEN) if case.error <= TOLERANCE else ("wrong", RED)
        tiles.append(_tile(case.label, [case.truth, case.output], f"{case.error:.3f}: {verdict}", colour))
    return _grid(tiles, columns)


def sample_sheet(rng: random.Random, per_kind: int = 3, kinds: Sequence[str] = KINDS) -> Image.Image:
    """Random edits, a kind a row: references, then the right answer."""
    tiles: list[Image.Image] = []
    for kind in kinds:
        for _ in range(per_kind):
            example = sample(kind, rng)
            words = (example.instruction or "(nothing asked)").split()
            lines = " ".join(words[:11]), " ".join(words[11:])
            tiles.append(_tile(lines[0], list(draw([*example.references, example.target])), lines[1], INK))
    return _grid(tiles, per_kind)


def _tile(label: str, pictures: Sequence[Tensor], note: str, colour: tuple[int, int, int]) -> Image.Image:
    font = ImageFont.load_default()
    width = max(len(pictures) * (SIZE_PX + GAP_PX), int(font.getlength(label)) + GAP_PX)
    tile = Image.new("RGB", (width, LABEL_PX + SIZE_PX + GAP_PX), PAPER)
    pen = ImageDraw.Draw(tile)
    pen.text((1, 2), label, fill=INK, font=font)
    pen.text((1, 16), note, fill=colour, font=font)
    for i, picture in enumerate(pictures):
        pixels = (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
        image = Image.fromarray(pixels.numpy())
        tile.paste(image, (i * (SIZE_PX + GAP_PX), LABEL_PX))
    return tile


def _grid(tiles: Sequence[Image.Image], columns: int) -> Image.Image:
    width = max(tile.width for tile in tiles) + 2 * GAP_PX
    height = max(tile.height for tile in tiles) + GAP_PX
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), PAPER)
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % columns * width + GAP_PX, i // columns * height + GAP_PX))
    return sheet
