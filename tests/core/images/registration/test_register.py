import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.moved_photographs import (
    MOVED,
    PHOTOGRAPHS,
    STILL,
    Draw,
    Motion,
    drawn,
    photograph,
    tensor,
)
from kontext_core.images.registration.gate import EDITED, FLAT, REFRAMED
from kontext_core.images.registration.register import Registration, register, shown, undo
from kontext_core.images.registration.warping import (
    IDENTITY,
    Surface,
    composed,
    inverse,
    sampled_places,
    warped,
)


def draw(name: str, share: float, motion: Motion = MOVED, other: str = "coffee", side: int = 320) -> Draw:
    return drawn(name, other, share, random.Random(f"{name}/{share}"), motion, side)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("share", [0, 0.1, 0.3])
@pytest.mark.parametrize("name", ["astronaut", "camera", "chelsea"])
def test_a_moved_picture_is_found_to_a_tenth_of_a_pixel(name: str, share: float) -> None:
    pair = draw(name, share)
    result = register(pair.before, pair.after)
    assert result.refusal == ""
    assert pair.worst_corner(result) < 0.1
    assert result.moved_px > 1
    assert np.abs(np.array(result.gain) - pair.gain).max() < 0.04
    assert np.abs(np.array(result.bias) - pair.bias).max() < 0.02


def test_half_of_a_picture_may_be_edited() -> None:
    results = [
        (pair, register(pair.before, pair.after)) for pair in map(lambda n: draw(n, 0.5), PHOTOGRAPHS[:4])
    ]
    accepted = [pair.worst_corner(result) for pair, result in results if not result.refusal]
    assert len(accepted) >= 3
    assert max(accepted) < 0.5


def test_undo_brings_place_and_colours_back() -> None:
    pair = draw("astronaut", 0, Motion(blur=0, noise=0))
    result = register(pair.before, pair.after)
    restored = undo(pair.after, result)
    seen = shown(result, (320, 320))
    assert 0.8 < seen.float().mean() < 1
    off = (restored - pair.before).abs().amax(-1)[0][seen]
    assert off.median() < 1.5 / 255
    assert off.quantile(0.99) < 12 / 255
    assert (pair.after - pair.before).abs().amax(-1)[0][seen].median() > 10 / 255


@pytest.mark.parametrize("share", [0, 0.1, 0.3])
@pytest.mark.parametrize("name", ["astronaut", "coffee", "rocket"])
def test_a_picture_that_did_not_move_is_not_resampled(name: str, share: float) -> None:
    pair = draw(name, share, STILL, other="chelsea")
    result = register(pair.before, pair.after)
    assert result.moved_px == 0
    assert result.matrix == ((1, 0), (0, 1))
    assert result.shift_px == (0, 0)
    assert shown(result, (320, 320)).all()


def test_the_same_picture_comes_back_as_the_same_tensor() -> None:
    picture = draw("astronaut", 0).before
    result = register(picture, picture.clone())
    assert result.refusal == ""
    assert undo(picture, result) is picture


def test_colours_alone_come_back_without_resampling() -> None:
    before = draw("coffee", 0).before * 0.9 + 0.02
    gain, bias = torch.tensor([0.96, 1.0, 1.04]), torch.tensor([0.02, -0.01, 0.0])
    after = before * gain + bias
    result = register(before, after)
    assert result.moved_px == 0
    restored = undo(after, result)
    assert (after - before).abs().max() > 0.03
    assert (restored - before).abs().max() < 0.002


def test_colours_that_were_edited_are_left() -> None:
    picture = draw("astronaut", 0).before
    for after in (picture * 0.75, picture * 0.6 + 0.4, picture * 0.9):
        result = register(picture, after)
        assert result.moved_px == 0
        assert undo(after, result) is after


def test_the_gain_of_an_even_channel_is_not_extrapolated() -> None:
    """Read off noise it would change all other tones."""
    picture = draw("astronaut", 0).before
    noise = 0.8 + 0.008 * torch.randn(2, 320, 320, generator=torch.Generator().manual_seed(0))
    before, after = (torch.cat((even[None, ..., None], picture[..., 1:]), dim=-1) for even in noise)
    result = register(before, after)
    assert result.refusal == ""
    assert abs(result.gain[0] - 1) < 0.05


FOREIGN = [(a, b) for a in PHOTOGRAPHS for b in PHOTOGRAPHS if a < b]


@pytest.mark.parametrize(("name", "other"), random.Random(7).sample(FOREIGN, 5))
def test_another_picture_is_refused(name: str, other: str) -> None:
    before, after = (draw(which, 0).before for which in (name, other))
    result = register(before, after)
    assert result.refusal in (EDITED, FLAT, REFRAMED)
    assert undo(after, result) is after
    assert result == Registration(refusal=result.refusal)


def test_a_mirrored_or_turned_picture_is_refused() -> None:
    picture = draw("camera", 0).before
    for after in (picture.flip(2), picture.rot90(1, (1, 2))):
        assert register(picture, after).refusal == EDITED


def test_a_reframed_picture_is_refused_as_such() -> None:
    wide = tensor(photograph("astronaut", 512))
    assert register(wide[:, 100:420, 100:420], wide[:, 100:420, 130:450]).refusal == REFRAMED


@pytest.mark.parametrize("size", [(16, 16), (16, 320), (48, 48), (320, 320)])
def test_what_has_no_texture_is_refused(size: tuple[int, int]) -> None:
    flat = torch.full((1, *size, 3), 0.5)
    noise = torch.rand(flat.shape, generator=torch.Generator().manual_seed(0)) * 0.01
    for before, after in (
        (flat, flat),
        (flat, flat * 0.9),
        (flat + noise, flat),
        (torch.zeros_like(flat), flat),
    ):
        result = register(before, after)
        assert result.refusal == FLAT
        assert undo(after, result) is after


def test_a_change_of_a_sky_does_not_move_the_ground() -> None:
    """Texture in one corner alone says nothing certain of the others."""
    ground = draw("astronaut", 0, Motion(zoom=0.02))
    before, after = ground.before.clone(), ground.after.clone()
    for picture in (before, after):
        picture[:, :, 140:] = 0.5
        picture[:, 140:] = 0.5
    result = register(before, after)
    assert result.refusal or ground.worst_corner(result) < 2


def test_what_is_ignored_counts_for_nothing() -> None:
    """Marks that lie on both pictures in one place would hold the picture there."""
    pair = draw("chelsea", 0)
    ignored = torch.zeros(320, 320, dtype=torch.bool)
    ignored[:, 72:248] = True
    marks = torch.rand(1, 320, 176, 3, generator=torch.Generator().manual_seed(1))
    before, after = pair.before.clone(), pair.after.clone()
    before[:, :, 72:248], after[:, :, 72:248] = marks, marks
    result = register(before, after, ignored)
    assert result.refusal == ""
    assert pair.worst_corner(result) < 0.2


def test_sides_need_not_be_multiples_of_16() -> None:
    pair = drawn("astronaut", "coffee", 0, random.Random(4), Motion(zoom=0.04, noise=0))
    matrix, cut = pair.matrix, 319
    offset = np.full(2, (cut - 320) / 2)  # the centre has moved by so much
    shift = pair.shift + matrix @ offset - offset
    before, after = pair.before[:, :cut, :cut], pair.after[:, :cut, :cut]
    result = register(before, after)
    assert abs(matrix[0, 0] - 1) > 0.01
    assert Draw(before, after, matrix, shift, pair.gain, pair.bias).worst_corner(result) < 0.05


def test_every_run_gives_the_same() -> None:
    pair = draw("coffee", 0.3, other="camera")
    assert register(pair.before, pair.after) == register(pair.before, pair.after)


def test_what_does_not_fit_is_refused_in_one_sentence() -> None:
    picture = torch.rand(1, 64, 64, 3)
    for before, after, words in (
        (picture, picture[:, :32], "same size"),
        (picture.expand(2, -1, -1, -1), picture.expand(2, -1, -1, -1), "one picture"),
        (picture, picture * float("nan"), "not finite"),
    ):
        with pytest.raises(ValueError, match=words):
            register(before, after)
    with pytest.raises(ValueError, match="ignores"):
        register(picture, picture, torch.zeros(32, 64, dtype=torch.bool))


def test_a_large_picture_is_registered_at_a_fraction_of_its_size() -> None:
    before, after, pair = _large(8)
    result = register(before, after)
    assert Draw(before, after, pair.matrix, pair.shift * 8, pair.gain, pair.bias).worst_corner(result) < 0.8


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_a_large_picture_takes_few_times_its_own_memory() -> None:
    before, after, _ = _large(9)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins here
    own = _status("VmRSS")
    undo(after, register(before, after))
    assert _status("VmHWM") - own < 6 * 4 * before.numel()


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _large(ratio: int) -> tuple[Tensor, Tensor, Draw]:
    pair = draw("astronaut", 0.1)
    return _enlarged(pair.before, ratio), _enlarged(pair.after, ratio), pair


def _enlarged(picture: Tensor, ratio: int) -> Tensor:
    return picture.repeat_interleave(ratio, 1).repeat_interleave(ratio, 2)


def test_a_surface_is_catmull_roms() -> None:
    values = torch.rand(1, 2, 7, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    affine = np.array([[1.1, 0.1, 0.3], [-0.1, 0.9, -0.4]])
    places = sampled_places(affine, (7, 9), values.device).double()
    result = Surface(values).at(places)[0]
    for row, column in ((0, 0), (3, 4), (6, 8), (2, 7)):
        x, y = (
            ((place + 1) * side - 1) / 2
            for place, side in zip(places[0, row, column].tolist(), (9, 7), strict=True)
        )
        weights = _catmull_rom(y, 7)[:, None] * _catmull_rom(x, 9)
        assert torch.allclose((values[0] * weights).sum((1, 2)), result[:, row, column], atol=1e-6)


def _catmull_rom(place: float, length: int) -> Tensor:
    place = min(max(place, 0), length - 1)
    weights = torch.zeros(length, dtype=torch.float64)
    for tap in range(-2, length + 2):
        off = abs(place - tap)
        near, far = 1.5 * off**3 - 2.5 * off**2 + 1, -0.5 * off**3 + 2.5 * off**2 - 4 * off + 2
        weights[min(max(tap, 0), length - 1)] += near if off <= 1 else far if off < 2 else 0
    return weights


@pytest.mark.parametrize("shift", [0.3, 500.0, -500.0])
def test_strips_are_the_whole(shift: float) -> None:
    values = torch.rand(1, 3, 300, 40, generator=torch.Generator().manual_seed(0))
    affine = np.array([[1.01, 0.02, 1.3], [0.1, 0.98, shift]])
    whole = Surface(values).at(sampled_places(affine, (300, 40), values.device))
    assert torch.allclose(warped(values, affine), whole, atol=1e-4)


def test_a_warp_and_its_inverse_cancel() -> None:
    affine = np.array([[1.01, 0.02, 1.3], [0.1, 0.98, -4.0]])
    assert np.allclose(composed(affine, inverse(affine)), IDENTITY)
