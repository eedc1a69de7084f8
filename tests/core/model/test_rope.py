import math
from collections.abc import Callable

import pytest
import torch

from kontext_core.kernels.reference import rotate
from kontext_core.model.positions import layout_ids, reference_ids, target_ids
from kontext_core.model.rope import rotary_table

AXES = (4, 6, 6)


def test_table_by_hand() -> None:
    table = rotary_table(torch.tensor([[[2.0, 3.0, 5.0]]]), (2, 4, 2), 100)
    angles = [2.0, 3.0, 3.0 / 10, 5.0]  # position * theta^(-2k / dim)
    assert table.shape == (1, 1, 4)
    assert table.dtype == torch.complex64
    assert table[0, 0].tolist() == pytest.approx([complex(math.cos(a), math.sin(a)) for a in angles])


def test_far_positions_keep_their_digits() -> None:
    """In float32 the angle at 4095 is off by 1e-4; the table is as exact as float32 can hold."""
    ids = torch.tensor([[[0.0, 4095.0, 0.0]]])
    frequencies = [10_000 ** (-k / 28) for k in range(28)]
    expected = [complex(math.cos(4095 * f), math.sin(4095 * f)) for f in frequencies]
    assert rotary_table(ids, (16, 56, 56), 10_000)[0, 0, 8:36].tolist() == pytest.approx(expected, abs=1e-7)


def test_rotation_by_hand() -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    table = torch.polar(torch.ones(2), torch.tensor([0.5, 0.25])).view(1, 1, 2)
    pairs = [
        complex(1, 2) * complex(math.cos(0.5), math.sin(0.5)),
        complex(3, 4) * complex(math.cos(0.25), math.sin(0.25)),
    ]
    expected = [number for pair in pairs for number in (pair.real, pair.imag)]
    assert rotate(x, table).flatten().tolist() == pytest.approx(expected)


def test_products_depend_on_differences_only() -> None:
    q, k = torch.randn(1, 1, 2, 16), torch.randn(1, 1, 2, 16)

    def product(at: tuple[int, int, int], to: tuple[int, int, int]) -> torch.Tensor:
        tables = [rotary_table(torch.tensor([[list(map(float, place))]]), AXES, 100) for place in (at, to)]
        return (rotate(q, tables[0]) * rotate(k, tables[1])).sum(-1)

    torch.testing.assert_close(product((0, 2, 3), (1, 7, 1)), product((5, 4, 30), (6, 9, 28)))
    assert not torch.allclose(product((0, 2, 3), (1, 7, 1)), product((0, 2, 3), (1, 7, 2)))


def test_rotation_is_computed_in_float32(assert_close: Callable[..., float]) -> None:
    x, table = torch.randn(1, 5, 2, 3, 16), rotary_table(target_ids(1, 5), AXES, 100)
    half = x.bfloat16()
    assert rotate(half, table).dtype == torch.bfloat16
    assert torch.equal(rotate(half, table), rotate(half.float(), table).bfloat16())


def test_every_place_has_its_own_row() -> None:
    ids = torch.cat([target_ids(8, 98), *layout_ids((8, 98), [(90, 80), (98, 98), (98, 98)])], dim=1)
    table = torch.view_as_real(rotary_table(ids, (16, 56, 56), 10_000)[0]).flatten(1)
    assert len(table.unique(dim=0)) == ids.shape[1]


def test_the_tables_are_one_of_a_batch() -> None:
    ids = torch.cat([reference_ids(2, 3, 1), reference_ids(2, 3, 2)])
    tables = rotary_table(ids, AXES, 100)
    assert torch.equal(tables[1:], rotary_table(ids[1:], AXES, 100))
