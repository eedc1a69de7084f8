import pytest
import torch
from torch import Tensor

from kontext_core.chain import compare


def test_equal_pictures(caplog: pytest.LogCaptureFixture) -> None:
    image = torch.rand(1, 16, 24, 3)
    found = compare(image, image)
    assert found.side_by_side.shape == (1, 16, 56, 3)
    assert not found.difference.any()
    assert (found.changed, found.psnr, found.note) == (0.0, float("inf"), "")
    assert not caplog.messages


def test_what_differs_is_counted_and_shown() -> None:
    first = torch.zeros(1, 10, 10, 3)
    second = first.clone()
    second[:, 0, :5, 1] = 0.3
    second[:, 9, :, 0] = 0.01  # nobody sees that
    found = compare(first, second)
    assert found.changed == pytest.approx(0.05)
    assert found.difference[0, 0, 0].tolist() == pytest.approx([0, 0.6, 0])
    assert found.psnr == pytest.approx(-10 * torch.log10((first - second).square().mean()).item())


@pytest.mark.parametrize(
    ("second", "way"),
    [
        ((16, 32), "is 32 x 16 px and is stretched to the 8 x 8 px of the first"),
        ((16, 16), "is 16 x 16 px and is scaled to the 8 x 8 px of the first"),
        ((8, 9), "is 9 x 8 px and is stretched to"),
    ],
)
def test_another_size_is_scaled_and_said(
    second: tuple[int, int], way: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = compare(torch.zeros(1, 8, 8, 3), torch.ones(1, *second, 3))
    assert found.difference.shape == (1, 8, 8, 3)
    assert found.changed == 1.0
    assert found.note.startswith(f"the second picture {way}")
    assert found.note.endswith("do not show what was cropped")
    assert caplog.messages == [found.note]


def test_a_size_that_is_the_same_to_a_pixel_is_scaled_and_not_stretched() -> None:
    """Sizes of the same proportions up to whole pixels: 100 x 75 and 133 x 100."""
    assert "is scaled to" in compare(torch.zeros(1, 75, 100, 3), torch.zeros(1, 100, 133, 3)).note


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (torch.zeros(2, 8, 8, 3), "only single pictures can be compared, but one is a batch of 2"),
        (torch.zeros(8, 8, 3), r"a picture must be \(batch, height, width, 3\)"),
        (torch.full((1, 8, 8, 3), torch.nan), "not finite"),
    ],
)
def test_what_is_no_picture_is_refused(image: Tensor, sentence: str) -> None:
    for pair in ((image, torch.zeros(1, 8, 8, 3)), (torch.zeros(1, 8, 8, 3), image)):
        with pytest.raises(ValueError, match=sentence):
            compare(*pair)
