"""Scores of an editor whose answers are known, to test the scoring itself."""

import random
from typing import Any

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor

from kontext_core.eval import report, score
from kontext_core.eval.intervals import rate_text, wilson
from kontext_core.pipeline import Pipeline
from kontext_core.world import draw, right, sample


@pytest.fixture(scope="module")
def tiny() -> Pipeline:
    return Pipeline.load("tiny", device="cpu")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand in for the sampler: return the right answer, or a blank picture every `wrong_every`-th time."""
    told: dict[str, Any] = {"wrong_every": 0, "calls": []}
    monkeypatch.setattr(score, "_encode", lambda pipeline, images: images)
    monkeypatch.setattr(score, "_through", lambda pipeline, images: torch.cat([images[:1] * 0, images[1:]]))

    def answer(pipeline: Any, prompts: list[str], references: list[Tensor], **options: Any) -> Any:
        told["calls"].append((len(prompts), options["seed"], options["layout"]))
        truths = [told["truths"].pop(0) for _ in prompts]
        pictures = draw(truths)
        if told["wrong_every"]:
            pictures[:: told["wrong_every"]] = 0.5
        return pictures, pictures

    monkeypatch.setattr(score, "run", answer)
    return told


def truths(kind: str, count: int) -> list[Any]:
    return [sample(kind, random.Random(f"score/{score.SEED}/{kind}/{i}")).target for i in range(count)]


def test_right_answers_are_right(pipeline: Pipeline, answers: dict[str, Any]) -> None:
    answers["truths"] = truths("recolour", 30)
    found = score.score_kind(pipeline, "recolour", 30)
    assert found.rate == 1.0
    assert found.flags == "1" * 30
    assert [call[0] for call in answers["calls"]] == [25, 5]
    assert len({call[1] for call in answers["calls"]}) == 2, "each part has its own noise"


def test_wrong_answers_are_counted_where_they_stand(pipeline: Pipeline, answers: dict[str, Any]) -> None:
    answers |= {"truths": truths("add", 6), "wrong_every": 3}
    found = score.score_kind(pipeline, "add", 6)
    assert found.flags == "011011"
    assert found.rate == pytest.approx(4 / 6)
    assert found.ceiling == pytest.approx(5 / 6), "an autoencoder that loses one"


def test_the_ceiling_is_what_the_autoencoder_keeps(tiny: Pipeline) -> None:
    """Right answers are encoded and decoded, and judged with the same tolerance."""
    found = score.score_kind(tiny, "none", 3, steps=1)
    pictures = found.truths.permute(0, 2, 3, 1)
    kept = right(tiny.decode(tiny.encode(pictures)).permute(0, 3, 1, 2), found.truths)
    assert torch.equal(found.kept, kept)


def test_report_has_rates_and_verdicts_of_both_layouts(pipeline: Pipeline, answers: dict[str, Any]) -> None:
    answers["truths"] = truths("remove", 4) + truths("character", 4) * 2
    scores, outcomes = report.score_all(pipeline, count=4, chains=0, kinds=("remove", "character"))
    assert scores["rates"] == {"remove": 1.0, "character": 1.0, "character/offset": 1.0}
    assert scores["intervals"]["remove"] == [round(end, 4) for end in wilson(4, 4)]
    assert scores["ceilings"] == {"remove": 0.75, "character": 0.75}
    assert scores["right"] == {"remove": "1111", "character": "1111"}
    assert [call[2] for call in answers["calls"]] == [None, None, "offset"]
    sheet = report.grid(outcomes)
    assert sheet.width > 4 * 3 * 128


def test_chains_are_counted_turn_by_turn(tiny: Pipeline) -> None:
    said: list[str] = []
    scores, _ = report.score_all(tiny, count=1, chains=2, steps=1, kinds=("none",), report=said.append)
    for way in ("latents", "pictures"):
        chains = scores["chains"][way]
        assert len(chains["right_up_to_turn"]) == len(chains["intervals"]) == 5
        for rate, interval in zip(chains["right_up_to_turn"], chains["intervals"], strict=True):
            assert interval == [round(end, 4) for end in wilson(round(2 * rate), 2)]
    assert sum("of 2 (" in line for line in said) == 10


@pytest.mark.parametrize(
    ("right_ones", "count", "low", "high"),
    [(10, 10, 0.7225, 1.0), (0, 20, 0.0, 0.1611), (18, 24, 0.5510, 0.8800), (187, 200, 0.8920, 0.9617)],
)
def test_intervals_are_wilsons(right_ones: int, count: int, low: float, high: float) -> None:
    """Compare with scipy's values."""
    expected = binomtest(right_ones, count).proportion_ci(method="wilson")
    assert wilson(right_ones, count) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert wilson(right_ones, count) == pytest.approx((low, high), abs=1e-4)


def test_a_rate_is_shown_with_its_count() -> None:
    assert rate_text(187, 200) == "93.5 % of 200 (89.2 to 96.2)"


@pytest.mark.parametrize(("right_ones", "count"), [(1, 0), (3, 2), (-1, 5)])
def test_what_is_no_rate(right_ones: int, count: int) -> None:
    with pytest.raises(ValueError, match=f"{right_ones} of {count} is no rate"):
        wilson(right_ones, count)


def test_the_noise_of_a_few_is_that_of_many() -> None:
    """The first scenes can then be scored again on their own."""
    few, many = (torch.randn(n, 16, 16, 16, generator=torch.Generator().manual_seed(1)) for n in (12, 25))
    assert torch.equal(few, many[:12])
