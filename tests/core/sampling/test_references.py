from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kontext_core.model.latents import pack
from kontext_core.model.positions import layout_ids, reference_ids
from kontext_core.model.transformer import Transformer
from kontext_core.sampling.denoise import denoise
from kontext_core.sampling.references import ReferenceLatents, reference_tokens, region_tokens

Latents = Callable[..., Tensor]


def test_plain_latents_stand_where_the_layout_puts_them(latents: Latents) -> None:
    given = [latents(4, 6), latents(2, 2, seed=1)]
    placed = reference_tokens(given, (3, 3), "offset")
    assert all(
        torch.equal(*pair) for pair in zip(placed.ids, layout_ids((3, 3), [(2, 3), (1, 1)]), strict=True)
    )
    assert all(torch.equal(tokens, pack(one)) for tokens, one in zip(placed.tokens, given, strict=True))
    assert placed.lengths == (6, 1)
    assert placed.strengths == (1.0, 1.0)


@pytest.mark.parametrize("layout", ["offset", "index", "diagonal"])
def test_strength_nought_is_as_if_it_had_never_been_given(
    latents: Latents, transformer: Transformer, prompts: Callable[..., tuple[Tensor, Tensor]], layout: str
) -> None:
    """Bit by bit, wherever it stood in the order."""
    first, other = latents(4, 6), latents(2, 4, seed=1)
    off = ReferenceLatents(latents(6, 6, seed=2), strength=0.0)

    def run(references: list[Tensor | ReferenceLatents]) -> Tensor:
        return denoise(
            transformer, latents(4, 4), *prompts(), [1.0, 0.5, 0.0], references=references, layout=layout
        )

    alone = run([first, other])
    for references in ([off, first, other], [first, off, other], [first, other, off]):
        assert torch.equal(run(references), alone)


def test_strength_one_is_the_model_as_it_was(
    latents: Latents, transformer: Transformer, prompts: Callable[..., tuple[Tensor, Tensor]]
) -> None:
    reference = latents(4, 6)
    made = [
        denoise(transformer, latents(4, 4), *prompts(), [1.0, 0.5, 0.0], references=[one])
        for one in (reference, ReferenceLatents(reference))
    ]
    assert torch.equal(*made)


def test_the_effect_grows_with_the_strength(
    latents: Latents, transformer: Transformer, prompts: Callable[..., tuple[Tensor, Tensor]]
) -> None:
    def run(strength: float) -> Tensor:
        references = [ReferenceLatents(latents(4, 6, seed=4), strength)]
        return denoise(transformer, latents(4, 4), *prompts(), [1.0, 0.0], references=references)

    without = run(0.0)
    away = [(run(strength) - without).norm().item() for strength in (0.0, 0.05, 0.3, 1.0, 2.0)]
    assert away == sorted(away)
    assert away[1] < 0.5 * away[-1]


def test_a_region_rides_alone_and_in_its_place(latents: Latents) -> None:
    reference = latents(4, 6)
    region = torch.tensor([[False, True, False], [False, True, True]])
    placed = reference_tokens([ReferenceLatents(reference, region=region), latents(2, 2)], (2, 2), "offset")
    assert placed.lengths == (3, 1)
    assert placed.ids[0][0].tolist() == [[1, 0, 1], [1, 1, 1], [1, 1, 2]]
    assert torch.equal(placed.tokens[0], pack(reference)[:, [1, 4, 5]])
    whole = reference_tokens([reference, latents(2, 2)], (2, 2), "offset")
    assert torch.equal(placed.ids[1], whole.ids[1]), "its neighbours do not move"


def test_a_place_of_its_own(latents: Latents) -> None:
    own = ReferenceLatents(latents(4, 6), place=(3, 5, 7))
    placed = reference_tokens([own, latents(2, 2)], (2, 2), "index")
    assert torch.equal(placed.ids[0], reference_ids(2, 3, 3, 5, 7))
    assert placed.ids[1][0, 0].tolist() == [1, 0, 0], "the others are laid out as if it were not there"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"strength": "1"}, r"strength is '1'; it must lie between 0"),
        ({"strength": True}, r"strength is True; it must lie between 0"),
        ({"strength": -0.1}, r"strength is -0\.1; it must lie between 0 \(left out\) and 2"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"strength": 2.1}, r"strength is 2\.1"),
        (
            {"region": torch.ones(4, 6, dtype=torch.bool)},
            r"region \(4, 6\) of a reference must have its \(2, 3\)",
        ),
        ({"region": torch.zeros(2, 3, dtype=torch.bool)}, "region of a reference is empty"),
        ({"place": (0, -1, 0)}, r"place \(0, -1, 0\) of a reference must not be negative"),
    ],
)
def test_what_cannot_be(latents: Latents, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ReferenceLatents(latents(4, 6), **options)


def test_a_mask_marks_the_tokens_that_it_touches() -> None:
    mask = torch.zeros(64, 96)
    mask[20, 40] = 1.0
    assert region_tokens(mask, (4, 6)).nonzero().tolist() == [[1, 2]]
    assert region_tokens(torch.ones(10, 10), (4, 6)).all()
    for wrong, sentence in (
        (torch.zeros(8, 8), "marks nothing"),
        (torch.full((8, 8), torch.nan), "not finite"),
        (torch.zeros(0, 8), "is empty"),
    ):
        with pytest.raises(ValueError, match=sentence):
            region_tokens(wrong, (2, 2))
