"""Drift that is undone, and edits that are kept."""

import pytest
import torch
from torch import Tensor

from kontext_core.chain.drift import align_to


@pytest.fixture
def first() -> Tensor:
    return torch.randn(1, 16, 24, 24, generator=torch.Generator().manual_seed(0))


def test_a_slow_shift_goes_away(first: Tensor) -> None:
    slope = torch.linspace(-0.2, 0.3, 24).expand(1, 16, 24, 24)
    left = (align_to(first + slope, first) - first).norm() / slope.norm()
    assert left < 0.25, "all but what one-sided means miss at the edges"


def test_detail_stays(first: Tensor) -> None:
    detail = 0.1 * torch.tensor([1.0, -1.0]).repeat(12).expand(1, 16, 24, 24)
    aligned = align_to(first + detail, first)
    assert torch.allclose(aligned[..., 4:-4], (first + detail)[..., 4:-4], atol=0.01)


def test_an_edit_stays_and_the_rest_is_aligned(first: Tensor) -> None:
    edited = first + 0.2
    edited[..., 6:12, 6:12] += 2.0
    aligned = align_to(edited, first)
    assert torch.equal(aligned[..., 6:12, 6:12], edited[..., 6:12, 6:12])
    assert (aligned - first)[..., 16:, 16:].abs().max() < 0.02


def test_around_an_edit_two_places_count_as_edited(first: Tensor) -> None:
    """A soft edge changes less than `CHANGED`; it is neither aligned nor counted as drift."""
    edited = first + 0.2
    edited[..., 8:12, 8:12] += 2.0
    aligned = align_to(edited, first)
    kept = (aligned == edited).all(dim=1)[0]
    rows, columns = kept.nonzero(as_tuple=True)
    assert kept.sum() == 8 * 8
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 13, 6, 13)


def test_the_rim_of_an_edit_is_no_drift_elsewhere(first: Tensor) -> None:
    edited = first.clone()
    edited[..., 8:12, 8:12] += 2.0
    edited[..., 7, 7:13] += 0.4  # below what counts as edited by itself
    aligned = align_to(edited, first)
    assert torch.equal(aligned, edited), "nothing drifted"


def test_an_edit_of_everything_stays(first: Tensor) -> None:
    assert torch.equal(align_to(first + 1.0, first), first + 1.0)


def test_nothing_to_do(first: Tensor) -> None:
    assert torch.equal(align_to(first, first), first)


def test_other_sizes(first: Tensor) -> None:
    with pytest.raises(ValueError, match="sizes must be the same"):
        align_to(first, first[..., :-2])
