import pytest
import torch
from torch import Tensor

from kontext_core.config import LAYOUTS
from kontext_core.model.positions import HeightWidth, layout_ids, reference_ids, target_ids, text_ids


def corner(ids: Tensor) -> tuple[int, int, int]:
    """(index, row, column) of the first token."""
    index, row, column = (int(number) for number in ids[0, 0])
    return index, row, column


def test_text_stands_at_the_origin() -> None:
    assert torch.equal(text_ids(2, 5), torch.zeros(2, 5, 3))


def test_target_rows_and_columns() -> None:
    expected = [[[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0], [0, 1, 1], [0, 1, 2]]]
    assert target_ids(2, 3).tolist() == expected


def test_reference_at_a_place() -> None:
    assert reference_ids(1, 2, index=3, row_offset=4, column_offset=5).tolist() == [[[3, 4, 5], [3, 4, 6]]]
    assert corner(reference_ids(1, 1)) == (1, 0, 0)


@pytest.mark.parametrize("arguments", [(0, 2), (2, 0), (2, 2, -1), (2, 2, 1, -1), (2, 2, 1, 0, -1)], ids=str)
def test_places_that_are_none(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|must not be negative"):
        reference_ids(*arguments)


# Target 4 x 6 tokens. Each row: layout, sizes of the references, where their first tokens stand.
LAYOUT_TABLE: list[tuple[str, list[HeightWidth], list[tuple[int, int, int]]]] = [
    ("index", [], []),
    ("index", [(4, 4)], [(1, 0, 0)]),
    ("index", [(4, 6), (2, 4), (8, 8)], [(1, 0, 0), (2, 0, 0), (3, 0, 0)]),
    ("offset", [], []),
    ("offset", [(4, 4)], [(1, 0, 0)]),
    ("offset", [(4, 4), (4, 2)], [(1, 0, 0), (1, 0, 4)]),  # 4 + 4 > 2 + 4: to the right
    ("offset", [(4, 4), (4, 4)], [(1, 0, 0), (1, 4, 0)]),  # a tie goes below
    ("offset", [(2, 8), (2, 8)], [(1, 0, 0), (1, 2, 0)]),
    ("offset", [(6, 2), (6, 4)], [(1, 0, 0), (1, 0, 2)]),  # by the width so far, not the height
    ("offset", [(4, 4), (4, 4), (4, 4)], [(1, 0, 0), (1, 4, 0), (1, 0, 4)]),  # the whole stays square
    ("offset", [(2, 8), (8, 2), (2, 2)], [(1, 0, 0), (1, 2, 0), (1, 0, 8)]),
    ("offset", [(4, 2), (2, 2), (9, 1)], [(1, 0, 0), (1, 0, 2), (1, 0, 4)]),  # the tallest so far counts
    ("diagonal", [], []),
    ("diagonal", [(4, 2), (2, 4), (3, 3)], [(0, 4, 6), (0, 8, 8), (0, 10, 12)]),
]


@pytest.mark.parametrize(("layout", "references", "corners"), LAYOUT_TABLE)
def test_layouts(layout: str, references: list[HeightWidth], corners: list[tuple[int, int, int]]) -> None:
    ids = layout_ids((4, 6), references, layout)
    assert [corner(one) for one in ids] == corners
    for one, (height, width), (index, row, column) in zip(ids, references, corners, strict=True):
        assert torch.equal(one, reference_ids(height, width, index, row, column))
        assert one.dtype == torch.float32


def test_every_layout_is_another() -> None:
    ids = [torch.cat(layout_ids((4, 4), [(4, 4), (2, 4)], layout), dim=1) for layout in LAYOUTS]
    assert not any(torch.equal(ids[i], ids[j]) for i in range(3) for j in range(i))


def test_offset_is_the_default_and_equals_index_for_one_reference() -> None:
    assert torch.equal(layout_ids((4, 4), [(4, 2), (4, 2)])[1], reference_ids(4, 2, 1, 0, 2))
    assert torch.equal(layout_ids((4, 4), [(3, 5)], "offset")[0], layout_ids((4, 4), [(3, 5)], "index")[0])


def test_unknown_layout() -> None:
    with pytest.raises(
        ValueError, match="layout 'spiral' is not known; choose one of offset, index, diagonal"
    ):
        layout_ids((4, 4), [(4, 4)], "spiral")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_three_wide_references_never_collide(layout: str) -> None:
    """Beyond 256 bfloat16 cannot tell one column from the next, so ids must never be held in it."""
    sizes = [(64, 98), (90, 67), (98, 64), (98, 98), (98, 98)]
    ids = torch.cat([target_ids(64, 64), *layout_ids((64, 64), sizes, layout)], dim=1)[0]
    assert ids.dtype == torch.float32
    assert len(ids.unique(dim=0)) == len(ids)
    if layout != "index":
        assert len(ids.bfloat16().unique(dim=0)) < len(ids), "this case is too small to show the trap"
