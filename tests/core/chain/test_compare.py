import pytest
import torch

from kontext_core.chain import compare


def test_equal_pictures() -> None:
    image = torch.rand(1, 16, 24, 3)
    found = compare(image, image)
    assert found.side_by_side.shape == (1, 16, 56, 3)
    assert not found.difference.any()
    assert (found.changed, found.psnr) == (0.0, float("inf"))


def test_what_differs_is_counted_and_shown() -> None:
    first = torch.zeros(1, 10, 10, 3)
    second = first.clone()
    second[:, 0, :5, 1] = 0.3
    second[:, 9, :, 0] = 0.01  # nobody sees that
    found = compare(first, second)
    assert found.changed == pytest.approx(0.05)
    assert found.difference[0, 0, 0].tolist() == pytest.approx([0, 0.6, 0])
    assert found.psnr == pytest.approx(-10 * torch.log10((first - second).square().mean()).item())


def test_the_second_takes_the_first_ones_size() -> None:
    found = compare(torch.zeros(1, 8, 8, 3), torch.ones(1, 16, 32, 3))
    assert found.difference.shape == (1, 8, 8, 3)
    assert found.changed == 1.0
