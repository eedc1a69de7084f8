"""Digests that show whether two checkouts compute the same."""

from itertools import islice

import torch

from tools import same_bits


def test_one_bit_is_told() -> None:
    numbers = torch.rand(2, 3)
    other = numbers.clone()
    other.view(torch.int32)[1, 2] ^= 1
    assert same_bits.digest(numbers) == same_bits.digest(numbers.clone()) != same_bits.digest(other)


def test_the_same_code_gives_the_same_digests() -> None:
    first, second = (
        [(name, same_bits.digest(result)) for name, result in islice(same_bits.options_of_a_sample(), 5)]
        for _ in range(2)
    )
    assert first == second
    assert len({digest for _, digest in first}) == len(first)
