"""Turns that were made once: taken again without being made again, and candidates of one turn."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from .conftest import distance, picture

Run = Callable[..., Any]
WORDS = "make the circle red"
FAST = {"steps": 2}


@pytest.fixture
def asked(part: Callable[[str], Any], model: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many pictures the network was asked for, each time; nothing is kept of other tests."""
    part("nodes.kept_turns").kept_turns.clear()
    sizes: list[int] = []
    denoise = model.denoise

    def counted(inputs: Any, *others: Any) -> Tensor:
        sizes.append(inputs.noise.shape[0])
        return denoise(inputs, *others)

    monkeypatch.setattr(model, "denoise", counted)
    yield sizes
    part("nodes.kept_turns").kept_turns.clear()


@pytest.fixture
def turn(run: Run, model: Any, image: Tensor) -> Callable[..., Any]:
    """Run a turn on the picture, of these inputs in place of usual ones."""

    def make(**inputs: Any) -> Any:
        source = {} if "chain" in inputs else {"image": image.clone()}
        return run(
            "KontextTurn", **{"model": model, "instruction": WORDS, "seed": 1, **FAST, **source, **inputs}
        )

    return make


def test_a_seed_taken_again_computes_nothing(turn: Callable[..., Any], asked: list[int]) -> None:
    first, other, again = turn(), turn(seed=2), turn()
    assert asked == [1, 1]
    assert again[0].last is first[0].last
    assert not torch.equal(other[1], first[1])
    second = turn(chain=first[0], seed=5)
    assert turn(chain=again[0], seed=5)[0].last is second[0].last, "so the turns behind it are kept too"
    assert turn(chain=other[0], seed=5)[0].last is not second[0].last


OTHERS: dict[str, Any] = {
    "words": {"instruction": "remove the blue square"},
    "seed": {"seed": 3},
    "steps": {"steps": 3},
    "guidance": {"guidance": 4.0},
    "anchor": {"anchor": True},
    "align": {"align": True},
    "solver": {"solver": "heun"},
    "marks": {"marks": '{"version": 1, "marks": [{"kind": "box", "points": [[0.1, 0.1], [0.5, 0.5]]}]}'},
    "mask": {"mask": torch.ones(1, 16, 16)},
    "another mask": {"mask": torch.eye(16)[None]},
    "picture": {"image": torch.zeros(1, 128, 128, 3)},
}


@pytest.mark.parametrize("inputs", OTHERS.values(), ids=OTHERS)
def test_all_that_a_turn_depends_on_counts(
    turn: Callable[..., Any], asked: list[int], inputs: dict[str, Any]
) -> None:
    first = turn()
    assert turn(**inputs)[0].last is not first[0].last
    assert len(asked) == 2
    assert turn(**inputs)[0].last is not first[0].last
    assert len(asked) == 2


def test_references_count_by_what_they_hold(run: Run, turn: Callable[..., Any], asked: list[int]) -> None:
    stacks = [
        run("KontextReference", image=picture(64, side), strength=strength)[0]
        for side, strength in ((64, 1.0), (64, 1.0), (96, 1.0), (64, 0.5))
    ]
    made = [turn(references=stack)[0].last for stack in stacks]
    assert asked == [1, 1, 1]
    assert made[0] is made[1]


def test_other_models_make_their_own(turn: Callable[..., Any], asked: list[int], hosted: Any) -> None:
    first = turn()
    assert turn(model=hosted)[0].last is not first[0].last


def test_candidates_are_made_in_one_batch(turn: Callable[..., Any], asked: list[int]) -> None:
    alone = turn(seed=7)
    four = turn(candidates="[5, 6, 7, 8]")
    assert asked == [1, 3], "the one that is there is not made again"
    assert four.ui["seeds"] == [5, 6, 7, 8]
    assert len(four.ui["images"]) == 4
    assert four[0].last.seed == 5
    taken = [turn(seed=seed) for seed in (5, 6, 7, 8)]
    assert asked == [1, 3]
    assert taken[2][0].last is alone[0].last
    assert [node[0].last.seed for node in taken] == [5, 6, 7, 8]
    assert [node.ui.get("seeds") for node in taken] == [None] * 4


def test_a_candidate_is_the_picture_of_its_seed(
    part: Callable[[str], Any], turn: Callable[..., Any], asked: list[int]
) -> None:
    four = [turn(candidates="[5, 6]", seed=1), turn(seed=6)]
    part("nodes.kept_turns").kept_turns.clear()
    alone = turn(seed=6)
    assert asked == [2, 1]
    assert distance(four[1][0].last.latents, alone[0].last.latents) <= 1e-5
    record = dict(alone[0].last.settings)
    assert dict(four[1][0].last.settings) == record


def test_a_batch_that_is_too_large_is_made_in_halves(
    part: Callable[[str], Any],
    model: Any,
    turn: Callable[..., Any],
    asked: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    denoise, error = model.denoise, part("kontext_core.errors").TooLittleMemoryError

    def small(inputs: Any, *others: Any) -> Tensor:
        if inputs.noise.shape[0] > 1:
            raise error("too little memory")
        return denoise(inputs, *others)

    monkeypatch.setattr(model, "denoise", small)
    turn(candidates="[1, 2, 3]")
    assert asked == [1, 1, 1]


@pytest.mark.parametrize(
    "text", ["[", "{}", "[]", "7", "[1.5]", "[-1]", '["a"]', "[true]", str(list(range(17))), "[" * 9000]
)
def test_candidates_that_are_none(node_list: list[Any], text: str) -> None:
    node = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextTurn")
    assert "candidates must be a JSON list of 1 to 16 seeds" in node.validate_inputs(candidates=text)


def test_what_was_said_of_a_turn_is_said_again(
    turn: Callable[..., Any],
    asked: list[int],
    model: Any,
    monkeypatch: pytest.MonkeyPatch,
    part: Callable[[str], Any],
) -> None:
    lora = part("kontext_core.editor").UsedLora("style.safetensors", 1.0)
    monkeypatch.setattr(type(model), "used_loras", property(lambda _: (lora,)))
    first = turn()
    monkeypatch.undo()
    texts = [turn(chain=first[0]).ui["text"][0] for _ in range(2)]
    assert "the last turn was made with the LoRA style.safetensors at 1" in texts[0]
    assert texts[1] == texts[0]


def test_kept_turns_have_a_bound(part: Callable[[str], Any]) -> None:
    kept_turns, turn = part("nodes.kept_turns"), part("kontext_core.chain").Turn
    size = torch.zeros(1, 16, 16, 3).nbytes
    free = [100 * size]
    kept = kept_turns.KeptTurns(most_bytes=10 * size, free=lambda: free[0])
    for number in range(20):
        kept.put((number,), turn(torch.zeros(1, 16, 16, 3)))
        kept.get((0,))
    assert len(kept) == 10
    assert kept.get((0,)) is not None, "it was used last"
    assert kept.get((5,)) is None
    free[0] = 9 * size
    kept.put((99,), turn(torch.zeros(1, 16, 16, 3)))
    assert len(kept) == 5, "a fourth of 11 held and 9 free"


def test_references_of_kept_turns_count_once(part: Callable[[str], Any]) -> None:
    kept_turns, turn = part("nodes.kept_turns"), part("kontext_core.chain").Turn
    size = torch.zeros(1, 16, 16, 3).nbytes
    kept = kept_turns.KeptTurns(most_bytes=8 * size, free=lambda: None)
    shared = (torch.zeros(1, 16, 16, 3), torch.zeros(1, 16, 16, 3))
    for number in range(6):
        kept.put((number,), turn(torch.zeros(1, 16, 16, 3), references=shared))
    assert len(kept) == 6
    for number in range(6, 10):
        kept.put((number,), turn(torch.zeros(1, 16, 16, 3), references=(torch.zeros(1, 16, 16, 3),)))
    assert len(kept) == 4


class Thing:
    """A model, as far as a key is concerned."""


def test_turns_of_a_model_that_is_gone_are_let_go(part: Callable[[str], Any]) -> None:
    kept_turns, turn = part("nodes.kept_turns"), part("kontext_core.chain").Turn
    kept, models = kept_turns.KeptTurns(free=lambda: None), [Thing(), Thing()]
    for model in models:
        kept.put(kept_turns.key_of(model, None, {}), turn(torch.zeros(1, 16, 16, 3)))
    assert len(kept) == 2
    del model
    models.pop(0)
    gc.collect()
    kept.put(kept_turns.key_of(models[0], None, {"seed": 1}), turn(torch.zeros(1, 16, 16, 3)))
    assert len(kept) == 2


def test_keys_are_told_apart_by_all_that_they_hold(part: Callable[[str], Any]) -> None:
    key_of, model = part("nodes.kept_turns").key_of, Thing()
    values: list[Any] = [
        None, True, 1, 1.0, "1", [1], [[1]], {"a": 1}, {"b": 1}, {1: 1, "a": 2}, float("nan"), "\ud83c",
        torch.zeros(2, 3), torch.zeros(3, 2), torch.zeros(2, 3, dtype=torch.bfloat16), torch.zeros(0, 3), torch.ones(2, 3),
    ]  # fmt: skip
    keys = [key_of(model, None, {"value": value}) for value in values]
    assert len(set(keys)) == len(values)
    assert [key_of(model, None, {"value": value}) for value in values] == keys
    assert key_of(Thing(), None, {"value": 1}) not in keys
    other = object()  # as another pack may put it into a LATENT
    assert key_of(model, None, {"value": other}) != key_of(model, None, {"value": other})


def test_what_was_said_of_the_picture_is_said_again(run: Run, model: Any, asked: list[int]) -> None:
    inputs = {"model": model, "image": torch.rand(1, 200, 300, 3), "instruction": WORDS, "seed": 1, **FAST}
    texts = [run("KontextTurn", **inputs).ui["text"] for _ in range(2)]
    assert asked == [1]
    assert texts[0] == texts[1] == ("turn 1\nthe picture of 300 x 200 px is cropped to 128 x 128",)


def test_a_latent_of_another_pack_s_is_a_reference(
    run: Run, model: Any, turn: Callable[..., Any], asked: list[int]
) -> None:
    latent = {"samples": torch.zeros(1, 16, 8, 8), "theirs": object()}
    stack = run("KontextReference", latent=latent)[0]
    assert turn(references=stack)[0].last is not turn(references=stack)[0].last
    assert asked == [1, 1], "what cannot be told apart is made anew"
