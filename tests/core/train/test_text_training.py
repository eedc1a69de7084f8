from pathlib import Path

import pytest
import torch

from kontext_core.model.text import TextEncoders
from kontext_core.train.config import TextTraining
from kontext_core.train.optimizer import Muon
from kontext_core.train.text_models import tiny_text_models
from kontext_core.train.text_training import (
    ProbeHeads,
    TextModel,
    all_right,
    slot_loss,
    split_text_parameters,
    train_text,
)
from kontext_core.train.tokenizers import train_tokenizers
from kontext_core.world.meaning import SLOT_SIZES, slot_numbers

SENTENCES = ("make the red circle blue", "make the blue circle red", "remove the small green star")


@pytest.fixture
def text(tmp_path: Path) -> TextEncoders:
    train_tokenizers(SENTENCES, tmp_path / "tokenizers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return tiny_text_models(tmp_path / "tokenizers", width=32, heads=4)


def test_readers_answer_every_slot() -> None:
    by_t5, by_clip = ProbeHeads(16, 24)(torch.randn(3, 7, 16), torch.randn(3, 24))
    for logits in (by_t5, by_clip):
        assert [tuple(slot.shape) for slot in logits] == [(3, size) for size in SLOT_SIZES]


def test_loss_and_success_of_perfect_answers() -> None:
    answers = torch.tensor([slot_numbers(sentence) for sentence in SENTENCES])
    logits = [
        50.0 * torch.nn.functional.one_hot(answer, size).float()
        for answer, size in zip(answers.unbind(1), SLOT_SIZES, strict=True)
    ]
    assert slot_loss(logits, answers) < 1e-6
    assert all_right(logits, answers) == 1.0
    logits[0] = logits[0].roll(1, 1)
    assert all_right(logits, answers) == 0.0


def test_heads_begin_by_looking_at_neighbours(text: TextEncoders) -> None:
    """One word back, one ahead, two back, two ahead: as transformers turns the table into biases."""
    attention = text.t5.encoder.block[0].layer[0].SelfAttention
    bias = attention.compute_bias(9, 9)[0]  # (heads, queries, keys)
    assert bias[:, 4].argmax(-1).tolist() == [3, 5, 2, 6]


def test_every_parameter_has_one_optimizer(text: TextEncoders) -> None:
    model = TextModel(text)
    matrices, groups = split_text_parameters(model, TextTraining())
    found = [*matrices, *(p for group in groups for p in group["params"])]
    assert sorted(map(id, found)) == sorted(map(id, model.parameters()))
    table = text.t5.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    assert any(table is p for p in groups[1]["params"])
    assert any(text.clip.text_model.encoder.layers[0].mlp.fc1.weight is p for p in matrices)


def test_the_order_of_words_is_learnt(text: TextEncoders) -> None:
    """Which colour is the thing's and which the new one: a bag of words cannot tell."""
    model = TextModel(text)
    matrices, groups = split_text_parameters(model, TextTraining())
    optimizers = [Muon(matrices, lr=6e-3), torch.optim.AdamW(groups, lr=3e-3)]
    ids = text.tokenize(SENTENCES)
    answers = torch.tensor([slot_numbers(sentence) for sentence in SENTENCES])
    for _ in range(200):
        by_t5, by_clip = model.readers(*text.embed(*ids))
        (slot_loss(by_t5, answers) + slot_loss(by_clip, answers)).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert all_right(by_t5, answers) == all_right(by_clip, answers) == 1.0


def test_training_changes_both_encoders_and_goes_on(text: TextEncoders, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in text.state_dict().items()}
    training = TextTraining(minutes=0.01, batch_size=4, warmup_steps=1)
    trained = train_text(text, training, tmp_path / "run")
    assert not trained.training
    assert (tmp_path / "run" / "log.csv").exists()
    for name in ("t5.shared.weight", "clip.text_model.encoder.layers.0.mlp.fc1.weight"):
        assert not torch.equal(trained.state_dict()[name], before[name])
    after = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    again = train_text(text, training, tmp_path / "run")  # its time is up: what is stored comes back
    assert all(torch.equal(tensor, after[name]) for name, tensor in again.state_dict().items())
