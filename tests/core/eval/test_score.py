"""Scores of an editor whose answers are known: it is the scoring that is tried here."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from kontext_core.eval import report, score
from kontext_core.pipeline import Pipeline
from kontext_core.world import draw, right, sample


@pytest.fixture(scope="module")
def tiny() -> Pipeline:
    return Pipeline.load("tiny", device="cpu")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """In place of the sampler: the truth of each prompt's sample, or a blank picture every `wrong_every`-th time."""
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
    """Truths are encoded and decoded, and held to the same tolerance."""
    found = score.score_kind(tiny, "none", 3, steps=1)
    pictures = found.truths.permute(0, 2, 3, 1)
    kept = right(tiny.decode(tiny.encode(pictures)).permute(0, 3, 1, 2), found.truths)
    assert torch.equal(found.kept, kept)


def test_report_has_rates_and_verdicts_of_both_layouts(pipeline: Pipeline, answers: dict[str, Any]) -> None:
    answers["truths"] = truths("remove", 4) + truths("character", 4) * 2
    scores, outcomes = report.score_all(pipeline, count=4, chains=0, kinds=("remove", "character"))
    assert scores["rates"] == {"remove": 1.0, "character": 1.0, "character/offset": 1.0}
    assert scores["ceilings"] == {"remove": 0.75, "character": 0.75}
    assert scores["right"] == {"remove": "1111", "character": "1111"}
    assert [call[2] for call in answers["calls"]] == [None, None, "offset"]
    sheet = report.grid(outcomes)
    assert sheet.width > 4 * 3 * 128


def test_the_noise_of_a_few_is_that_of_many() -> None:
    """So the first scenes of a scoring can be scored again alone."""
    few, many = (torch.randn(n, 16, 16, 16, generator=torch.Generator().manual_seed(1)) for n in (12, 25))
    assert torch.equal(few, many[:12])
