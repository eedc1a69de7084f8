"""What PEFT says of a LoRA beside its factors: patterns and biases, in both. PEFT says what is right."""

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from peft import LoKrConfig, LoraConfig, PeftModel, get_peft_model
from peft.utils.other import get_pattern_key

from kontext_core.lora import Lora
from kontext_core.lora.patterns import NamePattern
from kontext_core.model.transformer import Transformer

from .test_lora import ALL, answered, asked, base, ours, randomised, theirs

__all__ = ["base", "ours", "theirs"]  # fixtures, which pytest finds here

CLOSE = Callable[..., float]
PLAIN: dict[str, Any] = {"r": 4, "lora_alpha": 6, "init_lora_weights": False, "target_modules": ALL}

CONFIGS = {
    "alpha by expressions": LoraConfig(
        **PLAIN,
        alpha_pattern={
            r"single_transformer_blocks\.\d+\.attn\.to_[qk]": 32, r".*\.proj_mlp": 2, "norm1.linear|to_v": 9,
            "to_out.0": 1,
        },
    ),
    "the first that fits counts, and not the longest": LoraConfig(
        **PLAIN, alpha_pattern={"attn.to_q": 24, "single_transformer_blocks.0.attn.to_q": 2,
        r"^transformer_blocks\.0\..*": 12},
    ),
    "ranks by expressions": LoraConfig(
        **PLAIN, rank_pattern={r"transformer_blocks\.[01]\.ff\..+": 2,
        "^single_transformer_blocks.1.proj_mlp": 8}, use_rslora=True,
    ),
    "LoKr by expressions": LoKrConfig(
        r=4, alpha=3, target_modules=ALL, alpha_pattern={r"(?:attn|ff)\.to_.*": 8},
        rank_pattern={r".*proj_(?:mlp|out)": 2},
    ),
    "biases of LoRA": LoraConfig(**PLAIN, lora_bias=True),
    "biases in the layers' place": LoraConfig(**PLAIN, bias="lora_only"),
    "all biases": LoraConfig(**(PLAIN | {"target_modules": ["to_q", "proj_mlp", "norm_out.linear"]}),
    bias="all"),
}  # fmt: skip


@pytest.mark.parametrize("merged", [False, True], ids=["beside", "merged"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_folders(
    theirs: FluxTransformer2DModel,
    base: Path,
    ours: Transformer,
    config: Any,
    tmp_path: Path,
    assert_close: CLOSE,
    merged: bool,
) -> None:
    before = asked(theirs)
    model = get_peft_model(theirs, copy.deepcopy(config)).eval()
    randomised(model, 0.3)
    generator = torch.Generator().manual_seed(9)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") and getattr(config, "bias", "none") != "none":
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
        if name.endswith("lora_B.default.bias"):
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(tmp_path)
    fresh = FluxTransformer2DModel.from_pretrained(base)
    # The file's patterns are in another order.
    expected = asked(PeftModel.from_pretrained(fresh, tmp_path).eval())
    assert (expected - before).norm() > 0.05 * before.norm()
    assert_close(answered(ours, Lora(tmp_path, merged=merged)), expected)


# What expressions are put together of; `{0}` makes some of them fit nothing at all.
_ATOMS = (
    "a", "b", ".", r"\.", r"\d", "[ab]", "[^a]", "[0-9]", r"\w", "_", "ab", "(a|b)", "(?:ab|.)", "^", "$",
    r"\b", "{", "}", "]", "[]a]", "[a\\]]", "a{2}", "b{1,}", "a{,2}", "1", r"\x61", "(?P<name>a)",
)  # fmt: skip
_QUANTIFIERS = ("", "", "", "", "*", "+", "?", "*?", "+?", "{1,2}", "{,}", "{0}")


def expression(rng: random.Random, depth: int = 0) -> str:
    text = ""
    for _ in range(rng.randint(1, 4)):
        if depth < 2 and rng.random() < 0.25:
            atom = f"({rng.choice(('', '?:'))}{expression(rng, depth + 1)})"
        else:
            atom = rng.choice(_ATOMS)
        text += atom + rng.choice(_QUANTIFIERS) + rng.choice(("", "", "", "", "", "", "|"))
    return text


def expected(pattern: str, name: str) -> bool:
    """Whether PEFT takes the pattern's value for a module."""
    return {pattern: True, name: pattern == name}[get_pattern_key([pattern], name)]


def test_patterns_fit_what_they_fit_in_peft() -> None:
    """Expressions at random, upon names at random."""
    rng = random.Random(0)
    answers: list[bool] = []
    for _ in range(6000):
        text = expression(rng)
        name = "".join(rng.choice("ab.1_") for _ in range(rng.randint(1, 8)))
        try:
            wanted = expected(text, name)
        except Exception:  # it is none
            with pytest.raises(ValueError, match=r"^it is not a regular expression"):
                NamePattern(text)
            continue
        try:
            pattern = NamePattern(text)
        except ValueError as error:
            assert "is not read here" in str(error), text  # noqa: PT017
            continue
        answers.append(pattern.fits(name))
        assert answers[-1] == wanted, f"{text!r} upon {name!r}"
    assert 500 < sum(answers) < len(answers) - 500


@pytest.mark.parametrize(
    "rule", ["^transformer_blocks.0.attn.to_q", "to_q", "attn.to_q", "0.attn.to_q", "o_q", ".*to_q"]
)
def test_names_and_their_ends(rule: str) -> None:
    for name in (
        "transformer_blocks.0.attn.to_q",
        "single_transformer_blocks.0.attn.to_q",
        "to_q",
        "x.to_q2",
    ):
        assert NamePattern(rule).fits(name) == expected(rule, name)
