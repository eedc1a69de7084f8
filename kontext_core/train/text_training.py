"""Text encoders learn the language before the flow does, as the published T5 and CLIP did.

Small readers ask them what a sentence names: CLIP's pooled vector must hold all of it, T5's states must hold
each clause where one look finds it. The readers are then thrown away.
"""

import random
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..model.text import TextEncoders
from ..world import KINDS, sample
from ..world.meaning import CLAUSE_SLOTS, CLAUSES, SENTENCE_SLOTS, SLOT_SIZES, slot_numbers
from .config import TextTraining
from .optimizer import Muon
from .run import TrainingRun

_INSIDE = re.compile(r"\.(block|layers)\.")


class ProbeHeads(nn.Module):
    """Answers to every slot, from T5's states by one look a clause or slot, and from CLIP's pooled vector."""

    def __init__(self, t5_width: int, clip_width: int) -> None:
        super().__init__()
        looks = CLAUSES + len(SENTENCE_SLOTS)
        self.queries = nn.Parameter(torch.randn(looks, t5_width) * t5_width**-0.5)
        self.key = nn.Linear(t5_width, t5_width)
        self.value = nn.Linear(t5_width, t5_width)
        self.from_t5 = nn.ModuleList(nn.Linear(t5_width, size) for size in SLOT_SIZES)
        self.from_clip = nn.Linear(clip_width, sum(SLOT_SIZES))
        clause_looks = [look for look in range(CLAUSES) for _ in CLAUSE_SLOTS]
        self.looks = [*clause_looks, *range(CLAUSES, looks)]

    def forward(self, txt: Tensor, pooled: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Logits (B, size) of each slot, as T5 and as CLIP has it."""
        weights = (self.queries @ self.key(txt).mT * txt.shape[-1] ** -0.5).softmax(-1)  # (B, looks, L)
        seen = weights @ self.value(txt)
        by_t5 = [head(seen[:, look]) for head, look in zip(self.from_t5, self.looks, strict=True)]
        return by_t5, list(self.from_clip(pooled).split(SLOT_SIZES, dim=1))


class TextModel(nn.Module):
    """What is trained together."""

    def __init__(self, text: TextEncoders) -> None:
        super().__init__()
        self.text = text
        self.readers = ProbeHeads(text.t5.config.d_model, text.clip.config.hidden_size)


def train_text(text: TextEncoders, training: TextTraining, folder: Path, device: str = "cpu") -> TextEncoders:
    """Train these encoders, or go on with the run in `folder`. Returns the averaged weights."""
    torch.manual_seed(training.seed)
    model = TextModel(text).to(device).train()
    matrices, groups = split_text_parameters(model, training)
    run = TrainingRun(
        folder,
        model,
        [
            Muon(matrices, lr=training.lr_muon),
            torch.optim.AdamW(groups, lr=training.lr_adam, betas=(0.9, 0.99), weight_decay=0.0),
        ],
        minutes=training.minutes,
        warmup_steps=training.warmup_steps,
        cooldown=training.cooldown,
        average_decay=training.average_decay,
    )
    for step in run.steps():
        rng = random.Random(f"text/{training.seed}/{step}")
        kinds = rng.choices(KINDS, [training.mix.get(kind, 1.0) for kind in KINDS], k=training.batch_size)
        sentences = [sample(kind, rng).instruction for kind in kinds]
        answers = torch.tensor([slot_numbers(sentence) for sentence in sentences], device=device)
        by_t5, by_clip = model.readers(*text.embed(*(ids.to(device) for ids in text.tokenize(sentences))))
        loss = (slot_loss(by_t5, answers) + slot_loss(by_clip, answers)) / 2
        norm = run.update(loss, len(sentences))
        run.record(
            loss=loss.item(),
            t5=all_right(by_t5, answers),
            clip=all_right(by_clip, answers),
            grad=norm,
            rate=run.lr_scale,
        )
    model.load_state_dict(run.average.tensors)
    return text.eval()


def split_text_parameters(
    model: TextModel, training: TextTraining
) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """The encoders' matrices for Muon; groups for AdamW, of which the tables of places learn faster.

    Where a word stands is what both encoders learn last: a bias or a position has far to go from where it
    starts.
    """
    matrices: list[Tensor] = []
    places: list[Tensor] = []
    others: list[Tensor] = []
    for name, p in model.named_parameters():
        if "relative_attention_bias" in name or "position_embedding" in name:
            places.append(p)
        elif p.ndim == 2 and _INSIDE.search(name):
            matrices.append(p)
        else:
            others.append(p)
    return matrices, [{"params": others}, {"params": places, "lr": training.lr_adam * training.places_rate}]


def slot_loss(logits: list[Tensor], answers: Tensor) -> Tensor:
    """Cross entropy of each slot, added over the slots."""
    return torch.stack(
        [F.cross_entropy(slot, answer) for slot, answer in zip(logits, answers.unbind(1), strict=True)]
    ).sum()


def all_right(logits: list[Tensor], answers: Tensor) -> float:
    """The share of sentences of which every slot is right."""
    chosen = torch.stack([slot.argmax(-1) for slot in logits], dim=1)
    return (chosen == answers).all(1).float().mean().item()
